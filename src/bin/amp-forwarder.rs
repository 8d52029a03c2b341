//! The Lambda function.

use amp_forwarder::config::process_env;
use amp_forwarder::function::Function;
use amp_forwarder::report::logs;

// One thread: a function of 128 MB has a fourteenth of a core.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::start_json(&process_env);
    Function::default().run().await
}
