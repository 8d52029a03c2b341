//! Lambda on this machine: the function as a child process, and two runtime APIs for it to speak
//! to.
//!
//! [`Emulator`] is cargo-lambda's, a second opinion on the protocol. [`RuntimeApi`] is ours:
//! deadlines to the millisecond, function errors with their type, and the invocation that a killed
//! function never answers.

mod emulator;
mod function;
mod runtime_api;

pub use emulator::Emulator;
pub use function::{Function, FunctionOptions};
pub use runtime_api::RuntimeApi;

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum InvocationResult {
    /// The handler's answer.
    Answer(serde_json::Value),
    /// A function error: `{"errorType":…,"errorMessage":…}`.
    Error(serde_json::Value),
}

impl InvocationResult {
    /// The answer.
    ///
    /// # Errors
    /// Fails when it was a function error.
    pub fn answer(self) -> anyhow::Result<serde_json::Value> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Error(error) => anyhow::bail!("function error: {error}"),
        }
    }

    /// `errorType` of a function error.
    pub fn error_type(&self) -> Option<&str> {
        match self {
            Self::Answer(_) => None,
            Self::Error(error) => error["errorType"].as_str(),
        }
    }
}
