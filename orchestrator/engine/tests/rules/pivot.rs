//! The pivot: a barrier before, only forward after.

use baton_engine::state::Phase;
use baton_engine::{Choice, Input, Record, Status, WorkItemKind};

use crate::stage::{Stage, done, failed, run, undone, unknown};

const THREE: &str = "  - id: a\n    task: t.set@1\n  - id: side\n    task: t.set@1\n    after: []\n  - id: p\n    task: t.once@1\n    after: [a]\n    pivot: true\n  - id: z\n    task: t.set@1\n    after: [p]\n    retry: { attempts: 1 }\n";

fn at_pivot() -> Stage {
    let mut stage = Stage::with(THREE);
    stage.report("a", done());
    stage.report("side", done());
    stage
}

#[test]
fn it_waits_for_everything_that_does_not_come_after_it() {
    let mut stage = Stage::with(THREE);
    stage.report("a", done());
    assert_eq!(stage.phase("p"), Phase::Waiting, "side is still at it");
    stage.report("side", done());
    assert_eq!(stage.phase("p"), Phase::Trying);
}

#[test]
fn from_its_dispatch_on_a_cancel_asks_a_person() {
    let mut stage = at_pivot();
    stage.cancel();
    assert!(stage.state.unwinding.is_none());
    assert!(
        stage
            .state
            .work_items
            .values()
            .any(|item| item.kind == WorkItemKind::CancelAfterPivot)
    );
    stage.report("p", done());
    stage.report("z", done());
    assert_eq!(
        stage.status(),
        Status::Completed,
        "it goes on, only forward"
    );
}

#[test]
fn when_it_failed_with_nothing_changed_the_way_back_is_open() {
    let mut stage = at_pivot();
    stage.report("p", failed(false));
    assert_eq!(
        (stage.phase("a"), stage.phase("side")),
        (Phase::Undoing, Phase::Undoing)
    );
    stage.report("a", undone());
    stage.report("side", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn when_nobody_knows_whether_it_happened_a_person_decides() {
    let mut stage = at_pivot();
    stage.report("p", unknown());
    stage.wait();
    assert_eq!(
        (stage.phase("p"), stage.status()),
        (Phase::Parked, Status::Parked)
    );
}

#[test]
fn what_fails_after_it_is_parked() {
    let mut stage = at_pivot();
    stage.report("p", done());
    stage.report("z", failed(false));
    assert_eq!(
        (stage.phase("z"), stage.status()),
        (Phase::Parked, Status::Parked)
    );
    assert!(stage.state.unwinding.is_none());
}

/// Its time is over, and there is no way back any more: somebody is told, and it goes on.
#[test]
fn a_deadline_after_it_asks_a_person_and_takes_nothing_back() {
    let mut stage = Stage::with(&format!("{THREE}deadline: 1m\n"));
    stage.report("a", done());
    stage.report("side", done());
    let of = stage.claim("p", run(1));
    let deadline = stage.state.deadline_at.unwrap();
    stage.now = deadline.0;
    for timer in stage.state.due_timers(deadline) {
        stage.give(&Input::TimerFired(timer));
    }
    assert!(stage.state.unwinding.is_none(), "only forward");
    assert!(stage.state.deadline_at.is_none(), "told once");
    assert_eq!(stage.phase("p"), Phase::Trying);
    assert!(!stage.choices().contains(&Choice::Cancel));
    let mut asked = stage.state.work_items.values();
    assert!(asked.all(|item| item.kind == WorkItemKind::DeadlineAfterPivot));
    stage.tell(of, run(1), true, done());
    stage.report("z", done());
    assert_eq!(stage.status(), Status::Completed);
    assert!(stage.state.work_items.is_empty(), "it closes with the end");
    let undone = |record: &Record| matches!(record, Record::Unwinding { .. });
    assert_eq!(stage.recorded(undone), 0);
}
