//! `wait`, `approve`, `emit`: what right ones read as, and where and how each wrong one is refused.

use super::tests::all_said;
use super::*;
use crate::role::Role;

const RIGHT: &str = r#"
saga: pays
version: 1
on:
  - event: com.example.ordered
steps:
  - id: paid
    wait: { event: com.example.paid, when: "${ event.data.order == input.order }", timeout: 2h, on_timeout: continue, since: 10m }
  - id: release
    if: ${ has(paid.id) }
    approve: { by: admin, prompt: "Let ${ input.host } back?", timeout: 7d, on_reject: continue }
  - id: asked
    approve: { by: bob@example.com, timeout: 1h, on_timeout: fail }
  - id: told
    after: [release]
    emit: { type: com.example.released, subject: "${ input.site }", data: { version: "${ input.version }" } }
  - id: plain
    wait: { event: "com.example.*", timeout: 1m }
"#;

#[test]
fn right_ones_are_read() {
    let definition = Definition::parse(RIGHT).unwrap();
    let kinds: Vec<&StepKind> = definition.steps.iter().map(|step| &step.kind).collect();
    let [
        StepKind::Wait(paid),
        StepKind::Approve(release),
        StepKind::Approve(asked),
        StepKind::Emit(told),
        StepKind::Wait(plain),
    ] = kinds.as_slice()
    else {
        panic!("{kinds:?}");
    };
    assert_eq!((paid.timeout_ms, paid.since_ms), (7_200_000, 600_000));
    assert_eq!(paid.on_timeout, OnTimeout::Continue);
    assert!(paid.when.is_some() && plain.when.is_none());
    assert_eq!((plain.on_timeout, plain.since_ms), (OnTimeout::Fail, 0));
    assert_eq!(release.by, Approver::Role(Role::Admin));
    assert_eq!(release.on_timeout, OnTimeout::Park);
    assert!(release.goes_on_rejected && release.prompt.is_some());
    assert_eq!(asked.by, Approver::Person("bob@example.com".into()));
    assert!(!asked.goes_on_rejected);
    assert_eq!(asked.on_timeout, OnTimeout::Fail);
    assert_eq!(told.kind, "com.example.released");
    assert!(told.subject.is_some() && told.data.is_some());
    let events: Vec<String> = definition.events().map(String::from).collect();
    assert_eq!(
        events,
        ["com.example.ordered", "com.example.paid", "com.example.*"]
    );
}

/// A document with one step before, `a`, and this one.
macro_rules! step {
    ($step:literal) => {
        concat!(
            "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n  - id: s\n    ",
            $step,
            "\n"
        )
    };
}

const WRONG: &[(&str, &[&str])] = &[
    (
        step!("wait: x.y"),
        &["7:11 BT0002 a wait must be a mapping"],
    ),
    (
        step!("wait: {}"),
        &["7:11 BT0004 `event`", "7:11 BT0004 `timeout`"],
    ),
    (
        step!("wait: { event: x.y, timeout: 5, when: soon }"),
        &["7:34 BT0009 no unit", "7:43 BT0002 `when`"],
    ),
    (
        step!("wait: { event: x.y, timeout: 5m, on_timeout: retry }"),
        &["7:50 BT0008 fail, park or continue"],
    ),
    (
        step!("wait: { event: x.y, timeout: 5m, wehn: \"${ true }\" }"),
        &["7:38 BT0003 did you mean `when`?"],
    ),
    (
        step!("wait: { event: x.y, timeout: 5m, when: \"${ event.id == b.id }\" }"),
        &["7:60 BT0011 no step `b`"],
    ),
    (
        step!("wait: { event: x.y, timeout: 5m, when: \"${ event.id == s.id }\" }"),
        &["7:60 BT0011 its own output"],
    ),
    (
        step!("wait: { event: x.y, timeout: 5m }\n    timeout: 5m"),
        &["8:5 BT0018 write it inside"],
    ),
    (
        step!(
            "wait: { event: x.y, timeout: 5m }\n    on_error: continue\n    undo: none\n    because: of\n    pivot: true\n    pool: p"
        ),
        &[
            "8:5 BT0018 waits for an event",
            "9:5 BT0018 `undo`",
            "10:5 BT0018 `because`",
            "11:5 BT0013 `pivot`",
            "12:5 BT0018 `pool`",
        ],
    ),
    (
        step!("wait: { event: x.y, timeout: 5m }\n    emit: { type: x.y }"),
        &["8:5 BT0018 waits for an event or publishes an event, not both"],
    ),
    (step!("approve: { timeout: 7d }"), &["7:14 BT0004 `by`"]),
    (
        step!("approve: { by: the boss, timeout: 7d, on_reject: park }"),
        &[
            "7:20 BT0006 neither a role nor a name",
            "7:54 BT0008 fail or continue",
        ],
    ),
    (
        step!("approve: { by: admin, timeout: 7d, prompt: \"${ event.id } of ${ c }\" }"),
        &["7:52 BT0011 `event`", "7:69 BT0011 no step `c`"],
    ),
    (
        step!("approve: { by: admin, timeout: 7d, prompt: [a] }"),
        &["7:48 BT0002 must be text"],
    ),
    (
        step!("approve: { by: admin, timeout: 7d, prompt: \"${ secret('x') }\" }"),
        &["7:48 BT0017 question"],
    ),
    (step!("emit: { data: 1 }"), &["7:11 BT0004 `type`"]),
    (
        step!("emit: { type: \"x.${ a.b }\" }"),
        &["7:19 BT0002 fixed"],
    ),
    (step!("emit: { type: x.* }"), &["7:19 BT0006 inside"]),
    (
        step!("emit: { type: x.y, data: { k: \"${ secret('x') }\" } }"),
        &["7:30 BT0017 an event"],
    ),
    (
        step!("emit: { type: x.y, data: \"${ b.c }\" }"),
        &["7:34 BT0011 no step `b`"],
    ),
];

#[test]
fn wrong_ones_are_refused_where_they_are_wrong() {
    all_said(WRONG);
}
