//! No query of a reader looks at a whole table: SQLite's own plan of each is read.

use baton_driver::Store;
use rusqlite::Connection;

use super::TempStore;
use crate::letters::LetterState;
use crate::read::DeadLetterFilter;
use crate::sqlite::{
    alerts, audit, letters, load, owed, purge, queries, reservations, subscriptions, tokens,
    triggers,
};
use crate::statements;
use crate::suite::Subject;
use crate::suite::samples::starts;

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

/// Tables with a row for each definition, task type, schedule, binding, token, figure or partition, or for each message that may have killed a process.
const SMALL: [&str; 10] = [
    "definitions",
    "task_types",
    "schedules",
    "bindings",
    "tokens",
    "counts",
    "partitions",
    "suspects",
    "moved",
    "reservation_numbers",
];

/// What looks at a whole table on purpose.
const WHOLE: [&str; 5] = [
    // for people who ask how many there are
    "queries::EVENTS_COUNT",
    // once, when somebody begins to look at the waiting
    "reservations::TIDY",
    // an export is all of it
    "moving::UNSERVED",
    "moving::SUBSCRIPTIONS",
    "moving::KEYS",
];

/// Of these the largest number is one step, also where SQLite does not say along what: they are few, or it is their own order.
const NUMBERED: [&str; 3] = ["p", "partitions", "audit"];

/// What SQLite says it will do.
fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let values = vec![rusqlite::types::Value::Null; statement.parameter_count()];
    let lines = statement
        .query_map(rusqlite::params_from_iter(values), |row| {
            row.get::<_, String>(3)
        })
        .unwrap();
    lines.map(Result::unwrap).collect()
}

fn readers_queries() -> Vec<String> {
    let along = [
        queries::Along::Start,
        queries::Along::Status,
        queries::Along::Definition,
        queries::Along::Label,
    ];
    let mut all: Vec<String> = along.into_iter().map(queries::sagas).collect();
    all.push(queries::saga());
    all.extend(
        [
            queries::SAGA_LOG,
            queries::FIRST_ENTRY,
            queries::ENTRIES_AFTER,
            queries::LAST_ENTRIES,
            queries::DEFINITION,
            queries::ENDED,
            queries::LETTER_GROUPS,
            queries::LETTER_HOURS,
            queries::NEWEST_DEATH,
            queries::NEWEST_MOVE,
            queries::EDITS,
            queries::EDIT,
            queries::OPERATIONS,
            queries::OPERATION,
            queries::OPERATIONS_RUNNING,
            queries::UNSERVED_NEXT,
            queries::UNSERVED_COUNT,
            queries::UNSERVED,
            queries::work_items(true),
            queries::work_items(false),
        ]
        .map(str::to_owned),
    );
    all.extend(crate::items::filters().iter().map(queries::work_items_of));
    for (state, group) in [(false, false), (true, false), (false, true), (true, true)] {
        let filter = DeadLetterFilter {
            state: state.then_some(LetterState::Dead),
            group: group.then(|| "a".to_owned()),
            ..DeadLetterFilter::default()
        };
        let turned = DeadLetterFilter {
            oldest_first: true,
            ..filter.clone()
        };
        all.push(queries::dead_letter_heads(&turned));
        all.push(queries::dead_letters_end(&turned));
        all.push(queries::dead_letters(&filter));
        all.push(queries::dead_letters_count(&filter));
        all.push(queries::dead_letter_heads(&filter));
        all.push(queries::dead_letters_end(&filter));
        all.push(queries::dead_letters_end(&DeadLetterFilter {
            text: Some("a".to_owned()),
            ..filter
        }));
    }
    all.extend(crate::suite::audit::filters().iter().map(audit::query));
    all.extend([audit::AFTER, audit::LAST].map(str::to_owned));
    all.extend([
        queries::dead_letters_between(),
        queries::dead_letter_heads_between(),
        queries::on_their_way(),
        queries::dead_letters_of(),
        queries::dead_letters_tried(),
        queries::dead_letters_set_out(),
        queries::OPERATIONS_LEFT.to_owned(),
        queries::OPERATIONS_IN.to_owned(),
        queries::WAITING_IN.to_owned(),
        queries::WAITING.to_owned(),
        queries::LETTER_HISTORY.to_owned(),
        triggers::event(),
        triggers::undone(),
        triggers::kept(false),
        triggers::kept(true),
        triggers::events(false),
        triggers::events(true),
        triggers::ACTIVE.to_owned(),
    ]);
    all
}

#[tokio::test]
async fn every_list_runs_along_an_index() {
    let mut subject = TempStore::new();
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..100)).await.unwrap();
    let conn = Connection::open(subject.path()).unwrap();
    let taken = crate::suite::reservations::filters();
    let all = readers_queries()
        .into_iter()
        .chain(load::QUERIES.map(str::to_owned))
        .chain(subscriptions::QUERIES.map(str::to_owned))
        .chain(owed::QUERIES.map(str::to_owned))
        .chain(purge::QUERIES.map(str::to_owned))
        .chain(letters::QUERIES.map(str::to_owned))
        .chain(alerts::QUERIES.map(str::to_owned))
        .chain(reservations::QUERIES.map(str::to_owned))
        .chain(taken.iter().map(reservations::list));
    // and whatever else stands in the source
    let statements = statements::of("sqlite", &LARGE).into_iter();
    let along = statements.filter(|one| !WHOLE.contains(&one.name.as_str()));
    for sql in all.chain(along.map(|one| one.text)) {
        let steps = plan(&conn, &sql);
        assert!(!steps.is_empty(), "{sql}");
        for step in steps {
            // a subquery's own steps stand beside it
            let own = step.strip_prefix("CORRELATED ").unwrap_or(&step);
            // and what is read of one is what that has found, row by row
            let along = [
                "SEARCH ",
                "SCALAR SUBQUERY ",
                "LIST SUBQUERY ",
                "CO-ROUTINE ",
                "SCAN (subquery",
                "COMPOUND QUERY",
                "LEFT-MOST SUBQUERY",
                "UNION ALL",
            ];
            // a largest number that is looked for without an index is looked for in all of them, and called a search
            let bare = own.strip_prefix("SEARCH ").filter(|of| !of.contains(' '));
            let along = match bare {
                Some(of) => NUMBERED.contains(&of),
                None => own == "SCAN p" || along.iter().any(|start| own.starts_with(start)),
            };
            assert!(along, "`{step}` in {sql}");
            assert!(!step.contains("TEMP B-TREE"), "`{step}` in {sql}");
        }
    }
    subject.close(store).await;
}

/// Every table is known, every statement that is put together is planned, and what is left out is there to be left out.
#[tokio::test]
async fn no_table_and_no_statement_is_forgotten() {
    let mut subject = TempStore::new();
    let (store, _) = subject.open().await;
    let conn = Connection::open(subject.path()).unwrap();
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut named = conn.prepare(sql).unwrap();
    let tables = named.query_map([], |row| row.get::<_, String>(0)).unwrap();
    for name in tables.map(Result::unwrap) {
        let known = LARGE.contains(&name.as_str()) || SMALL.contains(&name.as_str());
        assert!(known, "is {name} large or small?");
    }
    let names: Vec<String> = statements::of("sqlite", &LARGE)
        .into_iter()
        .map(|one| one.name)
        .collect();
    for name in WHOLE {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
    let here = include_str!("plans.rs");
    for made in statements::made("sqlite") {
        assert!(here.contains(&made), "{made} is planned nowhere");
    }
    drop(named);
    subject.close(store).await;
}

/// The tables that are read whole hold a row for each definition, task type, schedule, binding or figure: as many as people made, whatever ran.
#[tokio::test]
async fn only_small_tables_are_read_whole() {
    let mut subject = TempStore::new();
    let (store, _) = subject.open().await;
    let conn = Connection::open(subject.path()).unwrap();
    for (sql, table) in [
        (queries::COUNTS, "counts"),
        (queries::DEFINITIONS, "definitions"),
        (load::MANIFESTS, "task_types"),
        (tokens::TOKENS, "tokens"),
        (triggers::SCHEDULES, "schedules"),
        (triggers::BINDINGS, "bindings"),
    ] {
        let steps = plan(&conn, sql);
        assert!(
            steps
                .iter()
                .all(|step| step.starts_with(&format!("SCAN {table}"))),
            "{steps:?} in {sql}"
        );
    }
    subject.close(store).await;
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
    let mut subject = TempStore::new();
    let (store, _) = subject.open().await;
    let rows = many_letters();
    let sql = format!(
        "INSERT INTO dead_letters (id, partition, at, reason, error, queue, exchange, key, properties, body, grp, state)
            WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows})
            SELECT randomblob(16), 0, n * 10, CASE WHEN n % 100000 = 7 THEN 'too-large' ELSE 'undecodable' END, 'expected value at line ' || n,
            'orders.' || (n % 7), 'orders', 'new', '{{}}', randomblob(16), 'group-' || (n % 200), CASE WHEN n % 10 = 0 THEN 'resolved' ELSE 'dead' END FROM s"
    );
    let conn = Connection::open(subject.path()).unwrap();
    conn.execute_batch(&sql).unwrap();
    drop(conn);
    let reader = subject.reader(&store);
    crate::suite::letters::are_shown_at_once(&reader, rows, UNNOTICED).await;
    let conn = Connection::open(subject.path()).unwrap();
    let sql =
        format!("UPDATE dead_letters SET body = zeroblob(1048576) WHERE at > ({rows} - 100) * 10");
    conn.execute_batch(&sql).unwrap();
    drop(conn);
    crate::suite::letters::large_bodies_are_looked_into_in_parts(&reader, rows).await;
    store.close().await.unwrap();
}
