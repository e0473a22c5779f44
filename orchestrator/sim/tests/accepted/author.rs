//! Whoever writes the sagas of this law: conditions over the input that hold and that do not, probes by the step's own type and by another, undos by other tasks of which a second
//! run does harm and does none, pivots that are sent and skipped, events. Every other saga has one mistake that the checker is there for; the rest of each is written as it has to
//! be. Whether it is right the checker alone decides.

use std::fmt::Write as _;

use baton_messages::Effect;
use baton_sim::plan::{KINDS, Kind};
use baton_sim::rng::Rng;

/// The most steps of a saga, beside those of its mistake: more shapes come from more sagas.
const STEPS_MAX: u64 = 4;

/// Conditions of steps: one of them holds, whatever the input is.
const IFS: [&str; 2] = ["${ input.go }", "${ !input.go }"];
/// Why something stays, as the author of every drawn saga writes it.
pub(crate) const BECAUSE: &str = "it stays";

/// A mistake each, with the pivot it brings; what follows it is written as it has to be.
const SLIPS: [(&str, Option<Gate>); 9] = [
    // nothing takes it back
    ("  - { id: slip, task: sim.stuck@1, with: {} }\n", None),
    // nothing could
    ("  - { id: slip, task: sim.send@1, with: {} }\n", None),
    // neither of these runs only where the pivot was sent
    (
        "  - { id: gate, if: \"${ input.go }\", task: sim.set@1, with: {}, pivot: true }\n  - { id: slip, task: sim.send@1, with: {} }\n",
        Some(Gate::when(IFS[0])),
    ),
    (
        "  - { id: gate, if: \"${ input.go }\", task: sim.set@1, with: {}, pivot: true }\n  - { id: slip, if: \"${ !input.go }\", task: sim.stuck@1, with: {} }\n",
        Some(Gate::when(IFS[0])),
    ),
    // what takes it back changes nothing
    (
        "  - { id: slip, task: sim.set@1, with: {}, undo: { task: sim.look@1, with: {} } }\n",
        None,
    ),
    // a second run of what takes it back may do harm, and nobody says what then
    (
        "  - { id: slip, task: sim.set@1, with: {}, undo: { task: sim.add-blind@1, with: {} } }\n",
        None,
    ),
    // what is to find out cannot
    (
        "  - { id: slip, task: sim.add-blind@1, with: {}, probe: { task: sim.set-blind@1, with: {} }, on_error: park }\n",
        None,
    ),
    // nobody finds out whether the pivot happened, and nobody says what then
    (
        "  - { id: slip, task: sim.add-blind@1, with: {}, pivot: true }\n",
        Some(Gate::ALWAYS),
    ),
    // it is said, and all may be taken back afterwards
    ("  - { id: slip, emit: { type: sim.said } }\n", None),
];

/// A pivot, for what is written after it.
#[derive(Debug, Clone, Copy)]
struct Gate {
    condition: Option<&'static str>,
    /// Whether the saga goes on where it fails, before it was sent as well.
    tolerated: bool,
}

impl Gate {
    const ALWAYS: Self = Self {
        condition: None,
        tolerated: false,
    };

    const fn when(condition: &'static str) -> Self {
        Self {
            condition: Some(condition),
            tolerated: false,
        }
    }

    /// Whether a step after it runs only where it was sent.
    fn binds(self, condition: Option<&str>) -> bool {
        !self.tolerated && self.condition.is_none_or(|own| condition == Some(own))
    }
}

/// How many mistakes there are.
pub(crate) const SLIPS_ALL: usize = SLIPS.len();

/// Where a step stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    n: u64,
    pivot: bool,
    /// Whether it waits for nothing.
    forks: bool,
    /// Whether it comes after all others.
    last: bool,
}

/// The mistake of a saga: every other one has one, each in turn.
pub(crate) fn slip_of(seed: u64) -> Option<usize> {
    let turn = usize::try_from(seed / 2).unwrap_or(0);
    (seed % 2 == 1).then_some(turn % SLIPS_ALL)
}

/// A saga as somebody writes it.
pub(crate) fn written(seed: u64) -> String {
    let mut rng = Rng::new(seed);
    let mut yaml = format!(
        "saga: written-{seed}\nversion: 1\ninput: {{ type: object, required: [go], properties: {{ go: {{ type: boolean }} }} }}\nsteps:\n"
    );
    let mut gate = None;
    if let Some((text, pivot)) = slip_of(seed).and_then(|slip| SLIPS.get(slip)) {
        yaml.push_str(text);
        gate = *pivot;
    }
    let count = rng.range(2, STEPS_MAX);
    let pivot_at = (gate.is_none() && rng.per_mille(600)).then(|| rng.below(count));
    // what comes after the pivot in the document waits for it
    let forked = gate.is_none() && pivot_at.is_none_or(|at| at > 1) && rng.per_mille(300);
    for n in 0..count {
        let place = Place {
            n,
            pivot: pivot_at == Some(n),
            forks: forked && n == 1,
            last: !forked && n + 1 == count,
        };
        let said = step(&mut rng, place, &mut gate);
        let _ = writeln!(yaml, "  - {{ {} }}", said.join(", "));
    }
    yaml
}

/// One step, as it has to be written where it stands.
fn step(rng: &mut Rng, place: Place, gate: &mut Option<Gate>) -> Vec<String> {
    let n = place.n;
    let condition = condition(rng, *gate);
    let bound = gate.is_some_and(|gate| gate.binds(condition));
    let mut said = vec![format!("id: s{n}")];
    said.extend(place.forks.then(|| "after: []".to_owned()));
    said.extend(condition.map(|of| format!("if: \"{of}\"")));
    if !place.pivot && rng.per_mille(if place.last { 350 } else { 200 }) {
        said.push("emit: { type: sim.said }".to_owned());
        if !bound && (!place.last || rng.per_mille(300)) {
            said.push(format!("because: {BECAUSE}"));
        }
        return said;
    }
    let kinds: Vec<&Kind> = KINDS.iter().filter(|kind| !kind.far).collect();
    let kind = kinds[rng.index(kinds.len())];
    said.push(format!("task: {}, with: {{ step: s{n} }}", kind.name));
    let changes = kind.effect != Effect::None;
    if changes && !place.pivot && !bound {
        said.extend(undo(rng, kind));
    }
    let probe = if changes { probe(rng, kind) } else { None };
    said.extend(probe.map(|by| format!("probe: {{ task: {by}, with: {{ step: s{n} }} }}")));
    let found_out = kind.idempotent || kind.probe || probe.is_some();
    let on_error = on_error(rng, found_out, place.pivot || bound);
    said.extend(on_error.map(|word| format!("on_error: {word}")));
    if rng.per_mille(300) {
        said.push(format!("retry: {{ attempts: {} }}", rng.range(1, 3)));
    }
    if place.pivot {
        said.push("pivot: true".to_owned());
        *gate = Some(Gate {
            condition,
            tolerated: on_error == Some("continue"),
        });
    }
    said
}

/// When a step runs: after a pivot that may be skipped as often as not where that was sent.
fn condition(rng: &mut Rng, gate: Option<Gate>) -> Option<&'static str> {
    match gate.and_then(|gate| gate.condition) {
        Some(same) if rng.per_mille(500) => Some(same),
        _ => rng.pick(&[None, None, Some(IFS[0]), Some(IFS[1])], None),
    }
}

/// How a step is taken back that may have to be; none: by its own automation.
fn undo(rng: &mut Rng, kind: &Kind) -> Option<String> {
    if kind.undo && rng.per_mille(500) {
        return None;
    }
    if rng.per_mille(250) {
        return Some(format!("undo: none, because: {BECAUSE}"));
    }
    let tasks = [
        ("sim.set@1", ""),
        ("sim.set@1", ", idempotent: true"),
        ("sim.set@1", ", idempotent: false"),
        // the checker only warns: what has a probe may have been made so that a second run does no harm
        ("sim.add@1", ""),
        ("sim.add@1", ", idempotent: true"),
        ("sim.add-blind@1", ", idempotent: true"),
        ("sim.add-blind@1", ", idempotent: false"),
    ];
    let (task, word) = rng.pick(&tasks, tasks[0]);
    Some(format!("undo: {{ task: {task}, with: {{}}{word} }}"))
}

/// Who is named to find out whether a step happened.
fn probe(rng: &mut Rng, kind: &Kind) -> Option<&'static str> {
    let own = if kind.probe { kind.name } else { "sim.set@1" };
    rng.pick(&[None, None, Some(own), Some("sim.add@1")], None)
}

/// What is said of a failure; where nobody finds out whether it happened, what has to be.
fn on_error(rng: &mut Rng, found_out: bool, forward: bool) -> Option<&'static str> {
    let (back, park, on) = (Some("compensate"), Some("park"), Some("continue"));
    match (found_out, forward) {
        (true, _) => rng.pick(&[None, None, None, back, park, on], None),
        (false, false) => rng.pick(&[back, park, on], park),
        (false, true) => rng.pick(&[park, on], park),
    }
}
