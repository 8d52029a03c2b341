//! The Lambda function.

use std::rc::Rc;

use amp_forwarder::config::process_env;
use amp_forwarder::function::Function;
use amp_forwarder::report::logs;
use lambda_runtime::tower::util::MapRequestLayer;
use lambda_runtime::{LambdaEvent, LambdaInvocation, Runtime, service_fn};
use serde_json::Value;
use tokio::sync::Mutex;

// One thread: a function of 128 MB has a fourteenth of a core.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::start_json(&process_env);
    let function = Rc::new(Mutex::new(Function::default()));
    let handler = service_fn(move |event: LambdaEvent<Value>| {
        let function = Rc::clone(&function);
        async move { function.lock().await.handle(event).await }
    });
    Runtime::new(handler)
        .layer(MapRequestLayer::new(empty_is_null))
        .run()
        .await
}

/// Turns an empty payload, which is not JSON, into `null`, which means the same.
fn empty_is_null(mut invocation: LambdaInvocation) -> LambdaInvocation {
    if invocation.body.is_empty() {
        invocation.body = "null".into();
    }
    invocation
}
