//! What people have to decide, with whose it is and by when, at 60, 80 and 160 columns.

use serde_json::{Value, json};

use super::golden::{ID, NOW, item, seen, table};
use super::work;
use crate::commands::typed;

#[test]
fn what_somebody_has_to_decide_by_when() {
    let given = |number: u32, more: Value| {
        let mut one = item(number, "step-failed", json!(["retry"]));
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
