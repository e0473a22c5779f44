//! What a turn promises: commit, then act; nothing of a lost turn leaves; what was in doubt is decided again; one bad saga harms no neighbour.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clock;
mod defects;
mod events;
mod purging;
mod shelf;
mod snapshots;
mod unknown;
mod upgrading;

use baton_driver::{Driver, DriverError, Options, Outgoing, Sent, Work};
use baton_engine::input::Resolution;
use baton_engine::{Command, Definition, Input, Level, Operator, Status, Verdict};
use baton_messages::{
    AttemptRef, Effect, Finished, InboxKey, InputId, Manifest, RetryDefaults, RunId, SagaId, Start,
    StepKey, Task, TaskMessage, TaskResult, TaskType, Timestamp, WorkerId,
};
use serde_json::json;
use uuid::Uuid;

use shelf::{Mishap, Shelf, Tray, now_or_never};

type Rig = Driver<Shelf, Tray>;

const SAGA: &str = "
saga: two
version: 1
steps:
  - id: first
    task: test.echo@1
    with: { value: \"${ input.n }\" }
  - id: second
    task: test.echo@1
    with: { value: \"${ first.value }\" }
output: \"${ second.value }\"
";

fn manifest() -> Manifest {
    Manifest {
        task_type: TaskType::new("test.echo@1").unwrap(),
        summary: "echo".into(),
        input: json!({ "type": "object", "required": ["value"] }),
        output: json!({}),
        effect: Effect::None,
        idempotent: true,
        before_image: false,
        undo: false,
        probe: false,
        dry_run: false,
        lock: None,
        timeout_ms_default: 1_000,
        timeout_ms_max: 60_000,
        settle_ms: 0,
        retry: RetryDefaults::default(),
        needs: vec![],
        examples: vec![],
    }
}

fn options() -> Options {
    Options::new(0, 1, InboxKey::of(0))
}

fn at(ms: u64) -> Timestamp {
    Timestamp(1_000_000 + ms)
}

fn rig(served: bool) -> Rig {
    let mut driver = now_or_never(Driver::recover(
        Shelf::default(),
        Tray::default(),
        options(),
        at(0),
    ))
    .unwrap();
    driver.bus_is_up(at(0));
    now_or_never(driver.put_definition(Definition::parse(SAGA).unwrap(), "test", at(0))).unwrap();
    if served {
        now_or_never(driver.announce(manifest(), at(0)))
            .unwrap()
            .unwrap();
    }
    driver
}

fn saga(n: u128) -> SagaId {
    SagaId(Uuid::from_u128(n))
}

fn start(n: u128) -> Work {
    let input = Start {
        id: InputId(Uuid::from_u128(n)),
        saga: saga(n),
        definition: "two".into(),
        version: None,
        input: json!({ "n": n as u64 }),
        labels: Default::default(),
        by: "test".into(),
    };
    Work::Saga {
        token: n as u64,
        saga: saga(n),
        input: Box::new(Input::Start(input)),
    }
}

fn finished(of: &AttemptRef, value: serde_json::Value) -> Work {
    let report = Finished {
        of: of.clone(),
        run: RunId(of.message_id().0),
        worker: WorkerId::new("w").unwrap(),
        started: true,
        sole: true,
        result: TaskResult::Succeeded {
            output: json!({ "value": value }),
        },
        before: None,
        progress: None,
        started_at: at(0),
        finished_at: at(0),
    };
    Work::Saga {
        token: 7,
        saga: of.saga,
        input: Box::new(Input::TaskFinished(report)),
    }
}

fn task(out: &Outgoing) -> &Task {
    match &out.command {
        Command::Dispatch(message) => match &**message {
            TaskMessage::Task(task) => task,
        },
        other => panic!("not a task: {other:?}"),
    }
}

fn take(driver: &mut Rig) -> Vec<Outgoing> {
    std::mem::take(&mut driver.outlet().0)
}

fn turn(driver: &mut Rig, work: Vec<Work>, ms: u64) -> Vec<baton_driver::Answer> {
    now_or_never(driver.turn(work, at(ms), 1)).unwrap()
}

#[test]
fn a_saga_runs_to_its_end_and_the_watermark_follows_the_confirms() {
    let mut driver = rig(true);
    let answers = turn(&mut driver, vec![start(1)], 1);
    assert_eq!(answers[0].verdict, Verdict::Applied);
    let out = take(&mut driver);
    assert_eq!(task(&out[0]).input, json!({ "value": 1 }));
    assert_eq!(driver.figures().watermark, 0, "not confirmed yet");
    driver.sent(vec![(out[0].ticket, Sent::Confirmed)]);
    turn(&mut driver, vec![finished(&task(&out[0]).of, json!(1))], 2);
    assert_eq!(
        driver.store().watermark,
        1,
        "the confirm is written with the next commit"
    );
    let second = take(&mut driver);
    driver.sent(vec![(second[0].ticket, Sent::Confirmed)]);
    turn(
        &mut driver,
        vec![finished(&task(&second[0]).of, json!(1))],
        3,
    );
    assert_eq!(driver.store().status[&saga(1)], Status::Completed);
    assert_eq!(driver.store().watermark, 3);
    assert_eq!(driver.figures().hot, 0, "an ended saga leaves memory");
    let again = turn(
        &mut driver,
        vec![finished(&task(&second[0]).of, json!(1))],
        4,
    );
    assert_eq!(again[0].verdict, Verdict::Duplicate);
}

#[test]
fn many_inputs_are_one_commit() {
    let mut driver = rig(true);
    let before = driver.store().batches;
    let answers = turn(&mut driver, (1..=200).map(start).collect(), 1);
    assert_eq!(answers.len(), 200);
    assert_eq!(driver.store().batches, before + 1);
    assert_eq!(take(&mut driver).len(), 200);
}

#[test]
fn nothing_of_a_failed_commit_leaves_and_the_same_work_can_be_given_again() {
    let mut driver = rig(true);
    driver.store().mishap = Some(Mishap::Failed);
    let lost = now_or_never(driver.turn(vec![start(1)], at(1), 1));
    assert!(matches!(lost, Err(DriverError::Lost { .. })), "{lost:?}");
    assert!(take(&mut driver).is_empty());
    let refused = now_or_never(driver.turn(vec![], at(1), 1));
    assert!(matches!(refused, Err(DriverError::NotRecovered { .. })));
    now_or_never(driver.recover_again(at(2))).unwrap();
    assert_eq!(
        turn(&mut driver, vec![start(1)], 3)[0].verdict,
        Verdict::Applied
    );
    assert_eq!(take(&mut driver).len(), 1);
}

#[test]
fn a_commit_of_unknown_fate_that_was_written_is_found_and_its_task_sent_once_more() {
    let mut driver = rig(true);
    driver.store().mishap = Some(Mishap::UnknownWritten);
    assert!(now_or_never(driver.turn(vec![start(1)], at(1), 1)).is_err());
    assert!(take(&mut driver).is_empty());
    now_or_never(driver.recover_again(at(2))).unwrap();
    driver.bus_is_up(at(2));
    assert_eq!(
        turn(&mut driver, vec![start(1)], 3)[0].verdict,
        Verdict::Duplicate
    );
    let out = take(&mut driver);
    assert_eq!(out.len(), 1, "the task in doubt is sent");
    let of = &task(&out[0]).of;
    assert!(
        !driver.peek(saga(1)).unwrap().steps[&of.step].attempts[0].sole,
        "it may be out twice"
    );
}

#[test]
fn a_crash_after_the_commit_sends_what_lies_past_the_watermark() {
    let mut driver = rig(true);
    turn(&mut driver, vec![start(1), start(2)], 1);
    let out = take(&mut driver);
    driver.sent(vec![(out[0].ticket, Sent::Confirmed)]);
    turn(&mut driver, vec![], 2_000);
    assert_eq!(driver.store().watermark, 1, "written by itself when idle");
    let shelf = driver.into_store();
    let mut driver = now_or_never(Driver::recover(
        shelf,
        Tray::default(),
        options(),
        at(3_000),
    ))
    .unwrap();
    driver.bus_is_up(at(3_000));
    turn(&mut driver, vec![], 3_000);
    let again = take(&mut driver);
    assert_eq!(
        again.iter().map(|o| task(o).of.clone()).collect::<Vec<_>>(),
        vec![task(&out[1]).of.clone()]
    );
    assert_eq!(
        task(&again[0]).of.message_id(),
        task(&out[1]).of.message_id(),
        "under the same id"
    );
}

#[test]
fn what_the_broker_did_not_take_is_kept_and_sent_when_it_is_back() {
    let mut driver = rig(true);
    turn(&mut driver, vec![start(1)], 1);
    let out = take(&mut driver);
    driver.bus_is_down();
    driver.sent(vec![(out[0].ticket, Sent::Unknown)]);
    turn(&mut driver, vec![], 2);
    assert_eq!(driver.store().unsent.len(), 1);
    assert_eq!(
        driver.store().watermark,
        2,
        "passed: the row in `unsent` answers for it"
    );
    turn(&mut driver, vec![], 1_000_000_000);
    assert!(
        take(&mut driver).is_empty(),
        "not while the broker is away, and no clock of it runs"
    );
    driver.bus_is_up(at(1_000_000_001));
    turn(&mut driver, vec![], 1_000_000_001);
    let again = take(&mut driver);
    assert_eq!(
        task(&again[0]).of.message_id(),
        task(&out[0]).of.message_id()
    );
    assert!(driver.store().unsent.is_empty());
}

#[test]
fn no_saga_starts_while_too_many_tasks_wait_for_the_broker_and_what_runs_goes_on() {
    let few = Options {
        unsent_max: 2,
        ..options()
    };
    let shelf = rig(true).into_store();
    let recovered = Driver::recover(shelf, Tray::default(), few, at(0));
    let mut driver = now_or_never(recovered).unwrap();
    for n in 1..=2 {
        assert!(driver.takes_starts());
        turn(&mut driver, vec![start(n)], 1);
        let out = take(&mut driver);
        driver.sent(vec![(out[0].ticket, Sent::Unknown)]);
        turn(&mut driver, vec![], 2);
    }
    assert!(!driver.takes_starts());
    assert!(driver.has_room(), "reports and people are heard");
    driver.bus_is_up(at(1_000_000_001));
    turn(&mut driver, vec![], 1_000_000_001);
    assert_eq!(take(&mut driver).len(), 2);
    assert!(driver.takes_starts());
}

/// As many commands as may be under way: four full batches.
const UNDER_WAY_MAX: u128 = 2_048;

#[test]
fn while_as_much_is_under_way_as_may_be_nothing_more_is_taken_or_sent_again() {
    let mut driver = rig(true);
    turn(&mut driver, vec![start(1)], 1);
    let owed = take(&mut driver);
    driver.sent(vec![(owed[0].ticket, Sent::Unknown)]);
    turn(&mut driver, vec![], 2);
    assert_eq!(driver.store().unsent.len(), 1);
    driver.bus_is_up(at(1_000_000_000));
    let mut out = Vec::new();
    for n in 2..2 + UNDER_WAY_MAX {
        assert!(driver.has_room(), "{n}");
        // the one that is owed waits for its own time
        turn(&mut driver, vec![start(n)], 3);
        out.extend(take(&mut driver));
    }
    assert!(!driver.has_room(), "{} are under way", out.len());
    turn(&mut driver, vec![], 1_000_000_001);
    let again = take(&mut driver);
    let again: Vec<_> = again.iter().map(|o| task(o).of.saga).collect();
    assert!(
        !again.contains(&saga(1)),
        "nothing is sent again: {again:?}"
    );
    driver.sent(out.iter().map(|o| (o.ticket, Sent::Confirmed)).collect());
    turn(&mut driver, vec![], 1_000_000_002);
    assert!(driver.has_room());
    let again: Vec<_> = take(&mut driver).iter().map(|o| task(o).of.saga).collect();
    assert_eq!(again, [saga(1)], "what was owed goes");
}

#[test]
fn a_type_nobody_serves_waits_and_is_offered_when_somebody_does() {
    let mut driver = rig(false);
    turn(&mut driver, vec![start(1)], 1);
    assert!(take(&mut driver).is_empty());
    assert_eq!(driver.store().unserved.len(), 1);
    now_or_never(driver.announce(manifest(), at(2)))
        .unwrap()
        .unwrap();
    driver.serve(&TaskType::new("test.echo@1").unwrap());
    turn(&mut driver, vec![], 3);
    let out = take(&mut driver);
    assert_eq!(out.len(), 1);
    assert!(driver.store().unserved.is_empty());
    driver.sent(vec![(out[0].ticket, Sent::Returned)]);
    turn(&mut driver, vec![], 4);
    assert_eq!(
        driver.store().unserved.len(),
        1,
        "its queue was gone: it waits again"
    );
}

#[test]
fn a_row_the_store_refuses_keeps_its_input_and_harms_no_neighbour() {
    let mut driver = rig(true);
    turn(&mut driver, vec![start(1), start(2)], 1);
    let out = take(&mut driver);
    driver.store().refuses = Some(saga(1));
    let reports = || {
        out.iter()
            .map(|o| finished(&task(o).of, json!(1)))
            .collect::<Vec<Work>>()
    };
    assert_eq!(
        turn(&mut driver, reports(), 2).len(),
        2,
        "both are answered: neither comes again for ever"
    );
    let next = take(&mut driver);
    assert_eq!(
        next.iter().map(|o| o.saga).collect::<Vec<_>>(),
        vec![saga(2)],
        "the neighbour went on"
    );
    assert_eq!(driver.store().letters.len(), 1, "the input is kept");
    driver.store().refuses = None;
    assert_eq!(turn(&mut driver, reports(), 3).len(), 2);
    assert_eq!(
        take(&mut driver).iter().map(|o| o.saga).collect::<Vec<_>>(),
        vec![saga(1)],
        "and it goes on when it can"
    );
}

#[test]
fn records_that_do_not_fold_stop_their_saga_alone() {
    let mut driver = rig(true);
    turn(&mut driver, vec![start(1), start(2)], 1);
    let out = take(&mut driver);
    let mut shelf = driver.into_store();
    // Offered without having been prepared.
    let records = shelf.rows[0].entry.records.clone();
    shelf.rows[0].entry.records = vec![records[0].clone(), records[2].clone()];
    let mut driver =
        now_or_never(Driver::recover(shelf, Tray::default(), options(), at(3))).unwrap();
    let answers = turn(
        &mut driver,
        out.iter()
            .map(|o| finished(&task(o).of, json!(1)))
            .collect(),
        4,
    );
    assert!(
        matches!(
            answers[0].verdict,
            Verdict::Refused(baton_engine::Refusal::Unreadable)
        ),
        "{answers:?}"
    );
    assert_eq!(answers[1].verdict, Verdict::Applied);
}

#[test]
fn no_verdict_is_taken_from_time_before_the_inbox_was_read() {
    let mut driver = rig(true);
    turn(&mut driver, vec![start(1)], 1);
    let out = take(&mut driver);
    let shelf = driver.into_store();
    // The orchestrator was away for a day; meanwhile the worker has reported.
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let later = at(DAY_MS);
    let mut driver =
        now_or_never(Driver::recover(shelf, Tray::default(), options(), later)).unwrap();
    driver.hold_timers();
    turn(&mut driver, vec![], DAY_MS);
    let step = driver.peek(saga(1)).unwrap().steps.values().next().unwrap();
    assert!(
        step.open_attempt().is_some(),
        "its report may lie in the inbox"
    );
    let answers = turn(
        &mut driver,
        vec![finished(&task(&out[0]).of, json!(1))],
        DAY_MS + 1,
    );
    assert_eq!(answers[0].verdict, Verdict::Applied);
    driver.caught_up();
    turn(&mut driver, vec![], DAY_MS + 2);
    let steps = &driver.peek(saga(1)).unwrap().steps;
    assert_eq!(steps["first"].phase, baton_engine::state::Phase::Succeeded);
}

/// The same of what the broker had confirmed, which is not sent again with fresh clocks: in memory, and out of it.
#[test]
fn no_verdict_is_taken_from_time_of_what_was_sent_for_certain_either() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    for evicted in [false, true] {
        let mut driver = rig(true);
        turn(&mut driver, vec![start(1)], 1);
        let out = take(&mut driver);
        driver.sent(vec![(out[0].ticket, Sent::Confirmed)]);
        turn(&mut driver, vec![], if evicted { 120_000 } else { 2_000 });
        assert_eq!(driver.store().watermark, 1);
        assert_eq!(driver.figures().hot, usize::from(!evicted));
        let rows = driver.store().rows.len();
        let later = at(DAY_MS / 2);
        let recovered = Driver::recover(driver.into_store(), Tray::default(), options(), later);
        let mut driver = now_or_never(recovered).unwrap();
        driver.bus_is_up(later);
        driver.hold_timers();
        for n in 0..3 {
            turn(&mut driver, vec![], DAY_MS / 2 + n * 1_000);
            assert_eq!(driver.store().rows.len(), rows, "evicted: {evicted}");
            assert!(take(&mut driver).is_empty(), "nothing is offered anew");
        }
        let report = finished(&task(&out[0]).of, json!(1));
        let answers = turn(&mut driver, vec![report], DAY_MS / 2 + 4_000);
        assert_eq!(answers[0].verdict, Verdict::Applied);
        driver.caught_up();
        turn(&mut driver, vec![], DAY_MS / 2 + 5_000);
        let steps = &driver.peek(saga(1)).unwrap().steps;
        assert_eq!(steps["first"].phase, baton_engine::state::Phase::Succeeded);
        assert_eq!(steps["first"].attempts.len(), 1, "its first attempt counts");
    }
}

#[test]
fn what_was_in_doubt_and_is_no_longer_wanted_lets_the_watermark_pass() {
    let mut driver = rig(true);
    turn(&mut driver, vec![start(1)], 1);
    let out = take(&mut driver);
    turn(&mut driver, vec![finished(&task(&out[0]).of, json!(1))], 2);
    let second = take(&mut driver);
    turn(
        &mut driver,
        vec![finished(&task(&second[0]).of, json!(1))],
        3,
    );
    // Neither confirm was seen before the crash, and both tasks have long been done.
    let shelf = driver.into_store();
    assert_eq!(shelf.watermark, 0);
    let mut driver =
        now_or_never(Driver::recover(shelf, Tray::default(), options(), at(4))).unwrap();
    driver.bus_is_up(at(4));
    turn(&mut driver, vec![], 5);
    assert!(take(&mut driver).is_empty());
    turn(&mut driver, vec![], 5_000);
    assert_eq!(driver.store().watermark, 3);
}

#[test]
fn another_owner_ends_it() {
    let mut driver = rig(true);
    driver.store().mishap = Some(Mishap::Fenced);
    let fenced = now_or_never(driver.turn(vec![start(1)], at(1), 1));
    assert!(matches!(fenced, Err(DriverError::Fenced { .. })));
    assert!(take(&mut driver).is_empty());
}

#[test]
fn an_idle_saga_leaves_memory_and_wakes_by_its_timer() {
    let mut driver = rig(false);
    turn(&mut driver, vec![start(1)], 1);
    turn(&mut driver, vec![], 120_000);
    assert_eq!(driver.figures().hot, 0);
    let wake = driver.next_wake().expect("its queue timeout");
    let pause = Operator {
        id: InputId(Uuid::from_u128(9)),
        by: "me".into(),
        role: baton_engine::Role::Operator,
        reason: "why not".into(),
        seen: None,
    };
    let work = Work::Saga {
        token: 1,
        saga: saga(1),
        input: Box::new(Input::Pause(pause)),
    };
    assert_eq!(
        turn(&mut driver, vec![work], 130_000)[0].verdict,
        Verdict::Applied
    );
    assert!(driver.store().cold.is_empty(), "in memory again");
    let resume = Operator {
        id: InputId(Uuid::from_u128(10)),
        by: "me".into(),
        role: baton_engine::Role::Operator,
        reason: "enough".into(),
        seen: None,
    };
    let work = Work::Saga {
        token: 1,
        saga: saga(1),
        input: Box::new(Input::Resume(resume)),
    };
    turn(&mut driver, vec![work], 131_000);
    turn(&mut driver, vec![], 300_000);
    assert_eq!(driver.figures().hot, 0, "cold once more");
    now_or_never(driver.turn(vec![], wake.plus_ms(1), 1)).unwrap();
    assert_eq!(
        driver.store().status[&saga(1)],
        Status::Compensated,
        "nobody served it in time: nothing was done"
    );
}

/// A process of another version may drive the partition next: what is decided says no more than that one reads.
#[test]
fn what_is_recorded_is_what_everybody_reads_who_may_come() {
    for (level, is_passed) in [(Level::OLDEST, false), (Level::NEWEST, true)] {
        let mut driver = rig(true);
        let text = "saga: two\nversion: 2\nsteps:\n  - id: a\n    task: test.echo@1\n    with: { value: \"${ input.nothing }\" }\n    pivot: true\n    on_error: park\n  - id: last\n    task: test.echo@1\n    with: { value: 1 }\n";
        let definition = Definition::parse(text).unwrap();
        now_or_never(driver.put_definition(definition, "test", at(1))).unwrap();
        driver.write_for(level);
        turn(&mut driver, vec![start(1)], 2);
        let operator = Operator {
            id: InputId(Uuid::from_u128(9)),
            by: "anna".into(),
            role: baton_engine::Role::Operator,
            reason: "seen to".into(),
            seen: None,
        };
        let done = Input::ResolveStep {
            step: StepKey::new("a").unwrap(),
            resolution: Resolution::Done {
                output: json!({ "value": 1 }),
            },
            operator,
        };
        let work = Work::Saga {
            token: 3,
            saga: saga(1),
            input: Box::new(done),
        };
        assert_eq!(
            turn(&mut driver, vec![work], 3)[0].verdict,
            Verdict::Applied
        );
        let state = driver.peek(saga(1)).unwrap();
        assert_eq!(state.past_pivot, is_passed, "{level:?}");
    }
}
