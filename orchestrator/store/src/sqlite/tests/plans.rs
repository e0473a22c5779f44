//! No query of a reader looks at a whole table: SQLite's own plan of each is read.

use baton_driver::Store;
use rusqlite::Connection;

use super::TempStore;
use crate::letters::LetterState;
use crate::read::DeadLetterFilter;
use crate::sqlite::{
    alerts, audit, letters, load, purge, queries, subscriptions, tokens, triggers,
};
use crate::suite::Subject;
use crate::suite::samples::starts;

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
            queries::OPERATIONS,
            queries::OPERATION,
            queries::OPERATIONS_RUNNING,
            queries::work_items(true),
            queries::work_items(false),
        ]
        .map(str::to_owned),
    );
    for (state, group) in [(false, false), (true, false), (false, true), (true, true)] {
        let filter = DeadLetterFilter {
            state: state.then_some(LetterState::Dead),
            group: group.then(|| "a".to_owned()),
            ..DeadLetterFilter::default()
        };
        all.push(queries::dead_letters(&filter));
        all.push(queries::dead_letters_count(&filter));
    }
    all.extend(crate::suite::audit::filters().iter().map(audit::query));
    all.extend([audit::AFTER, audit::LAST].map(str::to_owned));
    all.extend([
        queries::dead_letters_between(),
        queries::on_their_way(),
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
    let all = readers_queries()
        .into_iter()
        .chain(load::QUERIES.map(str::to_owned))
        .chain(subscriptions::QUERIES.map(str::to_owned))
        .chain(purge::QUERIES.map(str::to_owned))
        .chain(letters::QUERIES.map(str::to_owned))
        .chain(alerts::QUERIES.map(str::to_owned));
    for sql in all {
        let steps = plan(&conn, &sql);
        assert!(!steps.is_empty(), "{sql}");
        for step in steps {
            // a subquery's own steps stand beside it
            let own = step.strip_prefix("CORRELATED ").unwrap_or(&step);
            let along = own.starts_with("SEARCH ") || own.starts_with("SCALAR SUBQUERY ");
            assert!(along, "`{step}` in {sql}");
            assert!(!step.contains("TEMP B-TREE"), "`{step}` in {sql}");
        }
    }
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
