//! A file moved into a database reads the same, goes on the same, and never twice: every question the driver and the API ask is asked of both.

use baton_driver::{ColdRow, Store, SubscriptionChange, SubscriptionRow, WorkItemRow};
use baton_engine::Status;
use baton_engine::definition::EventPattern;
use baton_messages::StepId;
use serde_json::json;

use super::{FreshDatabase, together};
use crate::audit::AuditLog as _;
use crate::letters::{Claiming, Letters as _};
use crate::moving::{MoveError, Moved, move_into};
use crate::postgres::{PostgresCluster, PostgresError, PostgresStore};
use crate::read::{DeadLetterFilter, SagaFilter};
use crate::reader::Reader;
use crate::suite::Subject;
use crate::suite::audit::asked;
use crate::suite::letters::operation;
use crate::suite::samples::{
    at, batch, dead_letter, definition, kind, later, manifest, owed_event, purge, row, saga,
    saga_row, snapshot, starts, unsent, work_item,
};
use crate::tokens::{TokenRow, TokenStore as _};
use crate::triggers::{Arrival, Claim, Planned, ScheduleRow, TriggerRef, Triggers};
use crate::{OpenError, SqliteOptions, SqliteStore};

/// A file with something in every table, most of it in flight.
async fn filled(path: &std::path::Path) -> SqliteStore {
    let mut store = SqliteStore::open(path, SqliteOptions::default()).unwrap();
    let mine = store.partition();
    for place in 0..3 {
        store
            .commit(starts(
                mine,
                1 + u64::from(place) * 300,
                place * 300..place * 300 + 300,
            ))
            .await
            .unwrap();
    }
    let mut next = batch(mine, 899);
    next.rows = vec![
        row(901, saga(0), 2, later(1, 3)),
        row(902, saga(1), 2, later(2, 1)),
    ];
    next.sagas = vec![
        saga_row(3, Status::Completed),
        saga_row(4, Status::Parked),
        saga_row(7, Status::Completed),
    ];
    next.cold = vec![
        ColdRow {
            saga: saga(5),
            cold: true,
            wake_at: Some(at(500)),
        },
        ColdRow {
            saga: saga(6),
            cold: true,
            wake_at: None,
        },
    ];
    next.snapshots = vec![snapshot(5, 2, "kept"), snapshot(6, 2, "kept")];
    next.unsent_add = vec![unsent(0, 1, 5), unsent(1, 1, 6)];
    next.owed_add = (1..40).map(|n| owed_event(n, u64::from(n))).collect();
    next.unserved_add = vec![(kind("a.b@1"), saga(1)), (kind("a.b@2"), saga(2))];
    next.work_items = (1..4)
        .map(|n| WorkItemRow::Open {
            saga: saga(4),
            item: Box::new(work_item(n)),
        })
        .collect();
    next.work_items.push(WorkItemRow::Close {
        saga: saga(4),
        number: 2,
        by: "ann".to_owned(),
        at: at(9),
    });
    next.dead_letters = (0..5).map(dead_letter).collect();
    let waits = |n: u32| SubscriptionRow {
        saga: saga(n),
        step: StepId::new("waits").unwrap(),
        event: EventPattern::new("a.b.*").unwrap(),
        since: at(u64::from(n)),
    };
    next.subscriptions = vec![
        SubscriptionChange::Add(waits(1)),
        SubscriptionChange::Add(waits(2)),
        SubscriptionChange::Searched(saga(1), StepId::new("waits").unwrap()),
    ];
    store.commit(next).await.unwrap();
    let mut gone = batch(mine, 899);
    gone.purged = vec![purge(7, 8)];
    store.commit(gone).await.unwrap();
    let letters = store.letters();
    letters.begin(operation(7)).await.unwrap();
    let claimed = letters.claim(Claiming {
        operation: operation(7).id,
        letters: vec![dead_letter(1).id],
        cursor: (at(1), dead_letter(1).id),
        at: at(2),
    });
    assert_eq!(claimed.await.unwrap().map(|taken| taken.len()), Some(1));
    letters
        .note(
            dead_letter(2).id,
            "seen".to_owned(),
            "ann".to_owned(),
            at(2),
        )
        .await
        .unwrap();
    store
        .put_definition(definition("move-port", 3, "saga: a\n"))
        .await
        .unwrap();
    store
        .put_manifest(manifest("net.resolve@1", "x"), at(1))
        .await
        .unwrap();
    let token = TokenRow {
        name: "ci".to_owned(),
        role: "viewer".to_owned(),
        hash: [7; 32],
        made_at: at(1),
        made_by: "admin".to_owned(),
        expires_at: None,
    };
    store.tokens().put_token(token).await.unwrap();
    let entries = (0..5).map(|n| asked("ci", "cancelSaga", "sagas/1", n));
    store.audit().append(entries.collect()).await.unwrap();
    let tables = store.triggers();
    tables.note_binding("a.b".to_owned(), true).await.unwrap();
    let schedule = ScheduleRow {
        definition: "d".to_owned(),
        trigger: 0,
        name: "0 2 * * * UTC".to_owned(),
        after: at(1),
        last_at: None,
        last_saga: None,
        paused: true,
        skipped: 1,
        skipped_at: Some(at(8)),
        skipped_why: Some("it ran".to_owned()),
    };
    tables.put_schedule(schedule).await.unwrap();
    tables.take_in((0..7).map(arrival).collect()).await.unwrap();
    store
}

fn arrival(n: u32) -> Arrival {
    let key = Claim {
        key: format!("k{}", n / 2),
        until: at(100),
    };
    Arrival {
        event: serde_json::from_value(
            json!({ "specversion": "1.0", "id": n.to_string(), "source": "/s", "type": "a.b" }),
        )
        .unwrap(),
        at: at(u64::from(n)),
        planned: vec![Planned::Start {
            of: TriggerRef {
                definition: "d".to_owned(),
                version: 1,
                trigger: 0,
            },
            saga: saga(2_000 + n),
            key: Some(key),
        }],
        awaited: false,
        again: Vec::new(),
    }
}

/// Everything two stores can be asked.
async fn the_same(file: &mut SqliteStore, database: &mut PostgresStore) {
    let mut a = file.recover(0).await.unwrap();
    // places are counted anew: the row that was taken out leaves no gap
    (a.watermark, a.log_seq) = (a.watermark - 1, a.log_seq - 1);
    a.in_doubt.iter_mut().for_each(|row| row.log_seq -= 1);
    assert_eq!(a, database.recover(0).await.unwrap());
    let ids: Vec<_> = (0..901).map(saga).collect();
    assert_eq!(
        file.load(ids.clone()).await.unwrap(),
        database.load(ids).await.unwrap()
    );
    assert_eq!(
        file.cold_due(0, at(900), 9).await.unwrap(),
        database.cold_due(0, at(900), 9).await.unwrap()
    );
    assert_eq!(
        file.definitions().await.unwrap(),
        database.definitions().await.unwrap()
    );
    assert_eq!(
        file.manifests().await.unwrap(),
        database.manifests().await.unwrap()
    );
    for lane in [owed_event(1, 0).lane, owed_event(2, 0).lane] {
        let (a, b) = (
            file.owed(0, lane.clone(), None, 99).await.unwrap(),
            database.owed(0, lane, None, 99).await.unwrap(),
        );
        assert!(a.len() > 15 && a == b, "{a:?}");
    }
    for task_type in ["a.b@1", "a.b@2"] {
        let (a, b) = (
            file.unserved(0, kind(task_type), None, 9).await,
            database.unserved(0, kind(task_type), None, 9).await,
        );
        assert_eq!(a.unwrap(), b.unwrap());
    }
    let (a, b) = (
        file.subscribers("a.b.c".to_owned(), None, 9).await,
        database.subscribers("a.b.c".to_owned(), None, 9).await,
    );
    assert_eq!(a.unwrap(), b.unwrap());
    assert_eq!(
        file.tokens().tokens().await.unwrap(),
        database.tokens().tokens().await.unwrap()
    );
    let (a, b) = (file.audit(), database.audit());
    let rows = a.rows(0, 99).await.unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows, b.rows(0, 99).await.unwrap());
    let (a, b) = (file.triggers(), database.triggers());
    assert_eq!(a.bindings().await.unwrap(), b.bindings().await.unwrap());
    assert_eq!(
        a.undone(0, 99).await.unwrap(),
        b.undone(0, 99).await.unwrap()
    );
    let (a, b) = (file.reader(), database.reader());
    let pages = async |filter: SagaFilter| {
        (
            a.sagas(filter.clone(), None, 500).await.unwrap(),
            b.sagas(filter, None, 500).await.unwrap(),
        )
    };
    let label = SagaFilter {
        label: Some(("host".to_owned(), "host-2".to_owned())),
        ..SagaFilter::default()
    };
    for filter in [SagaFilter::default(), label] {
        let (a, b) = pages(filter).await;
        assert_eq!(a, b);
    }
    assert_eq!(
        a.work_items(false, None, None, 99).await.unwrap(),
        b.work_items(false, None, None, 99).await.unwrap()
    );
    assert_eq!(
        a.dead_letters(DeadLetterFilter::default(), None, 99)
            .await
            .unwrap(),
        b.dead_letters(DeadLetterFilter::default(), None, 99)
            .await
            .unwrap()
    );
    assert_eq!(
        a.dead_operations(None, 99).await.unwrap(),
        b.dead_operations(None, 99).await.unwrap()
    );
    assert_eq!(
        a.events(None, None, 99).await.unwrap(),
        b.events(None, None, 99).await.unwrap()
    );
    assert_eq!(a.schedules().await.unwrap(), b.schedules().await.unwrap());
    let (mut a, mut b) = (a.counts().await.unwrap(), b.counts().await.unwrap());
    (a.db_bytes, b.db_bytes) = (0, 0);
    assert_eq!(a, b);
    assert_eq!(a.purged, 1);
}

const MOVED: Moved = Moved {
    sagas: 900,
    log_rows: 901,
    events: 7,
};

async fn cluster(subject: &FreshDatabase, partitions: u8) -> PostgresCluster {
    let opened = PostgresCluster::open(&subject.options(), Some(partitions), "1").await;
    opened.unwrap()
}

#[tokio::test]
async fn a_file_moved_into_a_database_is_the_same_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = filled(&folder.path().join("baton.db")).await;
    let mut subject = FreshDatabase::new().await;
    let cluster = cluster(&subject, 1).await;
    assert_eq!(
        move_into(&mut file, &cluster, |_| Vec::new())
            .await
            .unwrap(),
        MOVED
    );
    let (mut database, mine) = subject.open().await;
    the_same(&mut file, &mut database).await;
    assert_eq!(
        together(&subject.database.client().await).await,
        Vec::<String>::new()
    );

    // keys hold, events are known, new ones come after the old
    let tables = database.triggers();
    let again = tables.take_in(vec![arrival(3), arrival(7)]).await.unwrap();
    let kept = file
        .triggers()
        .take_in(vec![arrival(3), arrival(7)])
        .await
        .unwrap();
    assert_eq!(again, kept);
    let mut next = batch(mine, 901);
    next.rows = vec![row(902, saga(2), 2, later(2, 1))];
    database
        .commit(next)
        .await
        .expect("the log goes on where it ended");

    database.close().await.unwrap();
    let refused = move_into(&mut file, &cluster, |_| Vec::new()).await;
    assert!(
        matches!(refused, Err(MoveError::Moved { .. })),
        "{refused:?}"
    );
    let other = folder.path().join("other.db");
    let mut other = SqliteStore::open(other, SqliteOptions::default()).unwrap();
    let refused = move_into(&mut other, &cluster, |_| Vec::new()).await;
    assert!(matches!(refused, Err(MoveError::NotEmpty)), "{refused:?}");
    assert_eq!(other.mark().await.unwrap(), None, "it was left as it is");
    cluster.close();
    other.close().await.unwrap();
    file.close().await.unwrap();
}

#[tokio::test]
async fn a_file_that_was_moved_is_driven_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baton.db");
    let mut file = filled(&path).await;
    let subject = FreshDatabase::new().await;
    let cluster = cluster(&subject, 4).await;
    let moved = move_into(&mut file, &cluster, |_| Vec::new()).await;
    assert_eq!(moved.unwrap(), MOVED);
    file.close().await.unwrap();
    let refused = SqliteStore::open(&path, SqliteOptions::default()).unwrap_err();
    let said = refused.to_string();
    assert!(
        matches!(&refused, OpenError::Moved { place, .. } if place == cluster.place()),
        "{said}"
    );
    // what was on its way to it lies in the inbox of the first partition, for all of them
    for partition in [0, 3] {
        let store = cluster.take(partition).await.unwrap().unwrap();
        let carried = store.carried();
        assert_eq!(carried.is_unread().await.unwrap(), partition == 0);
        carried.was_read().await.unwrap();
        assert!(!carried.is_unread().await.unwrap());
        store.close().await.unwrap();
    }
    cluster.close();
}

#[tokio::test]
async fn a_file_whose_import_came_to_nothing_is_driven_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baton.db");
    let mut file = filled(&path).await;
    let subject = FreshDatabase::new().await;
    let cluster = cluster(&subject, 4).await;
    let client = subject.database.client().await;
    let broken = "ALTER TABLE dead_history RENAME TO gone";
    client.batch_execute(broken).await.unwrap();
    let failed = move_into(&mut file, &cluster, |_| Vec::new()).await;
    assert!(
        matches!(failed, Err(MoveError::Store(_) | MoveError::Commit(_))),
        "{failed:?}"
    );
    cluster.close();
    file.close().await.unwrap();
    let file = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
    file.close().await.unwrap();
    let options = subject.options();
    let refused = PostgresCluster::open(&options, Some(4), "1").await;
    let half = matches!(&refused, Err(PostgresError::Partitions { .. }));
    assert!(half, "nobody drives what is half there");
}

/// The database may have everything: whoever imported it could not be told, or died before it had written that down.
#[tokio::test]
async fn a_file_of_which_nobody_knows_whether_it_was_moved_is_driven_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baton.db");
    let mut file = filled(&path).await;
    let subject = FreshDatabase::new().await;
    let cluster = cluster(&subject, 4).await;
    let client = subject.database.client().await;
    let late = "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'late'; END $$;
        CREATE TRIGGER late BEFORE UPDATE ON slices FOR EACH ROW WHEN (NEW.partition >= 0) EXECUTE FUNCTION late()";
    client.batch_execute(late).await.unwrap();
    let failed = move_into(&mut file, &cluster, |_| Vec::new()).await;
    assert!(
        matches!(&failed, Err(MoveError::Unsure { place, .. }) if place == cluster.place()),
        "{failed:?}"
    );
    cluster.close();
    file.close().await.unwrap();
    let refused = SqliteStore::open(&path, SqliteOptions::default()).unwrap_err();
    let said = refused.to_string();
    assert!(matches!(refused, OpenError::Moving { .. }), "{said}");

    // into another one, as that says
    let another = FreshDatabase::new().await;
    let into = self::cluster(&another, 4).await;
    let mut file = SqliteStore::open_to_move(&path, SqliteOptions::default()).unwrap();
    let moved = move_into(&mut file, &into, |_| Vec::new()).await;
    assert_eq!(moved.unwrap(), MOVED);
    into.close();
    file.close().await.unwrap();
    let refused = SqliteStore::open_to_move(&path, SqliteOptions::default()).unwrap_err();
    let said = refused.to_string();
    assert!(
        matches!(&refused, OpenError::Moved { place, .. } if place == into.place()),
        "{said}"
    );
}

#[tokio::test]
async fn keys_are_moved_however_many_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = SqliteStore::open(folder.path().join("a.db"), SqliteOptions::default()).unwrap();
    // some pages of them, each held for long
    for first in [0, 600, 1_200] {
        let arrivals = (first..first + 600).map(|n| {
            let mut one = arrival(n);
            if let Some(Planned::Start { key, .. }) = one.planned.first_mut() {
                let (key_of, until) = (format!("key-{n}"), at(1_000_000));
                *key = Some(Claim { key: key_of, until });
            }
            one
        });
        let arrivals = arrivals.collect();
        file.triggers().take_in(arrivals).await.unwrap();
    }
    let subject = FreshDatabase::new().await;
    let cluster = cluster(&subject, 1).await;
    move_into(&mut file, &cluster, |_| Vec::new())
        .await
        .unwrap();
    let kept = "SELECT count(*), count(DISTINCT key) FROM keys";
    let client = subject.database.client().await;
    let row = client.query_one(kept, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1_800, 1_800));
    cluster.close();
    file.close().await.unwrap();
}

#[tokio::test]
async fn what_is_moved_lies_where_its_slice_does_and_each_log_is_as_far_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = filled(&folder.path().join("baton.db")).await;
    let subject = FreshDatabase::new().await;
    let cluster = cluster(&subject, 4).await;
    assert_eq!(
        move_into(&mut file, &cluster, |_| Vec::new())
            .await
            .unwrap(),
        MOVED
    );

    let (layout, watermark) = (cluster.layout(), file.recover(0).await.unwrap().watermark);
    let log = file.records(0, 2_000).await.unwrap();
    for partition in 0..4 {
        let mut store = cluster.take(partition).await.unwrap().unwrap();
        let found = store.recover(partition).await.unwrap();
        let ours = log.iter().filter(|row| layout.of(row.saga) == partition);
        let published = ours.clone().filter(|row| row.log_seq <= watermark);
        let places = (published.count() as u64, ours.clone().count() as u64);
        assert_eq!((found.watermark, found.log_seq), places);
        assert!(
            places.0 < places.1 || partition > 0,
            "something is under way"
        );
        let ids: Vec<_> = (0..901).map(saga).collect();
        let ids: Vec<_> = ids
            .into_iter()
            .filter(|id| layout.of(*id) == partition)
            .collect();
        assert!(ids.len() > 100);
        assert_eq!(
            file.load(ids.clone()).await.unwrap(),
            store.load(ids).await.unwrap()
        );
        store.close().await.unwrap();
    }
    let (mut a, mut b) = (
        file.reader().counts().await.unwrap(),
        cluster.reader().counts().await.unwrap(),
    );
    (a.db_bytes, b.db_bytes) = (0, 0);
    assert_eq!(a, b);
    assert_eq!(
        together(&subject.database.client().await).await,
        Vec::<String>::new()
    );
    cluster.close();
    file.close().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_half_filled_is_driven_by_nobody() {
    let mut subject = FreshDatabase::new().await;
    let (database, _) = subject.open().await;
    assert!(database.begin_moving().await.unwrap());
    database.close().await.unwrap();
    let refused = PostgresStore::open(&subject.options())
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(refused, PostgresError::Partitions { slices: 256, .. }),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("import"), "{refused}");
}
