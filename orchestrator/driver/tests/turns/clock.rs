//! The clock on the wall may be set while a run acts: only what has really passed ends it.

use baton_engine::Input;
use baton_engine::state::{Phase, Stage};
use baton_messages::fleet::{Heartbeat, Running};
use baton_messages::{AttemptRef, Manifest, RunId, Started, Timestamp, WorkerId};

use super::*;

const HOUR_MS: u64 = 60 * 60 * 1000;

fn run() -> RunId {
    RunId(Uuid::from_u128(99))
}

/// A saga whose first step is claimed and acts.
fn acting() -> (Rig, AttemptRef) {
    let mut driver = rig(false);
    let once = Manifest {
        effect: Effect::Reversible,
        idempotent: false,
        undo: true,
        ..manifest()
    };
    now_or_never(driver.announce(once, at(0))).unwrap().unwrap();
    turn(&mut driver, vec![start(1)], 1);
    let of = task(&take(&mut driver)[0]).of.clone();
    let claim = Work::Saga {
        token: 2,
        saga: of.saga,
        input: Box::new(Input::TaskStarted(Started {
            of: of.clone(),
            run: run(),
            worker: WorkerId::new("w").unwrap(),
            at: at(2),
        })),
    };
    turn(&mut driver, vec![claim], 2);
    take(&mut driver);
    assert!(acts(&driver));
    (driver, of)
}

fn acts(driver: &Rig) -> bool {
    let step = driver.peek(saga(1)).unwrap().steps.values().next().unwrap();
    step.open_attempt()
        .is_some_and(|attempt| matches!(attempt.stage, Stage::Claimed { .. }))
}

fn heartbeat(of: &AttemptRef) -> Heartbeat {
    Heartbeat {
        worker: WorkerId::new("w").unwrap(),
        number: 1,
        running: vec![Running {
            of: of.clone(),
            run: run(),
        }],
        at: Timestamp(0),
    }
}

#[test]
fn a_clock_set_forward_ends_no_run_whose_worker_speaks_for_it() {
    let (mut driver, of) = acting();
    for minute in 0..5 {
        driver.leases().heartbeat(&heartbeat(&of));
        turn(&mut driver, vec![], 9 * HOUR_MS + minute * 60_000);
        assert!(acts(&driver), "not a second has really passed");
    }
    assert!(
        driver.next_wake().unwrap() > at(9 * HOUR_MS + 4 * 60_000),
        "nor does it ask for a turn all the time"
    );
    let value = json!(1);
    let mut report = finished(&of, value);
    if let Work::Saga { input, .. } = &mut report
        && let Input::TaskFinished(finished) = &mut **input
    {
        finished.run = run();
    }
    turn(&mut driver, vec![report], 10 * HOUR_MS);
    let steps = &driver.peek(saga(1)).unwrap().steps;
    assert_eq!(steps["first"].phase, Phase::Succeeded);
}

#[test]
fn time_that_really_passed_ends_it_whatever_its_worker_says() {
    let (mut driver, of) = acting();
    // its time limit is a second; what is past that is for killing it and for the confirm
    for _ in 0..60 {
        driver.leases().heartbeat(&heartbeat(&of));
        driver.leases().tick(1_000, true);
    }
    driver.leases().heartbeat(&heartbeat(&of));
    turn(&mut driver, vec![], 9 * HOUR_MS);
    assert!(!acts(&driver), "nobody acts for a minute on a second");
}
