//! Histories recorded once replay for ever: `fixtures/histories/*.json` hold the entries of typical sagas and the state they led to. A
//! change that breaks one breaks every store out there. `BATON_RECORD_HISTORIES=1` writes those that are missing, and only those.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "rules/stage.rs"]
#[expect(dead_code, reason = "shared with the rules, which use all of it")]
mod stage;

use std::path::PathBuf;

use baton_engine::state::Phase;
use baton_engine::{Approval, Entry, Input, SagaState, replay};
use baton_messages::{Event, InputId, ProbeAnswer, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
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
        step: stage::step("ok"),
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

#[test]
fn recorded_histories_replay_to_the_state_they_led_to() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/histories");
    let typical: [(&str, Play); 7] = [
        ("completed", completed),
        ("compensated", compensated),
        ("parked", parked),
        ("woken-by-evidence", woken_by_evidence),
        ("waited-and-approved", waited_and_approved),
        ("rejected", rejected),
        ("waiting", waiting),
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
            // the versions that recorded these kept no such time
            step.done_at = recorded.done_at;
        }
        assert_eq!(state, history.state, "{}", path.display());
        replayed += 1;
    }
    assert!(replayed >= typical.len(), "{replayed} histories");
}
