//! What triggers lean on: an event is there once with what it first caused, a key belongs to one saga at a time, and nothing that is
//! still to be done is ever taken out.

use baton_driver::Store;
use baton_engine::Status;
use baton_engine::definition::EventPattern;
use baton_messages::{Event, SagaId, Timestamp};
use serde_json::json;

use super::Subject;
use super::samples::{at, batch, saga, saga_row, starts};
use crate::triggers::{
    Arrival, Claim, Effect, Planned, ScheduleRow, Settled, TriggerRef, Triggers,
};

fn event(id: &str, kind: &str) -> Event {
    serde_json::from_value(json!({
        "specversion": "1.0", "id": id, "source": "/here", "type": kind, "data": { "n": 1 }, "extra": "kept",
    }))
    .unwrap()
}

fn of(definition: &str) -> TriggerRef {
    TriggerRef {
        definition: definition.to_owned(),
        version: 1,
        trigger: 0,
    }
}

fn arrival(id: &str, when: Timestamp, planned: Vec<Planned>) -> Arrival {
    Arrival {
        event: event(id, "com.example.a"),
        at: when,
        planned,
        awaited: false,
        again: Vec::new(),
    }
}

fn keyed(of_saga: SagaId, until: Timestamp) -> Planned {
    Planned::Start {
        of: of("d"),
        saga: of_saga,
        key: Some(Claim {
            key: "k".to_owned(),
            until,
        }),
    }
}

fn starts_saga(of_saga: SagaId) -> Planned {
    Planned::Start {
        of: of("d"),
        saga: of_saga,
        key: None,
    }
}

/// The same event again is the one that is there, with what it caused then.
pub async fn an_event_is_there_once_with_its_first_effects(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let tables = subject.triggers(&store);
    let first = tables
        .take_in(vec![
            arrival("1", at(5), vec![starts_saga(saga(1))]),
            arrival("2", at(5), Vec::new()),
        ])
        .await
        .unwrap();
    assert_eq!((first[0].done, first[1].done), (false, true));
    assert_eq!(first[0].event, event("1", "com.example.a"));
    let again = tables
        .take_in(vec![arrival("1", at(9), vec![starts_saga(saga(7))])])
        .await
        .unwrap();
    assert_eq!(again[0], first[0]);
    assert_eq!(tables.undone(0, 10).await.unwrap(), first[..1]);
    assert!(tables.undone(first[0].seq, 10).await.unwrap().is_empty());
    tables
        .settle(vec![Settled {
            seq: first[0].seq,
            effects: first[0].effects.clone(),
            released: Vec::new(),
        }])
        .await
        .unwrap();
    assert!(tables.undone(0, 10).await.unwrap().is_empty());
    let mut awaited = arrival("3", at(9), Vec::new());
    awaited.awaited = true;
    let awaited = tables.take_in(vec![awaited]).await.unwrap();
    assert_eq!(tables.undone(0, 10).await.unwrap(), awaited);
    subject.close(store).await;
}

/// Twice in one call is once as well.
pub async fn an_event_twice_in_one_call_is_one(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let tables = subject.triggers(&store);
    let both = tables
        .take_in(vec![
            arrival("1", at(5), vec![starts_saga(saga(1))]),
            arrival("1", at(6), vec![starts_saga(saga(1))]),
        ])
        .await
        .unwrap();
    assert_eq!(both[0], both[1]);
    subject.close(store).await;
}

/// While its saga has not ended, or before the end of the window, a key joins; then it is free.
pub async fn a_key_belongs_to_one_saga_at_a_time(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let tables = subject.triggers(&store);
    let effect = async |id: &str, when, planned| {
        let taken = tables.take_in(vec![arrival(id, when, vec![planned])]).await;
        taken.unwrap()[0].effects[0].clone()
    };
    let joined = |of_saga| Effect::Joined {
        of: of("d"),
        saga: of_saga,
        key: "k".to_owned(),
    };
    let started = |of_saga| Effect::Started {
        of: of("d"),
        saga: of_saga,
        key: Some("k".to_owned()),
    };
    let first = effect("1", at(10), keyed(saga(0), at(20))).await;
    assert_eq!(first, started(saga(0)));
    // before the holder is started, and after its window
    assert_eq!(
        effect("2", at(30), keyed(saga(1), at(40))).await,
        joined(saga(0))
    );
    // while it runs
    store.commit(starts(mine, 1, 0..1)).await.unwrap();
    assert_eq!(
        effect("3", at(30), keyed(saga(2), at(40))).await,
        joined(saga(0))
    );
    let mut ended = batch(mine, 1);
    ended.sagas = vec![saga_row(0, Status::Completed)];
    store.commit(ended).await.unwrap();
    // it has ended, but the window is open
    assert_eq!(
        effect("4", at(19), keyed(saga(3), at(40))).await,
        joined(saga(0))
    );
    assert_eq!(
        effect("5", at(20), keyed(saga(4), at(40))).await,
        started(saga(4))
    );
    // another definition has keys of its own
    let other = Planned::Start {
        of: of("e"),
        saga: saga(5),
        key: Some(Claim {
            key: "k".to_owned(),
            until: at(90),
        }),
    };
    assert!(matches!(
        effect("6", at(21), other).await,
        Effect::Started { .. }
    ));
    subject.close(store).await;
}

fn cancel(definition: &str) -> Planned {
    Planned::Cancel {
        of: of(definition),
        key: "k".to_owned(),
        reason: "it is over".to_owned(),
    }
}

/// Whom it asks is the saga that the key started last, if that goes on; it claims nothing, and what comes again causes what it first did.
pub async fn a_key_leads_to_the_saga_that_is_to_be_cancelled(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let tables = subject.triggers(&store);
    let effect = async |id: &str, when, planned| {
        let taken = tables.take_in(vec![arrival(id, when, vec![planned])]).await;
        taken.unwrap()[0].effects[0].clone()
    };
    let asked = |definition: &str, of_saga| Effect::AskedToCancel {
        of: of(definition),
        saga: of_saga,
        key: "k".to_owned(),
        reason: "it is over".to_owned(),
    };
    let nothing = |effect: Effect| match effect {
        Effect::NothingToCancel { of, saga, key, why } => {
            assert_eq!((of.definition.as_str(), key.as_str()), ("d", "k"));
            assert!(!why.is_empty());
            saga
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(nothing(effect("1", at(1), cancel("d")).await), None);
    effect("2", at(2), keyed(saga(0), at(20))).await;
    // about to be started, then under way
    let before = effect("3", at(3), cancel("d")).await;
    assert_eq!(before, asked("d", saga(0)));
    store.commit(starts(mine, 1, 0..1)).await.unwrap();
    let while_it_runs = effect("4", at(4), cancel("d")).await;
    assert_eq!(while_it_runs, asked("d", saga(0)));
    let mut ended = batch(mine, 1);
    ended.sagas = vec![saga_row(0, Status::Completed)];
    store.commit(ended).await.unwrap();
    assert_eq!(
        nothing(effect("5", at(5), cancel("d")).await),
        Some(saga(0))
    );
    assert_eq!(effect("4", at(6), cancel("d")).await, while_it_runs);
    // the one that was started last
    effect("6", at(30), keyed(saga(1), at(40))).await;
    let last = effect("7", at(31), cancel("d")).await;
    assert_eq!(last, asked("d", saga(1)));
    // another definition's keys are its own; in one call, too
    let start = Planned::Start {
        of: of("e"),
        saga: saga(5),
        key: Some(Claim {
            key: "k".to_owned(),
            until: at(90),
        }),
    };
    let both = vec![
        arrival("8", at(50), vec![start]),
        arrival("9", at(50), vec![cancel("e"), cancel("d")]),
    ];
    let both = tables.take_in(both).await.unwrap();
    let two = [asked("e", saga(5)), asked("d", saga(1))];
    assert_eq!(both[1].effects, two);
    // all of it is to be carried out, and is kept as it was said
    let kept = tables.undone(0, 99).await.unwrap();
    let ids: Vec<&str> = kept.iter().map(|row| row.event.id.as_str()).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(kept[8], both[1]);
    assert_eq!(nothing(kept[4].effects[0].clone()), Some(saga(0)));
    subject.close(store).await;
}

/// A trigger that refused an event and looks at it again may cancel by it: whom the key leads to then.
pub async fn a_trigger_that_looks_again_may_cancel(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let tables = subject.triggers(&store);
    let refused = Planned::Refused {
        of: of("d"),
        error: "`key` gives nothing".to_owned(),
    };
    let first = arrival("1", at(1), vec![refused]);
    let kept = tables.take_in(vec![first]).await.unwrap();
    assert!(matches!(kept[0].effects[0], Effect::Refused { .. }));
    let start = arrival("2", at(2), vec![keyed(saga(0), at(20))]);
    tables.take_in(vec![start]).await.unwrap();
    let mut again = arrival("1", at(3), vec![cancel("d")]);
    again.again = vec![of("d")];
    let looked = tables.take_in(vec![again]).await.unwrap();
    assert!(
        matches!(&looked[0].effects[..], [Effect::AskedToCancel { saga: of, .. }] if *of == saga(0)),
        "{looked:?}"
    );
    assert!(!looked[0].done);
    subject.close(store).await;
}

/// A saga that could not be started gives its key back, and only its own.
pub async fn a_key_is_released_by_its_holder_alone(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let tables = subject.triggers(&store);
    let taken = tables
        .take_in(vec![arrival("1", at(1), vec![keyed(saga(1), at(9))])])
        .await
        .unwrap();
    let release = |of_saga| {
        vec![Settled {
            seq: taken[0].seq,
            effects: Vec::new(),
            released: vec![("d".to_owned(), "k".to_owned(), of_saga)],
        }]
    };
    tables.settle(release(saga(2))).await.unwrap();
    let held = tables
        .take_in(vec![arrival("2", at(2), vec![keyed(saga(3), at(9))])])
        .await
        .unwrap();
    assert!(matches!(held[0].effects[0], Effect::Joined { .. }));
    tables.settle(release(saga(1))).await.unwrap();
    let free = tables
        .take_in(vec![arrival("3", at(3), vec![keyed(saga(3), at(9))])])
        .await
        .unwrap();
    assert!(matches!(free[0].effects[0], Effect::Started { .. }));
    subject.close(store).await;
}

/// Kept events are found by type and by prefix, oldest first, in pages.
pub async fn kept_events_are_found_by_type_and_age(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let tables = subject.triggers(&store);
    let kinds = ["com.a", "com.a.b", "com.a.b", "com.ab", "com.a.c.d", "com"];
    let all = kinds
        .iter()
        .zip(1u64..)
        .map(|(kind, n)| Arrival {
            event: event(&n.to_string(), kind),
            at: at(n),
            planned: Vec::new(),
            awaited: false,
            again: Vec::new(),
        })
        .collect();
    tables.take_in(all).await.unwrap();
    let ids = async |pattern: &str, from, after, limit| {
        let kept = tables
            .kept(EventPattern::new(pattern).unwrap(), at(from), after, limit)
            .await
            .unwrap();
        kept.into_iter()
            .map(|row| row.event.id)
            .collect::<Vec<String>>()
    };
    assert_eq!(ids("com.a.b", 0, None, 10).await, ["2", "3"]);
    assert_eq!(ids("com.a.b", 3, None, 10).await, ["3"]);
    assert_eq!(ids("com.a.*", 0, None, 10).await, ["2", "3", "5"]);
    assert_eq!(ids("com.a.*", 0, None, 2).await, ["2", "3"]);
    let second = tables
        .kept(EventPattern::new("com.a.b").unwrap(), at(0), None, 1)
        .await
        .unwrap();
    let after = Some((second[0].received_at, second[0].seq));
    assert_eq!(ids("com.a.b", 0, after, 10).await, ["3"]);
    assert_eq!(ids("com.a.*", 0, after, 10).await, ["3", "5"]);
    subject.close(store).await;
}

/// What is old and done is taken out in small bites; what is not done stays however old.
pub async fn only_what_is_done_is_purged(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let tables = subject.triggers(&store);
    let mut all: Vec<Arrival> = (1..=5u64)
        .map(|n| arrival(&n.to_string(), at(n), Vec::new()))
        .collect();
    all[0].planned = vec![keyed(saga(0), at(2))];
    tables.take_in(all).await.unwrap();
    assert!(tables.purge(at(5), at(5), 2).await.unwrap(), "more to do");
    assert!(!tables.purge(at(5), at(5), 2).await.unwrap());
    let kept = tables
        .kept(EventPattern::new("com.example.a").unwrap(), at(0), None, 10)
        .await
        .unwrap();
    let kept: Vec<&str> = kept.iter().map(|row| row.event.id.as_str()).collect();
    assert_eq!(kept, ["1", "5"]);
    // the key's saga runs: it stays; then it goes
    store.commit(starts(mine, 1, 0..1)).await.unwrap();
    assert!(!tables.purge(at(5), at(9), 1).await.unwrap());
    let mut ended = batch(mine, 1);
    ended.sagas = vec![saga_row(0, Status::Completed)];
    store.commit(ended).await.unwrap();
    assert!(tables.purge(at(5), at(9), 1).await.unwrap());
    subject.close(store).await;
}

/// Schedules are replaced whole; bindings come and go.
pub async fn schedules_and_bindings_are_kept(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let tables = subject.triggers(&store);
    let mut row = ScheduleRow {
        definition: "d".to_owned(),
        name: "0 2 * * * UTC".to_owned(),
        trigger: 3,
        after: at(7),
        last_at: None,
        last_saga: None,
        paused: false,
        skipped: 0,
        skipped_at: None,
        skipped_why: None,
    };
    tables.put_schedule(row.clone()).await.unwrap();
    row.trigger = 1;
    row.skipped = 2;
    row.skipped_at = Some(at(8));
    row.skipped_why = Some("it ran".to_owned());
    row.last_at = Some(at(9));
    row.last_saga = Some(saga(1));
    row.paused = true;
    tables.put_schedule(row.clone()).await.unwrap();
    let other = ScheduleRow {
        name: "0 3 * * * UTC".to_owned(),
        ..row.clone()
    };
    tables.put_schedule(other.clone()).await.unwrap();
    assert_eq!(
        tables.schedules().await.unwrap(),
        [row.clone(), other.clone()]
    );
    let gone = tables.remove_schedule(other.definition, other.name);
    gone.await.unwrap();
    assert_eq!(tables.schedules().await.unwrap(), [row]);
    for (pattern, bound) in [("b", true), ("a", true), ("b", true), ("b", false)] {
        tables
            .note_binding(pattern.to_owned(), bound)
            .await
            .unwrap();
    }
    assert_eq!(tables.bindings().await.unwrap(), ["a"]);
    subject.close(store).await;
}

/// A saga is known once it started, and active until it ends.
pub async fn a_saga_is_active_until_it_ends(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let tables = subject.triggers(&store);
    assert_eq!(tables.is_active(saga(0)).await.unwrap(), None);
    store.commit(starts(mine, 1, 0..1)).await.unwrap();
    assert_eq!(tables.is_active(saga(0)).await.unwrap(), Some(true));
    let mut ended = batch(mine, 1);
    ended.sagas = vec![saga_row(0, Status::Compensated)];
    store.commit(ended).await.unwrap();
    assert_eq!(tables.is_active(saga(0)).await.unwrap(), Some(false));
    subject.close(store).await;
}
