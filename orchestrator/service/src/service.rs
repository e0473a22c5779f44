//! The process: its parts put together, who may fail how, and the order in which it ends.
//!
//! One thread runs the loop and everything that speaks to the broker; a second one serves HTTP, so that neither a long list nor a slow
//! caller holds up a saga; the store has a third, which commits.
//!
//! The end, in order: consumers take nothing new; the turn under way is committed; what was published is confirmed within the grace; how
//! far that is gets written; HTTP, bus and store are closed.

use std::sync::Arc;
use std::time::Duration;

use baton_bus::{Bus, BusError};
use baton_driver::{Driver, DriverError, Options, StoreError};
use baton_messages::{InboxKey, topology};
use baton_store::{AnyStore, Ownership};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::api::{Api, Counted, Known, LastTop, Streams, Watched};
use crate::chain::chain;
use crate::changes::Changes;
use crate::config::Config;
use crate::fleet::{Fleet, Workers, speak};
use crate::health::Health;
use crate::hot::mail::{Post, mail};
use crate::hot::{HotError, HotLoop, Outbox, Parts};
use crate::http::{Http, HttpError};
use crate::store::OpenError;
use crate::token::{self, TokenError};
use crate::triggers::hooks::{HookError, Hooks};
use crate::types::Types;
use crate::{clock, dead_letters, store, topology as declared, triggers};

/// After how long a store that is not open yet is waited for, and no longer only being opened.
const ANSWER_AFTER: Duration = Duration::from_millis(500);
/// The part that watches over whose the store is.
const OWNERSHIP: &str = "ownership of the store";
/// How long the bus may take to close after everything is confirmed.
const BUS_WAIT: Duration = Duration::from_secs(5);

/// Why the process could not begin, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No folder or no token.
    #[error("start")]
    Token {
        /// Why.
        #[source]
        source: TokenError,
    },
    /// No store.
    #[error("start")]
    Store {
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The tokens cannot be read.
    #[error("start: the tokens cannot be read")]
    Tokens {
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The broker's configuration cannot be used.
    #[error("start")]
    Bus {
        /// Why.
        #[source]
        source: BusError,
    },
    /// The store cannot be driven.
    #[error("start: the store holds what this version cannot go on with")]
    Recover {
        /// Why.
        #[source]
        source: Box<DriverError>,
    },
    /// A secret of a hook cannot be used.
    #[error("start")]
    Hooks {
        /// Why.
        #[source]
        source: HookError,
    },
    /// HTTP cannot be served.
    #[error("start")]
    Http {
        /// Why.
        #[source]
        source: HttpError,
    },
    /// The loop ended by itself.
    #[error("run")]
    Loop {
        /// Why.
        #[source]
        source: HotError,
    },
    /// A part that never ends ended.
    #[error("run: the part `{part}` ended by itself; see the log above it")]
    Part {
        /// Which.
        part: &'static str,
    },
}

impl ServiceError {
    /// Whether nothing is wrong but that another orchestrator has the store now, or that this one could not keep it.
    fn is_loss_of_the_store(&self) -> bool {
        match self {
            Self::Part { part } => *part == OWNERSHIP,
            Self::Loop {
                source: HotError::Driver { source },
            } => matches!(**source, DriverError::Fenced { .. }),
            _ => false,
        }
    }
}

/// Runs until `stop` is cancelled or something fails for good. One that loses its part of the store to another orchestrator, or cannot keep it
/// since the database does not answer, ends what it does and begins anew, standing by. Call it on a runtime of one thread.
///
/// # Errors
/// [`ServiceError`], saying what to do.
pub async fn run(
    config: Config,
    stop: CancellationToken,
    numbers: Option<PrometheusHandle>,
) -> Result<(), ServiceError> {
    loop {
        match drive(&config, stop.child_token(), numbers.clone()).await {
            Err(error) if error.is_loss_of_the_store() && !stop.is_cancelled() => {
                tracing::warn!(error = %chain(&error), "no sagas are driven here now; this orchestrator takes its place in the line again");
            }
            ended => return ended,
        }
    }
}

/// Drives sagas for as long as the store is ours.
async fn drive(
    config: &Config,
    stop: CancellationToken,
    numbers: Option<PrometheusHandle>,
) -> Result<(), ServiceError> {
    let grace = Duration::from_millis(config.service.grace_ms);
    token::make_folder(&config.store.data_dir).map_err(|source| ServiceError::Token { source })?;
    let token = match &config.http.token {
        Some(token) => token.clone(),
        None => {
            token::of_file(&config.token_file()).map_err(|source| ServiceError::Token { source })?
        }
    };
    let Some(store) = opened(config, &stop).await? else {
        return Ok(());
    };
    let ownership = store.ownership();
    let reader = store.reader();
    let tables = store.triggers();
    let suspects = store.suspects();
    let hooks = Hooks::read(
        &config.hooks,
        config.triggers.hook_rate_per_minute,
        config.triggers.hook_body_bytes_max,
    )
    .map_err(|source| ServiceError::Hooks { source })?;
    let access = Access::open(store.tokens(), &token)
        .await
        .map_err(|source| ServiceError::Tokens { source })?;
    let changes = Arc::new(Changes::default());
    let bus = Bus::start(config.bus.clone(), stop.clone())
        .map_err(|source| ServiceError::Bus { source })?;
    let inbox = InboxKey::of(store.partition().id);
    let mut options = Options::new(store.partition().id, store.partition().epoch, inbox.clone());
    options.idle_ms = config.sagas.idle_ms;
    let outbox = Outbox::default();
    let driver = Driver::recover(store, outbox.clone(), options, clock::steady())
        .await
        .map_err(|source| ServiceError::Recover {
            source: Box::new(source),
        })?;
    let health = Arc::new(Health::new(bus.state()));
    health.beat();
    let (post, mail, subscribed) = mail();
    let shared = Seen::default();
    for manifest in driver.catalogue().manifests() {
        shared.types.put(manifest.clone());
    }
    let (triggers, trigger_parts) = triggers::parts(
        &config.triggers,
        hooks,
        config.instance().to_owned(),
        triggers::Uses {
            tables,
            reader: reader.clone(),
            post: post.clone(),
            bus: bus.clone(),
            subscribed,
            stop: stop.clone(),
        },
    );
    let http = Http::start(
        config.http.listen,
        Api {
            post: post.clone(),
            watched: Arc::new(Watched::new(changes.clone(), reader.clone())),
            reader,
            changes: changes.clone(),
            streams: Streams::default(),
            top: LastTop::default(),
            health: health.clone(),
            workers: shared.workers.clone(),
            types: shared.types.clone(),
            definitions: Known::default(),
            triggers,
            access,
            numbers,
            counted: Counted::default(),
            stopping: stop.clone(),
        },
    )
    .map_err(|source| ServiceError::Http { source })?;
    let hot = HotLoop::new(Parts {
        driver,
        outbox,
        suspects,
        bus: bus.clone(),
        lanes: config.bus.lanes,
        inbox: inbox.clone(),
        instance: config.instance().to_owned(),
        mail,
        types: shared.types.clone(),
        changes,
        health: health.clone(),
        batch_max: config.inbox.batch_max,
        linger: Duration::from_millis(config.inbox.linger_ms),
        stop: stop.clone(),
    });
    if !http.address().ip().is_loopback() {
        tracing::warn!(
            http = %http.address(),
            "the API can be reached from other machines, and speaks no TLS: tokens cross the network as they are; put something in front of it that does, or set http.listen to a loopback address"
        );
    }
    tracing::info!(
        instance = config.instance(),
        http = %http.address(),
        store = ?config.store.kind,
        data = %config.store.data_dir.display(),
        "the orchestrator runs"
    );
    let mut parts = start_parts(config, &bus, inbox, &health, &shared, post, trigger_parts);
    parts.spawn(owned(ownership));
    let ended = watched(hot.run(grace), parts, &stop).await;
    stop.cancel();
    http.stop();
    bus.shutdown(BUS_WAIT).await;
    let store = ended?;
    if let Err(error) = store.close().await {
        tracing::warn!(error = %chain(&error), "the store was not closed in order; what was committed is there");
    }
    tracing::info!("the orchestrator has ended");
    Ok(())
}

/// Opens the store. Who has to wait for it answers meanwhile that it does. None when the process is to end before.
async fn opened(
    config: &Config,
    stop: &CancellationToken,
) -> Result<Option<AnyStore>, ServiceError> {
    let opening = store::open(config);
    tokio::pin!(opening);
    let mut answering = None;
    let opened = loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break None,
            opened = &mut opening => break Some(opened),
            () = tokio::time::sleep(ANSWER_AFTER), if answering.is_none() => {
                let http = Http::standing_by(config.http.listen);
                answering = Some(http.map_err(|source| ServiceError::Http { source })?);
            }
        }
    };
    if let Some(http) = answering {
        http.stop();
    }
    opened
        .transpose()
        .map_err(|source| ServiceError::Store { source })
}

/// What is only shown.
#[derive(Default)]
struct Seen {
    workers: Arc<Workers>,
    types: Arc<Types>,
}

/// Runs the loop; a part that ends before the stop ends the process, since it is a defect, and a start mends what it left.
async fn watched(
    hot: impl Future<Output = Result<AnyStore, HotError>>,
    mut parts: JoinSet<&'static str>,
    stop: &CancellationToken,
) -> Result<AnyStore, ServiceError> {
    tokio::pin!(hot);
    let failed = tokio::select! {
        ended = &mut hot => return ended.map_err(|source| ServiceError::Loop { source }),
        failed = first_failure(&mut parts, stop) => failed,
    };
    stop.cancel();
    // The loop still ends in order: what it has committed gets published.
    let ended = hot.await;
    if let Err(error) = ended {
        tracing::error!(error = %chain(&error), "the loop did not end in order");
    }
    Err(ServiceError::Part { part: failed })
}

/// The first part that ended before the stop; never returns when all end because of it.
async fn first_failure(
    parts: &mut JoinSet<&'static str>,
    stop: &CancellationToken,
) -> &'static str {
    while let Some(ended) = parts.join_next().await {
        if stop.is_cancelled() {
            continue;
        }
        match ended {
            Ok(part) => return part,
            Err(error) => {
                tracing::error!(%error, "a part of the orchestrator failed");
                return "unknown";
            }
        }
    }
    std::future::pending().await
}

/// Ends when the store's partition is no longer ours. What the loop still commits is refused by the store's fence.
async fn owned(mut ownership: Ownership) -> &'static str {
    let why = ownership.lost().await;
    tracing::error!(
        why,
        "this orchestrator no longer owns its part of the store, and ends what it does there"
    );
    OWNERSHIP
}

/// Everything beside the loop. None of these ends before the stop.
fn start_parts(
    config: &Config,
    bus: &Bus,
    inbox: InboxKey,
    health: &Arc<Health>,
    shared: &Seen,
    post: Post,
    triggers: triggers::Parts,
) -> JoinSet<&'static str> {
    let instance = config.instance().to_owned();
    let mut parts = JoinSet::new();
    let (stands, topology_stands) = oneshot::channel();
    let inbox = declared::Inbox {
        key: inbox,
        prefetch: config.inbox.prefetch,
        instance: instance.clone(),
    };
    let keeping = declared::keep(
        bus.clone(),
        inbox,
        health.clone(),
        post.heard.clone(),
        stands,
    );
    parts.spawn(async move {
        keeping.await;
        "topology"
    });
    let (bus, workers) = (bus.clone(), shared.workers.clone());
    let dead_health = health.clone();
    parts.spawn(async move {
        // What follows consumes queues that have to stand first.
        if topology_stands.await.is_err() {
            return "topology";
        }
        let mut after = JoinSet::new();
        let desk = dead_letters::Desk::new(post.clone(), dead_health);
        for queue in [topology::DEAD, topology::UNROUTABLE] {
            let (bus, instance, desk) = (bus.clone(), instance.clone(), desk.clone());
            after.spawn(async move {
                dead_letters::take_in(bus, queue, instance, desk).await;
                "dead letters"
            });
        }
        let fleet = Fleet::new(bus.clone(), instance.clone(), workers, post.heard);
        after.spawn(async move {
            fleet.run().await;
            "fleet"
        });
        after.spawn(async move {
            speak(bus, instance).await;
            "canary"
        });
        after.spawn(triggers.run());
        match after.join_next().await {
            Some(Ok(part)) => part,
            Some(Err(_)) | None => "fleet or dead letters",
        }
    });
    parts
}
