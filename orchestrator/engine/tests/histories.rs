//! Histories recorded once replay for ever: `fixtures/histories/*.json` hold the entries of typical sagas and the state they led to. A
//! change that breaks one breaks every store out there. `BATON_RECORD_HISTORIES=1` writes those that are missing, and only those.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "rules/stage.rs"]
#[expect(dead_code, reason = "shared with the rules, which use all of it")]
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use baton_engine::state::Phase;
use baton_engine::{Approval, Assignment, Entry, Input, Record, SagaState, Verdict, Whose, replay};
use baton_messages::inbox::Checkpoint;
use baton_messages::{
    CheckpointKind, ChildSaid, ChildWanted, Event, InputId, ParentRef, ProbeAnswer, SagaId,
    Standing, Timestamp, Wanted,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use stage::{Stage, done, failed, found, not_run, undone, unknown};

#[derive(Serialize, Deserialize)]
struct History {
    entries: Vec<Entry>,
    state: SagaState,
}

type Play = fn() -> Stage;

const TWO: &str = "  - id: a\n    task: t.set@1\n  - id: b\n    task: t.once@1\n";

fn completed() -> Stage {
    let mut stage = Stage::with(TWO);
    stage.report("a", failed(true));
    stage.wait();
    stage.report("a", not_run());
    stage.wait();
    stage.report("a", done());
    stage.report("b", done());
    stage
}

fn compensated() -> Stage {
    let mut stage = Stage::with(TWO);
    stage.report("a", unknown());
    stage.wait();
    stage.report("a", found(ProbeAnswer::Happened { output: json!(1) }));
    stage.report("b", unknown());
    stage.wait();
    stage.report("b", undone());
    stage.report("a", failed(true));
    stage.wait();
    stage.report("a", undone());
    stage
}

fn parked() -> Stage {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n  - id: p\n    task: t.once@1\n    pivot: true\n  - id: z\n    task: t.look@1\n    retry: { attempts: 1 }\n",
    );
    stage.report("a", done());
    stage.report("p", done());
    stage.cancel();
    stage.report("z", failed(false));
    stage
}

fn woken_by_evidence() -> Stage {
    let mut stage = Stage::with("  - id: a\n    task: t.once@1\n");
    let of = stage.claim("a", stage::run(1));
    stage.give(&Input::LeaseOver {
        of: of.clone(),
        run: stage::run(1),
    });
    stage.wait();
    stage.report("a", undone());
    stage.tell(of, stage::run(1), true, done());
    stage
}

const ASKS: &str = "  - id: a\n    task: t.set@1\n  - id: paid\n    wait: { event: com.example.*, when: \"${ event.data.n == 7 }\", timeout: 10m, since: 1h, on_timeout: park }\n  - id: ok\n    approve: { by: operator, prompt: \"let ${ paid.id } pass?\", timeout: 1d }\n  - id: told\n    emit: { type: com.example.released, subject: \"${ paid.id }\", data: { by: \"${ ok.by }\" } }\n";

fn pay(stage: &mut Stage) {
    let event: Event = serde_json::from_value(json!({
        "specversion": "1.0", "id": "e1", "source": "/shop", "type": "com.example.paid", "data": { "n": 7 },
    }))
    .unwrap();
    let step = stage::step("paid");
    stage.give(&Input::EventArrived {
        id: InputId::of_arrival(stage.state.id, &step, &event.source, &event.id),
        step,
        event: Box::new(event),
        received_at: Timestamp(stage.now),
    });
}

fn decide(stage: &mut Stage, decision: Approval) {
    let operator = stage.operator();
    stage.give(&Input::Approve {
        step: stage::key("ok"),
        decision,
        operator,
    });
}

fn waited_and_approved() -> Stage {
    let mut stage = Stage::with(ASKS);
    stage.report("a", done());
    stage.wait();
    stage.retry("paid");
    stage.wait();
    pay(&mut stage);
    stage.give(&Input::Joined {
        id: InputId::of_joined(stage.state.id, 0, "/shop", "e2"),
        trigger: 0,
        source: "/shop".into(),
        event: "e2".into(),
    });
    decide(&mut stage, Approval::Approve);
    stage
}

fn rejected() -> Stage {
    let mut stage = Stage::with(ASKS);
    stage.report("a", done());
    pay(&mut stage);
    decide(&mut stage, Approval::Reject);
    stage.report("a", undone());
    stage
}

fn waiting() -> Stage {
    let mut stage = Stage::with(ASKS);
    stage.report("a", done());
    stage
}

/// Sent twice, claimed twice, with a before-image; an operator holds it for a while.
fn held_and_resent() -> Stage {
    let mut stage = Stage::with("  - id: a\n    task: t.set@1\n  - id: b\n    task: t.file@1\n");
    let of = stage.open("a");
    stage.give(&Input::TaskUnconfirmed {
        of: of.clone(),
        maybe_sent: true,
    });
    stage.give(&Input::Resend(of));
    stage.report("a", done());
    let of = stage.claim("b", stage::run(1));
    stage.claim("b", stage::run(2));
    stage.give(&Input::Checkpoint(Checkpoint {
        of: of.clone(),
        run: stage::run(1),
        kind: CheckpointKind::Before,
        number: 1,
        value: json!("as it was"),
    }));
    let operator = stage.operator();
    stage.give(&Input::Pause(operator));
    let operator = stage.operator();
    stage.give(&Input::Resume(operator));
    stage.tell(of, stage::run(1), true, done());
    stage
}

/// A probe clears a doubt; a cancel meets a task that is out; one step stays as it is.
fn turned_back() -> Stage {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n    undo: none\n    because: it stays\n  - id: b\n    task: t.asked@1\n  - id: c\n    task: t.set@1\n",
    );
    stage.report("a", done());
    stage.report("b", unknown());
    stage.wait();
    stage.report("b", found(ProbeAnswer::DidNot));
    stage.wait();
    stage.report("b", done());
    let of = stage.open("c");
    stage.cancel();
    stage.tell(of, stage::run(3), true, failed(false));
    stage.report("b", undone());
    stage
}

/// The pivot fails with nothing changed: the way back is open again.
fn released() -> Stage {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n  - id: p\n    task: t.set@1\n    pivot: true\n    retry: { attempts: 1 }\n",
    );
    stage.report("a", done());
    stage.report("p", failed(false));
    stage.report("a", undone());
    stage
}

/// The deadline passes after the pivot.
fn late() -> Stage {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n    pivot: true\n  - id: z\n    sleep: 2h\ndeadline: 1h\n",
    );
    stage.report("a", done());
    stage.wait();
    stage
}

/// For each of a list: one tolerated, one in doubt and taken back, and the rest done in windows.
fn fanned_out() -> Stage {
    let mut stage = Stage::with(
        "  - id: fan\n    task: t.once@1\n    for_each: [a, b, c, d]\n    max_parallel: 2\n    tolerate: 50%\n    with: { of: \"${ item }\", at: \"${ index }\" }\n",
    );
    stage.report("fan[0]", failed(false));
    stage.report("fan[1]", unknown());
    stage.report("fan[2]", done());
    stage.wait();
    stage.report("fan[1]", undone());
    stage.report("fan[3]", done());
    stage
}

/// One item too many fails: what is done is taken back, and one undo is for a person.
fn fan_taken_back() -> Stage {
    let mut stage = Stage::with(
        "  - id: fan\n    task: t.once@1\n    for_each: [a, b, c, d]\n    max_parallel: 2\n    with: { of: \"${ item }\" }\n",
    );
    for item in ["fan[0]", "fan[1]", "fan[2]"] {
        stage.report(item, done());
    }
    stage.report("fan[3]", failed(false));
    stage.report("fan[2]", undone());
    stage.report("fan[1]", failed(false));
    stage
}

/// A parent whose child is done, asked about, and taken back when the next step fails.
fn parent() -> Stage {
    let mut stage = Stage::with(
        "  - id: a\n    saga: low@3\n    with: { n: 1 }\n    timeout: 2h\n  - id: b\n    task: t.set@1\n",
    );
    let said = |stage: &Stage, seq, standing| {
        let wanted = baton_engine::child::wanted(&stage.state, &stage::key("a")).unwrap();
        Input::ChildSaid(ChildSaid {
            parent: wanted.parent,
            child: wanted.child,
            seq,
            standing,
        })
    };
    stage.wait();
    let parked = Standing::UnderWay {
        compensating: false,
        parked: Some("c failed: as told".into()),
        only_forward: false,
    };
    stage.give(&said(&stage, 4, parked));
    let done = Standing::Completed {
        output: Some(json!({ "n": 2 })),
        too_large: None,
        no_output: None,
        only_forward: false,
    };
    stage.give(&said(&stage, 9, done));
    stage.report("b", failed(false));
    stage.give(&said(&stage, 14, Standing::Compensated { failure: None }));
    stage
}

/// Done with another input, and the round before it reported as done all the same.
fn edited() -> Stage {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n    on_error: park\n  - id: b\n    task: t.set@1\n",
    );
    stage.report("a", failed(false));
    let old = stage.last("a");
    stage.edit("a", None, json!({ "n": 2 }));
    stage.wait();
    stage.tell(old, stage::run(77), true, done());
    stage.report("a", done());
    stage
}

/// A child that is done, and then taken back with its root.
fn child() -> Stage {
    let mut stage = Stage::waiting("  - id: a\n    task: t.set@1\n");
    let parent = ParentRef {
        saga: SagaId(Uuid::from_u128(6)),
        step: stage::step("sub"),
        item: Some(3),
        round: 1,
    };
    stage.state = SagaState::new(parent.child());
    let mut wanted = ChildWanted {
        child: parent.child(),
        parent,
        root: SagaId(Uuid::from_u128(5)),
        depth: 2,
        number: 1,
        definition: "staged".into(),
        version: 1,
        input: json!({ "n": 1 }),
        want: Wanted::Done,
        paused: false,
        why: String::new(),
        fences: BTreeMap::new(),
    };
    stage.give(&Input::ChildWanted(wanted.clone()));
    stage.report("a", done());
    wanted.number = 3;
    wanted.want = Wanted::Undone;
    wanted.why = "its parent turns back".into();
    stage.give(&Input::ChildWanted(wanted));
    stage.report("a", undone());
    stage
}

/// Held back, let through, admitted; then a lock is taken from it.
fn reserved() -> Stage {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\nlocks: [\"host/7\"]\nblast_radius: { max: 1, per: 1h }\n",
    );
    stage.give(&Input::HeldBack);
    stage.wait();
    let operator = stage.operator();
    stage.give(&Input::Admit(operator));
    let fences = BTreeMap::from([("host/7".to_owned(), 12)]);
    stage.give(&Input::Admitted { fences });
    let operator = stage.operator();
    stage.give(&Input::BreakLock {
        name: "host/7".into(),
        operator,
    });
    stage
}

/// It waits for a person, goes on under the next version, and does what is new there.
fn upgraded() -> Stage {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n  - id: ok\n    approve: { by: operator, timeout: 1d }\n  - id: z\n    task: t.look@1\n",
    );
    stage.report("a", done());
    let verdict = stage.upgrade(
        "  - id: a\n    task: t.set@1\n  - id: ok\n    approve: { by: operator, timeout: 1d }\n  - id: y\n    task: t.once@1\ndeadline: 1h\n",
    );
    assert_eq!(verdict, Verdict::Applied);
    decide(&mut stage, Approval::Approve);
    stage.report("y", done());
    stage
}

/// Parked, escalated, taken, given back, escalated again, and due at another time.
fn assigned() -> Stage {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n    on_error: park\nwork_items: { assign: net-team, due: 1h, escalate: [{ after: 30m, to: lead }, { after: 2h, to: manager }, { after: 1d, to: cio }] }\n",
    );
    stage.report("a", failed(false));
    stage.wait();
    for (whose, due_ms) in [
        (Some(Whose::Mine), None),
        (Some(Whose::Back), None),
        (None, Some(600_000)),
        (Some(Whose::Of("pki".into())), Some(900_000)),
        (Some(Whose::Back), None),
    ] {
        let operator = stage.operator();
        stage.give(&Input::AssignItem {
            number: 1,
            assignment: Assignment { whose, due_ms },
            operator,
        });
    }
    stage.wait();
    stage
}

/// What its first step found there already is left.
fn unwanted() -> Stage {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n    undo: { when: \"${ a.changed }\" }\n  - id: b\n    task: t.once@1\n",
    );
    let output = json!({ "changed": false });
    stage.report("a", baton_messages::TaskResult::Succeeded { output });
    stage.report("b", failed(false));
    stage
}

/// The word of a record: a new kind does not compile before it has one here, and a history below that holds it.
const fn word(record: &Record) -> &'static str {
    match record {
        Record::Started { .. } => "started",
        Record::FannedOut { .. } => "fanned-out",
        Record::ItemBegun { .. } => "item-begun",
        Record::Prepared { .. } => "prepared",
        Record::Offered { .. } => "offered",
        Record::Resent { .. } => "resent",
        Record::Held { .. } => "held",
        Record::Claimed { .. } => "claimed",
        Record::Answered { .. } => "answered",
        Record::Checkpointed { .. } => "checkpointed",
        Record::Reported { .. } => "reported",
        Record::Closed { .. } => "closed",
        Record::Evidence { .. } => "evidence",
        Record::Cleared { .. } => "cleared",
        Record::Moved { .. } => "moved",
        Record::Forgiven { .. } => "forgiven",
        Record::NewRound { .. } => "new-round",
        Record::Edited { .. } => "edited",
        Record::EditedReported { .. } => "edited-reported",
        Record::Unwinding { .. } => "unwinding",
        Record::PivotReleased => "pivot-released",
        Record::DeadlinePassed => "deadline-passed",
        Record::CancelSent { .. } => "cancel-sent",
        Record::WorkItemOpened { .. } => "work-item-opened",
        Record::WorkItemClosed { .. } => "work-item-closed",
        Record::WorkItemEscalated { .. } => "work-item-escalated",
        Record::WorkItemAssigned(_) => "work-item-assigned",
        Record::Applied { .. } => "applied",
        Record::Subscribed { .. } => "subscribed",
        Record::Emitted { .. } => "emitted",
        Record::ChildBegun { .. } => "child-begun",
        Record::ChildTold { .. } => "child-told",
        Record::ChildHeard { .. } => "child-heard",
        Record::IsChild { .. } => "is-child",
        Record::ParentHeard { .. } => "parent-heard",
        Record::ParentTold => "parent-told",
        Record::Reserving { .. } => "reserving",
        Record::AdmissionAsked { .. } => "admission-asked",
        Record::Admitted { .. } => "admitted",
        Record::LetThrough { .. } => "let-through",
        Record::LockBroken { .. } => "lock-broken",
        Record::Upgraded { .. } => "upgraded",
        Record::Joined { .. } => "joined",
        Record::Paused => "paused",
        Record::Resumed => "resumed",
        Record::StatusChanged { .. } => "status-changed",
        Record::Ended { .. } => "ended",
        Record::Noted { .. } => "noted",
    }
}

const WORDS: usize = 48;

#[test]
fn every_kind_of_record_stands_in_some_history() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/histories");
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(&folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let history: History = serde_json::from_str(&text).unwrap();
        found.extend(history.entries.iter().flat_map(|e| &e.records).map(word));
    }
    assert_eq!(found.len(), WORDS, "only these: {found:?}");
}

#[test]
fn recorded_histories_replay_to_the_state_they_led_to() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/histories");
    let typical: [(&str, Play); 20] = [
        ("fanned-out", fanned_out),
        ("fan-taken-back", fan_taken_back),
        ("parent", parent),
        ("child", child),
        ("completed", completed),
        ("compensated", compensated),
        ("edited", edited),
        ("parked", parked),
        ("woken-by-evidence", woken_by_evidence),
        ("waited-and-approved", waited_and_approved),
        ("rejected", rejected),
        ("waiting", waiting),
        ("held-and-resent", held_and_resent),
        ("turned-back", turned_back),
        ("released", released),
        ("late", late),
        ("reserved", reserved),
        ("upgraded", upgraded),
        ("assigned", assigned),
        ("unwanted", unwanted),
    ];
    if std::env::var_os("BATON_RECORD_HISTORIES").is_some() {
        for (name, play) in typical {
            let path = folder.join(format!("{name}.json"));
            if !path.exists() {
                let stage = play();
                let history = History {
                    entries: stage.entries,
                    state: stage.state,
                };
                std::fs::write(path, serde_json::to_string_pretty(&history).unwrap() + "\n")
                    .unwrap();
            }
        }
    }
    let mut replayed = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let history: History =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut state = SagaState::new(history.state.id);
        replay(&mut state, &history.entries).unwrap();
        for (id, recorded) in &history.state.steps {
            let step = state.steps.get_mut(id).unwrap();
            if step.phase == Phase::Undone && step.began_at.is_some() {
                let before = step.done_at.is_some_and(|at| at <= step.since);
                assert!(before, "{id} was over before it was undone");
            }
            // the versions that recorded these kept no such time, and no such doubt
            step.done_at = recorded.done_at;
            step.doubted = recorded.doubted;
        }
        assert_eq!(state, history.state, "{}", path.display());
        replayed += 1;
    }
    assert!(replayed >= typical.len(), "{replayed} histories");
}
