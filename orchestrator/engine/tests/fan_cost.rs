//! What a report costs does not grow with the items of a step: the last thousand of ten thousand are as cheap as the first, and what is kept
//! of all of them is bounded. Prints its figures: `cargo nextest run --workspace -E 'binary(fan_cost)' --no-capture`.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(clippy::print_stdout, reason = "figures belong in its output")]

#[path = "rules/stage.rs"]
#[expect(dead_code, reason = "shared with the rules, which use all of it")]
mod stage;

use std::time::Instant;

use baton_engine::command::commands;
use baton_engine::definition::NoSagas;
use baton_engine::state::Phase;
use baton_engine::{Definition, Entry, Rules, SagaState, Status, decide, replay};
use baton_messages::{TaskType, Timestamp};
use serde_json::json;
use stage::{Stage, failed, finished, run};

const ITEMS: usize = 10_000;
/// How much dearer the last thousand may be.
const SHARE_MAX: f64 = 1.2;
/// How often it is measured at most: whoever else uses the machine may spoil one run, and hardly three.
const TRIES: usize = 3;

fn fan(end: &str) -> Stage {
    let mut stage = Stage::waiting("  - id: fan\n    sleep: 1s\n");
    let yaml = format!(
        "saga: staged\nversion: 1\nsteps:\n  - id: fan\n    task: t.set@1\n    for_each: ${{ input.hosts }}\n    max_items: 10000\n    max_parallel: 20\n    with: {{ host: \"${{ item }}\", at: \"${{ index }}\" }}\n{end}"
    );
    stage.definition = Definition::parse(&yaml).unwrap();
    // what each report returns is held against it
    let set = TaskType::new("t.set@1").unwrap();
    let mut manifest = stage.catalogue.get(&set).unwrap().manifest.clone();
    manifest.output = json!({ "type": "object", "required": ["host"], "properties": { "host": { "type": "integer" }, "done": { "type": "boolean" } }, "additionalProperties": false });
    assert_eq!(stage.catalogue.announce(manifest), Ok(true));
    let hosts: Vec<String> = (0..ITEMS).map(|n| format!("host-{n:05}")).collect();
    let baton_engine::Input::Start(mut start) = stage.start() else {
        panic!("a start");
    };
    start.input = json!({ "hosts": hosts });
    stage.give_fast(&baton_engine::Input::Start(start));
    stage
}

/// How long each report took to decide, with what follows from it at once, in nanoseconds.
fn reports(stage: &mut Stage) -> Vec<u64> {
    let inbox = "00".parse().unwrap();
    let mut took = Vec::with_capacity(ITEMS);
    for item in 0..ITEMS {
        let of = stage.open(&format!("fan[{item}]"));
        let output = baton_messages::TaskResult::Succeeded {
            output: json!({ "host": item, "done": true }),
        };
        let input = finished(of, run(10_000 + item as u128), true, output);
        stage.now += 10;
        let rules = Rules {
            definition: &stage.definition,
            catalogue: &stage.catalogue,
            sagas: &NoSagas,
            level: baton_engine::Level::NEWEST,
        };
        let began = Instant::now();
        let decision = decide(rules, &mut stage.state, &input, Timestamp(stage.now), 42).unwrap();
        let sent = commands(&stage.state, &inbox, &decision.records);
        let wake = stage.state.next_wake();
        took.push(u64::try_from(began.elapsed().as_nanos()).unwrap());
        drop((sent, wake));
        stage.entries.push(Entry {
            at: stage.state.last_at,
            records: decision.records,
        });
    }
    took
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all[all.len() / 2]
}

#[test]
fn the_last_thousand_reports_cost_what_the_first_did() {
    let mut best = f64::MAX;
    for _ in 0..TRIES {
        let mut stage = fan("");
        let took = reports(&mut stage);
        assert_eq!(stage.status(), Status::Completed);
        // the very last finds all settled and puts the outputs together
        let first = median(took[..1_000].to_vec());
        let last = median(took[ITEMS - 1_000..].to_vec());
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a report")]
        let share = last as f64 / first as f64;
        println!(
            "a report of {ITEMS} items: first thousand {first} ns, last thousand {last} ns (x {share:.2}); the last one of all {} us",
            took[ITEMS - 1] / 1_000
        );
        best = best.min(share);
        if best <= SHARE_MAX {
            break;
        }
    }
    assert!(
        best <= SHARE_MAX,
        "the last thousand cost {best:.2} times the first"
    );
}

#[test]
fn what_is_kept_and_what_one_decision_writes_is_bounded() {
    let mut stage = fan("  - id: z\n    task: t.look@1\n    retry: { attempts: 1 }\n");
    reports(&mut stage);
    let bytes = serde_json::to_vec(&stage.state).unwrap().len();
    println!("{ITEMS} items settled: {} KiB as a snapshot", bytes / 1024);
    assert!(bytes < 24 * 1024 * 1024, "{bytes}");
    let input = finished(stage.open("z"), run(1), true, failed(false));
    stage.give_fast(&input);
    assert_eq!(stage.status(), Status::Compensating);
    assert_eq!(
        stage.at("fan").fan.as_ref().unwrap().live.len(),
        20,
        "a window of undos"
    );
    let records = stage.entries.iter().map(|entry| entry.records.len()).max();
    assert!(records.unwrap() < 100, "{records:?}");

    let began = Instant::now();
    let mut replayed = SagaState::new(stage.state.id);
    replay(&mut replayed, &stage.entries).unwrap();
    println!(
        "{} records folded in {:?}",
        stage.state.seq,
        began.elapsed()
    );
    assert!(replayed == stage.state, "the history replays to the state");
    let text = serde_json::to_string(&stage.state).unwrap();
    let read: SagaState = serde_json::from_str(&text).unwrap();
    assert!(read == stage.state, "a snapshot reads back");
    assert_eq!(
        read.at(&stage::key("fan[9999]")).unwrap().phase,
        Phase::Undoing
    );
}
