//! `/healthz`, `/readyz` and `/metrics`. None of them goes red because the broker is away: restarting a worker brings no broker back.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use baton_bus::{BusState, Link};
use baton_worker::WorkerHandle;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The port is taken, or not ours to take.
    #[error(
        "cannot listen on {at} for health and metrics: end what holds the port, or set http.listen (--http) to another one, to port 0, or to \"off\""
    )]
    Listen {
        /// Where.
        at: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// What the answers are made of.
#[derive(Clone)]
pub struct Seen {
    /// The broker.
    pub bus: watch::Receiver<BusState>,
    /// The worker.
    pub worker: WorkerHandle,
    /// The metrics.
    pub metrics: PrometheusHandle,
}

/// Takes the port.
///
/// # Errors
/// [`HttpError::Listen`] with what to do.
pub async fn listen(at: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(at)
        .await
        .map_err(|source| HttpError::Listen { at, source })
}

/// Answers for ever.
pub async fn serve(listener: TcpListener, seen: Seen) {
    let router = Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(seen));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "health and metrics are no longer served; tasks go on");
    }
}

async fn ready(State(seen): State<Arc<Seen>>) -> (StatusCode, String) {
    if seen.worker.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    let state = seen.bus.borrow().clone();
    let mut trouble = Vec::new();
    for (what, link) in [
        ("consuming", &state.consuming),
        ("publishing", &state.publishing),
    ] {
        match link {
            Link::Up { .. } => {}
            Link::Down { why } => trouble.push(format!("{what}: no connection ({why})")),
            Link::Blocked { why, .. } => trouble.push(format!("{what}: blocked ({why})")),
        }
    }
    if trouble.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (
        StatusCode::OK,
        format!("degraded: {}\n", trouble.join("; ")),
    )
}

async fn metrics(State(seen): State<Arc<Seen>>) -> String {
    seen.metrics.run_upkeep();
    seen.metrics.render()
}
