//! Rows to test with: as plain as can be, all different by a number.

use std::collections::BTreeMap;

use baton_driver::{
    Batch, DeadLetterRow, DefinitionRow, LogRow, Owed, OwedRow, PurgeRow, Purged, SagaRow,
    SnapshotRow, UnsentRow,
};
use baton_engine::record::AttemptKey;
use baton_engine::state::SNAPSHOT_VERSION;
use baton_engine::work_item::{Choice, WorkItemKind};
use baton_engine::{Entry, Record, SagaState, Status, WorkItem};
use baton_messages::{
    AttemptRef, DeadReason, Direction, Effect, Event, Failure, InputId, Manifest, RetryDefaults,
    RunId, SagaId, Slice, StepId, TaskResult, TaskType, Timestamp,
};
use serde_json::json;
use uuid::Uuid;

use crate::Partition;

/// When the tests' sagas begin.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// The n-th saga: its id says nothing of n, as with derived ids.
#[must_use]
pub fn saga(n: u32) -> SagaId {
    SagaId(Uuid::from_u128(
        u128::from(n)
            .wrapping_add(1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
    ))
}

/// An instant, so many milliseconds after the tests begin.
#[must_use]
pub const fn at(ms: u64) -> Timestamp {
    Timestamp(EPOCH_MS + ms)
}

/// A batch with nothing in it.
#[must_use]
pub fn batch(partition: Partition, watermark: u64) -> Batch {
    Batch {
        partition: partition.id,
        epoch: partition.epoch,
        watermark,
        ..Batch::default()
    }
}

/// A saga's first entry: two records.
#[must_use]
pub fn started(n: u32) -> Entry {
    let id = InputId(Uuid::from_u128(u128::from(n)));
    let records = vec![
        Record::Started {
            definition: "move-port".to_owned(),
            version: 3,
            input: json!({ "port": "ge-0/0/1", "text": "line\nbreak \"quoted\" \u{1f980} \u{0}", "deep": [[1, -2.5, null], {}] }),
            labels: labels(n),
            by: "tests".to_owned(),
            id,
            deadline_at: Some(at(900_000)),
            steps: vec![step("move")],
        },
        Record::Offered {
            of: key(1),
            dispatch: 1,
            last_moment: at(60_000),
            unasked: None,
            pivot: false,
        },
    ];
    Entry {
        at: at(u64::from(n)),
        records,
    }
}

/// A later entry of so many records.
#[must_use]
pub fn later(n: u32, records: u32) -> Entry {
    let record = |i| match i % 3 {
        0 => Record::Noted {
            what: format!("note {n}.{i}"),
        },
        1 => Record::Reported {
            of: key(n),
            run: RunId(Uuid::from_u128(u128::from(i))),
            sole: true,
            started: true,
            ran_ms: Some(40),
            worker: None,
            result: TaskResult::Failed(Failure {
                code: "busy".to_owned(),
                message: "the switch is busy".to_owned(),
                retryable: true,
                retry_after_ms: Some(250),
            }),
        },
        _ => Record::StatusChanged {
            to: Status::Running,
        },
    };
    Entry {
        at: at(1_000 + u64::from(n)),
        records: (0..records).map(record).collect(),
    }
}

/// A row of the log.
#[must_use]
pub const fn row(log_seq: u64, saga: SagaId, saga_seq: u64, entry: Entry) -> LogRow {
    LogRow {
        log_seq,
        saga,
        saga_seq,
        entry,
    }
}

/// A saga's own row.
#[must_use]
pub fn saga_row(n: u32, status: Status) -> SagaRow {
    SagaRow {
        saga: saga(n),
        slice: Slice::of(saga(n)),
        definition: if n.is_multiple_of(2) {
            "move-port".to_owned()
        } else {
            "quarantine-host".to_owned()
        },
        version: 3,
        status,
        paused: n.is_multiple_of(5),
        labels: labels(n),
        by: "tests".to_owned(),
        started_at: at(u64::from(n / 3)),
        changed_at: at(u64::from(n)),
        ended_at: status.ended().then(|| at(5_000)),
        purged: None,
    }
}

/// That a saga's records up to that place lie elsewhere, and may be taken out if it ended before the tests' sagas did and a moment.
#[must_use]
pub fn purge(n: u32, log_seq: u64) -> PurgeRow {
    PurgeRow {
        saga: saga(n),
        log_seq,
        ended_before: at(5_001),
        purged: Purged {
            at: at(9_000),
            archive: Some(format!("2026/11/{n}.jsonl.gz")),
        },
    }
}

/// A batch in which so many sagas start, the first row at `log_seq`.
#[must_use]
pub fn starts(partition: Partition, log_seq: u64, sagas: std::ops::Range<u32>) -> Batch {
    let mut all = batch(partition, 0);
    for (place, n) in (log_seq..).zip(sagas) {
        all.rows.push(row(place, saga(n), 0, started(n)));
        all.sagas.push(saga_row(n, Status::Running));
    }
    all
}

/// A snapshot that covers so many records; `mark` tells one from another.
#[must_use]
pub fn snapshot(n: u32, seq: u64, mark: &str) -> SnapshotRow {
    let mut state = SagaState::new(saga(n));
    state.seq = seq;
    state.status = Status::Running;
    state.by = mark.to_owned();
    state.input = json!({ "mark": mark });
    SnapshotRow {
        saga: saga(n),
        seq,
        version: SNAPSHOT_VERSION,
        state: Box::new(state),
    }
}

/// A task to be sent again.
#[must_use]
pub fn unsent(n: u32, attempt: u32, since_ms: u64) -> UnsentRow {
    UnsentRow {
        of: attempt_ref(n, attempt),
        since: at(since_ms),
    }
}

/// An event of the n-th saga, to be published again.
#[must_use]
pub fn owed_event(n: u32, since_ms: u64) -> OwedRow {
    let kind = format!("a.b{}", n % 2);
    let event = Event {
        specversion: "1.0".to_owned(),
        id: Uuid::from_u128(u128::from(n)).to_string(),
        source: "/tests".to_owned(),
        kind: kind.clone(),
        subject: None,
        time: None,
        datacontenttype: None,
        dataschema: None,
        data: Some(json!({ "text": "line\nbreak \u{1f980} \u{0}", "n": n })),
        data_base64: None,
        extensions: BTreeMap::new(),
    };
    let what = Owed::Event(Box::new(event));
    OwedRow {
        id: what.id(saga(n)),
        saga: saga(n),
        lane: format!("event/{kind}\u{1}\u{0}"),
        since: at(since_ms),
        what: Some(what),
    }
}

/// One sending.
#[must_use]
pub fn attempt_ref(n: u32, attempt: u32) -> AttemptRef {
    AttemptRef {
        saga: saga(n),
        step: step("move"),
        item: None,
        direction: Direction::Do,
        round: 1,
        attempt,
        dispatch: 1,
    }
}

/// An open work item.
#[must_use]
pub fn work_item(number: u32) -> WorkItem {
    WorkItem {
        number,
        kind: WorkItemKind::UndoFailed,
        step: Some(step("move").into()),
        owner: "network".to_owned(),
        title: "the port could not be moved back".to_owned(),
        failure: None,
        choices: vec![Choice::Retry, Choice::ResolveUndone],
        opened_at: at(u64::from(number) * 10),
        assignee: None,
        due_at: None,
        escalate: Vec::new(),
        escalated: 0,
        taken: None,
        said: Vec::new(),
    }
}

/// The same, given to somebody until then.
#[must_use]
pub fn assigned_item(number: u32, assignee: Option<&str>, due: Option<u64>) -> WorkItem {
    WorkItem {
        assignee: assignee.map(str::to_owned),
        due_at: due.map(at),
        ..work_item(number)
    }
}

/// A dead letter whose bytes are no text.
#[must_use]
pub fn dead_letter(n: u32) -> DeadLetterRow {
    DeadLetterRow {
        id: Uuid::from_u128(0xdead_0000 + u128::from(n)),
        at: at(u64::from(n)),
        reason: DeadReason::Undecodable,
        error: "expected value at line 1".to_owned(),
        queue: "baton.inbox.00".to_owned(),
        exchange: "baton.inbox".to_owned(),
        key: "00".to_owned(),
        message_id: n.is_multiple_of(2).then(|| format!("message-{n}")),
        kind: None,
        saga: n.is_multiple_of(2).then(|| saga(n)),
        properties: json!({ "headers": { "x-delivery-count": 10 } }),
        body: vec![0, 255, b'{', 0, 128],
    }
}

/// A definition.
#[must_use]
pub fn definition(name: &str, version: u32, source: &str) -> DefinitionRow {
    DefinitionRow {
        name: name.to_owned(),
        version,
        source: source.to_owned(),
        at: at(1),
        by: "tests".to_owned(),
    }
}

/// A manifest.
#[must_use]
pub fn manifest(task_type: &str, summary: &str) -> Manifest {
    Manifest {
        task_type: kind(task_type),
        summary: summary.to_owned(),
        input: json!({ "type": "object" }),
        output: json!(true),
        effect: Effect::None,
        idempotent: true,
        before_image: false,
        undo: false,
        probe: false,
        dry_run: false,
        lock: None,
        timeout_ms_default: 1_000,
        timeout_ms_max: 60_000,
        settle_ms: 0,
        retry: RetryDefaults {
            attempts: 3,
            backoff_ms: 100,
            factor: 2.0,
            max_ms: 1_000,
        },
        needs: Vec::new(),
        examples: Vec::new(),
    }
}

/// A task type by name.
#[must_use]
pub fn kind(name: &str) -> TaskType {
    TaskType::new(name).expect("a task type's name")
}

fn step(name: &str) -> StepId {
    StepId::new(name).expect("a step's name")
}

fn key(attempt: u32) -> AttemptKey {
    AttemptKey {
        step: step("move").into(),
        direction: Direction::Do,
        round: 1,
        attempt,
    }
}

fn labels(n: u32) -> BTreeMap<String, String> {
    let host = ("host".to_owned(), format!("host-{}", n % 4));
    let site = ("site".to_owned(), "berlin".to_owned());
    if n.is_multiple_of(7) {
        BTreeMap::new()
    } else {
        BTreeMap::from([host, site])
    }
}
