//! Ten thousand items through the real loop and the real file: what the last thousand reports have written is what the first thousand had, to a fifth. Counted, not timed: rows, records
//! and bytes that the driver hands to the store, and pages that SQLite writes. Prints its figures: `cargo nextest run -p baton-store -E 'binary(many_items)' --no-capture`.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]
#![expect(clippy::print_stdout, reason = "figures belong in its output")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use baton_driver::{
    Batch, CommitError, DefinitionRow, Driver, InDoubt, Loaded, Options, Outgoing, Outlet, OwedRow,
    Recovered, Sent, Store, StoreError, SubscriptionRow, Work,
};
use baton_engine::{Command, Definition, Input};
use baton_messages::{
    Effect, Finished, InboxKey, InputId, Manifest, RetryDefaults, RunId, SagaId, Start, StepId,
    Task, TaskMessage, TaskResult, TaskType, Timestamp, WorkerId,
};
use baton_store::{SqliteOptions, SqliteStore};
use serde_json::json;
use uuid::Uuid;

const ITEMS: usize = 10_000;
/// Reports that are compared.
const SHARE: usize = 1_000;
/// Items under way at once, and reports that are committed together.
const PARALLEL: usize = 20;
/// How much more the last may cost, in hundredths of the first.
const MOST: u64 = 120;
/// The same of pages: a tree of ten thousand rows is a level deeper than an empty one.
const PAGES_MOST: u64 = 150;
/// A page of the file as SQLite makes them, with its head in the log.
const FRAME_BYTES: u64 = 4_096 + 24;

/// What was written.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    commits: u64,
    rows: u64,
    records: u64,
    bytes: u64,
    /// Rows beside the log: of the saga, its snapshots, what is to be sent again.
    others: u64,
    pages: u64,
}

impl Written {
    fn since(self, earlier: Self) -> Self {
        Self {
            commits: self.commits - earlier.commits,
            rows: self.rows - earlier.rows,
            records: self.records - earlier.records,
            bytes: self.bytes - earlier.bytes,
            others: self.others - earlier.others,
            pages: self.pages - earlier.pages,
        }
    }
}

/// The store, and what it was given.
struct Counting {
    store: SqliteStore,
    wal: PathBuf,
    written: Written,
}

impl Counting {
    fn count(&mut self, batch: &Batch) {
        let written = &mut self.written;
        written.commits += 1;
        written.rows += batch.rows.len() as u64;
        for row in &batch.rows {
            written.records += row.entry.records.len() as u64;
            written.bytes += serde_json::to_vec(&row.entry).unwrap().len() as u64;
        }
        for row in &batch.snapshots {
            written.bytes += serde_json::to_vec(&row.state).unwrap().len() as u64;
        }
        let others = [
            batch.sagas.len(),
            batch.cold.len(),
            batch.snapshots.len(),
            batch.unsent_add.len(),
            batch.unsent_remove.len(),
            batch.owed_add.len(),
            batch.owed_remove.len(),
            batch.work_items.len(),
            batch.unserved_add.len(),
            batch.unserved_remove.len(),
            batch.subscriptions.len(),
            batch.reservations.len(),
        ];
        written.others += others.iter().sum::<usize>() as u64;
    }

    /// The log of the file is not moved into it here: its length tells what was written.
    fn written(&self) -> Written {
        let bytes = std::fs::metadata(&self.wal).unwrap().len();
        Written {
            pages: bytes / FRAME_BYTES,
            ..self.written
        }
    }
}

impl Store for Counting {
    async fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        self.count(&batch);
        self.store.commit(batch).await
    }

    async fn load(&mut self, sagas: Vec<SagaId>) -> Result<Vec<Loaded>, StoreError> {
        self.store.load(sagas).await
    }

    async fn recover(&mut self, partition: u8) -> Result<Recovered, StoreError> {
        self.store.recover(partition).await
    }

    async fn in_doubt(
        &mut self,
        partition: u8,
        after: u64,
        limit: usize,
    ) -> Result<InDoubt, StoreError> {
        self.store.in_doubt(partition, after, limit).await
    }

    async fn owed(
        &mut self,
        partition: u8,
        lane: String,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Result<Vec<OwedRow>, StoreError> {
        self.store.owed(partition, lane, after, limit).await
    }

    async fn cold_due(
        &mut self,
        partition: u8,
        until: Timestamp,
        limit: usize,
    ) -> Result<(Vec<SagaId>, Option<Timestamp>), StoreError> {
        self.store.cold_due(partition, until, limit).await
    }

    async fn unserved(
        &mut self,
        partition: u8,
        task_type: TaskType,
        after: Option<SagaId>,
        limit: usize,
    ) -> Result<Vec<SagaId>, StoreError> {
        self.store
            .unserved(partition, task_type, after, limit)
            .await
    }

    async fn subscribers(
        &mut self,
        kind: String,
        after: Option<(SagaId, StepId)>,
        limit: usize,
    ) -> Result<Vec<SubscriptionRow>, StoreError> {
        self.store.subscribers(kind, after, limit).await
    }

    async fn put_definition(&mut self, row: DefinitionRow) -> Result<bool, StoreError> {
        self.store.put_definition(row).await
    }

    async fn definitions(&mut self) -> Result<Vec<DefinitionRow>, StoreError> {
        self.store.definitions().await
    }

    async fn put_manifest(&mut self, manifest: Manifest, at: Timestamp) -> Result<(), StoreError> {
        self.store.put_manifest(manifest, at).await
    }

    async fn manifests(&mut self) -> Result<Vec<Manifest>, StoreError> {
        self.store.manifests().await
    }
}

/// An outlet that only collects.
#[derive(Default)]
struct Tray(Vec<Outgoing>);

impl Outlet for Tray {
    fn publish(&mut self, commands: Vec<Outgoing>) {
        self.0.extend(commands);
    }
}

fn manifest() -> Manifest {
    Manifest {
        task_type: TaskType::new("test.set@1").unwrap(),
        summary: "sets something on a host".into(),
        input: json!({ "type": "object" }),
        output: json!({}),
        effect: Effect::Reversible,
        idempotent: true,
        before_image: false,
        undo: true,
        probe: true,
        dry_run: false,
        lock: None,
        timeout_ms_default: 10_000,
        timeout_ms_max: 60_000,
        settle_ms: 0,
        retry: RetryDefaults::default(),
        needs: Vec::new(),
        examples: Vec::new(),
    }
}

fn definition() -> Definition {
    let yaml = format!(
        "saga: many\nversion: 1\nsteps:\n  - id: each\n    task: test.set@1\n    for_each: ${{ input.hosts }}\n    max_items: {ITEMS}\n    max_parallel: {PARALLEL}\n    with: {{ host: \"${{ item }}\", at: \"${{ index }}\" }}\n"
    );
    Definition::parse(&yaml).unwrap()
}

fn start(saga: SagaId) -> Work {
    let hosts: Vec<String> = (0..ITEMS).map(|n| format!("host-{n:05}")).collect();
    let start = Start {
        id: InputId(Uuid::from_u128(1)),
        saga,
        definition: "many".into(),
        version: Some(1),
        input: json!({ "hosts": hosts }),
        labels: Default::default(),
        by: "test".into(),
    };
    Work::Saga {
        token: 1,
        saga,
        input: Box::new(Input::Start(start)),
    }
}

fn finished(task: &Task, at: Timestamp) -> Work {
    let report = Finished {
        of: task.of.clone(),
        run: RunId(task.of.message_id().0),
        worker: WorkerId::new("w").unwrap(),
        started: true,
        sole: true,
        result: TaskResult::Succeeded {
            output: json!({ "host": task.of.item, "done": true }),
        },
        before: None,
        progress: None,
        started_at: at,
        finished_at: at,
    };
    Work::Saga {
        token: 2,
        saga: task.of.saga,
        input: Box::new(Input::TaskFinished(report)),
    }
}

/// The loop, and the tasks that are out.
struct Rig {
    driver: Driver<Counting, Tray>,
    out: VecDeque<Task>,
    now: u64,
}

impl Rig {
    async fn open(file: &Path) -> Self {
        let options = SqliteOptions {
            wal_autocheckpoint_pages: u32::MAX >> 1,
            ..SqliteOptions::default()
        };
        let store = SqliteStore::open(file, options).unwrap();
        let options = Options::new(0, store.partition().epoch, InboxKey::of(0));
        let mut wal = file.as_os_str().to_owned();
        wal.push("-wal");
        let store = Counting {
            store,
            wal: wal.into(),
            written: Written::default(),
        };
        let now = 1_000_000;
        let at = Timestamp(now);
        let mut driver = Driver::recover(store, Tray::default(), options, at)
            .await
            .unwrap();
        driver.bus_is_up(at);
        driver
            .put_definition(definition(), "test", at)
            .await
            .unwrap();
        driver.announce(manifest(), at).await.unwrap().unwrap();
        Self {
            driver,
            out: VecDeque::new(),
            now,
        }
    }

    /// One turn; what leaves is confirmed at once.
    async fn turn(&mut self, work: Vec<Work>) {
        self.now += 10;
        let at = Timestamp(self.now);
        self.driver.turn(work, at, 42).await.unwrap();
        let left = std::mem::take(&mut self.driver.outlet().0);
        let sent = left.iter().map(|one| (one.ticket, Sent::Confirmed));
        self.driver.sent(sent.collect());
        for one in left {
            if let Command::Dispatch(message) = one.command {
                let TaskMessage::Task(task) = *message;
                self.out.push_back(task);
            }
        }
    }

    /// So many reports, as many at once as items are under way; what was written for them.
    async fn reports(&mut self, count: usize) -> Written {
        let before = self.driver.store().written();
        for _ in 0..count / PARALLEL {
            let at = Timestamp(self.now);
            let tasks = self.out.drain(..PARALLEL);
            let work = tasks.map(|task| finished(&task, at)).collect();
            self.turn(work).await;
        }
        self.driver.store().written().since(before)
    }
}

fn is_no_dearer(what: &str, first: u64, last: u64, most: u64) {
    assert!(first > 0, "no {what} were counted");
    assert!(
        last * 100 <= first * most,
        "the last {SHARE} reports cost {last} {what}, the first {first}"
    );
}

#[tokio::test]
async fn the_last_thousand_of_ten_thousand_items_write_what_the_first_did() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("baton.db");
    let mut rig = Rig::open(&file).await;
    let saga = SagaId(Uuid::from_u128(7));
    rig.turn(vec![start(saga)]).await;
    assert_eq!(rig.out.len(), PARALLEL, "the first window");

    let first = rig.reports(SHARE).await;
    rig.reports(ITEMS - 2 * SHARE).await;
    let last = rig.reports(SHARE).await;
    println!("first {SHARE} of {ITEMS} items: {first:?}\nlast {SHARE}: {last:?}");
    assert!(rig.out.is_empty(), "{} tasks are out", rig.out.len());
    is_no_dearer("commits", first.commits, last.commits, MOST);
    is_no_dearer("rows", first.rows, last.rows, MOST);
    is_no_dearer("records", first.records, last.records, MOST);
    is_no_dearer("bytes", first.bytes, last.bytes, MOST);
    is_no_dearer("pages", first.pages, last.pages, PAGES_MOST);
    // its row when it ends, and nothing for each report
    assert!(last.others <= first.others + 2, "{first:?} {last:?}");

    let written = rig.driver.store().written();
    rig.driver.into_store().store.close().await.unwrap();
    let there = rusqlite::Connection::open(&file).unwrap();
    let (rows, ended): (i64, i64) = there
        .query_row(
            "SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM sagas WHERE ended_at IS NOT NULL)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let counted = i64::try_from(written.rows).unwrap();
    assert_eq!(rows, counted, "what was counted is what is there");
    assert_eq!(ended, 1, "it has completed");
}
