//! The processes of `orchestrator/sagas`, each run for real: the shipped definition and the shipped worker configuration, on real
//! repositories, folders, services and a real web server; and each of them failing, with everything put back. What an author reads of them
//! stands beside them, case by case, and is run here; what takes several at a time stands here.

mod backup;
mod cases;
mod insert;
mod release;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

/// How long a thousand effects may take on a machine that has other things to do.
const THOUSAND: Duration = Duration::from_secs(400);

/// The definitions in a folder of the library.
fn names(below: &str) -> BTreeSet<String> {
    let library = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../orchestrator/sagas");
    let files = std::fs::read_dir(library.join(below)).expect("the library is there");
    let names = files.flatten().map(|file| file.file_name());
    names
        .filter_map(|name| Some(name.to_str()?.strip_suffix(".yaml")?.to_owned()))
        .collect()
}

/// The task types no worker of ours does yet.
fn planned() -> BTreeSet<String> {
    let all: Vec<Value> =
        serde_json::from_str(&world::shipped("planned.json")).expect("a list of manifests");
    all.iter()
        .filter_map(|manifest| manifest["task_type"].as_str().map(str::to_owned))
        .collect()
}

/// The files of cases that have some; one of a process whose task types there are not says only what it is swept with.
fn with_cases() -> BTreeSet<String> {
    let mut all = names("cases");
    all.retain(|name| {
        let text = world::shipped(&format!("cases/{name}.yaml"));
        text.lines().any(|line| line.starts_with("cases:"))
    });
    all
}

/// Every definition whose task types there are has its cases, and every file of cases is run: by the test of its name below.
#[test]
fn every_process_has_its_cases() {
    let planned = planned();
    let mut all = names("");
    all.retain(|name| cases::task_types_of(name).is_disjoint(&planned));
    let run = [
        "insert-line-in-one",
        "insert-line-of-code",
        "nightly-backup",
        "release",
        "restart-service",
        "tell-on-call",
    ];
    let run = run.map(str::to_owned).into_iter().collect();
    assert_eq!(with_cases(), run);
    assert_eq!(all, run, "a process without cases");

    let run = [
        "approval",
        "fan-out",
        "money-transfer",
        "nested",
        "nested-office",
        "order",
        "provisioning",
        "roll-out",
        "trip",
    ];
    let run = run.map(str::to_owned).into_iter().collect();
    assert_eq!(names("cases/canonical"), run);
    assert_eq!(names("canonical"), run, "a process without cases");
}

#[tokio::test]
async fn the_cases_of_approval() {
    cases::run("canonical/approval").await;
}

#[tokio::test]
async fn the_cases_of_fan_out() {
    cases::run("canonical/fan-out").await;
}

#[tokio::test]
async fn the_cases_of_money_transfer() {
    cases::run("canonical/money-transfer").await;
}

#[tokio::test]
async fn the_cases_of_nested() {
    cases::run("canonical/nested").await;
}

#[tokio::test]
async fn the_cases_of_nested_office() {
    cases::run("canonical/nested-office").await;
}

#[tokio::test]
async fn the_cases_of_order() {
    cases::run("canonical/order").await;
}

#[tokio::test]
async fn the_cases_of_provisioning() {
    cases::run("canonical/provisioning").await;
}

#[tokio::test]
async fn the_cases_of_roll_out() {
    cases::run("canonical/roll-out").await;
}

#[tokio::test]
async fn the_cases_of_trip() {
    cases::run("canonical/trip").await;
}

/// As many as the definition allows; a list nobody would write into a file of cases.
#[tokio::test]
async fn a_thousand_fan_out() {
    let mut world = world::World::new().await;
    let name = "canonical/fan-out";
    world.ship_placed(name, &[], &["test.effect@1"]).await;
    let hosts: Vec<String> = (0..1000).map(|number| format!("h{number}")).collect();
    let input = json!({ "hosts": hosts });
    let saga = world.system.api.start("fan-out", &input, "thousand").await;
    let ended = world.system.api.await_status(&saga, "completed", THOUSAND);
    assert_eq!(ended.await["output"]["hosts"], 1000);
    let book = baton_it::oracle::Book::of(&world.system.ledger).await;
    for host in &hosts {
        assert_eq!(book.not_done_once(&format!("patch-{host}")), None);
    }
}

#[tokio::test]
async fn the_cases_of_insert_line_in_one() {
    cases::run("insert-line-in-one").await;
}

#[tokio::test]
async fn the_cases_of_insert_line_of_code() {
    cases::run("insert-line-of-code").await;
}

#[tokio::test]
async fn the_cases_of_nightly_backup() {
    cases::run("nightly-backup").await;
}

#[tokio::test]
async fn the_cases_of_release() {
    cases::run("release").await;
}

#[tokio::test]
async fn the_cases_of_restart_service() {
    cases::run("restart-service").await;
}

#[tokio::test]
async fn the_cases_of_tell_on_call() {
    cases::run("tell-on-call").await;
}
