//! The handle of a process on its broker: two supervised connections, publisher lanes, consumers, an ordered end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use deadpool::managed::Pool;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    config::{BusConfig, Checked},
    connect::tls_connector,
    consumer::{ConsumeSpec, Consumer, Hub},
    error::BusError,
    guard::KeptOpen,
    lanes::Lanes,
    publisher::{Publisher, Shared},
    state::{BusState, Link, Use},
    supervisor::{Cell, Live, Supervisor},
};

/// Time for the two connections to close at the end.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Time for the broker to open a publishing channel; it takes milliseconds, so by then the connection is stuck.
const LANE_OPEN_LIMIT: Duration = Duration::from_secs(10);

/// One process on its broker; cheap to clone. The connections close when the last handle (bus, publisher or consumer)
/// goes, but without the order that [`Bus::shutdown`] keeps.
#[derive(Clone)]
pub struct Bus {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) consuming: Cell,
    state: watch::Receiver<BusState>,
    publisher: Publisher,
    /// Whether everything was in place when it was last declared.
    pub(crate) in_place: AtomicBool,
    hub: Hub,
    consumers: TaskTracker,
    supervisors: TaskTracker,
    /// Consumers take nothing new.
    stop: CancellationToken,
    /// Nothing is published any more.
    unpublished: CancellationToken,
    /// The connections close.
    closed: CancellationToken,
}

impl Bus {
    /// Checks the configuration and begins to connect in the background; call it inside a tokio runtime.
    ///
    /// When `cancel` is cancelled, consumers take nothing new; publishing goes on until [`Bus::shutdown`].
    ///
    /// # Errors
    /// [`BusError`] when the configuration cannot work: never because the broker is away.
    pub fn start(config: BusConfig, cancel: CancellationToken) -> Result<Self, BusError> {
        let checked = Arc::new(config.check()?);
        if checked.uses_tls() {
            tls_connector(&checked.config.tls)?;
        }
        let starting = Link::Down {
            why: "connecting for the first time".to_owned(),
        };
        let (state, seen) = watch::channel(BusState {
            consuming: starting.clone(),
            publishing: starting,
        });
        let state = Arc::new(state);
        let closed = CancellationToken::new();
        let supervisors = TaskTracker::new();
        let keep = |what_for| supervise(what_for, &checked, &state, &closed, &supervisors);
        let consuming = keep(Use::Consuming);
        let publishing = keep(Use::Publishing);
        let kept_open = Arc::new(KeptOpen::new(closed.clone()));
        let stop = cancel.child_token();
        let unpublished = CancellationToken::new();
        let publisher = publisher(&checked.config, publishing, &seen, &unpublished, &kept_open)?;
        let hub = Hub {
            cell: consuming.clone(),
            epochs: Arc::new(AtomicU64::new(0)),
            stop: stop.clone(),
            reconnect_ms: (
                checked.config.reconnect_ms_min,
                checked.config.reconnect_ms_max,
            ),
            idle_refresh: Duration::from_secs(checked.config.idle_refresh_s),
            _kept_open: kept_open,
        };
        let inner = Inner {
            consuming,
            state: seen,
            publisher,
            in_place: AtomicBool::new(false),
            hub,
            consumers: TaskTracker::new(),
            supervisors,
            stop,
            unpublished,
            closed,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What is known of the two connections, and every change of it.
    pub fn state(&self) -> watch::Receiver<BusState> {
        self.inner.state.clone()
    }

    /// Waits until messages can come in and go out.
    pub async fn ready(&self) {
        let mut state = self.state();
        if state.wait_for(BusState::is_ready).await.is_err() {
            // shut down: it will never be
            std::future::pending::<()>().await;
        }
    }

    /// The way to publish.
    pub fn publisher(&self) -> Publisher {
        self.inner.publisher.clone()
    }

    /// Begins to consume. When the broker is connected and the queue is there, consuming has begun when this returns;
    /// otherwise it begins inside [`Consumer::next`], as soon as it can.
    pub async fn consume(&self, spec: ConsumeSpec) -> Consumer {
        let mut consumer =
            Consumer::new(spec, self.inner.hub.clone(), self.inner.consumers.token());
        consumer.begin().await;
        consumer
    }

    /// Ends in order: consumers take nothing new, and have `grace` to hand out what they hold and be dropped; what is
    /// being published is confirmed, within the same time; then channels and connections are closed.
    pub async fn shutdown(self, grace: Duration) {
        let inner = &self.inner;
        let deadline = tokio::time::Instant::now() + grace;
        inner.stop.cancel();
        inner.consumers.close();
        let drained = tokio::time::timeout_at(deadline, inner.consumers.wait()).await;
        inner.unpublished.cancel();
        let calls = &inner.publisher.shared.calls;
        calls.close();
        let flushed = tokio::time::timeout_at(deadline, calls.wait()).await;
        if drained.is_err() || flushed.is_err() {
            warn!(
                consumers = inner.consumers.len(),
                publishes = calls.len(),
                "shut down before all was done; what is unanswered is delivered again"
            );
        }
        inner.publisher.shared.pool.close();
        inner.closed.cancel();
        inner.supervisors.close();
        match tokio::time::timeout(CLOSE_LIMIT, inner.supervisors.wait()).await {
            Ok(()) => info!("the bus is shut down"),
            Err(_) => warn!("the broker did not answer the goodbye"),
        }
    }

    /// The consuming connection, within `limit`; also the one on which things are declared and asked, because the
    /// other may be blocked.
    pub(crate) async fn connection(
        &self,
        operation: &str,
        limit: Duration,
    ) -> Result<Arc<Live>, BusError> {
        let mut cell = self.inner.consuming.clone();
        match tokio::time::timeout(limit, crate::supervisor::live(&mut cell)).await {
            Ok(Some(live)) => Ok(live),
            Ok(None) | Err(_) => Err(BusError::NoAnswer {
                operation: operation.to_owned(),
                limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }
}

fn supervise(
    what_for: Use,
    checked: &Arc<Checked>,
    state: &Arc<watch::Sender<BusState>>,
    closed: &CancellationToken,
    supervisors: &TaskTracker,
) -> Cell {
    let (cell, seen) = watch::channel(None);
    let supervisor = Supervisor {
        checked: checked.clone(),
        what_for,
        cell,
        state: state.clone(),
        closed: closed.clone(),
    };
    supervisors.spawn(supervisor.run());
    seen
}

fn publisher(
    config: &BusConfig,
    cell: Cell,
    state: &watch::Receiver<BusState>,
    closed: &CancellationToken,
    kept_open: &Arc<KeptOpen>,
) -> Result<Publisher, BusError> {
    let confirm_limit = Duration::from_millis(config.confirm_timeout_ms);
    let lanes = Lanes {
        cell,
        state: state.clone(),
        open_limit: LANE_OPEN_LIMIT.min(confirm_limit / 2),
    };
    let pool = Pool::builder(lanes)
        .max_size(config.lanes)
        .build()
        .map_err(|error| BusError::Config {
            key: "lanes".to_owned(),
            why: error.to_string(),
        })?;
    let shared = Shared {
        pool,
        state: state.clone(),
        confirm_limit,
        batch_max: config.publish_batch_max,
        instance: config.instance.clone(),
        calls: TaskTracker::new(),
        closed: closed.clone(),
        _kept_open: kept_open.clone(),
    };
    Ok(Publisher {
        shared: Arc::new(shared),
    })
}
