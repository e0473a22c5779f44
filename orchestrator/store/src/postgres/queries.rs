//! The text of what readers ask. Each runs along an index from end to end: a test reads PostgreSQL's own plan of every one of them.
//!
//! A condition such as `s.number > 0` holds for every row. It names the index: that one holds for such rows only, and no other list may use it.

use super::columns::SAGA_COLUMNS;
use crate::items::ItemFilter;
use crate::letters::LetterState;
use crate::read::{DeadLetterFilter, HEAD_BYTES_MAX, LOOKED_INTO_BYTES_MAX, SagaFilter, Way};

/// Which index a list of sagas runs along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Along {
    Start,
    Status,
    Definition,
    Label,
}

impl Along {
    /// The index that leaves the fewest rows: a label, then a status few sagas have, then the definition.
    const fn of(filter: &SagaFilter) -> Self {
        match (&filter.label, filter.status, &filter.definition) {
            (Some(_), _, _) => Self::Label,
            (None, Some(status), Some(_)) if status.ended() => Self::Definition,
            (None, Some(_), _) => Self::Status,
            (None, None, Some(_)) => Self::Definition,
            (None, None, None) => Self::Start,
        }
    }
}

/// Sagas whose records are there, newest first. Values: 1 and 2 the cursor, 3 and 4 the range of starts, 5 the limit; then, as far as they are asked for, label, status
/// and definition.
pub(crate) fn sagas(filter: &SagaFilter) -> String {
    let along = Along::of(filter);
    let (from, at, id) = match along {
        Along::Label => (
            "saga_labels l CROSS JOIN LATERAL (SELECT * FROM sagas WHERE id = l.saga OFFSET 0) AS s",
            "l.started_at",
            "l.saga",
        ),
        Along::Start | Along::Status | Along::Definition => ("sagas s", "s.started_at", "s.id"),
    };
    let named = match along {
        Along::Start => " AND s.number > 0 AND s.purged_at IS NULL",
        Along::Status => " AND s.slice >= 0 AND s.purged_at IS NULL",
        Along::Definition => " AND s.version >= 0 AND s.purged_at IS NULL",
        // of those that were purged the labels are gone
        Along::Label => "",
    };
    let mut place = 5;
    let mut conditions = String::new();
    for (asked, column) in [
        (filter.label.is_some(), "l.key"),
        (filter.status.is_some(), "s.status"),
        (filter.definition.is_some(), "s.definition"),
    ] {
        if asked {
            place += 1;
            conditions.push_str(&format!(" AND {column} = ${place}"));
        }
    }
    format!(
        "SELECT {SAGA_COLUMNS} FROM {from} WHERE ({at}, {id}) < ($1, $2) AND {at} BETWEEN $3 AND $4{conditions}{named}
         ORDER BY {at} DESC, {id} DESC LIMIT $5"
    )
}

/// One saga's row.
pub(crate) fn saga() -> String {
    format!("SELECT {SAGA_COLUMNS} FROM sagas s WHERE s.id = $1")
}

/// Sagas something was recorded of, partition by partition, each as it is now. Values: 1 the partitions, 2 and 3 behind which place in the log of each,
/// and up to which.
pub(crate) fn recorded() -> String {
    format!(
        "SELECT {SAGA_COLUMNS} FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS p (id, since, until)
         CROSS JOIN LATERAL (SELECT DISTINCT r.saga FROM records r
             WHERE r.partition = p.id AND r.log_seq > p.since AND r.log_seq <= p.until) AS r
         CROSS JOIN LATERAL (SELECT * FROM sagas WHERE number = r.saga OFFSET 0) AS s"
    )
}

/// Sagas whose records may be taken out, those that ended first before the others. Values: 1 the partition, 2 and 3 the cursor, 4 before when they
/// ended, 5 the limit.
pub(crate) const ENDED: &str = "SELECT s.ended_at, s.id FROM sagas s
    WHERE s.partition = $1 AND NOT s.active AND s.purged_at IS NULL AND (s.ended_at, s.id) > ($2, $3) AND s.ended_at < $4
    AND (SELECT w.number FROM work_items w WHERE w.saga = s.id AND w.closed_at IS NULL LIMIT 1) IS NULL
    AND (SELECT r.log_seq FROM records r WHERE r.saga = s.number
        AND r.log_seq > (SELECT p.watermark FROM partitions p WHERE p.id = $1) LIMIT 1) IS NULL
    ORDER BY s.ended_at, s.id LIMIT $5";

/// When the saga of a partition ended that has lain there for longest.
pub(crate) const OLDEST_ENDED: &str = "SELECT s.ended_at FROM sagas s
    WHERE s.partition = $1 AND NOT s.active AND s.purged_at IS NULL AND s.ended_at > 0 ORDER BY s.ended_at LIMIT 1";

/// How many events are kept: looks at all of them, for people who ask.
pub(crate) const EVENTS_COUNT: &str = "SELECT count(*) FROM events";

/// A saga's log.
pub(crate) const SAGA_LOG: &str = "SELECT log_seq, entry FROM records WHERE saga = (SELECT number FROM sagas WHERE id = $1) ORDER BY saga_seq";

/// A saga's first entry.
pub(crate) const FIRST_ENTRY: &str = "SELECT entry FROM records WHERE saga = (SELECT number FROM sagas WHERE id = $1) ORDER BY saga_seq LIMIT 1";

/// Entries of a saga from the one that holds record number $2 + 1 on (or ends with $2).
pub(crate) const ENTRIES_AFTER: &str = "SELECT saga_seq, entry FROM records
    WHERE saga = (SELECT number FROM sagas WHERE id = $1)
    AND saga_seq >= coalesce((SELECT saga_seq FROM records
        WHERE saga = (SELECT number FROM sagas WHERE id = $1) AND saga_seq <= $2 ORDER BY saga_seq DESC LIMIT 1), 0)
    ORDER BY saga_seq LIMIT $3";

/// How many sagas of a partition wait for each task type that nobody serves, at most $2 of each: from type to type along the index, and no further
/// into one than that.
pub(crate) const UNSERVED_BY_TYPE: &str = "WITH RECURSIVE types (task_type) AS (
        (SELECT u.task_type FROM unserved u WHERE u.partition = $1 ORDER BY u.task_type LIMIT 1)
        UNION ALL SELECT (SELECT u.task_type FROM unserved u WHERE u.partition = $1 AND u.task_type > t.task_type ORDER BY u.task_type LIMIT 1)
            FROM types t WHERE t.task_type IS NOT NULL)
    SELECT t.task_type, (SELECT count(*) FROM (SELECT 1 FROM unserved u WHERE u.partition = $1 AND u.task_type = t.task_type LIMIT $2) AS counted)
    FROM types t WHERE t.task_type IS NOT NULL";

/// The sagas that do.
pub(crate) const UNSERVED: &str = "SELECT task_type, saga FROM unserved WHERE partition = $1 ORDER BY task_type COLLATE \"C\", saga LIMIT $2";

/// The partitions there are: as many as the store was made with.
pub(crate) const PARTITIONS: &str = "SELECT id FROM partitions ORDER BY id";

/// The end of a partition's log, last first.
pub(crate) const LAST_ENTRIES: &str =
    "SELECT s.id, r.entry FROM records r JOIN sagas s ON s.number = r.saga
    WHERE r.partition = $1 ORDER BY r.log_seq DESC LIMIT $2";

/// One definition.
pub(crate) const DEFINITION: &str = "SELECT name, version, source, registered_at, registered_by FROM definitions WHERE name = $1 AND version = $2";

/// Work items, oldest first. Values: 1 to 3 the cursor, 4 the limit, 5 the kind, if one is asked for.
pub(crate) fn work_items(open_only: bool, of_kind: bool) -> String {
    let which = if open_only {
        "closed_at IS NULL"
    } else {
        "number >= 0"
    };
    let kind = if of_kind { " AND kind = $5" } else { "" };
    format!(
        "SELECT saga, number, opened_at, item, closed_at, closed_by FROM work_items
         WHERE {which} AND (opened_at, saga, number) > ($1, $2, $3){kind} ORDER BY opened_at, saga, number LIMIT $4"
    )
}

/// Open work items by whose they are and by when. Values: 1 to 3 the cursor, 4 the limit, 5 the kind, 6 whose, 7 until when they were due.
pub(crate) fn work_items_of(filter: &ItemFilter) -> String {
    crate::items::list(filter, '$')
}

const LETTER_COLUMNS: &str =
    "id, at, reason, error, queue, exchange, key, message_id, kind, saga, properties, body,
    state, grp, replays, changed_at, changed_by, why, note, action, operation, outcome, length(body)::bigint, edition,
    attempt, sent_at, stage, died_again, pool, task_type, event_type, definition, worker, replays_before, died_at";
/// The same with the beginning of the body alone.
const HEAD_COLUMNS: &str =
    "id, at, reason, error, queue, exchange, key, message_id, kind, saga, properties, substr(body, 1, 4096),
    state, grp, replays, changed_at, changed_by, why, note, action, operation, outcome, length(body)::bigint, edition,
    attempt, sent_at, stage, died_again, pool, task_type, event_type, definition, worker, replays_before, died_at";
const _: () = assert!(HEAD_BYTES_MAX == 4_096, "as HEAD_COLUMNS says");

/// Dead letters by their ids.
pub(crate) fn dead_letters_between() -> String {
    format!(
        "SELECT {LETTER_COLUMNS} FROM dead_letters WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT 2"
    )
}

/// The same without most of their bodies.
pub(crate) fn dead_letter_heads_between() -> String {
    format!(
        "SELECT {HEAD_COLUMNS} FROM dead_letters WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT 2"
    )
}

/// Dead letters, the one that died last first, or the other way. Values: 1 and 2 the cursor, 3 and 4 the range of instants, 5 the limit; then, as far as they are asked for, reason,
/// queue, kind, saga, what error or body has in it, state, group, until when it was moved last, what the error has in it, pool, task type, event type,
/// definition, worker, how many replays at least, the key of a label, the replay of many, and ids.
pub(crate) fn dead_letters(filter: &DeadLetterFilter) -> String {
    let (which, Way { order, .. }) = (letters_where(filter, 5), filter.way());
    format!(
        "SELECT {LETTER_COLUMNS} FROM {which} ORDER BY coalesce(died_at, at) {order}, id {order} LIMIT $5"
    )
}

/// The same without most of their bodies; 6 and 7 are the place of the last letter that is looked at.
pub(crate) fn dead_letter_heads(filter: &DeadLetterFilter) -> String {
    let which = letters_where(filter, 7);
    let Way { within, order, .. } = filter.way();
    format!(
        "SELECT {HEAD_COLUMNS} FROM {which} AND (coalesce(died_at, at), id) {within} ($6, $7) ORDER BY coalesce(died_at, at) {order}, id {order} LIMIT $5"
    )
}

/// The place of the last letter of those that are looked at for a page: one step along the index. Values: those of [`dead_letters`], 5 being how many are
/// passed over, and of the others state and group alone.
pub(crate) fn dead_letters_end(filter: &DeadLetterFilter) -> String {
    let along = DeadLetterFilter {
        state: filter.state,
        group: filter.group.clone(),
        oldest_first: filter.oldest_first,
        ..DeadLetterFilter::default()
    };
    let (which, Way { order, .. }) = (letters_where(&along, 5), along.way());
    if filter.text.is_none() {
        return format!(
            "SELECT coalesce(died_at, at), id FROM {which} ORDER BY coalesce(died_at, at) {order}, id {order} LIMIT 1 OFFSET $5"
        );
    }
    // how long a body is stands beside it: none is read for that
    format!(
        "SELECT seen_at, id FROM (
            SELECT seen_at, id, row_number() OVER looked AS n, sum(bytes) OVER looked AS bytes FROM (
                SELECT coalesce(died_at, at) AS seen_at, id, octet_length(body)::bigint AS bytes FROM {which}
                ORDER BY coalesce(died_at, at) {order}, id {order} LIMIT $5::bigint + 1) AS along
            WINDOW looked AS (ORDER BY seen_at {order}, id {order} ROWS UNBOUNDED PRECEDING)) AS looked
         WHERE n > $5::bigint OR bytes >= {LOOKED_INTO_BYTES_MAX} ORDER BY seen_at {order}, id {order} LIMIT 1"
    )
}

/// How many of them. The same values without the limit.
pub(crate) fn dead_letters_count(filter: &DeadLetterFilter) -> String {
    format!("SELECT count(*) FROM {}", letters_where(filter, 4))
}

fn letters_where(filter: &DeadLetterFilter, mut place: usize) -> String {
    let mut conditions = String::new();
    for (asked, condition) in [
        (filter.reason.is_some(), "reason = #"),
        (filter.queue.is_some(), "queue = #"),
        (filter.kind.is_some(), "kind = #"),
        (filter.saga.is_some(), "saga = #"),
        (
            filter.text.is_some(),
            "(position(# in error) > 0 OR position(convert_to(#, 'UTF8') in body) > 0)",
        ),
        (
            filter.state == Some(LetterState::Dead),
            "state = 'dead' AND # = 'dead'",
        ),
        (
            filter.state.is_some_and(|state| state != LetterState::Dead),
            "state = #",
        ),
        (filter.group.is_some(), "grp = #"),
        (
            filter.changed_until.is_some(),
            "coalesce(changed_at, 0) <= #",
        ),
        (filter.error.is_some(), "position(# in error) > 0"),
        (filter.pool.is_some(), "pool = #"),
        (filter.task_type.is_some(), "task_type = #"),
        (filter.event_type.is_some(), "event_type = #"),
        (
            filter.definition.is_some(),
            "(definition = # OR EXISTS (SELECT 1 FROM sagas s WHERE s.id = dead_letters.saga AND s.definition = # OFFSET 0))",
        ),
        (filter.worker.is_some(), "worker = #"),
        (filter.replays.is_some(), "replays + replays_before >= #"),
        (
            filter.label.is_some(),
            "EXISTS (SELECT 1 FROM sagas s WHERE s.id = dead_letters.saga AND # = ANY (s.label_keys) OFFSET 0)",
        ),
        (filter.operation.is_some(), "operation = #"),
        (!filter.ids.is_empty(), "id = ANY (#)"),
    ] {
        if asked {
            place += 1;
            conditions.push_str(" AND ");
            conditions.push_str(&condition.replace('#', &format!("${place}")));
        }
    }
    let past = filter.way().past;
    format!(
        "dead_letters WHERE (coalesce(died_at, at), id) {past} ($1, $2) AND coalesce(died_at, at) BETWEEN $3 AND $4{conditions}"
    )
}

/// Groups of letters that are dead, by key: from what was counted, and two steps along an index for each. Values: after which, the limit.
pub(crate) const LETTER_GROUPS: &str = "SELECT grp, sum(n)::bigint,
    coalesce((SELECT min(coalesce(d.died_at, d.at)) FROM dead_letters d WHERE d.grp = h.grp AND d.state = 'dead'), 0),
    coalesce((SELECT max(coalesce(d.died_at, d.at)) FROM dead_letters d WHERE d.grp = h.grp AND d.state = 'dead'), 0)
    FROM dead_group_hours h WHERE grp > $1 GROUP BY grp HAVING sum(n) > 0 ORDER BY grp LIMIT $2";

/// When the last of the letters that stand there died. Values: where they stand, until when.
pub(crate) const NEWEST_DEATH: &str = "SELECT coalesce(died_at, at) FROM dead_letters WHERE state = $1 AND coalesce(died_at, at) <= $2
    ORDER BY coalesce(died_at, at) DESC LIMIT 1";
/// When one of them was moved last. Values: the same.
pub(crate) const NEWEST_MOVE: &str = "SELECT changed_at FROM dead_letters WHERE state = $1 AND changed_at <= $2 ORDER BY changed_at DESC LIMIT 1";

/// How many of a group that are dead died in each hour, the last time, oldest first. Values: the group, the first hour.
pub(crate) const LETTER_HOURS: &str = "SELECT hour, sum(n)::bigint FROM dead_group_hours WHERE grp = $1 AND hour >= $2 GROUP BY hour ORDER BY hour";

/// The edited copies of a letter, without their bodies.
pub(crate) const EDITS: &str = "SELECT letter, edition, at, by, why, action, difference, properties, NULL::bytea FROM dead_edits WHERE letter = $1 ORDER BY edition";

/// One of them, whole. Values: the letter, the edition.
pub(crate) const EDIT: &str = "SELECT letter, edition, at, by, why, action, difference, properties, body FROM dead_edits WHERE letter = $1 AND edition = $2";

/// Letters that set out and may not have been sent. Values: 1 of which operation, or null: of none; 2 moved before then; 3 and 4 the last one; 5 the limit.
pub(crate) fn on_their_way() -> String {
    format!(
        "SELECT {LETTER_COLUMNS} FROM dead_letters WHERE state = 'replaying' AND sent_at IS NULL AND operation IS NOT DISTINCT FROM $1 AND changed_at < $2
         AND (at, id) > ($3, $4) ORDER BY at, id LIMIT $5"
    )
}

/// Letters whose outcome is waited for. Values: 1 the last one, 2 the limit.
pub(crate) const WAITING: &str = "SELECT id, action, operation, attempt, sent_at FROM dead_letters
    WHERE state = 'replaying' AND sent_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2";

/// The same of one stage. Values: 1 the operation, 2 the stage, 3 the limit.
pub(crate) const WAITING_IN: &str = "SELECT id, action, operation, attempt, sent_at FROM dead_letters
    WHERE state = 'replaying' AND sent_at IS NOT NULL AND operation = $1 AND stage = $2 ORDER BY sent_at LIMIT $3";

/// The letters for which a saga minted an attempt of a step, and those of it that set out and may not have been sent. Values: 1 the saga, 2 the step, 3 the
/// item, or -1: of none; 4 the limit of each.
pub(crate) fn dead_letters_tried() -> String {
    format!(
        "(SELECT {HEAD_COLUMNS} FROM dead_letters WHERE saga = $1 AND attempt IS NOT NULL AND attempt::jsonb ->> 'step' = $2
            AND coalesce((attempt::jsonb ->> 'item')::bigint, -1) = $3 LIMIT $4)
         UNION ALL (SELECT {HEAD_COLUMNS} FROM dead_letters WHERE state = 'replaying' AND sent_at IS NULL AND saga = $1 AND attempt IS NULL LIMIT $4)"
    )
}

/// The letters that speak of a saga, newest first. Values: the saga, the limit.
pub(crate) fn dead_letters_of() -> String {
    format!(
        "SELECT {HEAD_COLUMNS} FROM dead_letters WHERE saga = $1 ORDER BY at DESC, id DESC LIMIT $2"
    )
}

/// What happened to a letter, the last first. Values: the letter, the limit.
pub(crate) const LETTER_HISTORY: &str = "SELECT n, at, what, by, why, text, death, properties, body FROM dead_history WHERE letter = $1 ORDER BY n DESC LIMIT $2";

/// Replays of many, newest first. Values: 1 and 2 the cursor, 3 the limit.
pub(crate) const OPERATIONS: &str = "SELECT body, made_at, id FROM dead_operations WHERE (made_at, id) < ($1, $2) ORDER BY made_at DESC, id DESC LIMIT $3";

/// Those of them that stand there, newest first. Values: where, the limit.
pub(crate) const OPERATIONS_IN: &str =
    "SELECT body FROM dead_operations WHERE state = $1 ORDER BY made_at DESC, id DESC LIMIT $2";

/// One of them.
pub(crate) const OPERATION: &str = "SELECT body FROM dead_operations WHERE id = $1";

/// Those that run, oldest first.
pub(crate) const OPERATIONS_RUNNING: &str =
    "SELECT body FROM dead_operations WHERE state = 'running' ORDER BY made_at, id";

/// Replays of many that have letters on their way of which nobody has written down whether they were sent.
pub(crate) const OPERATIONS_LEFT: &str = "SELECT DISTINCT operation FROM dead_letters WHERE state = 'replaying' AND sent_at IS NULL AND operation IS NOT NULL";

/// What is counted: as many rows as there are partitions, times the figures.
pub(crate) const COUNTS: &str =
    "SELECT name, n FROM counts UNION ALL SELECT 'log_rows', log_rows FROM partitions
    UNION ALL SELECT 'bytes', pg_database_size(current_database())";

pub(crate) const EVENT_COLUMNS: &str = "seq, received_at, done, effects, body";

/// One event by the digest of source and id.
pub(crate) fn event() -> String {
    format!("SELECT {EVENT_COLUMNS} FROM events WHERE digest = $1")
}

/// Events that are there, with their digests.
pub(crate) fn known_events() -> String {
    format!("SELECT {EVENT_COLUMNS}, digest FROM events WHERE digest = ANY ($1)")
}

/// Events that may not be done. Values: the place after which, the limit.
pub(crate) fn undone() -> String {
    format!("SELECT {EVENT_COLUMNS} FROM events WHERE NOT done AND seq > $1 ORDER BY seq LIMIT $2")
}

/// Kept events of one type, or of all below one, oldest first. Values: 1 the type, or where the range of types begins; 2 from when; 3 and 4 the
/// cursor; 5 the limit; 6 where the range of types ends.
pub(crate) fn kept(prefix: bool) -> String {
    let kind = if prefix {
        "type > $1 AND type < $6 AND seq > 0"
    } else {
        "type = $1"
    };
    format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE {kind} AND received_at >= $2 AND (received_at, seq) > ($3, $4)
         ORDER BY received_at, seq LIMIT $5"
    )
}

/// Events, newest first. Values: 1 and 2 the cursor, 3 the limit, 4 the type where there is one.
pub(crate) fn events(of_type: bool) -> String {
    let kind = if of_type { "type = $4" } else { "seq > 0" };
    format!(
        "SELECT {EVENT_COLUMNS} FROM events WHERE {kind} AND (received_at, seq) < ($1, $2)
         ORDER BY received_at DESC, seq DESC LIMIT $3"
    )
}

/// Every schedule: as many as people wrote.
pub(crate) const SCHEDULES: &str = "SELECT definition, name, trigger_no, after, last_at, last_saga, paused, skipped, skipped_at, skipped_why
    FROM schedules ORDER BY definition, name";
