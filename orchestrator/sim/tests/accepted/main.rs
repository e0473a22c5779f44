//! What the checker accepts can be played as it says. Sagas are drawn as somebody writes them (`author.rs`), and each is checked against the types of the simulated fleet. Of each
//! that is accepted its plan leaves nothing to a person that its author has not written, every probe is asked, and whatever befalls one of its steps it ends completed, compensated,
//! or parked with a named task that its author had to reckon with: never with an effect that nothing takes back.
//!
//! What persons do by hand is left out, and so is a type that nobody has announced, of which the checker only warns. The draws have nothing in common with those of
//! `baton_sim::generate`, whose sagas are played unchecked in `laws.rs`. `BATON_LONG` draws many more. A failure says the number of its saga, its document, and the seed by which
//! `Sweep::again` plays it.
#![expect(clippy::unwrap_used, reason = "a test may fail so")]

mod author;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use baton_engine::definition::{OnError, StepKind, TaskStep, Unannounced, UndoPlan, check};
use baton_engine::plan::{Fails, How, Undo, plan};
use baton_engine::{Catalogue, Definition, Status, WorkItemKind};
use baton_messages::{Effect, TaskType};
use baton_sim::plan::KINDS;
use baton_sim::sweep::{Asked, Cell, Given, Sweep, Trouble, Way};
use serde_json::json;

use author::{BECAUSE, SLIPS_ALL, slip_of, written};

/// Drawn sagas of an ordinary run, and of a long one: half of them are played, in less than ten seconds of two cores, and in some minutes.
const DRAWN: u64 = 64;
const DRAWN_LONG: u64 = 1_200;
/// Plays of each cell: one quietly, one with messages doubled and reordered; more of them in a long run.
const PLAYS: u64 = 2;
const PLAYS_LONG: u64 = 6;
/// What befalls each step, each way it can.
const TROUBLES: [Trouble; 9] = [
    Trouble::Fails,
    Trouble::Unsure,
    Trouble::Hangs,
    Trouble::HangsDone,
    Trouble::DiesBefore,
    Trouble::DiesDuring,
    Trouble::DiesAfter,
    Trouble::SaidLate,
    Trouble::Cancelled,
];

/// The ways a saga may end.
const ENDS: [&str; 3] = ["completed", "compensated", "parked"];
/// What has to be among what is accepted, so that this law is about it.
const SAYS: [&str; 13] = [
    "event with because",
    "event without because",
    "irreversible",
    "on_error: compensate",
    "on_error: continue",
    "on_error: park",
    "pivot that is sent and skipped",
    "probe by another type",
    "probe by its own type",
    "undo by another task",
    "undo: idempotent",
    "undo: none",
    "undo: not idempotent",
];

fn long() -> bool {
    std::env::var_os("BATON_LONG").is_some()
}

fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    for kind in &KINDS {
        let manifest = kind.manifest(TaskType::new(kind.name).unwrap());
        catalogue.announce(manifest).unwrap();
    }
    catalogue
}

/// What came of one saga.
#[derive(Debug, Default)]
struct Came {
    /// Its mistake, where it was refused and has one.
    slip: Option<usize>,
    refused: bool,
    says: BTreeSet<&'static str>,
    ends: BTreeSet<&'static str>,
    wrong: Option<String>,
}

fn come_of(seed: u64, catalogue: &Catalogue) -> Came {
    let yaml = written(seed);
    // what is refused is refused for what it says, not for how that is written
    let definition = Definition::parse(&yaml);
    let definition = definition.unwrap_or_else(|wrong| panic!("{wrong:?}\n{yaml}"));
    let checked = check(&yaml, catalogue, Unannounced::RefusedWhenNear);
    if !checked.errors.is_empty() {
        return Came {
            slip: slip_of(seed),
            refused: true,
            ..Came::default()
        };
    }
    let sweep = Sweep::new(definition, catalogue, &Given::default()).unwrap();
    let mut wrong = wrong_of_plan(sweep.definition(), catalogue);
    wrong.extend(unasked(&sweep));
    let whole = sweep.undisturbed();
    if whole.status != Status::Completed || whole.broken.is_some() {
        let end = whole.status.as_str();
        wrong.push(format!("undisturbed it is {end}: {:?}", whole.broken));
    }
    let mut ends = BTreeSet::new();
    let plays = if long() { PLAYS_LONG } else { PLAYS };
    for (row, trouble) in sweep.cells() {
        if TROUBLES.contains(&trouble) {
            let cell = sweep.cell(row, trouble, plays);
            wrong.extend(wrong_of_cell(&sweep, catalogue, &cell));
            ends.extend(cell.ends());
        }
    }
    let told = || format!("written {seed}\n{yaml}{}", wrong.join("\n"));
    Came {
        slip: None,
        refused: false,
        says: says(&sweep, catalogue),
        ends,
        wrong: (!wrong.is_empty()).then(told),
    }
}

/// Undos of a plan that are neither written nor brought by a type, whatever is known of the input.
fn wrong_of_plan(definition: &Definition, catalogue: &Catalogue) -> Vec<String> {
    let mut wrong = Vec::new();
    let inputs = [None, Some(true), Some(false)];
    for input in inputs.map(|go| go.map(|go| json!({ "go": go }))) {
        for step in plan(definition, catalogue, input.as_ref()).steps {
            let Fails::Unwinds { in_doubt, undo, .. } = &step.fails else {
                continue;
            };
            let all = in_doubt.iter().chain(undo.iter().flatten());
            let left = all.filter(|undo| !is_written(undo, catalogue));
            let id = &step.id;
            wrong.extend(left.map(|undo| format!("by its plan, when {id} fails: {undo:?}")));
        }
    }
    wrong
}

fn is_written(undo: &Undo, catalogue: &Catalogue) -> bool {
    match &undo.how {
        How::Own { .. } => true,
        How::Task { task } => {
            let known = catalogue.get(task);
            known.is_some_and(|known| known.manifest.effect != Effect::None)
        }
        How::NotUndone { because } => because == BECAUSE,
        How::Saga { .. } | How::ByHand | How::Unknown => false,
    }
}

/// Probes that are written and that nobody ever asks.
fn unasked(sweep: &Sweep) -> Vec<String> {
    let asked = |id: &str| {
        let mut rows = sweep.rows().iter().filter(|row| row.way == Way::Probe);
        rows.any(|row| row.step.as_ref().is_some_and(|at| at.to_string() == id))
    };
    let steps = sweep.definition().steps.iter();
    let probed = steps.filter(|step| step.task().is_some_and(|task| task.probe.is_some()));
    let left = probed.filter(|step| !asked(step.id.as_str()));
    left.map(|step| format!("the probe of {} is never asked", step.id))
        .collect()
}

/// How a saga ended otherwise than it may, and what a person is asked that its author did not have to reckon with.
fn wrong_of_cell(sweep: &Sweep, catalogue: &Catalogue, cell: &Cell) -> Vec<String> {
    let row = &sweep.rows()[cell.row];
    let step = row.step.as_ref().map(ToString::to_string);
    let what = format!("{:?} of {step:?}, {:?}", row.way, cell.trouble);
    let mut wrong: Vec<String> = Vec::new();
    if let Some(broken) = &cell.broken {
        wrong.push(format!("--seed {}: {what}: {}", broken.seed, broken.what));
    }
    let odd = cell.ends().filter(|end| !ENDS.contains(end));
    wrong.extend(odd.map(|end| format!("--seed {}: {what}: it is {end}", cell.seed)));
    if cell.parked() && cell.asked.is_empty() {
        wrong.push(format!("--seed {}: {what}: nobody is asked", cell.seed));
    }
    let fails_back = row.way == Way::Undo && cell.trouble == Trouble::Fails;
    for (seed, asked) in &cell.asked {
        let named = !asked.owner.is_empty() && !asked.choices.is_empty();
        if !named || !is_foreseen(sweep.definition(), catalogue, fails_back, asked) {
            wrong.push(format!("--seed {seed}: {what}: {asked:?}"));
        }
    }
    wrong
}

/// Whether the author of a saga had to reckon with that; `fails_back`: an undo was made to fail for good.
fn is_foreseen(
    definition: &Definition,
    catalogue: &Catalogue,
    fails_back: bool,
    asked: &Asked,
) -> bool {
    let mut steps = definition.steps.iter();
    let step = steps.find(|step| asked.step.as_deref() == Some(step.id.as_str()));
    let Some((step, task)) = step.and_then(|step| Some((step, step.task()?))) else {
        return false;
    };
    let manifest = |of: &TaskType| catalogue.get(of).map(|known| &known.manifest);
    let parks = step.on_error == OnError::Park;
    match asked.kind {
        // from the pivot on nothing is taken back
        WorkItemKind::StepFailed => parks || definition.pivot().is_some(),
        WorkItemKind::StepDoubtful => {
            let own = manifest(&task.task_type);
            let found_out = own.is_some_and(|own| own.idempotent || own.probe);
            let open = !definition.only_forward(step);
            parks || open || found_out || task.probe.is_some()
        }
        WorkItemKind::UndoFailed => {
            let once = match &task.undo {
                UndoPlan::Task(undo) => undo.idempotent.map_or_else(
                    || manifest(&undo.task_type).is_some_and(|own| own.probe),
                    |idempotent| !idempotent,
                ),
                UndoPlan::Own | UndoPlan::None { .. } => false,
            };
            fails_back || once
        }
        // what comes late is nobody's word
        WorkItemKind::LateEvidence => true,
        WorkItemKind::UndoMissing
        | WorkItemKind::CancelAfterPivot
        | WorkItemKind::DeadlineAfterPivot
        | WorkItemKind::Approval
        | WorkItemKind::HeldBack
        | WorkItemKind::Broken => false,
    }
}

/// What of [`SAYS`] a saga has.
fn says(sweep: &Sweep, catalogue: &Catalogue) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut pivots = sweep.conditional_pivots();
    found.extend(
        pivots
            .any(|(_, sent, skipped)| sent && skipped)
            .then_some("pivot that is sent and skipped"),
    );
    for step in &sweep.definition().steps {
        found.insert(match step.on_error {
            OnError::Compensate => "on_error: compensate",
            OnError::Park => "on_error: park",
            OnError::Continue => "on_error: continue",
        });
        match &step.kind {
            StepKind::Emit(emit) if emit.because.is_some() => found.extend(["event with because"]),
            StepKind::Emit(_) => found.extend(["event without because"]),
            StepKind::Task(task) => found.extend(said_of(task, catalogue)),
            _ => {}
        }
    }
    found
}

fn said_of(task: &TaskStep, catalogue: &Catalogue) -> impl Iterator<Item = &'static str> {
    let known = catalogue.get(&task.task_type);
    let effect = known.map(|known| known.manifest.effect);
    let probe = task.probe.as_ref().map(|probe| &probe.task_type);
    let probe = probe.map(|by| match *by == task.task_type {
        true => "probe by its own type",
        false => "probe by another type",
    });
    let undo = match &task.undo {
        UndoPlan::Own => None,
        UndoPlan::None { .. } => Some("undo: none"),
        UndoPlan::Task(undo) => Some(match undo.idempotent {
            None => "undo by another task",
            Some(true) => "undo: idempotent",
            Some(false) => "undo: not idempotent",
        }),
    };
    let irreversible = (effect == Some(Effect::Irreversible)).then_some("irreversible");
    [probe, undo, irreversible].into_iter().flatten()
}

/// Every saga, on as many threads as there are processors.
fn all(count: u64) -> Vec<Came> {
    let (catalogue, next) = (catalogue(), AtomicU64::new(0));
    let work = || {
        let mut mine = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= count {
                return mine;
            }
            mine.push(come_of(seed, &catalogue));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let shares: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let shares = shares.into_iter();
        shares.flat_map(|share| share.join().unwrap()).collect()
    })
}

#[test]
fn what_is_accepted_asks_nobody_for_what_its_author_has_not_written() {
    let all = all(if long() { DRAWN_LONG } else { DRAWN });
    let wrong: Vec<&str> = all
        .iter()
        .filter_map(|came| came.wrong.as_deref())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let refused = all.iter().filter(|came| came.refused).count();
    let accepted = all.len() - refused;
    let enough = accepted * 3 >= all.len() && refused * 10 >= all.len();
    assert!(enough, "{accepted} are accepted, and {refused} refused");
    let slips: BTreeSet<usize> = all.iter().filter_map(|came| came.slip).collect();
    let every: BTreeSet<usize> = (0..SLIPS_ALL).collect();
    assert_eq!(slips, every, "every mistake is refused");
    let says: BTreeSet<&str> = all.iter().flat_map(|came| &came.says).copied().collect();
    assert_eq!(
        says,
        BTreeSet::from(SAYS),
        "all of it is accepted somewhere"
    );
    let ends: BTreeSet<&str> = all.iter().flat_map(|came| &came.ends).copied().collect();
    assert_eq!(ends, BTreeSet::from(ENDS), "it ends in every way");
}
