//! A probe, which asks a remote whether it would take samples.

use std::time::Duration;

use super::remote::{PostError, PostRequest, Remote};
use super::verdict::{Verdict, VerdictOptions, verdict};
use crate::prompb::RequestBody;
use crate::time::Clock;

/// An empty `WriteRequest` in snappy's block format: one byte, a length of zero.
const EMPTY: &[u8] = &[0];

/// The result of a [`probe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Whether address, signature and permission are right.
    pub ok: bool,
    /// Verdict on the answer, if there was one.
    pub verdict: Option<Verdict>,
    /// Result in one line for people.
    pub text: String,
}

/// Posts an empty request, and posts it once more with fresh credentials if it is denied. Nothing
/// is stored.
pub async fn probe(remote: &dyn Remote, clock: &dyn Clock, timeout: Duration) -> Probe {
    let body = RequestBody::from(EMPTY);
    let mut attempt = 0;
    loop {
        let retried = attempt > 0;
        let request = PostRequest {
            body: &body,
            attempt,
            timeout,
            fresh_connection: retried,
            fresh_credentials: retried,
        };
        attempt += 1;
        let answer = match remote.post(request).await {
            Ok(answer) => answer,
            Err(PostError::Net(error)) if error.stale_connection && !retried => continue,
            Err(error) => {
                return Probe {
                    ok: false,
                    verdict: None,
                    text: error.to_string(),
                };
            }
        };
        let options = VerdictOptions {
            retry_on_http_429: true,
            in_doubt: false,
            now_ms: clock.now_ms(),
        };
        let verdict = verdict(answer.status, &answer.headers, &answer.body, &options);
        let said = answer.message();
        let (ok, text) = match verdict {
            Verdict::Denied if !retried => continue,
            Verdict::Written | Verdict::Deduplicated => (true, format!("{said}: it takes samples")),
            // Some receivers refuse a request without samples. To do so they must have let us in.
            Verdict::Rejected if answer.status == 400 => (
                true,
                format!(
                    "{said}: an empty request is refused, but address and permission are right"
                ),
            ),
            Verdict::Denied | Verdict::Misconfigured => match remote.hint(&answer) {
                Some(hint) => (false, format!("{said}; {hint}")),
                None => (false, said),
            },
            Verdict::Rejected | Verdict::TooLarge | Verdict::Repeated => {
                (false, format!("{said}; is this a remote-write receiver?"))
            }
            Verdict::Retry { .. } | Verdict::OverRate { .. } => (
                false,
                format!("{said}: it is busy or failing; try again later"),
            ),
        };
        return Probe {
            ok,
            verdict: Some(verdict),
            text,
        };
    }
}
