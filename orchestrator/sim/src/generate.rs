//! Sagas drawn from chance: every shape the engine knows today, and scripts that go wrong in every way an automation can.

use std::fmt::Write as _;

use baton_messages::{Effect, SagaId, StepId};

use crate::mood::Mood;
use crate::plan::{
    Comes, Decides, FanPlan, Idle, KINDS, Kind, Matter, OnError, Play, SagaPlan, Script, StepPlan,
    UndoSaid, UndoWhen,
};
use crate::rng::Rng;

/// The most steps of a drawn saga: more shapes come from more seeds, not from larger sagas.
const STEPS_MAX: u64 = 7;

/// Draws a saga.
pub fn saga(rng: &mut Rng, mood: &Mood, number: u64, tasks_only: bool) -> SagaPlan {
    let count = rng.range(1, STEPS_MAX);
    let pivot_at = if rng.per_mille(350) {
        rng.below(count)
    } else {
        u64::MAX
    };
    // Most sagas are tasks for the most part; some wait a good deal.
    let idles = (!tasks_only).then(|| rng.pick(&[100, 100, 350], 100));
    let mut steps: Vec<StepPlan> = Vec::new();
    for n in 0..count {
        if let Some(step) = step(rng, mood, n, (pivot_at, idles), &steps) {
            steps.push(step);
        }
    }
    let deadline_ms = (!mood.quiet && rng.per_mille(150)).then(|| rng.range(5_000, 120_000));
    let name = format!("gen-{number}");
    let yaml = document(rng, &name, &steps, deadline_ms, mood.quiet);
    SagaPlan {
        id: SagaId(rng.uuid()),
        name,
        yaml,
        steps,
        deadline_ms,
    }
}

fn step(
    rng: &mut Rng,
    mood: &Mood,
    n: u64,
    (pivot_at, idles): (u64, Option<u64>),
    before: &[StepPlan],
) -> Option<StepPlan> {
    let pivot = n == pivot_at;
    let idle = |rng: &mut Rng| idles.map_or(Idle::Sleep, |_| idle(rng, mood));
    let idles = !pivot && rng.per_mille(idles.unwrap_or(100));
    let idle = if idles { idle(rng) } else { Idle::Sleep };
    let kind = (!idles)
        .then(|| task_kind(rng, mood, pivot, n > pivot_at && pivot_at != u64::MAX))
        .flatten();
    let after = after(rng, before.len(), n > pivot_at, pivot_at);
    let undo = match kind {
        Some(kind) if kind.effect == Effect::Irreversible => UndoSaid::None,
        Some(kind) if kind.effect == Effect::Reversible && rng.per_mille(40) => UndoSaid::None,
        Some(kind)
            if kind.matter == Matter::Keyed
                && !kind.far
                && (kind.name == "sim.stuck@1" && rng.per_mille(700) || rng.per_mille(100)) =>
        {
            UndoSaid::Task
        }
        _ => UndoSaid::Own,
    };
    let (wanted, sleep_ms) = (rng.per_mille(900), rng.range(100, 20_000));
    let on_error = match idle {
        Idle::Wait { .. } | Idle::Approve { .. } => after_in_vain(rng, idle),
        Idle::Sleep | Idle::Emit | Idle::Child => on_error(rng),
    };
    let attempts = u32::try_from(rng.range(1, 4)).unwrap_or(1);
    let fan = kind
        .filter(|_| !pivot && rng.per_mille(180))
        .map(|_| fan(rng, mood));
    let on_error = match (&fan, on_error) {
        // said by `tolerate` there
        (Some(_), OnError::Continue) => OnError::Compensate,
        (_, on_error) => on_error,
    };
    Some(StepPlan {
        id: StepId::new(&format!("s{n}")).ok()?,
        kind,
        idle,
        after,
        wanted,
        sleep_ms,
        pivot,
        on_error,
        attempts,
        queue_ms: if mood.quiet {
            600_000
        } else {
            rng.pick(&[60_000_u64, 600_000, 7_200_000], 600_000)
        },
        undo,
        undo_when: undo_when(kind, undo, sleep_ms),
        undo_once: false,
        script: script(rng, mood),
        fan,
        within: None,
    })
}

/// Whether the undo of a task asks first. Told by what was drawn for a sleep it does not have, so that every other world stays as it was.
fn undo_when(kind: Option<&Kind>, undo: UndoSaid, chance: u64) -> UndoWhen {
    let is_undone = kind.is_some_and(|kind| kind.effect == Effect::Reversible);
    if !is_undone || undo == UndoSaid::None {
        return UndoWhen::Always;
    }
    match chance % 25 {
        0 => UndoWhen::Input(false),
        1 => UndoWhen::Input(true),
        2 => UndoWhen::Returned,
        _ => UndoWhen::Always,
    }
}

/// A few items, some windows of them, and more or fewer that may fail.
fn fan(rng: &mut Rng, mood: &Mood) -> FanPlan {
    let items = rng.below(7);
    FanPlan {
        scripts: (0..items).map(|_| script(rng, mood)).collect(),
        parallel: u32::try_from(rng.range(1, 4)).unwrap_or(1),
        tolerate: u32::try_from(rng.pick(&[0_u64, 0, 1, 2, 6], 0)).unwrap_or(0),
    }
}

fn on_error(rng: &mut Rng) -> OnError {
    rng.pick(
        &[
            OnError::Compensate,
            OnError::Compensate,
            OnError::Compensate,
            OnError::Compensate,
            OnError::Park,
            OnError::Continue,
        ],
        OnError::Compensate,
    )
}

/// What a step without a task does. Where nothing goes wrong an event or a decision comes long before the time is over; elsewhere the time
/// is over only after the trouble, so that what came in time was there to be found.
fn idle(rng: &mut Rng, mood: &Mood) -> Idle {
    let timeout_ms = if mood.quiet {
        120_000
    } else {
        rng.range(450_000, 900_000)
    };
    match rng.below(10) {
        0 | 1 => Idle::Sleep,
        2..=5 => {
            let late = rng.range(1, 40_000);
            let choices = [
                Comes::After(late),
                Comes::After(late),
                Comes::After(late / 20 + 1),
                Comes::Before,
                Comes::Never,
            ];
            Idle::Wait {
                comes: rng.pick(&choices, Comes::Never),
                since: rng.per_mille(500),
                prefix: rng.per_mille(300),
                timeout_ms,
            }
        }
        6..=7 => Idle::Approve {
            decides: rng.pick(
                &[Decides::Yes, Decides::Yes, Decides::No, Decides::Never],
                Decides::Yes,
            ),
            goes_on: rng.per_mille(300),
            on_timeout: on_error(rng),
            timeout_ms,
        },
        _ => Idle::Emit,
    }
}

fn after_in_vain(rng: &mut Rng, idle: Idle) -> OnError {
    match idle {
        Idle::Approve {
            decides: Decides::Never,
            on_timeout,
            ..
        } => on_timeout,
        Idle::Wait { .. } => on_error(rng),
        Idle::Approve { .. } | Idle::Sleep | Idle::Emit | Idle::Child => OnError::Compensate,
    }
}

fn task_kind(rng: &mut Rng, mood: &Mood, pivot: bool, past_pivot: bool) -> Option<&'static Kind> {
    let kinds: Vec<&Kind> = KINDS
        .iter()
        .filter(|kind| mood.clock_steps_ms == u64::MAX || kind.is_claimed())
        .collect();
    if (pivot || past_pivot) && rng.per_mille(400) {
        return KINDS
            .iter()
            .find(|kind| kind.effect == Effect::Irreversible);
    }
    // Before a pivot an irreversible step is there only with `undo: none`; a few of them.
    let kind = *kinds.get(rng.index(kinds.len()))?;
    if kind.effect == Effect::Irreversible && !pivot && rng.per_mille(700) {
        kinds
            .into_iter()
            .find(|kind| kind.effect == Effect::Reversible)
    } else {
        Some(kind)
    }
}

/// What comes before a step. What comes after the pivot in the document depends on it.
fn after(rng: &mut Rng, before: usize, past_pivot: bool, pivot_at: u64) -> Vec<usize> {
    let pivot = usize::try_from(pivot_at)
        .ok()
        .filter(|at| past_pivot && *at < before);
    let mut all: Vec<usize> = match rng.below(4) {
        0 => Vec::new(),
        1 => before.checked_sub(1).into_iter().collect(),
        _ => (0..before).filter(|_| rng.per_mille(400)).collect(),
    };
    if let Some(pivot) = pivot
        && !all.iter().any(|at| *at >= pivot)
    {
        all.push(pivot);
    }
    all.sort_unstable();
    all
}

fn script(rng: &mut Rng, mood: &Mood) -> Script {
    Script {
        forward: plays(rng, mood, true),
        backward: plays(rng, mood, false),
        asking: plays(rng, mood, false),
    }
}

fn plays(rng: &mut Rng, mood: &Mood, forward: bool) -> Vec<Play> {
    let mut plays = Vec::new();
    while plays.len() < 6
        && rng.per_mille(if forward {
            mood.bad_outcome
        } else {
            mood.bad_outcome / 2
        })
    {
        let dies = mood.worker_dies_ms != u64::MAX;
        let play = rng.pick(
            &[
                Play::FailRetryable,
                Play::FailRetryable,
                Play::FailFinal,
                Play::UnknownActed,
                Play::UnknownIdle,
                Play::HangActed,
                Play::HangIdle,
                Play::DieActed,
                Play::DieIdle,
            ],
            Play::FailRetryable,
        );
        let play = match play {
            Play::DieActed if !dies => Play::UnknownActed,
            Play::DieIdle if !dies => Play::UnknownIdle,
            other => other,
        };
        // One that fails once goes on failing now and then, so that attempts run out.
        let times = if rng.per_mille(250) { 4 } else { 1 };
        plays.extend(std::iter::repeat_n(play, times));
    }
    plays.push(Play::Succeed);
    plays
}

fn document(
    rng: &mut Rng,
    name: &str,
    steps: &[StepPlan],
    deadline_ms: Option<u64>,
    quiet: bool,
) -> String {
    let mut yaml = format!("saga: {name}\nversion: 1\n");
    if let Some(ms) = deadline_ms {
        let _ = writeln!(yaml, "deadline: {ms}ms");
    }
    yaml.push_str("steps:\n");
    for step in steps {
        describe(rng, &mut yaml, step, steps, quiet);
    }
    yaml
}

fn describe_idle(yaml: &mut String, step: &StepPlan) {
    let word = |on: OnError| match on {
        OnError::Compensate => "fail",
        OnError::Park => "park",
        OnError::Continue => "continue",
    };
    let _ = match step.idle {
        // see `kin`
        Idle::Child => Ok(()),
        Idle::Sleep => writeln!(yaml, "    sleep: {}ms", step.sleep_ms),
        Idle::Wait {
            since,
            prefix,
            timeout_ms,
            ..
        } => writeln!(
            yaml,
            "    wait: {{ event: {}, when: \"${{ event.data.saga == input.saga && event.data.step == '{}' }}\", timeout: {timeout_ms}ms, on_timeout: {}{} }}",
            if prefix { "sim.*" } else { "sim.paid" },
            step.id,
            word(step.on_error),
            if since { ", since: 10m" } else { "" },
        ),
        Idle::Approve {
            goes_on,
            on_timeout,
            timeout_ms,
            ..
        } => writeln!(
            yaml,
            "    approve: {{ by: operator, timeout: {timeout_ms}ms, on_timeout: {}, on_reject: {} }}",
            word(on_timeout),
            if goes_on { "continue" } else { "fail" },
        ),
        Idle::Emit => writeln!(
            yaml,
            "    emit: {{ type: sim.said, subject: \"${{ input.saga }}\", data: {{ by: {} }} }}",
            step.id
        ),
    };
}

fn describe(rng: &mut Rng, yaml: &mut String, step: &StepPlan, steps: &[StepPlan], quiet: bool) {
    let ids: Vec<&str> = step
        .after
        .iter()
        .filter_map(|at| steps.get(*at))
        .map(|step| step.id.as_str())
        .collect();
    let _ = writeln!(yaml, "  - id: {}\n    after: [{}]", step.id, ids.join(", "));
    if !step.wanted {
        yaml.push_str("    if: ${ input.never }\n");
    }
    let Some(kind) = step.kind else {
        describe_idle(yaml, step);
        return;
    };
    let _ = writeln!(yaml, "    task: {}", kind.name);
    if kind.far {
        yaml.push_str("    pool: far\n");
    }
    if let Some(fan) = &step.fan {
        let items: Vec<String> = (0..fan.scripts.len()).map(|n| n.to_string()).collect();
        let _ = writeln!(
            yaml,
            "    for_each: [{}]\n    max_parallel: {}\n    tolerate: {}",
            items.join(", "),
            fan.parallel,
            fan.tolerate
        );
    }
    let with = ids.first().map_or_else(
        || format!("{{ step: {} }}", step.id),
        |id| format!("{{ step: {}, before: \"${{ {id} }}\" }}", step.id),
    );
    let _ = writeln!(yaml, "    with: {with}");
    let _ = writeln!(
        yaml,
        "    timeout: {}ms",
        if quiet {
            10_000
        } else {
            rng.pick(&[2_000_u64, 8_000, 20_000], 8_000)
        }
    );
    let _ = writeln!(yaml, "    queue_timeout: {}ms", step.queue_ms);
    let _ = writeln!(yaml, "    heartbeat: {}s", rng.pick(&[12_u64, 30], 30));
    let _ = writeln!(
        yaml,
        "    retry: {{ attempts: {}, backoff: {}ms, max: 20s }}",
        step.attempts,
        rng.range(50, 3_000)
    );
    describe_undo(yaml, step);
    if step.pivot {
        yaml.push_str("    pivot: true\n");
    }
    match step.on_error {
        OnError::Compensate => {}
        OnError::Park => yaml.push_str("    on_error: park\n"),
        OnError::Continue => yaml.push_str("    on_error: continue\n"),
    }
}

fn describe_undo(yaml: &mut String, step: &StepPlan) {
    let when = match step.undo_when {
        UndoWhen::Always | UndoWhen::Written => None,
        UndoWhen::Input(true) => Some("!input.never".to_owned()),
        UndoWhen::Input(false) => Some("input.never".to_owned()),
        UndoWhen::Returned => Some(format!("{}.n < 0", step.id)),
    };
    let when = when.map(|when| format!("when: \"${{ {when} }}\""));
    let task = (step.undo == UndoSaid::Task)
        .then(|| format!("task: sim.set@1, with: {{ step: {} }}", step.id));
    if step.undo == UndoSaid::None {
        yaml.push_str("    undo: none\n    because: it stays\n");
        return;
    }
    let said: Vec<String> = when.into_iter().chain(task).collect();
    if !said.is_empty() {
        let _ = writeln!(yaml, "    undo: {{ {} }}", said.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undos_that_ask_first_are_drawn_and_are_read_as_they_are_meant() {
        let mut asks = [0_usize; 3];
        for number in 0..400 {
            let mood = Mood::peaceful();
            let plan = saga(&mut Rng::new(number), &mood, number, true);
            let definition = baton_engine::Definition::parse(&plan.yaml).unwrap();
            for step in &plan.steps {
                let read = definition.step(&step.id).unwrap().task();
                let read = read.and_then(|task| task.undo_when.as_ref());
                assert_eq!(read.is_some(), step.undo_when != UndoWhen::Always);
                match step.undo_when {
                    UndoWhen::Input(false) => asks[0] += 1,
                    UndoWhen::Input(true) => asks[1] += 1,
                    UndoWhen::Returned => asks[2] += 1,
                    UndoWhen::Always | UndoWhen::Written => {}
                }
            }
        }
        assert!(asks.iter().all(|times| *times > 3), "{asks:?}");
    }
}
