//! A naive reading of a saga: what may come of it, told from its definition and its scripts alone, without a message, a clock or the
//! engine. In a quiet world it says exactly what must come; in a rough one what cannot.

use std::collections::BTreeSet;

use baton_engine::Status;
use baton_messages::{Direction, Effect, StepId};

use crate::plan::{
    Comes, Decides, Idle, Kind, OnError, Play, SagaPlan, Script, StepPlan, UndoSaid, UndoWhen,
};

/// As many tries as the engine gives a probe, in each doubt.
const PROBES: u32 = 5;
/// As many tries as the engine gives an undo.
pub(crate) const UNDOS: u32 = 10;

/// What a step comes to when nothing goes wrong but its script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Those after it may go on.
    Done,
    /// It has failed for good with nothing changed.
    Failed,
    /// Nobody knows whether it happened.
    Doubtful,
    /// It is a saga in which a person has to decide.
    Waits,
    /// It is a saga of which its scripts alone do not say what comes.
    Open,
}

impl End {
    /// Whether those after a step that has come to this may go on.
    fn goes_on(self, on_error: OnError) -> bool {
        self == Self::Done || (on_error == OnError::Continue && self != Self::Waits)
    }
}

/// What must come of a saga in a quiet world; more than one only where it depends on what runs faster.
#[must_use]
pub fn foretell(plan: &SagaPlan) -> BTreeSet<Status> {
    if plan.steps.iter().any(|step| come_of(step) == End::Open) {
        return BTreeSet::from([Status::Completed, Status::Compensated, Status::Parked]);
    }
    // A barrier also where it is skipped: whether it is wanted is asked only when everything beside it is done.
    let pivot = plan.steps.iter().position(|step| step.pivot);
    let mut done = BTreeSet::new();
    let mut begun = BTreeSet::new();
    let (mut parks, mut stuck) = (false, false);
    // Everything that is neither the pivot nor after it.
    let late: BTreeSet<usize> = pivot
        .map(|pivot| after_all(plan, pivot))
        .unwrap_or_default();
    for (at, step) in plan.steps.iter().enumerate() {
        if Some(at) == pivot
            || late.contains(&at)
            || !step.after.iter().all(|other| done.contains(other))
        {
            continue;
        }
        begun.insert(at);
        stuck |= settling_may_park(step);
        match (come_of(step), step.on_error) {
            (end, on_error) if end.goes_on(on_error) => {
                done.insert(at);
            }
            (End::Waits, _) | (_, OnError::Park | OnError::Continue) => parks = true,
            (_, OnError::Compensate) => return unwound(plan, &begun_by_all(plan, pivot, &late)),
        }
    }
    let mut all = forward(plan, pivot, &late, done, begun, parks);
    if stuck {
        all.insert(Status::Parked);
    }
    all
}

/// What comes of the rest, once all that is neither the pivot nor after it has come to what it comes to.
fn forward(
    plan: &SagaPlan,
    pivot: Option<usize>,
    late: &BTreeSet<usize>,
    mut done: BTreeSet<usize>,
    mut begun: BTreeSet<usize>,
    parks: bool,
) -> BTreeSet<Status> {
    if parks {
        return BTreeSet::from([Status::Parked]);
    }
    if let Some(at) = pivot
        && let Some(step) = plan.steps.get(at)
    {
        if !step.wanted {
            return skipped(plan, at, late, done);
        }
        begun.insert(at);
        match (come_of(step), step.on_error) {
            (end, on_error) if end.goes_on(on_error) => {
                done.insert(at);
            }
            (End::Failed, OnError::Compensate) => return unwound(plan, &begun),
            (_, _) => return BTreeSet::from([Status::Parked]),
        }
    }
    for at in late {
        let Some(step) = plan.steps.get(*at) else {
            continue;
        };
        if step.after.iter().all(|other| done.contains(other))
            && come_of_after_the_pivot(step).goes_on(step.on_error)
        {
            done.insert(*at);
        }
    }
    BTreeSet::from([if done.len() == plan.steps.len() {
        Status::Completed
    } else {
        Status::Parked
    }])
}

/// What comes after a pivot that is skipped: it was never sent, and so the way back stays open.
fn skipped(
    plan: &SagaPlan,
    pivot: usize,
    late: &BTreeSet<usize>,
    mut done: BTreeSet<usize>,
) -> BTreeSet<Status> {
    done.insert(pivot);
    let (mut parks, mut stuck) = (false, false);
    for at in late {
        let Some(step) = plan.steps.get(*at) else {
            continue;
        };
        if !step.after.iter().all(|other| done.contains(other)) {
            continue;
        }
        stuck |= settling_may_park(step);
        match (come_of(step), step.on_error) {
            (end, on_error) if end.goes_on(on_error) => {
                done.insert(*at);
            }
            (End::Waits, _) | (_, OnError::Park | OnError::Continue) => parks = true,
            (_, OnError::Compensate) => {
                return unwound(plan, &begun_by_all(plan, None, &BTreeSet::new()));
            }
        }
    }
    let end = if parks {
        Status::Parked
    } else {
        Status::Completed
    };
    let mut all = BTreeSet::from([end]);
    if stuck {
        all.insert(Status::Parked);
    }
    all
}

/// What may come of a saga in a rough world.
#[must_use]
pub fn possible(plan: &SagaPlan, fickle: bool, meddled: bool) -> BTreeSet<Status> {
    // Why one was taken back is another question: see `reasons`.
    let mut all = BTreeSet::from([Status::Compensated]);
    if meddled {
        all.insert(Status::Abandoned);
    }
    let possible = |step: &StepPlan| {
        let Some(_) = step.kind else { return true };
        let tries = usize::try_from(step.attempts).unwrap_or(1);
        let acts = |script: &Script| {
            let plays = &script.forward;
            plays.iter().take(tries).any(|play| play.acts()) || plays.len() <= tries
        };
        let acts = match &step.fan {
            None => acts(&step.script),
            Some(fan) => {
                let idle = fan.scripts.iter().filter(|script| !acts(script)).count();
                idle <= fan.tolerate as usize
            }
        };
        fickle || !step.wanted || step.on_error != OnError::Compensate || acts
    };
    // After the pivot a person may try again until it goes.
    if meddled || plan.steps.iter().any(|step| step.pivot) || plan.steps.iter().all(possible) {
        all.insert(Status::Completed);
    }
    all
}

/// Whether a step is the pivot, or comes after it.
#[must_use]
pub fn is_from_pivot_on(plan: &SagaPlan, id: &StepId) -> bool {
    let Some(pivot) = plan.steps.iter().position(|step| step.pivot) else {
        return false;
    };
    let at = plan.steps.iter().position(|step| step.id == *id);
    at.is_some_and(|at| at == pivot || after_all(plan, pivot).contains(&at))
}

/// The steps that come after one, by whatever way.
pub(crate) fn after_all(plan: &SagaPlan, from: usize) -> BTreeSet<usize> {
    let mut late = BTreeSet::new();
    for (at, step) in plan.steps.iter().enumerate() {
        if step
            .after
            .iter()
            .any(|other| *other == from || late.contains(other))
        {
            late.insert(at);
        }
    }
    late
}

/// Whatever may have begun before the turn.
fn begun_by_all(plan: &SagaPlan, pivot: Option<usize>, late: &BTreeSet<usize>) -> BTreeSet<usize> {
    (0..plan.steps.len())
        .filter(|at| Some(*at) != pivot && !late.contains(at))
        .collect()
}

/// Taken back, unless an undo that may be needed wants a person.
fn unwound(plan: &SagaPlan, begun: &BTreeSet<usize>) -> BTreeSet<Status> {
    let mut all = BTreeSet::from([Status::Compensated]);
    if begun
        .iter()
        .filter_map(|at| plan.steps.get(*at))
        .any(|step| step.wanted && undo_may_park(step))
    {
        all.insert(Status::Parked);
    }
    all
}

/// Whether an item that is tolerated and in doubt may have an undo that wants a person.
fn settling_may_park(step: &StepPlan) -> bool {
    let Some(fan) = step.fan.as_ref().filter(|_| step.wanted) else {
        return false;
    };
    fan.tolerate > 0
        && fan.scripts.iter().any(|script| {
            let item = step.item(script);
            come_of(&item) == End::Doubtful && undo_may_park(&item)
        })
}

/// As [`come_of`], where nothing is taken back any more: an item in doubt is for a person, tolerated or not.
fn come_of_after_the_pivot(step: &StepPlan) -> End {
    match &step.fan {
        Some(fan) if step.wanted => {
            let doubtful = |script: &Script| come_of(&step.item(script)) == End::Doubtful;
            match fan.scripts.iter().any(doubtful) {
                true => End::Doubtful,
                false => come_of(step),
            }
        }
        _ => come_of(step),
    }
}

fn undo_may_park(step: &StepPlan) -> bool {
    if let Some(fan) = &step.fan {
        let may = |script: &Script| undo_may_park(&step.item(script));
        return fan.scripts.iter().any(may);
    }
    if let Some(within) = &step.within {
        let mut steps = within.steps.iter();
        return steps.any(|step| step.wanted && undo_may_park(step));
    }
    let Some(kind) = step.kind.filter(|kind| kind.effect != Effect::None) else {
        return false;
    };
    if step.undo_when == UndoWhen::Input(false) {
        return false;
    }
    match step.undo {
        UndoSaid::None => false,
        UndoSaid::Own if !kind.undo => true,
        UndoSaid::Own | UndoSaid::Task => {
            let succeeds =
                |attempt: u32| step.script.play(Direction::Undo, attempt) == Play::Succeed;
            let first = (1..=UNDOS).find(|attempt| succeeds(*attempt));
            let refused = (1..=first.unwrap_or(UNDOS))
                .any(|attempt| step.script.play(Direction::Undo, attempt) == Play::FailFinal);
            let unknown = |attempt: u32| {
                use Play::{FailFinal, FailRetryable, Succeed};
                let play = step.script.play(Direction::Undo, attempt);
                !matches!(play, Succeed | FailRetryable | FailFinal)
            };
            let doubted = step.undo_once && (1..=first.unwrap_or(UNDOS)).any(unknown);
            first.is_none() || refused || doubted
        }
    }
}

/// Whether it breaks the promise that what a step did was left, or was taken back, by what its `undo: { when: … }` comes to. What it returned counts only where one run alone has acted.
#[must_use]
pub fn wrong_of_undo(step: &StepPlan, left: bool, acts: u32, undone: bool) -> Option<&'static str> {
    match step.undo_when {
        UndoWhen::Always if left => Some("was left, and nothing says that it may be"),
        UndoWhen::Input(true) if left => Some("was left, and the input says that it must not be"),
        UndoWhen::Returned if left && acts > 1 => {
            Some("was left on the word of one of several that have acted")
        }
        UndoWhen::Input(false) if undone => {
            Some("was taken back, and the input says that it must not be")
        }
        UndoWhen::Always | UndoWhen::Input(_) | UndoWhen::Returned | UndoWhen::Written => None,
    }
}

fn come_of(step: &StepPlan) -> End {
    if let (Some(fan), true) = (&step.fan, step.wanted) {
        // of sagas for each of a list the first alone is in trouble, unless what turns all back lies within each
        let in_each = |script: &Script| script.forward == [Play::FailFinal];
        let one = step.within.is_some() && !fan.scripts.iter().all(in_each);
        let most = if one { 1 } else { usize::MAX };
        let scripts = || fan.scripts.iter().take(most);
        let is = |end: End| scripts().any(|script| come_of(&step.item(script)) == end);
        if let Some(end) = [End::Open, End::Waits].into_iter().find(|end| is(*end)) {
            return end;
        }
        let fails = |script: &&Script| come_of(&step.item(script)) != End::Done;
        let failed = scripts().filter(fails).count();
        return match failed <= fan.tolerate as usize {
            true => End::Done,
            false => End::Failed,
        };
    }
    if let (Some(within), true) = (&step.within, step.wanted) {
        return come_of_a_saga(within);
    }
    match step.kind {
        Some(kind) if step.wanted => tries(step, kind),
        None if step.wanted && in_vain(step.idle) => End::Failed,
        Some(_) | None => End::Done,
    }
}

/// What a step comes to that is a saga.
fn come_of_a_saga(plan: &SagaPlan) -> End {
    let all = foretell(plan);
    let mut all = all.into_iter();
    match (all.next(), all.next()) {
        (Some(Status::Completed), None) => End::Done,
        (Some(Status::Compensated), None) => End::Failed,
        (Some(Status::Parked), None) => End::Waits,
        _ => End::Open,
    }
}

/// Whether what a step waits for does not come, or is a no.
const fn in_vain(idle: Idle) -> bool {
    match idle {
        Idle::Sleep | Idle::Emit | Idle::Child => false,
        Idle::Wait { comes, since, .. } => match comes {
            Comes::Before => !since,
            Comes::After(_) => false,
            Comes::Never => true,
        },
        Idle::Approve {
            decides, goes_on, ..
        } => match decides {
            Decides::Yes => false,
            Decides::No => !goes_on,
            Decides::Never => true,
        },
    }
}

fn tries(step: &StepPlan, kind: &Kind) -> End {
    let only_looks = kind.effect == Effect::None;
    let (mut attempt, mut doubt, mut stands, mut probes) = (0, false, false, 0);
    loop {
        attempt += 1;
        let left = attempt < step.attempts;
        let play = step.script.play(Direction::Do, attempt);
        stands |= play.acts() && !only_looks;
        let again = match play {
            Play::Succeed => return End::Done,
            Play::FailRetryable if left => continue,
            Play::FailRetryable | Play::FailFinal => false,
            Play::UnknownActed
            | Play::UnknownIdle
            | Play::HangActed
            | Play::HangIdle
            | Play::DieActed
            | Play::DieIdle => {
                doubt |= !only_looks;
                true
            }
        };
        if !doubt {
            if again && left {
                continue;
            }
            return End::Failed;
        }
        match ask(step, kind, stands, &mut probes) {
            Some(true) => return End::Done,
            Some(false) => {
                doubt = false;
                if !left {
                    return End::Failed;
                }
            }
            None if kind.idempotent && left => {}
            None => return End::Doubtful,
        }
    }
}

/// What a probe finds out; none: nobody can tell.
fn ask(step: &StepPlan, kind: &Kind, stands: bool, probes: &mut u32) -> Option<bool> {
    if !kind.probe {
        return None;
    }
    let earlier = *probes;
    loop {
        *probes += 1;
        match step.script.play(Direction::Probe, *probes) {
            Play::Succeed => return Some(stands),
            Play::UnknownActed | Play::UnknownIdle | Play::FailFinal => return None,
            Play::FailRetryable
            | Play::HangActed
            | Play::HangIdle
            | Play::DieActed
            | Play::DieIdle => {
                if *probes - earlier >= PROBES {
                    return None;
                }
            }
        }
    }
}
