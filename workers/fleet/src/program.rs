//! The program of a worker: its parts in the order in which they begin, and how it is told to end.

use std::sync::Arc;
use std::time::Duration;

use baton_bus::{Bus, BusError};
use baton_worker::{Secrets, Veil, Worker, WorkerError, WorkerOptions};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::automations::{FleetError, registry};
use crate::config::{Config, ConfigError, Listen};
use crate::http::{HttpError, Seen, listen, serve};
use crate::process::{OrphanError, Processes};
use crate::secrets::ConfiguredSecrets;

/// Bounds of the histograms, in seconds: from one hop over the bus to the longest late-held task.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0,
];

/// Why the process cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something of an earlier worker is still at work.
    #[error(transparent)]
    Orphans(#[from] OrphanError),
    /// What the configuration asks for is not to be had.
    #[error(
        "this host does not offer the processes.containment that is asked for: \"auto\" takes the best there is"
    )]
    Containment,
    /// The automations.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The broker's configuration; never because it is away.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The worker's options.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Health and metrics.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The recorder of metrics.
    #[error("metrics cannot be recorded")]
    Metrics(#[from] BuildError),
    /// The signals.
    #[error("SIGTERM and SIGINT cannot be heard")]
    Signals(#[source] std::io::Error),
}

/// How long after the first signal another is taken for the same: a terminal and a supervisor both pass one on, some stop a service twice.
const DOUBLED: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT, or a drain over the bus; then ends in order. A second signal, a second later or more, ends at once. What its tasks resolve as secrets
/// lies behind `veil`.
///
/// # Errors
/// [`ProgramError`] when it cannot begin, with what to do.
pub async fn run(config: &Config, veil: Veil) -> Result<(), ProgramError> {
    let processes = Processes::new(&config.processes);
    if processes.containment().is_none() {
        return Err(ProgramError::Containment);
    }
    if let Some(warning) = as_root() {
        tracing::warn!("{warning}");
    }
    // Before anything is taken: an undo must never meet what an earlier worker still does.
    let ended = processes.begin()?;
    if ended > 0 {
        tracing::warn!(
            ended,
            "an earlier worker had left processes running: they are ended"
        );
    }
    let registry = registry(config, &processes)?;
    let source = ConfiguredSecrets::new(config.secrets.clone(), processes.clone());
    let options = WorkerOptions {
        secrets: Secrets::from_source(Arc::new(source), veil),
        ..config.options()?
    };
    let metrics = recorder()?;
    let (term, int) = (
        heard(SignalKind::terminate())?,
        heard(SignalKind::interrupt())?,
    );
    let listener = match config.http.listen {
        Listen::Off => None,
        Listen::At(at) => Some(listen(at).await?),
    };
    // The bus ends with the worker, not with the signal: reports go out until the last.
    let bus = Bus::start(config.bus.clone(), CancellationToken::new())?;
    let state = bus.state();
    let worker = Worker::new(bus, registry, options)?;
    if let Some(listener) = listener {
        if let Ok(at) = listener.local_addr() {
            tracing::info!(%at, "health and metrics");
        }
        let seen = Seen {
            bus: state,
            worker: worker.handle(),
            metrics,
        };
        tokio::spawn(serve(listener, seen));
    }
    let cancel = CancellationToken::new();
    tokio::select! {
        () = worker.run(cancel.clone()) => {}
        () = signals(term, int, cancel) => {
            tracing::warn!("ended at once by a second signal: its tasks are handed on when their leases are over");
        }
    }
    Ok(())
}

/// What is to be said of a worker that runs as root.
#[must_use]
pub fn as_root() -> Option<&'static str> {
    rustix::process::geteuid().is_root().then_some(
        "this worker runs as ROOT: whoever may send it tasks acts with its rights on files, services and whatever its configuration names; \
         let it run as a user of its own, and give single commands what they need (`user`, `capabilities`)",
    )
}

async fn signals(mut term: Signal, mut int: Signal, cancel: CancellationToken) {
    let next = async || {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    told_twice(next, cancel).await;
}

/// Cancels on the first signal, and is ready on the second that is not the first once more.
async fn told_twice(mut next: impl AsyncFnMut(), cancel: CancellationToken) {
    next().await;
    tracing::info!("told to end; once more, from a second on, ends at once");
    cancel.cancel();
    let first = tokio::time::Instant::now();
    loop {
        next().await;
        if first.elapsed() >= DOUBLED {
            return;
        }
    }
}

fn heard(kind: SignalKind) -> Result<Signal, ProgramError> {
    signal(kind).map_err(ProgramError::Signals)
}

fn recorder() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&BUCKETS)?
        .install_recorder()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the process would end at once, for signals after these pauses in milliseconds.
    async fn ends_after(pauses: &[u64]) -> u128 {
        let mut left = pauses.iter().copied();
        let began = tokio::time::Instant::now();
        let cancel = CancellationToken::new();
        let next = async || match left.next() {
            Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            None => std::future::pending().await,
        };
        told_twice(next, cancel.clone()).await;
        assert!(cancel.is_cancelled());
        began.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubled_signal_is_one_and_a_later_one_is_the_second() {
        assert_eq!(ends_after(&[10, 0, 300, 600, 200]).await, 1_110);
        assert_eq!(ends_after(&[10, 5_000]).await, 5_010);
    }
}
