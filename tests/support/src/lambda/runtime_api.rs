//! Our own Lambda runtime API, version 2018-06-01: one invocation at a time, with the deadline that
//! the test chooses.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

use super::InvocationResult;
use crate::http::{self as server, HandlerResult, Server, ServerRequest};
use crate::now_ms;

const PREFIX: &str = "/2018-06-01/runtime/";
/// Lambda's limit for a synchronous answer.
const LARGEST_ANSWER: usize = 6 << 20;

#[derive(Debug)]
struct PendingInvocation {
    id: String,
    payload: Bytes,
    deadline_ms: i64,
    done: oneshot::Sender<InvocationResult>,
}

#[derive(Debug)]
struct State {
    queue: AsyncMutex<mpsc::UnboundedReceiver<PendingInvocation>>,
    running: Mutex<HashMap<String, oneshot::Sender<InvocationResult>>>,
    init_errors: Mutex<Vec<serde_json::Value>>,
}

/// A runtime API that a function can be started against.
#[derive(Debug)]
pub struct RuntimeApi {
    server: Server,
    state: Arc<State>,
    queue: mpsc::UnboundedSender<PendingInvocation>,
    count: std::sync::atomic::AtomicU64,
}

impl RuntimeApi {
    /// Starts a runtime API on a free port.
    ///
    /// # Errors
    /// Fails when no port can be listened on.
    pub async fn start() -> Result<Self> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            queue: AsyncMutex::new(receiver),
            running: Mutex::default(),
            init_errors: Mutex::default(),
        });
        let shared = state.clone();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server =
            Server::start(listen, move |request, _| answer(shared.clone(), request)).await?;
        Ok(Self {
            server,
            state,
            queue: sender,
            count: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// Value of `AWS_LAMBDA_RUNTIME_API` for the function.
    pub fn runtime_api(&self) -> String {
        self.server.address().to_string()
    }

    /// Invokes the function with a deadline `time_limit` from now, and waits for its answer.
    ///
    /// # Errors
    /// Fails when there is no answer two seconds after the deadline. Lambda would have killed the
    /// function at the deadline.
    pub async fn invoke(
        &self,
        payload: impl Into<Bytes>,
        time_limit: Duration,
    ) -> Result<InvocationResult> {
        let number = self.count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
        let id = format!("00000000-0000-4000-8000-{number:012}");
        let (done, answered) = oneshot::channel();
        let deadline_ms = now_ms() + i64::try_from(time_limit.as_millis())?;
        self.queue
            .send(PendingInvocation {
                id: id.clone(),
                payload: payload.into(),
                deadline_ms,
                done,
            })
            .context("the runtime API has ended")?;
        let answer = tokio::time::timeout(time_limit + Duration::from_secs(2), answered).await;
        lock(&self.state.running).remove(&id);
        answer
            .with_context(|| format!("no answer to invocation {number} within {time_limit:?}"))?
            .context("the function took another invocation without answering")
    }

    /// The errors that the function reported to `init/error`.
    pub fn init_errors(&self) -> Vec<serde_json::Value> {
        lock(&self.state.init_errors).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(state: Arc<State>, request: ServerRequest) -> HandlerResult {
    let (parts, body) = request.into_parts();
    let path = parts
        .uri
        .path()
        .strip_prefix(PREFIX)
        .unwrap_or_default()
        .to_owned();
    if path == "invocation/next" {
        return Ok(next(&state).await);
    }
    let Some(body) = server::read_body(body, LARGEST_ANSWER).await else {
        return Ok(server::respond(413, ""));
    };
    let value = || {
        serde_json::from_slice(&body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into())
    };
    if path == "init/error" {
        lock(&state.init_errors).push(value());
        return Ok(server::respond_json(
            202,
            &serde_json::json!({ "status": "OK" }),
        ));
    }
    let mut segments = path.split('/').skip(1);
    let (id, kind) = (
        segments.next().unwrap_or_default(),
        segments.next().unwrap_or_default(),
    );
    let outcome = match kind {
        "response" => InvocationResult::Answer(value()),
        "error" => InvocationResult::Error(value()),
        _ => return Ok(server::respond(404, "")),
    };
    let Some(done) = lock(&state.running).remove(id) else {
        return Ok(server::respond(400, "no such invocation"));
    };
    // After the deadline no test waits for the answer any more.
    let _ = done.send(outcome);
    Ok(server::respond_json(
        202,
        &serde_json::json!({ "status": "OK" }),
    ))
}

async fn next(state: &State) -> http::Response<server::ServerBody> {
    // A request whose connection ends while it waits here is cancelled, and takes no invocation.
    let Some(pending) = state.queue.lock().await.recv().await else {
        return server::respond(500, "the runtime API has ended");
    };
    let mut response = server::respond(200, pending.payload);
    for (name, value) in [
        ("lambda-runtime-aws-request-id", pending.id.clone()),
        (
            "lambda-runtime-deadline-ms",
            pending.deadline_ms.to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:111122223333:function:amp-forwarder".to_owned(),
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-00000000-000000000000000000000000;Sampled=0".to_owned(),
        ),
        ("content-type", "application/json".to_owned()),
    ] {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    lock(&state.running).insert(pending.id, pending.done);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;

    #[tokio::test]
    async fn an_invocation_and_an_error() {
        let api = RuntimeApi::start().await.unwrap();
        let base = format!("http://{}{PREFIX}", api.runtime_api());
        let client = Client::default();
        let function = async {
            for (kind, body) in [
                ("response", r#"{"outcome":"ok"}"#),
                ("error", r#"{"errorType":"Failed"}"#),
            ] {
                let next = client.get(&format!("{base}invocation/next")).await.unwrap();
                let header = |name: &str| next.headers()[name].to_str().unwrap().to_owned();
                let left = header("lambda-runtime-deadline-ms").parse::<i64>().unwrap() - now_ms();
                assert!((4_000..=5_000).contains(&left), "{left}");
                assert_eq!(next.body().as_ref(), b"{}");
                let url = format!(
                    "{base}invocation/{}/{kind}",
                    header("lambda-runtime-aws-request-id")
                );
                assert_eq!(
                    client
                        .post(&url, "application/json", body)
                        .await
                        .unwrap()
                        .status(),
                    202
                );
                assert_eq!(
                    client
                        .post(&url, "application/json", body)
                        .await
                        .unwrap()
                        .status(),
                    400,
                    "answered twice"
                );
            }
        };
        let test = async {
            let limit = Duration::from_secs(5);
            assert_eq!(
                api.invoke("{}", limit).await.unwrap(),
                InvocationResult::Answer(serde_json::json!({ "outcome": "ok" }))
            );
            assert_eq!(
                api.invoke("{}", limit).await.unwrap().error_type(),
                Some("Failed")
            );
        };
        tokio::join!(function, test);
        client
            .post(
                &format!("{base}init/error"),
                "application/json",
                r#"{"errorType":"Config"}"#,
            )
            .await
            .unwrap();
        assert_eq!(
            api.init_errors(),
            [serde_json::json!({ "errorType": "Config" })]
        );
    }

    #[tokio::test]
    async fn a_missing_answer_is_an_error() {
        let api = RuntimeApi::start().await.unwrap();
        assert!(api.invoke("{}", Duration::ZERO).await.is_err());
    }
}
