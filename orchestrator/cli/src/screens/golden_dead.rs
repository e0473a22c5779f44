//! Dead letters and replays of many at 60, 80 and 160 columns, from fixed answers: what can be done stands below each.

use serde_json::{Value, json};

use super::golden::{ID, NOW, seen, table};
use super::{dead, dead_ops};
use crate::out::Line;

fn text(lines: &[Line]) -> String {
    let line = |line: &Line| {
        let spans = line.0.iter().map(|span| span.text.as_str());
        spans.collect::<String>()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn a_letter(more: Value) -> Value {
    let mut letter = json!({
        "id": ID, "state": "dead", "group": "d3542a8e18df", "replays": 1, "published": false, "at": NOW - 3_600_000, "reason": "broker-rejected",
        "error": "rejected by a consumer of orders.in", "queue": "orders.in", "exchange": "orders", "key": "new", "kind": "order", "saga": null,
        "changed_at": NOW - 60_000, "changed_by": "anna", "why": "the parser is mended", "saga_now": null, "masked": false, "properties": {},
        "outcome": "the broker refused it at orders/new: a queue there is full, or has lost its majority; others that are bound there may have it",
        "body": "{\"n\":1}", "edits": [],
        "history": [{ "at": NOW - 60_000, "what": "refused", "by": "anna", "why": "the parser is mended", "text": "a queue there is full, or has lost its majority" }],
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        letter[name] = value.clone();
    }
    letter
}

fn a_replay(more: Value) -> Value {
    let mut replay = json!({
        "id": "019b3c5e-7d1e-7b6f-9a51-0c8f8a4d2b11", "state": "running", "why": "", "by": "anna", "reason": "the parser is mended", "made_at": NOW - 60_000,
        "changed_at": NOW - 60_000, "changed_by": "anna", "rate": 50, "stop_at": 20, "force": false, "to": null, "found": 4_200, "wait_s": 60,
        "redirect": { "/orders.in": "orders/v2" }, "stage": 3, "replayed": 108, "resolved": 100, "published": 100, "open": 6, "refused": 1, "failed": 1,
        "filter": { "group": "d3542a8e18df", "task_type": null, "since": NOW - 86_400_000, "text": "it's" }, "ids": null, "started_at": NOW - 59_000,
        "newest_first": false,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        replay[name] = value.clone();
    }
    replay
}

#[test]
fn a_letter_says_what_can_be_done_with_it() {
    let waits = json!({ "definition": "order", "version": 3, "status": "parked", "step": "charge", "phase": "parked", "waits": "it waits for a person, who says whether to try again", "asks": "step charge failed: what now?" });
    let over = json!({ "definition": "order", "version": 3, "status": "compensated", "step": "charge", "phase": "undone", "waits": null, "asks": null });
    let all = [
        a_letter(json!({})),
        a_letter(json!({ "kind": "task@1", "saga": ID, "saga_now": waits, "history": [] })),
        a_letter(json!({ "kind": "task@1", "saga": ID, "saga_now": over, "history": [] })),
        a_letter(json!({ "saga": ID, "state": "discarded", "history": [] })),
    ];
    let all = all
        .iter()
        .map(|one| seen(|width| dead::one(one, NOW, width)));
    insta::assert_snapshot!(all.collect::<String>());
}

#[test]
fn a_saga_nobody_knows_and_a_task_nobody_wants_are_not_offered() {
    let unknown = text(&dead::one(&a_letter(json!({ "saga": ID })), NOW, 80));
    assert!(!unknown.contains("baton show"), "{unknown}");
    assert!(unknown.contains("baton dead replay 3f1c8a02"), "{unknown}");
    let over = json!({ "kind": "task@1", "saga": ID, "saga_now": { "status": "compensated" } });
    let over = text(&dead::one(&a_letter(over), NOW, 80));
    assert!(
        !over.contains("dead replay") && !over.contains("dead edit"),
        "{over}"
    );
    assert!(over.contains("baton dead discard 3f1c8a02"), "{over}");
    let lost = json!({ "properties": { "origin": "unknown" } });
    let lost = text(&dead::one(&a_letter(lost), NOW, 80));
    assert!(lost.contains("--to EXCHANGE/KEY"), "{lost}");
    let looks = text(&dead::one(&a_letter(json!({ "masked": true })), NOW, 80));
    assert!(!looks.contains("baton dead replay"), "{looks}");
}

#[test]
fn a_list_says_when_a_letter_died_the_last_time() {
    let again = [a_letter(json!({ "died_at": NOW - 120_000 }))];
    let again = text(&dead::table(&again, NOW, 80).lines(80));
    assert!(
        again.contains("2m ago") && !again.contains("1h ago"),
        "{again}"
    );
    let once = text(&dead::table(&[a_letter(json!({}))], NOW, 80).lines(80));
    assert!(once.contains("1h ago"), "{once}");
}

#[test]
fn a_history_has_each_note_and_a_plan_says_who_looks_at_events_again() {
    let at = NOW - 60_000;
    let history = json!([
        { "at": at, "what": "noted", "by": "anna", "text": "ticket 4711" },
        { "at": at, "what": "noted", "by": "ben", "text": null },
    ]);
    let shown = text(&dead::one(
        &a_letter(json!({ "history": history })),
        NOW,
        80,
    ));
    assert!(shown.contains("noted by anna  ticket 4711"), "{shown}");
    assert!(shown.contains("note taken away by ben"), "{shown}");
    let plan = json!({ "found": 2, "looked_at": 2, "routes": { "event": 2 } });
    let plan = text(&dead::plan(&plan, 80));
    assert!(
        plan.contains("only the triggers that refused them"),
        "{plan}"
    );
}

#[test]
fn a_body_of_megabytes_is_shown_as_far_as_a_terminal_takes_it() {
    for unit in ["x", "ä"] {
        let body = unit.repeat(3_000_000);
        let shown = text(&dead::one(&a_letter(json!({ "body": body })), NOW, 80));
        assert!(shown.len() < 20_000, "{}", shown.len());
        assert!(shown.contains("bytes more; baton dead show ID --raw"));
    }
}

#[test]
fn a_list_of_letters_has_where_they_came_from_whole_where_there_is_room() {
    let rows = [a_letter(
        json!({ "queue": "baton.task.default.test.effect@1", "saga": ID }),
    )];
    insta::assert_snapshot!(table(|width| dead::table(&rows, NOW, width)));
    let wide: Vec<Line> = dead::table(&rows, NOW, 120).lines(120);
    assert!(text(&wide).contains("baton.task.default.test.effect@1"));
}

#[test]
fn what_a_replay_would_do_fits() {
    let plan = json!({
        "found": 4_200, "looked_at": 1_000, "found_is_least": true, "routes": { "task": 900, "message": 100 }, "targets": { "orders/new": 100 },
        "unused_redirects": ["/order.in"], "replayed_before": 3, "unserved": { "test.effect@1": 900 }, "refused": 12, "unreadable": 1,
        "steps": [{ "saga": ID, "step": "charge-the-card", "direction": "undo", "attempt": 3 }],
        "why": [{ "letters": 12, "why": "its saga is compensated: nothing of it is done any more", "sample": ID }],
    });
    insta::assert_snapshot!(seen(|width| dead::plan(&plan, width)));
}

#[test]
fn a_replay_of_many_says_what_it_takes_and_what_can_be_done_with_it() {
    let named = json!({ "state": "stopped", "why": "1 of 1 failed again", "filter": {}, "ids": [ID, ID], "stop_at": 100, "redirect": {}, "to": "/orders.in", "force": true, "stage": 0, "newest_first": true });
    let old = json!({ "state": "cancelled", "filter": null, "ids": null, "started_at": null, "redirect": {}, "newest_first": null });
    let all = [a_replay(json!({})), a_replay(named), a_replay(old)];
    let each = all
        .iter()
        .map(|one| seen(|width| dead_ops::one(one, NOW, width)));
    insta::assert_snapshot!(table(|_| dead_ops::table(&all, NOW)) + &each.collect::<String>());
    let running = text(&dead_ops::one(&all[0], NOW, 160));
    let takes = r"--group d3542a8e18df --since 2026-09-20T14:13:20Z --text 'it'\''s'";
    assert!(running.contains(takes), "{running}");
    let named = text(&dead_ops::one(&all[1], NOW, 80));
    assert!(named.contains("2 letters, by id"), "{named}");
    assert!(
        named.contains("baton dead ops resume 019b3c5e-7d1e"),
        "{named}"
    );
}
