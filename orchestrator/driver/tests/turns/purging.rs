//! Taking the records of ended sagas out: with the next commit, never of what is in memory, and what comes for such a saga finds its tombstone.

use baton_driver::{PurgeRow, Purged, Sent};
use baton_engine::{Refusal, Status, Verdict};
use serde_json::json;

use super::shelf::{Mishap, now_or_never};
use super::{Rig, at, finished, rig, saga, start, take, task, turn};

fn purge(n: u128) -> PurgeRow {
    PurgeRow {
        saga: saga(n),
        log_seq: 100,
        ended_before: at(500),
        purged: Purged {
            at: at(600),
            archive: Some("a.gz".into()),
        },
    }
}

/// A saga that has ended; its last report.
fn ended(driver: &mut Rig, n: u128) -> baton_driver::Work {
    turn(driver, vec![start(n)], 1);
    let mut last = None;
    for _ in 0..2 {
        let out = take(driver);
        driver.sent(vec![(out[0].ticket, Sent::Confirmed)]);
        let report = finished(&task(&out[0]).of, json!(1));
        turn(driver, vec![report.clone()], 2);
        last = Some(report);
    }
    assert_eq!(driver.store().status[&saga(n)], Status::Completed);
    last.unwrap()
}

#[test]
fn it_goes_with_the_next_commit_and_is_the_same_saga_ever_after() {
    let mut driver = rig(true);
    let report = ended(&mut driver, 1);
    driver.purge(vec![purge(1)]);
    assert!(
        driver.next_wake().is_some_and(|wake| wake <= at(3)),
        "nothing else has to happen first"
    );
    turn(&mut driver, vec![], 3);
    assert_eq!(driver.store().purged, [saga(1)]);
    let batches = driver.store().batches;
    let answers = turn(&mut driver, vec![start(1), report], 4);
    assert_eq!(answers[0].verdict, Verdict::Duplicate);
    assert!(
        matches!(answers[1].verdict, Verdict::Refused(Refusal::NoSuch { .. })),
        "{answers:?}"
    );
    assert!(take(&mut driver).is_empty());
    assert_eq!(driver.store().batches, batches, "there is nothing to write");
    assert_eq!(driver.figures().hot, 0);
}

#[test]
fn what_is_in_memory_is_never_purged() {
    let mut driver = rig(true);
    turn(&mut driver, vec![start(1)], 1);
    driver.purge(vec![purge(1)]);
    turn(&mut driver, vec![], 2);
    assert!(driver.store().purged.is_empty());
    assert_eq!(driver.figures().hot, 1);
}

#[test]
fn a_lost_commit_takes_it_out_once_or_not_at_all() {
    let mut driver = rig(true);
    ended(&mut driver, 1);
    driver.purge(vec![purge(1)]);
    driver.store().mishap = Some(Mishap::Failed);
    assert!(now_or_never(driver.turn(vec![], at(3), 1)).is_err());
    now_or_never(driver.recover_again(at(4))).unwrap();
    turn(&mut driver, vec![start(2)], 5);
    assert!(driver.store().purged.is_empty(), "nobody asked again");
}
