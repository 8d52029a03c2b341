//! The words in which a home refuses a request.

use std::io::Read as _;

use crate::home::ResponseBody;

/// Bytes of a refusal that are shown.
const SHOWN: usize = 300;

/// Bytes of a refusal that are read: secrets are taken out before the text is cut.
const READ: usize = 4 * SHOWN;

/// The start of a body as one line: the words in which a home refuses a selector.
pub(super) async fn first_line(body: &mut dyn ResponseBody, gzip: bool) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < READ
        && let Ok(Some(chunk)) = body.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(READ)]);
    }
    let mut text = Vec::new();
    if gzip {
        // What was decoded before an error is shown.
        let decoder = flate2::read::GzDecoder::new(bytes.as_slice());
        let _ = decoder.take(READ as u64).read_to_end(&mut text);
    } else {
        text = bytes;
    }
    let text = body.without_secrets(&text, SHOWN);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let printable = words
        .chars()
        .filter(|c| !c.is_control() && *c != char::REPLACEMENT_CHARACTER);
    printable.take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use bytes::Bytes;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::net::NetError;
    use crate::scrape::ScrapeError;

    struct OneChunk(Option<Bytes>);

    impl ResponseBody for OneChunk {
        fn chunk(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, NetError>> {
            let chunk = self.0.take();
            Box::pin(async move { Ok(chunk) })
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_words_of_the_home() {
        let words =
            "invalid parameter \"match[]\": 1:1:\n parse error: unexpected character: '%'\n";
        let line = "invalid parameter \"match[]\": 1:1: parse error: unexpected character: '%'";
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(words.as_bytes()).unwrap();
        let compressed = encoder.finish().unwrap();
        for (bytes, gzip, expected) in [
            (words.as_bytes().to_vec(), false, line.to_owned()),
            (compressed, true, line.to_owned()),
            (vec![0xff, b'a', 0x1b], false, "a".to_owned()),
            (vec![b'x'; 5000], false, "x".repeat(SHOWN)),
            (b"no gzip".to_vec(), true, String::new()),
        ] {
            let mut body = OneChunk(Some(bytes.into()));
            assert_eq!(first_line(&mut body, gzip).await, expected);
        }
        let error = ScrapeError::Status {
            address: "http://h/federate".to_owned(),
            status: 400,
            answer: line.to_owned(),
        };
        assert!(
            error
                .to_string()
                .contains("HTTP status 400: invalid parameter"),
            "{error}"
        );
    }
}
