//! What another driver has registered and nobody has told of here: it is looked for before anything is refused for it.

use baton_driver::{DefinitionRow, DriverError, Work};
use baton_engine::{Input, Operator, Refusal, Role, Verdict};
use baton_messages::{ChildWanted, InputId, ParentRef, Start, StepId, Wanted};
use serde_json::json;
use uuid::Uuid;

use crate::shelf::now_or_never;
use crate::{Rig, SAGA, at, rig, saga, start, turn};

/// As another driver registers it: in the store, and unknown here.
fn elsewhere(driver: &mut Rig, name: &str, version: u32) {
    let source = SAGA
        .replace("saga: two", &format!("saga: {name}"))
        .replace("version: 1", &format!("version: {version}"));
    driver.store().definitions.push(DefinitionRow {
        name: name.to_owned(),
        version,
        source,
        at: at(0),
        by: "another".to_owned(),
    });
}

fn start_of(n: u128, definition: &str, version: Option<u32>) -> Work {
    let start = Start {
        id: InputId(Uuid::from_u128(n)),
        saga: saga(n),
        definition: definition.to_owned(),
        version,
        input: json!({ "n": 1 }),
        labels: Default::default(),
        by: "test".into(),
    };
    Work::Saga {
        token: 1,
        saga: saga(n),
        input: Box::new(Input::Start(start)),
    }
}

/// The child of a saga that is driven elsewhere.
fn child_of(n: u128, definition: &str) -> Work {
    let parent = ParentRef {
        saga: saga(n),
        step: StepId::new("within").unwrap(),
        item: None,
        round: 1,
    };
    let wanted = ChildWanted {
        child: parent.child(),
        root: parent.saga,
        parent,
        depth: 1,
        number: 1,
        definition: definition.to_owned(),
        version: 1,
        input: json!({ "n": 1 }),
        want: Wanted::Done,
        paused: false,
        why: String::new(),
        fences: Default::default(),
    };
    Work::Saga {
        token: 1,
        saga: wanted.child,
        input: Box::new(Input::ChildWanted(wanted)),
    }
}

fn upgrade(n: u128, to: u32) -> Work {
    let operator = Operator {
        id: InputId(Uuid::from_u128(77)),
        by: "anna".into(),
        role: Role::Admin,
        reason: "because".into(),
        seen: None,
    };
    Work::Saga {
        token: 1,
        saga: saga(n),
        input: Box::new(Input::Upgrade {
            to,
            from: None,
            operator,
        }),
    }
}

fn is_unknown(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused(Refusal::NoSuch { .. }))
}

#[test]
fn a_start_of_what_was_registered_elsewhere_is_taken() {
    let mut driver = rig(true);
    elsewhere(&mut driver, "new", 1);
    let answers = turn(&mut driver, vec![start_of(1, "new", None)], 1);
    assert_eq!(answers[0].verdict, Verdict::Applied);
    elsewhere(&mut driver, "new", 2);
    let answers = turn(&mut driver, vec![start_of(2, "new", Some(2))], 1_000);
    assert_eq!(answers[0].verdict, Verdict::Applied, "a version as well");
}

#[test]
fn a_child_of_what_was_registered_elsewhere_begins() {
    let mut driver = rig(true);
    elsewhere(&mut driver, "new", 1);
    let answers = turn(&mut driver, vec![child_of(1, "new")], 1);
    assert_eq!(answers[0].verdict, Verdict::Applied);
}

#[test]
fn a_saga_goes_on_under_a_version_that_was_registered_elsewhere() {
    let mut driver = rig(true);
    turn(&mut driver, vec![start(1)], 1);
    elsewhere(&mut driver, "two", 2);
    let answers = turn(&mut driver, vec![upgrade(1, 2)], 2);
    assert_eq!(answers[0].verdict, Verdict::Applied);
    assert_eq!(driver.store().versions[&saga(1)], 2);
}

#[test]
fn what_nobody_has_registered_is_refused_and_not_looked_for_all_the_time() {
    let mut driver = rig(true);
    let before = driver.store().looks;
    for ms in 1..100 {
        let answers = turn(&mut driver, vec![start_of(1, "none", None)], ms);
        assert!(is_unknown(&answers[0].verdict));
    }
    turn(&mut driver, vec![start(2)], 100);
    assert_eq!(driver.store().looks, before + 1);
    // it comes, and the next who asks finds it
    elsewhere(&mut driver, "none", 1);
    let answers = turn(&mut driver, vec![start_of(1, "none", None)], 1_000);
    assert_eq!(answers[0].verdict, Verdict::Applied);
}

#[test]
fn where_definitions_cannot_be_read_nothing_is_refused() {
    let mut driver = rig(true);
    elsewhere(&mut driver, "new", 1);
    driver.store().blind = 1;
    let lost = now_or_never(driver.turn(vec![start_of(1, "new", None)], at(1), 1));
    assert!(matches!(lost, Err(DriverError::Read { .. })), "{lost:?}");
    now_or_never(driver.recover_again(at(2))).unwrap();
    let answers = turn(&mut driver, vec![start_of(1, "new", None)], 3);
    assert_eq!(answers[0].verdict, Verdict::Applied);
}
