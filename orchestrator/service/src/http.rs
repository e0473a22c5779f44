//! Serves HTTP on a thread and a runtime of its own, within limits: so many connections, heads of such a size, nobody slower than so.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::api::{Api, router, standing_by};

/// Threads that read from the store for callers; each list or saga takes one for some milliseconds.
const READING_THREADS_MAX: usize = 4;

/// Connections at once; who comes when there are as many waits until one is closed.
const CONNECTIONS_MAX: usize = 1_024;
/// How long the head of a request may take, and how long a connection may lie idle.
const HEADER_WAIT: Duration = Duration::from_secs(60);
/// The largest head of a request, in bytes; a larger one is answered with 431.
const HEADER_BYTES_MAX: usize = 32 * 1_024;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// How long answers under way may take at the end; streams have ended by themselves before.
const LAST_ANSWERS_WAIT: Duration = Duration::from_secs(2);
/// Pause after a connection could not be taken.
const AGAIN: Duration = Duration::from_millis(100);

/// Why HTTP is not served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be had.
    #[error("listen on {address}: stop what has this port, or set http.listen to another")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No thread or no runtime.
    #[error("serve http")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Who sends a request, as far as the network tells: an extension of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// HTTP, being served.
#[derive(Debug)]
pub(crate) struct Http {
    address: SocketAddr,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Http {
    /// Serves the API.
    pub(crate) fn start(address: SocketAddr, api: Api) -> Result<Self, HttpError> {
        Self::serve(address, router(Arc::new(api)))
    }

    /// Answers for a process that has no store yet: it is alive and not ready.
    pub(crate) fn standing_by(address: SocketAddr) -> Result<Self, HttpError> {
        Self::serve(address, standing_by())
    }

    /// Listens, then serves on a thread of its own.
    fn serve(address: SocketAddr, app: Router) -> Result<Self, HttpError> {
        let listen = |source| HttpError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(READING_THREADS_MAX)
            .build()
            .map_err(|source| HttpError::Thread { source })?;
        let stop = CancellationToken::new();
        let ended = stop.clone();
        let thread = std::thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || runtime.block_on(serve(listener, app, ended)))
            .map_err(|source| HttpError::Thread { source })?;
        Ok(Self {
            address: bound,
            stop,
            thread,
        })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests; those under way may be answered for a moment, then it is gone. Who was not answered asks again.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the http thread failed");
        }
    }
}

async fn serve(listener: std::net::TcpListener, app: Router, stop: CancellationToken) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "http is not served");
            return;
        }
    };
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    while let Some((stream, peer, permit)) = next(&listener, &connections, &stop).await {
        let service = TowerToHyperService::new(app.clone());
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            service.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_WAIT)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // a caller that goes away, or speaks no HTTP, is no trouble of ours
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(LAST_ANSWERS_WAIT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::debug!("connections were cut at the end");
    }
}

/// The next connection, once there is room for one; none when it is to stop.
async fn next(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, Peer, OwnedSemaphorePermit)> {
    loop {
        let accepted = async {
            let permit = connections.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, permit))
        };
        let (accepted, permit) = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = accepted => accepted?,
        };
        match accepted {
            Ok((stream, peer)) => {
                // events are small and are to go at once
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection could not be made prompt");
                }
                return Some((stream, Peer(peer.ip()), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken; is the limit of open files too low?");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
