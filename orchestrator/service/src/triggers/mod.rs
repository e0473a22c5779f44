//! What starts sagas by itself: events, schedules and hooks. Nothing is decided here: what a trigger finds is the engine's, what a saga
//! makes of it is the engine's.
//!
//! ```text
//! baton.triggers ─▶ intake ─┐            one transaction           ┌─▶ Start, EventArrived, Joined ─▶ hot loop (commit)
//! POST /v1/hooks ───────────┴─▶ taker ─▶ event + what it causes ─▶ carrier ─▶ settled ─▶ acknowledged
//! cron ─▶ schedules ─▶ Start ─▶ hot loop
//! ```
//!
//! Guarantee: an event is kept once, with what its triggers said when it first came, before anything is done about it; it is acknowledged
//! only after all that it causes is committed. Whatever dies in between, the same is done again, and ids that are derived make it the same.

mod bindings;
mod carrier;
pub(crate) mod cloudevents;
pub(crate) mod hooks;
mod intake;
mod letters;
mod live;
mod purge;
mod schedules;
mod search;
mod taker;

use std::sync::Arc;
use std::time::Duration;

use baton_bus::Bus;
use baton_driver::SubscriptionRow;
use baton_store::{AnyReader, AnyTriggers};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::TriggersConfig;
use crate::hot::mail::Post;
use hooks::Hooks;
pub(crate) use live::{Live, claims_a_hook, listens};
pub(crate) use schedules::{
    Command as ScheduleCommand, Shown as ScheduleShown, What as ScheduleAsked,
    shown as show_schedule,
};
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
    /// Events to be taken in.
    pub(crate) incoming: mpsc::Sender<Incoming>,
    /// Live triggers.
    pub(crate) live: watch::Receiver<Arc<Live>>,
    /// Hooks' secrets and limits.
    pub(crate) hooks: Arc<Hooks>,
    /// Operators' requests about schedules.
    pub(crate) schedules: mpsc::Sender<ScheduleCommand>,
    /// How events are published.
    pub(crate) bus: Bus,
    look: mpsc::Sender<oneshot::Sender<()>>,
}

impl Triggers {
    /// A definition was registered: its triggers are live, and the queue is bound to what they need where they need events of the bus, when this
    /// returns; or the time was over, and they will be.
    pub(crate) async fn registered(&self, name: &str, version: u32, bound: bool, limit: Duration) {
        let (done, told) = oneshot::channel();
        if self.look.send(done).await.is_err() {
            return;
        }
        let mut live = self.live.clone();
        let looked = async {
            let is_live = |live: &Arc<Live>| live.definition(name, version).is_some();
            let ended = live.wait_for(is_live).await.is_err();
            if bound && !ended {
                // the process ends: whoever starts next looks anew
                let _ = told.await;
            }
        };
        let _ = tokio::time::timeout(limit, looked).await;
    }
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
    live: watch::Sender<Arc<Live>>,
    commands: mpsc::Receiver<ScheduleCommand>,
    subscribed: mpsc::Receiver<Vec<SubscriptionRow>>,
}

/// What every part uses.
#[derive(Clone)]
pub(crate) struct Shared {
    tables: AnyTriggers,
    reader: AnyReader,
    post: Post,
    bus: Bus,
    live: watch::Receiver<Arc<Live>>,
    stop: CancellationToken,
}

impl Shared {
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

/// What the parts are made with.
pub(crate) struct Uses {
    pub(crate) tables: AnyTriggers,
    pub(crate) reader: AnyReader,
    pub(crate) post: Post,
    pub(crate) bus: Bus,
    /// Steps that begin to wait.
    pub(crate) subscribed: mpsc::Receiver<Vec<SubscriptionRow>>,
    pub(crate) stop: CancellationToken,
}

/// Makes the parts and the API's end of them.
pub(crate) fn parts(
    config: &TriggersConfig,
    hooks: Hooks,
    instance: String,
    uses: Uses,
) -> (Triggers, Parts) {
    let (to_taker, incoming) = mpsc::channel(INCOMING_MAX);
    let (look, looks) = mpsc::channel(LOOKS_MAX);
    let (to_schedules, commands) = mpsc::channel(COMMANDS_MAX);
    let (live, seen) = watch::channel(Arc::new(Live::default()));
    let handle = Triggers {
        incoming: to_taker.clone(),
        live: seen.clone(),
        hooks: Arc::new(hooks),
        schedules: to_schedules,
        bus: uses.bus.clone(),
        look,
    };
    let shared = Shared {
        tables: uses.tables,
        reader: uses.reader,
        post: uses.post,
        bus: uses.bus,
        live: seen,
        stop: uses.stop,
    };
    let parts = Parts {
        shared,
        batch_max: config.batch_max,
        prefetch: config.prefetch,
        keep: Duration::from_secs(config.keep_events_h * 3600),
        instance,
        incoming,
        to_taker,
        looks,
        live,
        commands,
        subscribed: uses.subscribed,
    };
    (handle, parts)
}

impl Parts {
    /// Runs all of it. Call it once the topology stands. Ends with the name of the first part that ended.
    pub(crate) async fn run(self) -> &'static str {
        let shared = self.shared;
        let (to_carrier, carried) = mpsc::channel(CARRYING_MAX);
        let mut all = JoinSet::new();
        let bindings = bindings::keep(shared.clone(), self.live, self.looks);
        all.spawn(async move {
            bindings.await;
            "bindings"
        });
        // Until the definitions are read nobody can say what an event is for.
        if bindings::first_look(&shared).await.is_none() {
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
        let search = search::search(shared.clone(), self.subscribed);
        all.spawn(async move {
            search.await;
            "search of events"
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
