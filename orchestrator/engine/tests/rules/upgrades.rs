//! A saga goes on under another version of its definition, or stays: each rule once, with the reason it gives, and what follows from a move.

use baton_engine::state::Phase;
use baton_engine::upgrade::REASONS_MAX;
use baton_engine::upgrade::ReasonKind::{
    self, Before, Branch, Child, Deadline, Items, Pivot, Probe, StepGone, StepInput, StepType,
    There, Tolerated, UndoGone, UndoOrder, UndoUnfit, Unwinding, Waiting,
};
use baton_engine::{Approval, Input, Record, Refusal, Status, Verdict};
use baton_messages::ProbeAnswer;
use serde_json::json;

use crate::children::family::Family;
use crate::stage::{Stage, done, failed, found, key, undone, unknown};

const TWO: &str = "  - id: a\n    task: t.set@1\n  - id: b\n    task: t.set@1\n";
const ASKED: &str = "  - id: a\n    task: t.set@1\n    with: { n: 1 }\n  - id: ok\n    approve: { by: operator, timeout: 1d }\n";

/// Why it stays: kinds and steps, in their order.
#[track_caller]
fn stays(verdict: &Verdict) -> Vec<(ReasonKind, String)> {
    let Verdict::Refused(Refusal::Stays { reasons }) = verdict else {
        panic!("it does not stay: {verdict:?}");
    };
    assert!(!reasons.is_empty());
    let of = |reason: &baton_engine::upgrade::Reason| {
        assert!(!reason.what.is_empty() && !reason.kind.help().is_empty());
        let step = reason.step.as_ref().map(ToString::to_string);
        (reason.kind, step.unwrap_or_default())
    };
    reasons.iter().map(of).collect()
}

/// Asks for these steps in place of those a saga has; it stays, for this reason, and nothing is recorded.
#[track_caller]
fn stays_for(stage: &mut Stage, steps: &str, kind: ReasonKind, step: &str) {
    let (before, noted) = (stage.state.clone(), stage.entries.len());
    let verdict = stage.upgrade(steps);
    assert_eq!(stays(&verdict), [(kind, step.to_owned())]);
    assert_eq!((&stage.state, stage.entries.len()), (&before, noted));
}

#[track_caller]
fn moves(stage: &mut Stage, steps: &str) {
    let to = stage.state.version + 1;
    assert_eq!(stage.upgrade(steps), Verdict::Applied);
    assert_eq!(stage.state.version, to);
}

fn approve(stage: &mut Stage) {
    let operator = stage.operator();
    let decided = Input::Approve {
        step: key("ok"),
        decision: Approval::Approve,
        operator,
    };
    assert_eq!(stage.give(&decided), Verdict::Applied);
}

#[test]
fn what_is_new_runs_when_its_turn_comes_and_what_is_gone_never_does() {
    let mut stage = Stage::with(&format!("{ASKED}  - id: old\n    task: t.look@1\n"));
    stage.report("a", done());
    assert_eq!(stage.phase("ok"), Phase::Asked);
    moves(
        &mut stage,
        &format!("{ASKED}  - id: new\n    task: t.set@1\n"),
    );
    assert!(stage.state.at(&key("old")).is_none());
    assert_eq!(stage.phase("new"), Phase::Waiting);
    let moved = stage.state.upgraded.as_deref().unwrap();
    assert_eq!((moved.from, moved.by.as_str()), (1, "anna"));
    approve(&mut stage);
    assert_eq!(stage.phase("new"), Phase::Trying);
    stage.report("new", failed(false));
    // what is new is taken back with the rest
    assert_eq!(stage.phase("a"), Phase::Undoing);
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn what_is_ready_at_once_begins_with_the_move_and_reports_under_way_count() {
    let mut stage = Stage::with("  - id: a\n    task: t.once@1\n");
    let of = stage.claim("a", crate::stage::run(1));
    moves(
        &mut stage,
        "  - id: a\n    task: t.once@1\n  - id: beside\n    after: []\n    task: t.look@1\n",
    );
    assert_eq!(stage.phase("beside"), Phase::Trying);
    assert_eq!(
        stage.tell(of, crate::stage::run(1), true, done()),
        Verdict::Applied
    );
    stage.report("beside", done());
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn the_same_action_twice_is_one_and_without_a_reason_it_is_none() {
    let mut stage = Stage::with(TWO);
    let (next, mut operator) = (stage.next_version(TWO), stage.operator());
    operator.reason = " ".into();
    let asked = Input::Upgrade {
        to: 2,
        from: None,
        operator: operator.clone(),
    };
    let verdict = stage.upgrade_asked(next.clone(), &asked);
    assert!(
        matches!(verdict, Verdict::Refused(Refusal::NotNow { .. })),
        "{verdict:?}"
    );
    operator.reason = "because".into();
    let asked = Input::Upgrade {
        to: 2,
        from: None,
        operator,
    };
    assert_eq!(stage.upgrade_asked(next.clone(), &asked), Verdict::Applied);
    assert_eq!(
        stage.upgrade_asked(next.clone(), &asked),
        Verdict::Duplicate
    );
    let upgrades = |record: &Record| matches!(record, Record::Upgraded { .. });
    assert_eq!(stage.recorded(upgrades), 1);
    let verdict = stage.upgrade_to(next);
    assert_eq!(stays(&verdict), [(There, String::new())]);
    // nobody knows that version
    let operator = stage.operator();
    let verdict = stage.give(&Input::Upgrade {
        to: 9,
        from: None,
        operator,
    });
    assert!(
        matches!(verdict, Verdict::Refused(Refusal::NoSuch { .. })),
        "{verdict:?}"
    );
}

#[test]
fn one_that_turned_back_or_ended_stays() {
    let mut stage = Stage::with(TWO);
    stage.report("a", done());
    stage.report("b", failed(false));
    assert_eq!(stage.status(), Status::Compensating);
    stays_for(&mut stage, TWO, Unwinding, "");
    stage.report("a", undone());
    let verdict = stage.upgrade(TWO);
    assert!(
        matches!(verdict, Verdict::Refused(Refusal::Ended { .. })),
        "{verdict:?}"
    );
}

const TOP: &str = "saga: top\nversion: 1\nsteps:\n  - { id: a, task: t.set@1 }\n  - { id: low, saga: low@1, with: { n: 1 } }\n";
const LOW: &str = "saga: low\nversion: 1\nsteps:\n  - { id: c, task: t.set@1 }\n";

#[test]
fn a_child_runs_what_its_parent_names_and_the_parent_moves_only_with_that() {
    let again = |text: &str, version: u32, more: &str| {
        text.replace("version: 1", &format!("version: {version}")) + more
    };
    let more = "  - { id: z, task: t.set@1 }\n";
    let (other, same) = (
        again(TOP, 2, "").replace("low@1", "low@2"),
        again(TOP, 3, more),
    );
    let mut family = Family::of(&[TOP, LOW, &again(LOW, 2, ""), &other, &same]);
    let root = family.root;
    let upgrade = |family: &mut Family, saga, to| {
        let operator = family.operator();
        family.give(
            saga,
            &Input::Upgrade {
                to,
                from: None,
                operator,
            },
        )
    };
    // a child that has not begun is of the version the other one names: so it may be moved back and forth
    assert_eq!(upgrade(&mut family, root, 2), Verdict::Applied);
    assert_eq!(upgrade(&mut family, root, 1), Verdict::Applied);
    family.report(root, "a", done());
    let low = family.child(root, "low");
    assert_eq!(
        stays(&upgrade(&mut family, low, 2)),
        [(Child, String::new())]
    );
    let verdict = upgrade(&mut family, root, 2);
    assert_eq!(stays(&verdict), [(StepType, "low".to_owned())]);
    assert_eq!(upgrade(&mut family, root, 3), Verdict::Applied);
    family.report(low, "c", done());
    assert_eq!(family.phase(root, "z"), Phase::Trying);
    family.report(root, "z", failed(false));
    family.go();
    assert_eq!(family.order, ["low.c", "top.a"]);
    assert_eq!(
        (family.status(root), family.status(low)),
        (Status::Compensated, Status::Compensated)
    );
}

#[test]
fn a_step_that_has_begun_stays_what_it_is() {
    let with = |a: &str| format!("  - id: a\n{a}  - id: b\n    task: t.set@1\n");
    let mut stage = Stage::with(&with("    task: t.set@1\n    with: { n: 1 }\n"));
    stage.report("a", done());
    let rows = [
        ("  - id: b\n    task: t.set@1\n".to_owned(), StepGone, "a"),
        (
            with("    task: t.look@1\n    with: { n: 1 }\n"),
            StepType,
            "a",
        ),
        (with("    sleep: 1s\n"), StepType, "a"),
        (
            with("    task: t.set@1\n    with: { n: 2 }\n"),
            StepInput,
            "a",
        ),
        (
            with("    task: t.set@1\n    with: { n: \"${ input.n }\" }\n"),
            StepInput,
            "a",
        ),
        (
            with("    task: t.set@1\n    with: { n: 1 }\n    pivot: true\n"),
            Pivot,
            "a",
        ),
        (
            with("    task: t.set@1\n    with: { n: 1 }\n    if: \"${ 1 == 2 }\"\n"),
            Branch,
            "a",
        ),
        (
            with("    task: t.set@1\n    with: { n: 1 }\n    for_each: [1]\n"),
            Items,
            "a",
        ),
        (
            with("    task: t.set@1\n    with: { n: 1 }\n    undo: none\n    because: no\n"),
            UndoGone,
            "a",
        ),
    ];
    for (steps, kind, step) in rows {
        stays_for(&mut stage, &steps, kind, step);
    }
    // written otherwise, and the same
    moves(
        &mut stage,
        &with(
            "    task: t.set@1\n    with: { n: \"${ 3 - 2 }\" }\n    if: \"${ 1 == 1 }\"\n    retry: { attempts: 7 }\n",
        ),
    );
}

#[test]
fn nothing_that_is_not_done_may_stand_before_what_has_begun() {
    let mut stage = Stage::with(TWO);
    stage.report("a", done());
    stays_for(
        &mut stage,
        "  - id: a\n    task: t.set@1\n  - id: n\n    task: t.look@1\n  - id: b\n    task: t.set@1\n",
        Before,
        "n",
    );
    // beside it, it may
    moves(
        &mut stage,
        "  - id: a\n    task: t.set@1\n  - id: n\n    task: t.look@1\n  - id: b\n    after: [a]\n    task: t.set@1\n",
    );
    assert_eq!(stage.phase("n"), Phase::Trying);
}

#[test]
fn what_began_earlier_than_it_would_have_been_allowed_to_stays() {
    let both = "  - id: a\n    task: t.set@1\n  - id: b\n    after: []\n    task: t.set@1\n";
    let mut stage = Stage::with(both);
    stage.report("a", done());
    // `b` began before `a` was done
    stays_for(&mut stage, TWO, Before, "a");
}

#[test]
fn what_was_done_in_an_order_is_undone_in_that_order() {
    let both = "  - id: a\n    task: t.set@1\n  - id: b\n    after: []\n    task: t.set@1\n";
    let mut stage = Stage::with(TWO);
    stage.report("a", done());
    stays_for(&mut stage, both, UndoOrder, "b");
    // what only looks has nothing to be undone
    let look = |after: &str| {
        format!("  - id: a\n    task: t.look@1\n  - id: b\n{after}    task: t.set@1\n")
    };
    let mut stage = Stage::with(&look(""));
    stage.report("a", done());
    moves(&mut stage, &look("    after: []\n"));
}

#[test]
fn the_undo_of_what_was_done_is_tried_before_it_is_relied_on() {
    let with =
        |undo: &str| format!("  - id: a\n    task: t.set@1\n{undo}  - id: b\n    task: t.look@1\n");
    let own = |task: &str, with: &str| format!("    undo: {{ task: {task}, with: {with} }}\n");
    let mut stage = Stage::with(&with(""));
    stage.report("a", done());
    for wrong in [
        own("t.unheard-of@1", "{}"),
        own("t.set@1", "{ x: \"${ a.nothing.there }\" }"),
    ] {
        stays_for(&mut stage, &with(&wrong), UndoUnfit, "a");
    }
    moves(&mut stage, &with(&own("t.blind@1", "{ x: \"${ a.ok }\" }")));
    stage.report("b", failed(false));
    let ready = stage.at("a").backward.as_deref().unwrap();
    assert_eq!(ready.facts.task_type.as_str(), "t.blind@1");
    assert_eq!(ready.input, json!({ "x": true }));
    assert!(ready.own_task);
}

#[test]
fn what_an_operator_edited_keeps_its_input_and_its_undo() {
    let with = |n: u8, undo: &str| {
        format!(
            "  - id: a\n    task: t.set@1\n    with: {{ n: {n} }}\n    on_error: park\n    retry: {{ attempts: 1 }}\n{undo}  - id: ok\n    approve: {{ by: operator, timeout: 1d }}\n"
        )
    };
    let mut stage = Stage::with(&with(1, ""));
    stage.report("a", failed(false));
    assert_eq!(stage.edit("a", None, json!({ "n": 2 })), Verdict::Applied);
    stage.wait();
    stage.report("a", done());
    // the new version says what the operator said; but what it did is another effect than either
    stays_for(&mut stage, &with(2, ""), StepInput, "a");
    let other = with(1, "    undo: { task: t.blind@1, with: {} }\n");
    stays_for(&mut stage, &other, UndoUnfit, "a");
    moves(&mut stage, &with(1, ""));
}

#[test]
fn the_pivot_stays_where_it_was_passed() {
    let with = |pivot: &str, more: &str| {
        format!(
            "  - id: a\n    task: t.set@1\n  - id: p\n    task: t.set@1\n{pivot}{more}  - id: z\n    after: [p]\n    task: t.look@1\n"
        )
    };
    let passed = "    pivot: true\n";
    let mut stage = Stage::with(&with(passed, ""));
    stage.report("a", done());
    assert!(stage.state.past_pivot);
    stays_for(&mut stage, &with("", ""), Pivot, "p");
    let beside = "  - id: n\n    after: [a]\n    task: t.look@1\n";
    stays_for(&mut stage, &with(passed, beside), Before, "n");
    moves(
        &mut stage,
        &with(passed, "  - id: n\n    after: [p]\n    task: t.look@1\n"),
    );
    // before it is sent it may be another one, or none
    let mut stage = Stage::with(&with(passed, ""));
    moves(&mut stage, &with("", ""));
    stage.report("a", done());
    assert!(!stage.state.past_pivot);
}

#[test]
fn a_doubt_is_asked_about_as_it_would_have_been() {
    let with = |probe: &str| format!("  - id: a\n    task: t.once@1\n{probe}");
    let mut stage = Stage::with(&with("    probe: { task: t.asked@1, with: {} }\n"));
    stage.report("a", unknown());
    stays_for(&mut stage, &with(""), Probe, "a");
}

#[test]
fn what_was_tolerated_or_skipped_would_have_been() {
    let with = |a: &str| {
        format!(
            "  - id: a\n    task: t.set@1\n{a}  - id: ok\n    approve: {{ by: operator, timeout: 1d }}\n"
        )
    };
    let tolerant = "    on_error: continue\n    retry: { attempts: 1 }\n";
    let mut stage = Stage::with(&with(tolerant));
    stage.report("a", failed(false));
    assert_eq!(stage.phase("a"), Phase::Continued);
    stays_for(&mut stage, &with(""), Tolerated, "a");
    let mut stage = Stage::with(&with("    if: \"${ 1 == 2 }\"\n"));
    assert_eq!(stage.phase("a"), Phase::Skipped);
    stays_for(&mut stage, &with(""), Branch, "a");
    // nothing of it was sent: it may be anything that would have been skipped as well
    let other = "  - id: a\n    task: t.look@1\n    if: \"${ 2 == 3 }\"\n  - id: ok\n    approve: { by: operator, timeout: 1d }\n";
    moves(&mut stage, other);
}

#[test]
fn what_is_waited_for_stays_while_it_is_waited_for() {
    let with = |wait: &str| format!("  - id: w\n    {wait}\n  - id: z\n    task: t.look@1\n");
    let rows = [
        ("sleep: 1h", "sleep: 2h"),
        (
            "wait: { event: x.y, timeout: 1h }",
            "wait: { event: x.z, timeout: 1h }",
        ),
        (
            "wait: { event: x.y, timeout: 1h }",
            "wait: { event: x.y, timeout: 2h }",
        ),
        (
            "approve: { by: operator, timeout: 1h }",
            "approve: { by: admin, timeout: 1h }",
        ),
        (
            "approve: { by: operator, timeout: 1h }",
            "approve: { by: operator, timeout: 2h }",
        ),
    ];
    for (was, next) in rows {
        let mut stage = Stage::with(&with(was));
        stays_for(&mut stage, &with(next), Waiting, "w");
        moves(&mut stage, &with(was));
    }
    // when it is over, how long it might have taken is nothing any more
    let mut stage = Stage::with(&with("sleep: 1h"));
    stage.wait();
    moves(&mut stage, &with("sleep: 2h"));
    let mut stage = Stage::with(&with("sleep: 1h"));
    moves(&mut stage, &with("sleep: \"${ string(60) + 'm' }\""));
}

#[test]
fn who_approved_is_not_questioned_afterwards_by_another_version() {
    let with = |by: &str| {
        format!(
            "  - id: ok\n    approve: {{ by: {by}, timeout: 1d }}\n  - id: z\n    task: t.look@1\n"
        )
    };
    let mut stage = Stage::with(&with("operator"));
    approve(&mut stage);
    stays_for(&mut stage, &with("admin"), Waiting, "ok");
}

#[test]
fn items_that_have_begun_are_the_same_items() {
    let with = |list: &str, more: &str| {
        format!(
            "  - id: a\n    for_each: {list}\n    max_parallel: 2\n{more}    task: t.set@1\n    with: {{ n: \"${{ item }}\" }}\n"
        )
    };
    let mut stage = Stage::with(&with("[1, 2, 3]", ""));
    stage.report("a[0]", done());
    stays_for(&mut stage, &with("[1, 2]", ""), Items, "a");
    stays_for(
        &mut stage,
        &with("[1, 2, 3]", "    tolerate: 1\n"),
        Items,
        "a",
    );
    // two are under way
    let fewer = with("[1, 2, 3]", "").replace("max_parallel: 2", "max_parallel: 1");
    stays_for(&mut stage, &fewer, Items, "a");
    let other = "  - id: a\n    for_each: [1, 2, 3]\n    max_parallel: 2\n    task: t.set@1\n    with: { n: \"${ item + 0 }\" }\n";
    stays_for(&mut stage, other, StepInput, "a");
    moves(
        &mut stage,
        &with("\"${ [1, 2, 3] }\"", "").replace("max_parallel: 2", "max_parallel: 3"),
    );
    for item in ["a[1]", "a[2]"] {
        stage.report(item, done());
    }
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn the_deadline_counts_from_the_same_moment() {
    let with = |deadline: &str| format!("{ASKED}{deadline}");
    let mut stage = Stage::with(&with("deadline: 1h\n"));
    let began = stage.state.started_at;
    moves(&mut stage, &with("deadline: 2h\n"));
    assert_eq!(stage.state.deadline_at, Some(began.plus_ms(7_200_000)));
    moves(&mut stage, &with(""));
    assert_eq!(stage.state.deadline_at, None);
    stage.now += 60_000;
    stays_for(&mut stage, &with("deadline: 30s\n"), Deadline, "");
    moves(&mut stage, &with("deadline: 2m\n"));
    assert_eq!(stage.state.version, 4);
    assert_eq!(stage.state.started_version(), 1);
    stage.report("a", done());
    stage.wait();
    assert_eq!(stage.phase("a"), Phase::Undoing, "it holds");
}

#[test]
fn what_is_taken_before_the_first_step_is_neither_taken_nor_let_go_later() {
    let with = |locks: &str| format!("  - id: a\n    task: t.set@1\n{locks}");
    let mut stage = Stage::with(&with("locks: [x]\n"));
    let kind = ReasonKind::Reservation;
    for locks in ["", "locks: [x, y]\n", "locks: [y]\n"] {
        stays_for(&mut stage, &with(locks), kind, "");
    }
    moves(&mut stage, &with("locks: [\"${ 'x' }\"]\n"));
    stage.give(&Input::Admitted {
        fences: [("x".to_owned(), 3)].into(),
    });
    assert_eq!(stage.phase("a"), Phase::Trying);
    let mut stage = Stage::with(&with(""));
    stays_for(&mut stage, &with("locks: [x]\n"), kind, "");
}

#[test]
fn an_input_that_does_not_fit_and_many_reasons_are_told_with_a_bound() {
    let with = |input: &str| format!("  - id: a\n    task: t.set@1\n{input}");
    let mut stage = Stage::with(&with(""));
    let needs = with("input: { type: object, required: [n] }\n");
    stays_for(&mut stage, &needs, ReasonKind::Input, "");
    let many: String = (0..40)
        .map(|n| format!("  - id: s{n}\n    after: []\n    task: t.look@1\n"))
        .collect();
    let mut stage = Stage::with(&many);
    let verdict = stage.upgrade("  - id: z\n    task: t.look@1\n");
    assert_eq!(stays(&verdict).len(), REASONS_MAX);
}

#[test]
fn a_number_of_the_input_that_would_have_come_in_as_an_integer_is_none() {
    let with = |kind: &str, more: &str| {
        format!(
            "  - id: a\n    task: t.set@1\n{more}input: {{ type: object, properties: {{ n: {{ type: {kind} }} }} }}\n"
        )
    };
    let mut stage = Stage::waiting(&with("number", ""));
    let Input::Start(mut start) = stage.start() else {
        unreachable!("a start is one")
    };
    start.input = json!({ "n": 1.0 });
    assert_eq!(stage.give(&Input::Start(start)), Verdict::Applied);
    stays_for(&mut stage, &with("integer", ""), ReasonKind::Input, "");
    let more = "  - id: b\n    task: t.look@1\n";
    moves(&mut stage, &with("number", more));
}

#[test]
fn a_step_whose_input_could_not_be_made_has_sent_nothing_and_is_mended() {
    let with = |n: &str| {
        format!(
            "  - id: p\n    task: t.set@1\n    pivot: true\n  - id: a\n    task: t.set@1\n    with: {{ n: \"${{ {n} }}\" }}\n"
        )
    };
    let mut stage = Stage::with(&with("p.nothing"));
    stage.report("p", done());
    assert_eq!(stage.phase("a"), Phase::Parked);
    moves(&mut stage, &with("p.ok"));
    stage.retry("a");
    stage.wait();
    stage.report("a", done());
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn an_operator_skipped_it_out_of_its_turn_and_the_same_text_still_fits() {
    let mut stage = Stage::with(TWO);
    stage.skip("b");
    moves(&mut stage, TWO);
    stage.report("a", done());
    assert_eq!(stage.status(), Status::Completed);
}

/// Asked elsewhere, a probe would truthfully say that it did not happen, and it would be done twice; undone elsewhere, it would stand.
#[test]
fn what_was_done_is_asked_about_and_undone_where_it_was_done() {
    let with = |pool: &str| {
        format!(
            "  - id: a\n    task: t.once@1\n    pool: {pool}\n    probe: {{ task: t.set@1, with: {{}} }}\n    undo: {{ task: t.set@1, with: {{}} }}\n  - id: z\n    task: t.look@1\n    retry: {{ attempts: 1 }}\n"
        )
    };
    let mut stage = Stage::with(&with("site-a"));
    stage.report("a", unknown());
    moves(&mut stage, &with("site-b"));
    while stage.phase("a") != Phase::Probing {
        stage.wait();
    }
    let asked = stage.at("a").asking.clone().unwrap();
    assert_eq!(asked.facts.pool.as_str(), "site-a");
    let output = json!({ "ok": true });
    stage.report("a", found(ProbeAnswer::Happened { output }));
    stage.report("z", failed(false));
    assert_eq!(stage.phase("a"), Phase::Undoing);
    let undo = stage.at("a").backward.clone().unwrap();
    assert_eq!(undo.facts.pool.as_str(), "site-a");
}

#[test]
fn a_saga_that_was_moved_meanwhile_is_not_moved_back() {
    let with = |z: &str| format!("  - id: a\n    task: t.set@1\n  - id: z\n    task: {z}\n");
    let mut stage = Stage::with(&with("t.look@1"));
    let operator = stage.operator();
    let asked = Input::Upgrade {
        to: 2,
        from: Some(3),
        operator,
    };
    let verdict = stage.give(&asked);
    assert!(
        matches!(&verdict, Verdict::Refused(Refusal::NotNow { why, .. }) if why.contains("runs version 1 by now")),
        "{verdict:?}"
    );
}
