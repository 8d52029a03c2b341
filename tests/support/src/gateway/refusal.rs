//! A refusal: an answer other than 200, with its reason in a form that tests can match.

/// The reason why a request, or some of its samples, were refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The request has no `Authorization` header.
    MissingToken,
    /// The `Authorization` header cannot be read, or does not cover what it must.
    IncompleteSignature,
    /// The access key, or the session token with it, is unknown.
    UnknownKey,
    /// The signature does not match.
    SignatureMismatch,
    /// The signature's date is too far from our clock.
    Expired,
    /// The signature is scoped to another region.
    WrongRegion,
    /// The signature is scoped to another service.
    WrongService,
    /// The key's owner is not allowed to write.
    AccessDenied,
    /// The path is not the workspace's.
    NoSuchPath,
    /// The method is not POST.
    Method,
    /// A header is missing, wrong or refused.
    Header,
    /// The body is not snappy, or not a write request.
    Malformed,
    /// The body exceeds the byte limit.
    TooLarge,
    /// AMP refuses the label set.
    Labels,
    /// AMP refuses the metadata.
    Metadata,
    /// The request has exemplars, which AMP does not take.
    Exemplar,
    /// The sample is older than the age limit, or than the newest sample allows.
    TooOld,
    /// The sample is too far ahead of our clock.
    TooNew,
    /// The sample is older than the newest of its series, and outside the window.
    OutOfOrder,
    /// The sample has the newest timestamp of its series with another value.
    Duplicate,
    /// The limit of samples a second is exceeded.
    RateLimit,
    /// The limit of requests a second is exceeded.
    RequestRate,
    /// The limit of active series is exceeded.
    SeriesLimit,
    /// Another replica is elected.
    Replica,
    /// There are too many HA clusters.
    HaClusters,
    /// The receiver behind the gateway is away.
    UpstreamAway,
    /// The receiver behind the gateway refused what the gateway accepted.
    UpstreamRefused,
}

/// The answer to a refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Body of the answer, in AMP's words.
    pub body: String,
    /// The reason of the refusal.
    pub reason: Reason,
}

impl Refusal {
    /// Makes a refusal in plain text, as Cortex writes them.
    pub fn text(status: u16, reason: Reason, body: impl Into<String>) -> Self {
        Self {
            status,
            body: body.into(),
            reason,
        }
    }

    /// Makes a refusal of the API in front of Cortex: JSON with a message.
    pub fn json(status: u16, reason: Reason, message: impl Into<String>) -> Self {
        let body = serde_json::json!({ "message": message.into() }).to_string();
        Self {
            status,
            body,
            reason,
        }
    }
}
