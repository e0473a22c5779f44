//! The process: its parts put together, who may fail how, and the order in which it ends.
//!
//! One thread runs the loops (one for each partition) and everything that speaks to the broker; a second one serves HTTP, so that neither a long
//! list nor a slow caller holds up a saga; the store in a file has a third, which commits.
//!
//! The end, in order: consumers take nothing new; the turn under way is committed; what was published is confirmed within the grace; how
//! far that is gets written; HTTP, bus and store are closed.

use std::sync::Arc;
use std::time::Duration;

use baton_bus::{Bus, BusError};
use baton_driver::{DriverError, StoreError};
use baton_store::{AnyStore, Layout, View};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::api::{Api, Counted, Known, LastTop, Me, Streams, Watched};
use crate::audit::{self, Audit};
use crate::chain::chain;
use crate::changes::Changes;
use crate::cluster::{self, Members, Peers, Router, Seats};
use crate::config::Config;
use crate::fleet::{Fleet, Workers, speak};
use crate::health::Health;
use crate::hot::HotError;
use crate::http::{Http, HttpError};
use crate::replay::{Replay, Scribe};
use crate::store::{OpenError, Opened};
use crate::token::{self, TokenError};
use crate::triggers::Triggers;
use crate::triggers::hooks::{HookError, Hooks};
use crate::types::Types;
use crate::usher::Usher;
use crate::{alerts, clock, store, topology as declared, triggers};

/// After how long a store that is not open yet is waited for, and no longer only being opened.
const ANSWER_AFTER: Duration = Duration::from_millis(500);
/// How long the bus may take to close after everything is confirmed.
const BUS_WAIT: Duration = Duration::from_secs(5);

/// How long what was done last may take to get into the audit log.
const AUDIT_WAIT: Duration = Duration::from_secs(2);

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
    /// Two processes have one name.
    #[error(
        "another orchestrator says under the name `{name}` that it is there, and two of one name would take all sagas from each other: give each a service.instance of its own"
    )]
    Namesake {
        /// Which.
        name: String,
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

/// Runs until `stop` is cancelled or something fails for good. On a database it drives what falls to it among the orchestrators that are there; what
/// it loses to another, or cannot keep since the database does not answer, it takes again when it can. Call it on a runtime of one thread.
///
/// # Errors
/// [`ServiceError`], saying what to do.
pub async fn run(
    config: Config,
    stop: CancellationToken,
    numbers: Option<PrometheusHandle>,
) -> Result<(), ServiceError> {
    // the loops are tasks of this thread alone
    let here = LocalSet::new();
    here.run_until(run_here(config, stop, numbers)).await
}

async fn run_here(
    config: Config,
    stop: CancellationToken,
    numbers: Option<PrometheusHandle>,
) -> Result<(), ServiceError> {
    let began = clock::now();
    token::make_folder(&config.store.data_dir).map_err(|source| ServiceError::Token { source })?;
    let token = match &config.http.token {
        Some(token) => token.clone(),
        None => {
            token::of_file(&config.token_file()).map_err(|source| ServiceError::Token { source })?
        }
    };
    let Some(opened) = opened(&config, &stop).await? else {
        return Ok(());
    };
    let hooks = Hooks::read(
        &config.hooks,
        config.triggers.hook_rate_per_minute,
        config.triggers.hook_body_bytes_max,
    )
    .map_err(|source| ServiceError::Hooks { source })?;
    let access = Access::open(opened.tokens.clone(), &token)
        .await
        .map_err(|source| ServiceError::Tokens { source })?;
    let access = Arc::new(access);
    let bus = Bus::start(config.bus.clone(), stop.clone())
        .map_err(|source| ServiceError::Bus { source })?;
    let changes = Arc::new(Changes::default());
    let health = Arc::new(Health::new(bus.state()));
    let shown = Seen::default();
    let live = triggers::nothing_live();
    let (look, looks) = triggers::looks();
    let router = Arc::new(Router::new(opened.layout.clone(), look, stop.clone()));
    let view = watch::Sender::new(Arc::new(View::default()));
    let peers = opened.home.is_shared().then(|| {
        let name = config.instance().to_owned();
        let lease = Duration::from_millis(config.store.lease_ms);
        Peers::new(bus.clone(), name, view.subscribe(), lease)
    });
    if let Some(peers) = &peers {
        router.join(peers.clone());
    }
    let shared = triggers::Shared {
        tables: opened.tables,
        reader: opened.reader.clone(),
        router: router.clone(),
        bus: bus.clone(),
        live: live.subscribe(),
        stop: stop.clone(),
    };
    let instance = config.instance().to_owned();
    let leading = triggers::Leading::new(&config.triggers, instance, shared.clone(), live.clone());
    let stands = watch::Sender::new(false);
    let nudged = Arc::new(Notify::new());
    let seats = Seats::new(
        &config,
        cluster::SeatsUses {
            bus: bus.clone(),
            layout: opened.layout.clone(),
            suspects: opened.suspects,
            types: shown.types.clone(),
            changes: changes.clone(),
            health: health.clone(),
            router: router.clone(),
            triggers: shared.clone(),
            stands: stands.subscribe(),
            reserved: nudged.clone(),
            workers: shown.workers.clone(),
        },
    );
    let (scribe, letters_writer) = Scribe::new(opened.letters.clone());
    let replay = Replay::new(
        opened.letters,
        scribe,
        opened.reader.clone(),
        router.clone(),
        bus.clone(),
        live.subscribe(),
        shown.workers.clone(),
    );
    let (audit, audit_writer) = Audit::new(opened.audit.clone());
    let audit = Arc::new(audit);
    let writing = tokio::spawn(async { tokio::join!(audit_writer, letters_writer) });
    let members = Members::begin(
        opened.home,
        cluster::MembersUses {
            seats,
            router: router.clone(),
            health: health.clone(),
            access: access.clone(),
            types: shown.types.clone(),
            changes: changes.clone(),
            reader: opened.reader.clone(),
            leading,
            replay: replay.clone(),
            audit: (opened.audit.clone(), config.heads_every()),
            expiring: config.letters_stay_ms().map(|ms| (audit.clone(), ms)),
            alerts: config.alert_rules().map(|rules| alerts::Uses {
                alerts: opened.alerts.clone(),
                reader: opened.reader.clone(),
                workers: shown.workers.clone(),
                types: shown.types.clone(),
                live: live.subscribe(),
                bus: bus.clone(),
                rules: Arc::new(rules),
            }),
            adopted: config.adopted(),
            view,
            stop: stop.clone(),
        },
    )
    .await?;
    let http = Http::start(
        config.http.listen,
        Api {
            router: router.clone(),
            replay,
            watched: Arc::new(Watched::new(changes.clone(), opened.reader.clone())),
            reader: opened.reader,
            book: opened.book.clone(),
            changes,
            streams: Streams::default(),
            top: LastTop::default(),
            health: health.clone(),
            workers: shown.workers.clone(),
            types: shown.types.clone(),
            definitions: Known::default(),
            triggers: Triggers::new(hooks, &shared),
            access,
            alerts: opened.alerts,
            link: config.link(),
            audit,
            letters_stay_ms: config.letters_stay_ms(),
            numbers,
            counted: Counted::default(),
            stopping: stop.clone(),
            me: Me {
                name: config.instance().to_owned(),
                began,
            },
        },
    )
    .map_err(|source| ServiceError::Http { source })?;
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
    if let Some(policy) = config.retention() {
        policy.announce();
    }
    let mut parts = start_parts(
        &config,
        &bus,
        &opened.layout,
        &health,
        &shown,
        &router,
        stands,
    );
    let usher = Usher {
        book: opened.book,
        router: router.clone(),
        nudged,
        stop: stop.clone(),
    };
    parts.spawn(async move {
        usher.run().await;
        "usher"
    });
    if let Some(file) = config.audit.heads_file.clone() {
        let keeping = audit::keep_file(opened.audit, file, config.heads_every(), stop.clone());
        parts.spawn(async move {
            keeping.await;
            "heads of the audit log"
        });
    }
    if let Some(peers) = peers {
        let router = router.clone();
        parts.spawn(async move {
            cluster::listen(peers, router).await;
            "peers"
        });
        parts.spawn(async move {
            triggers::follow(shared, live, looks).await;
            "definitions"
        });
    }
    let ended = watched(members.run(), parts, &stop).await;
    stop.cancel();
    http.stop();
    // whoever asked has gone: what is left to be written is, and the writer ends
    if tokio::time::timeout(AUDIT_WAIT, writing).await.is_err() {
        tracing::warn!(
            "the audit log, and what came of replayed dead letters, were not written to their end: of an action that was asked for the log may not say what came of it, and letters on their way are done again"
        );
    }
    bus.shutdown(BUS_WAIT).await;
    if let Some(store) = ended?
        && let Err(error) = store.close().await
    {
        tracing::warn!(error = %chain(&error), "the store was not closed in order; what was committed is there");
    }
    tracing::info!("the orchestrator has ended");
    Ok(())
}

/// Opens the store. Who has to wait for it answers meanwhile that it does. None when the process is to end before.
async fn opened(config: &Config, stop: &CancellationToken) -> Result<Option<Opened>, ServiceError> {
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

/// Runs the loops; a part that ends before the stop ends the process, since it is a defect, and a start mends what it left.
async fn watched(
    members: impl Future<Output = Result<Option<AnyStore>, ServiceError>>,
    mut parts: JoinSet<&'static str>,
    stop: &CancellationToken,
) -> Result<Option<AnyStore>, ServiceError> {
    tokio::pin!(members);
    let failed = tokio::select! {
        ended = &mut members => return ended,
        failed = first_failure(&mut parts, stop) => failed,
    };
    stop.cancel();
    // The loops still end in order: what they have committed gets published.
    if let Err(error) = members.await {
        tracing::error!(error = %chain(&error), "the loops did not end in order");
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

/// Everything beside the loops. None of these ends before the stop.
fn start_parts(
    config: &Config,
    bus: &Bus,
    layout: &Layout,
    health: &Arc<Health>,
    shown: &Seen,
    router: &Arc<Router>,
    stands: watch::Sender<bool>,
) -> JoinSet<&'static str> {
    let instance = config.instance().to_owned();
    let mut parts = JoinSet::new();
    let mut topology_stands = stands.subscribe();
    let keeping = declared::keep(bus.clone(), layout.count(), health.clone(), stands);
    parts.spawn(async move {
        keeping.await;
        "topology"
    });
    let fleet = Fleet::new(
        bus.clone(),
        instance.clone(),
        shown.workers.clone(),
        router.clone(),
    );
    let (bus, seated) = (bus.clone(), router.seated());
    parts.spawn(async move {
        // What follows consumes queues that have to stand first.
        if topology_stands.wait_for(|stands| *stands).await.is_err() {
            return "topology";
        }
        let mut after = JoinSet::new();
        after.spawn(async move {
            fleet.run().await;
            "fleet"
        });
        after.spawn(async move {
            speak(bus, instance, seated).await;
            "canary"
        });
        match after.join_next().await {
            Some(Ok(part)) => part,
            Some(Err(_)) | None => "fleet or canary",
        }
    });
    parts
}
