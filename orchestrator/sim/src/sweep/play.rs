//! One play: a world with one saga, those that lie within it, and one trouble, from its start until the saga rests, and what came of it. What must hold
//! then is in [`super::judge`].

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::state::Phase;
use baton_engine::{SagaState, Status, WorkItemKind};
use baton_messages::{PoolName, StepId, WorkerId};
use serde_json::Value;

use super::outside::items_of;
use super::scene::Scene;
use super::tree::{Above, StepPath};
use super::trouble::Trouble;
use crate::event::Event;
use crate::fault::Fault;
use crate::mood::Mood;
use crate::rng::Rng;
use crate::worker::Worker;
use crate::world::{Setup, World};

/// Workers of a scene: one dies, another is there.
const WORKERS: usize = 3;
/// Tasks each of them runs at once.
const SLOTS: usize = 32;
/// When the saga is asked for.
const ASKED_MS: u64 = 500;

/// What a person is asked for at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What kind of decision it is.
    pub kind: WorkItemKind,
    /// The step it is about; of a saga within the one that is swept with the steps that lead to it: `restore/put_back`.
    pub step: Option<String>,
    /// Who is asked.
    pub owner: String,
    /// What for.
    pub title: String,
    /// What he may choose.
    pub choices: Vec<&'static str>,
}

/// What came of a play.
#[derive(Debug, Clone)]
pub struct Played {
    /// How the saga ended, or that it is parked.
    pub status: Status,
    /// What people are asked for.
    pub asked: Vec<Asked>,
    /// Whether the trouble has befallen anything.
    pub struck: bool,
    /// Why its start was refused, if it was: then nothing of it was played, and nothing can be broken.
    pub refused: Option<String>,
    /// Which promise or law was broken.
    pub broken: Option<String>,
    /// Why the saga turned back or stopped, as the engine has it.
    pub why: Option<String>,
    /// Everything that happened, where it was asked for, else the last of it where something was broken.
    pub trace: Vec<String>,
    /// The steps that were begun.
    pub(crate) ran: BTreeSet<StepPath>,
    /// The steps whose undo by a task was begun; not those of which only items were taken back.
    pub(crate) undone: BTreeSet<StepPath>,
    /// What `undo.when` of each step says that was begun and has one, as far as it answers at the end: whether its undo is wanted.
    pub(crate) wants_undo: BTreeMap<StepPath, bool>,
    /// How many items steps had.
    pub(crate) items: BTreeMap<StepPath, u32>,
    /// Commits.
    pub(crate) commits: u64,
    /// Waits for which no event could be made.
    pub(crate) unmade: BTreeSet<StepPath>,
}

impl Played {
    /// The steps that were begun, those of sagas within it as well.
    pub fn began(&self) -> impl Iterator<Item = &StepPath> {
        self.ran.iter()
    }

    /// The steps whose undo by a task was begun, those of sagas within it as well; not those of which only items were taken back.
    pub fn taken_back(&self) -> impl Iterator<Item = &StepPath> {
        self.undone.iter()
    }
}

/// Plays a scene.
pub(crate) fn play(scene: Scene, seed: u64, fault: Option<Fault>, trace: bool) -> Played {
    let mut rng = Rng::new(seed);
    let mut mood = mood(&mut rng, scene.mixed);
    if scene.mixed && scene.trouble == Trouble::Crash {
        // before its commits as well, and while it comes up
        mood.dies_at_await = 40;
    }
    let setup = Setup {
        seed,
        fault,
        trace,
        ..Setup::default()
    };
    let saga = scene.saga;
    let mut world = World::empty(rng, mood, setup);
    if let Some((part, plan)) = scene.setting.part(&[]).zip(scene.plans.get(&Above::new())) {
        world.definitions.insert(saga, part.definition.clone());
        world.plans.insert(saga, plan.clone());
    }
    let kinds = scene.setting.kinds.clone();
    world.scene = Some(Box::new(scene));
    for n in 0..WORKERS {
        world.employ(n, &kinds);
    }
    world.after(0, Event::HostUp(0));
    world.after(ASKED_MS, Event::Start(saga));
    world.run();
    world.played(trace)
}

fn mood(rng: &mut Rng, mixed: bool) -> Mood {
    let mut mood = Mood::peaceful();
    if mixed {
        mood.quiet = false;
        mood.report_twice = 350;
        mood.report_late = 60;
        mood.confirm_lost = 250;
        mood.nacked = 60;
        mood.control_lost = 80;
        mood.gather_ms = rng.pick(&[0, 30, 400], 30);
    }
    mood
}

impl World {
    fn employ(&mut self, n: usize, kinds: &[&'static crate::plan::Kind]) {
        let Ok(id) = WorkerId::new(&format!("w{n}")) else {
            return;
        };
        let pool = PoolName::default_pool();
        self.workers
            .push(Worker::new(id, pool, kinds.to_vec(), SLOTS));
        self.after(1, Event::WorkerUp(n, 0));
    }

    fn played(mut self, trace: bool) -> Played {
        if self.broken.is_none()
            && let Err(what) = self.judge_scene()
        {
            self.breaks(what);
        }
        let status = self.end_of_all();
        let scene = self.scene.take();
        let mut all: Vec<(&[StepId], SagaState)> = Vec::new();
        for (saga, known) in scene.iter().flat_map(|scene| &scene.sagas) {
            let state = self.state_of(*saga);
            all.extend(state.map(|state| (known.above.as_slice(), state)));
        }
        // the one at the top, then those within it as they are named
        all.sort_by(|a, b| a.0.cmp(b.0));
        let keeps = trace || self.broken.is_some();
        let refused = scene.as_ref().and_then(|scene| scene.refused.clone());
        Played {
            status,
            asked: asked(&all),
            struck: scene.as_ref().is_some_and(|scene| scene.strikes > 0),
            why: all.iter().find_map(|(above, state)| why(above, state)),
            broken: self.broken.filter(|_| refused.is_none()),
            refused,
            trace: if keeps {
                self.trace.lines().map(str::to_owned).collect()
            } else {
                Vec::new()
            },
            wants_undo: scene
                .as_deref()
                .map(|scene| wants_undo(scene, &all))
                .unwrap_or_default(),
            ran: ran(&all),
            undone: undone(&all),
            items: items(&all),
            commits: scene.as_ref().map_or(0, |scene| scene.commits),
            unmade: scene
                .as_ref()
                .map(|scene| scene.unmade.clone())
                .unwrap_or_default(),
        }
    }
}

/// Sagas with the steps that lead to each.
type All<'a> = [(&'a [StepId], SagaState)];

/// The steps that were begun.
fn ran(all: &All<'_>) -> BTreeSet<StepPath> {
    let began = |phase: Phase| !matches!(phase, Phase::Waiting | Phase::Skipped);
    let of_one = |(above, state): &(&[StepId], SagaState)| {
        let steps = state.steps.iter().filter(|(_, step)| began(step.phase));
        let steps: Vec<StepPath> = steps.map(|(id, _)| StepPath::new(above, id)).collect();
        steps
    };
    all.iter().flat_map(of_one).collect()
}

/// The steps whose undo by a task was made ready.
fn undone(all: &All<'_>) -> BTreeSet<StepPath> {
    let of_one = |(above, state): &(&[StepId], SagaState)| {
        let steps = state
            .steps
            .iter()
            .filter(|(_, step)| step.backward.is_some());
        let steps: Vec<StepPath> = steps.map(|(id, _)| StepPath::new(above, id)).collect();
        steps
    };
    all.iter().flat_map(of_one).collect()
}

/// What `undo.when` of the steps that were begun answers. One that reads an item of its list has no answer for all of them.
fn wants_undo(scene: &Scene, all: &All<'_>) -> BTreeMap<StepPath, bool> {
    let began = ran(all);
    let mut found = BTreeMap::new();
    for (above, state) in all {
        let part = scene.setting.part(above);
        for step in part.iter().flat_map(|part| &part.definition.steps) {
            let at = StepPath::new(above, &step.id);
            let when = step.task().and_then(|task| task.undo_when.as_ref());
            let when = when.filter(|_| began.contains(&at));
            if let Some(Ok(Value::Bool(wanted))) = when.map(|when| when.eval(state)) {
                // of the items' sagas one is enough
                *found.entry(at).or_insert(false) |= wanted;
            }
        }
    }
    found
}

/// How many items steps had; where there are several of one saga, the most.
fn items(all: &All<'_>) -> BTreeMap<StepPath, u32> {
    let mut found = BTreeMap::new();
    for (above, state) in all {
        for (step, count) in items_of(state) {
            let most = found.entry(StepPath::new(above, &step)).or_insert(0);
            *most = count.max(*most);
        }
    }
    found
}

fn asked(all: &All<'_>) -> Vec<Asked> {
    let mut found: Vec<Asked> = Vec::new();
    for (above, state) in all {
        let lead: String = above.iter().map(|step| format!("{step}/")).collect();
        let blocks = state.work_items.values().filter(|item| item.kind.blocks());
        found.extend(blocks.map(|item| Asked {
            kind: item.kind,
            step: item.step.as_ref().map(|step| format!("{lead}{step}")),
            owner: item.owner.clone(),
            title: item.title.clone(),
            choices: item.choices.iter().map(|choice| choice.as_str()).collect(),
        }));
    }
    found.sort_by(|a, b| (&a.step, &a.title).cmp(&(&b.step, &b.title)));
    // the sagas of several items may ask the same
    found.dedup();
    found
}

/// Why a saga turned back or stopped: of its first failure, what was said.
fn why(above: &[StepId], state: &SagaState) -> Option<String> {
    let failed = state.all().filter_map(|(spot, step)| {
        let failure = step.last_failure.as_ref()?;
        Some((step.since, spot.key(), failure.clone()))
    });
    let (_, key, failure) = failed.min_by_key(|(since, ..)| *since)?;
    let lead: String = above.iter().map(|step| format!("{step}/")).collect();
    Some(format!(
        "{lead}{key}: {}: {}",
        failure.code, failure.message
    ))
}
