//! A saga whose records were taken out never begins again, and nothing is added to it, whatever comes.

use baton_engine::definition::NoSagas;
use baton_engine::{Input, Refusal, Rules, SagaState, Status, Verdict, decide};
use baton_messages::{InputId, Timestamp};
use uuid::Uuid;

use crate::stage::{Stage, done, finished, not_run, run};

/// How an input about what is left of the staged saga is taken.
fn told(stage: &Stage, input: &Input) -> Verdict {
    let rules = Rules {
        definition: &stage.definition,
        catalogue: &stage.catalogue,
        sagas: &NoSagas,
        level: baton_engine::Level::NEWEST,
    };
    let mut left = SagaState::new(stage.state.id);
    left.definition = "staged".into();
    left.version = 1;
    left.status = Status::Completed;
    left.ended_at = Some(Timestamp(2_000_000));
    left.purged_at = Some(Timestamp(3_000_000));
    let before = left.clone();
    let decision = decide(rules, &mut left, input, Timestamp(4_000_000), 42).unwrap();
    assert!(decision.records.is_empty(), "{:?}", decision.records);
    assert_eq!(left, before);
    decision.verdict
}

#[test]
fn the_same_start_is_the_same_saga() {
    let stage = Stage::waiting("  - id: a\n    task: t.set@1\n");
    assert_eq!(told(&stage, &stage.start()), Verdict::Duplicate);
}

#[test]
fn operators_hear_that_it_has_ended() {
    let mut stage = Stage::waiting("  - id: a\n    task: t.set@1\n");
    let ended = Verdict::Refused(Refusal::Ended {
        status: "completed",
    });
    let operator = stage.operator();
    let inputs = [
        Input::Cancel(operator.clone()),
        Input::Abandon(operator.clone()),
        Input::RetryStep {
            step: crate::stage::key("a"),
            operator: operator.clone(),
        },
        Input::AssignItem {
            number: 1,
            assignment: baton_engine::Assignment {
                whose: Some(baton_engine::Whose::Mine),
                due_ms: None,
            },
            operator: operator.clone(),
        },
        Input::Acknowledge {
            number: 1,
            operator,
        },
    ];
    for input in inputs {
        assert_eq!(told(&stage, &input), ended, "{input:?}");
    }
}

/// It is refused, so that it is kept as a dead letter, which says why.
#[test]
fn a_late_report_is_refused_with_the_reason() {
    let stage = Stage::with("  - id: a\n    task: t.set@1\n");
    let report = finished(stage.open("a"), run(9), true, done());
    let verdict = told(&stage, &report);
    let Verdict::Refused(refusal @ Refusal::NoSuch { .. }) = verdict else {
        panic!("{verdict:?}")
    };
    let text = refusal.to_string();
    assert!(
        text.contains("completed") && text.contains("purged"),
        "{text}"
    );
}

/// A worker that comes late asks, and then gives back: nothing was done, and nobody has to look at it.
#[test]
fn a_late_claim_leaves_nothing_behind() {
    let stage = Stage::with("  - id: a\n    task: t.once@1\n");
    let of = stage.open("a");
    let asks = crate::stage::started(of.clone(), run(9));
    let gives_back = finished(of, run(9), false, not_run());
    for input in [asks, gives_back] {
        let verdict = told(&stage, &input);
        assert!(matches!(verdict, Verdict::Ignored { .. }), "{verdict:?}");
    }
}

/// Even a defect in what comes does not wake it up.
#[test]
fn what_cannot_be_decided_parks_nothing() {
    let stage = Stage::waiting("  - id: a\n    task: t.set@1\n");
    let broken = Input::Broken {
        id: InputId(Uuid::from_u128(5)),
        error: "x".into(),
    };
    assert_eq!(told(&stage, &broken), Verdict::Duplicate);
    let joined = Input::Joined {
        id: InputId(Uuid::from_u128(6)),
        trigger: 0,
        source: "/s".into(),
        event: "e".into(),
    };
    assert!(matches!(told(&stage, &joined), Verdict::Ignored { .. }));
}
