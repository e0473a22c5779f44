//! What people have to decide, with whose it is and by when, at 60, 80 and 160 columns.

use serde_json::{Value, json};

use super::golden::{ID, NOW, item, seen, table};
use super::work;
use super::work_item::Detail;
use crate::commands::typed;

#[test]
fn what_somebody_has_to_decide_by_when() {
    let given = |number: u32, more: Value| {
        let mut one = item(
            number,
            "step-failed",
            json!(["retry", "edit", "substitute"]),
        );
        let more = more.as_object().unwrap().clone();
        one.as_object_mut().unwrap().extend(more);
        json!({ "saga": ID, "item": one, "closed": null })
    };
    let ladder =
        json!([{ "at": NOW - 60_000, "to": "lead" }, { "at": NOW + 5_400_000, "to": "manager" }]);
    let late =
        json!({ "assignee": "lead", "due_at": NOW - 90_000, "escalate": ladder, "escalated": 1 });
    let taken = json!({ "by": "bob on behalf of ann", "at": NOW - 30_000, "reason": "mine", "from": "lead" });
    let taken = json!({ "assignee": "bob", "due_at": NOW + 7_200_000, "escalate": ladder, "escalated": 1, "taken": taken });
    let all: Vec<work::Open> = typed(json!([
        given(1, late),
        given(2, taken),
        given(3, json!({ "assignee": "net-team", "escalate": ladder })),
        given(4, json!({})),
    ]))
    .unwrap();
    let items = all
        .iter()
        .map(|one| seen(|width| work::item(ID, &one.item, NOW, width)));
    insta::assert_snapshot!(
        table(|width| work::table(&all, NOW, width)) + &items.collect::<String>()
    );
}

#[test]
fn one_work_item_whole() {
    let offer = |choice: &str, does: &str, words: &str, refused: Value| json!({ "choice": choice, "does": does, "command": format!("baton {words}"), "refused": refused, "task_types": [] });
    let mut substitute = offer(
        "substitute",
        "have another task do it",
        &format!("edit {ID} page --task file.write@2 --input JSON -m WHY"),
        Value::Null,
    );
    substitute["task_types"] = json!(["file.write@2", "file.ensure-line@1"]);
    substitute["more"] = json!(3);
    let attempt = |number: u32, more: Value| {
        let mut one = json!({
            "step": "page", "direction": "undo", "round": 1, "number": number, "sent": 1, "sent_at": NOW - 60_000, "worker": "worker-a1",
            "started_at": NOW - 59_000, "ended_at": NOW - 57_000, "outcome": "failed", "reason": null,
            "failure": { "code": "changed-by-others", "message": "sha256 differs", "retryable": false },
        });
        let more = more.as_object().unwrap().clone();
        one.as_object_mut().unwrap().extend(more);
        one
    };
    let input = |round: u32, difference: &str| {
        json!({
            "direction": "undo", "round": round, "task": "file.write@1", "pool": "default", "at": NOW - 61_000, "bytes": 52,
            "input": { "path": "/etc/motd", "token": "***" }, "difference": difference,
        })
    };
    let mut large = input(3, "");
    large["input"] = Value::Null;
    large["bytes"] = json!(40_000);
    let detail: Detail = typed(json!({
        "saga": ID, "definition": "release", "version": 1, "status": "parked", "paused": true, "overdue": false, "now": NOW,
        "item": item(1, "undo-failed", json!(["retry"])),
        "choices": [
            offer("retry", "try it again", "", json!("retry is not possible: an attempt of page may still be acting; wait until it has closed")),
            offer("edit", "try it with another input", &format!("edit {ID} page --set PLACE=VALUE -m WHY"), Value::Null),
            substitute,
            offer("resolve-undone", "it was undone by hand", &format!("resolve {ID} page --as undone -m WHY"), Value::Null),
            offer("abandon", "give up, half done as it is", &format!("abandon {ID} -m WHY"), Value::Null),
        ],
        "tried": { "attempts": [attempt(1, json!({})), attempt(2, json!({ "round": 2, "sent": 2 }))], "left_out": 3 },
        "inputs": [input(1, ""), input(2, "/path: \"/etc/motd\" -> \"/etc/issue\""), large],
        "errors": [{ "code": "changed-by-others", "message": "sha256 differs", "at": NOW - 57_000, "times": 2 }],
        "decisions": [{ "at": NOW - 58_000, "action": "edit", "by": "anna", "reason": "it stands in another file here", "round": 2 }],
        "meanwhile": {
            "under_way": [{ "step": "config", "phase": "undoing", "why": "waits for a worker: file.write@1" }],
            "left_out": 1, "settled": 4, "waiting": 2, "other_items": 1,
        },
    }))
    .unwrap();
    insta::assert_snapshot!(seen(|width| detail.lines(NOW, width)));
}
