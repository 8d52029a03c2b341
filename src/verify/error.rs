//! Why an end could not be read.

use crate::net::NetError;
use crate::net::sign::SignError;
use crate::read::response::MalformedResponse;
use crate::read::snappy::SnappyError;

/// What can be done about an end that could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndFault {
    /// A shorter range may be answered.
    TooMuch,
    /// The same request may be answered later.
    Passing,
    /// This way of reading is not offered there.
    NotOffered,
    /// A person must change something.
    Final,
}

/// An end that could not be read: its address, the cause and the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address}: {cause}")]
pub struct EndError {
    /// What can be done about it.
    pub fault: EndFault,
    /// Scheme, host, port and path.
    pub address: String,
    /// What was found, and what to do.
    pub cause: String,
}

impl EndError {
    pub(super) fn new(fault: EndFault, address: &str, cause: impl Into<String>) -> Self {
        Self {
            fault,
            address: address.to_owned(),
            cause: cause.into(),
        }
    }

    /// The error of an answer that is not 200. Prometheus answers errors in plain text or JSON.
    pub(super) fn status(address: &str, status: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
        let too_much = ["exceeded", "too many samples", "limit", "memory"]
            .iter()
            .any(|word| text.contains(word));
        let (fault, hint) = match status {
            413 | 502 | 504 => (EndFault::TooMuch, ""),
            400 | 422 | 500 if too_much => (EndFault::TooMuch, ""),
            301..=308 | 404 | 405 | 501 => (EndFault::NotOffered, ""),
            401 | 403 => (
                EndFault::Final,
                "; reading needs a permission of its own: for AMP, aps:QueryMetrics",
            ),
            408 | 429 | 503 => (EndFault::Passing, ""),
            400 => (EndFault::NotOffered, ""),
            500.. => (EndFault::Passing, ""),
            _ => (EndFault::Final, ""),
        };
        Self::new(fault, address, format!("answered {status}: {text}{hint}"))
    }
}

impl From<NetError> for EndError {
    fn from(error: NetError) -> Self {
        let fault = if error.timed_out {
            EndFault::TooMuch
        } else {
            EndFault::Passing
        };
        let hint = error
            .hint
            .map(|hint| format!("; {hint}"))
            .unwrap_or_default();
        Self {
            fault,
            address: error.address.clone(),
            cause: format!("{}: {}{hint}", error.phase, error.cause),
        }
    }
}

impl EndError {
    pub(super) fn signing(address: &str, error: &SignError) -> Self {
        let fault = if error.is_final() {
            EndFault::Final
        } else {
            EndFault::Passing
        };
        Self::new(fault, address, format!("sign: {error}"))
    }
}

/// Why the body of an answer is no good.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error(transparent)]
    Snappy(#[from] SnappyError),
    #[error(transparent)]
    Malformed(#[from] MalformedResponse),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("a label is not UTF-8")]
    Text,
}

impl AnswerError {
    pub(super) fn at(self, address: &str) -> EndError {
        match self {
            Self::Net(error) => error.into(),
            Self::Snappy(SnappyError::TooLong { .. }) => {
                EndError::new(EndFault::TooMuch, address, self.to_string())
            }
            _ => EndError::new(EndFault::Passing, address, self.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_can_be_done() {
        for (status, body, fault) in [
            (400, "exceeded sample limit (10)", EndFault::TooMuch),
            (400, "unsupported path", EndFault::NotOffered),
            (
                422,
                "query processing would load too many samples",
                EndFault::TooMuch,
            ),
            (403, "", EndFault::Final),
            (404, "", EndFault::NotOffered),
            (429, "", EndFault::Passing),
            (503, "", EndFault::Passing),
            (504, "", EndFault::TooMuch),
        ] {
            let error = EndError::status("http://h/x", status, body.as_bytes());
            assert_eq!(error.fault, fault, "{error}");
        }
        let denied = EndError::status("http://h/x", 403, b"AccessDenied\x1b[31m");
        assert!(denied.to_string().contains("aps:QueryMetrics"), "{denied}");
        assert!(!denied.to_string().contains('\x1b'), "{denied}");
    }
}
