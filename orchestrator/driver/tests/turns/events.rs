//! Events that go out and events that are waited for: published until they are confirmed, told until they were searched.

use baton_driver::{Driver, IN_DOUBT_ROWS, Options, Outgoing, Sent, SubscriptionRow, Work};
use baton_engine::decide::limits::CLOCK_SKEW_MS;
use baton_engine::{Command, Definition, Input, Verdict};
use baton_messages::{Event, InputId, Start, StepId, Timestamp};
use serde_json::json;
use uuid::Uuid;

use crate::shelf::{Mishap, Tray, now_or_never};
use crate::{Rig, at, options, rig, saga, take, turn};

const SAYS: &str = "saga: says\nversion: 1\nsteps:\n  - id: told\n    emit: { type: a.said, data: { n: 1 } }\n  - id: paid\n    wait: { event: a.paid, timeout: 1h }\n";

fn says() -> Rig {
    let mut driver = rig(false);
    let definition = Definition::parse(SAYS).unwrap();
    now_or_never(driver.put_definition(definition, "test", at(0))).unwrap();
    driver
}

fn start(n: u128) -> Work {
    let start = Start {
        id: InputId(Uuid::from_u128(n)),
        saga: saga(n),
        definition: "says".into(),
        version: None,
        input: json!({}),
        labels: Default::default(),
        by: "test".into(),
    };
    Work::Saga {
        token: 1,
        saga: saga(n),
        input: Box::new(Input::Start(start)),
    }
}

fn arrives(n: u128, received_at: Timestamp) -> Work {
    let event: Event = serde_json::from_value(json!({
        "specversion": "1.0", "id": "e1", "source": "/shop", "type": "a.paid", "data": { "order": 1 },
    }))
    .unwrap();
    let step = StepId::new("paid").unwrap();
    Work::Saga {
        token: 2,
        saga: saga(n),
        input: Box::new(Input::EventArrived {
            id: InputId::of_arrival(saga(n), &step, &event.source, &event.id),
            step,
            event: Box::new(event),
            received_at,
        }),
    }
}

fn said(out: &[Outgoing]) -> Vec<String> {
    out.iter()
        .map(|out| match &out.command {
            Command::EmitEvent(event) => event.id.clone(),
            other => panic!("not an event: {other:?}"),
        })
        .collect()
}

#[test]
fn an_event_is_published_until_it_is_confirmed_and_holds_up_nothing_meanwhile() {
    let mut driver = says();
    turn(&mut driver, vec![start(1)], 1);
    let mut out = take(&mut driver);
    let first = said(&out);
    for (ms, fate) in [(10_000, Sent::Nacked), (20_000, Sent::Unknown)] {
        driver.bus_is_down();
        driver.sent(vec![(out[0].ticket, fate)]);
        turn(&mut driver, vec![], ms);
        assert!(take(&mut driver).is_empty(), "nobody is there");
        assert_eq!(driver.store().owed.len(), 1, "the store keeps it");
        assert_eq!(driver.store().watermark, 1, "and its row is passed");
        let figures = driver.figures();
        assert_eq!((figures.in_flight, figures.owed), (0, 1));
        driver.bus_is_up(at(ms));
        assert!(driver.next_wake().is_some_and(|wake| wake <= at(ms)));
        turn(&mut driver, vec![], ms + 1);
        out = take(&mut driver);
        assert_eq!(said(&out), first, "the same event");
    }
    driver.sent(vec![(out[0].ticket, Sent::Confirmed)]);
    assert!(
        driver.next_wake().is_some_and(|wake| wake <= at(0)),
        "it is to be taken out"
    );
    turn(&mut driver, vec![], 20_002);
    assert!(driver.store().owed.is_empty());
    let figures = driver.figures();
    assert_eq!((figures.in_flight, figures.owed), (0, 0));
    turn(&mut driver, vec![], 60_000);
    assert!(take(&mut driver).is_empty(), "not once more");
}

/// A database that has gone back wants everything read anew, and in a quiet partition nothing asks it but what is owed.
#[test]
fn what_is_owed_and_cannot_be_read_has_everything_read_anew() {
    let mut driver = says();
    driver.bus_is_up(at(0));
    turn(&mut driver, vec![start(1)], 1);
    let refused = take(&mut driver);
    let first = said(&refused);
    let refused = refused.iter().map(|out| (out.ticket, Sent::Nacked));
    driver.sent(refused.collect());
    turn(&mut driver, vec![], 2);
    assert_eq!(driver.store().owed.len(), 1);
    driver.store().stale = true;
    let mut ms = 2;
    let lost = (0..10).any(|_| {
        ms += 60_000;
        now_or_never(driver.turn(vec![], at(ms), 1)).is_err()
    });
    assert!(lost, "nothing is read anew");
    now_or_never(driver.recover_again(at(ms))).unwrap();
    driver.bus_is_up(at(ms));
    turn(&mut driver, vec![], ms + 60_000);
    assert_eq!(said(&take(&mut driver)), first, "the same event");
}

/// More than may be under way, all refused for ever: what comes in is taken, the log is published up to its end, and a restart has as little to read as ever.
#[test]
fn events_that_are_refused_for_ever_stop_nothing() {
    const SAGAS: u128 = 3_000;
    let mut driver = says();
    driver.bus_is_up(at(0));
    let mut ms = 0;
    for n in 1..=SAGAS {
        ms += 1;
        assert!(driver.has_room() && driver.takes_starts(), "{n}");
        assert_eq!(turn(&mut driver, vec![start(n)], ms).len(), 1);
        let refused = take(&mut driver);
        let refused = refused.iter().map(|out| (out.ticket, Sent::Nacked));
        driver.sent(refused.collect());
    }
    turn(&mut driver, vec![], ms + 1);
    assert_eq!(driver.store().owed.len(), 3_000);
    let last = driver.figures().log_seq;
    assert_eq!(driver.store().watermark, last);
    let figures = driver.figures();
    assert!(
        figures.owed == 3_000 && figures.in_flight <= 1,
        "{figures:?}"
    );
    // tried one at a time, and more and more rarely
    let mut tried = 0;
    for second in 1..600 {
        turn(&mut driver, vec![], ms + second * 1_000);
        let out = take(&mut driver);
        tried += out.len();
        driver.sent(out.iter().map(|out| (out.ticket, Sent::Nacked)).collect());
    }
    assert!((5..20).contains(&tried), "{tried}");
    assert_eq!(driver.figures().owed_refused, 1, "somebody is told");
    let again = Driver::recover(driver.into_store(), Tray::default(), options(), at(ms));
    let mut driver = now_or_never(again).unwrap();
    assert_eq!(driver.store().most, 1, "nothing was in doubt");
    assert_eq!(driver.figures().owed, 3_000);
    driver.bus_is_up(at(1_000_000));
    let mut sent = std::collections::BTreeSet::new();
    for n in 0..10_000 {
        turn(&mut driver, vec![], 1_000_000 + n);
        let out = take(&mut driver);
        sent.extend(said(&out));
        driver.sent(out.iter().map(|o| (o.ticket, Sent::Confirmed)).collect());
        if driver.store().owed.is_empty() {
            break;
        }
    }
    assert_eq!((sent.len(), driver.store().owed.len()), (3_000, 0));
    assert_eq!(driver.store().most, 64, "a page at a time");
}

/// As a version left it that held the watermark at an event nobody took.
#[test]
fn a_long_log_in_doubt_is_read_page_by_page_and_its_events_are_kept() {
    const SAGAS: u128 = 2_000;
    let mut driver = says();
    for n in 1..=SAGAS {
        turn(&mut driver, vec![start(n)], 1);
        let sent = take(&mut driver);
        let sent = sent.iter().map(|out| (out.ticket, Sent::Confirmed));
        driver.sent(sent.collect());
    }
    let mut shelf = driver.into_store();
    shelf.watermark = 0;
    let again = Driver::recover(shelf, Tray::default(), options(), at(5));
    let mut driver = now_or_never(again).unwrap();
    assert_eq!(driver.store().most, IN_DOUBT_ROWS);
    assert!(driver.has_room(), "it takes what comes in");
    assert_eq!(driver.figures().owed + driver.figures().in_flight, 2_000);
    assert!(
        driver.figures().in_flight < 512,
        "the store keeps the others"
    );
    assert_eq!(
        driver.store().watermark,
        0,
        "nothing is passed before all of it is read"
    );
    turn(&mut driver, vec![], 6);
    assert_eq!(driver.store().watermark, 2_000);
    assert_eq!(driver.store().owed.len(), 2_000);
}

#[test]
fn an_owed_event_that_leaves_as_its_owner_dies_leaves_again_as_the_same() {
    let mut driver = says();
    driver.bus_is_up(at(0));
    turn(&mut driver, vec![start(1)], 1);
    let first = take(&mut driver);
    driver.sent(vec![(first[0].ticket, Sent::Nacked)]);
    turn(&mut driver, vec![], 2);
    assert!(take(&mut driver).is_empty(), "not at once");
    turn(&mut driver, vec![], 6_000);
    let tried = take(&mut driver);
    assert_eq!(said(&tried), said(&first));
    driver.sent(vec![(tried[0].ticket, Sent::Confirmed)]);
    // it dies before the table hears of it
    let again = Driver::recover(driver.into_store(), Tray::default(), options(), at(7_000));
    let mut driver = now_or_never(again).unwrap();
    driver.bus_is_up(at(7_000));
    turn(&mut driver, vec![], 7_001);
    assert_eq!(said(&take(&mut driver)), said(&first));
}

#[test]
fn what_a_crash_left_in_doubt_is_published_again_as_the_same_event() {
    let mut driver = says();
    turn(&mut driver, vec![start(1)], 1);
    let first = said(&take(&mut driver));
    let store = driver.into_store();
    let again = Driver::recover(store, Tray::default(), options(), at(5));
    let mut driver = now_or_never(again).unwrap();
    driver.bus_is_up(at(5));
    turn(&mut driver, vec![], 6);
    let out = take(&mut driver);
    assert_eq!(said(&out), first);
    driver.sent(vec![(out[0].ticket, Sent::Confirmed)]);
    turn(&mut driver, vec![], 5_000);
    let store = driver.into_store();
    let again = Driver::recover(store, Tray::default(), options(), at(6_000));
    let mut driver = now_or_never(again).unwrap();
    driver.bus_is_up(at(6_000));
    turn(&mut driver, vec![], 6_001);
    assert!(take(&mut driver).is_empty(), "the watermark has passed it");
}

fn told(driver: &mut Rig) -> Vec<SubscriptionRow> {
    driver.take_subscribed(usize::MAX)
}

#[test]
fn a_subscription_is_told_once_it_is_committed_and_again_until_it_was_searched() {
    let mut driver = says();
    driver.store().mishap = Some(Mishap::Failed);
    assert!(now_or_never(driver.turn(vec![start(1)], at(1), 1)).is_err());
    assert!(told(&mut driver).is_empty(), "nothing was committed");
    now_or_never(driver.recover_again(at(2))).unwrap();
    turn(&mut driver, vec![start(1)], 3);
    let rows = told(&mut driver);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].saga, rows[0].event.as_str()), (saga(1), "a.paid"));
    assert_eq!(rows[0].since, Timestamp(at(3).0 - CLOCK_SKEW_MS));
    assert!(told(&mut driver).is_empty(), "once");
    now_or_never(driver.recover_again(at(4))).unwrap();
    assert_eq!(
        told(&mut driver),
        rows,
        "nobody wrote down that it was searched"
    );
    driver.searched(rows[0].saga, rows[0].step.clone());
    turn(&mut driver, vec![], 5);
    now_or_never(driver.recover_again(at(6))).unwrap();
    assert!(told(&mut driver).is_empty());
}

#[test]
fn a_subscription_ends_with_the_commit_that_ends_the_wait() {
    let mut driver = says();
    turn(&mut driver, vec![start(1)], 1);
    assert_eq!(driver.store().subscriptions.len(), 1);
    let long_before = Timestamp(at(0).0 - CLOCK_SKEW_MS);
    let answers = turn(&mut driver, vec![arrives(1, long_before)], 2);
    assert!(
        matches!(answers[0].verdict, Verdict::Ignored { .. }),
        "before the start"
    );
    assert_eq!(driver.store().subscriptions.len(), 1);
    let answers = turn(&mut driver, vec![arrives(1, at(2))], 3);
    assert_eq!(answers[0].verdict, Verdict::Applied);
    assert!(driver.store().subscriptions.is_empty());
    let answers = turn(&mut driver, vec![start(2), arrives(2, at(4))], 4);
    assert_eq!(answers[1].verdict, Verdict::Applied);
    assert!(
        driver.store().subscriptions.is_empty(),
        "begun and ended in one turn"
    );
    told(&mut driver);
    turn(&mut driver, vec![start(3)], 5);
    assert_eq!(told(&mut driver).len(), 1);
}

#[test]
fn steps_that_wait_are_told_some_at_a_time_and_too_many_untold_ones_let_no_saga_start() {
    let few = Options {
        subscribed_max: 3,
        ..options()
    };
    let store = says().into_store();
    let recovered = Driver::recover(store, Tray::default(), few, at(0));
    let mut driver = now_or_never(recovered).unwrap();
    for n in 1..=3 {
        assert!(driver.takes_starts());
        turn(&mut driver, vec![start(n)], 1);
    }
    assert!(!driver.takes_starts());
    assert!(driver.has_room(), "reports and people are heard");
    let of = |rows: Vec<SubscriptionRow>| -> Vec<_> { rows.iter().map(|row| row.saga).collect() };
    assert_eq!(of(driver.take_subscribed(2)), [saga(1), saga(2)]);
    assert!(driver.takes_starts());
    assert_eq!(of(driver.take_subscribed(2)), [saga(3)]);
    assert!(driver.take_subscribed(2).is_empty());
}

/// However long they may be idle, more of them than may be in memory do not stay there.
#[test]
fn where_there_are_too_many_those_that_wait_leave_memory_sooner() {
    for (hot_max, left) in [(2, 0), (3, 3)] {
        let crowded = Options {
            hot_max,
            ..options()
        };
        let store = says().into_store();
        let recovered = Driver::recover(store, Tray::default(), crowded, at(0));
        let mut driver = now_or_never(recovered).unwrap();
        driver.bus_is_up(at(0));
        for n in 1..=3 {
            turn(&mut driver, vec![start(n)], 1);
            let out = take(&mut driver);
            driver.sent(vec![(out[0].ticket, Sent::Confirmed)]);
        }
        turn(&mut driver, vec![], 10_000);
        assert_eq!(
            driver.figures().hot,
            left,
            "of three, where {hot_max} may be"
        );
    }
}

#[test]
fn an_evicted_saga_still_waits() {
    let mut driver = says();
    turn(&mut driver, vec![start(1)], 1);
    let out = take(&mut driver);
    driver.sent(vec![(out[0].ticket, Sent::Confirmed)]);
    turn(&mut driver, vec![], 120_000);
    assert_eq!(driver.figures().hot, 0);
    assert_eq!(driver.store().subscriptions.len(), 1);
    let answers = turn(&mut driver, vec![arrives(1, at(120_000))], 120_001);
    assert_eq!(answers[0].verdict, Verdict::Applied);
    assert!(driver.store().subscriptions.is_empty());
}
