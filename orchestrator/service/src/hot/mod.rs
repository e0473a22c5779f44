//! The hot loop: everything that is ready becomes one turn of the driver, one commit; then the batch is acknowledged, answered and
//! published. One task, one loop, on a runtime of one thread; whatever could make it wait (confirms, putting aside, declaring,
//! reading for the API) runs beside it.
//!
//! ```text
//! inbox ─┐                                   ┌─▶ acknowledge the prefix
//! API  ──┼─▶ pieces ─▶ driver.turn (commit) ─┼─▶ answer the API, tell the intake
//! dead ──┘                                   └─▶ lanes ─▶ broker ─▶ confirms ─▶ driver.sent
//! ```

mod carried;
mod catch_up;
mod elsewhere;
mod frontier;
mod lanes;
mod leases;
mod letter;
pub(crate) mod mail;
pub(crate) mod parking;
mod piece;
mod probe;
pub(crate) mod suspect;
mod together;
pub(crate) mod trial;
mod turn;
mod vain;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;

use baton_bus::{AckTag, BusState, Consumer, Delivery, Link, Losses};
use baton_driver::{Driver, DriverError, Sent, Store, Ticket};
use baton_messages::fleet::Announcement;
use baton_messages::{InboxKey, TaskType};
use baton_store::{AnySuspects, Layout};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::changes::Changes;
use crate::clock;
use crate::cluster::Router;
use crate::decode::{self, Read};
use crate::health::Pulse;
use crate::metrics;
use crate::types::Types;
pub(crate) use carried::Carried;
use catch_up::CatchUp;
use elsewhere::{Elsewhere, Ours};
use frontier::Frontier;
use lanes::Lanes;
pub(crate) use lanes::Outbox;
use leases::Watch;
use mail::{Heard, Letters, Mail, Request, SUBSCRIBED_BATCH};
use parking::Parking;
use piece::Piece;
use probe::Probe;
use suspect::Suspect;
pub(crate) use together::Together;
use trial::{Alone, Trial};
use vain::Vain;

/// How often the loop looks around when nothing comes: leases, gauges, the sign that it lives.
const TICK: Duration = Duration::from_secs(1);
/// A turn that was due and did nothing is not repeated sooner: no spinning while the driver waits for room.
const PAUSE_AFTER_NOTHING: Duration = Duration::from_millis(10);
/// Longest wait for the turns of other partitions. They take some milliseconds each; one that hangs on the database must not hold up the others.
const OTHERS_WAIT: Duration = Duration::from_millis(50);
/// A batch larger than this means load: the next one waits a little for more.
const LOAD_FROM: usize = 8;

/// Why the loop ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum HotError {
    /// The driver cannot go on.
    #[error("the partition cannot be driven any further; see the cause, then start again")]
    Driver {
        /// Why.
        #[source]
        source: Box<DriverError>,
    },
    /// A publishing lane ended by itself.
    #[error("a publishing lane failed; what it carried is published again after a start")]
    Lane {
        /// Why.
        #[source]
        source: tokio::task::JoinError,
    },
    /// What puts messages aside ended by itself.
    #[error("putting a message aside failed; it is not acknowledged and comes again after a start")]
    Parking {
        /// Why.
        #[source]
        source: tokio::task::JoinError,
    },
}

/// What the loop is made with.
pub(crate) struct Parts<S> {
    pub(crate) driver: Driver<S, Outbox>,
    pub(crate) outbox: Outbox,
    pub(crate) suspects: AnySuspects,
    pub(crate) bus: baton_bus::Bus,
    pub(crate) lanes: usize,
    pub(crate) together: Together,
    pub(crate) inbox: InboxKey,
    pub(crate) instance: String,
    pub(crate) mail: Mail,
    pub(crate) types: Arc<Types>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) health: Arc<Pulse>,
    pub(crate) batch_max: usize,
    pub(crate) linger: Duration,
    pub(crate) stop: CancellationToken,
    /// Which partition has which saga.
    pub(crate) layout: Arc<Layout>,
    pub(crate) partition: u8,
    /// One try at a time in this process, whichever loop makes it.
    pub(crate) trials: Arc<Semaphore>,
    /// So many loops of this process are in a turn at the same time.
    pub(crate) turns: Arc<Semaphore>,
    /// Told when what sagas take has changed.
    pub(crate) reserved: Arc<Notify>,
    /// Whether what an import left on its way was read.
    pub(crate) carried: Carried,
    /// What the other members read.
    pub(crate) router: Arc<Router>,
}

/// The loop.
pub(crate) struct HotLoop<S> {
    driver: Driver<S, Outbox>,
    lanes: Lanes,
    inbox: Option<Consumer>,
    frontier: Frontier,
    parking: Parking,
    watch: Watch,
    catch_up: CatchUp,
    probe: Probe,
    carried: Carried,
    router: Arc<Router>,
    mail: Mail,
    types: Arc<Types>,
    changes: Arc<Changes>,
    bus: watch::Receiver<BusState>,
    health: Arc<Pulse>,
    elsewhere: Elsewhere,
    batch_max: usize,
    linger: Duration,
    stop: CancellationToken,
    /// Deliveries taken for which the last turn had no room: a message may hold many reports. Never more than the prefetch.
    waiting: VecDeque<Delivery>,
    /// The message before those that wait, if it was delivered so often that it may be what kills us: none of them overtakes it.
    suspect: Option<Suspect>,
    losses: Losses,
    suspects: AnySuspects,
    trials: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    reserved: Arc<Notify>,
    /// What is tried alone now.
    trial: Option<Trial>,
    vain: Vain,
    /// What the next turn decides.
    pieces: Vec<Piece>,
    /// How many inputs they give.
    inputs: usize,
    /// Who is told when this turn is committed: that its batches of dead letters are kept, that ended sagas are taken out.
    kept: Vec<tokio::sync::oneshot::Sender<()>>,
    last_batch: usize,
    idle_turn: bool,
    /// The store did not take a task type that was announced.
    unkept: bool,
    ticked: Instant,
}

/// Why the loop woke.
enum Woken {
    Stop,
    Landed(Result<Vec<(Ticket, Sent)>, tokio::task::JoinError>),
    Parked(Result<AckTag, tokio::task::JoinError>),
    Heard(Heard),
    Bus,
    Asked(Request),
    Dead(Letters),
    Alone(Alone),
    Tried(bool),
    Inbox(Option<Vec<Delivery>>),
    Time,
}

impl<S: Store> HotLoop<S> {
    pub(crate) fn new(mut parts: Parts<S>) -> Self {
        // Nobody has read the inbox since this orchestrator, or the one before it, ended.
        parts.driver.hold_timers();
        let publisher = parts.bus.publisher();
        // One lane of the bus is left for what is no task: markers, canaries, dead letters.
        let lanes = parts.lanes.saturating_sub(1).max(1);
        Self {
            driver: parts.driver,
            lanes: Lanes::new(parts.outbox, publisher.clone(), parts.together, lanes),
            inbox: None,
            frontier: Frontier::default(),
            parking: Parking::new(publisher.clone()),
            catch_up: CatchUp::new(publisher.clone(), parts.inbox.clone(), &parts.instance),
            probe: Probe::new(publisher.clone(), parts.inbox.clone(), &parts.instance),
            watch: Watch::new(publisher, parts.inbox, parts.instance),
            carried: parts.carried,
            router: parts.router,
            mail: parts.mail,
            types: parts.types,
            changes: parts.changes,
            bus: parts.bus.state(),
            health: parts.health,
            elsewhere: Elsewhere::new(parts.layout, parts.partition),
            trials: parts.trials,
            turns: parts.turns,
            reserved: parts.reserved,
            batch_max: parts.batch_max,
            linger: parts.linger,
            stop: parts.stop,
            waiting: VecDeque::new(),
            suspect: None,
            losses: Losses::default(),
            suspects: parts.suspects,
            trial: None,
            vain: Vain::default(),
            pieces: Vec::new(),
            inputs: 0,
            kept: Vec::new(),
            last_batch: 0,
            idle_turn: false,
            unkept: false,
            ticked: Instant::now(),
        }
    }

    /// Turns until it is stopped, then ends in order: takes nothing new, gives back what it holds, sees what it published confirmed
    /// within `grace`, writes how far that is.
    ///
    /// # Errors
    /// [`HotError`] when it cannot go on; nothing that was not committed has been acknowledged.
    pub(crate) async fn run(mut self, grace: Duration) -> Result<S, HotError> {
        self.note_bus();
        // What was registered while the store was read was told to those loops that were there, and this one is there only now.
        self.learn().await;
        loop {
            self.health.beat();
            match self.wait().await {
                Woken::Stop => break,
                woken => self.take(woken).await?,
            }
            self.take_ready().await?;
            let turn = self.one_of_turns().await?;
            self.catch_up();
            self.turn().await?;
            drop(turn);
            self.one_of_suspect().await?;
            self.tell_subscribed();
            if self.driver.take_reserved() {
                self.reserved.notify_one();
            }
            self.tick().await;
        }
        self.end(grace).await
    }

    /// Waits until few enough other loops of this process are in a turn. What comes meanwhile is taken into this one: few large commits cost the
    /// store less than many small ones, and a process that drives one partition waits for nobody, nor does a loop that has nothing to commit.
    async fn one_of_turns(&mut self) -> Result<Option<OwnedSemaphorePermit>, HotError> {
        if self.pieces.is_empty() && !self.is_due() {
            return Ok(None);
        }
        if let Ok(turn) = self.turns.clone().try_acquire_owned() {
            return Ok(Some(turn));
        }
        let turn = self.turns.clone().acquire_owned();
        let turn = tokio::time::timeout(OTHERS_WAIT, turn).await;
        self.take_ready().await?;
        Ok(turn.ok().and_then(Result::ok))
    }

    async fn wait(&mut self) -> Woken {
        let room = self.driver.has_room();
        let linger = if self.last_batch > LOAD_FROM {
            self.linger
        } else {
            Duration::ZERO
        };
        let time = self.until_time();
        let batch_max = self.batch_max;
        let waiting = self.suspect.is_some() || !self.waiting.is_empty();
        let free = room && !self.is_tried_elsewhere();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Woken::Stop,
            landed = self.lanes.landed() => Woken::Landed(landed),
            parked = self.parking.parked() => Woken::Parked(parked),
            Some(heard) = self.mail.heard.recv() => Woken::Heard(heard),
            Ok(()) = self.bus.changed() => Woken::Bus,
            Some(asked) = self.mail.requests.recv(), if room => Woken::Asked(asked),
            Some(dead) = self.mail.dead.recv(), if room => Woken::Dead(dead),
            over = trial::tried(&mut self.trial) => Woken::Tried(over),
            Some(asked) = self.mail.alone.recv(), if free => Woken::Alone(asked),
            () = std::future::ready(()), if free && waiting => Woken::Inbox(Some(Vec::new())),
            batch = next(&mut self.inbox, batch_max, linger), if free => Woken::Inbox(batch),
            () = tokio::time::sleep(time) => Woken::Time,
        }
    }

    /// How long until the driver wants a turn, at most a tick.
    fn until_time(&self) -> Duration {
        let least = if self.idle_turn {
            PAUSE_AFTER_NOTHING
        } else {
            Duration::ZERO
        };
        let due = self.driver.next_wake().map_or(TICK, |at| {
            Duration::from_millis(at.since_ms(clock::steady()))
        });
        due.min(TICK).max(least)
    }

    async fn take(&mut self, woken: Woken) -> Result<(), HotError> {
        match woken {
            Woken::Landed(landed) => {
                let sent = landed.map_err(|source| HotError::Lane { source })?;
                if self.vain.came_back(&sent) {
                    self.probe.answered();
                }
                self.driver.sent(sent);
            }
            Woken::Parked(parked) => {
                let tag = parked.map_err(|source| HotError::Parking { source })?;
                self.frontier.parked(tag);
                self.acknowledge().await;
            }
            Woken::Heard(heard) => self.hear(heard).await,
            Woken::Bus => self.note_bus(),
            Woken::Asked(request) => self.ask(request).await,
            Woken::Dead(letters) => self.take_letters(letters),
            Woken::Alone(asked) => self.let_try(asked).await,
            Woken::Tried(true) => self.over().await,
            Woken::Tried(false) => self.dropped().await,
            Woken::Inbox(Some(batch)) => self.take_batch(batch),
            // The consumer ends only when the bus does, which is after this loop.
            Woken::Inbox(None) => self.inbox = None,
            Woken::Stop | Woken::Time => {}
        }
        Ok(())
    }

    /// What else is ready goes into the same turn.
    async fn take_ready(&mut self) -> Result<(), HotError> {
        while let Some(landed) = self.lanes.try_landed() {
            self.take(Woken::Landed(landed)).await?;
        }
        while let Ok(heard) = self.mail.heard.try_recv() {
            self.hear(heard).await;
        }
        if !self.driver.has_room() {
            return Ok(());
        }
        // Half of a turn: however much the API is asked, the inbox is read.
        while self.inputs < self.batch_max.div_ceil(2) {
            match self.mail.requests.try_recv() {
                Ok(request) => self.ask(request).await,
                Err(_) => break,
            }
        }
        if let Ok(letters) = self.mail.dead.try_recv() {
            self.take_letters(letters);
        }
        let left = self.batch_max.saturating_sub(self.inputs);
        if left > 0 && self.waiting.is_empty() && !self.is_tried_elsewhere() {
            let batch = next(&mut self.inbox, left, Duration::ZERO).now_or_never();
            if let Some(Some(batch)) = batch {
                self.take_batch(batch);
            }
        }
        Ok(())
    }

    /// As many of them as the turn has room for; the rest waits for the next.
    fn take_batch(&mut self, batch: Vec<Delivery>) {
        self.waiting.extend(batch);
        let before = self.inputs;
        while self.suspect.is_none() && self.inputs < self.batch_max {
            let Some(delivery) = self.waiting.pop_front() else {
                break;
            };
            self.losses.saw(delivery.tag);
            if self.losses.suspects(delivery.deliveries) {
                self.suspect = Some(Suspect::of(delivery));
            } else {
                self.take_delivery(delivery);
            }
        }
        self.last_batch = self.inputs - before;
    }

    fn take_delivery(&mut self, delivery: Delivery) {
        let read = match decode::inbox(&delivery) {
            Ok(read) => read,
            Err(unusable) => {
                self.frontier.done(delivery.tag);
                return self.put_aside(delivery, unusable);
            }
        };
        let (delivery, read) = match self.ours(delivery, read) {
            Ours::All(delivery, read) => (delivery, read),
            Ours::Some(piece) => return self.put(piece),
            Ours::Nothing(delivery) => return self.frontier.done(delivery.tag),
        };
        let piece = match read {
            Read::Input(saga, input) => {
                metrics::input(input.kind());
                let read = Some((saga, input));
                Piece::Report { delivery, read }
            }
            Read::Inputs(told, broken) => {
                for (_, input) in &told {
                    metrics::input(input.kind());
                }
                Piece::Batch {
                    delivery,
                    inputs: told.len(),
                    read: Some(told),
                    broken,
                }
            }
            Read::Marker(marker) => Piece::Marker(delivery, marker),
        };
        self.put(piece);
    }

    fn put(&mut self, piece: Piece) {
        self.inputs += piece.inputs();
        self.pieces.push(piece);
    }

    fn take_letters(&mut self, letters: Letters) {
        letters
            .letters
            .iter()
            .for_each(|_| metrics::input("dead-letter"));
        for letter in letters.letters {
            self.put(Piece::Dead(letter));
        }
        self.kept.push(letters.kept);
    }

    async fn ask(&mut self, request: Request) {
        match request {
            Request::Input {
                saga,
                input,
                answer,
            } => {
                metrics::input(input.kind());
                self.put(Piece::Asked {
                    saga,
                    input,
                    answer,
                });
            }
            Request::Register {
                definition,
                by,
                answer,
            } => {
                let registered = self
                    .driver
                    .put_definition(*definition, &by, clock::now())
                    .await;
                // who asked may have gone
                let _ = answer.send(registered.map_err(|error| crate::chain::chain(&error)));
            }
            Request::Purge { sagas, answer } => {
                self.driver.purge(sagas);
                self.kept.push(answer);
            }
            // whoever no longer waits asks again: while there was no room there may have been many
            Request::Learn(answer) if answer.is_closed() => {}
            Request::Learn(answer) => {
                let learned = self.learn().await;
                // who asked may have gone
                let _ = answer.send(learned);
            }
        }
    }

    /// Reads definitions and task types anew; false when they could not be read, and are known as before.
    async fn learn(&mut self) -> bool {
        let learned = self.driver.learn().await;
        if let Err(error) = &learned {
            tracing::warn!(error = %crate::chain::chain(error), "the definitions could not be read anew; what was registered elsewhere is not known here yet, it is tried again");
        }
        learned.is_ok()
    }

    async fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Heartbeat(heartbeat) => self.driver.leases().heartbeat(&heartbeat),
            Heard::Canary => self.watch.canary(),
            Heard::Served(types) => types.iter().for_each(|served| self.driver.serve(served)),
            Heard::Inbox(consumer) => self.inbox = Some(*consumer),
            Heard::Searched(steps) => {
                for (saga, step) in steps {
                    self.driver.searched(saga, step);
                }
            }
            Heard::Announced(announcement, answer) => {
                let taken = self.announced(announcement).await;
                // the fleet's listener may be on its way to its own end
                let _ = answer.send(taken);
            }
        }
    }

    /// Takes in what a worker announces; what could be, to be served. A store that does not take one of its new types is not asked for the
    /// others: each would wait as long, and nothing else would go on meanwhile. What is known already is taken all the same.
    async fn announced(&mut self, announcement: Announcement) -> Vec<TaskType> {
        let mut taken: Vec<TaskType> = Vec::with_capacity(announcement.types.len());
        let mut refused = false;
        for manifest in announcement.types {
            let task_type = manifest.task_type.clone();
            if refused && self.driver.catalogue().get(&task_type).is_none() {
                continue;
            }
            match self.driver.announce(manifest.clone(), clock::now()).await {
                Ok(Ok(new)) => {
                    if new {
                        self.types.put(manifest);
                    }
                    if new && std::mem::take(&mut self.unkept) {
                        tracing::info!("the store takes task types again");
                        self.health.set_store(true);
                    }
                    taken.push(task_type);
                }
                Ok(Err(error)) => {
                    metrics::refused_manifest();
                    tracing::error!(
                        worker = %announcement.worker, task.r#type = %task_type, %error,
                        "a worker announces a task type otherwise than it is known; it is not taken, give the new one a new major version"
                    );
                }
                Err(error) => {
                    self.health.beat();
                    self.health.set_store(false);
                    if !std::mem::replace(&mut self.unkept, true) {
                        tracing::error!(
                            worker = %announcement.worker, task.r#type = %task_type, error = %crate::chain::chain(&error),
                            "the store did not take a new task type, see the error; steps of types not kept wait, each announcement of a worker tries again"
                        );
                    }
                    refused = true;
                }
            }
        }
        taken
    }

    /// The driver sends again only while somebody takes it, and takes no verdict from time before the inbox was read.
    fn note_bus(&mut self) {
        let (up, consuming) = {
            let state = self.bus.borrow_and_update();
            let up = matches!(state.publishing, Link::Up { .. });
            (up, epoch(&state.consuming))
        };
        if self.catch_up.lost(consuming) {
            self.hold();
        }
        metrics::bus_up(up);
        if up {
            self.driver.bus_is_up(clock::steady());
        } else {
            self.driver.bus_is_down();
        }
    }

    /// From here on what the inbox holds is unknown.
    fn hold(&mut self) {
        self.driver.hold_timers();
        self.catch_up.hold();
    }

    /// A marker goes only while the inbox is read: what comes into it before that must lie before the marker. So must what an import left in another inbox.
    fn catch_up(&mut self) {
        let ready = !self.carried.waits() && self.inbox.is_some() && {
            let state = self.bus.borrow();
            matches!(state.publishing, Link::Up { .. }) && epoch(&state.consuming).is_some()
        };
        self.catch_up.tick(ready);
    }

    /// Steps that began to wait are told while there is room; the driver keeps the others until the next turn.
    fn tell_subscribed(&mut self) {
        while let Ok(room) = self.mail.subscribed.try_reserve() {
            let subscribed = self.driver.take_subscribed(SUBSCRIBED_BATCH);
            if subscribed.is_empty() {
                return;
            }
            room.send(subscribed);
        }
    }

    async fn tick(&mut self) {
        if self.ticked.elapsed() < TICK {
            return;
        }
        self.ticked = Instant::now();
        self.look_at_trial().await;
        if self.carried.tick(&self.frontier) {
            tracing::info!(
                "what an import left on its way was read; clocks count when this inbox is read as well"
            );
            self.hold();
        }
        let counts = !self.carried.waits();
        self.watch.tick(self.driver.leases(), counts);
        self.health.set_figures(self.driver.figures());
        let (parking, stuck) = (self.parking.len(), self.parking.stuck());
        self.health.set_parking(parking, stuck);
        self.probe();
        self.look_for_vain_waits();
    }

    /// Not while something delivered is in hand, or the inbox is being caught up with: that tells of itself.
    fn probe(&mut self) {
        let up = matches!(self.bus.borrow().publishing, Link::Up { .. });
        let in_hand = !self.pieces.is_empty() || !self.waiting.is_empty();
        let free = up && !in_hand && !self.catch_up.is_behind();
        self.probe.tick(free);
    }
}

/// Which connection it is; none while there is none.
const fn epoch(link: &Link) -> Option<u64> {
    match link {
        Link::Up { epoch } | Link::Blocked { epoch, .. } => Some(*epoch),
        Link::Down { .. } => None,
    }
}

/// The next batch of the inbox; waits for ever before there is one.
async fn next(inbox: &mut Option<Consumer>, max: usize, linger: Duration) -> Option<Vec<Delivery>> {
    match inbox {
        Some(consumer) => consumer.next_batch(max, linger).await,
        None => std::future::pending().await,
    }
}
