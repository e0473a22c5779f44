//! The screens of a move to another version at 60, 80 and 160 columns: numbers and reasons, what `baton apply` says of older versions, and a saga that was moved.

use clap::Parser as _;
use serde_json::{Value, json};

use super::applied;
use super::golden::{self, NOW};
use super::saga::{self, Detail};
use super::upgrade::{Seen, lines};
use crate::args::{Cli, Command, Upgrade};
use crate::commands::typed;
use crate::view::Saga;

fn asked(words: &[&str]) -> Upgrade {
    let all = ["baton", "upgrade", "release", "--to", "4"];
    match Cli::parse_from(all.iter().chain(words)).command {
        Command::Upgrade(upgrade) => upgrade,
        other => panic!("{other:?} is no upgrade"),
    }
}

fn stays(n: u32, reasons: &[(&str, &str, &str, &str)]) -> Value {
    let told = reasons.iter().map(|(kind, step, what, help)| {
        json!({ "kind": kind, "step": step, "what": what, "help": help })
    });
    let told: Vec<Value> = told.collect();
    let id = format!("{n:08x}-7d1e-5b6f-9a51-0c8f8a4d2b11");
    json!({ "id": id, "from": 3, "outcome": "stays", "reasons": told, "why": null })
}

fn answered() -> Vec<Value> {
    let input = (
        "step-input",
        "build",
        "it has begun, and would have been given something else (`with`)",
        "leave `with` of what has begun as it is; a new step after it may do the rest",
    );
    let before = (
        "before",
        "scan",
        "it stands before build, which has begun",
        "put the step after what has begun (`after:`)",
    );
    let mut all: Vec<Value> = (1..=5).map(|n| stays(n, &[input])).collect();
    all.push(stays(6, &[input, before]));
    for n in 7..=9 {
        all.push(json!({ "id": format!("{n}"), "from": 2, "outcome": "would-move", "reasons": [], "why": null }));
    }
    all
}

#[test]
fn what_would_become_of_sagas_on_older_versions() {
    let mut seen = Seen::default();
    seen.add(&answered(), false);
    insta::assert_snapshot!(golden::seen(|width| lines(
        &asked(&["--dry-run"]),
        &seen,
        width
    )));
}

#[test]
fn what_became_of_them() {
    let mut seen = Seen::default();
    let moved = json!({ "id": "a", "from": 3, "outcome": "moved", "reasons": [], "why": null });
    let unknown = json!({ "id": "b", "from": 3, "outcome": "unknown", "reasons": [], "why": "nothing was committed within the time a caller waits" });
    seen.add(&[moved, unknown], false);
    let asked = asked(&["--why", "x", "--from", "3"]);
    let mut text = golden::seen(|width| lines(&asked, &seen, width));
    text.push_str(&golden::seen(|width| {
        lines(&asked, &Seen::default(), width)
    }));
    insta::assert_snapshot!(text);
}

#[test]
fn who_runs_on_older_versions() {
    let answer = json!({ "definition": "release", "version": 4, "older": [
        { "version": 2, "sagas": 1, "more": false }, { "version": 3, "sagas": 10_000, "more": true } ] });
    insta::assert_snapshot!(golden::seen(|width| applied::older(&answer, width)));
}

#[test]
fn a_moved_saga() {
    let value = json!({
        "id": "3f1c8a02-7d1e-5b6f-9a51-0c8f8a4d2b11", "definition": "release", "version": 4, "status": "running", "paused": false,
        "labels": {}, "by": "operator:anna", "now": NOW, "started_at": NOW - 65_000, "changed_at": NOW - 1_000, "ended_at": null,
        "deadline_at": null, "unwinding": null, "output": null, "steps": [], "work_items": [],
        "upgraded": { "from": 3, "at": NOW - 5_000, "by": "admin on behalf of anna", "reason": "the page is told too" },
    });
    let saga: Saga = typed(value).unwrap();
    insta::assert_snapshot!(golden::seen(|width| saga::lines(
        &saga,
        NOW,
        width,
        Detail::Steps
    )));
}
