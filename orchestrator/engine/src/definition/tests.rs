//! Documents against tables: what a right one reads as, and where and how each wrong one is refused.

use std::fmt::Write as _;

use baton_messages::{StepId, TaskType};
use serde_json::json;

use super::*;

const QUARANTINE: &str = r#"
saga: quarantine-host
version: 1
title: Isolate an infected host
input:
  type: object
  required: [ip]
  properties: { ip: { type: string, format: ipv4 }, case: { type: string } }
deadline: 15m
labels: { host: "${ input.ip }" }
steps:
  - id: resolve
    task: net.resolve@1
    with: { ip: "${ input.ip }" }
    timeout: 10s
    retry: { attempts: 5, backoff: 1s, factor: 2, max: 30s, jitter: full }
  - id: locate
    task: switch.locate-mac@1
    with: { mac: "${ resolve.mac }" }
  - id: ticket
    task: http.request@1
    after: [resolve]
    with: { url: "https://t.example/${ resolve.mac }", token: '${ secret("tickets") }' }
    undo: { task: http.request@1, with: { id: "${ ticket.id }" } }
    on_error: continue
  - id: isolate
    task: switch.set-vlan@1
    after: [locate]
    pool: ${ locate.site }
    with: { switch: "${ locate.switch }", port: "${ locate.port }", vlan: 666 }
    heartbeat: 30s
    queue_timeout: 5m
  - id: settle
    sleep: 10s
  - id: verified
    task: check.ping@1
    with: { ip: "${ input.ip }", expect: unreachable }
    pivot: true
    undo: none
    because: it changes nothing
  - id: tell
    if: ${ has(ticket.id) && input.ip != "" }
    after: [ticket, verified]
    task: mail.send@1
    retry: { attempts: forever, max: 10m }
    probe: { task: mail.sent@1, with: { id: "${ ticket.id }" } }
output: { port: "${ locate.port }" }
"#;

#[test]
fn a_right_document_is_read() {
    let definition = Definition::parse(QUARANTINE).unwrap();
    assert_eq!(
        (definition.saga.as_str(), definition.version),
        ("quarantine-host", 1)
    );
    assert_eq!(definition.owner, "operator");
    assert_eq!(definition.deadline_ms, Some(900_000));
    assert_eq!(&*definition.source, QUARANTINE);
    let shape: Vec<_> = definition
        .steps
        .iter()
        .map(|s| (s.id.as_str(), s.after.clone(), s.dependents.clone()))
        .collect();
    assert_eq!(
        shape,
        [
            ("resolve", vec![], vec![1, 2]),
            ("locate", vec![0], vec![3]),
            ("ticket", vec![0], vec![6]),
            ("isolate", vec![1], vec![4]),
            ("settle", vec![3], vec![5]),
            ("verified", vec![4], vec![6]),
            ("tell", vec![2, 5], vec![]),
        ]
    );
    assert_eq!(definition.steps[6].ancestors, (0..6).collect());
    assert_eq!(definition.steps[1].descendants, [3, 4, 5, 6].into());
    assert_eq!(definition.pivot().map(|s| s.id.as_str()), Some("verified"));
    let resolve = definition.steps[0].task().unwrap();
    assert_eq!(resolve.timeout_ms, Some(10_000));
    assert_eq!(resolve.retry.max_ms, Some(30_000));
    assert_eq!(resolve.pool.as_literal(), Some(&json!("default")));
    let isolate = definition
        .step(&StepId::new("isolate").unwrap())
        .unwrap()
        .task()
        .unwrap();
    assert_eq!(
        (isolate.lease_ms, isolate.queue_timeout_ms),
        (Some(30_000), Some(300_000))
    );
    assert!(matches!(isolate.undo, UndoPlan::Own));
    let ticket = &definition.steps[2];
    assert_eq!(ticket.on_error, OnError::Continue);
    assert!(
        matches!(&ticket.task().unwrap().undo, UndoPlan::Task(undo) if undo.with.roots().contains("ticket"))
    );
    let tell = definition.steps[6].task().unwrap();
    assert_eq!(tell.retry.attempts, Some(Attempts::Forever));
    assert!(tell.probe.is_some() && definition.steps[6].condition.is_some());
}

#[test]
fn the_input_is_held_against_its_schema() {
    let definition = Definition::parse(QUARANTINE).unwrap();
    assert_eq!(definition.check_input(&json!({"ip": "10.0.0.1"})), Ok(()));
    let missing = definition.check_input(&json!({})).unwrap_err();
    assert!(missing.contains("ip"), "{missing}");
    let wrong = definition
        .check_input(&json!({"ip": "hunter2"}))
        .unwrap_err();
    assert!(
        wrong.contains("input/ip") && !wrong.contains("hunter2"),
        "{wrong}"
    );
}

/// Each row: a document, and everything that must be said about it as `line:column code words`.
const WRONG: &[(&str, &[&str])] = &[
    ("", &["1:1 BT0001 empty"]),
    ("saga: [x", &["BT0001 no YAML"]),
    ("- a\n- b", &["1:1 BT0002 must be a mapping"]),
    ("saga: a\n---\nsaga: b\n", &["BT0001 second document"]),
    ("saga: x\nversion: 1\n", &["1:1 BT0004 `steps`"]),
    (
        "steps: [{id: a, sleep: 1s}]",
        &["1:1 BT0004 `saga`", "1:1 BT0004 `version`"],
    ),
    (
        "saga: Big Name\nversion: 0\nsteps: []",
        &[
            "1:7 BT0006 Big Name",
            "2:10 BT0008 `version`",
            "3:8 BT0004 at least one",
        ],
    ),
    (
        "saga: x\nsaga: y\nversion: 1\nsteps: [{id: a, sleep: 1s}]",
        &["2:1 BT0007 `saga`"],
    ),
    (
        "saga: x\nversion: 1\ntitel: T\nsteps: [{id: a, sleep: 1s}]",
        &["3:1 BT0003 did you mean `title`?"],
    ),
    (
        "saga: x\nversion: 1\nlocks: a\nconcurrency: 1\nsteps: [{id: a, sleep: 1s}]",
        &["3:8 BT0002 must be a list", "4:14 BT0002 must be a mapping"],
    ),
    (
        "saga: x\nversion: 1\nlocks: [1, '', '${ a.x }', '${ secret(\"x\") }']\nsteps: [{id: a, sleep: 1s}]",
        &[
            "3:9 BT0002 a lock is a name",
            "3:12 BT0006 empty",
            "3:20 BT0011 only `input`",
            "3:28 BT0017 name of a lock",
        ],
    ),
    (
        "saga: x\nversion: 1\nlocks: []\nlock_timeout: 10\nsteps: [{id: a, sleep: 1s}]",
        &["3:8 BT0004 names none", "4:15 BT0009 no unit"],
    ),
    (
        "saga: x\nversion: 1\nlock_timeout: 10m\nsteps: [{id: a, sleep: 1s}]",
        &["3:1 BT0004 waits for nothing"],
    ),
    (
        "saga: x\nversion: 1\nlabels: {site: x}\nconcurrency: {max: 0, key: sight}\nblast_radius: {max: 20000, per: 32d, kye: site}\nsteps: [{id: a, sleep: 1s}]",
        &[
            "4:20 BT0008 1 to 1000",
            "4:28 BT0011 no label `sight`",
            "5:21 BT0008 1 to 1000",
            "5:33 BT0008 31d",
            "5:38 BT0003 did you mean `key`?",
        ],
    ),
    (
        "saga: x\nversion: 1\nconcurrency: {key: '${ b }'}\nblast_radius: {max: 1}\nsteps: [{id: a, sleep: 1s}]",
        &[
            "3:14 BT0004 `max`",
            "3:24 BT0011 no step `b`",
            "4:15 BT0004 `per`",
        ],
    ),
    (
        "saga: x\nversion: 1\ndeadline: 15\nsteps: [{id: a, sleep: 1s}]",
        &["3:11 BT0009 no unit"],
    ),
    (
        "saga: x\nversion: 1\ndeadline: 0s\nsteps: [{id: a, sleep: 1s}]",
        &["3:11 BT0009 no time at all"],
    ),
    (
        "saga: x\nversion: 1\ninput: string\nsteps: [{id: a, sleep: 1s}]",
        &["3:8 BT0002 JSON Schema"],
    ),
    (
        "saga: x\nversion: 1\ninput: {type: strin}\nsteps: [{id: a, sleep: 1s}]",
        &["3:15 BT0016 `strin` is no type"],
    ),
    (
        "saga: x\nversion: 1\ninput:\n  properties:\n    a: string\n    b: { type: integr }\n    c: { $ref: '#/$defs/d' }\nsteps: [{id: a, sleep: 1s}]",
        &[
            "5:8 BT0016 write `a: { type: string }`",
            "6:16 BT0016 did you mean `integer`?",
            "7:16 BT0016 there is no `#/$defs/d`",
        ],
    ),
    (
        "saga: x\nversion: 1\nlabels: {A: b, c: [1]}\nsteps: [{id: a, sleep: 1s}]",
        &["3:10 BT0006 `A`", "3:19 BT0002 one value"],
    ),
    (
        "saga: x\nversion: 1\nlabels: {c: '${ a.x }'}\nsteps: [{id: a, sleep: 1s}]",
        &["3:17 BT0011 only `input`"],
    ),
    (
        "saga: x\nversion: 1\nlabels: {c: '${ secret(\"x\") }'}\nsteps: [{id: a, sleep: 1s}]",
        &["3:13 BT0017 label"],
    ),
    (
        "saga: x\nversion: 1\nsteps: {a: 1}",
        &["3:8 BT0002 must be a list"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - sleep: 1s\n",
        &["4:5 BT0004 `id`"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: my-step\n    sleep: 1s\n",
        &["4:9 BT0006 no step id"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: input\n    sleep: 1s\n",
        &["4:9 BT0006 a meaning of its own"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    sleep: 1s\n  - id: a\n    sleep: 1s\n",
        &["6:9 BT0007 line 4"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: My-Step\n    sleep: 1s\n  - id: My-Step\n    sleep: 1s\n",
        &[
            "4:9 BT0006 My-Step",
            "6:9 BT0006 My-Step",
            "6:9 BT0007 line 4",
        ],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    sleep: soon\n    wait: {event: x.y}\n    approve: {timeout: 7d}\n",
        &[
            "5:12 BT0009 `sleep`",
            "6:5 BT0018 not both",
            "6:11 BT0004 `timeout`",
            "7:14 BT0004 `by`",
        ],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n",
        &["4:5 BT0018 does nothing"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    sleep: 1s\n    task: b.c@1\n",
        &["5:5 BT0018 not both"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    sleep: 1s\n    with: {}\n    pivot: true\n",
        &["6:5 BT0018 `with`", "7:5 BT0013 `pivot`"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    sleep: soon\n",
        &["5:12 BT0009 `soon`"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: switch.set-vlan\n",
        &["5:11 BT0006 say the version"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: ${ input.t }\n",
        &["5:11 BT0002 task type is fixed"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    pool: Big\n",
        &["6:11 BT0006 pool"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    with: [1]\n",
        &["6:11 BT0002 must be a mapping"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    timout: 3s\n",
        &["6:5 BT0003 did you mean `timeout`?"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    saga: x@1\n  - id: b\n    for_each: x\n    task: b.c@1\n",
        &["7:15 BT0002 must be a list"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    for_each: [1]\n    steps: []\n",
        &["6:12 BT0004 at least one step"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    for_each: [1]\n    sleep: 1s\n",
        &["5:5 BT0034 only a task"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    for_each: [1]\n    task: b.c@1\n    pivot: true\n    on_error: continue\n    max_items: 0\n    max_parallel: 257\n    tolerate: 101%\n",
        &[
            "7:5 BT0013 cannot be the pivot",
            "8:5 BT0034 tolerate: 100%",
            "9:16 BT0008 from 1 to 10000",
            "10:19 BT0008 from 1 to 256",
            "11:15 BT0008 tolerate: 10%",
        ],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    for_each: \"${ item }\"\n    task: b.c@1\n    max_items: 3\n  - id: b\n    task: b.c@1\n    tolerate: 3\n",
        &["5:19 BT0011 for_each", "10:5 BT0034 add `for_each"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    after: b\n",
        &["6:12 BT0002 must be a list"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: one\n    task: b.c@1\n  - id: two\n    task: b.c@1\n    after: [ome]\n",
        &["8:13 BT0011 did you mean `one`?"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    after: [b]\n  - id: b\n    task: b.c@1\n",
        &["4:5 BT0012 a after b after a"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    after: [a]\n",
        &["4:5 BT0012 a after a"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    sleep: 1s\n    after: [b]\n  - id: b\n    sleep: 1s\n  - id: c\n    sleep: 1s\n    after: [d]\n  - id: d\n    sleep: 1s\n",
        &[
            "4:5 BT0012 a after b after a",
            "9:5 BT0012 c after d after c",
        ],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    with:\n      deep: [1, \"${ b.x }\"]\n  - id: b\n    task: b.c@1\n",
        &["7:21 BT0011 move `b` above `a`"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    with: {x: \"${ b.x }\", y: \"${ b.y }\"}\n  - id: b\n    after: []\n    task: b.c@1\n",
        &["6:19 BT0011 add `b` to `after` of `a`"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    for_each: [1]\n    work_items: {assign: '${ item }'}\n",
        &["7:30 BT0011 of a step with `for_each`"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    with: {x: \"${ a.x }\"}\n",
        &["6:19 BT0011 its own output"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    with: {x: \"${ inptu.x }\", y: \"${ item }\", z: \"${ event.id }\"}\n",
        &[
            "6:19 BT0011 did you mean `input`?",
            "6:38 BT0011 for_each",
            "6:54 BT0011 `on:`",
        ],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    with: {x: \"${ 1 + }\", y: \"${ input.\"}\n",
        &["BT0010 cannot be read", "6:30 BT0010 has no `}`"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    with: {x: \"Bearer ${ secret('t') }\"}\n",
        &["6:26 BT0010 inside a longer text"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    if: maybe\n",
        &["6:9 BT0002 one expression"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    pivot: true\n  - id: b\n    task: b.c@1\n    pivot: true\n",
        &["9:5 BT0013 `a` is it already"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    pivot: yes\n",
        &["6:12 BT0002 true or false"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    undo: none\n",
        &["6:5 BT0014 needs a reason"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    because: of\n",
        &["6:5 BT0014 goes with"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    undo: never\n",
        &["6:11 BT0002 `none` or a task"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    undo: {with: {}}\n",
        &["6:11 BT0004 `task`"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    probe: {task: b.c@1, pool: x}\n",
        &["6:26 BT0003 no key `pool`"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    retry: {attempts: 0, factor: 0.5, jitter: some}\n",
        &[
            "6:23 BT0008 attempts",
            "6:34 BT0008 factor",
            "6:47 BT0008 jitter",
        ],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    retry: {attempts: 1001, backoff: 1m, max: 10s}\n",
        &["6:23 BT0008 attempts", "6:47 BT0008 shorter"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    on_error: ignore\n",
        &["6:15 BT0008 compensate, park or continue"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    with: {n: .inf, m: !!int 3, o: 99999999999999999999}\n",
        &["6:15 BT0008 `.inf`", "BT0002 tag", "BT0008 99999"],
    ),
    (
        "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    with: {{ input.ip }}\n",
        &["BT0002 `{{ input.ip }}` is no expression"],
    ),
    (
        "saga: x\nversion: 1\nsteps: [{id: a, sleep: 1s}]\noutput: {x: '${ b.c }'}",
        &["4:17 BT0011 no step `b`"],
    ),
    (
        "saga: x\nversion: 1\nsteps: [{id: a, sleep: 1s}]\noutput: {x: '${ secret(\"y\") }'}",
        &["4:9 BT0017 output"],
    ),
    (
        "saga: x\nversion: 1\nowner: 3\non: {}\nsteps: [{id: a, sleep: 1s}]",
        &["3:8 BT0002 `owner`", "4:5 BT0002 `on` must be a list"],
    ),
];

#[test]
fn wrong_documents_are_refused_where_they_are_wrong() {
    all_said(WRONG);
}

/// Reads each document, and holds what is said about it against its row.
pub(super) fn all_said(rows: &[(&str, &[&str])]) {
    let mut wrong = String::new();
    for (yaml, expected) in rows {
        let said: Vec<String> = match Definition::parse(yaml) {
            Ok(_) => Vec::new(),
            Err(diagnostics) => diagnostics
                .iter()
                .map(|d| {
                    format!(
                        "{}:{} {} {} | {}",
                        d.line, d.column, d.code, d.message, d.help
                    )
                })
                .collect(),
        };
        let fits = said.len() == expected.len()
            && said
                .iter()
                .zip(*expected)
                .all(|(said, want)| fits(said, want));
        if !fits {
            let _ = writeln!(wrong, "---\n{yaml}\nwanted {expected:#?}\nsaid {said:#?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// `3:4 BT0001 words`: place (when given) and code must stand at the start, the words anywhere.
fn fits(said: &str, want: &str) -> bool {
    let code = want.find("BT").unwrap();
    let (head, words) = want.split_at(code + "BT0000".len());
    let words = words.trim();
    let placed = if code == 0 {
        said.contains(head)
    } else {
        said.starts_with(head)
    };
    placed && said.contains(words)
}

#[test]
fn everything_wrong_is_said_at_once() {
    let yaml = "saga: X\nversion: one\nsteps:\n  - id: a\n    task: nope\n    wiht: {}\n  - id: a\n    task: b.c@1\n    with: { x: '${ nobody }' }\n";
    let codes: Vec<_> = Definition::parse(yaml)
        .unwrap_err()
        .iter()
        .map(|d| d.code)
        .collect();
    assert_eq!(
        codes,
        ["BT0006", "BT0008", "BT0006", "BT0003", "BT0007", "BT0011"]
    );
}

#[test]
fn a_diagnostic_reads_like_a_compilers() {
    let errors = Definition::parse("saga: x\nversion: 1\ntitel: T\nsteps: [{id: a, sleep: 1s}]")
        .unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "3:1: error[BT0003]: a saga has no key `titel`\n  help: did you mean `title`?"
    );
}

#[test]
fn size_is_bounded() {
    let many = |n: usize| {
        let mut yaml = "saga: x\nversion: 1\nsteps:\n".to_owned();
        for i in 0..n {
            let _ = write!(yaml, "  - id: s{i}\n    sleep: 1s\n");
        }
        yaml
    };
    let definition = Definition::parse(&many(STEPS_MAX)).unwrap();
    assert_eq!(
        definition.steps[STEPS_MAX - 1].ancestors.len(),
        STEPS_MAX - 1
    );
    let code = |yaml: &str| Definition::parse(yaml).unwrap_err()[0].code;
    assert_eq!(code(&many(STEPS_MAX + 1)), "BT0015");
    assert_eq!(code(&"x".repeat(DEFINITION_BYTES_MAX + 1)), "BT0015");
    assert_eq!(
        code(&format!("saga: {}{}", "[".repeat(100), "]".repeat(100))),
        "BT0015"
    );
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..8 {
        let names = vec![format!("*a{}", i - 1); 10].join(", ");
        let _ = writeln!(laughs, "a{i}: &a{i} [{names}]");
    }
    assert_eq!(code(&laughs), "BT0015");
}

#[test]
fn values_of_yaml_keep_their_kind() {
    let yaml = "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: b.c@1\n    with:\n      int: 1\n      float: 1.0\n      exp: 1e3\n      neg: -7\n      big: 18446744073709551615\n      hex: 0x10\n      text: '1'\n      yes: yes\n      none:\n      tilde: ~\n      ip: 10.0.0.1\n      date: 2024-01-01\n      dash: '-'\n      block: |\n        a\n        b\n      anchored: &r { k: [1] }\n      alias: *r\n      1: one\n";
    let definition = Definition::parse(yaml).unwrap();
    let with = definition.steps[0]
        .task()
        .unwrap()
        .with
        .as_literal()
        .unwrap()
        .clone();
    let expected = json!({
        "int": 1, "float": 1.0, "exp": 1000.0, "neg": -7, "big": u64::MAX, "hex": 16, "text": "1", "yes": "yes", "none": null,
        "tilde": null, "ip": "10.0.0.1", "date": "2024-01-01", "dash": "-", "block": "a\nb\n", "anchored": {"k": [1]},
        "alias": {"k": [1]}, "1": "one",
    });
    assert_eq!(with, expected);
    assert_eq!(with.to_string(), expected.to_string());
}

#[test]
fn an_automation_on_its_own_is_a_saga_of_one_step() {
    let task_type = TaskType::new("switch.set-vlan@2").unwrap();
    let with = json!({
        "port": "ge-0/0/1", "vlan": 20, "note": "costs $${5} or ${ x }", "yes": "yes", "n": null, "f": 1.0, "q": "a\"b\\c\n: #é\u{1F600}",
        "empty": {}, "list": [[], "", -1], "key: odd": "- x", "secret": {"$secret": "db"},
    });
    let single = Definition::single_step(&task_type, with.clone());
    assert_eq!(
        (single.saga.as_str(), single.version, single.steps.len()),
        ("switch.set-vlan", 2, 1)
    );
    let parsed = Definition::parse(&single.source).unwrap();
    for definition in [&single, &parsed] {
        let step = &definition.steps[0];
        assert_eq!(step.id.as_str(), "run");
        let scope = std::collections::BTreeMap::new();
        assert_eq!(
            step.task().unwrap().with.eval(&scope).unwrap().to_string(),
            with.to_string()
        );
        assert!(definition.output.as_ref().unwrap().roots().contains("run"));
    }
    let general = Definition::automation(&task_type);
    let parsed = Definition::parse(&general.source).unwrap();
    for definition in [&general, &parsed] {
        assert!(
            definition.steps[0]
                .task()
                .unwrap()
                .with
                .roots()
                .contains("input")
        );
    }
}
