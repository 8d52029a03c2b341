use std::sync::Arc;

use futures_util::future::BoxFuture;
use lambda_runtime::Context;
use serde_json::json;

use super::*;
use crate::home::{Home, HomeRequest, HomeResponse};
use crate::net::NetError;
use crate::tick::{Dependencies, Neighbours as _};

/// A home whose client has a bug.
struct PanickingHome;

impl Home for PanickingHome {
    fn send<'a>(&'a self, _: HomeRequest<'a>) -> BoxFuture<'a, Result<HomeResponse, NetError>> {
        panic!("a bug")
    }
}

/// A site's state whose ticks panic.
fn ready_to_panic(site: Option<&str>) -> Ready {
    let yaml = "
scrape_configs:
- {job_name: a, scrape_interval: 60s, static_configs: [{targets: ['home:9090']}]}
remote_write: [{url: 'https://amp.example/api/v1/remote_write'}]
";
    let site = site.map(|site| SiteName::parse(site).unwrap());
    let env = site_env(site.as_ref(), &|_| None);
    let config = Config::load(yaml, &env, "test").unwrap().config;
    let dependencies = Dependencies {
        home: Box::new(PanickingHome),
        remotes: Vec::new(),
        clock: Arc::new(SystemClock),
        rng: fastrand::Rng::with_seed(1),
        store: None,
    };
    Ready {
        forwarder: Forwarder::new(config.clone(), dependencies, 1 << 20).unwrap(),
        config,
        warnings: Vec::new(),
        read_ms: SystemClock.now_ms(),
    }
}

fn event(payload: Value) -> LambdaEvent<Value> {
    let mut context = Context::default();
    context.deadline = 60_000;
    LambdaEvent::new(payload, context)
}

fn keep(function: &Function, site: Option<&str>) {
    let ready = ready_to_panic(site);
    function.warm.keep(ready.config.site.clone(), ready);
}

/// The function goes on after a panic. What the panic left half done must not serve the next
/// invocation: it scraped nothing, and said that all was well.
#[tokio::test]
async fn a_panic_leaves_nothing_for_the_next_invocation() {
    let mut function = Function::default();
    keep(&function, None);
    let unknown = function.handle(event(json!({"jobs": ["b"]}))).await;
    assert!(matches!(unknown, Err(FunctionError::UnknownJob(..))));
    assert_eq!(function.warm.len(), 1, "an error is no panic");
    let tick = function.handle(event(json!({}))).await;
    assert!(
        matches!(&tick, Err(FunctionError::Panic(message)) if message == "a bug"),
        "{tick:?}"
    );
    assert_eq!(function.warm.len(), 0);
}

#[tokio::test]
async fn a_panic_of_one_site_leaves_the_others_as_they_are() {
    let mut function = Function::default();
    for site in ["osaka", "tokyo"] {
        keep(&function, Some(site));
    }
    let error = function.handle(event(json!({"site": "tokyo"}))).await;
    let error = error.unwrap_err();
    assert!(error.to_string().starts_with("site tokyo: "), "{error}");
    let diagnostic = lambda_runtime::Diagnostic::from(error);
    assert_eq!(diagnostic.error_type, "Panic");
    let site = |name| SiteName::parse(name).unwrap();
    assert!(function.warm.take(Some(&site("tokyo"))).is_none());
    assert!(function.warm.take(Some(&site("osaka"))).is_some());
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_before_anything_is_read() {
    let mut function = Function::with(Box::new(|_| panic!("nothing is made")));
    let error = function.handle(event(json!({"site": "../tokyo"}))).await;
    assert!(matches!(error, Err(FunctionError::Event(_))), "{error:?}");
}

#[test]
fn sites_that_rested_longest_give_way_first() {
    let warm = WarmSites::default();
    let site = |name: &str| SiteName::parse(name).unwrap();
    let keep = |name: &str| warm.keep(Some(site(name)), ready_to_panic(Some(name)));
    for name in ["a", "b", "c"] {
        keep(name);
    }
    let one = warm.bytes() / 3;
    // `a` runs again: now `b` has rested longest.
    let taken = warm.take(Some(&site("a"))).unwrap();
    assert_eq!(warm.bytes(), 2 * one, "a site that runs does not rest");
    warm.keep(Some(site("a")), taken);
    warm.give_way(warm.bytes());
    assert_eq!(warm.len(), 3, "there is room for all");
    warm.give_way(2 * one + one / 2);
    assert!(warm.take(Some(&site("b"))).is_none());
    warm.give_way(one);
    assert!(warm.take(Some(&site("c"))).is_none());
    assert!(warm.take(Some(&site("a"))).is_some());
    assert_eq!((warm.len(), warm.bytes()), (0, 0));
}

#[test]
fn the_configuration_of_a_site_is_looked_at_again_and_that_of_one_home_is_not() {
    let of_site = ready_to_panic(Some("tokyo"));
    let read_ms = of_site.read_ms;
    assert!(!of_site.is_doubtful(false, read_ms + 60_000));
    assert!(of_site.is_doubtful(false, read_ms + 300_000));
    assert!(of_site.is_doubtful(true, read_ms), "a person asks");
    let of_one_home = ready_to_panic(None);
    assert!(!of_one_home.is_doubtful(true, read_ms + 86_400_000));
}

#[test]
fn a_deadline_is_a_moment_or_the_emulators_limit() {
    let now_ms = 1_795_364_845_808;
    assert_eq!(
        left(now_ms as u64 + 1_500, now_ms),
        Duration::from_millis(1_500)
    );
    assert_eq!(left(now_ms as u64 - 1, now_ms), Duration::ZERO);
    assert_eq!(left(600_000, now_ms), Duration::from_secs(600));
}
