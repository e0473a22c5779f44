//! The rows of the matrix: every step of every saga, each way it can go, and for an undo how it comes to be needed.

use std::sync::Arc;

use baton_engine::definition::{Definition, OnError, OnTimeout, Step, StepKind};
use baton_messages::{Direction, Effect, StepId};
use serde::Serialize;
use serde_json::Value;

use super::play::Played;
use super::scene::{Target, Turn};
use super::setting::Setting;
use super::tree::{StepPath, Tree};
use super::trouble::{About, Trouble};

/// Which way of a step a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The saga as a whole.
    Saga,
    /// The step is done.
    Do,
    /// It is taken back.
    Undo,
    /// It is found out whether it happened.
    Probe,
}

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// The step; none: the saga as a whole.
    pub step: Option<StepPath>,
    /// Which way.
    pub way: Way,
    /// Whether it is undone because a saga above its own turns back, after its own was done.
    pub from_above: bool,
    /// How the saga comes to turn back, in words.
    pub turn: Option<String>,
    pub(crate) about: About,
    pub(crate) target: Option<Target>,
    /// The setting in which the step is wanted.
    pub(crate) setting: Arc<Setting>,
    /// Commits of the saga when all is well.
    pub(crate) commits: u64,
}

impl Row {
    /// What can befall it.
    pub fn troubles(&self) -> impl Iterator<Item = Trouble> {
        let about = self.about;
        Trouble::ALL
            .into_iter()
            .filter(move |trouble| trouble.befalls(about))
    }

    /// What the saga is started with in its plays.
    #[must_use]
    pub fn input(&self) -> &Value {
        &self.setting.input
    }

    /// How many sagas lie above that whose step it is about.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.step.as_ref().map_or(0, StepPath::depth)
    }
}

/// All rows of a saga and of those within it, each of these after the step that it is. A step that is wanted in no setting has none.
pub(super) fn rows(tree: &Tree, settings: &[Arc<Setting>], played: &[Played]) -> Vec<Row> {
    let Some(first) = settings.first() else {
        return Vec::new();
    };
    let whole = Row {
        step: None,
        way: Way::Saga,
        from_above: false,
        turn: None,
        about: About::Saga,
        target: None,
        setting: first.clone(),
        commits: played.first().map_or(0, |played| played.commits),
    };
    let mut all = vec![whole];
    of_saga(tree, &[], settings, played, &mut all);
    all
}

fn of_saga(
    tree: &Tree,
    above: &[StepId],
    settings: &[Arc<Setting>],
    played: &[Played],
    all: &mut Vec<Row>,
) {
    let Some(one) = tree.all.get(above) else {
        return;
    };
    for step in &one.definition.steps {
        let at = StepPath::new(above, &step.id);
        let found = settings.iter().zip(played);
        let mut found = found.filter(|(_, played)| played.ran.contains(&at));
        if let Some(first) = found.clone().next() {
            of_step(step, &at, first, all);
        }
        // a pivot that is skipped leaves the way back open for what comes after it
        let own = |(_, played): &(&Arc<Setting>, &Played)| {
            !is_from_pivot_on(&one.definition, step, above, played)
        };
        let open = |one: &(&Arc<Setting>, &Played)| own(one) && is_open_above(tree, &at, one.1);
        // nor is there anything to see where its `when` leaves what was done
        let wanted =
            |(_, played): &(&Arc<Setting>, &Played)| played.wants_undo.get(&at) != Some(&false);
        let best = found.clone().find(|one| open(one) && wanted(one));
        let best = best.or_else(|| found.clone().find(open));
        if let Some(open) = best.or_else(|| found.find(own)) {
            of_undo(tree, &one.definition, step, &at, open, all);
        }
        if step.child().is_some() {
            of_saga(tree, &at.within(), settings, played, all);
        }
    }
}

/// A row of a step; `turn` says how it comes to be undone, and from where.
fn row(
    (way, about, direction): (Way, About, Direction),
    at: &StepPath,
    (setting, played): (&Arc<Setting>, &Played),
    turn: Option<Turn>,
    from_above: bool,
) -> Row {
    Row {
        step: Some(at.clone()),
        way,
        from_above,
        turn: turn.as_ref().map(told),
        about,
        target: Some(Target {
            at: at.clone(),
            way: direction,
            turn,
        }),
        setting: setting.clone(),
        commits: played.commits,
    }
}

/// That a step is done, and that it is found out whether it was.
fn of_step(step: &Step, at: &StepPath, within: (&Arc<Setting>, &Played), all: &mut Vec<Row>) {
    let about = match &step.kind {
        StepKind::Task(_) => About::Task(Direction::Do),
        StepKind::Wait(_) => About::Wait,
        StepKind::Approve(_) => About::Approve,
        StepKind::Saga(_) => About::Child(Direction::Do),
        StepKind::Sleep(_) | StepKind::Emit(_) => About::Idle,
    };
    let of = (Way::Do, about, Direction::Do);
    all.push(row(of, at, within, None, false));
    let kind = within.0.step(at).and_then(|plan| plan.kind);
    if kind.is_some_and(|kind| kind.probe && kind.effect != Effect::None) {
        let of = (Way::Probe, About::Task(Direction::Probe), Direction::Probe);
        all.push(row(of, at, within, None, false));
    }
}

/// That it is taken back, in a setting in which it may be.
fn of_undo(
    tree: &Tree,
    definition: &Definition,
    step: &Step,
    at: &StepPath,
    (setting, played): (&Arc<Setting>, &Played),
    all: &mut Vec<Row>,
) {
    if !setting.has_undo(at) {
        return;
    }
    let about = match &step.kind {
        StepKind::Saga(_) => About::Child(Direction::Undo),
        _ => About::Task(Direction::Undo),
    };
    let turns = Turns {
        tree,
        played,
        setting: setting.as_ref(),
    };
    let from_above = turns.turned_above(at);
    let own = turns.after(definition, step, at);
    let own = match &from_above {
        Some(_) => own,
        None => own.or_else(|| turns.otherwise(definition, step, at)),
    };
    for (turn, from_above) in [(own, false), (from_above, true)] {
        if turn.is_some() {
            let of = (Way::Undo, about, Direction::Undo);
            all.push(row(of, at, (setting, played), turn, from_above));
        }
    }
}

fn told(turn: &Turn) -> String {
    match turn {
        Turn::Fails(step) | Turn::FailsLater(step) => format!("{step} fails for good"),
        Turn::Rejected(step) => format!("a person says no to {step}"),
        Turn::Never(step) => format!("what {step} waits for never comes"),
        Turn::Cancelled => "a person cancels the saga once it is done".to_owned(),
        Turn::Doubtful => "nobody can tell whether it happened".to_owned(),
    }
}

/// The pivot of a saga, unless its `if` had it skipped in a play: then it binds nothing.
fn sent<'d>(definition: &'d Definition, above: &[StepId], played: &Played) -> Option<&'d Step> {
    let ran = |pivot: &Step| played.ran.contains(&StepPath::new(above, &pivot.id));
    let pivot = definition.pivot()?;
    (pivot.condition.is_none() || ran(pivot)).then_some(pivot)
}

/// Whether a step is the pivot, or comes after it where that was sent: it is not taken back.
fn is_from_pivot_on(
    definition: &Definition,
    step: &Step,
    above: &[StepId],
    played: &Played,
) -> bool {
    sent(definition, above, played)
        .is_some_and(|pivot| pivot.index == step.index || pivot.descendants.contains(&step.index))
}

/// Whether every saga above that of a step may still turn back once the step that it is is done.
fn is_open_above(tree: &Tree, at: &StepPath, played: &Played) -> bool {
    at.above.iter().enumerate().all(|(n, step)| {
        let above = at.above.get(..n).unwrap_or(&[]);
        let saga = tree.all.get(above).map(|one| &one.definition);
        let found = saga.and_then(|saga| Some((saga, saga.step(step)?)));
        found.is_some_and(|(saga, step)| !is_from_pivot_on(saga, step, above, played))
    })
}

/// How a step comes to be undone, in a setting that was played once: by what fails after it, as late as may be.
struct Turns<'a> {
    tree: &'a Tree,
    played: &'a Played,
    setting: &'a Setting,
}

impl Turns<'_> {
    /// By what fails after it in its own saga.
    fn after(&self, definition: &Definition, step: &Step, at: &StepPath) -> Option<Turn> {
        let all = definition.steps.iter();
        let after = all.filter(|other| step.descendants.contains(&other.index));
        self.latest(definition, &at.above, after)
    }

    /// By what fails after its own saga was done, in the highest that can.
    fn turned_above(&self, at: &StepPath) -> Option<Turn> {
        let mut found = None;
        for (n, step) in at.above.iter().enumerate() {
            let above = at.above.get(..n)?;
            let saga = self.tree.all.get(above)?;
            let step = saga.definition.step(step)?;
            if is_from_pivot_on(&saga.definition, step, above, self.played) {
                return None;
            }
            let of_this = StepPath::new(above, &step.id);
            found = found.or_else(|| self.after(&saga.definition, step, &of_this));
        }
        found
    }

    /// Else by what fails beside it; else by a person; else by doubt.
    fn otherwise(&self, definition: &Definition, step: &Step, at: &StepPath) -> Option<Turn> {
        let beside = definition.steps.iter().find(|other| {
            other.index != step.index
                && other.task().is_some()
                && other.fan.is_none()
                && !step.ancestors.contains(&other.index)
                && self.fails(definition, &at.above, other).is_some()
        });
        if let Some(other) = beside {
            return Some(Turn::FailsLater(StepPath::new(&at.above, &other.id)));
        }
        if self.time_passes_after(at) {
            return Some(Turn::Cancelled);
        }
        let doubtful = step.task().is_some()
            && step.on_error == OnError::Compensate
            && step.fan.is_none()
            && !self.never_in_doubt(at);
        doubtful.then_some(Turn::Doubtful)
    }

    /// Whether a step is simply done again for as long as nobody knows whether it happened: doubt about it has no end, and so turns nothing back.
    fn never_in_doubt(&self, at: &StepPath) -> bool {
        let kind = self.setting.step(at).and_then(|plan| plan.kind);
        kind.is_some_and(|kind| kind.idempotent) && self.setting.forever(at, Direction::Do)
    }

    /// Of some steps of a saga the latest that can fail.
    fn latest<'s>(
        &self,
        definition: &Definition,
        above: &[StepId],
        steps: impl Iterator<Item = &'s Step>,
    ) -> Option<Turn> {
        let found = steps.filter_map(|step| Some((step, self.fails(definition, above, step)?)));
        let latest = found.max_by_key(|(step, _)| step.ancestors.len());
        latest.map(|(_, turn)| turn)
    }

    /// How a step can fail so that its saga turns back, if it can: of one that is a saga, by its latest step that can.
    fn fails(&self, definition: &Definition, above: &[StepId], step: &Step) -> Option<Turn> {
        let at = StepPath::new(above, &step.id);
        let pivot = sent(definition, above, self.played);
        let past = pivot.is_some_and(|pivot| pivot.descendants.contains(&step.index));
        if past || !self.played.ran.contains(&at) {
            return None;
        }
        let items = self.played.items.get(&at).copied().unwrap_or(0);
        let enough = |step: &Step| {
            let fan = step.fan.as_ref();
            fan.is_none_or(|fan| fan.tolerate.of(items) < items)
        };
        let turns_back = step.on_error == OnError::Compensate && enough(step);
        match &step.kind {
            StepKind::Task(_) => turns_back.then_some(Turn::Fails(at)),
            StepKind::Approve(approve) => (!approve.goes_on_rejected).then_some(Turn::Rejected(at)),
            StepKind::Wait(wait) => (wait.on_timeout == OnTimeout::Fail).then_some(Turn::Never(at)),
            StepKind::Saga(_) if turns_back => {
                let within = at.within();
                let child = &self.tree.all.get(&within)?.definition;
                self.latest(child, &within, child.steps.iter())
            }
            StepKind::Sleep(_) | StepKind::Emit(_) | StepKind::Saga(_) => None,
        }
    }

    /// Whether the saga at the top is still under way, and may turn back, for a while after a step is done: until its pivot, which is sent at once where nothing else is left before it.
    fn time_passes_after(&self, at: &StepPath) -> bool {
        let ways = (0..=at.above.len()).rev();
        let mut found = false;
        for n in ways {
            let (Some(above), id) = (at.above.get(..n), at.above.get(n).unwrap_or(&at.step)) else {
                return false;
            };
            let saga = self.tree.all.get(above);
            let Some((saga, step)) = saga.and_then(|saga| Some((saga, saga.definition.step(id)?)))
            else {
                return false;
            };
            let pivot = sent(&saga.definition, above, self.played);
            let past = |other: &Step| {
                let from = |pivot: &Step| {
                    pivot.index == other.index || pivot.descendants.contains(&other.index)
                };
                pivot.is_some_and(from)
            };
            if n < at.above.len() && is_from_pivot_on(&saga.definition, step, above, self.played) {
                return false;
            }
            found |= saga.definition.steps.iter().any(|other| {
                step.descendants.contains(&other.index)
                    && self.played.ran.contains(&StepPath::new(above, &other.id))
                    && !past(other)
                    && !matches!(other.kind, StepKind::Emit(_))
            });
        }
        found
    }
}
