//! Sagas within the one that is swept: their steps are rows, what fails in them and above them is played, the promise is that of the whole tree,
//! and rules broken on purpose that only show in them are found.
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a test may fail so"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use baton_engine::{Catalogue, Definition};
use baton_messages::TaskType;
use baton_sim::Fault;
use baton_sim::plan::KINDS;
use baton_sim::sweep::{
    Beside, CELLS_WITHIN_MAX, Cell, Given, Row, SAGAS_MAX, Sweep, Trouble, Unready, Way,
};
use serde_json::json;

/// Three deep, the lowest for each of two.
const TOP: &str = r#"
saga: top
version: 1
steps:
  - { id: first, task: sim.set@1, with: { step: first }, timeout: 8s }
  - { id: mid, saga: middle@1, with: { n: 1 } }
  - { id: last, task: sim.add-blind@1, with: { step: last }, timeout: 8s, on_error: compensate }
"#;
const MIDDLE: &str = r#"
saga: middle
version: 1
steps:
  - { id: own, task: sim.write@1, with: { step: own }, timeout: 8s, heartbeat: 12s }
  - { id: low, saga: lowest@1, for_each: [0, 1], with: { n: "${ item }" } }
  - { id: told, emit: { type: sim.said } }
"#;
const LOWEST: &str = r#"
saga: lowest
version: 1
owner: depths
steps:
  - { id: deep, task: sim.add@1, with: { step: deep }, timeout: 8s, heartbeat: 12s }
  - { id: deeper, task: sim.set@1, with: { step: deeper }, timeout: 8s }
"#;

fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    for kind in &KINDS {
        let manifest = kind.manifest(TaskType::new(kind.name).unwrap());
        catalogue.announce(manifest).unwrap();
    }
    catalogue
}

fn among(top: &str, below: &[&str], given: Given) -> Result<Sweep, Unready> {
    let mut beside = Beside::default();
    for text in below {
        let definition = Definition::parse(text).unwrap();
        beside.add(Arc::new(definition), Given::default());
    }
    let definition = Arc::new(Definition::parse(top).unwrap());
    Sweep::among(definition, &beside, &catalogue(), &given)
}

fn deep() -> Sweep {
    among(TOP, &[MIDDLE, LOWEST], Given::default()).unwrap()
}

fn named(row: &Row) -> String {
    let step = row.step.as_ref().map(ToString::to_string);
    let way = match (row.way, row.from_above) {
        (Way::Undo, true) => " undo above",
        (Way::Undo, false) => " undo",
        (Way::Probe, _) => " probe",
        (Way::Do | Way::Saga, _) => "",
    };
    format!("{}{way}", step.unwrap_or_default())
}

fn row(sweep: &Sweep, name: &str) -> usize {
    let found = sweep.rows().iter().position(|row| named(row) == name);
    found.unwrap_or_else(|| panic!("no row {name}"))
}

fn cell(sweep: &Sweep, name: &str, trouble: Trouble, plays: u64) -> Cell {
    sweep.cell(row(sweep, name), trouble, plays)
}

fn end(sweep: &Sweep, name: &str, trouble: Trouble) -> &'static str {
    let cell = cell(sweep, name, trouble, 1);
    assert_eq!(cell.broken, None, "{name} {trouble:?}");
    cell.end.map_or("never", |end| end.as_str())
}

#[test]
fn every_step_of_every_saga_is_a_row_by_the_way_to_it() {
    let sweep = deep();
    assert_eq!(sweep.undisturbed().status.as_str(), "completed");
    assert_eq!(sweep.sagas_within(), 2);
    assert_eq!(sweep.never_wanted().next(), None);
    let rows: Vec<String> = sweep.rows().iter().map(named).collect();
    let told = [
        "",
        "first",
        "first probe",
        "first undo",
        "mid",
        "mid undo",
        "mid/own",
        "mid/own undo",
        "mid/own undo above",
        "mid/low",
        "mid/low undo above",
        "mid/low/deep",
        "mid/low/deep probe",
        "mid/low/deep undo",
        "mid/low/deep undo above",
        "mid/low/deeper",
        "mid/low/deeper probe",
        "mid/low/deeper undo above",
        "mid/told",
        "last",
        "last undo",
    ];
    assert_eq!(rows, told);
    let turn = |name: &str| sweep.rows()[row(&sweep, name)].turn.clone().unwrap();
    assert_eq!(turn("mid/low/deep undo"), "mid/low/deeper fails for good");
    assert_eq!(turn("mid/low/deep undo above"), "last fails for good");
    assert_eq!(turn("mid/own undo"), "mid/low/deeper fails for good");
}

#[test]
fn what_fails_in_a_saga_within_another_or_above_it_is_taken_back_or_is_for_a_person() {
    let sweep = deep();
    assert_eq!(end(&sweep, "mid/low/deep", Trouble::Fails), "compensated");
    assert_eq!(end(&sweep, "mid/low/deep", Trouble::DiesAfter), "completed");
    assert_eq!(end(&sweep, "mid", Trouble::SaidLate), "completed");
    assert_eq!(end(&sweep, "mid", Trouble::ServedLate), "completed");
    assert_eq!(end(&sweep, "mid/low", Trouble::SentTwice), "completed");
    assert_eq!(end(&sweep, "mid", Trouble::Cancelled), "compensated");
    assert_eq!(end(&sweep, "mid/low", Trouble::Crash), "completed");
    let above = "mid/low/deep undo above";
    assert_eq!(end(&sweep, above, Trouble::BusyOnce), "compensated");
    assert_eq!(end(&sweep, "mid undo", Trouble::SaidLate), "compensated");
    // the saga at the top waits for who is asked in the one two levels below
    let parked = cell(&sweep, above, Trouble::Fails, 1);
    assert_eq!(parked.broken, None);
    assert_eq!(parked.end.unwrap().as_str(), "parked");
    let (_, asked) = &parked.asked[0];
    assert_eq!(asked.step.as_deref(), Some("mid/low/deep"));
    assert_eq!(asked.owner, "depths");
}

#[test]
fn every_cell_of_a_tree_keeps_the_promise() {
    let sweep = deep();
    let ran = sweep.run(3, |_| true, |_, _| true);
    assert!(ran.whole && ran.left_out.is_empty());
    let broken = ran.cells.iter().filter_map(|cell| cell.broken.as_ref());
    let broken: Vec<String> = broken
        .map(|one| format!("{}: {}", one.seed, one.what))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let struck = ran.cells.iter().filter(|cell| cell.end.is_some());
    let struck: BTreeSet<usize> = struck.map(|cell| cell.row).collect();
    for (at, row) in sweep.rows().iter().enumerate() {
        assert!(struck.contains(&at), "nothing struck at {}", named(row));
    }
}

/// The same three, written in place: a group, and a group in that.
const GROUPS: &str = r#"
saga: top
version: 1
owner: depths
steps:
  - { id: first, task: sim.set@1, with: { step: first }, timeout: 8s }
  - id: mid
    for_each: [0]
    steps:
      - { id: own, task: sim.write@1, with: { step: own, of: "${ first }" }, timeout: 8s, heartbeat: 12s }
      - id: low
        for_each: [0, 1]
        steps:
          - { id: deep, task: sim.add@1, with: { step: deep, n: "${ item }" }, timeout: 8s, heartbeat: 12s }
          - { id: deeper, task: sim.set@1, with: { step: deeper }, timeout: 8s }
      - { id: told, emit: { type: sim.said } }
  - { id: last, task: sim.add-blind@1, with: { step: last }, timeout: 8s, on_error: compensate }
"#;

#[test]
fn groups_are_played_with_nothing_beside_as_the_sagas_they_are() {
    let sweep = among(GROUPS, &[], Given::default()).unwrap();
    assert_eq!(sweep.undisturbed().status.as_str(), "completed");
    assert_eq!(sweep.sagas_within(), 2);
    let rows: Vec<String> = sweep.rows().iter().map(named).collect();
    for told in [
        "mid",
        "mid/low",
        "mid/low/deep",
        "mid/low/deep undo above",
        "mid/low/deeper",
    ] {
        assert!(rows.contains(&told.to_owned()), "{told}: {rows:?}");
    }
    assert_eq!(end(&sweep, "mid/low/deep", Trouble::Fails), "compensated");
    assert_eq!(end(&sweep, "mid/low", Trouble::Crash), "completed");
    let parked = cell(&sweep, "mid/low/deep undo above", Trouble::Fails, 1);
    let (_, asked) = &parked.asked[0];
    assert_eq!(asked.step.as_deref(), Some("mid/low/deep"));
    assert_eq!(asked.owner, "depths", "the saga's owner is the group's");
    let ran = sweep.run(3, |_| true, |_, _| true);
    let broken = ran.cells.iter().filter_map(|cell| cell.broken.as_ref());
    let broken: Vec<String> = broken
        .map(|one| format!("{}: {}", one.seed, one.what))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn values_of_a_group_are_given_by_the_way_to_their_step() {
    let group = "    for_each: [1]\n    steps:\n      - { id: looked, task: sim.look@1, with: {} }\n      - { id: odd, if: \"${ looked.odd }\", task: sim.set@1, with: {} }\n";
    let given = |returns: &str| Given {
        returns: [(returns.to_owned(), json!({ "odd": true }))].into(),
        ..Given::default()
    };
    let top = format!("saga: top\nversion: 1\nsteps:\n  - id: each\n{group}");
    let sweep = among(&top, &[], given("each/looked")).unwrap();
    assert_eq!(sweep.never_wanted().next(), None);
    // of a saga that is known beside it its own file says so
    let low = format!("saga: low\nversion: 1\nsteps:\n  - id: each\n{group}");
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: low@1, with: {} }\n";
    let mut beside = Beside::default();
    let definition = Definition::parse(&low).unwrap();
    beside.add(Arc::new(definition), given("each/looked"));
    let definition = Arc::new(Definition::parse(top).unwrap());
    let sweep = Sweep::among(definition, &beside, &catalogue(), &Given::default()).unwrap();
    assert_eq!(sweep.never_wanted().next(), None);
}

#[test]
fn a_pivot_within_is_respected() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: first, task: sim.set@1, with: { n: 1 } }\n  - { id: mid, saga: sends@1, with: { n: 1 }, pivot: true }\n  - { id: last, task: sim.set@1, with: { n: 1 } }\n";
    let sends = "saga: sends\nversion: 1\nsteps:\n  - { id: made, task: sim.set@1, with: { n: 1 } }\n  - { id: sent, task: sim.send@1, with: { n: 1 }, pivot: true, on_error: park }\n  - { id: noted, task: sim.set@1, with: { n: 1 } }\n";
    let sweep = among(top, &[sends], Given::default()).unwrap();
    let rows: Vec<String> = sweep.rows().iter().map(named).collect();
    assert!(rows.contains(&"mid/made undo".to_owned()), "{rows:?}");
    for never in ["mid undo", "mid/made undo above", "mid/noted undo"] {
        assert!(!rows.contains(&never.to_owned()), "{never}: {rows:?}");
    }
    assert_eq!(end(&sweep, "mid/made", Trouble::Fails), "compensated");
    assert_eq!(end(&sweep, "mid/noted", Trouble::Fails), "parked");
    let ran = sweep.run(
        2,
        |step| step.is_some_and(|at| at.is_in("mid")),
        |_, _| true,
    );
    let broken = ran.cells.iter().filter_map(|cell| cell.broken.as_ref());
    let broken: Vec<String> = broken
        .map(|one| format!("{}: {}", one.seed, one.what))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(
        ran.cells
            .iter()
            .all(|cell| sweep.rows()[cell.row].step.is_some())
    );
}

#[test]
fn values_within_are_given_by_the_way_to_their_step() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: asks@1, with: { n: 1 } }\n";
    let asks = "saga: asks\nversion: 1\nsteps:\n  - { id: looked, task: sim.look@1, with: {} }\n  - { id: odd, if: \"${ looked.odd }\", task: sim.set@1, with: {} }\n";
    let given = |returns: &str| Given {
        returns: [(returns.to_owned(), json!({ "odd": true }))].into(),
        ..Given::default()
    };
    let sweep = among(top, &[asks], given("mid/looked")).unwrap();
    assert_eq!(sweep.never_wanted().next(), None);
    let wrong = among(top, &[asks], given("looked")).unwrap_err();
    assert!(
        wrong.to_string().contains("no step looked that returns"),
        "{wrong}"
    );
}

#[test]
fn what_is_not_given_and_what_is_too_much_is_said() {
    let wrong = among(TOP, &[MIDDLE], Given::default()).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "step mid/low is a saga of its own, lowest@1, and its definition was not given"
    );
    let wide = |count: usize| {
        let mut text = "saga: wide\nversion: 1\nsteps:\n".to_owned();
        for n in 0..count {
            let _ = writeln!(
                text,
                "  - {{ id: s{n}, after: [], saga: lowest@1, with: {{ n: 1 }} }}"
            );
        }
        text
    };
    let many = among(&wide(SAGAS_MAX), &[LOWEST], Given::default());
    assert_eq!(many.unwrap_err(), Unready::TooMany);
    let sweep = among(&wide(40), &[LOWEST], Given::default()).unwrap();
    assert!(sweep.cells().len() > CELLS_WITHIN_MAX);
    let left = sweep.run(1, |_| true, |_, _| false).left_out;
    assert!(
        left.iter().all(|step| step.depth() == 1) && !left.is_empty(),
        "{left:?}"
    );
    let last = left.iter().next_back().unwrap().to_string();
    let alone = sweep.run(
        1,
        |step| step.is_some_and(|at| at.is_in(&last)),
        |_, _| false,
    );
    assert!(
        alone.left_out.is_empty(),
        "one that was left out is played when it is asked for"
    );
}

fn finds(fault: Fault, rows: impl Fn(&Row) -> bool, troubles: &[Trouble]) {
    let play = |sweep: &Sweep| -> Vec<Cell> {
        let cells = sweep.cells().into_iter();
        let some = cells.filter(|(at, trouble)| {
            let row = &sweep.rows()[*at];
            row.depth() > 0 && rows(row) && troubles.contains(trouble)
        });
        some.map(|(at, trouble)| sweep.cell(at, trouble, 3))
            .collect()
    };
    let whole = play(&deep());
    assert!(whole.iter().all(|cell| cell.broken.is_none()), "{fault:?}");
    assert!(
        whole.iter().any(|cell| cell.end.is_some()),
        "struck nowhere"
    );
    let sweep = deep().with_fault(fault);
    let found = play(&sweep);
    let found = found.iter().find_map(|cell| cell.broken.clone());
    let found = found.unwrap_or_else(|| panic!("{fault:?} is not found by {troubles:?}"));
    let (_, _, again) = sweep.again(found.seed).unwrap();
    assert_eq!(again.broken, Some(found.what), "its seed says it again");
}

#[test]
fn a_saga_that_is_left_standing_when_the_one_above_turns_back() {
    finds(
        Fault::ChildLeftStanding,
        |row| row.from_above,
        &[Trouble::SaidTwice, Trouble::Crash],
    );
}

#[test]
fn a_saga_whose_failure_is_not_heard_above() {
    finds(
        Fault::ChildFailureUnheard,
        |row| row.way == Way::Do,
        &[Trouble::Fails],
    );
}

#[test]
fn what_a_worker_does_wrong_in_a_saga_within_another() {
    finds(
        Fault::FailedAfterActing,
        |row| row.way == Way::Do,
        &[Trouble::Fails],
    );
    finds(
        Fault::ActsUngranted,
        |row| row.way == Way::Do,
        &[Trouble::SentTwice],
    );
}

#[test]
fn a_seed_of_a_saga_within_another_says_it_again_to_the_letter() {
    let sweep = deep();
    for (at, trouble) in sweep.cells().into_iter().step_by(11) {
        let seed = sweep.cell(at, trouble, 2).seed + 1;
        let (once, twice) = (sweep.again(seed).unwrap(), sweep.again(seed).unwrap());
        assert_eq!(once.2.trace, twice.2.trace, "--seed {seed}");
    }
}
