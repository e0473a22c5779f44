//! No query looks at a whole table, whether it was planned while the table was empty or when it is large: PostgreSQL's own plans are read, and
//! for what the hot path does the server's own count of whole tables read.

use baton_driver::{Batch, ColdRow, Store, SubscriptionChange, SubscriptionRow, WorkItemRow};
use baton_engine::definition::EventPattern;
use baton_engine::{Status, WorkItemKind};
use baton_messages::{DeadReason, StepId};
use deadpool_postgres::Object;
use tokio_postgres::SimpleQueryMessage;

use super::FreshDatabase;
use crate::letters::LetterState;
use crate::postgres::{
    alerts, audit, beside, letters, load, owed, queries, reservations, triggers,
};
use crate::read::{DeadLetterFilter, SagaFilter};
use crate::suite::Subject;
use crate::suite::samples::{
    at, attempt_ref, batch, dead_letter, kind, later, owed_event, purge, row, saga, saga_row,
    snapshot, starts, unsent, work_item,
};
use crate::{Partition, Reader as _, Triggers as _, statements};

/// What any of this may take, on a machine that is building something on every core meanwhile.
const SOON: std::time::Duration = std::time::Duration::from_secs(60);

/// Tables with as many rows as sagas ran; the others have as many as people made.
const LARGE: [&str; 20] = [
    "sagas",
    "saga_labels",
    "records",
    "snapshots",
    "unsent",
    "owed",
    "unserved",
    "subscriptions",
    "work_items",
    "dead_letters",
    "dead_operations",
    "dead_edits",
    "dead_history",
    "dead_group_hours",
    "events",
    "keys",
    "audit",
    "alerts",
    "reservations",
    "dead_arrivals",
];

/// Tables with a row for each definition, task type, schedule, binding, token, figure, member, partition or slice, or for each message that may have killed a process.
const SMALL: [&str; 11] = [
    "definitions",
    "task_types",
    "schedules",
    "bindings",
    "tokens",
    "counts",
    "members",
    "partitions",
    "slices",
    "suspects",
    "carried",
];

/// What looks at a whole table on purpose, or stops at its first row.
const WHOLE: [&str; 3] = [
    // for people who ask how many there are
    "queries::EVENTS_COUNT",
    // whether anything is there
    "cluster::UNTOUCHED",
    "moving::EMPTY",
];

/// What PostgreSQL will do with a statement it has prepared.
async fn plan(client: &Object, sql: &str) -> Vec<String> {
    let most = (1..=64)
        .rev()
        .find(|n| sql.contains(&format!("${n}")))
        .unwrap_or(0);
    let nulls = vec!["NULL"; most].join(", ");
    let values = if most == 0 {
        String::new()
    } else {
        format!("({nulls})")
    };
    client
        .batch_execute(&format!("PREPARE asked AS {sql}"))
        .await
        .unwrap_or_else(|error| panic!("{error:?} in {sql}"));
    let explained = client
        .simple_query(&format!("EXPLAIN (COSTS OFF) EXECUTE asked{values}"))
        .await
        .unwrap();
    client.batch_execute("DEALLOCATE asked").await.unwrap();
    let lines = explained.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    lines.collect()
}

fn filters() -> Vec<SagaFilter> {
    let mut all = Vec::new();
    for status in [None, Some(Status::Parked), Some(Status::Completed)] {
        for definition in [None, Some("move-port".to_owned())] {
            for label in [None, Some(("host".to_owned(), "a".to_owned()))] {
                all.push(SagaFilter {
                    status,
                    definition: definition.clone(),
                    label,
                    ..SagaFilter::default()
                });
            }
        }
    }
    all
}

fn whole_filter() -> DeadLetterFilter {
    DeadLetterFilter {
        reason: Some(DeadReason::Undecodable),
        queue: Some("a".to_owned()),
        kind: Some("a".to_owned()),
        saga: Some(saga(1)),
        text: Some("a".to_owned()),
        changed_until: Some(at(1)),
        error: Some("a".to_owned()),
        pool: Some("a".to_owned()),
        task_type: Some("a".to_owned()),
        event_type: Some("a".to_owned()),
        definition: Some("a".to_owned()),
        worker: Some("a".to_owned()),
        replays: Some(1),
        label: Some(("a".to_owned(), "b".to_owned())),
        operation: Some(uuid::Uuid::nil()),
        ..DeadLetterFilter::default()
    }
}

fn turned(filter: DeadLetterFilter) -> DeadLetterFilter {
    DeadLetterFilter {
        oldest_first: true,
        ..filter
    }
}

fn standing_filter(group: Option<&str>) -> DeadLetterFilter {
    DeadLetterFilter {
        state: Some(LetterState::Dead),
        group: group.map(str::to_owned),
        ..DeadLetterFilter::default()
    }
}

/// Everything that is asked, each with the index its list has to run along, where it is a list of sagas.
fn asked() -> Vec<(String, Option<&'static str>)> {
    let mut all = Vec::new();
    for filter in filters() {
        let along = match (&filter.label, filter.status, &filter.definition) {
            (Some(_), _, _) => "saga_labels_pkey",
            (None, Some(Status::Completed), Some(_)) => "sagas_by_definition",
            (None, Some(_), _) => "sagas_by_status",
            (None, None, Some(_)) => "sagas_by_definition",
            (None, None, None) => "sagas_by_start",
        };
        all.push((queries::sagas(&filter), Some(along)));
    }
    for filter in crate::items::filters() {
        let along = match (&filter.whose, filter.due_until, filter.escalated) {
            (_, Some(_), _) => "work_items_due",
            (_, None, true) => "work_items_escalated",
            (Some(_), None, false) => "work_items_whose",
            (None, None, false) => "work_items_open",
        };
        all.push((queries::work_items_of(&filter), Some(along)));
    }
    let texts = [
        queries::saga(),
        queries::recorded(),
        queries::event(),
        queries::known_events(),
        queries::undone(),
        queries::kept(false),
        queries::kept(true),
        queries::events(false),
        queries::events(true),
        queries::work_items(true, false),
        queries::work_items(true, true),
        queries::work_items(false, false),
        queries::work_items(false, true),
        queries::dead_letters_between(),
        queries::dead_letter_heads_between(),
        queries::dead_letters(&DeadLetterFilter::default()),
        queries::dead_letters(&whole_filter()),
        queries::dead_letters_count(&whole_filter()),
        queries::dead_letters(&standing_filter(None)),
        queries::dead_letters(&standing_filter(Some("a"))),
        queries::dead_letters_count(&standing_filter(None)),
        queries::dead_letters_count(&standing_filter(Some("a"))),
        queries::dead_letter_heads(&DeadLetterFilter::default()),
        queries::dead_letter_heads(&whole_filter()),
        queries::dead_letter_heads(&standing_filter(None)),
        queries::dead_letter_heads(&standing_filter(Some("a"))),
        queries::dead_letters_end(&DeadLetterFilter::default()),
        queries::dead_letters_end(&standing_filter(None)),
        queries::dead_letters_end(&standing_filter(Some("a"))),
        queries::dead_letters_end(&whole_filter()),
        queries::dead_letter_heads(&turned(whole_filter())),
        queries::dead_letter_heads(&turned(standing_filter(None))),
        queries::dead_letter_heads(&turned(standing_filter(Some("a")))),
        queries::dead_letters_end(&turned(whole_filter())),
        queries::dead_letters_end(&turned(standing_filter(Some("a")))),
        queries::on_their_way(),
        queries::dead_letters_of(),
        queries::dead_letters_tried(),
    ];
    let constants = [
        queries::SAGA_LOG,
        queries::FIRST_ENTRY,
        queries::ENTRIES_AFTER,
        queries::LAST_ENTRIES,
        queries::DEFINITION,
        queries::OLDEST_ENDED,
        queries::LETTER_GROUPS,
        queries::WAITING,
        queries::WAITING_IN,
        queries::LETTER_HISTORY,
        queries::LETTER_HOURS,
        queries::NEWEST_DEATH,
        queries::NEWEST_MOVE,
        queries::EDITS,
        queries::EDIT,
        queries::OPERATIONS,
        queries::OPERATIONS_IN,
        queries::OPERATION,
        queries::OPERATIONS_RUNNING,
        queries::OPERATIONS_LEFT,
        queries::UNSERVED_BY_TYPE,
        queries::UNSERVED,
    ];
    all.push((queries::ENDED.to_owned(), Some("sagas_ended")));
    all.extend(texts.into_iter().map(|sql| (sql, None)));
    all.extend(
        constants
            .into_iter()
            .chain(load::QUERIES)
            .chain(owed::QUERIES)
            .chain(triggers::QUERIES)
            .chain(letters::QUERIES)
            .chain(alerts::QUERIES)
            .chain([audit::LAST, audit::AFTER])
            .chain(reservations::QUERIES)
            .map(|sql| (sql.to_owned(), None)),
    );
    let taken = crate::suite::reservations::filters();
    all.extend(
        taken
            .iter()
            .map(|filter| (reservations::list(filter), None)),
    );
    let of_audit = crate::suite::audit::filters();
    all.extend(of_audit.iter().map(|filter| (audit::query(filter), None)));
    // and whatever else stands in the source
    let statements = statements::of("postgres", &LARGE).into_iter();
    let along = statements.filter(|one| !WHOLE.contains(&one.name.as_str()));
    all.extend(along.map(|one| (one.text, None)));
    all
}

/// Every table is known, every statement of the source is planned, and what is left out is there to be left out.
async fn nothing_is_forgotten(client: &Object) {
    let sql = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname <> 'baton_schema_history'";
    let tables = client.query(sql, &[]).await.unwrap();
    for table in tables {
        let name: String = table.get(0);
        let known = LARGE.contains(&name.as_str()) || SMALL.contains(&name.as_str());
        assert!(known, "is {name} large or small?");
    }
    let names: Vec<String> = statements::of("postgres", &LARGE)
        .into_iter()
        .map(|one| one.name)
        .collect();
    for name in WHOLE {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
    let here = include_str!("plans.rs");
    for made in statements::made("postgres") {
        assert!(here.contains(&made), "{made} is planned nowhere");
    }
}

async fn nothing_is_read_whole(client: &Object) {
    for (sql, along) in asked() {
        let lines = plan(client, &sql).await;
        let text = lines.join("\n");
        assert!(!lines.is_empty(), "{sql}");
        for table in LARGE {
            assert!(
                !text.contains(&format!("Seq Scan on {table}")),
                "{sql}\n{text}"
            );
        }
        assert!(!text.contains("Sort"), "{sql}\n{text}");
        assert!(
            along.is_none_or(|index| text.contains(index)),
            "not along {along:?}: {sql}\n{text}"
        );
        // a scan of an index has a condition: without one it is the whole table by another way
        let scans = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains("Index") && line.contains("Scan"));
        for (place, scan) in scans {
            let condition = lines[place + 1..]
                .iter()
                .take(2)
                .any(|line| line.contains("Index Cond"));
            let partial = [
                "events_undone",
                "sagas_wake",
                "dead_letters_set_out",
                "partitions_pkey",
            ]
            .iter()
            .any(|small| scan.contains(small));
            assert!(condition || partial, "`{scan}` in {sql}\n{text}");
        }
    }
}

/// As many sagas as there is time for, most of them completed, some parked.
async fn fill(client: &Object) {
    let rows = if std::env::var_os("BATON_LONG").is_some() {
        1_000_000
    } else {
        50_000
    };
    let sql = format!(
        "INSERT INTO sagas (id, partition, slice, definition, version, status, active, paused, labels, label_keys, started_by, started_at, changed_at)
            SELECT md5('saga' || n)::uuid, 0, n % 256, CASE WHEN n % 100 = 0 THEN 'rare' ELSE 'move-port' END, 1, CASE WHEN n % 1000 = 0 THEN 'parked' ELSE 'completed' END,
            n % 1000 = 0, false, '{{}}', ARRAY[md5((n % 50)::text)::uuid], 'tests', n, n FROM generate_series(1, {rows}) n;
         INSERT INTO saga_labels (key, started_at, saga) SELECT label_keys[1], started_at, id FROM sagas;
         INSERT INTO records (partition, log_seq, saga, saga_seq, entry)
            SELECT 0, row_number() OVER (), number, n, '{{}}' FROM sagas, generate_series(0, 2) n;
         INSERT INTO events (digest, type, received_at, done, effects, body)
            SELECT decode(md5(n::text), 'hex'), 'com.example.' || (n % 7), n, true, '[]', '{{}}' FROM generate_series(1, {rows} / 10) n;
         INSERT INTO work_items (partition, saga, number, opened_at, kind, owner, item, closed_at)
            SELECT 0, id, 1, started_at, 'step-failed', 'ann', '{{}}', CASE WHEN active THEN NULL ELSE 1 END FROM sagas WHERE number % 10 = 0;
         INSERT INTO dead_letters (id, partition, at, reason, error, queue, exchange, key, properties, body, grp)
            SELECT id, 0, started_at, 'undecodable', '', '', '', '', '{{}}', '', (number % 30)::text FROM sagas WHERE number % 10 = 0;
         INSERT INTO audit (seq, body, hash) SELECT n, json_build_object('at', n, 'who', 'w' || n % 9, 'action', 'a' || n % 9, 'object', 'sagas/' || n,
            'phase', CASE WHEN n % 2 = 0 THEN 'done' ELSE 'asked' END, 'of', CASE WHEN n % 2 = 0 THEN n - 1 END)::text, n::text
            FROM generate_series(1, {rows} / 5) n;
         INSERT INTO reservations (kind, name, state, ticket, saga, root, max, asked_at, held_at, fence, told)
            SELECT 'lock', 'host-' || number, CASE WHEN active THEN 'held' ELSE 'waiting' END, number, id, id, 1, started_at, CASE WHEN active THEN started_at END,
            CASE WHEN active THEN number END, CASE WHEN active THEN 2 ELSE 0 END FROM sagas WHERE number % 20 = 0;
         INSERT INTO alerts (id, key, kind, state, opened_at, revision, unsaid, body)
            SELECT id, 'parked/' || number, 'parked', CASE WHEN number % 10000 = 0 THEN 'open' ELSE 'resolved' END, started_at, 1, false, '{{}}' FROM sagas WHERE number % 20 = 0;
         INSERT INTO keys (definition, digest, key, saga, until) SELECT definition, decode(md5(number::text), 'hex'), number::text, id, started_at FROM sagas WHERE number % 10 = 0;
         INSERT INTO subscriptions (partition, saga, step, event, since, searched)
            SELECT 0, id, 'waits', 'com.example.' || (number % 7), started_at, number % 10000 <> 0 FROM sagas WHERE number % 10 = 0;
         INSERT INTO snapshots (saga, seq, version, state) SELECT id, 2, 1, '{{}}' FROM sagas WHERE number % 10 = 0;
         INSERT INTO unsent (id, partition, saga, since, attempt) SELECT id, 0, id, started_at, '{{}}' FROM sagas WHERE number % 20 = 0;
         INSERT INTO unserved (partition, task_type, saga) SELECT 0, 'a.b@' || (number % 7), id FROM sagas WHERE number % 20 = 0;
         INSERT INTO dead_history (letter, n, at, what, by, why, text) SELECT id, 1, at, 'noted', 'ann', '', '' FROM dead_letters;
         INSERT INTO dead_edits (letter, edition, at, by, why, action, difference, properties) SELECT id, 1, at, 'ann', '', id, '', '{{}}' FROM dead_letters;
         ANALYZE"
    );
    client
        .batch_execute("SET statement_timeout TO 0")
        .await
        .unwrap();
    client.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn every_list_runs_along_its_index_on_empty_tables_and_on_large_ones() {
    let mut subject = FreshDatabase::new().await;
    let (store, _) = subject.open().await;
    let client = store.beside.get().await.unwrap();
    nothing_is_forgotten(&client).await;
    nothing_is_read_whole(&client).await;
    fill(&client).await;
    nothing_is_read_whole(&client).await;
    drop(client);
    store.close().await.unwrap();
}

/// The tables that are read whole hold a row for each definition, task type, schedule, binding, token or figure: as many as people made.
#[tokio::test]
async fn only_small_tables_are_read_whole() {
    let mut subject = FreshDatabase::new().await;
    let (store, _) = subject.open().await;
    let client = store.beside.get().await.unwrap();
    for sql in [
        load::DEFINITIONS,
        load::MANIFESTS,
        beside::TOKENS,
        queries::SCHEDULES,
        triggers::BINDINGS,
        queries::COUNTS,
    ] {
        let text = plan(&client, sql).await.join("\n");
        for table in LARGE {
            assert!(!text.contains(&format!(" on {table}")), "{sql}\n{text}");
        }
    }
    drop(client);
    subject.close(store).await;
}

/// Batches that write, move and take out every kind of row.
fn all_kinds(mine: Partition) -> [Batch; 3] {
    let mut first = starts(mine, 1, 0..90);
    first.unsent_add = vec![unsent(0, 1, 5), unsent(1, 1, 5)];
    first.owed_add = vec![owed_event(1, 5), owed_event(2, 6)];
    first.unserved_add = vec![(kind("a.b@1"), saga(1))];
    first.work_items = vec![WorkItemRow::Open {
        saga: saga(2),
        item: Box::new(work_item(1)),
    }];
    first.dead_letters = vec![dead_letter(1)];
    first.snapshots = vec![snapshot(1, 2, "whole")];
    let step = StepId::new("waits").unwrap();
    first.subscriptions = vec![SubscriptionChange::Add(SubscriptionRow {
        saga: saga(3),
        step: step.clone(),
        event: EventPattern::new("a.b.*").unwrap(),
        since: at(1),
    })];
    let mut second = batch(mine, 90);
    second.rows = vec![row(91, saga(0), 2, later(1, 2))];
    second.sagas = vec![
        saga_row(0, Status::Completed),
        saga_row(4, Status::Parked),
        saga_row(50, Status::Parked),
    ];
    second.cold = vec![ColdRow {
        saga: saga(5),
        cold: true,
        wake_at: Some(at(9)),
    }];
    second.unsent_remove = vec![attempt_ref(0, 1)];
    second.owed_remove = vec![owed_event(1, 5).id];
    second.unserved_remove = vec![(kind("a.b@1"), saga(1))];
    second.work_items = vec![WorkItemRow::Close {
        saga: saga(2),
        number: 1,
        by: "ann".to_owned(),
        at: at(9),
    }];
    second.subscriptions = vec![SubscriptionChange::Searched(saga(3), step.clone())];
    let mut third = batch(mine, 91);
    third.subscriptions = vec![SubscriptionChange::Remove(saga(3), step)];
    let mut relabelled = saga_row(6, Status::Running);
    relabelled.started_at = at(77);
    third.sagas = vec![relabelled];
    third.purged = vec![purge(0, 91)];
    [first, second, third]
}

/// No session but this one is left: what each of them counted has been added up, which a session does before it is gone.
async fn sessions_ended(client: &tokio_postgres::Client) {
    let ended = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    baton_harness::await_until("the sessions to end", SOON, async || {
        client.query_one(ended, &[]).await.unwrap().get(0)
    })
    .await;
}

/// What a commit does stands in a function: the server counts how often it reads a table whole.
#[tokio::test]
async fn the_hot_path_reads_no_table_whole() {
    let mut subject = FreshDatabase::new().await;
    let client = subject.database.client().await;
    // the session that builds the tables reads them whole, and tells it when it ends: it ends before anything is counted
    let (store, _) = subject.open().await;
    subject.reader = None;
    store.close().await.unwrap();
    sessions_ended(&client).await;
    client
        .batch_execute("SELECT pg_stat_force_next_flush(); SELECT pg_stat_reset()")
        .await
        .unwrap();
    let (mut store, mine) = subject.open().await;
    // of those the commits know that they are new, and then their numbers; of the others the database is asked
    store.load((0..45).map(saga).collect()).await.unwrap();
    for batch in all_kinds(mine) {
        store.commit(batch).await.unwrap();
    }
    store.load((0..90).map(saga).collect()).await.unwrap();
    store.recover(mine.id).await.unwrap();
    store
        .unserved(mine.id, kind("a.b@1"), None, 5)
        .await
        .unwrap();
    store
        .subscribers("a.b.c".to_owned(), None, 5)
        .await
        .unwrap();
    let reader = store.reader();
    reader.ended(mine.id, at(9_000), None, 10).await.unwrap();
    reader.sagas(SagaFilter::default(), None, 10).await.unwrap();
    reader
        .work_items(true, Some(WorkItemKind::UndoFailed), None, 10)
        .await
        .unwrap();
    store.triggers().undone(0, 10).await.unwrap();
    drop(reader);
    subject.reader = None;
    store.close().await.unwrap();
    sessions_ended(&client).await;
    let counted = "SELECT idx_scan > 0 FROM pg_stat_user_tables WHERE relname = 'records'";
    let row = client.query_one(counted, &[]).await.unwrap();
    assert!(row.get::<_, bool>(0), "nothing was counted");
    let sql = "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE seq_scan > 0";
    let read: Vec<String> = client
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    for table in LARGE {
        assert!(
            !read.iter().any(|name| name == table),
            "{table} was read whole; of all: {read:?}"
        );
    }
}

/// So many letters: a million where there is time.
fn many_letters() -> u64 {
    if std::env::var_os("BATON_LONG").is_some() {
        1_000_000
    } else {
        50_000
    }
}

/// What a person may wait for without noticing it, on a machine that does something else on every core meanwhile.
const UNNOTICED: std::time::Duration = std::time::Duration::from_millis(500);

#[tokio::test]
async fn a_million_letters_are_listed_and_grouped_at_once() {
    let mut subject = FreshDatabase::new().await;
    let (store, _) = subject.open().await;
    let client = store.beside.get().await.unwrap();
    let rows = many_letters();
    let sql = format!(
        "SET statement_timeout TO 0; ALTER TABLE dead_letters DISABLE TRIGGER dead_letters_counted;
         INSERT INTO dead_letters (id, partition, at, reason, error, queue, exchange, key, properties, body, grp, state)
            SELECT md5('letter' || n)::uuid, 0, n * 10, CASE WHEN n % 100000 = 7 THEN 'too-large' ELSE 'undecodable' END, 'expected value at line ' || n,
            'orders.' || (n % 7), 'orders', 'new', '{{}}', decode(md5(n::text), 'hex'), 'group-' || (n % 200), CASE WHEN n % 10 = 0 THEN 'resolved' ELSE 'dead' END
            FROM generate_series(1, {rows}) n;
         INSERT INTO dead_group_hours (grp, hour, partition, n)
            SELECT grp, at / 3600000, partition, count(*) FROM dead_letters WHERE state = 'dead' GROUP BY 1, 2, 3;
         ALTER TABLE dead_letters ENABLE TRIGGER dead_letters_counted; ANALYZE"
    );
    client.batch_execute(&sql).await.unwrap();
    let reader = subject.reader(&store);
    crate::suite::letters::are_shown_at_once(&reader, rows, UNNOTICED).await;
    let sql = format!(
        "UPDATE dead_letters SET body = decode(repeat('00', 1048576), 'hex') WHERE at > ({rows} - 100) * 10"
    );
    client.batch_execute(&sql).await.unwrap();
    drop(client);
    crate::suite::letters::large_bodies_are_looked_into_in_parts(&reader, rows).await;
    store.close().await.unwrap();
}
