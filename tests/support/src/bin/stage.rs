//! For tests/infra: the function between two real Prometheus servers, with the environment that a
//! template gives it.
//!
//! Prints one line of JSON when the receiver has the samples of two ticks, then runs until its
//! standard input ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use amp_forwarder_support::gateway::{AccessKey, Gateway, GatewayOptions};
use amp_forwarder_support::http::{HandlerResult, Server, ServerRequest, read_body, respond_json};
use amp_forwarder_support::lambda::{Function, FunctionOptions, InvocationResult, RuntimeApi};
use amp_forwarder_support::process::{Job, NodeExporter, Prometheus, V3_5};
use amp_forwarder_support::wait_for;
use anyhow::{Context, Result, ensure};
use clap::Parser;
use http::HeaderValue;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// Lambda's limit for a synchronous payload.
const LARGEST_PAYLOAD: usize = 6 << 20;
/// Time-out of a tick. With a scrape every four seconds, two fit into it.
const TICK: Duration = Duration::from_secs(8);

/// Runs the function for two ticks and keeps both ends running.
#[derive(Parser)]
struct Arguments {
    /// The program of the function.
    #[arg(long)]
    function: PathBuf,
    /// NAME=VALUE of the function's environment. HOME_ADDRESS and AMP_REMOTE_WRITE_URL are set to
    /// the servers of this stage.
    #[arg(long)]
    env: Vec<String>,
    /// After the ticks, takes invocations as Lambda's API does, for the AWS CLI.
    #[arg(long)]
    serve: bool,
}

type Environment = BTreeMap<String, String>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut env = environment(&arguments.env)?;
    let exporter = NodeExporter::start().await?;
    let home = Prometheus::home(V3_5, vec![Job::new("node", &[exporter.address()])]).await?;
    let receiver = Prometheus::receiver(V3_5).await?;
    let gateway = Gateway::start(gateway_options(&env, &receiver)).await?;
    env.insert("HOME_ADDRESS".to_owned(), home.address());
    env.insert(
        "AMP_REMOTE_WRITE_URL".to_owned(),
        gateway.remote_write_url(),
    );
    let querier = home.querier();
    wait_for("the home's two targets are up", SOON, || async {
        querier.value("sum(up)").await.ok().flatten() == Some(2.0)
    })
    .await?;

    let api = RuntimeApi::start().await?;
    let mut function = FunctionOptions::new(&arguments.function, &api.runtime_api(), "");
    function.env.extend(env);
    let running = Function::start(&function)?;
    let mut reports = Vec::new();
    for _ in 0..2 {
        let invoked = api
            .invoke(include_str!("../../../../events/scheduler.json"), TICK)
            .await;
        let report = invoked.and_then(InvocationResult::answer);
        reports.push(report.with_context(|| format!("the function's log:\n{}", running.log()))?);
    }
    ensure!(
        gateway.stats().stored > 0,
        "nothing was stored: {reports:?}\n{}",
        running.log()
    );
    let api = Arc::new(api);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let front = if arguments.serve {
        Some(Server::start(listen, move |request, _| invoke(api.clone(), request)).await?)
    } else {
        None
    };
    let address = front.as_ref().map(Server::url);
    let log = running.log();
    let ready = json!({
        "invoke": address,
        "receiver": receiver.url(),
        "reports": reports,
        "metrics": metrics(&log),
        "log": log,
    });
    println!("{ready}");
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await??;
    Ok(())
}

/// Reads NAME=VALUE pairs.
fn environment(pairs: &[String]) -> Result<Environment> {
    let split = |pair: &String| {
        let (name, value) = pair
            .split_once('=')
            .with_context(|| format!("{pair} is not NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    pairs.iter().map(split).collect()
}

/// A gateway that forwards to the receiver and knows the access key of the environment, if there is
/// one.
fn gateway_options(env: &Environment, receiver: &Prometheus) -> GatewayOptions {
    let mut options = GatewayOptions {
        upstream: Some(receiver.remote_write_url()),
        ..GatewayOptions::default()
    };
    if let (Some(id), Some(secret)) = (
        env.get("AWS_ACCESS_KEY_ID"),
        env.get("AWS_SECRET_ACCESS_KEY"),
    ) {
        let key = AccessKey {
            secret: secret.clone(),
            session_token: env.get("AWS_SESSION_TOKEN").cloned(),
            allowed: true,
        };
        options.keys = BTreeMap::from([(id.clone(), key)]);
    }
    options
}

/// Parses the EMF lines of a log.
fn metrics(log: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line.get("_aws").is_some())
        .collect()
}

/// Answers `POST /2015-03-31/functions/NAME/invocations`. A function error is a 200 with a header
/// that says so.
async fn invoke(api: Arc<RuntimeApi>, request: ServerRequest) -> HandlerResult {
    let payload = read_body(request.into_body(), LARGEST_PAYLOAD)
        .await
        .unwrap_or_default();
    let mut response = match api.invoke(payload, SOON).await {
        Ok(InvocationResult::Answer(answer)) => return Ok(respond_json(200, &answer)),
        Ok(InvocationResult::Error(error)) => respond_json(200, &error),
        Err(error) => return Ok(respond_json(502, &json!({"message": error.to_string()}))),
    };
    response.headers_mut().insert(
        "x-amz-function-error",
        HeaderValue::from_static("Unhandled"),
    );
    Ok(response)
}
