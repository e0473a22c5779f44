//! What a dead letter is about: pool, task type, event type, definition, worker. Read out of the letter at its intake and kept beside it, so that it is found
//! by that however many there are. Pure; what a letter does not say stays empty, and one that says it wrongly says what it says.

use baton_driver::DeadLetterRow;
use baton_messages::dead::{BY_HEADER, REPLAYS_HEADER};
use baton_messages::{BODY_BYTES_MAX, topology};
use serde_json::Value;

/// Longest name that is kept: all of these stand in rows that are searched.
const NAME_BYTES_MAX: usize = 512;
/// Where queues of tasks begin.
const TASK_QUEUES: &str = "baton.task.";

/// What a letter is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facets {
    /// The pool its task was for.
    pub pool: Option<String>,
    /// The task type.
    pub task_type: Option<String>,
    /// The type of the event it is.
    pub event_type: Option<String>,
    /// The definition it asks for.
    pub definition: Option<String>,
    /// The worker that sent it, or that put it aside.
    pub worker: Option<String>,
    /// How often it had been sent back to work before it died this time.
    pub replays_before: u32,
}

/// Reads them out of a letter.
#[must_use]
pub fn facets_of(letter: &DeadLetterRow) -> Facets {
    let header = |name: &str| &letter.properties["headers"][name];
    let replays = header(REPLAYS_HEADER).as_u64().unwrap_or_default();
    let mut found = Facets {
        replays_before: u32::try_from(replays).unwrap_or(u32::MAX),
        worker: name(header(BY_HEADER)),
        ..Facets::default()
    };
    if let Some((pool, task_type)) = of_queue(&letter.queue) {
        found.pool = Some(pool);
        found.task_type = Some(task_type);
    }
    if is_event(letter) {
        found.event_type = name(&Value::from(letter.key.as_str()));
    }
    if is_ours(letter)
        && letter.body.len() <= BODY_BYTES_MAX
        && let Ok(body) = serde_json::from_slice::<Value>(&letter.body)
    {
        of_body(&body, &mut found);
    }
    found
}

/// `baton.task.<pool>.<type>`: a pool has no dot in it.
fn of_queue(queue: &str) -> Option<(String, String)> {
    let (pool, task_type) = queue.strip_prefix(TASK_QUEUES)?.split_once('.')?;
    Some((cut(pool)?, cut(task_type)?))
}

fn is_event(letter: &DeadLetterRow) -> bool {
    letter.exchange == topology::EVENTS || letter.queue == topology::TRIGGERS
}

/// Whether its body may say something to us: none of a message of others is looked into.
fn is_ours(letter: &DeadLetterRow) -> bool {
    [&letter.exchange, &letter.queue]
        .iter()
        .any(|place| place.starts_with("baton."))
        || letter
            .kind
            .as_deref()
            .is_some_and(|kind| kind.contains('@'))
}

fn of_body(body: &Value, found: &mut Facets) {
    let set = |into: &mut Option<String>, value: &Value| {
        if let Some(said) = name(value) {
            *into = Some(said);
        }
    };
    let task = &body["task@1"];
    set(&mut found.pool, &task["pool"]);
    set(&mut found.task_type, &task["task_type"]);
    for kind in ["started@1", "checkpoint@1", "finished@1"] {
        set(&mut found.worker, &body[kind]["worker"]);
        // of a batch, which one worker sends, the first says it
        set(
            &mut found.worker,
            &body["batch@1"]["reports"][0][kind]["worker"],
        );
    }
    set(&mut found.definition, &body["start@1"]["definition"]);
    set(
        &mut found.definition,
        &body["starts@1"]["starts"][0]["definition"],
    );
    if body["specversion"].is_string() {
        set(&mut found.event_type, &body["type"]);
    }
}

fn name(value: &Value) -> Option<String> {
    cut(value.as_str()?)
}

fn cut(text: &str) -> Option<String> {
    let end = text.floor_char_boundary(NAME_BYTES_MAX);
    (!text.is_empty()).then(|| text[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::suite::samples::dead_letter;

    fn letter(queue: &str, exchange: &str, key: &str, body: Value) -> DeadLetterRow {
        DeadLetterRow {
            queue: queue.to_owned(),
            exchange: exchange.to_owned(),
            key: key.to_owned(),
            body: body.to_string().into_bytes(),
            ..dead_letter(1)
        }
    }

    #[test]
    fn a_letter_says_what_it_is_about() {
        let task = letter("baton.task.north.net.ping@1", "baton.tasks", "", json!(1));
        let found = facets_of(&task);
        assert_eq!(found.pool.as_deref(), Some("north"));
        assert_eq!(found.task_type.as_deref(), Some("net.ping@1"));
        let named = json!({ "task@1": { "pool": "south", "task_type": "a.b@2" } });
        let found = facets_of(&letter("", "baton.tasks", "", named));
        assert_eq!(found.pool.as_deref(), Some("south"));
        let event = letter("", "baton.events", "com.example.x", json!({}));
        assert_eq!(
            facets_of(&event).event_type.as_deref(),
            Some("com.example.x")
        );
        let report = json!({ "finished@1": { "worker": "w-1" } });
        let found = facets_of(&letter("baton.inbox.00", "baton.inbox", "00", report));
        assert_eq!(found.worker.as_deref(), Some("w-1"));
        let start = json!({ "start@1": { "definition": "d" } });
        let mut start = letter("baton.inbox.00", "baton.inbox", "00", start);
        start.properties = json!({ "headers": { "baton-replays": 2, "baton-dead-by": "o-1" } });
        let found = facets_of(&start);
        assert_eq!(found.definition.as_deref(), Some("d"));
        assert_eq!(
            (found.replays_before, found.worker.as_deref()),
            (2, Some("o-1"))
        );
    }

    #[test]
    fn a_message_of_others_is_not_looked_into() {
        let theirs = json!({ "start@1": { "definition": "d" }, "specversion": "1.0", "type": "t" });
        let mut theirs = letter("orders", "shop", "new", theirs);
        theirs.kind = Some("order".to_owned());
        assert_eq!(facets_of(&theirs), Facets::default());
    }
}
