//! What operators may do, and when they are refused.

use baton_engine::input::{Resolution, Seen};
use baton_engine::state::Phase;
use baton_engine::{Input, Operator, Refusal, Status, Verdict};
use baton_messages::InputId;
use serde_json::json;
use uuid::Uuid;

use crate::stage::{Stage, done, failed, undone};

const PARKS: &str =
    "  - id: a\n    task: t.set@1\n    on_error: park\n  - id: b\n    task: t.set@1\n";

fn parked() -> Stage {
    let mut stage = Stage::with(PARKS);
    stage.report("a", failed(false));
    assert_eq!(stage.status(), Status::Parked);
    stage
}

fn undo_parked() -> Stage {
    let mut stage = Stage::with("  - id: a\n    task: t.set@1\n  - id: b\n    task: t.set@1\n");
    stage.report("a", done());
    stage.report("b", failed(false));
    stage.report("a", failed(false));
    assert_eq!(
        (stage.phase("a"), stage.status()),
        (Phase::UndoParked, Status::Parked)
    );
    stage
}

#[test]
fn retry_tries_a_parked_step_again() {
    let mut stage = parked();
    assert_eq!(stage.retry("a"), Verdict::Applied);
    stage.wait();
    stage.report("a", done());
    assert_eq!(
        (stage.phase("b"), stage.state.work_items.len()),
        (Phase::Trying, 0)
    );
}

#[test]
fn retry_tries_a_parked_undo_again() {
    let mut stage = undo_parked();
    stage.retry("a");
    stage.wait();
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn skip_goes_on_without_the_step() {
    let mut stage = parked();
    stage.skip("a");
    assert_eq!(
        (stage.phase("a"), stage.phase("b")),
        (Phase::Skipped, Phase::Trying)
    );
}

/// The pivot of these fails before it is sent; what comes after it has these keys.
fn at_a_pivot_never_sent(last: &str) -> Stage {
    let stage = Stage::with(&format!(
        "  - id: p\n    task: t.set@1\n    with: {{ n: \"${{ input.nothing }}\" }}\n    pivot: true\n    on_error: park\n  - id: z\n{last}"
    ));
    assert_eq!(stage.phase("p"), Phase::Parked);
    assert!(!stage.state.past_pivot);
    stage
}

/// Without it the saga may still turn back, and what is never taken back would have been run.
#[test]
fn a_pivot_that_was_never_sent_is_not_skipped_where_what_comes_after_counts_on_it() {
    for (last, because) in [
        ("    task: t.stuck@1\n", "t.stuck@1 brings no undo"),
        (
            "    task: t.gone@1\n",
            "what t.gone@1 does cannot be taken back",
        ),
        (
            "    task: t.nobody@1\n",
            "no worker has announced t.nobody@1",
        ),
        (
            "    saga: other@1\n",
            "other@1 may be past a pivot of its own",
        ),
        (
            "    for_each: [1]\n    steps:\n      - { id: x, task: t.set@1 }\n      - { id: y, task: t.stuck@1, pivot: true }\n",
            "its items may be past a pivot",
        ),
        (
            "    emit: { type: x.y }\n  - id: after\n    task: t.set@1\n",
            "the event it publishes is not taken back",
        ),
        (
            "    for_each: [1]\n    steps:\n      - { id: x, task: t.set@1 }\n      - { id: y, emit: { type: x.y } }\n",
            "the event that `y` of its items publishes is not taken back",
        ),
    ] {
        let mut stage = at_a_pivot_never_sent(last);
        stage.announce_irreversible("t.gone@1");
        let Verdict::Refused(Refusal::NotNow { action, why }) = stage.skip("p") else {
            panic!("it is skipped before\n{last}")
        };
        assert_eq!(action, "skip");
        assert!(
            why.contains("z, which counts on it") && why.contains(because),
            "{why}"
        );
        assert_eq!(stage.phase("p"), Phase::Parked, "nothing has moved");
        assert_eq!(stage.cancel(), Verdict::Applied, "the way back is open");
    }
}

#[test]
fn a_pivot_is_skipped_where_what_comes_after_is_taken_back_or_where_it_was_sent() {
    for last in [
        "    task: t.set@1\n",
        "    task: t.stuck@1\n    undo: none\n    because: it harms nobody\n",
        "    task: t.stuck@1\n    undo: { task: t.set@1, with: {} }\n",
        "    task: t.look@1\n",
        "    for_each: [1]\n    steps:\n      - { id: x, task: t.set@1 }\n",
        "    for_each: [1]\n    steps:\n      - { id: x, emit: { type: x.y }, because: it is so }\n",
        "    emit: { type: x.y }\n    because: it is so\n  - id: after\n    task: t.set@1\n",
        "    emit: { type: x.y }\n",
        "    sleep: 1h\n",
    ] {
        let mut stage = at_a_pivot_never_sent(last);
        assert_eq!(stage.skip("p"), Verdict::Applied, "{last}");
    }
    let mut stage = Stage::with(
        "  - id: p\n    task: t.set@1\n    pivot: true\n    on_error: park\n  - id: z\n    task: t.stuck@1\n    on_error: park\n",
    );
    stage.report("p", failed(false));
    assert!(
        stage.state.past_pivot,
        "it was sent, and the saga only goes forward"
    );
    assert_eq!(stage.skip("p"), Verdict::Applied);
    stage.report("z", failed(false));
    assert_eq!(stage.phase("z"), Phase::Parked);
}

#[test]
fn resolve_done_gives_the_output_by_hand() {
    let mut stage = parked();
    stage.resolve(
        "a",
        Resolution::Done {
            output: json!({ "by": "hand" }),
        },
    );
    assert_eq!(
        (stage.phase("a"), stage.at("a").output.clone()),
        (Phase::Succeeded, Some(json!({ "by": "hand" })))
    );
}

#[test]
fn resolve_undone_ends_a_parked_undo() {
    let mut stage = undo_parked();
    stage.resolve("a", Resolution::Undone);
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn resolve_needs_a_reason() {
    let mut stage = parked();
    let operator = Operator {
        reason: " ".into(),
        ..stage.operator()
    };
    let verdict = stage.give(&Input::ResolveStep {
        step: crate::stage::key("a"),
        resolution: Resolution::Undone,
        operator,
    });
    assert!(
        matches!(verdict, Verdict::Refused(Refusal::NotNow { .. })),
        "{verdict:?}"
    );
}

#[test]
fn pause_starts_nothing_and_resume_goes_on() {
    let mut stage = Stage::with(PARKS);
    let operator = stage.operator();
    stage.give(&Input::Pause(operator));
    stage.report("a", done());
    assert_eq!(stage.phase("b"), Phase::Waiting);
    let operator = stage.operator();
    stage.give(&Input::Resume(operator));
    assert_eq!(stage.phase("b"), Phase::Trying);
}

#[test]
fn cancel_takes_back_and_a_second_one_is_refused() {
    let mut stage = Stage::with(PARKS);
    stage.report("a", done());
    assert_eq!(stage.cancel(), Verdict::Applied);
    assert!(matches!(
        stage.cancel(),
        Verdict::Refused(Refusal::NotNow {
            action: "cancel",
            ..
        })
    ));
}

#[test]
fn abandon_ends_it_where_it_stands_and_nothing_wakes_it_up_again() {
    let mut stage = Stage::with("  - id: a\n    task: t.once@1\n");
    let of = stage.claim("a", crate::stage::run(1));
    let operator = stage.operator();
    stage.give(&Input::Abandon(operator));
    assert_eq!(stage.status(), Status::Abandoned);
    stage.give(&Input::LeaseOver {
        of: of.clone(),
        run: crate::stage::run(1),
    });
    stage.tell(of, crate::stage::run(1), true, done());
    stage.give(&Input::Broken {
        id: InputId(Uuid::from_u128(77)),
        error: "panicked".into(),
    });
    assert_eq!(stage.status(), Status::Abandoned);
}

#[test]
fn the_same_action_twice_is_one() {
    let mut stage = parked();
    let operator = stage.operator();
    let input = Input::SkipStep {
        step: crate::stage::key("a"),
        operator,
    };
    assert_eq!(stage.give(&input), Verdict::Applied);
    let before = stage.state.clone();
    assert_eq!(stage.give(&input), Verdict::Duplicate);
    assert_eq!(stage.state, before);
}

#[test]
fn an_action_on_what_has_moved_is_refused() {
    let mut stage = parked();
    let operator = Operator {
        seen: Some(Seen {
            phase: Phase::Backoff,
            attempt: 1,
        }),
        ..stage.operator()
    };
    let verdict = stage.give(&Input::RetryStep {
        step: crate::stage::key("a"),
        operator,
    });
    assert!(
        matches!(verdict, Verdict::Refused(Refusal::Moved { .. })),
        "{verdict:?}"
    );
}

#[test]
fn an_input_that_could_not_be_decided_parks_the_saga_until_it_was_seen() {
    let mut stage = Stage::with("  - id: a\n    task: t.set@1\n");
    stage.give(&Input::Broken {
        id: InputId(Uuid::from_u128(77)),
        error: "panicked".into(),
    });
    stage.report("a", done());
    assert_eq!(stage.status(), Status::Parked);
    let (number, operator) = (
        *stage.state.work_items.keys().next().unwrap(),
        stage.operator(),
    );
    stage.give(&Input::Acknowledge { number, operator });
    assert_eq!(stage.status(), Status::Completed);
}

/// Whoever abandons a saga takes over what it left: that is written down, or it is not abandoned.
#[test]
fn abandon_needs_a_reason() {
    let mut stage = Stage::with(PARKS);
    stage.report("a", done());
    for reason in ["", " \t\n"] {
        let operator = Operator {
            reason: reason.into(),
            ..stage.operator()
        };
        let verdict = stage.give(&Input::Abandon(operator));
        assert!(
            matches!(verdict, Verdict::Refused(Refusal::NotNow { .. })),
            "{verdict:?}"
        );
        assert_eq!(stage.status(), Status::Running);
    }
}

/// What runs, is done, is looked into or is taken back is not skipped: whoever asks is told where it stands, and nothing is written.
#[test]
fn only_what_waits_or_is_parked_is_skipped() {
    let refuses = |stage: &mut Stage, id: &str, at: Phase| {
        assert_eq!(stage.phase(id), at);
        let (state, many) = (stage.state.clone(), stage.entries.len());
        let verdict = stage.skip(id);
        assert!(
            matches!(
                verdict,
                Verdict::Refused(Refusal::NotNow { action: "skip", .. })
            ),
            "{at:?}: {verdict:?}"
        );
        assert_eq!((&stage.state, stage.entries.len()), (&state, many));
    };
    let mut stage = Stage::with(PARKS);
    refuses(&mut stage, "a", Phase::Trying);
    stage.report("a", crate::stage::unknown());
    refuses(&mut stage, "a", Phase::Settling);
    stage.wait();
    refuses(&mut stage, "a", Phase::Probing);
    let mut stage = Stage::with(PARKS);
    stage.report("a", done());
    refuses(&mut stage, "a", Phase::Succeeded);
    stage.report("b", failed(false));
    refuses(&mut stage, "a", Phase::Undoing);
    stage.report("a", failed(true));
    refuses(&mut stage, "a", Phase::UndoBackoff);
    stage.wait();
    stage.report("a", failed(false));
    refuses(&mut stage, "a", Phase::UndoParked);
}

/// A replay of its task, or a person, finds a step in a phase in which nothing is to be tried again: no attempt is minted, on the way back least of all.
#[test]
fn only_what_is_parked_or_between_two_attempts_is_tried_again() {
    let refuses = |stage: &mut Stage, id: &str, at: Phase| {
        assert_eq!(stage.phase(id), at);
        let (state, many) = (stage.state.clone(), stage.entries.len());
        let verdict = stage.retry(id);
        assert!(
            matches!(
                verdict,
                Verdict::Refused(Refusal::NotNow {
                    action: "retry",
                    ..
                })
            ),
            "{at:?}: {verdict:?}"
        );
        assert_eq!((&stage.state, stage.entries.len()), (&state, many));
    };
    let mut stage = Stage::with(PARKS);
    refuses(&mut stage, "a", Phase::Trying);
    refuses(&mut stage, "b", Phase::Waiting);
    stage.report("a", done());
    refuses(&mut stage, "a", Phase::Succeeded);
    stage.report("b", failed(false));
    refuses(&mut stage, "b", Phase::Failed);
    refuses(&mut stage, "a", Phase::Undoing);
    // a step in doubt waits for what came after it
    let three = format!("{PARKS}  - id: c\n    task: t.set@1\n    after: [a]\n");
    let mut stage = Stage::with(&three);
    stage.report("a", done());
    stage.report("c", done());
    stage.report("b", crate::stage::unknown());
    stage.cancel();
    assert_eq!(stage.phase("b"), Phase::Undoing);
    stage.report("b", undone());
    refuses(&mut stage, "b", Phase::Undone);
    stage.report("c", undone());
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
    let verdict = stage.retry("a");
    assert!(
        matches!(verdict, Verdict::Refused(Refusal::Ended { .. })),
        "{verdict:?}"
    );
}
