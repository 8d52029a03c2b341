//! An answer that is no 200, with the reason in a form that tests can match.

/// Why a request, or some of its samples, were not taken.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No `Authorization`.
    MissingToken,
    /// `Authorization` cannot be read, or does not cover what it must.
    IncompleteSignature,
    /// The access key, or the session token with it, is not known.
    UnknownKey,
    /// The signature does not match.
    SignatureMismatch,
    /// The signature's date is too far from our clock.
    Expired,
    /// Scoped to another region.
    WrongRegion,
    /// Scoped to another service.
    WrongService,
    /// The key's owner may not write.
    AccessDenied,
    /// Not the path of the workspace.
    NoSuchPath,
    /// Not a POST.
    Method,
    /// A header is missing, wrong or refused.
    Header,
    /// Not snappy, or not a write request.
    Malformed,
    /// Over the byte limit.
    TooLarge,
    /// A label set that AMP refuses.
    Labels,
    /// Metadata that AMP refuses.
    Metadata,
    /// Exemplars: AMP takes none.
    Exemplar,
    /// Older than the age limit, or than the newest sample allows.
    TooOld,
    /// Too far ahead of our clock.
    TooNew,
    /// Older than the newest of its series, and outside the window.
    OutOfOrder,
    /// The newest timestamp of its series again, with another value.
    Duplicate,
    /// Samples a second.
    RateLimit,
    /// Requests a second.
    RequestRate,
    /// Active series.
    SeriesLimit,
    /// Another replica is the elected one.
    Replica,
    /// Too many HA clusters.
    HaClusters,
    /// The receiver behind the gateway is away.
    UpstreamAway,
    /// The receiver behind the gateway refused what the gateway accepted.
    UpstreamRefused,
}

/// A refusal: status, body and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The body, as AMP words it.
    pub body: String,
    /// The reason.
    pub reason: Reason,
}

impl Refusal {
    /// A plain text refusal, as Cortex writes them.
    pub fn text(status: u16, reason: Reason, body: impl Into<String>) -> Self {
        Self {
            status,
            body: body.into(),
            reason,
        }
    }

    /// A refusal of the API in front of Cortex: JSON with a message.
    pub fn json(status: u16, reason: Reason, message: impl Into<String>) -> Self {
        let body = serde_json::json!({ "message": message.into() }).to_string();
        Self {
            status,
            body,
            reason,
        }
    }
}
