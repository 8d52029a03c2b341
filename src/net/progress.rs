//! How far a request has come: tells a time-out in the look-up from one in the connection or in the
//! answer, and a pooled connection from a fresh one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

tokio::task_local! {
    static CURRENT: Progress;
}

/// What a request is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    /// No connection was opened for it: it waits for a pooled one, or travels on it.
    Pooled,
    Resolving,
    Connecting,
    /// A TCP connection stands, and TLS has begun on it.
    Handshaking,
    /// A connection, opened for it, stands.
    Connected,
}

/// Shared by a request and the connection that is opened for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

impl Progress {
    pub(super) fn enter(&self, step: Step) {
        self.0.store(step as u8, Ordering::Relaxed);
    }

    pub(super) fn step(&self) -> Step {
        match self.0.load(Ordering::Relaxed) {
            0 => Step::Pooled,
            1 => Step::Resolving,
            2 => Step::Connecting,
            3 => Step::Handshaking,
            _ => Step::Connected,
        }
    }

    /// Runs a request under this progress.
    pub(super) async fn watch<F: Future>(&self, request: F) -> F::Output {
        CURRENT.scope(self.clone(), request).await
    }
}

/// That of the request at hand; one that nobody reads when there is none.
pub(super) fn current() -> Progress {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Around reqwest's connector.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProgressLayer;

impl<S> Layer<S> for ProgressLayer {
    type Service = ProgressService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ProgressService(inner)
    }
}

#[derive(Debug, Clone)]
pub(super) struct ProgressService<S>(S);

impl<S, R> Service<R> for ProgressService<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, destination: R) -> Self::Future {
        let progress = current();
        progress.enter(Step::Connecting);
        // The TLS session store, deep inside, says when the handshake begins.
        let connecting = CURRENT.scope(progress.clone(), self.0.call(destination));
        Box::pin(async move {
            let connection = connecting.await?;
            progress.enter(Step::Connected);
            Ok(connection)
        })
    }
}
