//! A saga that leaves memory is kept as it is: whatever its history has left behind stands in what is written of it, and survives being written.

use baton_driver::{Sent, Work};
use baton_engine::{Definition, Input, Operator, Role, SagaState, Status, Verdict, replay};
use baton_messages::{
    AttemptRef, Checkpoint, CheckpointKind, Effect, InputId, Manifest, RunId, Start, Started,
    StepKey, TaskType, WorkerId,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::shelf::now_or_never;
use super::{Rig, at, finished, manifest, rig, saga, take, task, turn};

const WHOLE: &str = "
saga: whole
version: 1
locks: [here]
deadline: 30d
work_items: { escalate: [{ after: 2d, to: boss }] }
steps:
  - id: kept
    task: test.keep@1
    with: { value: 1 }
  - id: asked
    approve: { by: operator, timeout: 7d }
";

fn keeps() -> Manifest {
    Manifest {
        task_type: TaskType::new("test.keep@1").unwrap(),
        effect: Effect::Reversible,
        before_image: true,
        undo: true,
        ..manifest()
    }
}

fn gives(driver: &mut Rig, input: Input, ms: u64) -> Verdict {
    let work = Work::Saga {
        token: 1,
        saga: saga(1),
        input: Box::new(input),
    };
    turn(driver, vec![work], ms)[0].verdict.clone()
}

fn operator(id: u128) -> Operator {
    Operator {
        id: InputId(Uuid::from_u128(id)),
        by: "anna".into(),
        role: Role::Admin,
        reason: "because".into(),
        seen: None,
    }
}

fn start() -> Input {
    Input::Start(Start {
        id: InputId(Uuid::from_u128(1)),
        saga: saga(1),
        definition: "whole".into(),
        version: None,
        input: json!({}),
        labels: [("of".to_owned(), "us".to_owned())].into(),
        by: "test".into(),
    })
}

fn checkpoint(of: &AttemptRef, kind: CheckpointKind, value: Value) -> Input {
    Input::Checkpoint(Checkpoint {
        of: of.clone(),
        run: RunId(of.message_id().0),
        kind,
        number: 1,
        value,
    })
}

/// One with a lock, a before-image, what operators did, an open work item, a deadline, and a second attempt.
fn with_a_history() -> Rig {
    let mut driver = rig(true);
    now_or_never(driver.announce(keeps(), at(0)))
        .unwrap()
        .unwrap();
    let definition = Definition::parse(WHOLE).unwrap();
    assert!(now_or_never(driver.put_definition(definition, "test", at(0))).unwrap());
    assert_eq!(gives(&mut driver, start(), 1), Verdict::Applied);
    let fences = [("here".to_owned(), 7)].into();
    gives(&mut driver, Input::Admitted { fences }, 2);
    let out = take(&mut driver);
    driver.sent(vec![(out[0].ticket, Sent::Confirmed)]);
    let of = task(&out[0]).of.clone();
    let started = Started {
        of: of.clone(),
        run: RunId(of.message_id().0),
        worker: WorkerId::new("w").unwrap(),
        at: at(3),
    };
    gives(&mut driver, Input::TaskStarted(started), 3);
    gives(
        &mut driver,
        checkpoint(&of, CheckpointKind::Before, json!("as it was")),
        4,
    );
    gives(
        &mut driver,
        checkpoint(&of, CheckpointKind::Progress, json!("half")),
        5,
    );
    gives(&mut driver, Input::Pause(operator(10)), 6);
    turn(&mut driver, vec![finished(&of, json!(1))], 7);
    gives(&mut driver, Input::Resume(operator(11)), 8);
    let out = take(&mut driver);
    driver.sent(
        out.iter()
            .map(|one| (one.ticket, Sent::Confirmed))
            .collect(),
    );
    driver
}

#[test]
fn what_is_kept_of_a_saga_out_of_memory_is_the_whole_of_it() {
    let mut driver = with_a_history();
    let state = driver.peek(saga(1)).unwrap().clone();
    assert_eq!(state.work_items.len(), 1, "somebody is asked");
    assert!(state.work_items[&1].next_escalation().is_some());
    turn(&mut driver, vec![], 600_000);
    assert_eq!(driver.figures().hot, 0);
    let shelf = driver.store().clone();
    let kept = &shelf.snapshots[&saga(1)];
    assert_eq!(**kept, state);
    let mut told = SagaState::new(saga(1));
    let rows = shelf.rows.iter().filter(|row| row.saga == saga(1));
    replay(&mut told, rows.map(|row| &row.entry)).unwrap();
    assert_eq!(**kept, told, "as its records tell it");
    let text = serde_json::to_string(kept).unwrap();
    let read: SagaState = serde_json::from_str(&text).unwrap();
    assert_eq!(read, told, "written and read");
    assert_eq!(shelf.cold[&saga(1)], told.next_wake());

    // what was done is done, and it goes on
    assert_eq!(
        gives(&mut driver, Input::Pause(operator(10)), 600_001),
        Verdict::Duplicate
    );
    assert!(matches!(
        gives(&mut driver, start(), 600_002),
        Verdict::Duplicate
    ));
    let step = StepKey::new("kept").unwrap();
    let before = shelf.snapshots[&saga(1)].at(&step).unwrap().before.clone();
    assert_eq!(before, Some((1, json!("as it was"))));
    assert_eq!(
        gives(&mut driver, Input::Cancel(operator(12)), 600_003),
        Verdict::Applied
    );
    let out = take(&mut driver);
    let undo = task(&out[0]);
    assert_eq!(undo.before, Some(json!("as it was")));
    assert_eq!(undo.fences.get("here"), Some(&7));
    assert_eq!(driver.store().status[&saga(1)], Status::Compensating);
}
