//! The world: its clock, its queue of events, and everything that lives in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_engine::{Definition, Input};
use baton_messages::SagaId;

use crate::broker::Broker;
use crate::disk::{Connection, Disk};
use crate::event::Event;
use crate::fault::Fault;
use crate::host::Host;
use crate::ledger::{Ledger, Place};
use crate::mood::Mood;
use crate::outside::events_off;
use crate::plan::SagaPlan;
use crate::rng::Rng;
use crate::seats::Seats;
use crate::sweep::Scene;
use crate::trace::Trace;
use crate::worker::Worker;
use crate::zombie::SKEW_MS;

/// The first instant: far enough from zero for every clock to be behind it.
pub(crate) const BEGIN_MS: u64 = 1_700_000_000_000;
/// How long trouble lasts. Leases, offers and settle times of a saga fit into it several times.
pub(crate) const TROUBLE_MS: u64 = 240_000;
/// By when every saga has ended: the longest waits (offers of two hours, retries of all kinds, a person each time) fit into it many times.
pub(crate) const HORIZON_MS: u64 = 4 * 24 * 60 * 60 * 1000;
/// How often whoever comes regularly comes once every saga has ended: late evidence may wake one up again.
pub(crate) const IDLE_MS: u64 = 30 * 60 * 1000;
/// How long a world goes on after every saga has ended: whatever is still on its way or held somewhere shows itself by then.
const AFTERLIFE_MS: u64 = 4 * 60 * 60 * 1000;
/// Of a thousand rough worlds, so many have sagas within sagas.
const WITH_CHILDREN: u64 = 400;
/// What is drawn of them has a chance of its own: other worlds stay as they were.
const KIN_CHANCE: u64 = 0x6b69_6e21;
/// So has what they take before their first step.
const TAKES_CHANCE: u64 = 0x7461_6b65;
/// And when they are moved to another version.
const MOVES_CHANCE: u64 = 0x6d6f_7665;
/// And by which clock events are received.
const EVENTS_CHANCE: u64 = 0x6576_656e;
/// Events of one world at most, for each of its partitions; one that needs more circles.
const EVENTS_MAX: u64 = 400_000;

/// What to simulate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// A rule to break.
    pub fault: Option<Fault>,
    /// Whether the whole trace is kept.
    pub trace: bool,
    /// Whether the sagas hold tasks and sleeps alone: more of what workers and messages can do wrong in each.
    pub tasks_only: bool,
    /// Whether every definition has a second version, of the same text, to which sagas are moved while they run.
    pub moving: bool,
    /// How many partitions the store has, shared out over several orchestrators; none is one, driven by one.
    pub partitions: u8,
}

/// What came of a simulation that kept the promise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The hash over everything that happened.
    pub hash: u64,
    /// Events.
    pub events: u64,
    /// Commits.
    pub commits: u64,
    /// Times the orchestrator died.
    pub deaths: u64,
    /// Times another took over from a stopped one.
    pub taken_over: u64,
    /// Times one that was taken over from was refused.
    pub fenced: u64,
    /// Times a partition was handed over in order.
    pub handed_over: u64,
    /// How sagas ended.
    pub ends: BTreeMap<&'static str, u64>,
    /// Acts on the world.
    pub acts: u64,
    /// Items of steps that are done for each of a list, by how they ended.
    pub items: BTreeMap<&'static str, u64>,
    /// Sagas that were steps of others.
    pub children: u64,
    /// Of those, items of groups.
    pub grouped: u64,
    /// Times a work item stayed open and went to the next.
    pub escalated: u64,
    /// Messages that carried several reports.
    pub batches: u64,
    /// Sagas that went on under another version.
    pub moved: u64,
    /// How long the slowest saga went on after the trouble was over and nobody was asked for anything any more.
    pub slowest_ms: u64,
    /// The whole trace, where it was asked for.
    pub trace: Vec<String>,
}

/// The promise was broken.
#[derive(Debug, Clone, thiserror::Error)]
#[error("seed {seed}: {what}")]
pub struct Broken {
    /// The seed that shows it.
    pub seed: u64,
    /// What was broken.
    pub what: String,
    /// The last things that happened.
    pub trace: Vec<String>,
}

/// Simulates one seed to its end.
///
/// # Errors
/// What was broken, with the trace.
pub fn simulate(setup: Setup) -> Result<Report, Box<Broken>> {
    let mut world = World::new(setup);
    world.run();
    world.finish();
    let trace = world.trace.lines().map(str::to_owned).collect();
    match world.broken {
        Some(what) => Err(Box::new(Broken {
            seed: setup.seed,
            what,
            trace,
        })),
        None => Ok(Report {
            trace: if setup.trace { trace } else { Vec::new() },
            ..world.report
        }),
    }
}

/// A request of somebody outside who asks until he is answered.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) saga: SagaId,
    pub(crate) input: Input,
}

/// Everything there is.
pub struct World {
    pub(crate) now: u64,
    /// By how much the orchestrator's clock on the wall is ahead: somebody, or a time server, has set it.
    pub(crate) ahead_ms: u64,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
    pub(crate) mood: Mood,
    pub(crate) fault: Option<Fault>,
    pub(crate) ledger: Ledger,
    pub(crate) broker: Broker,
    pub(crate) store: Connection,
    pub(crate) plans: BTreeMap<SagaId, SagaPlan>,
    pub(crate) definitions: BTreeMap<SagaId, Arc<Definition>>,
    /// What children are made of, by the names of their definitions.
    pub(crate) kin: BTreeMap<String, SagaPlan>,
    /// What items of groups are, by the names of their definitions.
    pub(crate) groups: BTreeMap<String, SagaPlan>,
    /// When sagas are moved to the second version of their definitions, if there is one; a chance of its own.
    pub(crate) moving: Option<Rng>,
    /// Whether its sagas take something before their first step.
    pub(crate) reserving: bool,
    /// Sagas that have ended once: what they held they hold no more.
    pub(crate) let_go: std::collections::BTreeSet<SagaId>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) host: Option<Host>,
    pub(crate) host_life: u64,
    /// By how much the clock of the orchestrator that has the partition is off.
    pub(crate) skew_ms: i64,
    /// By how much the clock is off of whoever takes events in.
    pub(crate) events_off_ms: i64,
    /// Which partition these are of, and the others.
    pub(crate) seats: Seats,
    /// Those that were taken over from while they were stopped, by their lives, each with its partition and the last row that was written by then.
    pub(crate) zombies: BTreeMap<u64, (Host, u8, u64)>,
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) requests_made: u64,
    /// What a person has taken back by hand.
    pub(crate) by_hand: std::collections::BTreeSet<Place>,
    /// What a person has done by hand: it is undone like anything else, by a person.
    pub(crate) done_by_hand: std::collections::BTreeSet<Place>,
    /// Sagas some person has meddled with.
    pub(crate) meddled: std::collections::BTreeSet<SagaId>,
    /// Steps a person wanted tried again although nobody could tell whether they had happened.
    pub(crate) tried_again: std::collections::BTreeSet<Place>,
    /// When somebody outside last asked for something of a saga.
    pub(crate) asked_at: BTreeMap<SagaId, u64>,
    /// When each saga ended last.
    pub(crate) ended_at: BTreeMap<SagaId, u64>,
    /// What went wrong with each step, as the world saw it.
    pub(crate) seen: BTreeMap<Place, crate::reasons::Seen>,
    /// What sagas have said, by id, as the broker has it.
    pub(crate) said: BTreeMap<String, baton_messages::Event>,
    pub(crate) calm: bool,
    /// One saga that is really there, with those within it, played with one trouble; none where everything is drawn from the seed.
    pub(crate) scene: Option<Box<Scene>>,
    pub(crate) until: u64,
    pub(crate) pumping: bool,
    queue: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    pub(crate) report: Report,
    pub(crate) broken: Option<String>,
}

impl World {
    fn new(setup: Setup) -> Self {
        let mut rng = Rng::new(setup.seed);
        let mood = Mood::draw(&mut rng);
        let mut world = Self::empty(rng, mood, setup);
        world.events_off_ms = events_off(&mut Rng::new(setup.seed ^ EVENTS_CHANCE));
        let mut takes = Rng::new(setup.seed ^ TAKES_CHANCE);
        world.draw_reserving(&mut takes);
        let mut kin = Rng::new(setup.seed ^ KIN_CHANCE);
        if !world.mood.quiet && kin.per_mille(WITH_CHILDREN) {
            world.draw_kin(&mut kin);
            world.reserve_kin(&mut takes);
        }
        world.populate(setup.tasks_only, &mut kin, &mut takes);
        world
    }

    /// A world without anybody in it.
    pub(crate) fn empty(mut rng: Rng, mood: Mood, setup: Setup) -> Self {
        let disk = Disk::new(
            Rng::new(rng.bits()),
            &mood,
            setup.fault,
            setup.partitions.max(1),
        );
        let skew_ms = if mood.quiet { 0 } else { SKEW_MS };
        let seats = Seats::new(setup.partitions, setup.seed, skew_ms);
        Self {
            now: BEGIN_MS,
            ahead_ms: 0,
            trace: Trace::new(setup.trace),
            fault: setup.fault,
            ledger: Ledger::default(),
            broker: Broker {
                up: true,
                ..Broker::default()
            },
            store: Connection::new(disk),
            plans: BTreeMap::new(),
            definitions: BTreeMap::new(),
            kin: BTreeMap::new(),
            groups: BTreeMap::new(),
            moving: setup.moving.then(|| Rng::new(setup.seed ^ MOVES_CHANCE)),
            reserving: false,
            let_go: std::collections::BTreeSet::new(),
            workers: Vec::new(),
            host: None,
            host_life: 0,
            skew_ms: 0,
            events_off_ms: 0,
            seats,
            zombies: BTreeMap::new(),
            requests: BTreeMap::new(),
            requests_made: 0,
            by_hand: std::collections::BTreeSet::new(),
            done_by_hand: std::collections::BTreeSet::new(),
            meddled: std::collections::BTreeSet::new(),
            tried_again: std::collections::BTreeSet::new(),
            asked_at: BTreeMap::new(),
            ended_at: BTreeMap::new(),
            seen: BTreeMap::new(),
            said: BTreeMap::new(),
            calm: false,
            scene: None,
            until: BEGIN_MS + HORIZON_MS,
            pumping: false,
            queue: BTreeMap::new(),
            scheduled: 0,
            report: Report::default(),
            broken: None,
            mood,
            rng,
        }
    }

    /// Lets something happen so much later.
    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.scheduled += 1;
        self.queue
            .insert((self.now.saturating_add(ms), self.scheduled), event);
    }

    /// Notes what happens; the text is made only once.
    pub(crate) fn note(&mut self, what: &str) {
        self.trace.note(self.now - BEGIN_MS, what);
    }

    /// The promise is broken; the first time counts.
    pub(crate) fn breaks(&mut self, what: String) {
        if self.broken.is_none() {
            self.note(&format!("BROKEN: {what}"));
            self.broken = Some(what);
        }
    }

    pub(crate) fn run(&mut self) {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if self.broken.is_some() || at > self.until {
                break;
            }
            self.report.events += 1;
            let most = EVENTS_MAX * u64::from(self.seats.partitions);
            if self.report.events > most {
                if self.all_ended() {
                    self.breaks(format!("more than {most} events: something circles"));
                }
                break;
            }
            self.now = at;
            if self.report.events.is_multiple_of(64) && self.calm {
                self.until = if self.all_ended() {
                    self.until.min(at + AFTERLIFE_MS)
                } else {
                    BEGIN_MS + HORIZON_MS
                };
            }
            self.handle(event);
            self.look();
            self.look_at_reservations();
            self.attend();
        }
    }

    fn handle(&mut self, event: Event) {
        if let Some(life) = event.life() {
            self.focus_life(life);
        }
        match event {
            Event::Turn(life) => self.turn(life),
            Event::Tick(life) => self.tick(life),
            Event::HostDies => self.host_dies_by_chance(),
            Event::HostStops => self.host_stops_by_chance(),
            Event::TakenOver(life) => self.taken_over(life),
            Event::ZombieWakes(life) => self.zombie_wakes(life),
            Event::ClockSteps => self.clock_steps(),
            Event::HostUp(partition) => {
                self.focus(partition);
                self.host_up();
            }
            Event::HandsOver => self.hands_over(),
            Event::TaskArrives {
                task,
                life,
                ticket,
                fate,
                survives,
            } => self.task_arrives(*task, life, ticket, fate, survives),
            Event::WordArrives {
                word,
                life,
                ticket,
                fate,
                survives,
            } => self.word_arrives(*word, (life, ticket), fate, survives),
            Event::SaidArrives {
                event,
                life,
                ticket,
                fate,
                survives,
            } => self.said_arrives(*event, life, ticket, fate, survives),
            Event::Told(life, ticket, sent) => self.told(life, ticket, sent),
            Event::ControlArrives(message) => self.control_arrives(&message),
            Event::InboxArrives(message) => self.inbox_arrives(*message),
            Event::Post(worker, life) => self.post(worker, life),
            Event::ParcelArrives { parcel, confirmed } => self.parcel_arrives(parcel, confirmed),
            Event::MarkerLate(life, marker) => self.marker_late(life, marker),
            Event::HeartbeatArrives(heartbeat) => self.heartbeat_arrives(&heartbeat),
            Event::Pump => self.pump(),
            Event::Run(whose, what) => self.run_goes_on(whose, what),
            Event::Beat(worker, life) => self.beat(worker, life),
            Event::Beaten(worker, life, sent) => self.beaten(worker, life, sent),
            Event::Announce(worker) => self.announce(worker),
            Event::WorkerDies(worker) => self.worker_dies_by_chance(worker),
            Event::WorkerUp(worker, life) => self.worker_up(worker, life),
            Event::WorkerStops(worker) => self.worker_stops(worker),
            Event::WorkerDisconnects(worker) => self.worker_disconnects_by_chance(worker),
            Event::WorkerSilent(worker, life) => self.worker_silent(worker, life),
            Event::WorkerConnects(worker, life) => self.worker_connects(worker, life),
            Event::WorkerDrains(worker) => self.worker_drains(worker),
            Event::BrokerDown => self.broker_down(),
            Event::BrokerUp => self.broker_up(),
            Event::Start(saga) => self.start(saga),
            Event::Meddle(saga) => self.meddle(saga),
            Event::Resume(saga) => self.resume(saga),
            Event::Moves(saga) => self.moves(saga),
            Event::Happens(event) => self.happens(*event),
            Event::Served(task) => self.served(*task),
            Event::Decides(saga, step, decision) => self.decides(saga, step, decision),
            Event::Approver => self.approver(),
            Event::Usher => self.usher(),
            Event::Nudge => self.admit(),
            Event::Janitor => self.janitor(),
            Event::Calm => self.calm_down(),
        }
    }

    /// Whether every saga has ended.
    pub(crate) fn all_ended(&self) -> bool {
        if let Some(scene) = &self.scene {
            return scene.rests && self.requests.is_empty();
        }
        let disk = self.store.disk();
        self.requests.is_empty()
            && self.plans.keys().all(|saga| {
                disk.mirror
                    .get(saga)
                    .is_some_and(|state| state.status.ended())
            })
    }
}
