//! Takes what a request has sent out of what the other side says about it: a server may repeat
//! headers and addresses in its answer, and the answer goes to logs, reports and the spool.

use std::collections::HashSet;

use ::http::HeaderMap;
use ::http::header::{AUTHORIZATION, HeaderName};
use aws_smithy_types::base64;
use url::{Url, form_urlencoded};

use crate::config::Secret;

/// Shorter secrets are not looked for: replacing them would tear holes into innocent text.
const SHORTEST_SECRET: usize = 4;

/// From this length on, parts of a secret are looked for as well: a server may cut what it repeats.
const SHORTEST_IN_PARTS: usize = 16;

/// Length of the parts that are looked for. Longer ones consist of several.
const PART: usize = 8;

const SESSION_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// What is shown in the place of a secret.
const MARK: &str = "<secret>";

/// The secrets that went out with one request.
#[derive(Clone, Default)]
pub(super) struct Scrubber {
    secrets: Vec<Secret>,
}

impl Scrubber {
    /// Adds a secret, as it is and as JSON, URLs and forms write it.
    pub(super) fn add(&mut self, secret: &str) {
        if secret.len() < SHORTEST_SECRET {
            return;
        }
        let json = serde_json::Value::from(secret).to_string();
        let escaped: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let percent = escaped.replace('+', "%20");
        for text in [secret, &json[1..json.len() - 1], &escaped, &percent] {
            if !self.secrets.iter().any(|known| known.expose() == text) {
                self.secrets.push(Secret::new(text));
            }
        }
    }

    /// Adds user information and the values of the query: both may be credentials.
    pub(super) fn add_url(&mut self, url: &Url) {
        let password = url.password().unwrap_or_default();
        self.add(url.username());
        self.add(password);
        if !password.is_empty() {
            self.add(&base64::encode(format!("{}:{password}", url.username())));
        }
        for (_, value) in url.query_pairs() {
            self.add(&value);
        }
        // As it is written, which is not always how it would be escaped.
        for pair in url.query().unwrap_or_default().split('&') {
            self.add(pair.split_once('=').map_or("", |(_, value)| value));
        }
    }

    /// Adds the values of the headers that hold credentials.
    pub(super) fn add_headers(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            let Ok(text) = value.to_str() else { continue };
            if name == AUTHORIZATION {
                self.add_authorization(text);
            } else if name == SESSION_TOKEN {
                // A real one has hundreds of characters. A word would hide what AWS says about it.
                if text.len() >= SHORTEST_IN_PARTS {
                    self.add(text);
                }
            } else if value.is_sensitive() {
                self.add(text);
            }
        }
    }

    /// Adds the credentials of an `Authorization` header, without the scheme. Of a signature, whose
    /// other words are common ones, these are the access key with its scope and the signature.
    pub(super) fn add_authorization(&mut self, value: &str) {
        let credentials = value.split_once(' ').map_or(value, |(_, rest)| rest);
        let parts = ["Credential=", "Signature="].map(|name| {
            let (_, rest) = credentials.split_once(name)?;
            rest.split(',').next()
        });
        if let [Some(key), Some(signature)] = parts {
            self.add(key);
            self.add(signature);
        } else {
            self.add(credentials);
        }
    }

    /// The beginning of an answer as text without the secrets, cut to at most `most` bytes only
    /// then: a secret that the cut goes through would no longer be found.
    pub(super) fn clean(&self, answer: &[u8], most: usize) -> String {
        let mut hidden = vec![false; answer.len()];
        for secret in &self.secrets {
            hide(secret.expose().as_bytes(), answer, &mut hidden);
        }
        let mut shown = Vec::with_capacity(answer.len());
        for (at, byte) in answer.iter().enumerate() {
            if !hidden[at] {
                shown.push(*byte);
            } else if at == 0 || !hidden[at - 1] {
                shown.extend_from_slice(MARK.as_bytes());
            }
        }
        let mut text = String::from_utf8_lossy(&shown).into_owned();
        text.truncate(text.floor_char_boundary(most));
        text
    }
}

/// Marks where a secret, or a recognizable part of it, is in `text`.
fn hide(secret: &[u8], text: &[u8], hidden: &mut [bool]) {
    let mut mark = |at: usize, length: usize| hidden[at..at + length].fill(true);
    for (at, found) in text.windows(secret.len()).enumerate() {
        if found == secret {
            mark(at, secret.len());
        }
    }
    if secret.len() >= SHORTEST_IN_PARTS {
        let parts: HashSet<&[u8]> = secret.windows(PART).collect();
        for (at, found) in text.windows(PART).enumerate() {
            if parts.contains(found) {
                mark(at, PART);
            }
        }
    }
    // The text may end within a secret, because no more of it was read.
    let longest = secret.len().min(text.len());
    let begun = (SHORTEST_SECRET..longest)
        .rev()
        .find(|length| text.ends_with(&secret[..*length]));
    if let Some(length) = begun {
        mark(text.len() - length, length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scrubber(secrets: &[&str]) -> Scrubber {
        let mut scrubber = Scrubber::default();
        secrets.iter().for_each(|secret| scrubber.add(secret));
        scrubber
    }

    #[test]
    fn secrets_are_found_as_they_are_written_and_in_parts() {
        let scrubber = scrubber(&["open sesame & \"shut\"", "abc", "hunter2"]);
        for (said, shown) in [
            ("it was open sesame & \"shut\".", "it was <secret>."),
            (
                r#"{"got":"open sesame & \"shut\""}"#,
                r#"{"got":"<secret>"}"#,
            ),
            ("?k=open+sesame+%26+%22shut%22", "?k=<secret>"),
            ("?k=open%20sesame%20%26%20%22shut%22", "?k=<secret>"),
            (
                "the secret 'open sesame &...' is wrong",
                "the secret '<secret>...' is wrong",
            ),
            ("ends with open se", "ends with <secret>"),
            ("ends with hunt", "ends with <secret>"),
            (
                "a hunter is no secret, nor is abc",
                "a hunter is no secret, nor is abc",
            ),
            ("", ""),
        ] {
            assert_eq!(scrubber.clean(said.as_bytes(), 1024), shown);
        }
    }

    #[test]
    fn what_a_request_carries_is_known() {
        let mut headers = HeaderMap::new();
        let mut secret = ::http::HeaderValue::from_static("tenant-key-1234");
        secret.set_sensitive(true);
        headers.insert("x-key", secret);
        headers.insert("accept", "text/plain".parse().unwrap());
        headers.insert(
            "x-amz-security-token",
            "FwoGZXIvYXdzEJrABC".parse().unwrap(),
        );
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261120/eu-west-1/aps, \
                             SignedHeaders=host, Signature=5d672d79c15b13162d9279b0855cfba6";
        headers.insert("authorization", authorization.parse().unwrap());
        let mut scrubber = Scrubber::default();
        scrubber.add_headers(&headers);
        scrubber.add_url(
            &"https://me:pass%20word@h/p?token=a%2Bb-c&x=1"
                .parse()
                .unwrap(),
        );
        let said = format!(
            "{authorization} FwoGZXIvYXdzEJrABC tenant-key-1234 a+b-c a%2Bb-c text/plain \
             Credential should be scoped to a valid region"
        );
        assert_eq!(
            scrubber.clean(said.as_bytes(), 1024),
            "AWS4-HMAC-SHA256 Credential=<secret>, SignedHeaders=host, Signature=<secret> \
             <secret> <secret> <secret> <secret> text/plain \
             Credential should be scoped to a valid region"
        );
    }

    proptest! {
        /// However an answer is cut, at most seven characters in a row of a secret are left.
        #[test]
        fn no_cut_shows_a_secret(
            before in ".{0,80}",
            from in 0_usize..20,
            to in 9_usize..30,
            end in 0_usize..120,
            most in 0_usize..120,
        ) {
            const SECRET: &str = "0123456789ABCDEFGHIJKLMNOPQRS";
            let part = &SECRET[from.min(to - 9)..to.min(SECRET.len())];
            let said = format!("{before}{part}");
            let read = &said.as_bytes()[..end.min(said.len())];
            let shown = scrubber(&[SECRET]).clean(read, most);
            prop_assert!(shown.len() <= most);
            for known in SECRET.as_bytes().windows(PART) {
                let known = std::str::from_utf8(known).unwrap();
                prop_assert!(!shown.contains(known), "{shown}");
            }
        }
    }
}
