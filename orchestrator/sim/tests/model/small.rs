//! The small world of the model: what is committed, what is on its way, what has really happened; and everything that can happen next. The decisions in it are the
//! engine's own.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use baton_engine::definition::NoSagas;
use baton_engine::planted::Planted as Rule;
use baton_engine::state::{Phase, Stage as Claim};
use baton_engine::{
    Catalogue, Command, Definition, Entry, Input, Record, Rules, SagaState, Status, commands,
    decide, replay,
};
use baton_messages::{
    AttemptRef, ControlMessage, Direction, Effect, Failure, Finished, GrantAnswer, InboxKey,
    InputId, Manifest, ProbeAnswer, RetryDefaults, RunId, SagaId, Start, Started, StepId, Task,
    TaskMessage, TaskResult, TaskType, Timestamp, WorkerId,
};
use serde_json::json;
use stateright::{Model, Property};
use uuid::Uuid;

/// Deaths of workers, and crashes of the orchestrator, within one history.
pub(crate) const DEATHS: u8 = 1;
pub(crate) const CRASHES: u8 = 1;
/// Messages that come twice.
pub(crate) const DOUBLES: u8 = 1;
/// Reports that are on their way for longer than the lease of their claim, in a world where nothing else goes wrong.
pub(crate) const LATES: u8 = 1;
/// States within which all of it has to be seen: far more than there are.
pub(crate) const STATES_MAX: usize = 5_000_000;

const SAGA: &str = r#"
saga: small
version: 1
steps:
  - id: count
    task: t.count@1
    timeout: 10s
    retry: { attempts: 2, backoff: 1s, jitter: none }
  - id: last
    task: t.last@1
    timeout: 10s
    retry: { attempts: 1 }
"#;

fn manifest(name: &str, effect: Effect, probe: bool) -> Manifest {
    Manifest {
        task_type: TaskType::new(name).unwrap(),
        summary: String::new(),
        input: json!({ "type": "object" }),
        output: json!({}),
        effect,
        // both are claimed: what is held late rests on clocks, which the simulator has
        idempotent: false,
        before_image: false,
        undo: effect == Effect::Reversible,
        probe,
        dry_run: false,
        lock: None,
        timeout_ms_default: 10_000,
        timeout_ms_max: 60_000,
        settle_ms: 0,
        retry: RetryDefaults {
            attempts: 2,
            backoff_ms: 1_000,
            factor: 1.0,
            max_ms: 1_000,
        },
        needs: Vec::new(),
        examples: Vec::new(),
    }
}

/// A rule broken on purpose: the model has to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A worker acts before it is granted.
    Ungranted,
    /// A lease is taken for over while its worker lives on.
    LeaseTooSoon,
    /// A worker says `failed` after it has acted.
    FailedAfterActing,
}

/// What may go wrong within one history, and how often.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    deaths: u8,
    crashes: u8,
    doubles: u8,
    lates: u8,
}

pub(crate) struct Small {
    bounds: Bounds,
    definition: Definition,
    catalogue: Catalogue,
    pub(crate) planted: Option<Planted>,
    /// A rule of the engine that is broken.
    pub(crate) engine: Option<Rule>,
}

/// Decides with a rule of the engine broken.
#[cfg(feature = "planted")]
fn broken<T>(rule: Option<Rule>, decides: impl FnOnce() -> T) -> T {
    baton_engine::planted::with(rule, decides)
}

/// Without the feature none can be.
#[cfg(not(feature = "planted"))]
fn broken<T>(rule: Option<Rule>, decides: impl FnOnce() -> T) -> T {
    assert_eq!(rule, None, "build with the feature `planted`");
    decides()
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    Asking,
    Granted,
    /// It has acted, or has not, and will say so.
    Entered(bool),
}

#[derive(Debug, Clone, PartialEq)]
struct Run {
    task: Task,
    id: RunId,
    stage: Stage,
}

/// A message to the orchestrator, or a word to a worker; each may overtake each.
#[derive(Debug, Clone, PartialEq)]
enum Mail {
    Started(Box<Started>),
    Finished(Box<Finished>),
    Granted(RunId),
    Refused(RunId),
}

/// What leaves the orchestrator once it is committed.
#[derive(Debug, Clone, PartialEq)]
enum Owed {
    Task(Box<Task>),
    Word(Mail),
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    /// What is in memory: gone with a crash.
    pub(crate) saga: Arc<SagaState>,
    /// What is committed. Worlds are not told apart by it: it always folds to what is in memory, or that is the fault that is found.
    log: Arc<Vec<Entry>>,
    /// How many entries of it are known to be published with all they imply.
    watermark: usize,
    now: Timestamp,
    /// Committed and not published.
    owed: Vec<Owed>,
    tasks: Vec<Task>,
    mail: Vec<Mail>,
    /// What each worker runs; none: nothing.
    workers: [Option<Run>; 2],
    /// Claims whose worker is gone, or has ended and not been heard: their leases run out.
    lost: Vec<(AttemptRef, RunId)>,
    /// Reports that may arrive whenever they like, leases and timers notwithstanding.
    late: Vec<Finished>,
    /// How often each step's effect stands.
    standing: BTreeMap<StepId, i32>,
    runs: u8,
    deaths: u8,
    crashes: u8,
    doubles: u8,
    lates: u8,
    /// The first thing that must never be.
    pub(crate) broken: Option<String>,
}

impl Mail {
    fn is_of(&self, run: RunId) -> bool {
        match self {
            Self::Started(started) => started.run == run,
            Self::Finished(finished) => finished.run == run,
            Self::Granted(of) | Self::Refused(of) => *of == run,
        }
    }
}

impl World {
    /// Where nothing can happen any more: it has ended as its status says, or a person is asked.
    fn rests_well(&self) -> bool {
        let standing = self.standing.get(&StepId::new("count").unwrap());
        let standing = standing.copied().unwrap_or(0);
        match self.saga.status {
            Status::Completed => standing == 1,
            Status::Compensated => standing == 0,
            Status::Parked => {
                let mut items = self.saga.work_items.values();
                items.any(|item| item.kind.blocks() && !item.owner.is_empty())
            }
            _ => false,
        }
    }

    /// What two worlds have in common that go on alike.
    fn face(&self) -> String {
        let mut tasks: Vec<String> = self.tasks.iter().map(|one| format!("{one:?}")).collect();
        let mut mail: Vec<String> = self.mail.iter().map(|one| format!("{one:?}")).collect();
        tasks.sort();
        mail.sort();
        let saga = serde_json::to_string(&*self.saga).unwrap();
        format!(
            "{saga} {:?} {:?} {tasks:?} {mail:?} {:?} {:?} {:?} {:?} {} {} {} {} {:?}",
            self.now,
            self.owed,
            self.workers,
            self.lost,
            self.late,
            self.standing,
            self.deaths,
            self.crashes,
            self.doubles,
            self.lates,
            self.broken
        )
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.face().hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.face() == other.face()
    }
}

/// What can happen next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Next {
    Start,
    /// The orchestrator publishes what it owes.
    Publish,
    /// It crashes with what it owes, and comes up again; what it owes may be out already.
    Crash(bool),
    /// A worker takes a task.
    Take(usize, usize),
    /// A worker asks again whether it may act: the answer was lost.
    Ask(usize),
    /// Mail arrives.
    Arrive(usize),
    /// Mail arrives, and will come once more.
    Double(usize),
    /// A report that has just been sent will be late.
    Late(usize),
    /// It is there.
    Arrives(usize),
    /// A granted run acts, or does not.
    Act(usize, bool),
    /// A run ends: 0 done, 1 failed for good, 3 not known.
    End(usize, u8),
    /// A worker dies.
    Die(usize),
    /// A lease is over.
    LeaseOver(usize),
    /// A lease is over whose worker goes on: only where that is planted.
    LeaseLost(usize),
    /// Time goes on to the next timer.
    Time,
}

impl Small {
    pub(crate) fn new(planted: Option<Planted>) -> Self {
        let mut catalogue = Catalogue::default();
        for manifest in [
            manifest("t.count@1", Effect::Reversible, true),
            manifest("t.last@1", Effect::None, false),
        ] {
            catalogue.announce(manifest).unwrap();
        }
        Self {
            bounds: Bounds {
                deaths: DEATHS,
                crashes: CRASHES,
                doubles: DOUBLES,
                lates: 0,
            },
            definition: Definition::parse(SAGA).unwrap(),
            catalogue,
            planted,
            engine: None,
        }
    }

    /// The same where nobody dies and nothing comes twice, and a report may be late.
    pub(crate) fn with_late_reports() -> Self {
        Self {
            bounds: Bounds {
                deaths: 0,
                crashes: 0,
                doubles: 0,
                lates: LATES,
            },
            ..Self::new(None)
        }
    }

    /// One decision and its commit; what it implies is owed.
    fn decide(&self, world: &mut World, input: &Input) {
        let rules = Rules {
            definition: &self.definition,
            catalogue: &self.catalogue,
            sagas: &NoSagas,
            level: baton_engine::Level::NEWEST,
        };
        let mut saga = (*world.saga).clone();
        let decides = || decide(rules, &mut saga, input, world.now, 7);
        let decided = match broken(self.engine, decides) {
            Ok(decided) => decided,
            Err(error) => {
                let why = std::error::Error::source(&error).map(ToString::to_string);
                let why = why.unwrap_or_default();
                let what = format!("cannot decide: {error}: {why}");
                world.broken.get_or_insert(what);
                return;
            }
        };
        for command in commands(&saga, &InboxKey::of(0), &decided.records) {
            match command {
                Command::Dispatch(message) => {
                    let TaskMessage::Task(task) = *message;
                    world.owed.push(Owed::Task(Box::new(task)));
                }
                Command::Grant(message) => {
                    if let ControlMessage::Grant(grant) = *message {
                        world.owed.push(Owed::Word(match grant.answer {
                            GrantAnswer::Granted { .. } => Mail::Granted(grant.run),
                            GrantAnswer::Refused { .. } => Mail::Refused(grant.run),
                        }));
                    }
                }
                // a hint; nothing may rest on it
                Command::CancelTask { .. } => {}
                Command::EmitEvent(_)
                | Command::OpenWorkItem(_)
                | Command::ChangeWorkItem(_)
                | Command::CloseWorkItem { .. }
                | Command::Reserve(_)
                | Command::TellSaga(_) => {}
            }
        }
        if !decided.records.is_empty() {
            Arc::make_mut(&mut world.log).push(Entry {
                at: saga.last_at,
                records: decided.records,
            });
        }
        if world.owed.is_empty() {
            world.watermark = world.log.len();
        }
        world.saga = Arc::new(saga);
        if self.folded(world).as_ref() != Some(&*world.saga) {
            let what = "its log does not fold to its state";
            world.broken.get_or_insert(what.to_owned());
        }
    }

    /// What the log folds to; none: it does not fold.
    fn folded(&self, world: &World) -> Option<SagaState> {
        let mut saga = SagaState::new(world.saga.id);
        let folds = || replay(&mut saga, world.log.iter());
        broken(self.engine, folds).ok()?;
        Some(saga)
    }

    /// What is owed is handed to the broker.
    fn publish(world: &mut World, owed: impl IntoIterator<Item = Owed>) {
        for one in owed {
            match one {
                Owed::Task(task) => world.tasks.push(*task),
                Owed::Word(word) => world.mail.push(word),
            }
        }
    }

    /// It crashes and comes up again, with what is committed and nothing else.
    fn crash(&self, world: &mut World, out: bool) {
        world.crashes += 1;
        let owed = std::mem::take(&mut world.owed);
        if out {
            Self::publish(world, owed);
        }
        match self.folded(world) {
            Some(saga) => world.saga = Arc::new(saga),
            None => {
                let what = "its log cannot be read after a crash";
                world.broken.get_or_insert(what.to_owned());
                return;
            }
        }
        let mut past = BTreeSet::new();
        for entry in world.log.iter().skip(world.watermark) {
            for record in &entry.records {
                if let Record::Offered { of, dispatch, .. } | Record::Resent { of, dispatch, .. } =
                    record
                {
                    past.insert(AttemptRef {
                        saga: world.saga.id,
                        step: of.step.step.clone(),
                        item: of.step.item,
                        direction: of.direction,
                        round: of.round,
                        attempt: of.attempt,
                        dispatch: *dispatch,
                    });
                }
            }
        }
        for of in past {
            self.decide(world, &Input::Resend(of));
        }
        if world.owed.is_empty() {
            world.watermark = world.log.len();
        }
    }

    fn act(&self, world: &mut World, at: usize, really: bool) {
        let Some(run) = &mut world.workers[at] else {
            return;
        };
        run.stage = Stage::Entered(really);
        let of = run.task.of.clone();
        if !really {
            return;
        }
        if !holds(&world.saga, &of, run.id) {
            world
                .broken
                .get_or_insert(format!("{} {} acts without a claim", of.step, of.direction));
        }
        let standing = world.standing.entry(of.step).or_insert(0);
        match of.direction {
            Direction::Do => *standing += 1,
            Direction::Undo => *standing = 0,
            Direction::Probe => {}
        }
    }

    fn finished(&self, world: &World, run: &Run, worker: usize, how: u8) -> Finished {
        let stands = world
            .standing
            .get(&run.task.of.step)
            .is_some_and(|n| *n > 0);
        let made = |retryable| Failure {
            code: "made".into(),
            message: "made".into(),
            retryable,
            retry_after_ms: None,
        };
        let result = match (run.task.of.direction, how) {
            (Direction::Probe, 0) if stands => {
                TaskResult::Probed(ProbeAnswer::Happened { output: json!({}) })
            }
            (Direction::Probe, 0) => TaskResult::Probed(ProbeAnswer::DidNot),
            (_, 0) => TaskResult::Succeeded { output: json!({}) },
            (_, 1) => TaskResult::Failed(made(false)),
            _ => TaskResult::Unknown(made(true)),
        };
        Finished {
            of: run.task.of.clone(),
            run: run.id,
            worker: worker_id(worker),
            started: matches!(run.stage, Stage::Entered(_)),
            sole: true,
            result,
            before: None,
            progress: None,
            started_at: world.now,
            finished_at: world.now,
        }
    }

    /// A late report arrives. One that says that its step is done ends all doubt about it, unless the saga turns back: nobody looks, or is asked, any more.
    fn hears_late(&self, world: &mut World, finished: Finished) {
        let of = finished.of.clone();
        let says_done = of.direction == Direction::Do
            && matches!(finished.result, TaskResult::Succeeded { .. });
        self.decide(world, &Input::TaskFinished(finished));
        let phase = world.saga.at(&of.key()).map(|step| step.phase);
        if says_done && world.saga.unwinding.is_none() && phase != Some(Phase::Succeeded) {
            let what = format!("{} is reported done, and stays {phase:?}", of.step);
            world.broken.get_or_insert(what);
        }
    }

    /// How a run may end, that has acted or has not: the truth, but for what is planted.
    fn ends(&self, run: &Run, acted: bool) -> Vec<u8> {
        let looks = run.task.task_type.as_str() == "t.last@1";
        let lies = acted && self.planted == Some(Planted::FailedAfterActing);
        match run.task.of.direction {
            // a probe tells the truth, or cannot tell
            Direction::Probe => vec![0, 1],
            Direction::Do if looks || lies => vec![0, 1],
            Direction::Do if acted => vec![0, 3],
            Direction::Do => vec![1, 3],
            Direction::Undo if acted => vec![0],
            Direction::Undo => vec![1],
        }
    }
}

/// Whether a run has the claim of its attempt.
fn holds(saga: &SagaState, of: &AttemptRef, run: RunId) -> bool {
    let step = saga.at(&of.key()).filter(|step| step.round == of.round);
    let attempt = step.and_then(|step| step.attempt(of.direction, of.attempt));
    attempt.is_some_and(
        |attempt| matches!(&attempt.stage, Claim::Claimed { run: holder, .. } if *holder == run),
    )
}

fn asks(of: &AttemptRef, run: RunId, worker: usize, at: Timestamp) -> Mail {
    Mail::Started(Box::new(Started {
        of: of.clone(),
        run,
        worker: worker_id(worker),
        at,
    }))
}

fn worker_id(at: usize) -> WorkerId {
    WorkerId::new(&format!("w{at}")).unwrap()
}

impl Model for Small {
    type State = World;
    type Action = Next;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            saga: Arc::new(SagaState::new(SagaId(Uuid::from_u128(7)))),
            log: Arc::new(Vec::new()),
            watermark: 0,
            now: Timestamp(1_000_000),
            owed: Vec::new(),
            tasks: Vec::new(),
            mail: Vec::new(),
            workers: [None, None],
            lost: Vec::new(),
            late: Vec::new(),
            standing: BTreeMap::new(),
            runs: 0,
            deaths: 0,
            crashes: 0,
            doubles: 0,
            lates: 0,
            broken: None,
        }]
    }

    fn actions(&self, world: &World, next: &mut Vec<Next>) {
        if world.saga.status == Status::New {
            return next.push(Next::Start);
        }
        if !world.owed.is_empty() {
            next.push(Next::Publish);
            if world.crashes < self.bounds.crashes {
                next.extend([Next::Crash(false), Next::Crash(true)]);
            }
            // what is committed leaves before anything else is decided
            return;
        }
        // two workers are alike: the second takes only where the first is busy
        if let Some(free) = world.workers.iter().position(Option::is_none) {
            next.extend((0..world.tasks.len()).map(|task| Next::Take(free, task)));
        }
        next.extend((0..world.mail.len()).map(Next::Arrive));
        if world.doubles < self.bounds.doubles {
            next.extend((0..world.mail.len()).map(Next::Double));
        }
        if world.lates < self.bounds.lates {
            let mail = world.mail.iter().enumerate();
            let reports = mail.filter(|(_, mail)| matches!(mail, Mail::Finished(_)));
            next.extend(reports.map(|(at, _)| Next::Late(at)));
        }
        for (at, run) in world.workers.iter().enumerate() {
            let Some(run) = run else { continue };
            // asked and not answered, and nothing of it is on its way: the answer was lost in a crash
            if run.stage == Stage::Asking && !world.mail.iter().any(|mail| mail.is_of(run.id)) {
                next.push(Next::Ask(at));
            }
            let may = run.stage == Stage::Granted
                || run.stage == Stage::Asking && self.planted == Some(Planted::Ungranted);
            if may {
                next.push(Next::Act(at, true));
            }
            // what only looks has nothing to leave undone
            let changes = run.task.task_type.as_str() != "t.last@1";
            if may && changes && run.task.of.direction != Direction::Probe {
                next.push(Next::Act(at, false));
            }
            if let Stage::Entered(acted) = run.stage {
                let ends = self.ends(run, acted);
                next.extend(ends.into_iter().map(|how| Next::End(at, how)));
            }
            if self.planted == Some(Planted::LeaseTooSoon) && run.stage == Stage::Granted {
                next.push(Next::LeaseLost(at));
            }
            if world.deaths < self.bounds.deaths {
                next.push(Next::Die(at));
            }
        }
        let heard = |lost: &(AttemptRef, RunId)| !world.mail.iter().any(|mail| mail.is_of(lost.1));
        let over = (0..world.lost.len()).filter(|at| heard(&world.lost[*at]));
        next.extend(over.map(Next::LeaseOver));
        // time goes on where nothing else can: what is on its way arrives long before a limit is over, unless it is late
        if next.is_empty() && world.saga.next_wake().is_some() {
            next.push(Next::Time);
        }
        next.extend((0..world.late.len()).map(Next::Arrives));
    }

    fn next_state(&self, last: &World, action: Next) -> Option<World> {
        let mut world = last.clone();
        match action {
            Next::Start => {
                let start = Start {
                    id: InputId(Uuid::from_u128(1)),
                    saga: world.saga.id,
                    definition: "small".into(),
                    version: Some(1),
                    input: json!({}),
                    labels: BTreeMap::new(),
                    by: "model".into(),
                };
                self.decide(&mut world, &Input::Start(start));
            }
            Next::Publish => {
                let owed = std::mem::take(&mut world.owed);
                Self::publish(&mut world, owed);
                world.watermark = world.log.len();
            }
            Next::Crash(out) => self.crash(&mut world, out),
            Next::Take(worker, task) => {
                let task = world.tasks.remove(task);
                world.runs += 1;
                let id = RunId(Uuid::from_u128(100 + u128::from(world.runs)));
                if world.now > task.not_after {
                    return None;
                }
                world.mail.push(asks(&task.of, id, worker, world.now));
                world.workers[worker] = Some(Run {
                    task,
                    id,
                    stage: Stage::Asking,
                });
            }
            Next::Ask(worker) => {
                let run = world.workers[worker].clone()?;
                let asked = asks(&run.task.of, run.id, worker, world.now);
                world.mail.push(asked);
            }
            Next::Double(mail) => {
                world.doubles += 1;
                let again = world.mail[mail].clone();
                world.mail.push(again);
                return self.next_state(&world, Next::Arrive(mail));
            }
            Next::Late(mail) => {
                let Mail::Finished(finished) = world.mail.remove(mail) else {
                    return None;
                };
                world.lates += 1;
                world.lost.push((finished.of.clone(), finished.run));
                world.late.push(*finished);
            }
            Next::Arrives(late) => {
                let finished = world.late.remove(late);
                self.hears_late(&mut world, finished);
            }
            Next::Arrive(mail) => match world.mail.remove(mail) {
                Mail::Started(started) => self.decide(&mut world, &Input::TaskStarted(*started)),
                Mail::Finished(finished) => {
                    self.decide(&mut world, &Input::TaskFinished(*finished));
                }
                Mail::Granted(id) => {
                    for run in world.workers.iter_mut().flatten() {
                        if run.id == id && run.stage == Stage::Asking {
                            run.stage = Stage::Granted;
                        }
                    }
                }
                Mail::Refused(id) => {
                    for worker in &mut world.workers {
                        if worker.as_ref().is_some_and(|run| run.id == id) {
                            *worker = None;
                        }
                    }
                }
            },
            Next::Act(worker, really) => {
                self.act(&mut world, worker, really);
            }
            Next::End(worker, how) => {
                let run = world.workers[worker].take()?;
                let finished = self.finished(&world, &run, worker, how);
                world.mail.push(Mail::Finished(Box::new(finished)));
            }
            Next::Die(worker) => {
                let run = world.workers[worker].take()?;
                world.deaths += 1;
                world.lost.push((run.task.of, run.id));
            }
            Next::LeaseOver(at) => {
                let (of, run) = world.lost.remove(at);
                // of what was never claimed there is no lease
                if holds(&world.saga, &of, run) {
                    self.decide(&mut world, &Input::LeaseOver { of, run });
                }
            }
            Next::LeaseLost(at) => {
                let run = world.workers[at].clone()?;
                let of = run.task.of;
                self.decide(&mut world, &Input::LeaseOver { of, run: run.id });
            }
            Next::Time => {
                world.now = world.now.max(world.saga.next_wake()?);
                let due = world.saga.due_timers(world.now);
                for timer in due {
                    self.decide(&mut world, &Input::TimerFired(timer));
                }
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nobody acts who may not", |_, world: &World| {
                world.broken.is_none()
            }),
            Property::always(
                "it rests in one of three ways",
                |model: &Self, world: &World| {
                    let mut next = Vec::new();
                    model.actions(world, &mut next);
                    !next.is_empty() || world.rests_well()
                },
            ),
            // that it can end in each of them, or the bounds are too narrow to show anything
            Property::sometimes("completed", |_, world: &World| {
                world.saga.status == Status::Completed
            }),
            Property::sometimes("compensated", |_, world: &World| {
                world.saga.status == Status::Compensated
            }),
            Property::sometimes("parked", |_, world: &World| {
                world.saga.status == Status::Parked
            }),
        ]
    }
}
