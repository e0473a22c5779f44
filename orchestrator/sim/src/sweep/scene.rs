//! One saga on its own in a world, with all that lie within it, and the one trouble that befalls it: where the trouble strikes. Each of the functions below is asked by
//! the model it belongs to, and changes nothing in a world without a scene.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use baton_engine::Definition;
use baton_engine::decide::limits::QUEUE_MS_DEFAULT;
use baton_messages::{AttemptRef, ChildWanted, Direction, Report, SagaId, StepId, StepKey, Task};
use serde_json::{Value, json};

use super::setting::{Part, Setting};
use super::tree::{Above, StepPath};
use super::trouble::Trouble;
use crate::disk::Disk;
use crate::event::{Event, Fate, Said, Whose};
use crate::plan::{Play, SagaPlan};
use crate::reference;
use crate::world::World;

/// How long after a lease or an offer is over something counts as late.
const LATE_MS: u64 = 60_000;
/// How long a task is on its way whose publisher takes it for lost and sends it again: both are there at once.
const SENT_TWICE_MS: u64 = 5_300;
/// So often a trouble strikes at most that would strike each time.
const STRIKES_MAX: u32 = 8;

/// How a saga is made to turn back, so that a step is undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// This step fails for good.
    Fails(StepPath),
    /// This one too, which runs beside it, and late.
    FailsLater(StepPath),
    /// A person says no here.
    Rejected(StepPath),
    /// What this one waits for never comes.
    Never(StepPath),
    /// A person cancels it, once the step is done.
    Cancelled,
    /// Nobody can tell whether the step itself has happened.
    Doubtful,
}

impl Turn {
    /// The step by which it turns back, where it is another than the one that is undone.
    pub(super) const fn at(&self) -> Option<&StepPath> {
        match self {
            Self::Fails(at) | Self::FailsLater(at) | Self::Rejected(at) | Self::Never(at) => {
                Some(at)
            }
            Self::Cancelled | Self::Doubtful => None,
        }
    }
}

/// What befalls which step.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The step.
    pub(crate) at: StepPath,
    /// Which way.
    pub(crate) way: Direction,
    /// How it comes to be undone.
    pub(crate) turn: Option<Turn>,
}

/// A saga of a scene that has begun, or was told to.
#[derive(Debug)]
pub(crate) struct Known {
    /// The steps that lead to it.
    pub(crate) above: Above,
    /// Whether it is of the first item of every list on the way: a trouble befalls one saga.
    pub(crate) first: bool,
    /// The state that was looked at last.
    pub(super) seen: u64,
}

/// The scene of one play.
#[derive(Debug)]
pub struct Scene {
    /// The saga at the top.
    pub(crate) saga: SagaId,
    /// Every saga there is.
    pub(crate) sagas: BTreeMap<SagaId, Known>,
    /// What each of them is, with the script of the trouble, by the steps that lead to it.
    pub(crate) plans: BTreeMap<Above, SagaPlan>,
    pub(crate) setting: Arc<Setting>,
    pub(crate) target: Option<Target>,
    pub(crate) trouble: Trouble,
    /// Whether messages are doubled and reordered beside it.
    pub(crate) mixed: bool,
    /// What a step does at first that is undone later: its undo has to take back what more than one attempt has left.
    pub(crate) first: Play,
    /// After which commit the orchestrator dies, where it is to die whatever the commit is about.
    pub(crate) dies_after: Option<u64>,
    /// Whether the saga has come to rest, with all that lie within it.
    pub(crate) rests: bool,
    /// How often the trouble has struck.
    pub(crate) strikes: u32,
    /// Commits that wrote something.
    pub(crate) commits: u64,
    /// Waits for which no event could be made.
    pub(crate) unmade: BTreeSet<StepPath>,
    /// Why its saga was not begun, where its start was refused.
    pub(crate) refused: Option<String>,
    forever: bool,
    runs: u32,
    rows: u64,
    pub(super) attended: BTreeSet<(SagaId, StepKey)>,
    pub(super) cancelled: bool,
    pub(super) mail_until: u64,
    heard: Option<u64>,
    lost: bool,
}

impl Scene {
    pub(crate) fn new(
        setting: Arc<Setting>,
        target: Option<Target>,
        trouble: Trouble,
        mixed: bool,
    ) -> Self {
        let forever = target
            .as_ref()
            .is_some_and(|target| setting.forever(&target.at, target.way));
        let top = Known {
            above: Above::new(),
            first: true,
            seen: u64::MAX,
        };
        let mut scene = Self {
            saga: setting.id,
            sagas: BTreeMap::from([(setting.id, top)]),
            plans: BTreeMap::new(),
            setting,
            target,
            trouble,
            mixed,
            first: Play::Succeed,
            dies_after: None,
            rests: false,
            strikes: 0,
            commits: 0,
            unmade: BTreeSet::new(),
            refused: None,
            forever,
            runs: 0,
            rows: 0,
            attended: BTreeSet::new(),
            cancelled: false,
            mail_until: 0,
            heard: None,
            lost: false,
        };
        scene.plans = super::script::scripted(&scene);
        scene
    }

    /// The version and the input its saga is started with.
    pub(crate) fn start(&self) -> (u32, Value) {
        let top = self.setting.part(&[]);
        let version = top.map_or(1, |part| part.definition.version);
        (version, self.setting.input.clone())
    }

    /// The documents of its definitions, those of sagas within others first, as they are registered.
    pub(crate) fn sources(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for part in self.setting.parts.values().rev() {
            if !all.contains(&part.plan.yaml) {
                all.push(part.plan.yaml.clone());
            }
        }
        all
    }

    /// A saga within another is told to begin, or not to: what it is, where there is such a step.
    pub(crate) fn meet(&mut self, wanted: &ChildWanted) -> Option<(SagaPlan, Arc<Definition>)> {
        let parent = self.sagas.get(&wanted.parent.saga)?;
        let above = StepPath::new(&parent.above, &wanted.parent.step).within();
        let first = parent.first && wanted.parent.item.unwrap_or(0) == 0;
        let definition = self.setting.part(&above)?.definition.clone();
        let plan = SagaPlan {
            id: wanted.child,
            ..self.plans.get(&above)?.clone()
        };
        let known = Known {
            above,
            first,
            seen: u64::MAX,
        };
        self.sagas.insert(wanted.child, known);
        Some((plan, definition))
    }

    /// What a saga is.
    pub(super) fn part_of(&self, saga: SagaId) -> Option<&Part> {
        self.setting.part(&self.sagas.get(&saga)?.above)
    }

    /// Where a step stands among all of the sagas.
    pub(super) fn path_of(&self, saga: SagaId, step: &StepId) -> Option<StepPath> {
        let known = self.sagas.get(&saga)?;
        Some(StepPath::new(&known.above, step))
    }

    /// Whether a step of a saga is that one, for whatever item.
    fn is_at(&self, at: &StepPath, saga: SagaId, step: &StepId) -> bool {
        let known = self.sagas.get(&saga);
        at.step == *step && known.is_some_and(|known| known.above == at.above)
    }

    /// Whether a saga is the one whose step is the target.
    pub(super) fn is_target_saga(&self, saga: SagaId) -> bool {
        let known = self.sagas.get(&saga).filter(|known| known.first);
        let at = self.target.as_ref().map(|target| &target.at);
        at.zip(known)
            .is_some_and(|(at, known)| known.above == at.above)
    }

    /// Whether a step is the target: of a list its first item.
    pub(super) fn is_target(
        &self,
        saga: SagaId,
        of: (&StepId, Option<u32>),
        way: Direction,
    ) -> bool {
        let (step, item) = of;
        self.is_target_saga(saga)
            && self.target.as_ref().is_some_and(|target| {
                target.at.step == *step && target.way == way && item.unwrap_or(0) == 0
            })
    }

    pub(super) fn is_target_of(&self, of: &AttemptRef) -> bool {
        self.is_target(of.saga, (&of.step, of.item), of.direction)
    }

    /// Whether any row of the log from there on is about the target, going its way.
    fn is_told(&self, disk: &Disk, from: usize) -> bool {
        let Some(target) = &self.target else {
            return false;
        };
        let of_step = format!("\"step\":{}", json!(target.at.step));
        let mut rows = disk.entries_from(from);
        rows.any(|(saga, entry)| {
            let state = disk.mirror.get(&saga);
            let unwinding = state.is_some_and(|state| state.unwinding.is_some());
            let way = match target.way {
                Direction::Do => !unwinding,
                Direction::Undo => unwinding,
                Direction::Probe => true,
            };
            let told = || serde_json::to_string(&entry.records).map(|text| text.contains(&of_step));
            way && self.is_target_saga(saga) && told().unwrap_or(false)
        })
    }

    fn strikes_on(&mut self, trouble: Trouble, task: &Task, most: u32) -> bool {
        let strikes = self.trouble == trouble && self.is_target_of(&task.of) && self.strikes < most;
        self.strikes += u32::from(strikes);
        strikes
    }

    /// What the step does that is undone in this scene, and whoever makes it turn back.
    fn turned(&self, task: &Task) -> Option<Play> {
        let target = self.target.as_ref()?;
        let of = &task.of;
        let here = self.is_at(&target.at, of.saga, &of.step);
        match (&target.turn, of.direction) {
            (Some(Turn::Fails(at) | Turn::FailsLater(at)), Direction::Do)
                if self.is_at(at, of.saga, &of.step) =>
            {
                Some(Play::FailFinal)
            }
            (Some(Turn::Doubtful), Direction::Do) if here => Some(Play::UnknownActed),
            (Some(_), Direction::Do) if here && of.attempt == 1 => Some(self.first),
            (Some(Turn::Doubtful), Direction::Probe) if here => Some(Play::UnknownIdle),
            // so that there is something to ask
            (None, Direction::Do) if here && target.way == Direction::Probe => {
                let first =
                    of.attempt == 1 && of.item.unwrap_or(0) == 0 && self.is_target_saga(of.saga);
                Some(if first {
                    Play::UnknownActed
                } else {
                    Play::Succeed
                })
            }
            _ => None,
        }
    }
}

/// Where trouble strikes.
impl World {
    /// What an automation does in a scene.
    pub(crate) fn scripted(&mut self, task: &Task) -> Option<Play> {
        let scene = self.scene.as_mut()?;
        if !scene.is_target_of(&task.of) {
            return Some(scene.turned(task).unwrap_or(Play::Succeed));
        }
        let plays = scene.trouble.plays(scene.forever);
        let at = usize::try_from(scene.runs).unwrap_or(usize::MAX);
        scene.runs = scene.runs.saturating_add(1);
        let play = plays.get(at).or(plays.last()).copied();
        let play = play.unwrap_or(Play::Succeed);
        scene.strikes += u32::from(play != Play::Succeed);
        // what a probe finds out is the truth, unless it is its trouble
        match (play, task.of.direction) {
            (Play::UnknownActed, Direction::Probe) => Some(Play::UnknownIdle),
            (play, _) => Some(play),
        }
    }

    /// What the automation of a task returns.
    pub(crate) fn returned(&self, task: &Task, n: u32) -> Value {
        let Some(scene) = &self.scene else {
            return json!({ "n": n });
        };
        let part = scene.part_of(task.of.saga);
        let asked = task.of.direction == Direction::Probe;
        let found = part.filter(|_| asked);
        let found = found.and_then(|part| part.finds.get(&task.of.step));
        let known = part.and_then(|part| found.or_else(|| part.returns.get(&task.of.step)));
        known.cloned().unwrap_or(Value::Null)
    }

    /// Whether a worker dies with what it was just given.
    pub(crate) fn dies_holding(&mut self, whose: Whose) -> bool {
        let Some(task) = self.run_of(whose).map(|run| run.task.clone()) else {
            return false;
        };
        let Some(scene) = &mut self.scene else {
            return false;
        };
        let dies = scene.strikes_on(Trouble::DiesBefore, &task, 1);
        if dies {
            self.worker_dies(whose.worker);
        }
        dies
    }

    /// A worker loses its connection in the middle of a run.
    pub(crate) fn cut_off(&mut self, whose: Whose, in_ms: u64) {
        let Some(task) = self.run_of(whose).map(|run| run.task.clone()) else {
            return;
        };
        let Some(scene) = &mut self.scene else { return };
        if scene.strikes_on(Trouble::CutOff, &task, 1) {
            self.after(in_ms, Event::WorkerDisconnects(whose.worker));
        }
    }

    /// What becomes of a task on its way to the broker.
    pub(crate) fn fate_of(&mut self, task: &Task) -> Fate {
        if let Some(scene) = &mut self.scene
            && scene.strikes_on(Trouble::SentTwice, task, 1)
        {
            return Fate::ConfirmLost;
        }
        self.fate()
    }

    /// How long a publisher waits at most before it takes what was not confirmed for lost. Where a task is sent twice the second comes while
    /// the first is run.
    pub(crate) fn doubt_ms(&self) -> u64 {
        let twice = |scene: &Scene| scene.trouble == Trouble::SentTwice;
        if self.scene.as_deref().is_some_and(twice) {
            return 200;
        }
        30_000
    }

    /// A task reaches its queue; false when there is none. In a scene every queue is there, and some tasks lie in theirs for long.
    pub(crate) fn routed(&mut self, task: Task) -> bool {
        let now = self.now;
        let Some(scene) = &mut self.scene else {
            return self.broker.route(task);
        };
        let key = (task.pool.clone(), task.task_type.clone());
        self.broker.tasks.entry(key).or_default();
        let offer_ms = task.not_after.0.saturating_sub(now);
        let (of, scene_ref) = (&task.of, &*scene);
        let beside = scene_ref.target.as_ref().is_some_and(|target| {
            let later = |turn: &Turn| matches!(turn, Turn::FailsLater(at) if scene_ref.is_at(at, of.saga, &of.step));
            of.direction == Direction::Do && target.turn.as_ref().is_some_and(later)
        });
        let part = scene_ref.part_of(of.saga);
        let queue_ms = part.and_then(|part| Some(part.plan.step(&of.step)?.queue_ms));
        let queue_ms = queue_ms.unwrap_or(QUEUE_MS_DEFAULT);
        let again = scene.trouble == Trouble::SentTwice
            && scene.is_target_of(&task.of)
            && !std::mem::replace(&mut scene.lost, true);
        let lies_ms = if again {
            SENT_TWICE_MS
        } else if scene.strikes_on(Trouble::ServedLate, &task, 1) {
            offer_ms + LATE_MS
        } else if scene.strikes_on(Trouble::Unserved, &task, u32::MAX) {
            offer_ms + queue_ms + LATE_MS
        } else if beside {
            LATE_MS.min(offer_ms / 2)
        } else {
            return self.broker.route(task);
        };
        scene.mail_until = scene.mail_until.max(now + lies_ms);
        self.after(lies_ms, Event::Served(Box::new(task)));
        true
    }

    /// Somebody comes to what has lain in its queue.
    pub(crate) fn served(&mut self, task: Task) {
        self.broker.route(task);
        self.pump_soon();
    }

    fn finished_of_target(&self, parcel: &[Said]) -> Option<Task> {
        let scene = self.scene.as_ref()?;
        let whose = parcel.iter().find_map(|said| match &said.report {
            Report::Finished(finished) if scene.is_target_of(&finished.of) => Some(said.whose),
            _ => None,
        })?;
        let worker = self.workers.get(whose.worker)?;
        worker.runs.get(&whose.run).map(|run| run.task.clone())
    }

    /// Whether what a worker says is said twice.
    pub(crate) fn said_twice(&mut self, parcel: &[Said]) -> bool {
        let task = self.finished_of_target(parcel);
        let Some((scene, task)) = self.scene.as_mut().zip(task) else {
            return false;
        };
        scene.strikes_on(Trouble::SaidTwice, &task, 2)
    }

    /// How long a report is on its way that comes late: until whoever waits for it has certainly given it up.
    pub(crate) fn said_late(&mut self, parcel: &[Said]) -> Option<u64> {
        let task = self.finished_of_target(parcel)?;
        let (now, mixed) = (self.now, self.scene.as_ref()?.mixed);
        // sometimes very late
        let more = if mixed {
            self.rng.below(24 * 60 * 60 * 1000)
        } else {
            0
        };
        let scene = self.scene.as_mut()?;
        if !scene.strikes_on(Trouble::SaidLate, &task, 1) {
            return None;
        }
        let offer_ms = task.not_after.0.saturating_sub(now) + task.timeout_ms;
        let late = offer_ms.max(task.lease_ms) + LATE_MS + more;
        scene.mail_until = scene.mail_until.max(now + late);
        Some(late)
    }

    /// Whether the orchestrator dies now: after a commit, before anything leaves and anything is acknowledged.
    pub(crate) fn dies_after_commit(&mut self) -> bool {
        let Some(scene) = &mut self.scene else {
            return false;
        };
        let disk = self.store.disk();
        let rows = disk.log_seq(0);
        if rows == scene.rows {
            return false;
        }
        let known = usize::try_from(scene.rows).unwrap_or(usize::MAX);
        scene.rows = rows;
        scene.commits += 1;
        if scene.trouble != Trouble::Crash {
            return false;
        }
        if let Some(after) = scene.dies_after {
            let dies = scene.commits == after;
            scene.strikes += u32::from(dies);
            return dies;
        }
        if scene.strikes >= STRIKES_MAX || !scene.is_told(&disk, known) {
            return false;
        }
        scene.strikes += 1;
        true
    }

    /// Leases are looked at again as soon as there are some.
    pub(crate) fn tick_again(&mut self) {
        let now = self.now;
        if self.scene.is_none() {
            return;
        }
        let Some(host) = &mut self.host else { return };
        if !host.ticking && !host.driver.leases().is_empty() {
            host.ticking = true;
            host.ticked_at = now;
            let life = host.life;
            self.after(crate::host::TICK_MS, Event::Tick(life));
        }
    }

    /// Whether a report may be as late as its lease in this scene.
    pub(crate) fn reports_late(&self) -> bool {
        let late = |scene: &Scene| scene.trouble == Trouble::SaidLate;
        self.scene.as_deref().is_some_and(late)
    }

    /// Whether nobody took a task of this step while it was on offer: it is given up without ever having been held.
    pub(crate) fn lies_unserved(&self, saga: SagaId, step: &StepId) -> bool {
        self.scene.as_deref().is_some_and(|scene| {
            let lies = matches!(scene.trouble, Trouble::ServedLate | Trouble::Unserved);
            let target = scene.target.as_ref();
            lies && target.is_some_and(|target| scene.is_at(&target.at, saga, step))
        })
    }

    /// Workers announce themselves to an orchestrator that has come up; in a scene they do so when there is one to hear it, and not ever again.
    pub(crate) fn roll_call(&mut self) {
        if self.scene.is_some() {
            for worker in 0..self.workers.len() {
                self.after(20, Event::Announce(worker));
            }
        }
    }

    /// Whether the orchestrator of this life has heard what there is: in a scene all workers serve the same.
    pub(crate) fn has_heard(&mut self) -> bool {
        let life = self.host.as_ref().map(|host| host.life);
        match &mut self.scene {
            Some(scene) if life.is_some() => scene.heard.replace(life.unwrap_or(0)) == life,
            _ => false,
        }
    }

    /// How many attempts an undo has.
    pub(crate) fn undos(&self, saga: SagaId, step: &StepId) -> u32 {
        let known = |scene: &Scene| scene.part_of(saga)?.undos.get(step).copied();
        let known = self.scene.as_deref().and_then(known);
        known.unwrap_or(reference::UNDOS)
    }
}
