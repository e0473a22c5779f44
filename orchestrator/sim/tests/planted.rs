//! The laws can see: for each of them a rule broken on purpose, by which a sweep finds the promise broken, in a cell of that law; and that
//! it finds none without.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail so, and says what it has found"
)]

use baton_engine::{Catalogue, Definition};
use baton_messages::TaskType;
use baton_sim::Fault;
use baton_sim::plan::KINDS;
use baton_sim::sweep::{Cell, Given, Sweep, Trouble, Way};
use serde_json::json;

/// Plays of each cell: what is lost now and then is lost in one of so many.
const PLAYS: u64 = 6;

/// Every way of holding, a wait, a word, an item, before what fails; small enough to be swept for each law.
const SAGA: &str = r#"
saga: planted
version: 1
steps:
  - id: late
    task: sim.set@1
    with: { step: late }
    timeout: 8s
  - id: file
    task: sim.write@1
    with: { step: file }
    timeout: 8s
    heartbeat: 12s
  - id: count
    task: sim.add@1
    with: { step: count }
    timeout: 8s
    heartbeat: 12s
  - id: each
    task: sim.set@1
    for_each: [0, 1, 2]
    with: { step: each }
  - id: paid
    wait: { event: sim.paid, timeout: 10m }
  - id: said
    emit: { type: sim.said }
  - id: last
    task: sim.add-blind@1
    with: { step: last }
    timeout: 8s
    on_error: compensate
"#;

fn sweep(fault: Option<Fault>) -> Sweep {
    let mut catalogue = Catalogue::default();
    for kind in &KINDS {
        let manifest = kind.manifest(TaskType::new(kind.name).unwrap());
        catalogue.announce(manifest).unwrap();
    }
    let definition = Definition::parse(SAGA).unwrap();
    let given = Given {
        input: Some(json!({})),
        ..Given::default()
    };
    let sweep = Sweep::new(definition, &catalogue, &given).unwrap();
    match fault {
        Some(fault) => sweep.with_fault(fault),
        None => sweep,
    }
}

/// The cells of one law: some troubles, one way.
fn cells(sweep: &Sweep, way: Way, troubles: &[Trouble]) -> Vec<Cell> {
    let all = sweep
        .cells()
        .into_iter()
        .filter(|(row, trouble)| sweep.rows()[*row].way == way && troubles.contains(trouble));
    all.map(|(row, trouble)| sweep.cell(row, trouble, PLAYS))
        .collect()
}

fn finds(fault: Fault, way: Way, troubles: &[Trouble]) {
    let whole = cells(&sweep(None), way, troubles);
    let broken: Vec<_> = whole
        .iter()
        .filter_map(|cell| cell.broken.as_ref())
        .collect();
    assert!(broken.is_empty(), "without {fault:?}: {broken:?}");
    assert!(
        whole.iter().any(|cell| cell.end.is_some()),
        "{troubles:?} struck nowhere"
    );
    let found = cells(&sweep(Some(fault)), way, troubles);
    let found = found.iter().find_map(|cell| cell.broken.clone());
    let found = found.unwrap_or_else(|| panic!("{fault:?} is not found by {troubles:?}"));
    let (_, _, again) = sweep(Some(fault)).again(found.seed).unwrap();
    assert_eq!(again.broken, Some(found.what), "its seed says it again");
    println!(
        "{fault:?} by --seed {}: {}",
        found.seed,
        again.broken.unwrap()
    );
}

#[test]
fn fail_it_at_each_step() {
    finds(Fault::FailedAfterActing, Way::Do, &[Trouble::Fails]);
}

#[test]
fn let_it_run_out_of_time() {
    finds(
        Fault::ActsTooLate,
        Way::Do,
        &[Trouble::Hangs, Trouble::HangsDone],
    );
}

#[test]
fn fail_it_once_and_always() {
    finds(
        Fault::TimersForgotten,
        Way::Do,
        &[Trouble::Busy, Trouble::BusyOnce],
    );
}

#[test]
fn let_its_worker_die() {
    finds(Fault::ImageRetaken, Way::Undo, &[Trouble::BusyOnce]);
    finds(Fault::ImageLost, Way::Undo, &[Trouble::BusyOnce]);
}

#[test]
fn crash_after_each_commit() {
    finds(Fault::WatermarkTooFar, Way::Saga, &[Trouble::Crash]);
    finds(Fault::UnsentForgotten, Way::Do, &[Trouble::Crash]);
}

#[test]
fn run_each_task_twice() {
    finds(Fault::ActsUngranted, Way::Do, &[Trouble::SentTwice]);
    finds(Fault::ActsRefused, Way::Do, &[Trouble::SentTwice]);
}

#[test]
fn run_each_undo_twice() {
    finds(Fault::ActsUngranted, Way::Undo, &[Trouble::SentTwice]);
}

#[test]
fn fail_each_undo() {
    finds(Fault::FailedAfterActing, Way::Undo, &[Trouble::Fails]);
}

#[test]
fn double_and_reorder_every_message() {
    finds(Fault::ReportedOnce, Way::Do, &[Trouble::SaidTwice]);
    finds(Fault::EventBelieved, Way::Saga, &[Trouble::Nothing]);
}

#[test]
fn let_what_it_waits_for_come_and_not_come() {
    finds(Fault::SubscriptionForgotten, Way::Do, &[Trouble::SaidTwice]);
}

#[test]
fn do_it_for_each_item() {
    finds(Fault::ItemsConfused, Way::Do, &[Trouble::DiesAfter]);
}
