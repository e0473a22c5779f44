//! Every screen at 60, 80 and 160 columns, from fixed answers. No line is wider than the screen, but for commands, which stand whole so that
//! they can be copied.

use serde_json::{Value, json};

use super::diagnostics::{self, Diagnostic};
use super::events::{self, Kept};
use super::progress::Said;
use super::saga::{self, Detail};
use super::{
    applied, cluster, counts, dead, explain, fleet, manual, mermaid, plan, sagas, schedules,
    tokens, types, work,
};
use crate::commands::{check, left_out, top, typed};
use crate::out::{Line, Screen, Table, width as wide};
use crate::view::{Row, Saga, TaskType};

pub(super) const NOW: u64 = 1_790_000_000_000;
pub(super) const ID: &str = "3f1c8a02-7d1e-5b6f-9a51-0c8f8a4d2b11";

/// What a screen looks like at every width.
pub(super) fn seen(draw: impl Fn(usize) -> Vec<Line>) -> String {
    seen_but_for(|_| false, draw)
}

/// The same, where some lines are to be copied and so stand whole.
fn seen_but_for(whole: fn(&str) -> bool, draw: impl Fn(usize) -> Vec<Line>) -> String {
    let mut all = String::new();
    for columns in [60, 80, 160] {
        let mut screen = Screen::kept(columns);
        for line in draw(columns) {
            screen.line(&line);
        }
        let text = screen.text();
        for line in text.lines() {
            let command = line.contains("baton ")
                || line.contains("task: ")
                || line.starts_with("      ") && line.contains(": ")
                // a word that fits nowhere stands whole
                || line.split_whitespace().any(|word| wide(word) > 30)
                || whole(line);
            assert!(
                wide(line) <= columns || command,
                "{} cells at {columns}: {line}",
                wide(line)
            );
            assert_eq!(line.trim_end(), line, "blanks at the end");
        }
        all.push_str(&format!(
            "{:-<columns$}\n{text}\n",
            format!("--- {columns} ")
        ));
    }
    all
}

pub(super) fn table(draw: impl Fn(usize) -> Table) -> String {
    seen(|width| draw(width).lines(width))
}

fn step(id: &str, phase: &str, more: Value) -> Value {
    let mut step = json!({
        "id": id, "task": "file.write@1", "pool": "default", "phase": phase, "since": NOW - 59_000,
        "began_at": NOW - 61_000, "tries": 1, "attempts": [], "pivot": false, "why": null, "last_failure": null,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        step[name] = value.clone();
    }
    step
}

fn a_saga(status: &str, steps: Value) -> Value {
    json!({
        "id": ID, "definition": "publish-page", "version": 3, "status": status, "paused": false,
        "labels": { "site": "vienna", "team": "web" }, "by": "operator:anna", "now": NOW,
        "started_at": NOW - 65_000, "changed_at": NOW - 1_000, "ended_at": null, "deadline_at": null,
        "unwinding": null, "output": null, "steps": steps, "work_items": [],
    })
}

fn running() -> Value {
    let claimed = json!([
        { "direction": "do", "number": 1, "dispatch": 1, "stage": "closed", "worker": "worker-a1", "offered_at": NOW - 60_000, "held": false },
        { "direction": "do", "number": 2, "dispatch": 2, "stage": "claimed", "worker": "worker-b2-with-a-long-name", "offered_at": NOW - 9_000, "held": false },
    ]);
    let mut saga = a_saga(
        "running",
        json!([
            step(
                "config",
                "succeeded",
                json!({ "attempts": [{ "direction": "do", "number": 1, "stage": "reported", "worker": "worker-a1" }] })
            ),
            step(
                "page",
                "trying",
                json!({ "tries": 2, "attempts": claimed, "why": "attempt 2 runs on worker-b2-with-a-long-name", "since": NOW - 9_000 })
            ),
            step(
                "served-by-nobody-and-long-named",
                "unserved",
                json!({ "task": "switch.set-vlan@1", "pool": "vienna", "why": "nobody serves switch.set-vlan@1 in pool vienna, for 4m 51s more", "tries": 0, "began_at": null })
            ),
            step(
                "restarted",
                "backoff",
                json!({ "task": "service.restart@1", "tries": 3, "why": "tries again in 12s", "last_failure": { "code": "unit-failed", "message": "nginx.service: exit code 1\u{1b}[2J and more", "retryable": true } })
            ),
            step(
                "released",
                "waiting",
                json!({ "task": null, "kind": "approve", "pivot": true, "why": "waits for page, served-by-nobody-and-long-named, restarted", "tries": 0, "began_at": null })
            ),
        ]),
    );
    saga["deadline_at"] = json!(NOW + 600_000);
    saga
}

pub(super) fn item(number: u32, kind: &str, choices: Value) -> Value {
    json!({
        "number": number, "kind": kind, "step": "page", "owner": "web-team", "opened_at": NOW - 120_000, "choices": choices,
        "title": "the undo of step `page` failed for good: what stands there now is neither what it was nor what the step wrote",
        "failure": { "code": "changed-by-others", "message": "sha256 differs", "retryable": false },
    })
}

fn parked() -> Value {
    let mut saga = a_saga(
        "parked",
        json!([
            step("config", "undone", json!({})),
            step(
                "page",
                "undo-parked",
                json!({ "why": "a person has to decide: work item 1" })
            ),
            step(
                "check",
                "failed",
                json!({ "task": "check.http@1", "tries": 5, "last_failure": { "code": "status", "message": "503, expected 200", "retryable": true } })
            ),
        ]),
    );
    saga["unwinding"] = json!({ "step-failed": { "step": "check", "failure": { "message": "503, expected 200" } } });
    saga["work_items"] = json!([item(
        1,
        "undo-failed",
        json!(["retry", "resolve-undone", "abandon"])
    )]);
    saga
}

fn show(value: Value, detail: Detail) -> String {
    let saga: Saga = typed(value).unwrap();
    seen(|width| saga::lines(&saga, NOW, width, detail))
}

#[test]
fn a_running_saga() {
    insta::assert_snapshot!(show(running(), Detail::Steps));
}

#[test]
fn every_attempt() {
    let mut saga = running();
    let one = |step: &str, direction: &str, number: u32, more: Value| {
        let mut one = json!({
            "step": step, "direction": direction, "round": 1, "number": number, "sent": 1, "sent_at": NOW - 60_000, "worker": "worker-a1",
            "started_at": NOW - 59_000, "ended_at": NOW - 57_000, "outcome": "succeeded", "failure": null, "reason": null,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            one[name] = value.clone();
        }
        one
    };
    let failure = json!({ "code": "http-503", "message": "https://tickets.example/api/tickets answers 503: busy, try again later", "retryable": true });
    saga["attempts"] = json!([
        one("config", "do", 1, json!({})),
        one(
            "page",
            "do",
            1,
            json!({ "outcome": "unknown", "reason": "its worker was lost: no heartbeat for its lease" })
        ),
        one("page", "probe", 1, json!({ "outcome": "did-not-happen" })),
        one(
            "page",
            "do",
            2,
            json!({ "sent": 2, "worker": "worker-b2-with-a-long-name", "started_at": NOW - 9_000, "ended_at": null, "outcome": null })
        ),
        one(
            "restarted",
            "do",
            3,
            json!({ "outcome": "failed", "failure": failure })
        ),
        one("config", "undo", 1, json!({ "round": 2 })),
        one(
            "served-by-nobody-and-long-named",
            "do",
            1,
            json!({ "outcome": "not-run", "started_at": null, "worker": null, "reason": "no queue takes its task type: no worker serves it" })
        ),
    ]);
    saga["attempts_left_out"] = json!(3);
    insta::assert_snapshot!(show(saga, Detail::Attempts));
}

#[test]
fn a_parked_saga() {
    insta::assert_snapshot!(show(parked(), Detail::Steps));
}

/// What went wrong with a parked step is said where a person decides about it, and nowhere else.
#[test]
fn a_parked_step_says_once_what_went_wrong() {
    let failure = json!({ "code": "unit-failed", "message": "nginx.service: exit code 1", "retryable": true });
    let mut saga = a_saga(
        "parked",
        json!([
            step("config", "succeeded", json!({})),
            step(
                "page",
                "parked",
                json!({ "task": "service.restart@1", "tries": 3, "why": "a person has to decide: work item 1", "last_failure": failure })
            ),
        ]),
    );
    let mut parked = item(1, "step-failed", json!(["retry", "skip", "cancel"]));
    parked["title"] = json!("page failed: nginx.service: exit code 1");
    parked["failure"] = failure;
    saga["work_items"] = json!([parked]);
    let text = show(saga, Detail::Steps);
    assert_eq!(
        text.matches("exit code 1").count(),
        3,
        "once at each width:\n{text}"
    );
    insta::assert_snapshot!(text);
}

#[test]
fn a_completed_saga() {
    let mut saga = a_saga(
        "completed",
        json!([
            step("config", "succeeded", json!({})),
            step("page", "succeeded", json!({}))
        ]),
    );
    saga["ended_at"] = json!(NOW - 3_000);
    saga["output"] =
        json!({ "page": "/srv/www/index.html", "sha256": "0f".repeat(32), "bytes": 4711 });
    insta::assert_snapshot!(show(saga, Detail::Steps));
}

/// Only how it ended is known any more, and where the rest lies.
#[test]
fn a_purged_saga() {
    let mut saga = a_saga("completed", json!([]));
    saga["ended_at"] = json!(NOW - 3_000);
    saga["labels"] = json!({});
    let archive = "2026/11/sagas-2026-11-28-p00-019ac6f5-0000-7000-8000-000000000001.jsonl.gz";
    saga["purged"] = json!({ "at": NOW - 1_000, "archive": archive });
    let mut text = show(saga.clone(), Detail::Steps);
    saga["purged"]["archive"] = Value::Null;
    text.push_str(&show(saga, Detail::Steps));
    insta::assert_snapshot!(text);
}

fn rejected() -> Value {
    json!({ "code": "rejected", "message": "anna: not today", "retryable": false })
}

/// What never began, what nobody answered and what was stopped is called so, and what went wrong without harm is said all the same.
#[test]
fn a_compensated_saga() {
    let unbegun = || json!({ "tries": 0, "began_at": null, "kind": "task" });
    let mut saga = a_saga(
        "compensated",
        json!([
            step("config", "undone", json!({ "done_at": NOW - 60_000 })),
            step(
                "told",
                "continued",
                json!({ "task": "http.request@1", "tries": 3, "last_failure": { "code": "http-503", "message": "the chat is away", "retryable": true } })
            ),
            step(
                "released",
                "failed",
                json!({ "task": null, "kind": "approve", "tries": 0, "last_failure": rejected() })
            ),
            step(
                "other",
                "failed",
                json!({ "task": null, "kind": "approve", "tries": 0 })
            ),
            step(
                "paid",
                "failed",
                json!({ "task": null, "kind": "wait", "tries": 0 })
            ),
            step("restarted", "waiting", unbegun()),
        ]),
    );
    saga["ended_at"] = json!(NOW - 3_000);
    saga["unwinding"] = json!({ "step-failed": { "step": "released", "failure": rejected() } });
    insta::assert_snapshot!(show(saga, Detail::Steps));
}

/// What has failed or asks a person stands first; however many items there are, the screen is of one size.
#[test]
fn a_fan_out() {
    let refused = json!({ "code": "unit-failed", "message": "nginx.service: exit code 1", "retryable": false });
    let mut first = vec![
        step(
            "restart[412]",
            "parked",
            json!({ "task": "service.restart@1", "last_failure": refused, "why": "a person has to decide: work item 1" }),
        ),
        step(
            "restart[7]",
            "continued",
            json!({ "task": "service.restart@1", "last_failure": refused }),
        ),
    ];
    first.extend((420..440).map(|n| {
        step(
            &format!("restart[{n}]"),
            "trying",
            json!({ "task": "service.restart@1", "why": "attempt 1 was sent 2s ago" }),
        )
    }));
    let fan = json!({ "items": 1_000, "begun": 440, "under_way": 21, "done": 418, "skipped": 0, "tolerated": 1, "failed": 0, "undone": 0, "may_fail": 50, "first": first });
    let saga = a_saga(
        "running",
        json!([
            step(
                "restart",
                "fanned-out",
                json!({ "task": "service.restart@1", "fan": fan, "tries": 0, "why": "419 of 1000 items are settled, 21 under way" })
            ),
            step(
                "report",
                "waiting",
                json!({ "tries": 0, "began_at": null, "why": "waits for restart" })
            ),
        ]),
    );
    insta::assert_snapshot!(show(saga, Detail::Steps));
}

#[test]
fn an_abandoned_saga() {
    let mut saga = a_saga(
        "abandoned",
        json!([
            step(
                "config",
                "undo-parked",
                json!({ "last_failure": { "code": "changed-by-others", "message": "sha256 differs", "retryable": false } })
            ),
            step(
                "page",
                "trying",
                json!({ "kind": "task", "may_have_effect": true })
            ),
            step(
                "released",
                "asked",
                json!({ "task": null, "kind": "approve", "tries": 0 })
            ),
            step(
                "restarted",
                "waiting",
                json!({ "tries": 0, "began_at": null, "kind": "task" })
            ),
        ]),
    );
    saga["ended_at"] = json!(NOW - 3_000);
    saga["unwinding"] = json!({ "cancelled": { "by": "anna", "reason": "wrong site" } });
    saga["abandoned"] = json!({ "by": "operator:anna", "at": NOW - 3_000,
        "reason": "site.conf was put right by hand together with the hosting team, ticket 4711" });
    let mut text = show(saga.clone(), Detail::Steps);
    let saga: Saga = typed(saga).unwrap();
    let mut screen = Screen::kept(160);
    for line in &Said::default().changes(&saga) {
        screen.line(line);
    }
    text.push_str(&screen.text());
    assert!(
        !text.contains("trying") && !text.contains("asked"),
        "{text}"
    );
    insta::assert_snapshot!(text);
}

#[test]
fn more_steps_than_lines() {
    let steps: Vec<Value> = (0..40)
        .map(|n| match n {
            0..=19 => step(&format!("step-{n}"), "succeeded", json!({})),
            20..=22 => step(
                &format!("step-{n}"),
                "trying",
                json!({ "why": format!("attempt 1 runs on worker-{n}") }),
            ),
            _ => step(
                &format!("step-{n}"),
                "waiting",
                json!({ "tries": 0, "began_at": null }),
            ),
        })
        .collect();
    let saga: Saga = typed(a_saga("running", json!(steps))).unwrap();
    insta::assert_snapshot!(seen(|width| {
        let lines = saga::live(&saga, NOW, width, 20);
        assert!(lines.len() <= 20);
        lines
    }));
}

#[test]
fn how_it_goes_on() {
    let mut first = running();
    first["steps"][1]["phase"] = json!("waiting");
    first["changed_at"] = json!(NOW - 60_000);
    let all = [first, running(), running(), parked()].map(|value| typed::<Saga>(value).unwrap());
    let mut said = Said::default();
    let lines: Vec<Line> = all.iter().flat_map(|saga| said.changes(saga)).collect();
    let mut screen = Screen::kept(160);
    for line in &lines {
        screen.line(line);
    }
    insta::assert_snapshot!(screen.text());
}

fn rows() -> Vec<Row> {
    let row = |id: &str, status: &str, paused: bool, ago: u64, took: Option<u64>| {
        typed(json!({
            "id": id, "definition": "insert-line-of-code", "version": 12, "status": status, "paused": paused,
            "labels": { "site": "vienna", "repository": "infrastructure/main" }, "started_at": NOW - ago,
            "changed_at": NOW - ago, "ended_at": took.map(|took| NOW - ago + took),
        }))
        .unwrap()
    };
    vec![
        row(ID, "running", true, 12_000, None),
        row(
            "9b2f0c44-1111-5b6f-9a51-0c8f8a4d2b11",
            "compensating",
            false,
            200_000,
            None,
        ),
        row(
            "77aa01fe-2222-5b6f-9a51-0c8f8a4d2b11",
            "completed",
            false,
            90_000_000,
            Some(1_250),
        ),
    ]
}

#[test]
fn a_list_of_sagas() {
    insta::assert_snapshot!(table(|width| sagas::table(&rows(), NOW, width)));
}

#[test]
fn sagas_as_they_change() {
    let mut screen = Screen::kept(160);
    for row in rows() {
        screen.line(&sagas::change(&row, NOW, 80));
    }
    insta::assert_snapshot!(screen.text());
}

#[test]
fn what_people_have_to_decide() {
    let mut approval = item(2, "approval", json!(["approve", "reject"]));
    approval["title"] = json!("Let 10.0.0.7 back?");
    approval["failure"] = Value::Null;
    let closed = item(3, "late-evidence", json!(["acknowledge"]));
    let all: Vec<work::Open> = typed(json!([
        { "saga": ID, "item": item(1, "undo-failed", json!(["retry", "edit", "substitute", "resolve-done", "resolve-undone", "skip", "cancel", "abandon"])), "closed": null },
        { "saga": ID, "item": approval, "closed": null },
        { "saga": ID, "item": closed, "closed": { "at": NOW - 60_000, "by": "operator:anna" } },
    ]))
    .unwrap();
    insta::assert_snapshot!(table(|width| work::table(&all, NOW, width)));
    insta::assert_snapshot!(
        "a_work_item",
        seen(|width| work::item(ID, &all[0].item, NOW, width))
    );
}

#[test]
fn workers_and_what_they_run() {
    let rows = [
        json!({ "worker": "host-a-4711", "pools": ["default", "vienna"], "version": "0.1.0", "host": "host-a", "concurrency": 8, "silent": false,
            "heard_at": NOW - 2_000, "types": ["file.write@1", "test.echo@1"], "running": [{ "saga": ID, "step": "page", "since": NOW - 12_000 }] }),
        json!({ "worker": "host-b-1", "pools": ["default"], "version": "0.1.0", "concurrency": 4, "silent": true,
            "heard_at": NOW - 62_000, "types": ["file.write@1"], "running": [] }),
    ];
    insta::assert_snapshot!(
        table(|width| fleet::workers(&rows, NOW, width, false))
            + &table(|width| fleet::workers(&rows, NOW, width, true))
    );
}

#[test]
fn orchestrators_and_what_they_drive() {
    let member = |name: &str, alive: bool, ready: bool, partitions: usize| {
        json!({ "name": name, "version": "0.1.0", "alive": alive, "ready": ready, "joined_at": NOW - 7_200_000,
            "lease_left_ms": if alive { 8_700 } else { -62_000 }, "partitions": partitions })
    };
    let partition = |partition: u8, owner: Option<&str>| {
        json!({ "partition": partition, "owner": owner, "epoch": 3, "inbox": format!("0{partition}"), "log_rows": 4_000,
            "lease_left_ms": owner.map(|_| 9_100), "unpublished_rows": partition })
    };
    let several = json!({ "asked": "host-b-52", "leader": "host-a-17", "now": NOW, "members": [
        member("host-a-17", true, true, 2), member("host-b-52", true, false, 1), member("host-c-with-a-long-name-4711", false, true, 0),
    ], "partitions": [
        partition(0, Some("host-a-17")), partition(1, Some("host-b-52")), partition(2, None), partition(3, Some("host-a-17")),
    ]});
    let several: cluster::Cluster = typed(several).unwrap();
    insta::assert_snapshot!(
        table(|_| cluster::members(&several)) + &table(|_| cluster::partitions(&several))
    );
}

#[test]
fn where_time_goes() {
    let answer = json!({ "over_rows": 10_000, "since": NOW - 3_600_000, "items": [
        { "task_type": "file.write@1", "pool": "default", "waiting": 0, "running": 1, "wait_p50_ms": 3, "wait_p95_ms": 12, "run_p50_ms": 5, "run_p95_ms": 40, "failed_share": 0.0, "workers": 2, "concurrency": 16 },
        { "task_type": "git.checkout@1", "pool": "default", "waiting": 37, "running": 8, "wait_p50_ms": 4_000, "wait_p95_ms": 65_000, "run_p50_ms": 2_100, "run_p95_ms": 9_000, "failed_share": 0.25, "workers": 1, "concurrency": 8 },
        { "task_type": "switch.set-vlan@1", "pool": "vienna", "waiting": 3, "unserved": 3, "longest_wait_ms": 251_000, "running": 0, "failed_share": null, "workers": 0, "concurrency": 0 },
        { "task_type": "check.http@1", "pool": "edge", "waiting": 0, "running": 0, "failed_share": 0.001, "workers": 1, "concurrency": 8 },
    ]});
    insta::assert_snapshot!(seen(|width| top::lines(&answer, width).unwrap()));
    // what is held late may run all the while: it is no bottleneck as long as there is a place for it
    let late = json!({ "over_rows": 12, "since": NOW - 3_600_000, "items": [
        { "task_type": "file.write@1", "pool": "default", "waiting": 0, "waiting_or_running": 5, "running": 0, "wait_p50_ms": 3, "wait_p95_ms": 12, "run_p50_ms": 5, "run_p95_ms": 40, "workers": 1, "concurrency": 8 },
        { "task_type": "check.http@1", "pool": "default", "waiting": 0, "running": 2, "workers": 1, "concurrency": 8 },
    ]});
    insta::assert_snapshot!(
        "what_may_run_all_the_while",
        seen(|width| top::lines(&late, width).unwrap())
    );
    let full = json!({ "items": [
        { "task_type": "file.write@1", "pool": "default", "waiting": 3, "waiting_or_running": 8, "workers": 1, "concurrency": 8 },
    ]});
    let lines = top::lines(&full, 160).unwrap();
    let text: String = lines
        .iter()
        .flat_map(|line| &line.0)
        .map(|span| span.text.as_str())
        .collect();
    assert!(
        text.contains(
            "bottleneck: file.write@1 in pool default, 3 waiting; all 8 places are taken"
        ),
        "{text}"
    );
    let unread = json!({ "items": [], "unreadable": ["one", "other"] });
    let lines = top::lines(&unread, 160).unwrap();
    let last = lines.last().and_then(|line| line.0.first());
    let words = "without what cannot be read of one, other: see baton show one";
    assert_eq!(last.map(|span| span.text.as_str()), Some(words));
    // a list names them as well; what to ask for differs from list to list
    let lines = left_out(&unread, None, 160);
    let words = "without what cannot be read of one, other";
    let last = lines.last().and_then(|line| line.0.first());
    assert_eq!(last.map(|span| span.text.as_str()), Some(words));
    assert!(left_out(&json!({ "items": [] }), None, 160).is_empty());
}

#[test]
fn task_types_and_the_manual_page_of_one() {
    let all: Vec<TaskType> = typed(check::shipped_json().unwrap()).unwrap();
    let few = ["file.write@1", "test.echo@1"];
    let mut few = few.map(|name| {
        all.iter()
            .find(|one| one.task_type == name)
            .unwrap()
            .clone()
    });
    // which none of the shipped types needs
    few[0].lock = Some("file/${ input.path }".to_owned());
    insta::assert_snapshot!(table(|_| fleet::types(&few)));
    insta::assert_snapshot!("manual page", seen(|width| manual::page(&few[0], width)));
    let request = all
        .iter()
        .find(|one| one.task_type == "http.request@1")
        .unwrap();
    insta::assert_snapshot!(
        "manual page of a choice",
        seen(|width| manual::page(request, width))
    );
    for one in &all {
        // every shipped type has a page that fits
        seen(|width| manual::page(one, width));
    }
}

#[test]
fn events_kept() {
    let trigger = json!({ "definition": "ship-order", "version": 2, "trigger": 0 });
    let rows = [
        json!({ "event": { "id": "4711", "source": "/shop", "type": "com.example.paid", "subject": "order/4711", "data": { "order": 4711, "by": "anna" } },
            "received_at": NOW - 5_000, "done": true, "effects": [
                { "what": "started", "trigger": trigger, "saga": ID, "key": null }, { "what": "woke", "saga": ID, "step": "paid" },
                { "what": "refused", "trigger": trigger, "error": "`when` is no truth value" } ] }),
        json!({ "event": { "id": "0198c6a2-7d1e-7b6f-9a51-0c8f8a4d2b11", "source": "/antivirus/central", "type": "com.example.antivirus.detected" },
            "received_at": NOW - 500_000, "done": true, "effects": [] }),
    ]
    .map(|row| typed::<Kept>(row).unwrap());
    insta::assert_snapshot!(table(|_| events::table(&rows, NOW)));
    insta::assert_snapshot!("one event", seen(|width| events::one(&rows[0], NOW, width)));
}

#[test]
fn what_starts_by_the_clock() {
    let row = json!({ "definition": "nightly-backup", "version": 4, "trigger": 0, "schedule": "0 2 * * *", "timezone": "Europe/Vienna",
        "next_at": NOW + 7_500_000, "last_at": NOW - 79_000_000, "last_saga": ID, "paused": false, "skipped": 0, "skipped_at": null, "skipped_why": null });
    let mut paused = row.clone();
    paused["paused"] = json!(true);
    let mut skipped = row.clone();
    skipped["skipped"] = json!(3);
    skipped["skipped_at"] = json!(NOW - 3_600_000);
    skipped["skipped_why"] = json!(format!("saga {ID} of the firing before had not ended"));
    let rows = [row, paused, skipped];
    insta::assert_snapshot!(table(|width| schedules::table(&rows, NOW, width)));
}

#[test]
fn tokens_definitions_and_dead_letters() {
    let rows = [
        json!({ "name": "admin", "role": "admin", "expires_at": null, "made_at": NOW - 86_400_000 }),
        json!({ "name": "anna", "role": "operator", "expires_at": NOW + 86_400_000, "made_at": NOW - 1_000 }),
        json!({ "name": "ci", "role": "viewer", "expires_at": NOW - 1 }),
    ];
    let definitions = [
        json!({ "definition": "publish-page", "version": 3, "at": NOW - 3_600_000, "by": "operator:anna" }),
    ];
    let letters = [
        json!({ "id": ID, "at": NOW - 60_000, "reason": "undecodable", "queue": "baton.inbox.00", "saga": null, "error": "expected value at line 1 column 1, and a long sentence about what that means" }),
    ];
    let all = table(|_| tokens::table(&rows, NOW))
        + &table(|_| tokens::definitions(&definitions, NOW))
        + &table(|width| dead::table(&letters, NOW, width));
    insta::assert_snapshot!(all);
}

#[test]
fn what_codes_mean() {
    use baton_engine::definition::{explain as page_of, explanations};
    let page = page_of("BT0024").unwrap();
    insta::assert_snapshot!(seen(|width| explain::every(explanations(), width)));
    // its examples
    let whole = |line: &str| line.starts_with("  ");
    insta::assert_snapshot!(
        "a code",
        seen_but_for(whole, |width| explain::page(&page, width))
    );
    for page in explanations() {
        // every page fits
        seen_but_for(whole, |width| explain::page(&page, width));
    }
}

#[test]
fn a_token_that_was_made_and_who_its_bearer_is() {
    let until = json!({ "name": "anna-of-the-web-team", "role": "operator", "expires_at": NOW + 86_400_000 });
    let ever = json!({ "name": "admin", "role": "admin", "expires_at": null });
    insta::assert_snapshot!(seen(|width| {
        let mut lines = tokens::made("anna-of-the-web-team", "operator", width);
        lines.extend(tokens::whoami(&until, NOW, width));
        lines.extend(tokens::whoami(&ever, NOW, width));
        lines
    }));
}

#[test]
fn what_was_registered_and_what_is_lacking_for_it() {
    let answer = json!({ "definition": "release", "version": 1, "steps": 11, "warnings": [],
        "lacks": ["the hook `github-push` refuses every request: its secret `github` is not configured; add [hooks.github] with secret_file or secret_env to the orchestrator's configuration and start it again"] });
    insta::assert_snapshot!(seen(|width| {
        let mut lines = applied::registered(&answer, RELEASE, width);
        lines.extend(applied::lacks(&answer, width));
        lines
    }));
}

#[test]
fn many_sagas_by_their_numbers() {
    let all = [
        ("completed", 104),
        ("running", 7),
        ("asked", 12),
        ("compensating", 1),
        ("compensated", 3),
        ("parked", 2),
        ("abandoned", 1),
    ];
    let all = all.into_iter().collect();
    let label = "each=8c1f02ab77de";
    let mut text = seen(|width| {
        let mut lines = counts::lines(&all, label);
        let rows = rows().into_iter().zip([3, 17, 104]);
        let rows = rows.map(|(row, line)| (line, row)).collect();
        lines.push(Line::new());
        lines.extend(sagas::by_line(rows, 20, width).lines(width));
        lines
    });
    text.push_str(&counts::sentence(&all));
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_wrong_with_a_definition() {
    let source = "saga: wrong\nversion: 1\nsteps:\n  - id: a\n    tusk: test.echo@1\n    with: { value: \"${ input.somewhere.deep.inside.of.an.object.that.is.very.long.indeed }\", other: [1, 2, 3], more: ${ nothing.here } }\n";
    let one = |line, column, message: &str, help: &str| Diagnostic {
        code: "BT0003".to_owned(),
        severity: "error".to_owned(),
        line,
        column,
        width: 0,
        message: message.to_owned(),
        help: help.to_owned(),
    };
    let all = [
        one(5, 5, "a step has no key `tusk`", "did you mean `task`?"),
        one(
            6,
            130,
            "there is no step `nothing`",
            "an expression reads `input` and the outputs of the steps before it, by their ids; text that is no expression needs quotes inside `${ … }`",
        ),
    ];
    insta::assert_snapshot!(seen(|width| all
        .iter()
        .flat_map(|one| diagnostics::lines(one, "sagas/wrong.yaml", source, width))
        .collect()));
}

/// A shipped saga as it stands in the tree.
const RELEASE: &str = include_str!("../../../sagas/release.yaml");
/// One with a group.
const ROLL_OUT: &str = include_str!("../../../sagas/canonical/roll-out.yaml");

#[test]
fn what_a_definition_is_going_to_do() {
    let catalogue = check::known(None).unwrap();
    let shapes = [
        RELEASE.to_owned(),
        "saga: waits\nversion: 3\nsteps:\n  - { id: paid, wait: { event: com.example.paid, timeout: 90m } }\n  - { id: mail, after: [], task: acme.mail-somebody@1, retry: { attempts: forever } }\n  - { id: write, after: [paid, mail], if: \"${ input.wanted }\", task: file.write@1, with: { path: /srv/a, content: x }, pivot: true }\n  - { id: ok, approve: { by: operator, timeout: 7d, on_reject: continue, on_timeout: continue } }\n  - { id: told, emit: { type: com.example.told } }\n".to_owned(),
        ROLL_OUT.to_owned(),
    ];
    let plans: Vec<_> = shapes
        .iter()
        .map(|yaml| {
            let definition = baton_engine::Definition::parse(yaml).unwrap();
            baton_engine::plan::plan(&definition, &catalogue, None)
        })
        .collect();
    let mut all = seen(|width| {
        plans
            .iter()
            .flat_map(|one| plan::lines(one, width))
            .collect()
    });
    for one in &plans {
        all.push_str(&mermaid::mermaid(one));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn every_expression_with_its_type() {
    let catalogue = check::known(None).unwrap();
    let how = baton_engine::definition::Unannounced::Warned;
    let all = [("release.yaml", RELEASE), ("roll-out.yaml", ROLL_OUT)].map(|(name, text)| {
        let found = baton_engine::definition::check(text, &catalogue, how);
        (name.to_owned(), found.expressions)
    });
    insta::assert_snapshot!(seen(|width| types::lines(&all, width)));
}
