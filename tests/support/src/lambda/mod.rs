//! Lambda on this machine: the function as a child process, and two runtime APIs that it can run
//! against.
//!
//! [`Emulator`] is cargo-lambda's, a second opinion on the protocol. [`RuntimeApi`] is our own: it
//! has deadlines to the millisecond, function errors with their type, and invocations that a killed
//! function never answers.

mod emulator;
mod function;
mod runtime_api;

pub use emulator::Emulator;
pub use function::{Function, FunctionOptions};
pub use runtime_api::RuntimeApi;

/// The end of an invocation.
#[derive(Debug, Clone, PartialEq)]
pub enum InvocationResult {
    /// The handler's answer.
    Answer(serde_json::Value),
    /// A function error: `{"errorType":…,"errorMessage":…}`.
    Error(serde_json::Value),
}

impl InvocationResult {
    /// Takes the answer.
    ///
    /// # Errors
    /// Fails when the function reported an error.
    pub fn answer(self) -> anyhow::Result<serde_json::Value> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Error(error) => anyhow::bail!("function error: {error}"),
        }
    }

    /// The `errorType` of a function error.
    pub fn error_type(&self) -> Option<&str> {
        match self {
            Self::Answer(_) => None,
            Self::Error(error) => error["errorType"].as_str(),
        }
    }
}
