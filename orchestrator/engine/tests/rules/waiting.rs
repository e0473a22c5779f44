//! Steps that need no worker: waits for events, approvals, emitted events, and events that join.

use baton_engine::decide::limits::CLOCK_SKEW_MS;
use baton_engine::input::{Approval, Resolution};
use baton_engine::state::Phase;
use baton_engine::{
    Choice, Command, Input, Operator, Record, Refusal, Role, SagaState, Status, Verdict,
    WorkItemKind, commands,
};
use baton_messages::{Event, InboxKey, InputId, SagaId, Timestamp};
use serde_json::{Value, json};

use crate::stage::{Stage, done, failed, step};

/// A task, then a wait with these further keys, then another task.
fn waiting_with(more: &str) -> Stage {
    let mut stage = Stage::with(&format!(
        "  - id: a\n    task: t.set@1\n  - id: paid\n    wait: {{ event: com.example.paid, when: \"${{ event.data.order == a.order }}\", timeout: 10m{more} }}\n  - id: b\n    task: t.set@1\n"
    ));
    let output = json!({ "order": 7 });
    stage.report("a", baton_messages::TaskResult::Succeeded { output });
    assert_eq!(stage.phase("paid"), Phase::Listening);
    stage
}

fn paid(id: &str, order: u32) -> Event {
    event(id, "com.example.paid", json!({ "order": order }))
}

fn event(id: &str, kind: &str, data: Value) -> Event {
    serde_json::from_value(json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": kind, "data": data,
    }))
    .unwrap()
}

impl Stage {
    /// The event arrives at a step, received just now.
    fn arrives(&mut self, at: &str, event: &Event) -> Verdict {
        let received_at = Timestamp(self.now);
        self.arrived(at, event, received_at)
    }

    fn arrived(&mut self, at: &str, event: &Event, received_at: Timestamp) -> Verdict {
        let id = InputId::of_arrival(self.state.id, &step(at), &event.source, &event.id);
        self.give(&Input::EventArrived {
            id,
            step: step(at),
            event: Box::new(event.clone()),
            received_at,
        })
    }

    fn decide_on(&mut self, at: &str, decision: Approval, operator: Operator) -> Verdict {
        self.give(&Input::Approve {
            step: step(at).into(),
            decision,
            operator,
        })
    }

    fn says(&mut self, at: &str, decision: Approval) -> Verdict {
        let operator = self.operator();
        self.decide_on(at, decision, operator)
    }

    /// What the last decision makes leave the process.
    fn leaves(&self) -> Vec<Command> {
        let last = self.entries.last().unwrap();
        commands(&self.state, &InboxKey::of(0), &last.records)
    }
}

fn ignored(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Ignored { .. })
}

#[test]
fn a_wait_takes_the_event_it_waits_for() {
    let mut stage = waiting_with("");
    let listening: Vec<_> = stage.state.listening().collect();
    assert_eq!(listening.len(), 1);
    assert_eq!(listening[0].1.event.as_str(), "com.example.paid");
    assert_eq!(stage.arrives("paid", &paid("e1", 7)), Verdict::Applied);
    assert_eq!(stage.phase("paid"), Phase::Succeeded);
    assert_eq!(
        stage.at("paid").output,
        Some(json!({
            "id": "e1", "source": "/shop", "type": "com.example.paid", "subject": null, "time": null, "data": { "order": 7 },
        }))
    );
    assert_eq!(stage.state.listening().count(), 0);
    stage.report("b", done());
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn an_event_of_another_order_passes_by_without_a_record() {
    let mut stage = waiting_with("");
    let before = stage.entries.len();
    assert!(ignored(&stage.arrives("paid", &paid("e1", 8))));
    // What `when` cannot be asked about is not taken either.
    let odd = event("e2", "com.example.paid", json!({}));
    assert!(ignored(&stage.arrives("paid", &odd)));
    let odd = event("e3", "com.example.paid", json!({ "order": "7" }));
    assert!(ignored(&stage.arrives("paid", &odd)));
    let other = event("e4", "com.example.refunded", json!({ "order": 7 }));
    assert!(ignored(&stage.arrives("paid", &other)));
    assert_eq!(stage.entries.len(), before);
    assert_eq!(stage.phase("paid"), Phase::Listening);
    assert_eq!(stage.arrives("paid", &paid("e5", 7)), Verdict::Applied);
}

#[test]
fn an_event_twice_is_one() {
    let mut stage = waiting_with("");
    assert_eq!(stage.arrives("paid", &paid("e1", 7)), Verdict::Applied);
    assert_eq!(stage.arrives("paid", &paid("e1", 7)), Verdict::Duplicate);
    assert!(
        ignored(&stage.arrives("paid", &paid("e2", 7))),
        "one is enough"
    );
}

#[test]
fn an_event_that_came_before_the_wait_counts_from_the_saga_s_start() {
    let mut stage = waiting_with("");
    let start = stage.state.started_at;
    let early = Timestamp(start.0 - CLOCK_SKEW_MS - 1);
    assert!(ignored(&stage.arrived("paid", &paid("e1", 7), early)));
    let verdict = stage.arrived("paid", &paid("e2", 7), start);
    assert_eq!(verdict, Verdict::Applied);
}

/// The answer to what a saga has just asked is received by somebody whose clock is behind: it looks older than the saga.
#[test]
fn an_event_counts_whose_receiver_s_clock_is_behind() {
    let mut stage = waiting_with("");
    let (_, listens) = stage.state.listening().next().unwrap();
    let behind = Timestamp(stage.state.started_at.0 - CLOCK_SKEW_MS);
    assert_eq!(listens.since, behind, "what is searched for begins there");
    let verdict = stage.arrived("paid", &paid("e1", 7), behind);
    assert_eq!(verdict, Verdict::Applied);
}

/// A saga that was started by an event of the type it waits for, which came a moment before it.
fn started_by(event: &Event, more: &str) -> Stage {
    let mut stage = Stage::waiting(&format!(
        "  - id: paid\n    wait: {{ event: com.example.paid, timeout: 10m{more} }}\n"
    ));
    let saga = SagaId::of_event("staged", 3, &event.source, &event.id);
    stage.state = SagaState::new(saga);
    assert_eq!(stage.give(&stage.start()), Verdict::Applied);
    stage
}

#[test]
fn the_event_that_started_a_saga_is_not_what_it_waits_for() {
    let (first, next) = (paid("e1", 7), paid("e2", 7));
    let mut stage = started_by(&first, "");
    let before = Timestamp(stage.state.started_at.0 - 1);
    assert!(ignored(&stage.arrived("paid", &first, before)));
    assert_eq!(stage.arrived("paid", &next, before), Verdict::Applied);
    // whoever looks further back on purpose finds it, as ever
    let mut stage = started_by(&first, ", since: 10s");
    assert_eq!(stage.arrived("paid", &first, before), Verdict::Applied);
}

#[test]
fn since_looks_further_back() {
    let mut stage = waiting_with(", since: 10s");
    let start = stage.state.started_at;
    let early = Timestamp(start.0 - CLOCK_SKEW_MS - 10_001);
    assert!(ignored(&stage.arrived("paid", &paid("e1", 7), early)));
    let early = Timestamp(start.0 - CLOCK_SKEW_MS - 10_000);
    assert_eq!(
        stage.arrived("paid", &paid("e2", 7), early),
        Verdict::Applied
    );
}

#[test]
fn a_wait_that_is_in_vain_fails() {
    let mut stage = waiting_with("");
    stage.wait();
    assert_eq!(stage.phase("paid"), Phase::Failed);
    assert_eq!(stage.status(), Status::Compensating);
    assert_eq!(
        stage.at("paid").last_failure.as_ref().unwrap().code,
        "timeout"
    );
    assert_eq!(stage.state.listening().count(), 0);
    assert!(ignored(&stage.arrives("paid", &paid("e1", 7))), "too late");
    stage.report("a", done());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn a_wait_that_is_in_vain_goes_on_where_it_says_so() {
    let mut stage = waiting_with(", on_timeout: continue");
    stage.wait();
    assert_eq!(stage.phase("paid"), Phase::Continued);
    assert_eq!(stage.phase("b"), Phase::Trying);
}

#[test]
fn a_wait_that_is_in_vain_parks_where_it_says_so_and_begins_again() {
    let mut stage = waiting_with(", on_timeout: park");
    stage.wait();
    assert_eq!(
        (stage.phase("paid"), stage.status()),
        (Phase::Parked, Status::Parked)
    );
    assert!(stage.choices().contains(&Choice::Retry));
    assert!(ignored(&stage.arrives("paid", &paid("e1", 7))));
    stage.retry("paid");
    stage.wait();
    assert_eq!(stage.phase("paid"), Phase::Listening);
    assert_eq!(stage.arrives("paid", &paid("e1", 7)), Verdict::Applied);
    assert_eq!(
        (stage.phase("b"), stage.status()),
        (Phase::Trying, Status::Running)
    );
}

#[test]
fn after_the_pivot_a_wait_in_vain_parks() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n    pivot: true\n  - id: paid\n    wait: { event: x.y, timeout: 1m }\n",
    );
    stage.report("a", done());
    stage.wait();
    assert_eq!(
        (stage.phase("paid"), stage.status()),
        (Phase::Parked, Status::Parked)
    );
}

#[test]
fn cancel_ends_a_wait() {
    let mut stage = waiting_with("");
    assert_eq!(stage.cancel(), Verdict::Applied);
    assert_eq!(stage.state.listening().count(), 0);
    assert!(ignored(&stage.arrives("paid", &paid("e1", 7))));
    stage.report("a", done());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn a_paused_saga_takes_its_event_and_its_time_stands_still() {
    let mut stage = waiting_with("");
    let operator = stage.operator();
    stage.give(&Input::Pause(operator));
    assert_eq!(stage.state.next_wake(), None);
    assert_eq!(stage.arrives("paid", &paid("e1", 7)), Verdict::Applied);
    assert_eq!(stage.phase("b"), Phase::Waiting);
    let operator = stage.operator();
    stage.give(&Input::Resume(operator));
    assert_eq!(stage.phase("b"), Phase::Trying);
}

#[test]
fn what_is_overdue_at_the_resume_ends_then() {
    let mut stage = waiting_with("");
    let operator = stage.operator();
    stage.give(&Input::Pause(operator));
    stage.now += 3_600_000;
    let operator = stage.operator();
    stage.give(&Input::Resume(operator));
    stage.wait();
    assert_eq!(stage.phase("paid"), Phase::Failed);
}

#[test]
fn a_wait_may_be_skipped_or_settled_by_hand() {
    let mut stage = waiting_with("");
    assert_eq!(stage.skip("paid"), Verdict::Applied);
    assert_eq!(
        (stage.phase("paid"), stage.phase("b")),
        (Phase::Skipped, Phase::Trying)
    );
    let mut stage = waiting_with("");
    let output = json!({ "id": "by telephone" });
    stage.resolve(
        "paid",
        Resolution::Done {
            output: output.clone(),
        },
    );
    assert_eq!(stage.at("paid").output, Some(output));
    assert_eq!(
        (stage.phase("paid"), stage.phase("b")),
        (Phase::Succeeded, Phase::Trying)
    );
}

#[test]
fn a_wait_has_no_timer_and_no_subscription_after_the_end() {
    let mut stage = waiting_with("");
    let operator = stage.operator();
    stage.give(&Input::Abandon(operator));
    assert_eq!(stage.state.listening().count(), 0);
    assert_eq!(stage.state.next_wake(), None);
    assert!(ignored(&stage.arrives("paid", &paid("e1", 7))));
}

/// A task, then an approval with these further keys, then another task.
fn asking_with(more: &str) -> Stage {
    let mut stage = Stage::with(&format!(
        "  - id: a\n    task: t.set@1\n  - id: let_back\n    approve: {{ timeout: 7d, {more} }}\n  - id: b\n    task: t.set@1\n"
    ));
    stage.report("a", done());
    assert_eq!(stage.phase("let_back"), Phase::Asked);
    stage
}

#[test]
fn an_approval_is_a_work_item_and_a_yes_goes_on() {
    let mut stage = asking_with("by: operator, prompt: \"Let ${ a.ok } back?\"");
    assert_eq!(stage.status(), Status::Running, "its time runs");
    let item = stage.state.work_items.values().next().unwrap().clone();
    assert_eq!(item.kind, WorkItemKind::Approval);
    assert_eq!(
        (item.title.as_str(), item.owner.as_str()),
        ("Let true back?", "operator")
    );
    assert!(item.choices.contains(&Choice::Approve) && item.choices.contains(&Choice::Reject));
    assert_eq!(stage.says("let_back", Approval::Approve), Verdict::Applied);
    assert!(stage.state.work_items.is_empty());
    let output = stage.at("let_back").output.clone().unwrap();
    assert_eq!(
        (&output["approved"], &output["by"], &output["note"]),
        (&json!(true), &json!("anna"), &json!("because"))
    );
    assert!(output["at"].as_str().unwrap().ends_with('Z'), "{output}");
    stage.report("b", done());
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn a_no_takes_everything_back() {
    let mut stage = asking_with("by: operator");
    assert_eq!(stage.says("let_back", Approval::Reject), Verdict::Applied);
    assert_eq!(stage.phase("let_back"), Phase::Failed);
    let failure = stage.at("let_back").last_failure.clone().unwrap();
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("rejected", "anna said no: because")
    );
    assert!(stage.state.work_items.is_empty());
    stage.report("a", done());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn a_no_is_an_answer_where_the_step_says_so() {
    let mut stage = asking_with("by: operator, on_reject: continue");
    stage.says("let_back", Approval::Reject);
    assert_eq!(stage.phase("let_back"), Phase::Succeeded);
    assert_eq!(
        stage.at("let_back").output.as_ref().unwrap()["approved"],
        json!(false)
    );
    assert_eq!(stage.phase("b"), Phase::Trying);
}

#[test]
fn a_no_after_the_pivot_parks_and_may_become_a_yes() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n    pivot: true\n  - id: ok\n    approve: { by: operator, timeout: 1h }\n  - id: b\n    task: t.set@1\n",
    );
    stage.report("a", done());
    stage.says("ok", Approval::Reject);
    assert_eq!(
        (stage.phase("ok"), stage.status()),
        (Phase::Parked, Status::Parked)
    );
    assert!(stage.choices().contains(&Choice::Approve));
    stage.says("ok", Approval::Reject);
    assert_eq!(
        stage.state.work_items.len(),
        1,
        "asked once more, not twice"
    );
    assert_eq!(stage.says("ok", Approval::Approve), Verdict::Applied);
    assert_eq!(
        (stage.phase("b"), stage.status()),
        (Phase::Trying, Status::Running)
    );
}

#[test]
fn nobody_decides_for_a_higher_role_or_another_person() {
    for (by, role, name, allowed) in [
        ("admin", Role::Operator, "anna", false),
        ("admin", Role::Admin, "anna", true),
        ("operator", Role::Viewer, "anna", false),
        ("viewer", Role::Operator, "anna", true),
        ("bob", Role::Admin, "anna", false),
        ("bob", Role::Operator, "bob", true),
    ] {
        let mut stage = asking_with(&format!("by: {by}"));
        let operator = |stage: &mut Stage| Operator {
            role,
            by: name.into(),
            ..stage.operator()
        };
        let refused = |action| {
            Verdict::Refused(Refusal::NotYours {
                action,
                step: crate::stage::key("let_back"),
                asks: by.into(),
            })
        };
        let (entries, who) = (stage.entries.len(), operator(&mut stage));
        let skipped = stage.give(&Input::SkipStep {
            step: crate::stage::key("let_back"),
            operator: who,
        });
        if allowed {
            assert_eq!(skipped, Verdict::Applied, "{by} {role} {name}");
            assert!(stage.state.work_items.is_empty());
            continue;
        }
        assert_eq!(skipped, refused("skip"), "{by} {role} {name}");
        let who = operator(&mut stage);
        let said = stage.decide_on("let_back", Approval::Approve, who);
        assert_eq!(said, refused("approve"));
        let who = operator(&mut stage);
        let said = stage.decide_on("let_back", Approval::Reject, who);
        assert_eq!(said, refused("reject"));
        assert_eq!(stage.entries.len(), entries, "nothing was recorded");
    }
}

#[test]
fn an_approval_nobody_decides_parks_unless_it_says_otherwise() {
    let mut stage = asking_with("by: operator");
    stage.wait();
    assert_eq!(
        (stage.phase("let_back"), stage.status()),
        (Phase::Parked, Status::Parked)
    );
    assert_eq!(
        stage.choices(),
        [
            Choice::Approve,
            Choice::Reject,
            Choice::Retry,
            Choice::Skip,
            Choice::Cancel,
            Choice::Abandon
        ]
    );
    assert_eq!(stage.says("let_back", Approval::Approve), Verdict::Applied);
    assert_eq!(
        (stage.phase("b"), stage.status()),
        (Phase::Trying, Status::Running)
    );
    let mut stage = asking_with("by: operator, on_timeout: fail");
    stage.wait();
    assert_eq!(
        (stage.phase("let_back"), stage.status()),
        (Phase::Failed, Status::Compensating)
    );
    assert!(stage.state.work_items.is_empty());
    let mut stage = asking_with("by: operator, on_timeout: continue");
    stage.wait();
    assert_eq!(
        (stage.phase("let_back"), stage.phase("b")),
        (Phase::Continued, Phase::Trying)
    );
    assert!(stage.state.work_items.is_empty());
}

#[test]
fn an_approval_that_is_cancelled_or_skipped_closes_its_work_item() {
    let mut stage = asking_with("by: operator");
    stage.cancel();
    assert!(stage.state.work_items.is_empty());
    assert!(matches!(
        stage.says("let_back", Approval::Approve),
        Verdict::Refused(Refusal::NotNow { .. })
    ));
    let mut stage = asking_with("by: operator");
    stage.skip("let_back");
    assert!(stage.state.work_items.is_empty());
    assert_eq!(stage.phase("b"), Phase::Trying);
}

#[test]
fn only_what_asks_can_be_approved() {
    let mut stage = asking_with("by: operator");
    for other in ["a", "b"] {
        assert!(matches!(
            stage.says(other, Approval::Approve),
            Verdict::Refused(Refusal::NotNow { .. })
        ));
    }
    assert_eq!(stage.says("let_back", Approval::Approve), Verdict::Applied);
    assert!(matches!(
        stage.says("let_back", Approval::Reject),
        Verdict::Refused(Refusal::NotNow { .. })
    ));
}

#[test]
fn the_same_decision_twice_is_one() {
    let mut stage = asking_with("by: operator");
    let operator = stage.operator();
    let first = stage.decide_on("let_back", Approval::Approve, operator.clone());
    let again = stage.decide_on("let_back", Approval::Approve, operator);
    assert_eq!((first, again), (Verdict::Applied, Verdict::Duplicate));
}

#[test]
fn a_question_that_cannot_be_put_fails() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n  - id: ok\n    approve: { by: operator, timeout: 1h, prompt: \"${ a.name }?\" }\n",
    );
    stage.report("a", done());
    assert_eq!(
        (stage.phase("ok"), stage.status()),
        (Phase::Failed, Status::Compensating)
    );
    assert!(stage.state.work_items.is_empty());
}

const SAYS: &str = "  - id: a\n    task: t.set@1\n  - id: told\n    emit: { type: com.example.released, subject: \"order ${ a.ok }\", data: { all: \"${ a }\" } }\n  - id: b\n    task: t.set@1\n";

#[test]
fn an_event_goes_out_with_the_commit_and_its_step_is_done() {
    let mut stage = Stage::with(SAYS);
    stage.report("a", done());
    assert_eq!(
        (stage.phase("told"), stage.phase("b")),
        (Phase::Succeeded, Phase::Trying)
    );
    let leaving = stage.leaves();
    let said: Vec<&Event> = leaving
        .iter()
        .filter_map(|command| match command {
            Command::EmitEvent(event) => Some(&**event),
            _ => None,
        })
        .collect();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].kind, "com.example.released");
    assert_eq!(said[0].source, "/baton/sagas/staged");
    assert_eq!(said[0].subject.as_deref(), Some("order true"));
    assert_eq!(said[0].data, Some(json!({ "all": { "ok": true } })));
    assert_eq!(said[0].datacontenttype.as_deref(), Some("application/json"));
    assert_eq!(stage.at("told").output, Some(json!({ "id": said[0].id })));
    let again = baton_messages::MessageId::of_event(stage.state.id, &step("told"), None, 1);
    assert_eq!(said[0].id, again.to_string(), "twice is the same event");
}

#[test]
fn an_emitted_event_is_not_taken_back() {
    let mut stage = Stage::with(SAYS);
    stage.report("a", done());
    stage.report("b", failed(false));
    assert_eq!(stage.phase("a"), Phase::Undoing);
    stage.report("a", done());
    assert_eq!(stage.status(), Status::Compensated);
    assert_eq!(stage.phase("told"), Phase::Succeeded);
    assert_eq!(
        stage.recorded(|record| matches!(record, Record::Emitted { .. })),
        1
    );
}

#[test]
fn an_event_that_cannot_be_computed_fails_its_step() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n  - id: told\n    emit: { type: x.y, data: \"${ a.nothing }\" }\n",
    );
    stage.report("a", done());
    assert_eq!(
        (stage.phase("told"), stage.status()),
        (Phase::Failed, Status::Compensating)
    );
    assert_eq!(
        stage.recorded(|record| matches!(record, Record::Emitted { .. })),
        0
    );
}

#[test]
fn steps_of_all_kinds_may_be_left_out_by_their_if() {
    let mut stage = Stage::with(
        "  - id: w\n    if: ${ false }\n    wait: { event: x.y, timeout: 1m }\n  - id: p\n    if: ${ false }\n    approve: { by: admin, timeout: 1m }\n  - id: e\n    if: ${ false }\n    emit: { type: x.y }\n  - id: b\n    task: t.set@1\n",
    );
    for id in ["w", "p", "e"] {
        assert_eq!(stage.phase(id), Phase::Skipped);
    }
    assert!(stage.state.work_items.is_empty());
    stage.report("b", done());
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn a_hit_that_joins_is_written_down_once_and_changes_nothing() {
    let mut stage = waiting_with("");
    let join = |stage: &mut Stage, event: &str| {
        let id = InputId::of_joined(stage.state.id, 0, "/av", event);
        stage.give(&Input::Joined {
            id,
            trigger: 0,
            source: "/av".into(),
            event: event.into(),
        })
    };
    let (phase, timers) = (stage.phase("paid"), stage.state.next_wake());
    assert_eq!(join(&mut stage, "e1"), Verdict::Applied);
    assert_eq!(join(&mut stage, "e1"), Verdict::Duplicate);
    assert_eq!(
        (stage.phase("paid"), stage.state.next_wake()),
        (phase, timers)
    );
    for n in 0..2_000 {
        join(&mut stage, &format!("storm {n}"));
    }
    assert_eq!(stage.state.joined, 1_000, "a storm is heard, not kept");
    assert!(ignored(&join(&mut stage, "one more")));
}

#[test]
fn a_hit_joins_a_saga_that_has_ended_too() {
    let mut stage = waiting_with("");
    let operator = stage.operator();
    stage.give(&Input::Abandon(operator));
    let id = InputId::of_joined(stage.state.id, 0, "/av", "e1");
    let joined = stage.give(&Input::Joined {
        id,
        trigger: 0,
        source: "/av".into(),
        event: "e1".into(),
    });
    assert_eq!(joined, Verdict::Applied);
    assert_eq!(stage.status(), Status::Abandoned);
}
