//! Whose work items are and by when: as the definition says, as they are escalated, and as somebody takes them.

use baton_engine::work_item::Whose;
use baton_engine::{
    Assignment, Command, Input, Record, Refusal, Status, TimerKey, Verdict, WorkItem, commands,
};
use baton_messages::{InboxKey, Timestamp};
use serde_json::json;

use crate::stage::{Stage, done, failed, key};

const MINUTE: u64 = 60_000;
/// A task that parks, and who is to see to it.
const PARKS: &str =
    "  - id: a\n    task: t.set@1\n    on_error: park\n    retry: { attempts: 1 }\n";
const LADDER: &str = "work_items:\n  assign: net-team\n  due: 10m\n  escalate: [{ after: 30m, to: lead }, { after: 2h, to: manager }]\n";

fn parked() -> Stage {
    let mut stage = Stage::with(&format!("{PARKS}{LADDER}"));
    stage.report("a", failed(false));
    assert_eq!(stage.status(), Status::Parked);
    stage
}

impl Stage {
    fn item(&self) -> &WorkItem {
        let mut items = self.state.work_items.values();
        let item = items.next().expect("an open work item");
        assert!(items.next().is_none(), "one alone");
        item
    }

    fn whose(&self) -> Option<&str> {
        self.item().assignee.as_deref()
    }

    fn assign(&mut self, by: &str, whose: Option<Whose>, due_ms: Option<u64>) -> Verdict {
        let (number, mut operator) = (self.item().number, self.operator());
        operator.by = by.to_owned();
        self.give(&Input::AssignItem {
            number,
            assignment: Assignment { whose, due_ms },
            operator,
        })
    }

    fn last_commands(&self) -> Vec<Command> {
        let last = self.entries.last().unwrap();
        commands(&self.state, &InboxKey::new("00").unwrap(), &last.records)
    }
}

fn not_now(verdict: &Verdict, part: &str) {
    let Verdict::Refused(refusal @ Refusal::NotNow { .. }) = verdict else {
        panic!("{verdict:?}")
    };
    assert!(refusal.to_string().contains(part), "{refusal}");
}

#[test]
fn an_item_is_whose_the_definition_says_and_goes_to_the_next_while_it_stays_open() {
    let mut stage = parked();
    let opened = stage.item().opened_at;
    assert_eq!(stage.whose(), Some("net-team"));
    assert_eq!(stage.item().due_at, Some(opened.plus_ms(10 * MINUTE)));
    assert!(!stage.item().overdue(opened.plus_ms(10 * MINUTE - 1)));
    assert!(stage.item().overdue(opened.plus_ms(10 * MINUTE)));
    assert_eq!(stage.state.next_wake(), Some(opened.plus_ms(30 * MINUTE)));
    let early = TimerKey::Escalation { number: 1, rung: 1 };
    assert_eq!(stage.give(&Input::TimerFired(early)), Verdict::Duplicate);
    stage.wait();
    assert_eq!((stage.whose(), stage.item().escalated), (Some("lead"), 1));
    let [Command::ChangeWorkItem(item)] = &stage.last_commands()[..] else {
        panic!("{:?}", stage.last_commands())
    };
    assert_eq!(
        **item,
        *stage.item(),
        "its row is changed in the same commit"
    );
    assert_eq!(stage.status(), Status::Parked);
    // the same timer a second time is the first one's
    let again = TimerKey::Escalation { number: 1, rung: 1 };
    assert_eq!(stage.give(&Input::TimerFired(again)), Verdict::Duplicate);
    stage.wait();
    assert_eq!(
        (stage.whose(), stage.item().escalated),
        (Some("manager"), 2)
    );
    assert_eq!(stage.state.next_wake(), None, "nobody comes after the last");
}

#[test]
fn its_timers_go_when_it_closes_and_what_was_missed_follows_at_once() {
    let mut stage = parked();
    stage.retry("a");
    assert!(stage.state.work_items.is_empty());
    let late = TimerKey::Escalation { number: 1, rung: 1 };
    stage.now += 60 * MINUTE;
    assert_eq!(stage.give(&Input::TimerFired(late)), Verdict::Duplicate);
    stage.wait();
    stage.report("a", done());
    assert_eq!(
        (stage.status(), stage.state.next_wake()),
        (Status::Completed, None)
    );

    let mut stage = parked();
    stage.now += 200 * MINUTE;
    while !stage.state.due_timers(Timestamp(stage.now)).is_empty() {
        stage.wait();
    }
    assert_eq!(
        (stage.whose(), stage.item().escalated),
        (Some("manager"), 2)
    );
    let escalated = stage.recorded(|record| matches!(record, Record::WorkItemEscalated { .. }));
    assert_eq!(escalated, 2, "each stands in the history");
}

#[test]
fn what_somebody_has_taken_is_escalated_no_further_until_he_gives_it_back() {
    let mut stage = parked();
    stage.wait();
    assert_eq!(
        stage.assign("bob on behalf of ann", Some(Whose::Mine), None),
        Verdict::Applied
    );
    assert_eq!(
        stage.whose(),
        Some("bob"),
        "whom he says to act for proves nothing"
    );
    let taken = stage.item().taken.clone().unwrap();
    assert_eq!(
        (taken.by.as_str(), taken.reason.as_str()),
        ("bob on behalf of ann", "because")
    );
    assert_eq!(taken.from.as_deref(), Some("lead"));
    assert_eq!(stage.state.next_wake(), None);
    not_now(
        &stage.assign("carl", Some(Whose::Mine), None),
        "bob has taken",
    );
    assert_eq!(
        stage.assign("carl", Some(Whose::Of(" carl ".into())), None),
        Verdict::Applied
    );
    assert_eq!(stage.whose(), Some("carl"));
    not_now(
        &stage.assign("bob", Some(Whose::Back), None),
        "carl has work item 1",
    );
    assert_eq!(
        stage.assign("carl on behalf of bob", Some(Whose::Back), None),
        Verdict::Applied
    );
    assert_eq!((stage.whose(), &stage.item().taken), (Some("lead"), &None));
    assert!(stage.state.next_wake().is_some(), "it is escalated again");
    not_now(
        &stage.assign("bob", Some(Whose::Back), None),
        "nobody has taken",
    );
    stage.wait();
    assert_eq!(stage.whose(), Some("manager"));
}

#[test]
fn by_when_is_said_anew_and_nothing_else_changes() {
    let mut stage = parked();
    let before = stage.state.next_wake();
    assert_eq!(
        stage.assign("ann", None, Some(5 * MINUTE)),
        Verdict::Applied
    );
    let now = Timestamp(stage.now);
    assert_eq!(stage.item().due_at, Some(now.plus_ms(5 * MINUTE)));
    assert_eq!(
        (stage.whose(), stage.state.next_wake()),
        (Some("net-team"), before)
    );
    not_now(&stage.assign("ann", None, None), "neither");
    not_now(
        &stage.assign("ann", Some(Whose::Of("  ".into())), None),
        "is empty",
    );
    not_now(
        &stage.assign("ann", Some(Whose::Of("a\nb".into())), None),
        "control",
    );
    let operator = stage.operator();
    let unknown = stage.give(&Input::AssignItem {
        number: 9,
        assignment: Assignment {
            whose: Some(Whose::Mine),
            due_ms: None,
        },
        operator: operator.clone(),
    });
    assert!(
        matches!(unknown, Verdict::Refused(Refusal::NoSuch { .. })),
        "{unknown:?}"
    );
    let take = Input::AssignItem {
        number: stage.item().number,
        assignment: Assignment {
            whose: Some(Whose::Mine),
            due_ms: None,
        },
        operator,
    };
    assert_eq!(stage.give(&take), Verdict::Applied);
    assert_eq!(stage.give(&take), Verdict::Duplicate);
}

#[test]
fn a_step_says_it_key_by_key_and_a_name_that_cannot_be_computed_is_the_owners() {
    let steps = "  - id: a\n    task: t.set@1\n    on_error: park\n    retry: { attempts: 1 }\n    work_items: { assign: \"${ input.team }\", escalate: [] }\n";
    let mut stage = Stage::with(&format!("{steps}{LADDER}owner: ops\n"));
    stage.report("a", failed(false));
    assert_eq!(
        (stage.whose(), stage.item().escalate.len()),
        (Some("ops"), 0)
    );
    assert!(stage.item().due_at.is_some(), "that the saga says");
    let mut stage = Stage::waiting(&format!("{steps}{LADDER}"));
    let Input::Start(mut start) = stage.start() else {
        panic!("a start")
    };
    start.input = json!({ "team": "pki" });
    stage.give(&Input::Start(start));
    stage.report("a", failed(false));
    assert_eq!(stage.whose(), Some("pki"));
}

#[test]
fn an_approval_of_one_person_is_that_persons() {
    let asked = |more: &str| {
        let steps = format!("  - id: ok\n    approve: {{ by: anna, timeout: 1d }}\n{more}");
        Stage::with(&format!("{steps}{LADDER}"))
    };
    assert_eq!(asked("").whose(), Some("anna"));
    let told = asked("    work_items: { assign: bert }\n");
    assert_eq!(told.whose(), Some("bert"));
    let of_a_role = Stage::with(&format!(
        "  - id: ok\n    approve: {{ by: admin, timeout: 1d }}\n{LADDER}"
    ));
    assert_eq!(of_a_role.whose(), Some("net-team"));
    let nobody = Stage::with("  - id: ok\n    approve: { by: admin, timeout: 1d }\n");
    assert_eq!((nobody.whose(), nobody.item().who()), (None, "admin"));
}

#[test]
fn what_somebody_has_is_given_back_by_him_by_who_gave_it_out_and_by_an_admin() {
    let given = || {
        let mut stage = parked();
        stage.assign("ann", Some(Whose::Of("bob".into())), None);
        assert_eq!(stage.whose(), Some("bob"));
        stage
    };
    for by in ["bob", "ann"] {
        let mut stage = given();
        assert_eq!(stage.assign(by, Some(Whose::Back), None), Verdict::Applied);
        assert_eq!(stage.whose(), Some("net-team"), "{by}");
    }
    let mut stage = given();
    let (number, operator) = (stage.item().number, stage.operator());
    let back = |role| Input::AssignItem {
        number,
        assignment: Assignment {
            whose: Some(Whose::Back),
            due_ms: None,
        },
        operator: baton_engine::Operator {
            by: "carl".into(),
            role,
            ..operator.clone()
        },
    };
    not_now(
        &stage.give(&back(baton_engine::Role::Operator)),
        "bob has work item 1",
    );
    assert_eq!(
        stage.give(&back(baton_engine::Role::Admin)),
        Verdict::Applied
    );
}

#[test]
fn what_was_given_to_a_team_any_of_it_takes_and_any_gives_back() {
    let mut stage = parked();
    let to_a_team = Some(Whose::Team("pki".into()));
    assert_eq!(
        stage.assign("ann", to_a_team.clone(), None),
        Verdict::Applied
    );
    assert_eq!(
        (stage.whose(), stage.state.next_wake()),
        (Some("pki"), None)
    );
    assert_eq!(
        stage.assign("bob", Some(Whose::Mine), None),
        Verdict::Applied
    );
    assert_eq!(stage.whose(), Some("bob"));
    not_now(
        &stage.assign("carl", Some(Whose::Mine), None),
        "bob has taken",
    );
    stage.assign("bob", Some(Whose::Back), None);
    assert_eq!(stage.whose(), Some("net-team"), "before anybody took it");
    stage.assign("ann", to_a_team, None);
    assert_eq!(
        stage.assign("carl", Some(Whose::Back), None),
        Verdict::Applied
    );
}

/// An item may go round for years.
#[test]
fn a_work_item_that_goes_round_makes_nothing_grow_and_what_was_just_said_is_known() {
    let mut stage = parked();
    let size = |stage: &Stage| json!(stage.state).to_string().len();
    let said = |n: u64| Some(n % 7 + 1);
    for n in 0..20 {
        stage.assign("ann", None, said(n));
    }
    let applied = stage.state.applied.len();
    let before = size(&stage);
    for n in 0..200 {
        assert_eq!(stage.assign("ann", None, said(n)), Verdict::Applied);
    }
    assert_eq!(stage.state.applied.len(), applied);
    assert!(size(&stage) < before + 64, "{} {before}", size(&stage));
    let operator = stage.operator();
    let input = Input::AssignItem {
        number: stage.item().number,
        assignment: Assignment {
            whose: None,
            due_ms: Some(5),
        },
        operator,
    };
    assert_eq!(stage.give(&input), Verdict::Applied);
    stage.assign("ann", None, said(1));
    assert_eq!(stage.give(&input), Verdict::Duplicate);
}

/// A pause starts nothing, and nothing starts by an escalation.
#[test]
fn a_paused_saga_is_escalated() {
    let mut stage = parked();
    let operator = stage.operator();
    stage.give(&Input::Pause(operator));
    stage.wait();
    assert_eq!(stage.whose(), Some("lead"));
    assert!(stage.state.at(&key("a")).is_some());
}

/// As it is written: nothing is computed.
#[test]
fn a_plan_says_whose_work_items_are() {
    let steps = "  - id: a\n    task: t.set@1\n    work_items: { assign: \"${ input.team }\", escalate: [] }\n";
    let stage = Stage::waiting(&format!("{steps}{LADDER}"));
    let plan = baton_engine::plan::plan(&stage.definition, &stage.catalogue, None);
    assert_eq!(
        json!(plan.asks),
        json!([
            { "assign": "net-team", "due_ms": 10 * MINUTE, "escalate": [
                { "after_ms": 30 * MINUTE, "to": "lead" }, { "after_ms": 120 * MINUTE, "to": "manager" },
            ] },
            { "step": "a", "assign": "${ input.team }", "due_ms": 10 * MINUTE, "escalate": [] },
        ])
    );
    let plain = Stage::waiting("  - id: a\n    task: t.set@1\n");
    assert!(
        baton_engine::plan::plan(&plain.definition, &plain.catalogue, None)
            .asks
            .is_empty()
    );
}
