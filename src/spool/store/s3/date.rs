//! The date of an answer.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};

/// Takes the `Date` header from an answer, which the outputs of the SDK do not have. The lease is
/// measured with it.
///
/// The SDK shares interceptors between threads ([`Intercept`] is `Send + Sync`), hence the lock. It
/// is locked once for a request to the store, and never waited for.
#[derive(Clone, Default)]
pub(super) struct DateWitness(Arc<Mutex<Option<i64>>>);

impl DateWitness {
    /// The date of the answer, milliseconds since 1970; `None` before it, and when it has none.
    pub(super) fn date_ms(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DateWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DateWitness")
    }
}

impl Intercept for DateWitness {
    fn name(&self) -> &'static str {
        "DateWitness"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let date = context
            .response()
            .headers()
            .get("date")
            .and_then(|date| httpdate::parse_http_date(date).ok());
        let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            since.and_then(|since| i64::try_from(since.as_millis()).ok());
        Ok(())
    }
}
