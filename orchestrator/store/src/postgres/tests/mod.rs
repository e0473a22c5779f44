//! What only this store has to show, beside the suite: who owns it, what a lost connection means, the plans of its queries, the death of its server.

mod faults;
mod migrations;
mod moving;
mod numbers;
mod opening;
mod ownership;
mod plans;
mod slow;
mod undecodable;

use baton_harness::{Database, Postgres};

use super::{
    PostgresAlerts, PostgresAudit, PostgresLetters, PostgresOptions, PostgresReader,
    PostgresReservations, PostgresStore, PostgresSuspects, PostgresTokens, PostgresTriggers,
};
use crate::read::Counts;
use crate::suite::Subject;
use crate::{Partition, Reader as _};

crate::store_suite!(FreshDatabase::new().await);

/// A store in a database of its own, gone with it.
pub(crate) struct FreshDatabase {
    pub(crate) database: Database,
    reader: Option<PostgresReader>,
}

impl FreshDatabase {
    pub(crate) async fn new() -> Self {
        Self::on(&Postgres::shared().await).await
    }

    pub(super) async fn on(server: &Postgres) -> Self {
        Self {
            database: server.database().await,
            reader: None,
        }
    }

    pub(super) fn options(&self) -> PostgresOptions {
        PostgresOptions {
            url: self.database.url(),
            lease_ms: 3_000,
            ..PostgresOptions::default()
        }
    }
}

impl Subject for FreshDatabase {
    type Store = PostgresStore;
    type Tokens = PostgresTokens;
    type Triggers = PostgresTriggers;
    type Suspects = PostgresSuspects;
    type Letters = PostgresLetters;
    type Audit = PostgresAudit;
    type Alerts = PostgresAlerts;
    type Reservations = PostgresReservations;
    type Reader = PostgresReader;

    async fn open(&mut self) -> (PostgresStore, Partition) {
        let store = PostgresStore::open(&self.options()).await.unwrap();
        let partition = store.partition();
        self.reader = Some(store.reader());
        (store, partition)
    }

    async fn close(&mut self, store: PostgresStore) {
        store.close().await.unwrap();
        let client = self.database.client().await;
        assert_eq!(together(&client).await, Vec::<String>::new());
    }

    fn tokens(&self, store: &PostgresStore) -> PostgresTokens {
        store.tokens()
    }

    fn letters(&self, store: &PostgresStore) -> PostgresLetters {
        store.letters()
    }

    fn reservations(&self, store: &PostgresStore) -> PostgresReservations {
        store.reservations()
    }

    fn alerts(&self, store: &PostgresStore) -> PostgresAlerts {
        store.alerts()
    }

    fn audit(&self, store: &PostgresStore) -> PostgresAudit {
        store.audit()
    }

    fn suspects(&self, store: &PostgresStore) -> PostgresSuspects {
        store.suspects()
    }

    fn reader(&self, store: &PostgresStore) -> PostgresReader {
        store.reader()
    }

    fn triggers(&self, store: &PostgresStore) -> PostgresTriggers {
        store.triggers()
    }

    async fn counts(&self) -> Counts {
        self.reader.as_ref().unwrap().counts().await.unwrap()
    }
}

/// What has to be true of the tables together; each query answers how many rows break it.
const TOGETHER: [(&str, &str); 12] = [
    (
        "log rows without a saga",
        "SELECT count(*) FROM records r WHERE NOT EXISTS (SELECT 1 FROM sagas s WHERE s.number = r.saga)",
    ),
    (
        "log rows beside a dense log",
        "SELECT coalesce(sum(off), 0)::bigint FROM (SELECT abs(max(log_seq) - count(*)) AS off FROM records
            WHERE NOT EXISTS (SELECT 1 FROM sagas WHERE purged_at IS NOT NULL) GROUP BY partition) t",
    ),
    (
        "watermarks past the log",
        "SELECT count(*) FROM partitions p WHERE watermark > coalesce((SELECT max(log_seq) FROM records r WHERE r.partition = p.id), 0)
            AND NOT EXISTS (SELECT 1 FROM sagas s WHERE s.partition = p.id AND purged_at IS NOT NULL)",
    ),
    (
        "sagas purged by half",
        "SELECT count(*) FROM sagas s WHERE purged_at IS NOT NULL AND (active OR ended_at IS NULL OR labels <> '{}'
            OR EXISTS (SELECT 1 FROM records r WHERE r.saga = s.number) OR EXISTS (SELECT 1 FROM snapshots n WHERE n.saga = s.id)
            OR EXISTS (SELECT 1 FROM work_items w WHERE w.saga = s.id))",
    ),
    (
        "purged sagas off the count",
        "SELECT abs((SELECT count(*) FROM sagas WHERE purged_at IS NOT NULL) - coalesce((SELECT sum(n) FROM counts WHERE name = 'purged'), 0))::bigint",
    ),
    (
        "labels off their sagas",
        "SELECT (SELECT count(*) FROM saga_labels l WHERE NOT EXISTS
            (SELECT 1 FROM sagas s WHERE s.id = l.saga AND s.started_at = l.started_at AND l.key = ANY (s.label_keys)))
         + (SELECT count(*) FROM sagas s, unnest(s.label_keys) k (key) WHERE NOT EXISTS
            (SELECT 1 FROM saga_labels l WHERE l.key = k.key AND l.saga = s.id AND l.started_at = s.started_at))",
    ),
    (
        "sagas off the count",
        "SELECT coalesce(sum(abs(n - (SELECT count(*) FROM sagas s WHERE 'saga.' || s.status = c.name AND s.partition = c.partition AND s.purged_at IS NULL))), 0)::bigint
         FROM counts c WHERE name LIKE 'saga.%'",
    ),
    (
        "log rows off the count",
        "SELECT coalesce(sum(abs(log_rows - (SELECT count(*) FROM records r WHERE r.partition = p.id))), 0)::bigint FROM partitions p",
    ),
    (
        "unsent rows off the count",
        "SELECT abs((SELECT count(*) FROM unsent) - coalesce((SELECT sum(n) FROM counts WHERE name = 'unsent'), 0))::bigint",
    ),
    (
        "owed rows off the count",
        "SELECT abs((SELECT count(*) FROM owed) - coalesce((SELECT sum(n) FROM counts WHERE name = 'owed'), 0))::bigint",
    ),
    (
        "open work items off the count",
        "SELECT abs((SELECT count(*) FROM work_items WHERE closed_at IS NULL)
            - coalesce((SELECT sum(n) FROM counts WHERE name = 'work_items_open'), 0))::bigint",
    ),
    (
        "work items that belong to others than their rows say",
        // the database reads no JSON with a NUL in it, and nothing but this test asks it to
        "SELECT count(*) FROM work_items WHERE CASE WHEN strpos(item, '\\u0000') > 0 THEN false ELSE
            assignee <> coalesce(item::jsonb ->> 'assignee', '') OR due_at IS DISTINCT FROM (item::jsonb ->> 'due_at')::bigint
            OR escalated <> CASE WHEN item::jsonb ? 'taken' THEN 0 ELSE coalesce((item::jsonb ->> 'escalated')::bigint, 0) END END",
    ),
];

/// Everything that does not hang together, in sentences.
pub(super) async fn together(client: &tokio_postgres::Client) -> Vec<String> {
    let mut wrong = Vec::new();
    for (what, sql) in TOGETHER {
        let number: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        if number != 0 {
            wrong.push(format!("{number} {what}"));
        }
    }
    wrong
}
