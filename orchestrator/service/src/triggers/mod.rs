//! What starts sagas by itself, or cancels them: events, schedules and hooks. Nothing is decided here: what a trigger finds is the engine's, what a saga
//! makes of it is the engine's.
//!
//! ```text
//! baton.triggers ─▶ intake ─┐            one transaction           ┌─▶ Start, EventArrived, Joined, Cancel ─▶ hot loop (commit)
//! POST /v1/hooks ───────────┴─▶ taker ─▶ event + what it causes ─▶ carrier ─▶ settled ─▶ acknowledged
//! cron ─▶ schedules ─▶ Start ─▶ hot loop
//! ```
//!
//! Guarantee: an event is kept once, with what its triggers said when it first came, before anything is done about it; it is acknowledged
//! only after all that it causes is committed. Whatever dies in between, the same is done again, and ids that are derived make it the same.

mod bindings;
mod cancels;
mod carrier;
pub(crate) mod cloudevents;
pub(crate) mod hooks;
mod intake;
pub(crate) mod letters;
mod live;
pub(crate) mod mended;
mod purge;
mod schedules;
mod search;
mod taker;

use std::sync::Arc;
use std::time::Duration;

use baton_bus::Bus;
use baton_store::{AnyReader, AnyTriggers};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::Router;
use crate::config::TriggersConfig;
pub(crate) use bindings::follow;
use hooks::Hooks;
pub(crate) use live::{Live, claims_a_hook, listens};
pub(crate) use schedules::{
    Command as ScheduleCommand, Done as ScheduleDone, Shown as ScheduleShown,
    What as ScheduleAsked, shown as show_schedule,
};
pub(crate) use search::search;
pub(crate) use taker::Incoming;

/// Events from hooks that wait to be kept: each waits for an answer, so that more would only wait longer.
const INCOMING_MAX: usize = 256;
/// Batches that are kept and wait to be carried out: enough that keeping and carrying out overlap.
const CARRYING_MAX: usize = 4;
/// Requests to look at the definitions anew that wait; one look serves all of them.
const LOOKS_MAX: usize = 64;
/// Operators' requests about schedules that wait.
const COMMANDS_MAX: usize = 64;
/// First and longest pause before the store or the loop is asked again.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// What the API uses.
#[derive(Clone)]
pub(crate) struct Triggers {
    /// Live triggers.
    pub(crate) live: watch::Receiver<Arc<Live>>,
    /// Hooks' secrets and limits.
    pub(crate) hooks: Arc<Hooks>,
    /// How events are published.
    pub(crate) bus: Bus,
    router: Arc<Router>,
}

impl Triggers {
    pub(crate) fn new(hooks: Hooks, shared: &Shared) -> Self {
        Self {
            live: shared.live.clone(),
            hooks: Arc::new(hooks),
            bus: shared.bus.clone(),
            router: shared.router.clone(),
        }
    }

    /// A definition was registered: everybody knows it, its triggers are live, and the queue is bound to what they need where they need events of
    /// the bus, when this returns; or the time was over, and they will be.
    pub(crate) async fn registered(&self, name: &str, version: u32, bound: bool, limit: Duration) {
        if !self.router.is_alone() {
            // everybody was told when it was registered
            return;
        }
        let mut live = self.live.clone();
        let is_live = |live: &Arc<Live>| live.definition(name, version).is_some();
        let looked = async {
            let telling = self.router.tell_everybody();
            if bound {
                telling.await;
                return;
            }
            tokio::pin!(telling);
            tokio::select! {
                () = &mut telling => {}
                // what is live needs nothing of the bus
                _ = live.wait_for(is_live) => {}
            }
        };
        let _ = tokio::time::timeout(limit, looked).await;
    }
}

/// Where whoever leads is asked.
#[derive(Clone)]
pub(crate) struct Lead {
    /// Events to be taken in.
    pub(crate) incoming: mpsc::Sender<Incoming>,
    /// Operators' requests about schedules.
    pub(crate) schedules: mpsc::Sender<ScheduleCommand>,
    /// To look at the definitions anew; told when what they need is bound.
    pub(crate) look: mpsc::Sender<oneshot::Sender<()>>,
}

/// What the parts are made of, each time this process begins to lead.
pub(crate) struct Leading {
    shared: Shared,
    live: Arc<watch::Sender<Arc<Live>>>,
    batch_max: usize,
    prefetch: u16,
    keep: Duration,
    instance: String,
}

/// The parts, before they run.
pub(crate) struct Parts {
    shared: Shared,
    batch_max: usize,
    prefetch: u16,
    keep: Duration,
    instance: String,
    incoming: mpsc::Receiver<Incoming>,
    to_taker: mpsc::Sender<Incoming>,
    looks: mpsc::Receiver<oneshot::Sender<()>>,
    live: Arc<watch::Sender<Arc<Live>>>,
    commands: mpsc::Receiver<ScheduleCommand>,
}

/// What every part uses.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) tables: AnyTriggers,
    pub(crate) reader: AnyReader,
    pub(crate) router: Arc<Router>,
    pub(crate) bus: Bus,
    pub(crate) live: watch::Receiver<Arc<Live>>,
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// The same, until something narrower than the process stops.
    pub(crate) fn until(&self, stop: CancellationToken) -> Self {
        Self {
            stop,
            ..self.clone()
        }
    }

    /// Waits before another try, a little longer each time; false when the process is to stop instead.
    async fn pause(&self, pause: &mut Duration) -> bool {
        let lasts = *pause;
        *pause = (lasts * 2).min(AGAIN_MAX);
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(lasts) => true,
        }
    }
}

/// Where requests to look anew are asked while another process leads, or none does.
pub(crate) fn looks() -> (
    mpsc::Sender<oneshot::Sender<()>>,
    mpsc::Receiver<oneshot::Sender<()>>,
) {
    mpsc::channel(LOOKS_MAX)
}

/// The live triggers: written by whoever reads the definitions.
pub(crate) fn nothing_live() -> Arc<watch::Sender<Arc<Live>>> {
    Arc::new(watch::Sender::new(Arc::new(Live::default())))
}

impl Leading {
    pub(crate) fn new(
        config: &TriggersConfig,
        instance: String,
        shared: Shared,
        live: Arc<watch::Sender<Arc<Live>>>,
    ) -> Self {
        Self {
            shared,
            live,
            batch_max: config.batch_max,
            prefetch: config.prefetch,
            keep: Duration::from_secs(config.keep_events_h * 3600),
            instance,
        }
    }

    /// Makes the parts, which run until `stop`, and the others' end of them.
    pub(crate) fn begin(&self, stop: CancellationToken) -> (Lead, Parts) {
        let (to_taker, incoming) = mpsc::channel(INCOMING_MAX);
        let (look, looks) = mpsc::channel(LOOKS_MAX);
        let (to_schedules, commands) = mpsc::channel(COMMANDS_MAX);
        let lead = Lead {
            incoming: to_taker.clone(),
            schedules: to_schedules,
            look,
        };
        let parts = Parts {
            shared: self.shared.until(stop),
            batch_max: self.batch_max,
            prefetch: self.prefetch,
            keep: self.keep,
            instance: self.instance.clone(),
            incoming,
            to_taker,
            looks,
            live: self.live.clone(),
            commands,
        };
        (lead, parts)
    }
}

impl Parts {
    /// Runs all of it. Call it once the topology stands. Ends with the name of the first part that ended.
    pub(crate) async fn run(self) -> &'static str {
        let shared = self.shared;
        let (to_carrier, carried) = mpsc::channel(CARRYING_MAX);
        let mut all = JoinSet::new();
        // from here on: what was read before is not what whoever led before us went by last
        let mut read = self.live.subscribe();
        let bindings = bindings::keep(shared.clone(), self.live, self.looks);
        all.spawn(async move {
            bindings.await;
            "bindings"
        });
        // Until the definitions are read nobody can say what an event is for.
        let first = tokio::select! {
            read = read.changed() => read.is_ok(),
            () = shared.stop.cancelled() => false,
        };
        if !first {
            return "bindings";
        }
        let carrier = carrier::carry(shared.clone(), carried);
        all.spawn(async move {
            carrier.await;
            "carrier of events"
        });
        let taker = taker::take(shared.clone(), self.incoming, to_carrier, self.batch_max);
        all.spawn(async move {
            taker.await;
            "taker of events"
        });
        let intake = intake::consume(
            shared.clone(),
            self.to_taker,
            self.prefetch,
            self.batch_max,
            self.instance,
        );
        all.spawn(async move {
            intake.await;
            "intake of events"
        });
        let purge = purge::purge(shared.clone(), self.keep);
        all.spawn(async move {
            purge.await;
            "purge of events"
        });
        let schedules = schedules::run(shared, self.commands);
        all.spawn(async move {
            schedules.await;
            "schedules"
        });
        match all.join_next().await {
            Some(Ok(part)) => part,
            Some(Err(_)) | None => "triggers",
        }
    }
}
