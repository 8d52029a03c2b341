//! What the head of an answer says: whether it is one of remote read, and when it was made.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE};

use crate::home::ResponseBody;

/// Bytes of the body of an error that are read at most.
const MAX_ERROR_BYTES: usize = 4 * 1024;

/// Characters of it that an error shows.
const SHOWN_CHARS: usize = 200;

/// What the headers name in the place of an uncut `ReadResponse` in snappy's block format. `None`
/// when they name that.
pub(super) fn foreign(headers: &HeaderMap) -> Option<String> {
    let media_type = text(headers, &CONTENT_TYPE);
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-protobuf") {
        return Some(match shown(essence) {
            none if none.is_empty() => "without Content-Type".to_owned(),
            found => found,
        });
    }
    // A proxy that compresses on its own would have to be asked for it.
    let coding = text(headers, &CONTENT_ENCODING).trim();
    (!coding.is_empty() && !coding.eq_ignore_ascii_case("snappy"))
        .then(|| format!("compressed with {}", shown(coding)))
}

/// The header `Date`, milliseconds since 1970.
pub(super) fn date_ms(headers: &HeaderMap) -> Option<i64> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let since_1970 = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since_1970.as_millis()).ok()
}

/// The start of the body of an error, on one line. Prometheus writes plain text, sometimes under
/// the header of the compressed answer that it had begun.
pub(super) async fn error_text(headers: &HeaderMap, body: &mut dyn ResponseBody) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ERROR_BYTES
        && let Ok(Some(chunk)) = body.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(MAX_ERROR_BYTES - bytes.len())]);
    }
    let is_snappy = text(headers, &CONTENT_ENCODING) == "snappy";
    let decoded = is_snappy
        .then(|| decoded(&bytes))
        .flatten()
        .unwrap_or(bytes);
    // A home or a proxy may repeat what the request carried.
    shown(&body.without_secrets(&decoded, MAX_ERROR_BYTES))
}

fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    snap::raw::decompress_len(bytes)
        .ok()
        .filter(|&len| len <= MAX_ERROR_BYTES)?;
    snap::raw::Decoder::new().decompress_vec(bytes).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// What others wrote, as an error shows it.
fn shown(text: &str) -> String {
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::net::NetError;

    struct Chunks(Vec<Bytes>);

    impl ResponseBody for Chunks {
        fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
            let next = (!self.0.is_empty()).then(|| self.0.remove(0));
            Box::pin(std::future::ready(Ok(next)))
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| {
                let name = http::HeaderName::from_static(name);
                (name, http::HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn only_a_remote_read_is_one() {
        for (pairs, found) in [
            (
                &[
                    ("content-type", "application/x-protobuf"),
                    ("content-encoding", "snappy"),
                ][..],
                None,
            ),
            (
                &[("content-type", "Application/X-Protobuf; charset=x")],
                None,
            ),
            (
                &[("content-type", "text/html; charset=utf-8")],
                Some("text/html"),
            ),
            (&[], Some("without Content-Type")),
            (
                &[("content-type", "application/x-streamed-protobuf; proto=x")],
                Some("application/x-streamed-protobuf"),
            ),
            (
                &[
                    ("content-type", "application/x-protobuf"),
                    ("content-encoding", "gzip"),
                ],
                Some("compressed with gzip"),
            ),
        ] {
            assert_eq!(foreign(&headers(pairs)).as_deref(), found, "{pairs:?}");
        }
    }

    #[test]
    fn the_date_is_a_time_of_1970_or_later() {
        for (value, expected) in [
            ("Thu, 01 Jan 1970 00:00:05 GMT", Some(5_000)),
            ("Sat, 28 Nov 2026 23:00:00 GMT", Some(1_795_906_800_000)),
            ("Wed, 31 Dec 1969 23:59:59 GMT", None),
            ("tomorrow", None),
        ] {
            assert_eq!(date_ms(&headers(&[("date", value)])), expected, "{value}");
        }
        assert_eq!(date_ms(&HeaderMap::new()), None);
    }

    #[test]
    fn the_text_of_an_error_is_one_short_line() {
        let snappy = snap::raw::Encoder::new()
            .compress_vec(b"exceeded sample limit (5)")
            .unwrap();
        let plain = headers(&[]);
        let labelled = headers(&[("content-encoding", "snappy")]);
        for (headers, chunks, expected) in [
            (
                &plain,
                vec!["no\n\tway".as_bytes(), b" \x1b[31m!\n"],
                "no way [31m!",
            ),
            (
                &labelled,
                vec![b"plain all the same\n"],
                "plain all the same",
            ),
            (&labelled, vec![&snappy], "exceeded sample limit (5)"),
            (&plain, vec![], ""),
            (&plain, vec![b"\xff\xfe"], "\u{fffd}\u{fffd}"),
        ] {
            let chunks = chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk));
            let mut chunks = Chunks(chunks.collect());
            let text = error_text(headers, &mut chunks);
            assert_eq!(text.now_or_never().as_deref(), Some(expected));
        }
        let long = Chunks(vec![Bytes::from(vec![b'x'; 3_000]); 100]).0;
        let mut long = Chunks(long);
        let text = error_text(&plain, &mut long).now_or_never().unwrap();
        assert_eq!((text.len(), long.0.len()), (SHOWN_CHARS, 98));
    }
}
