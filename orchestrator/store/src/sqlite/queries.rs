//! The text of what readers ask. Each runs along an index from end to end: a test reads SQLite's own plan of every one of them.

use baton_engine::Status;

use super::columns::SAGA_COLUMNS;
use crate::items::ItemFilter;
use crate::letters::LetterState;
use crate::read::{DeadLetterFilter, HEAD_BYTES_MAX, LOOKED_INTO_BYTES_MAX, SagaFilter, Way};

/// Which index a list of sagas runs along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Along {
    /// When they started.
    Start,
    /// Where they stand.
    Status,
    /// What they run.
    Definition,
    /// A label.
    Label,
}

impl Along {
    /// The index that leaves the fewest rows: a label, then a status few sagas have, then the definition.
    pub(crate) fn of(filter: &SagaFilter) -> Self {
        match (&filter.label, filter.status, &filter.definition) {
            (Some(_), _, _) => Self::Label,
            (None, Some(status), Some(_)) if status.ended() => Self::Definition,
            (None, Some(_), _) => Self::Status,
            (None, None, Some(_)) => Self::Definition,
            (None, None, None) => Self::Start,
        }
    }
}

/// Sagas whose records are there, newest first. Values: 1 and 2 the cursor, 3 and 4 the range of starts, 5 the limit, 6 status, 7 definition (null: any),
/// 8 and 9 the label (only [`Along::Label`]).
pub(crate) fn sagas(along: Along) -> String {
    let (from, at, id) = match along {
        Along::Start => ("sagas s INDEXED BY sagas_by_start", "s.started_at", "s.id"),
        Along::Status => ("sagas s INDEXED BY sagas_by_status", "s.started_at", "s.id"),
        Along::Definition => (
            "sagas s INDEXED BY sagas_by_definition",
            "s.started_at",
            "s.id",
        ),
        Along::Label => (
            "saga_labels l CROSS JOIN sagas s ON s.id = l.saga",
            "l.started_at",
            "l.saga",
        ),
    };
    let status = if along == Along::Status {
        "s.status = ?6"
    } else {
        "(?6 IS NULL OR s.status = ?6)"
    };
    let definition = if along == Along::Definition {
        "s.definition = ?7"
    } else {
        "(?7 IS NULL OR s.definition = ?7)"
    };
    let label = if along == Along::Label {
        "l.name = ?8 AND l.value = ?9"
    } else {
        "?8 IS NULL AND ?9 IS NULL"
    };
    format!(
        "SELECT {SAGA_COLUMNS} FROM {from} WHERE s.purged_at IS NULL AND {label} AND {status} AND {definition} AND ({at}, {id}) < (?1, ?2)
         AND {at} BETWEEN ?3 AND ?4 ORDER BY {at} DESC, {id} DESC LIMIT ?5"
    )
}

/// One saga's row.
pub(crate) fn saga() -> String {
    format!("SELECT {SAGA_COLUMNS} FROM sagas s WHERE s.id = ?1")
}

/// Sagas whose records may be taken out, those that ended first before the others. Values: 1 the partition, 2 and 3 the cursor, 4 before when they
/// ended, 5 the limit.
pub(crate) const ENDED: &str = "SELECT s.ended_at, s.id FROM sagas s INDEXED BY sagas_ended
    WHERE s.partition = ?1 AND s.active = 0 AND s.purged_at IS NULL AND (s.ended_at, s.id) > (?2, ?3) AND s.ended_at < ?4
    AND NOT EXISTS (SELECT 1 FROM work_items w WHERE w.saga = s.id AND w.closed_at IS NULL)
    AND NOT EXISTS (SELECT 1 FROM records r WHERE r.saga = s.number
        AND r.log_seq > (SELECT p.watermark FROM partitions p WHERE p.id = ?1))
    ORDER BY s.ended_at, s.id LIMIT ?5";

/// When the saga ended that has lain there for longest. Looks at a row for each partition.
pub(crate) const OLDEST_ENDED: &str = "SELECT min((SELECT s.ended_at FROM sagas s INDEXED BY sagas_ended
    WHERE s.partition = p.id AND s.active = 0 AND s.purged_at IS NULL AND s.ended_at > 0 ORDER BY s.ended_at LIMIT 1)) FROM partitions p";

/// How many events are kept: looks at all of them, for people who ask.
pub(crate) const EVENTS_COUNT: &str = "SELECT count(*) FROM events";

/// A saga's log.
pub(crate) const SAGA_LOG: &str = "SELECT log_seq, entry FROM records WHERE saga = (SELECT number FROM sagas WHERE id = ?1) ORDER BY saga_seq";

/// A saga's first entry.
pub(crate) const FIRST_ENTRY: &str = "SELECT entry FROM records WHERE saga = (SELECT number FROM sagas WHERE id = ?1) ORDER BY saga_seq LIMIT 1";

/// Entries of a saga from the one that holds record number ?2 + 1 on (or ends with ?2).
pub(crate) const ENTRIES_AFTER: &str = "SELECT saga_seq, entry FROM records
    WHERE saga = (SELECT number FROM sagas WHERE id = ?1)
    AND saga_seq >= (SELECT coalesce(max(saga_seq), 0) FROM records
        WHERE saga = (SELECT number FROM sagas WHERE id = ?1) AND saga_seq <= ?2)
    ORDER BY saga_seq LIMIT ?3";

/// The end of the log, last first.
pub(crate) const LAST_ENTRIES: &str = "SELECT s.id, r.entry FROM records r CROSS JOIN sagas s ON s.number = r.saga WHERE r.id > 0 ORDER BY r.id DESC LIMIT ?1";

/// The partitions there are: one.
pub(crate) const PARTITIONS: &str = "SELECT id FROM partitions ORDER BY id";

/// The next task type of a partition that sagas wait for and nobody serves, behind ?2.
pub(crate) const UNSERVED_NEXT: &str = "SELECT task_type FROM unserved WHERE partition = ?1 AND task_type > ?2 ORDER BY task_type LIMIT 1";

/// How many sagas wait for it, at most ?3.
pub(crate) const UNSERVED_COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM unserved WHERE partition = ?1 AND task_type = ?2 LIMIT ?3)";

/// The sagas of a partition that do.
pub(crate) const UNSERVED: &str =
    "SELECT task_type, saga FROM unserved WHERE partition = ?1 ORDER BY task_type, saga LIMIT ?2";

/// One definition.
pub(crate) const DEFINITION: &str = "SELECT name, version, source, registered_at, registered_by FROM definitions WHERE name = ?1 AND version = ?2";

/// Work items, oldest first. Values: 1 to 3 the cursor, 4 the limit, 5 the kind (null: any). One whose JSON is none is of any kind.
pub(crate) const fn work_items(open_only: bool) -> &'static str {
    if open_only {
        "SELECT saga, number, opened_at, item, closed_at, closed_by FROM work_items INDEXED BY work_items_open
         WHERE closed_at IS NULL AND (opened_at, saga, number) > (?1, ?2, ?3)
         AND (?5 IS NULL OR CASE WHEN json_valid(item) THEN json_extract(item, '$.kind') = ?5 ELSE 1 END) ORDER BY opened_at, saga, number LIMIT ?4"
    } else {
        "SELECT saga, number, opened_at, item, closed_at, closed_by FROM work_items INDEXED BY work_items_by_age
         WHERE (opened_at, saga, number) > (?1, ?2, ?3)
         AND (?5 IS NULL OR CASE WHEN json_valid(item) THEN json_extract(item, '$.kind') = ?5 ELSE 1 END) ORDER BY opened_at, saga, number LIMIT ?4"
    }
}

/// Open work items by whose they are and by when. Values: 1 to 3 the cursor, 4 the limit, 5 the kind, 6 whose, 7 until when they were due.
pub(crate) fn work_items_of(filter: &ItemFilter) -> String {
    crate::items::list(filter, '?')
}

const LETTER_COLUMNS: &str =
    "id, at, reason, error, queue, exchange, key, message_id, kind, saga, properties, body,
    state, grp, replays, changed_at, changed_by, why, note, action, operation, outcome, length(body), edition,
    attempt, sent_at, stage, died_again, pool, task_type, event_type, definition, worker, replays_before, died_at";
/// The same with the beginning of the body alone; of nothing SQLite has no beginning.
const HEAD_COLUMNS: &str =
    "id, at, reason, error, queue, exchange, key, message_id, kind, saga, properties, coalesce(substr(body, 1, 4096), x''),
    state, grp, replays, changed_at, changed_by, why, note, action, operation, outcome, length(body), edition,
    attempt, sent_at, stage, died_again, pool, task_type, event_type, definition, worker, replays_before, died_at";
const _: () = assert!(HEAD_BYTES_MAX == 4_096, "as HEAD_COLUMNS says");

/// Dead letters by their ids.
pub(crate) fn dead_letters_between() -> String {
    format!(
        "SELECT {LETTER_COLUMNS} FROM dead_letters WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 2"
    )
}

/// The same without most of their bodies.
pub(crate) fn dead_letter_heads_between() -> String {
    format!(
        "SELECT {HEAD_COLUMNS} FROM dead_letters WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 2"
    )
}

/// Dead letters, the one that died last first, or the other way. Values: 1 and 2 the cursor, 3 the limit, 4 and 5 the range of instants; then, null for any: 6 reason, 7 queue,
/// 8 kind, 9 saga, 10 what error or body has in it, 11 state, 12 group, 13 until when it was moved last, 14 what the error has in it, 15 pool, 16 task type,
/// 17 event type, 18 definition, 19 worker, 20 how many replays at least, 21 and 22 a label; 23 and 24 the place of the last one that is looked at; 25 ids, as a JSON list of hexadecimal digits; 26 the replay of many.
pub(crate) fn dead_letters(filter: &DeadLetterFilter) -> String {
    let (which, Way { order, .. }) = (letters_where(filter), filter.way());
    format!("SELECT {LETTER_COLUMNS} FROM {which} ORDER BY seen_at {order}, id {order} LIMIT ?3")
}

/// The same without most of their bodies.
pub(crate) fn dead_letter_heads(filter: &DeadLetterFilter) -> String {
    let (which, Way { order, .. }) = (letters_where(filter), filter.way());
    format!("SELECT {HEAD_COLUMNS} FROM {which} ORDER BY seen_at {order}, id {order} LIMIT ?3")
}

/// The place of the last letter of those that are looked at for a page: one step along the index. The same values, 3 being how many are passed over.
pub(crate) fn dead_letters_end(filter: &DeadLetterFilter) -> String {
    let (index, state, group) = letters_along(filter);
    let Way { past, order, .. } = filter.way();
    let along = format!(
        "FROM dead_letters INDEXED BY {index} WHERE {group} AND {state} AND (seen_at, id) {past} (?1, ?2) AND seen_at BETWEEN ?4 AND ?5
         ORDER BY seen_at {order}, id {order}"
    );
    if filter.text.is_none() {
        return format!("SELECT seen_at, id {along} LIMIT 1 OFFSET ?3");
    }
    // what is within comes in order and is bounded: the first that is past a bound ends it
    format!(
        "SELECT seen_at, id FROM (
             SELECT seen_at, id, row_number() OVER looked AS n, sum(bytes) OVER looked AS bytes
             FROM (SELECT seen_at, id, length(body) AS bytes {along} LIMIT ?3 + 1)
             WINDOW looked AS (ROWS UNBOUNDED PRECEDING))
         WHERE n > ?3 OR bytes >= {LOOKED_INTO_BYTES_MAX} LIMIT 1"
    )
}

/// How many of them. The same values.
pub(crate) fn dead_letters_count(filter: &DeadLetterFilter) -> String {
    format!("SELECT count(*) FROM {} AND ?3 = ?3", letters_where(filter))
}

/// The index letters are looked at along, and what it is given.
fn letters_along(filter: &DeadLetterFilter) -> (&'static str, &'static str, &'static str) {
    if !filter.ids.is_empty() {
        let state = "(?11 IS NULL OR state = ?11)";
        let group =
            "id IN (SELECT unhex(value) FROM json_each(?25)) AND (?12 IS NULL OR grp = ?12)";
        return ("sqlite_autoindex_dead_letters_1", state, group);
    }
    match (&filter.group, filter.state) {
        (Some(_), Some(LetterState::Dead)) => (
            "dead_letters_dead_by_group",
            "state = 'dead' AND ?11 = state",
            "grp = ?12",
        ),
        (Some(_), _) => (
            "dead_letters_by_group",
            "(?11 IS NULL OR state = ?11)",
            "grp = ?12",
        ),
        (None, Some(_)) => ("dead_letters_by_state", "state = ?11", "?12 IS NULL"),
        (None, None) => ("dead_letters_by_age", "?11 IS NULL", "?12 IS NULL"),
    }
}

fn letters_where(filter: &DeadLetterFilter) -> String {
    let (index, state, group) = letters_along(filter);
    let Way { past, within, .. } = filter.way();
    format!(
        "dead_letters INDEXED BY {index} WHERE {group} AND {state} AND (seen_at, id) {past} (?1, ?2) AND seen_at BETWEEN ?4 AND ?5
         AND (?6 IS NULL OR reason = ?6) AND (?7 IS NULL OR queue = ?7) AND (?8 IS NULL OR kind = ?8) AND (?9 IS NULL OR saga = ?9)
         AND (?10 IS NULL OR instr(error, ?10) > 0 OR instr(body, CAST(?10 AS BLOB)) > 0)
         AND (?13 IS NULL OR changed_at IS NULL OR changed_at <= ?13)
         AND (?14 IS NULL OR instr(error, ?14) > 0) AND (?15 IS NULL OR pool = ?15) AND (?16 IS NULL OR task_type = ?16)
         AND (?17 IS NULL OR event_type = ?17) AND (?19 IS NULL OR worker = ?19) AND (?20 IS NULL OR replays + replays_before >= ?20)
         AND (?18 IS NULL OR definition = ?18 OR EXISTS (SELECT 1 FROM sagas s WHERE s.id = dead_letters.saga AND s.definition = ?18))
         AND (?21 IS NULL OR EXISTS (SELECT 1 FROM sagas s CROSS JOIN saga_labels l
              ON l.name = ?21 AND l.value = ?22 AND l.started_at = s.started_at AND l.saga = s.id WHERE s.id = dead_letters.saga))
         AND (?23 IS NULL OR (seen_at, id) {within} (?23, ?24)) AND ?25 IS ?25 AND (?26 IS NULL OR operation = ?26)"
    )
}

/// Groups of letters that are dead, by key: from what was counted, and two steps along an index for each. Values: after which, the limit.
pub(crate) const LETTER_GROUPS: &str =
    "SELECT grp, sum(n),
    (SELECT min(d.seen_at) FROM dead_letters d INDEXED BY dead_letters_dead_by_group WHERE d.grp = h.grp AND d.state = 'dead'),
    (SELECT max(d.seen_at) FROM dead_letters d INDEXED BY dead_letters_dead_by_group WHERE d.grp = h.grp AND d.state = 'dead')
    FROM dead_group_hours h WHERE grp > ?1 GROUP BY grp ORDER BY grp LIMIT ?2";

/// How many of a group that are dead died in each hour, the last time, oldest first. Values: the group, the first hour.
pub(crate) const LETTER_HOURS: &str = "SELECT hour, sum(n) FROM dead_group_hours WHERE grp = ?1 AND hour >= ?2 GROUP BY hour ORDER BY hour";

/// When the last of the letters that stand there died, and when one of them was moved last. Values: where they stand, until when.
pub(crate) const NEWEST_DEATH: &str = "SELECT seen_at FROM dead_letters INDEXED BY dead_letters_by_state WHERE state = ?1 AND seen_at <= ?2 ORDER BY seen_at DESC LIMIT 1";
/// The same of moves.
pub(crate) const NEWEST_MOVE: &str = "SELECT changed_at FROM dead_letters INDEXED BY dead_letters_by_change WHERE state = ?1 AND changed_at <= ?2 ORDER BY changed_at DESC LIMIT 1";

/// The edited copies of a letter, without their bodies.
pub(crate) const EDITS: &str = "SELECT letter, edition, at, by, why, action, difference, properties, NULL FROM dead_edits WHERE letter = ?1 ORDER BY edition";

/// One of them, whole. Values: the letter, the edition.
pub(crate) const EDIT: &str = "SELECT letter, edition, at, by, why, action, difference, properties, body FROM dead_edits WHERE letter = ?1 AND edition = ?2";

/// Letters that set out and may not have been sent. Values: 1 of which operation, or null: of none; 2 moved before then; 3 and 4 the last one; 5 the limit.
pub(crate) fn on_their_way() -> String {
    format!(
        "SELECT {LETTER_COLUMNS} FROM dead_letters INDEXED BY dead_letters_set_out WHERE state = 'replaying' AND sent_at IS NULL AND operation IS ?1 AND changed_at < ?2
         AND (at, id) > (?3, ?4) ORDER BY at, id LIMIT ?5"
    )
}

/// Letters whose outcome is waited for. Values: 1 the last one, 2 the limit.
pub(crate) const WAITING: &str = "SELECT id, action, operation, attempt, sent_at FROM dead_letters INDEXED BY dead_letters_awaited
    WHERE state = 'replaying' AND sent_at IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2";

/// The same of one stage. Values: 1 the operation, 2 the stage, 3 the limit.
pub(crate) const WAITING_IN: &str = "SELECT id, action, operation, attempt, sent_at FROM dead_letters INDEXED BY dead_letters_awaited_by_stage
    WHERE state = 'replaying' AND sent_at IS NOT NULL AND operation = ?1 AND stage = ?2 ORDER BY sent_at LIMIT ?3";

/// The letters for which a saga minted an attempt of a step. Values: 1 the saga, 2 the step, 3 the item, or -1: of none; 4 the limit.
pub(crate) fn dead_letters_tried() -> String {
    format!(
        "SELECT {HEAD_COLUMNS} FROM dead_letters INDEXED BY dead_letters_tried WHERE saga = ?1 AND attempt IS NOT NULL AND json_extract(attempt, '$.step') = ?2
         AND coalesce(json_extract(attempt, '$.item'), -1) = ?3 LIMIT ?4"
    )
}

/// The letters of a saga that set out and may not have been sent. Values: 1 the saga, 2 the limit.
pub(crate) fn dead_letters_set_out() -> String {
    format!(
        "SELECT {HEAD_COLUMNS} FROM dead_letters INDEXED BY dead_letters_set_out WHERE state = 'replaying' AND sent_at IS NULL AND saga = ?1 AND attempt IS NULL LIMIT ?2"
    )
}

/// The letters that speak of a saga, newest first. Values: the saga, the limit.
pub(crate) fn dead_letters_of() -> String {
    format!(
        "SELECT {HEAD_COLUMNS} FROM dead_letters INDEXED BY dead_letters_by_saga WHERE saga = ?1 ORDER BY at DESC, id DESC LIMIT ?2"
    )
}

/// What happened to a letter, the last first. Values: the letter, the limit.
pub(crate) const LETTER_HISTORY: &str = "SELECT n, at, what, by, why, text, death, properties, body FROM dead_history WHERE letter = ?1 ORDER BY n DESC LIMIT ?2";

/// Replays of many, newest first. Values: 1 and 2 the cursor, 3 the limit.
pub(crate) const OPERATIONS: &str = "SELECT body, made_at, id FROM dead_operations INDEXED BY dead_operations_by_age WHERE (made_at, id) < (?1, ?2)
    ORDER BY made_at DESC, id DESC LIMIT ?3";

/// Those of them that stand there, newest first. Values: where, the limit.
pub(crate) const OPERATIONS_IN: &str = "SELECT body FROM dead_operations INDEXED BY dead_operations_by_state WHERE state = ?1 ORDER BY made_at DESC, id DESC LIMIT ?2";

/// One of them.
pub(crate) const OPERATION: &str = "SELECT body FROM dead_operations WHERE id = ?1";

/// Those that run, oldest first.
pub(crate) const OPERATIONS_RUNNING: &str = "SELECT body FROM dead_operations INDEXED BY dead_operations_by_state WHERE state = 'running' ORDER BY made_at, id";

/// Replays of many that do not run, and have letters on their way all the same.
pub(crate) const OPERATIONS_LEFT: &str = "SELECT o.body FROM dead_operations o WHERE o.state <> 'running' AND o.id IN (SELECT d.operation
    FROM dead_letters d INDEXED BY dead_letters_set_out WHERE d.state = 'replaying' AND d.sent_at IS NULL AND d.operation IS NOT NULL)";

/// What is counted: as many rows as there are partitions, times the figures.
pub(crate) const COUNTS: &str = "SELECT name, n FROM counts";

/// Definitions: all of them, which are few.
pub(crate) const DEFINITIONS: &str = "SELECT name, version, source, registered_at, registered_by FROM definitions ORDER BY name, version";

/// The word a status is filtered by.
pub(crate) fn status_word(filter: &SagaFilter) -> Option<&'static str> {
    filter.status.map(Status::as_str)
}
