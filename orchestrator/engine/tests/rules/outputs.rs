//! What a task returns, what a probe finds and what a person says is held against the schema of the step's type, before anybody reads it.

use baton_engine::decide::choices::possible;
use baton_engine::definition::Together;
use baton_engine::input::Resolution;
use baton_engine::state::Phase;
use baton_engine::{Choice, Input, Record, Refusal, Rules, Status, Verdict};
use baton_messages::{Direction, ProbeAnswer, TaskResult, TaskType, Timestamp};
use serde_json::{Value, json};

use crate::stage::{Stage, failed, found, key, run, unknown};

const READ: &str = "  - id: b\n    task: t.set@1\n    with: { n: \"${ a.pid + 1 }\" }\n";

/// The number of a process, and nothing else.
fn a_pid() -> Value {
    json!({ "type": "object", "required": ["pid"], "properties": { "pid": { "type": "integer" } }, "additionalProperties": false })
}

/// A started saga whose step `a` runs a type like another one that returns a pid; a second step reads that.
fn staged(like: &str, keys: &str) -> Stage {
    staged_with(like, keys, READ)
}

fn staged_with(like: &str, keys: &str, rest: &str) -> Stage {
    let mut stage = Stage::waiting(&format!("  - id: a\n    task: t.pid@1\n{keys}{rest}"));
    let known = stage.catalogue.get(&TaskType::new(like).unwrap()).unwrap();
    let mut manifest = known.manifest.clone();
    manifest.task_type = TaskType::new("t.pid@1").unwrap();
    manifest.output = a_pid();
    stage.catalogue.announce(manifest).unwrap();
    let start = stage.start();
    assert_eq!(stage.give(&start), Verdict::Applied);
    stage
}

fn gave(output: Value) -> TaskResult {
    TaskResult::Succeeded { output }
}

#[test]
fn what_fits_is_read() {
    let mut stage = staged("t.once@1", "");
    stage.report("a", gave(json!({ "pid": 7 })));
    assert_eq!(
        (stage.phase("a"), stage.phase("b")),
        (Phase::Succeeded, Phase::Trying)
    );
}

#[test]
fn what_does_not_fit_may_have_happened_and_is_read_by_nobody() {
    let mut stage = staged("t.once@1", "");
    stage.report("a", gave(json!({ "pid": "hunter2" })));
    let a = stage.at("a");
    assert_eq!((a.phase, a.may_have_effect), (Phase::Settling, true));
    assert_eq!(a.output, None);
    let why = a.last_failure.clone().unwrap();
    assert_eq!(why.code, "output-misfit");
    assert!(why.message.contains("t.pid@1"), "{}", why.message);
    assert!(why.message.contains("/pid"), "{}", why.message);
    assert!(!why.message.contains("hunter2"), "{}", why.message);
    stage.wait();
    assert_eq!(
        (stage.phase("a"), stage.phase("b")),
        (Phase::Undoing, Phase::Waiting),
        "it is taken back with the rest"
    );
}

/// Though a second run would do no harm: it would return the same.
#[test]
fn what_does_not_fit_is_not_done_again_and_again() {
    for like in ["t.blind@1", "t.set@1"] {
        let mut stage = staged(like, "    retry: { attempts: forever }\n");
        stage.report("a", gave(json!({ "pid": "x" })));
        for _ in 0..9 {
            match stage.phase("a") {
                Phase::Probing => {
                    let reason = "nobody knows".to_owned();
                    stage.report("a", found(ProbeAnswer::CannotTell { reason }));
                }
                Phase::Settling | Phase::Backoff => stage.wait(),
                _ => break,
            }
        }
        let sent = |record: &Record| matches!(record, Record::Offered { of, .. } if of.direction == Direction::Do);
        assert_eq!(
            (stage.recorded(sent), stage.status()),
            (1, Status::Compensating),
            "{like}"
        );
    }
}

#[test]
fn what_only_looks_has_failed() {
    let mut stage = staged("t.look@1", "");
    stage.report("a", gave(json!({})));
    stage.wait();
    assert_eq!(
        (stage.phase("a"), stage.status()),
        (Phase::Failed, Status::Compensated)
    );
}

#[test]
fn a_probe_whose_answer_does_not_fit_cannot_tell() {
    // by itself, and by a task of another type
    for (like, keys) in [
        ("t.asked@1", ""),
        ("t.once@1", "    probe: { task: t.asked@1, with: {} }\n"),
    ] {
        for (output, then) in [
            (json!({ "pid": 7 }), Phase::Succeeded),
            (json!(1), Phase::Undoing),
        ] {
            let mut stage = staged(like, keys);
            stage.report("a", unknown());
            stage.wait();
            assert_eq!(stage.phase("a"), Phase::Probing);
            stage.report("a", found(ProbeAnswer::Happened { output }));
            assert_eq!(stage.phase("a"), then, "{like}");
        }
    }
}

#[test]
fn a_late_report_that_does_not_fit_settles_nothing() {
    let mut stage = staged("t.once@1", "");
    let of = stage.claim("a", run(1));
    stage.give(&Input::LeaseOver {
        of: of.clone(),
        run: run(1),
    });
    assert_eq!(stage.phase("a"), Phase::Settling);
    stage.tell(of.clone(), run(1), true, gave(json!({ "pid": null })));
    assert_eq!(stage.phase("a"), Phase::Settling);
    stage.tell(of, run(2), true, gave(json!({ "pid": 1 })));
    assert_eq!(stage.phase("a"), Phase::Succeeded);
}

/// A started saga of step `a` and this one after it, whose type returns the first schema when `a` is sent, and the second one when it reports.
fn narrowed(was: Value, now: Value, after: &str) -> Stage {
    let mut stage = Stage::waiting(&format!("  - id: a\n    task: t.pid@1\n{after}"));
    let like = TaskType::new("t.once@1").unwrap();
    let mut manifest = stage.catalogue.get(&like).unwrap().manifest.clone();
    let mut takes = manifest.clone();
    takes.task_type = TaskType::new("t.pick@1").unwrap();
    takes.input = json!({ "type": "object", "properties": { "m": { "enum": ["x", "y"] }, "n": { "type": "integer", "maximum": 9 } } });
    stage.catalogue.announce(takes).unwrap();
    manifest.task_type = TaskType::new("t.pid@1").unwrap();
    manifest.output = was;
    stage.catalogue.announce(manifest.clone()).unwrap();
    let start = stage.start();
    assert_eq!(stage.give(&start), Verdict::Applied);
    manifest.output = now;
    assert_eq!(stage.catalogue.announce(manifest), Ok(true));
    stage
}

/// While workers are replaced the catalogue has the manifest of the new ones, and the old ones still return what theirs promised.
#[test]
fn what_a_later_manifest_promises_and_nobody_reads_is_not_missed() {
    let pid = |needs: &[&str]| json!({ "type": "object", "required": needs, "properties": { "pid": { "type": "integer" }, "host": { "type": "string" } } });
    let undone = "    undo: { when: \"${ a.host == 'x' }\" }\n";
    for (after, then) in [
        (READ.to_owned(), Phase::Succeeded),
        (String::new(), Phase::Succeeded),
        (READ.replace("a.pid + 1", "a.host"), Phase::Settling),
        // so does its own undo
        (format!("{undone}{READ}"), Phase::Settling),
    ] {
        let mut stage = narrowed(pid(&["pid"]), pid(&["pid", "host"]), &after);
        stage.report("a", gave(json!({ "pid": 7 })));
        assert_eq!(stage.phase("a"), then, "{after}");
    }
    // of items each stands for itself
    let mut stage = narrowed(
        pid(&["pid"]),
        pid(&["pid", "host"]),
        "    for_each: [1, 2]\n  - id: b\n    task: t.set@1\n    with: { n: \"${ a.map(one, one.pid + 1) }\" }\n",
    );
    stage.report("a[0]", gave(json!({ "pid": 7 })));
    stage.report("a[1]", gave(json!({ "pid": "x" })));
    assert_eq!(
        (stage.phase("a[0]"), stage.phase("a[1]")),
        (Phase::Succeeded, Phase::Settling)
    );
}

/// What was noted of outputs that do not fit.
fn noted(stage: &Stage) -> Vec<String> {
    let records = stage.entries.iter().flat_map(|entry| &entry.records);
    let notes = records.filter_map(|record| match record {
        Record::Noted { what } => Some(what.clone()),
        _ => None,
    });
    notes.filter(|what| what.starts_with("output of")).collect()
}

/// An operator sees it in the history: where and what, by its place and its schema, and not by what stands there.
#[test]
fn what_does_not_fit_and_is_taken_is_noted() {
    let mut stage = narrowed(json!({ "type": "object" }), a_pid(), "");
    stage.report("a", gave(json!({ "pid": 7 })));
    assert_eq!(noted(&stage), Vec::<String>::new());

    let mut stage = narrowed(
        json!({ "type": "object" }),
        a_pid(),
        "    for_each: [1, 2]\n",
    );
    stage.report("a[0]", gave(json!({ "pid": "hunter2" })));
    assert_eq!(stage.phase("a[0]"), Phase::Succeeded);
    stage.report("a[1]", gave(json!({ "pid": 7 })));
    let notes = noted(&stage);
    assert_eq!(notes.len(), 1, "{notes:?}");
    let (place, what) = ("output of t.pid@1 at a[0] does not fit", "at /pid: ");
    let is_told = notes[0].starts_with(place) && notes[0].contains(what);
    assert!(is_told && !notes[0].contains("hunter2"), "{notes:?}");

    // read by somebody it has failed, and the failure says why
    let mut stage = narrowed(json!({ "type": "object" }), a_pid(), READ);
    stage.report("a", gave(json!({ "pid": "x" })));
    assert_eq!(noted(&stage), Vec::<String>::new());
    assert_eq!(stage.phase("a"), Phase::Settling);

    let long = "k".repeat(10_000);
    let mut stage = narrowed(json!({ "type": "object" }), a_pid(), "");
    let of = stage.claim("a", run(1));
    let odd = gave(json!({ "pid": 7, long: 1 }));
    // the broker brings it twice
    stage.tell(of.clone(), run(1), true, odd.clone());
    stage.tell(of, run(1), true, odd);
    let notes = noted(&stage);
    assert!(notes.len() == 1 && notes[0].len() < 1_000, "{notes:?}");
}

/// What is read is held to its value: one that fails where it is handed on is of no use.
#[test]
fn what_does_not_fit_and_is_handed_on_has_to_fit_there() {
    let either = |all: &[&str], most: u32| json!({ "type": "object", "properties": { "m": { "enum": all }, "n": { "type": "integer", "maximum": most } } });
    let after = |with: &str| format!("  - id: b\n    task: t.pick@1\n    with: {{ {with} }}\n");
    let (m, n) = (after("m: \"${ a.m }\""), after("n: \"${ a.n }\""));
    for (after, output, then) in [
        (&m, json!({ "m": "y", "n": 1 }), Phase::Succeeded),
        (&m, json!({ "m": "z", "n": 1 }), Phase::Settling),
        (&n, json!({ "m": "x", "n": 9 }), Phase::Succeeded),
        (&n, json!({ "m": "x", "n": 10 }), Phase::Settling),
        (&n, json!({ "m": "z", "n": 1 }), Phase::Succeeded),
    ] {
        let mut stage = narrowed(either(&["x", "y", "z"], 20), either(&["x"], 5), after);
        stage.report("a", gave(output.clone()));
        assert_eq!(stage.phase("a"), then, "{output} {after}");
    }
}

/// So has what a step hands on that is a saga, as far as that is known.
#[test]
fn what_does_not_fit_and_is_handed_to_a_saga_has_to_fit_there() {
    let child = "saga: picks\nversion: 1\ninput: { type: object, properties: { m: { enum: [x, y] }, n: { type: integer } } }\nsteps: [{ id: a, sleep: 1s }]\n";
    let either = |all: &[&str], most: u32| json!({ "type": "object", "properties": { "m": { "enum": all }, "n": { "type": "integer", "maximum": most } } });
    let after = |with: &str| format!("  - id: b\n    saga: picks@1\n    with: {{ {with} }}\n");
    let (m, n) = (after("m: \"${ a.m }\""), after("n: \"${ a.n }\""));
    for (after, output, then) in [
        (&m, json!({ "m": "y", "n": 1 }), Phase::Succeeded),
        (&m, json!({ "m": "z", "n": 1 }), Phase::Settling),
        (&n, json!({ "m": "x", "n": 10 }), Phase::Succeeded),
        (&n, json!({ "m": "x", "n": "ten" }), Phase::Settling),
    ] {
        let staged = || narrowed(either(&["x", "y", "z"], 20), either(&["x"], 5), after);
        let mut stage = staged();
        stage.sagas = Together::beside([child]);
        stage.report("a", gave(output.clone()));
        assert_eq!(stage.phase("a"), then, "{output} {after}");
        // of one that nobody knows nothing is known to be wrong
        let mut stage = staged();
        stage.report("a", gave(output.clone()));
        assert_eq!(stage.phase("a"), Phase::Succeeded, "{output} {after}");
    }
}

/// Of a type nobody knows nothing is known to be wrong, nor of one that says nothing of what it returns.
#[test]
fn what_says_nothing_of_its_output_is_not_held() {
    let stage = Stage::with("  - id: a\n    task: t.set@1\n");
    let known = stage.catalogue.get(&TaskType::new("t.set@1").unwrap());
    assert_eq!(known.unwrap().check_output(&json!([1, "x"])), Ok(()));
}

/// What is possible about the only work item: whether to say that it is done is, and whether what it returned has to be said.
fn may_be_called_done(stage: &Stage) -> (bool, bool) {
    let rules = Rules {
        definition: &stage.definition,
        catalogue: &stage.catalogue,
        sagas: &stage.sagas,
        level: baton_engine::Level::NEWEST,
    };
    let number = *stage.state.work_items.keys().next().unwrap();
    let all = possible(rules, &stage.state, number, Timestamp(stage.now)).unwrap();
    let all = all.unwrap();
    let one = all.iter().find(|one| one.choice == Choice::ResolveDone);
    let one = one.unwrap();
    (one.refused.is_none(), one.wants_output)
}

#[test]
fn what_a_person_says_it_returned_has_to_be_what_is_read() {
    let mut stage = staged("t.set@1", "    on_error: park\n");
    stage.report("a", failed(false));
    assert_eq!(may_be_called_done(&stage), (true, true));
    for output in [json!(null), json!({}), json!({ "pid": "x" })] {
        let before = stage.state.clone();
        let verdict = stage.resolve(
            "a",
            Resolution::Done {
                output: output.clone(),
            },
        );
        let Verdict::Refused(Refusal::OutputMisfit { step, misfit }) = verdict else {
            panic!("{output}: {verdict:?}")
        };
        assert_eq!(step, key("a"));
        assert!(misfit.starts_with("b: "), "{misfit}");
        assert_eq!(stage.state, before);
    }
    let output = json!({ "pid": 7, "note": "by hand" });
    assert_eq!(
        stage.resolve("a", Resolution::Done { output }),
        Verdict::Applied
    );
    assert_eq!(stage.phase("b"), Phase::Trying);
}

#[test]
fn an_integer_that_a_person_writes_with_a_fraction_is_one() {
    let list = READ.replace("a.pid + 1", "a[0].pid + 1");
    for (keys, rest, output) in [
        ("    on_error: park\n", READ, json!({ "pid": 7.0 })),
        (
            "    on_error: park\n    for_each: \"${ input.nothing }\"\n    max_items: 3\n",
            list.as_str(),
            json!([{ "pid": 7.0 }]),
        ),
    ] {
        let mut stage = staged_with("t.set@1", keys, rest);
        if stage.phase("a") == Phase::Trying {
            stage.report("a", failed(false));
        }
        assert_eq!(
            stage.resolve("a", Resolution::Done { output }),
            Verdict::Applied,
            "{keys}"
        );
        let handed = stage.at("b").forward.clone().unwrap().input.to_string();
        assert_eq!(handed, r#"{"n":8}"#, "{keys}");
    }
}

#[test]
fn what_nobody_reads_need_not_be_said() {
    let rest = "  - id: b\n    task: t.set@1\n";
    for (keys, rest) in [
        ("    on_error: park\n", rest),
        // whoever reads what may be skipped is ready for nothing
        ("    on_error: park\n    if: \"${ 1 < 2 }\"\n", READ),
    ] {
        let mut stage = staged_with("t.set@1", keys, rest);
        stage.report("a", failed(false));
        assert_eq!(may_be_called_done(&stage), (true, false), "{keys}");
        let output = Value::Null;
        assert_eq!(
            stage.resolve("a", Resolution::Done { output }),
            Verdict::Applied
        );
    }
}
