//! The table of what an answer means for its batch.

use std::time::{Duration, UNIX_EPOCH};

use ::http::header::{CONTENT_TYPE, RETRY_AFTER};
use ::http::{HeaderMap, HeaderValue};

/// The meaning of an answer for its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The samples are stored.
    Written,
    /// The receiver's HA deduplication dropped the samples on purpose. They are never sent again.
    Deduplicated,
    /// Samples were refused for good. AMP stores the valid samples of a refused request. The batch
    /// is never sent again.
    Rejected,
    /// Credentials or permissions are missing. One try with fresh credentials follows, and then no
    /// more requests to this remote.
    Denied,
    /// The URL does not lead to a receiver. No more requests follow to this remote.
    Misconfigured,
    /// The batch is too large for the receiver, or for a server behind it. It is split and sent
    /// again.
    TooLarge,
    /// The batch is sent again, after the time that the receiver names or a back-off.
    Retry {
        /// The value of `Retry-After`, at most an hour.
        after: Option<Duration>,
    },
    /// The batch passes the limit of the ingestion rate, and nothing of it was stored. It is sent
    /// again as after [`Verdict::Retry`]; and in smaller batches if none of its size passes,
    /// because one with more samples than the burst of the limit is never taken.
    OverRate {
        /// The value of `Retry-After`, at most an hour.
        after: Option<Duration>,
    },
    /// The batch was posted before without a clear answer, and is refused now because its samples
    /// are there, or newer ones of their series. It is never sent again.
    Repeated,
}

/// The circumstances that the verdict depends on, in addition to the answer.
#[derive(Debug, Clone, Copy)]
pub struct VerdictOptions {
    /// Whether a 429 is sent again: `queue_config.retry_on_http_429`.
    pub retry_on_http_429: bool,
    /// Whether the samples may be stored already: an earlier post had no clear answer.
    pub in_doubt: bool,
    /// Now, in milliseconds since 1970: a `Retry-After` may be a date.
    pub now_ms: i64,
}

/// Longest `Retry-After` that is believed.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Returns the verdict on an answer. `body` is its beginning, as text.
///
/// ```
/// use amp_forwarder::send::{Verdict, VerdictOptions, verdict};
///
/// let options = VerdictOptions { retry_on_http_429: true, in_doubt: false, now_ms: 0 };
/// let headers = http::HeaderMap::new();
/// assert_eq!(verdict(200, &headers, "", &options), Verdict::Written);
/// assert_eq!(verdict(429, &headers, "", &options), Verdict::Retry { after: None });
/// // No retry makes the number of active series smaller.
/// let body = "per-user series limit of 5000000 exceeded";
/// assert_eq!(verdict(429, &headers, body, &options), Verdict::Rejected);
/// ```
#[must_use]
pub fn verdict(status: u16, headers: &HeaderMap, body: &str, options: &VerdictOptions) -> Verdict {
    match status {
        // No receiver answers with a page, but a login page on the way does, and stores nothing.
        // storage/remote/client.go takes it for stored.
        200..=299 if is_page(headers, body) => Verdict::Misconfigured,
        // distributor.go: HA "replicas did not match" is a 202.
        202 => Verdict::Deduplicated,
        200..=299 => Verdict::Written,
        401 | 403 => Verdict::Denied,
        404 | 405 => Verdict::Misconfigured,
        413 => Verdict::TooLarge,
        400 if names_message_limit(body) => Verdict::TooLarge,
        400 if options.in_doubt && names_known_samples(body) => Verdict::Repeated,
        408 | 425 => Verdict::Retry {
            after: retry_after(headers, options.now_ms),
        },
        429 if options.retry_on_http_429 && names_ingestion_rate(body) => Verdict::OverRate {
            after: retry_after(headers, options.now_ms),
        },
        429 if options.retry_on_http_429 && !names_series_limit(body) => Verdict::Retry {
            after: retry_after(headers, options.now_ms),
        },
        400..=499 => Verdict::Rejected,
        500..=599 => Verdict::Retry {
            after: retry_after(headers, options.now_ms),
        },
        // A redirected POST is final in storage/remote/client.go too, and nothing was stored: the
        // URL is wrong, not the samples.
        _ => Verdict::Misconfigured,
    }
}

/// Whether an answer is a web page: it calls itself HTML and begins as such. A receiver that was
/// built with a web framework may call an empty answer HTML.
pub(super) fn is_page(headers: &HeaderMap, body: &str) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let begins = |text: &str, with: &str| {
        text.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    let body = body.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    kind.starts_with(b"text/html") && (begins(body, "<!doctype html") || begins(body, "<html"))
}

/// Whether a 400 is about the size of a message between the receiver's own servers. Cortex passes
/// on what gRPC says (`rpc_util.go` `recvAndDecompress`), and stores nothing of the request.
fn names_message_limit(body: &str) -> bool {
    body.contains("received message larger than max")
}

/// Whether a 400 is about samples that are older than others of their series, or are there with the
/// same timestamp. An exact repeat of samples that were stored is answered so, unless they are the
/// newest of their series (prometheus tsdb/head_append.go, storage/interface.go).
fn names_known_samples(body: &str) -> bool {
    ["out of order sample", "duplicate sample", "too old sample"]
        .iter()
        .any(|known| body.contains(known))
}

/// Whether a 429 is about samples a second (cortex distributor.go `Push`), and not about requests a
/// second.
fn names_ingestion_rate(body: &str) -> bool {
    body.contains("ingestion rate limit")
}

/// Whether an answer is about the number of active series, which no retry clears: a 400 of Cortex
/// (ingester.go `Push`), a 429 elsewhere. A 429 about the ingestion rate names no series limit.
pub(super) fn names_series_limit(body: &str) -> bool {
    let body = body.to_ascii_lowercase();
    ["series limit", "active series", "max series"]
        .iter()
        .any(|limit| body.contains(limit))
}

/// Reads `Retry-After` as seconds or as an HTTP date, as storage/remote/client.go
/// `retryAfterDuration` does. Any other value counts as absent.
fn retry_after(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(value)
                .ok()?
                .duration_since(UNIX_EPOCH)
                .ok()?;
            at.saturating_sub(Duration::from_millis(u64::try_from(now_ms).unwrap_or(0)))
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fri, 20 Nov 2026 12:00:00 GMT
    const NOW_MS: i64 = 1_795_176_000_000;

    fn judge(
        status: u16,
        retry_after: Option<&str>,
        body: &str,
        retry_on_http_429: bool,
    ) -> Verdict {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
        }
        verdict(
            status,
            &headers,
            body,
            &VerdictOptions {
                retry_on_http_429,
                in_doubt: false,
                now_ms: NOW_MS,
            },
        )
    }

    #[test]
    fn each_row_of_the_table() {
        let retry = Verdict::Retry { after: None };
        let rows: &[(&[u16], Verdict)] = &[
            (&[200, 201, 204, 206], Verdict::Written),
            (&[202], Verdict::Deduplicated),
            (
                &[
                    400, 402, 406, 407, 409, 410, 411, 412, 414, 415, 417, 418, 421, 422, 431, 451,
                    499,
                ],
                Verdict::Rejected,
            ),
            (&[401, 403], Verdict::Denied),
            (&[404, 405], Verdict::Misconfigured),
            (&[413], Verdict::TooLarge),
            (&[408, 425, 429], retry),
            (&[500, 501, 502, 503, 504, 529, 599], retry),
            (
                &[0, 100, 101, 300, 301, 302, 303, 304, 307, 308, 600, 999],
                Verdict::Misconfigured,
            ),
        ];
        for (statuses, expected) in rows {
            for &status in *statuses {
                assert_eq!(judge(status, None, "", true), *expected, "{status}");
            }
        }
    }

    #[test]
    fn a_web_page_is_no_receiver() {
        let page = "\r\n<!DOCTYPE html><title>Log in</title>";
        for (status, kind, body, expected) in [
            (
                200,
                "text/html; charset=utf-8",
                page,
                Verdict::Misconfigured,
            ),
            (202, "text/html", "<html lang=en>", Verdict::Misconfigured),
            // As frameworks call the answer of a receiver that says nothing, or little.
            (200, "text/html; charset=utf-8", "", Verdict::Written),
            (200, "text/html", "OK", Verdict::Written),
            (200, "text/plain", page, Verdict::Written),
            (503, "text/html", page, Verdict::Retry { after: None }),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
            let options = VerdictOptions {
                retry_on_http_429: true,
                in_doubt: false,
                now_ms: NOW_MS,
            };
            let found = verdict(status, &headers, body, &options);
            assert_eq!(found, expected, "{status} {kind} {body}");
        }
    }

    #[test]
    fn a_400_about_the_size_of_a_message_is_a_413() {
        // As a Cortex 1.21 answers a body above its limit of 4 MiB.
        let body = "rpc error: code = ResourceExhausted desc = grpc: received message larger than \
                    max (8388612 vs. 4194304)";
        assert_eq!(judge(400, None, body, true), Verdict::TooLarge);
        assert_eq!(judge(422, None, body, true), Verdict::Rejected);
        let other = "maxFailure (quorum) on a given error family, addr=10.0.0.1:9095 state=ACTIVE";
        assert_eq!(judge(400, None, other, true), Verdict::Rejected);
    }

    #[test]
    fn a_429_is_retried_only_for_its_rate_and_only_where_wanted() {
        let rate = "ingestion rate limit (100) exceeded while adding 50 samples and 0 metadata";
        assert_eq!(
            judge(429, Some("3"), rate, true),
            Verdict::OverRate {
                after: Some(Duration::from_secs(3))
            }
        );
        assert_eq!(
            judge(429, None, "{\"message\":\"Rate exceeded\"}", true),
            Verdict::Retry { after: None }
        );
        assert_eq!(judge(429, None, rate, false), Verdict::Rejected);
        for limit in [
            "per-user series limit of 5000000 exceeded, contact administrator to raise it",
            "per-metric series limit of 50000 exceeded",
            "Active series limit exceeded",
        ] {
            assert_eq!(
                judge(429, Some("5"), limit, true),
                Verdict::Rejected,
                "{limit}"
            );
        }
    }

    #[test]
    fn a_repeat_in_doubt_that_is_refused_for_its_order_is_there() {
        // As a Cortex 1.21 words them.
        let rows = [
            (
                "user=anonymous: err: out of order sample. timestamp=…",
                true,
            ),
            (
                "err: duplicate sample for timestamp 1795176000000; overrides not allowed",
                true,
            ),
            ("user=anonymous: err: too old sample. timestamp=…", true),
            ("user=anonymous: err: out of bounds. timestamp=…", false),
            ("sample invalid label: \"a-b\"", false),
            ("", false),
        ];
        for (body, is_there) in rows {
            let judge = |status, in_doubt| {
                let options = VerdictOptions {
                    retry_on_http_429: true,
                    in_doubt,
                    now_ms: NOW_MS,
                };
                verdict(status, &HeaderMap::new(), body, &options)
            };
            let expected = if is_there {
                Verdict::Repeated
            } else {
                Verdict::Rejected
            };
            assert_eq!(judge(400, true), expected, "{body}");
            assert_eq!(judge(400, false), Verdict::Rejected, "{body}");
            assert_eq!(judge(422, true), Verdict::Rejected, "{body}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let rows = [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", Some(0)),
            ("86400", Some(3600)),
            ("18446744073709551616", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("Fri, 20 Nov 2026 12:00:09 GMT", Some(9)),
            ("Fri, 20 Nov 2026 11:59:00 GMT", Some(0)),
            ("Fri, 20 Nov 2099 12:00:00 GMT", Some(3600)),
        ];
        for (value, seconds) in rows {
            let expected = Verdict::Retry {
                after: seconds.map(Duration::from_secs),
            };
            for status in [408, 425, 429, 500, 503] {
                assert_eq!(
                    judge(status, Some(value), "", true),
                    expected,
                    "{status} {value:?}"
                );
            }
        }
    }

    proptest! {
        /// Every answer has a verdict, and only a 2xx says that the samples are done.
        #[test]
        fn every_answer_has_a_verdict(
            status: u16,
            body in ".{0,200}",
            after in proptest::option::of("[ -~]{0,40}"),
            policy: bool,
        ) {
            let verdict = judge(status, after.as_deref(), &body, policy);
            let is_done = matches!(verdict, Verdict::Written | Verdict::Deduplicated);
            prop_assert_eq!(is_done, (200..300).contains(&status));
            if verdict == Verdict::Rejected {
                prop_assert!((400..500).contains(&status));
            }
            if let Verdict::Retry { after: Some(after) } = verdict {
                prop_assert!(after <= MAX_RETRY_AFTER);
            }
        }
    }
}
