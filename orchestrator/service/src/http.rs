//! Serves HTTP on a thread and a runtime of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use crate::api::{Api, router};

/// Threads that read from the store for callers; each list or saga takes one for some milliseconds.
const READING_THREADS_MAX: usize = 4;

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

/// HTTP, being served.
#[derive(Debug)]
pub(crate) struct Http {
    address: SocketAddr,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Http {
    /// Listens, then serves on a thread of its own.
    pub(crate) fn start(address: SocketAddr, api: Api) -> Result<Self, HttpError> {
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
            .spawn(move || runtime.block_on(serve(listener, api, ended)))
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

    /// Takes no more requests and is gone; an answer that is being written is cut off. Their askers ask again.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        if self.thread.join().is_err() {
            tracing::error!("the http thread failed");
        }
    }
}

async fn serve(listener: std::net::TcpListener, api: Api, stop: CancellationToken) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "http is not served");
            return;
        }
    };
    let app = router(Arc::new(api));
    tokio::select! {
        served = async { axum::serve(listener, app).await } => {
            if let Err(error) = served {
                tracing::error!(%error, "http is served no more");
            }
        }
        () = stop.cancelled() => {}
    }
}
