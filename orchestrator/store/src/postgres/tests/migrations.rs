//! Databases of earlier versions, with something in every table: opening one brings it to this version, and everything in it can be read and gone on with. What is in them is
//! what a real orchestrator of about that version kept in a file; both kinds of store have always had the same tables but for how they are indexed.

use baton_driver::Store as _;
use rusqlite::Connection;
use rusqlite::types::Value;
use tokio_postgres::Client;

use super::{FreshDatabase, together};
use crate::postgres::columns::{digest, label_key};
use crate::postgres::open::{make_as_of, version_known};
use crate::read::DeadLetterFilter;
use crate::reader::Reader as _;
use crate::suite::Subject;
use crate::suite::migrated::{Before, sagas_fold, what_lies_beside_them_is_read};
use crate::suite::samples::{batch, dead_letter};

/// For each version of the tables here, the version of those in a file that has the same, and a dump of it. Whoever adds a migration adds a line.
const FIXTURES: [(u32, &str); 13] = [
    (6, include_str!("../../sqlite/tests/fixtures/version_6.sql")),
    (6, include_str!("../../sqlite/tests/fixtures/version_6.sql")),
    (7, include_str!("../../sqlite/tests/fixtures/version_7.sql")),
    (8, include_str!("../../sqlite/tests/fixtures/version_8.sql")),
    (9, include_str!("../../sqlite/tests/fixtures/version_9.sql")),
    (
        10,
        include_str!("../../sqlite/tests/fixtures/version_10.sql"),
    ),
    (
        11,
        include_str!("../../sqlite/tests/fixtures/version_11.sql"),
    ),
    (
        12,
        include_str!("../../sqlite/tests/fixtures/version_12.sql"),
    ),
    (
        13,
        include_str!("../../sqlite/tests/fixtures/version_13.sql"),
    ),
    (
        14,
        include_str!("../../sqlite/tests/fixtures/version_14.sql"),
    ),
    (
        15,
        include_str!("../../sqlite/tests/fixtures/version_15.sql"),
    ),
    (
        15,
        include_str!("../../sqlite/tests/fixtures/version_15.sql"),
    ),
    (
        16,
        include_str!("../../sqlite/tests/fixtures/version_16.sql"),
    ),
];

/// What both kinds of store have, where their version has it.
const TABLES: [&str; 28] = [
    "partitions",
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
    "definitions",
    "task_types",
    "counts",
    "events",
    "keys",
    "schedules",
    "bindings",
    "tokens",
    "suspects",
    "dead_operations",
    "dead_edits",
    "dead_group_hours",
    "audit",
    "alerts",
    "dead_history",
    "dead_arrivals",
    "reservations",
];

/// Columns that can be written, with their types.
const COLUMNS: &str = "SELECT column_name::text, data_type::text FROM information_schema.columns
    WHERE table_schema = current_schema() AND table_name = $1 AND is_generated = 'NEVER' AND data_type NOT LIKE 'timestamp%'
    ORDER BY ordinal_position";

/// What a file counts otherwise, and the numbers that are given next.
const ROUNDED_OFF: &str = "DELETE FROM counts WHERE name = 'log_rows';
    UPDATE partitions p SET log_rows = (SELECT count(*) FROM records r WHERE r.partition = p.id);
    SELECT setval(pg_get_serial_sequence('sagas', 'number'), (SELECT max(number) FROM sagas));
    SELECT setval(pg_get_serial_sequence('events', 'seq'), (SELECT max(seq) FROM events));";

/// What migrations reckon from what they find; each query answers how much of it is wrong.
const RECKONED: [(&str, &str); 4] = [
    (
        "hours of groups beside the dead letters of that hour",
        "WITH counted AS (SELECT grp, coalesce(died_at, at) / 3600000 AS hour, partition, count(*) AS n FROM dead_letters WHERE state = 'dead' GROUP BY 1, 2, 3),
            kept AS (SELECT grp, hour, partition, n FROM dead_group_hours WHERE n <> 0)
         SELECT (SELECT count(*) FROM (SELECT * FROM counted EXCEPT SELECT * FROM kept) a)
            + (SELECT count(*) FROM (SELECT * FROM kept EXCEPT SELECT * FROM counted) b)",
    ),
    (
        "states of letters off the count",
        "SELECT count(*) FROM (SELECT 'letters.' || state AS name, count(*) AS n FROM dead_letters GROUP BY state) d
         WHERE n <> coalesce((SELECT sum(c.n) FROM counts c WHERE c.name = d.name), 0)",
    ),
    (
        "letters that died again, and not when their history says",
        "SELECT count(*) FROM dead_letters d WHERE died_again > 0
            AND died_at IS DISTINCT FROM (SELECT max(h.at) FROM dead_history h WHERE h.letter = d.id AND h.what = 'died')",
    ),
    (
        "letters without a group",
        "SELECT count(*) FROM dead_letters WHERE grp = ''",
    ),
];

#[tokio::test]
async fn a_database_of_every_version_is_opened_and_all_in_it_can_be_read_and_gone_on_with() {
    for (number, (of_file, fixture)) in (1..).zip(FIXTURES) {
        let version = format!("version {number}");
        let mut subject = FreshDatabase::new().await;
        let mut client = subject.database.client().await;
        make_as_of(&mut client, number).await.unwrap();
        let file = Connection::open_in_memory().unwrap();
        file.execute_batch(fixture).unwrap();
        let before = Before::of(&file, of_file);
        fill(&client, &file).await;
        drop(file);

        let (mut store, partition) = subject.open().await;
        assert_eq!(together(&client).await, Vec::<String>::new(), "{version}");
        sagas_fold(&subject, &mut store, partition.id, &before, &version).await;
        what_lies_beside_them_is_read(&subject, &store, &before, &version).await;
        for table in [
            "saga_labels",
            "keys",
            "task_types",
            "unserved",
            "dead_edits",
            "dead_history",
            "dead_arrivals",
        ] {
            let rows = count(&client, &format!("SELECT count(*) FROM {table}")).await;
            let rows = usize::try_from(rows).unwrap();
            assert_eq!(rows, before.rows(table), "{version}: {table}");
        }
        reckoned(&client, &version).await;

        // one batch more, by what the migrations have made of its function
        let mut next = batch(partition, before.rows("records") as u64);
        next.dead_letters = vec![dead_letter(1)];
        store.commit(next).await.unwrap();
        let reader = subject.reader(&store);
        let letters = reader.dead_letters(DeadLetterFilter::default(), None, 500);
        let letters = letters.await.unwrap().rows.len();
        assert_eq!(letters, before.rows("dead_letters") + 1, "{version}");
        reckoned(&client, &version).await;
        subject.close(store).await;
    }
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn reckoned(client: &Client, version: &str) {
    for (what, sql) in RECKONED {
        let sql = format!("SELECT ({sql})::bigint");
        assert_eq!(count(client, &sql).await, 0, "{version}: {what}");
    }
}

#[test]
fn there_is_a_database_of_every_version() {
    assert_eq!(FIXTURES.len(), version_known() as usize);
}

/// Writes what is in a file, as whoever wrote into these tables did it: what their triggers would reckon is in the file already.
async fn fill(client: &Client, file: &Connection) {
    let silent = "SET session_replication_role TO replica";
    client.batch_execute(silent).await.unwrap();
    for table in TABLES {
        let columns = client.query(COLUMNS, &[&table]).await.unwrap();
        let columns: Vec<(String, String)> =
            columns.iter().map(|row| (row.get(0), row.get(1))).collect();
        if columns.is_empty() {
            continue;
        }
        for row in rows_of(file, table) {
            let sql = insert(table, &columns, &row);
            let done = client.batch_execute(&sql).await;
            done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
    }
    client.batch_execute(ROUNDED_OFF).await.unwrap();
    let numbers = "SELECT count(*) FROM pg_class WHERE relname = 'reservation_numbers'";
    if count(client, numbers).await > 0 {
        let sql = "SELECT n FROM reservation_numbers";
        let last: i64 = file.query_row(sql, [], |row| row.get(0)).unwrap();
        let sql = format!("SELECT setval('reservation_numbers', {last})");
        client.batch_execute(&sql).await.unwrap();
    }
    let silent = "SET session_replication_role TO DEFAULT";
    client.batch_execute(silent).await.unwrap();
}

/// A column of a row of a file, by its name.
type Cell = (String, Value);

fn rows_of(file: &Connection, table: &str) -> Vec<Vec<Cell>> {
    let mut all = file.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let names: Vec<String> = all.column_names().into_iter().map(str::to_owned).collect();
    let read = all.query_map([], |row| {
        let named = names.iter().enumerate();
        named
            .map(|(place, name)| Ok((name.clone(), row.get(place)?)))
            .collect::<rusqlite::Result<Vec<Cell>>>()
    });
    read.unwrap().map(Result::unwrap).collect()
}

fn value<'a>(row: &'a [Cell], name: &str) -> Option<&'a Value> {
    let found = row.iter().find(|(of, _)| of == name);
    found.map(|(_, value)| value)
}

fn text<'a>(row: &'a [Cell], name: &str) -> &'a str {
    match value(row, name) {
        Some(Value::Text(text)) => text,
        other => panic!("{name} is no text: {other:?}"),
    }
}

/// The statement that writes a row: what both have as it is, and what only a database has, as it derives it.
fn insert(table: &str, columns: &[(String, String)], row: &[Cell]) -> String {
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (name, of) in columns {
        let written = value(row, name).map(|value| literal(value, of));
        if let Some(written) = written.or_else(|| derived(table, name, row)) {
            names.push(name.as_str());
            values.push(written);
        }
    }
    format!(
        "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE VALUES ({})",
        names.join(", "),
        values.join(", ")
    )
}

fn literal(value: &Value, of: &str) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) if of == "boolean" => (*number != 0).to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => quoted(text),
        Value::Blob(bytes) if of == "uuid" => format!("'{}'::uuid", hex(bytes)),
        Value::Blob(bytes) => blob(bytes),
        Value::Real(number) => panic!("no store keeps {number}"),
    }
}

/// What the tables of a database have beside those of a file.
fn derived(table: &str, column: &str, row: &[Cell]) -> Option<String> {
    match (table, column) {
        ("sagas", "label_keys") => {
            let labels: std::collections::BTreeMap<String, String> =
                serde_json::from_str(text(row, "labels")).unwrap();
            let keys = labels.iter().map(|(name, value)| label_key(name, value));
            let keys: Vec<String> = keys.map(|key| format!("'{key}'")).collect();
            Some(format!("ARRAY[{}]::uuid[]", keys.join(", ")))
        }
        ("saga_labels", "key") => {
            let key = label_key(text(row, "name"), text(row, "value"));
            Some(format!("'{key}'::uuid"))
        }
        ("events", "digest") => Some(blob(&digest(&[text(row, "source"), text(row, "id")]))),
        ("keys", "digest") => Some(blob(&digest(&[text(row, "key")]))),
        ("work_items", "kind") => {
            let item: serde_json::Value = serde_json::from_str(text(row, "item")).unwrap();
            item["kind"].as_str().map(quoted)
        }
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn blob(bytes: &[u8]) -> String {
    format!("'\\x{}'::bytea", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
