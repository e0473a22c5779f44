//! The laws see the engine: each of its rules broken on purpose, the law that has to fail, by its name, and that none fails without. Most are swept,
//! two are asked of the engine alone, and what two steps and two workers show is in `model`. A lock that is let go too soon is none of them: the store keeps it as long as its saga
//! is active, whatever the engine says (`Fault::LockGivenTwice` breaks that). Needs the feature `planted`, which no program is built with:
//! `cargo nextest run -p baton-sim --features planted`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail so, and says what it has found"
)]

#[path = "../../engine/tests/rules/stage.rs"]
#[expect(
    dead_code,
    reason = "shared with the rules of the engine, which use all of it"
)]
mod stage;

use std::collections::BTreeSet;
use std::sync::Arc;

use baton_engine::definition::NoSagas;
use baton_engine::planted::{Planted, with};
use baton_engine::state::Stage as Claim;
use baton_engine::{Catalogue, Definition, Input, Rules, Status, decide};
use baton_messages::{TaskType, Timestamp};
use baton_sim::plan::KINDS;
use baton_sim::sweep::{Beside, Given, Row, Sweep, Trouble, Way};
use serde_json::json;
use stage::{Stage, done, finished, key, run};

/// Plays of each cell: one quietly, and for each first try of a step that is undone later some with messages doubled and reordered.
const PLAYS: u64 = 6;

/// A law: its name, and what the judge says when it fails.
struct Law {
    name: &'static str,
    says: &'static [&'static str],
}

const ONE_ATTEMPT: Law = Law {
    name: "while an attempt of a step is open there is no other",
    says: &["attempts are open at once", "an attempt is still open"],
};
const CLOSED: Law = Law {
    name: "a saga ends when every attempt of it has closed",
    says: &["ended, but an attempt of"],
};
const CLAIM: Law = Law {
    name: "one run has the claim, and nobody else acts",
    says: &["its claim is not held"],
};
const WORLD: Law = Law {
    name: "the world is as the saga says: done once, or taken back to what it was",
    says: &[
        "its effect",
        "an effect nobody knows of",
        "instead of the original",
        "did upon it still stands",
    ],
};
const GOES_ON: Law = Law {
    name: "what has not ended has a timer, or somebody who is asked",
    says: &["no timer, no open work item", "with no end"],
};
const ORDER: Law = Law {
    name: "nothing is undone before what was built upon it",
    says: &["is being undone before", "did upon it still stands"],
};
const ASKED: Law = Law {
    name: "what still stands of a saga that turned back is a named person's",
    says: &["nobody is asked about it"],
};
const PARKED: Law = Law {
    name: "whatever is parked has a work item",
    says: &["parked without a work item"],
};
const PIVOT: Law = Law {
    name: "from the pivot on nothing is taken back",
    says: &["past its pivot"],
};
const BARRIER: Law = Law {
    name: "the pivot waits for what runs beside it: until then a failure turns all back",
    says: &[
        "although its `on_error` is",
        "by its definition it has to be",
    ],
};
const WINDOW: Law = Law {
    name: "no more items are under way than may be",
    // the engine looks at it after each decision, and does not commit one that breaks it
    says: &["items are under way at once", "could not be decided"],
};
const CHILD: Law = Law {
    name: "a saga within another stands as its step says",
    says: &[
        "and its child is",
        "did upon it still stands",
        "may not go from InChild",
    ],
};
/// Every way of holding, an item, and at the end what fails and nobody can ask about.
const LINE: &str = "
saga: line
version: 1
steps:
  - { id: late, task: sim.set@1, with: { step: late }, timeout: 8s }
  - { id: file, task: sim.write@1, with: { step: file }, timeout: 8s, heartbeat: 12s }
  - { id: count, task: sim.add@1, with: { step: count }, timeout: 8s, heartbeat: 12s }
  - { id: last, task: sim.add-blind@1, with: { step: last }, timeout: 8s, on_error: compensate }
";
/// One branch that is undone at once, and one that takes three undos.
const FORK: &str = "
saga: fork
version: 1
steps:
  - { id: left, task: sim.set@1, with: { step: left }, timeout: 8s }
  - { id: a, task: sim.set@1, after: [], with: { step: a }, timeout: 8s }
  - { id: b, task: sim.set@1, after: [a], with: { step: b }, timeout: 8s }
  - { id: c, task: sim.set@1, after: [b], with: { step: c }, timeout: 8s }
  - { id: last, task: sim.add-blind@1, after: [left, c], with: { step: last }, timeout: 8s, on_error: compensate }
";
/// A pivot that would not have to wait, were it none.
const PIVOTED: &str = "
saga: pivoted
version: 1
steps:
  - { id: first, task: sim.set@1, with: { step: first }, timeout: 8s }
  - { id: beside, task: sim.add@1, after: [], with: { step: beside }, timeout: 8s, heartbeat: 12s }
  - { id: sent, task: sim.send@1, after: [], with: { step: sent }, timeout: 8s, pivot: true }
  - { id: told, task: sim.set@1, after: [sent], with: { step: told }, timeout: 8s }
";
/// Its deadline is over before somebody takes what nobody takes in time.
const TIMED: &str = "
saga: timed
version: 1
deadline: 30s
steps:
  - { id: first, task: sim.set@1, with: { step: first }, timeout: 8s }
  - { id: sent, task: sim.send@1, with: { step: sent }, timeout: 8s, pivot: true }
  - { id: told, task: sim.set@1, with: { step: told }, timeout: 8s }
";
/// Of five items one may fail, and two are under way at once.
const ITEMS: &str = "
saga: items
version: 1
steps:
  - { id: each, task: sim.add-blind@1, for_each: [0, 1, 2, 3, 4], max_parallel: 2, tolerate: 1, with: { step: each }, timeout: 8s }
";
const TOP: &str = "
saga: top
version: 1
steps:
  - { id: first, task: sim.set@1, with: { step: first }, timeout: 8s }
  - { id: mid, saga: within@1, with: { n: 1 } }
  - { id: last, task: sim.add-blind@1, with: { step: last }, timeout: 8s, on_error: compensate }
";
const WITHIN: &str = "
saga: within
version: 1
steps:
  - { id: own, task: sim.set@1, with: { step: own }, timeout: 8s }
";

fn sweep(top: &str, below: &[&str]) -> Sweep {
    let mut catalogue = Catalogue::default();
    for kind in &KINDS {
        let manifest = kind.manifest(TaskType::new(kind.name).unwrap());
        catalogue.announce(manifest).unwrap();
    }
    let mut beside = Beside::default();
    for text in below {
        let definition = Definition::parse(text).unwrap();
        beside.add(Arc::new(definition), Given::default());
    }
    let given = Given {
        input: Some(json!({})),
        ..Given::default()
    };
    let definition = Arc::new(Definition::parse(top).unwrap());
    Sweep::among(definition, &beside, &catalogue, &given).unwrap()
}

/// What is found broken in the cells that are wanted; each once.
fn found(
    sweep: &Sweep,
    rule: Option<Planted>,
    wanted: impl Fn(&Row, Trouble) -> bool,
) -> BTreeSet<String> {
    let cells = sweep.cells().into_iter();
    let cells = cells.filter(|(row, trouble)| wanted(&sweep.rows()[*row], *trouble));
    let played = cells.map(|(row, trouble)| with(rule, || sweep.cell(row, trouble, PLAYS)));
    let broken = played.filter_map(|cell| cell.broken);
    broken
        .map(|broken| format!("--seed {}: {}", broken.seed, broken.what))
        .collect()
}

/// The rule is kept: no law fails. It is broken: this one does.
fn swept(rule: Planted, sweep: &Sweep, law: &Law, wanted: impl Fn(&Row, Trouble) -> bool) {
    let whole = found(sweep, None, &wanted);
    assert!(whole.is_empty(), "without {rule:?}: {whole:?}");
    let broken = found(sweep, Some(rule), &wanted);
    let fails = |what: &&String| law.says.iter().any(|says| what.contains(says));
    let Some(what) = broken.iter().find(fails) else {
        panic!("{rule:?} is not found by `{}`: {broken:#?}", law.name);
    };
    println!("{rule:?} breaks `{}`: {what}", law.name);
}

fn at(row: &Row, step: &str) -> bool {
    row.step.as_ref().is_some_and(|at| at.to_string() == step)
}

fn dies(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::DiesDuring | Trouble::DiesAfter)
}

#[test]
fn a_retry_while_an_attempt_is_open() {
    let claimed = |row: &Row, trouble| at(row, "count") && row.way == Way::Do && dies(trouble);
    swept(
        Planted::RetriesWhileOpen,
        &sweep(LINE, &[]),
        &ONE_ATTEMPT,
        claimed,
    );
}

#[test]
fn an_undo_while_an_attempt_is_open() {
    swept(
        Planted::UndoesWhileOpen,
        &sweep(LINE, &[]),
        &ONE_ATTEMPT,
        |row, trouble| row.way == Way::Do && trouble == Trouble::Cancelled,
    );
}

#[test]
fn an_end_while_an_attempt_is_open() {
    swept(
        Planted::EndsWhileOpen,
        &sweep(LINE, &[]),
        &CLOSED,
        |row, trouble| at(row, "late") && row.way == Way::Do && trouble == Trouble::Cancelled,
    );
}

#[test]
fn a_claim_that_is_given_twice() {
    swept(
        Planted::GrantedTwice,
        &sweep(LINE, &[]),
        &CLAIM,
        |row, trouble| row.way == Way::Do && trouble == Trouble::SentTwice,
    );
}

#[test]
fn a_probe_that_found_nothing_out_and_is_believed() {
    swept(
        Planted::FailedProbeClears,
        &sweep(LINE, &[]),
        &WORLD,
        |row, trouble| row.way == Way::Probe && trouble == Trouble::Fails,
    );
}

#[test]
fn a_doubt_that_is_forgotten() {
    swept(
        Planted::DoubtForgotten,
        &sweep(LINE, &[]),
        &WORLD,
        |row, trouble| at(row, "count") && row.way == Way::Do && dies(trouble),
    );
}

#[test]
fn a_doubt_that_is_left_standing() {
    swept(
        Planted::DoubtLeftStanding,
        &sweep(LINE, &[]),
        &GOES_ON,
        |row, trouble| at(row, "last") && row.way == Way::Do && trouble == Trouble::Unsure,
    );
}

#[test]
fn undos_in_any_order() {
    swept(
        Planted::UndoneInAnyOrder,
        &sweep(LINE, &[]),
        &ORDER,
        |row, trouble| at(row, "last") && row.way == Way::Do && trouble == Trouble::Fails,
    );
}

#[test]
fn an_undo_that_waits_for_a_person_and_holds_up_the_others() {
    swept(
        Planted::ParkedUndoHoldsAll,
        &sweep(FORK, &[]),
        &ASKED,
        |row, trouble| at(row, "left") && row.way == Way::Undo && trouble == Trouble::Fails,
    );
}

#[test]
fn a_before_image_that_a_later_one_takes_the_place_of() {
    swept(
        Planted::ImageOverwritten,
        &sweep(LINE, &[]),
        &WORLD,
        |row, trouble| at(row, "file") && row.way == Way::Undo && trouble != Trouble::Fails,
    );
}

#[test]
fn a_pivot_that_does_not_wait() {
    swept(
        Planted::PivotBesideOthers,
        &sweep(PIVOTED, &[]),
        &BARRIER,
        |row, trouble| at(row, "beside") && row.way == Way::Do && trouble == Trouble::Fails,
    );
}

#[test]
fn a_failure_after_the_pivot_that_turns_all_back() {
    swept(
        Planted::TurnsPastPivot,
        &sweep(PIVOTED, &[]),
        &PIVOT,
        |row, trouble| at(row, "told") && trouble == Trouble::Fails,
    );
}

#[test]
fn a_cancel_after_the_pivot_that_turns_all_back() {
    swept(
        Planted::CancelsPastPivot,
        &sweep(PIVOTED, &[]),
        &PIVOT,
        |row, trouble| at(row, "told") && trouble == Trouble::Cancelled,
    );
}

#[test]
fn a_deadline_after_the_pivot_that_turns_all_back() {
    swept(
        Planted::DeadlinePastPivot,
        &sweep(TIMED, &[]),
        &PIVOT,
        |row, trouble| {
            at(row, "told") && matches!(trouble, Trouble::ServedLate | Trouble::Unserved)
        },
    );
}

#[test]
fn a_retry_that_has_no_timer() {
    swept(
        Planted::RetryWithoutTimer,
        &sweep(LINE, &[]),
        &GOES_ON,
        |row, trouble| row.way == Way::Do && trouble == Trouble::BusyOnce,
    );
}

#[test]
fn a_parked_step_that_nobody_is_asked_about() {
    swept(
        Planted::ParkedUnasked,
        &sweep(LINE, &[]),
        &PARKED,
        |row, trouble| row.way == Way::Undo && trouble == Trouble::Fails,
    );
}

#[test]
fn an_item_that_is_tolerated_and_left_in_doubt() {
    swept(
        Planted::ToleratedLeftInDoubt,
        &sweep(ITEMS, &[]),
        &GOES_ON,
        |row, trouble| row.way == Way::Do && trouble == Trouble::Unsure,
    );
}

#[test]
fn more_items_under_way_than_may_be() {
    swept(
        Planted::MoreThanParallel,
        &sweep(ITEMS, &[]),
        &WINDOW,
        |row, trouble| row.way == Way::Saga && trouble == Trouble::Nothing,
    );
}

#[test]
fn a_saga_within_another_that_is_not_told() {
    swept(
        Planted::ChildNotTold,
        &sweep(TOP, &[WITHIN]),
        &CHILD,
        |row, trouble| at(row, "last") && row.way == Way::Do && trouble == Trouble::Fails,
    );
}

/// A step that nobody can ask about loses its worker and is parked; then its worker says that it is done after all.
fn told_late() -> Status {
    let step = "  - { id: a, task: t.once@1, retry: { attempts: 1 }, on_error: park }\n";
    let mut stage = Stage::with(step);
    let of = stage.claim("a", run(1));
    stage.give(&Input::LeaseOver {
        of: of.clone(),
        run: run(1),
    });
    while stage.status() == Status::Running {
        stage.wait();
    }
    assert_eq!(stage.status(), Status::Parked, "nobody can tell");
    stage.give(&finished(of, run(1), true, done()));
    stage.status()
}

#[test]
fn a_late_report_that_settles_nothing() {
    assert_eq!(told_late(), Status::Completed);
    let rule = Planted::LateReportDropped;
    assert_eq!(with(Some(rule), told_late), Status::Parked, "{rule:?}");
}

/// Somebody asks that a step be tried again that is done; none: it is refused, and the saga goes on where it was; else what the engine says that it may not.
fn asked_again() -> Option<String> {
    let steps = "  - { id: a, task: t.once@1 }\n  - { id: b, task: t.once@1 }\n";
    let mut stage = Stage::with(steps);
    stage.report("a", done());
    let operator = stage.operator();
    let input = Input::RetryStep {
        step: key("a"),
        operator,
    };
    let rules = Rules {
        definition: &stage.definition,
        catalogue: &stage.catalogue,
        sagas: &NoSagas,
        level: baton_engine::Level::NEWEST,
    };
    let now = Timestamp(stage.now + 10);
    match decide(rules, &mut stage.state, &input, now, 42) {
        Ok(decision) => {
            assert!(decision.records.is_empty(), "{decision:?}");
            let open = stage.at("b").open_attempt();
            assert!(
                open.is_some_and(|open| matches!(open.stage, Claim::Offered)),
                "{open:?}"
            );
            None
        }
        Err(error) => std::error::Error::source(&error).map(ToString::to_string),
    }
}

#[test]
fn a_step_that_is_done_and_is_tried_again() {
    assert_eq!(asked_again(), None);
    let said = with(Some(Planted::SettledTriedAgain), asked_again).unwrap();
    assert!(
        said.contains("may not go from Succeeded to Backoff"),
        "{said}"
    );
}

/// Those that two steps and two workers show alone.
const IN_THE_MODEL: [Planted; 1] = [Planted::ReportTakenTwice];

#[test]
fn every_rule_that_can_be_broken_has_its_test() {
    let text = include_str!("engine_faults.rs");
    let (tests, _) = text.split_once("const IN_THE_MODEL").unwrap();
    for rule in Planted::ALL {
        let named = tests.contains(&format!("Planted::{rule:?}"));
        assert!(named || IN_THE_MODEL.contains(&rule), "{rule:?}");
    }
    let model = include_str!("model/main.rs");
    for rule in IN_THE_MODEL {
        assert!(model.contains(&format!("Rule::{rule:?}")), "{rule:?}");
    }
}
