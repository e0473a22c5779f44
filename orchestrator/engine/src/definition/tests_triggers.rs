//! `on:`: what right triggers read as, and where and how each wrong one is refused.

use serde_json::json;

use super::tests::all_said;
use super::*;

const RIGHT: &str = r#"
saga: quarantine-host
version: 1
on:
  - event: com.example.antivirus.detected
    when: ${ event.data.severity >= 3 }
    input: { ip: "${ event.data.ip }" }
    key: ${ event.data.ip }
    window: 15m
  - event: com.example.*
  - schedule: "*/30 0 2 * * mon-fri"
    timezone: Europe/Vienna
    input: { day: "${ schedule.time }" }
    catch_up: all
    overlap: allow
  - schedule: "@daily"
  - hook: github-push
    secret: github
steps:
  - id: only
    sleep: 1s
"#;

#[test]
fn right_triggers_are_read() {
    let definition = Definition::parse(RIGHT).unwrap();
    let [first, second, third, fourth, fifth] = definition.triggers.as_slice() else {
        panic!("{:?}", definition.triggers);
    };
    let rule = first.event_rule().unwrap();
    let waits = |rule: &EventRule| match &rule.then {
        OnHit::Start { window_ms, .. } => Some(*window_ms),
        OnHit::Cancel { .. } => None,
    };
    assert_eq!(waits(rule), Some(900_000));
    assert!(rule.when.is_some() && rule.key.is_some());
    assert!(first.looks_at("com.example.antivirus.detected", "/anything"));
    assert!(!first.looks_at("com.example.antivirus", "/anything"));
    assert!(second.looks_at("com.example.antivirus", "/anything"));
    assert_eq!(second.binding_key().as_deref(), Some("com.example.#"));
    let (Trigger::Schedule(third), Trigger::Schedule(fourth)) = (third, fourth) else {
        panic!("{third:?}");
    };
    assert_eq!(third.schedule.timezone(), "Europe/Vienna");
    assert_eq!(
        (third.catch_up, third.overlap),
        (CatchUp::All, Overlap::Allow)
    );
    assert_eq!(fourth.schedule.timezone(), "UTC");
    assert_eq!(
        (fourth.catch_up, fourth.overlap),
        (CatchUp::Last, Overlap::Skip)
    );
    assert_eq!(fourth.input.as_literal(), Some(&json!({})));
    assert!(fifth.looks_at("hook.github-push", "/v1/hooks/github-push"));
    assert_eq!(fifth.binding_key().as_deref(), Some("hook.github-push"));
}

#[test]
fn a_trigger_may_cancel_what_another_starts() {
    let yaml = r#"
saga: treat
version: 1
on:
  - event: com.example.high
    key: ${ event.data.host }
  - event: com.example.over
    when: ${ event.data.over }
    key: ${ event.data.host }
    cancel: "  the alarm is over "
  - hook: watch
    secret: watch
    key: ${ event.data.host }
    cancel: nobody watches it any more
steps: [{ id: only, sleep: 1s }]
"#;
    let definition = Definition::parse(yaml).unwrap();
    let reasons: Vec<Option<&str>> = definition
        .triggers
        .iter()
        .map(|trigger| match &trigger.event_rule().unwrap().then {
            OnHit::Start { .. } => None,
            OnHit::Cancel { reason } => Some(reason.as_str()),
        })
        .collect();
    assert_eq!(
        reasons,
        [
            None,
            Some("the alarm is over"),
            Some("nobody watches it any more")
        ]
    );
    // it is listened for as what starts is
    let keys: Vec<String> = definition
        .triggers
        .iter()
        .filter_map(Trigger::binding_key)
        .collect();
    assert_eq!(keys, ["com.example.high", "com.example.over", "hook.watch"]);
}

#[test]
fn missed_times_are_made_up_for_as_the_author_says() {
    let definition = |catch_up: &str| {
        let yaml = format!(
            "saga: x\nversion: 1\non: [{{schedule: '0 * * * *', catch_up: {catch_up}}}]\nsteps: [{{id: a, sleep: 1s}}]"
        );
        Definition::parse(&yaml).unwrap()
    };
    let hour = 3_600_000;
    let missed = |catch_up: &str| {
        let definition = definition(catch_up);
        let Trigger::Schedule(rule) = &definition.triggers[0] else {
            panic!("a schedule");
        };
        let from = baton_messages::Timestamp(hour * 24 * 365 * 50);
        let to = from.plus_ms(hour * 1_000 + 1);
        (rule.missed(from, to), from, to)
    };
    assert_eq!(missed("none").0, []);
    let (last, from, _) = missed("last");
    assert_eq!(last, [from.plus_ms(hour * 1_000)]);
    let (all, from, _) = missed("all");
    assert_eq!(all.len(), CATCH_UP_MAX);
    assert_eq!(all[0], from.plus_ms(hour * 901));
}

/// A document whose only trigger is this.
macro_rules! on {
    ($trigger:literal) => {
        concat!(
            "saga: x\nversion: 1\nsteps: [{id: a, sleep: 1s}]\non:\n  - ",
            $trigger,
            "\n"
        )
    };
}

const WRONG: &[(&str, &[&str])] = &[
    (on!("a"), &["5:5 BT0018 could start a saga"]),
    (on!("when: ${ true }"), &["5:5 BT0018 could start a saga"]),
    (
        on!("event: a.b\n    hook: c"),
        &["5:5 BT0018 event and hook"],
    ),
    (on!("event: '*'"), &["5:12 BT0006 inside"]),
    (on!("event: a.*.b"), &["5:12 BT0006 at its end"]),
    (
        on!("event: a.b\n    whne: ${ true }"),
        &["6:5 BT0003 did you mean `when`?"],
    ),
    (
        on!("event: a.b\n    timezone: UTC"),
        &["6:5 BT0003 a trigger of an event has no key"],
    ),
    (on!("event: a.b\n    when: soon"), &["6:11 BT0002 `when`"]),
    (
        on!(
            "event: a.b\n    when: ${ input.x }\n    input: { x: '${ steps.y }' }\n    key: ${ item }"
        ),
        &[
            "6:14 BT0011 `input`",
            "7:21 BT0011 `steps`",
            "8:13 BT0011 `item`",
        ],
    ),
    (
        on!("event: a.b\n    when: ${ event. }"),
        &["BT0010 cannot be read"],
    ),
    (
        on!("event: a.b\n    input: { x: '${ secret(\"y\") }' }"),
        &["6:12 BT0017 trigger"],
    ),
    (on!("event: a.b\n    key: [1]"), &["6:10 BT0002 one text"]),
    (
        on!("event: a.b\n    window: 5m"),
        &["6:5 BT0019 needs a `key`"],
    ),
    (
        on!("event: a.b\n    key: k\n    window: 5"),
        &["7:13 BT0009 no unit"],
    ),
    (
        on!("event: a.b\n    key: k\n  - event: c.d\n    cancel: over"),
        &["7:5 BT0004 cancels has no `key`"],
    ),
    (
        on!(
            "event: a.b\n    key: k\n  - event: c.d\n    cancel: over\n    key: k\n    input: { x: 1 }\n    window: 5m"
        ),
        &["10:5 BT0019 `input`", "11:5 BT0019 `window`"],
    ),
    (
        on!("event: a.b\n    key: k\n    cancel: over"),
        &["7:5 BT0019 none to cancel"],
    ),
    (
        on!("event: a.b\n  - event: c.d\n    key: k\n    cancel: over"),
        &["8:5 BT0019 none to cancel"],
    ),
    (
        on!("event: a.b\n    key: k\n  - event: c.d\n    key: k\n    cancel: [over]"),
        &["9:13 BT0002 must be text"],
    ),
    (
        on!(
            "event: a.b\n    key: k\n  - event: c.d\n    key: k\n    cancel: over at ${ event.time }"
        ),
        &["9:13 BT0002 plain text"],
    ),
    (
        on!("schedule: '0 2 * * *'\n    cancel: over"),
        &["6:5 BT0003 a schedule has no key `cancel`"],
    ),
    (on!("schedule: '61 * * * *'"), &["5:15 BT0019 `61 * * * *`"]),
    (on!("schedule: '* * * *'"), &["5:15 BT0019 no schedule"]),
    (on!("schedule: '0 0 31 11 *'"), &["5:15 BT0019 never comes"]),
    (
        on!("schedule: '0 2 * * *'\n    timezone: Europe/Wien"),
        &["6:15 BT0019 Europe/Wien"],
    ),
    (
        on!("schedule: '0 2 * * *'\n    catch_up: some\n    overlap: maybe"),
        &["6:15 BT0008 none, last or all", "7:14 BT0008 skip or allow"],
    ),
    (
        on!("schedule: '0 2 * * *'\n    input: { x: '${ event.id }' }"),
        &["6:21 BT0011 only `schedule`"],
    ),
    (on!("hook: github"), &["5:5 BT0004 `secret`"]),
    (
        on!("hook: Git/Hub\n    secret: s"),
        &["5:11 BT0006 `Git/Hub`"],
    ),
];

#[test]
fn wrong_triggers_are_refused_where_they_are_wrong() {
    all_said(WRONG);
}

#[test]
fn the_number_of_triggers_is_bounded() {
    let many = "  - event: a.b\n".repeat(TRIGGERS_MAX + 1);
    let yaml = format!("saga: x\nversion: 1\nsteps: [{{id: a, sleep: 1s}}]\non:\n{many}");
    assert_eq!(Definition::parse(&yaml).unwrap_err()[0].code, "BT0015");
}
