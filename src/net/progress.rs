//! How far a request has come. It distinguishes a time-out of the look-up from one of the
//! connection or the answer, and a pooled connection from a fresh one.

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

/// The step that a request is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RequestStep {
    /// The request waits for a pooled connection, or travels on one.
    Pooled,
    /// The host name is looked up.
    Resolving,
    /// A TCP connection is opened.
    Connecting,
    /// The TCP connection is open, and TLS has begun on it.
    Handshaking,
    /// The connection that was opened for the request is ready.
    Connected,
}

/// The progress of one request, shared with the connection that is opened for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU8>);

impl Progress {
    pub(super) fn enter(&self, step: RequestStep) {
        self.0.store(step as u8, Ordering::Relaxed);
    }

    pub(super) fn step(&self) -> RequestStep {
        match self.0.load(Ordering::Relaxed) {
            0 => RequestStep::Pooled,
            1 => RequestStep::Resolving,
            2 => RequestStep::Connecting,
            3 => RequestStep::Handshaking,
            _ => RequestStep::Connected,
        }
    }

    /// Runs a request that reports to this progress.
    pub(super) async fn watch<F: Future>(&self, request: F) -> F::Output {
        CURRENT.scope(self.clone(), request).await
    }
}

/// The progress of the current request. Outside of a request, a new one that is not read.
pub(super) fn current() -> Progress {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// A layer around reqwest's connector, which reports when a connection is opened.
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
        progress.enter(RequestStep::Connecting);
        // The TLS session store (tls.rs) reports when the handshake begins.
        let connecting = CURRENT.scope(progress.clone(), self.0.call(destination));
        Box::pin(async move {
            let connection = connecting.await?;
            progress.enter(RequestStep::Connected);
            Ok(connection)
        })
    }
}
