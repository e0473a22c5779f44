//! What comes from a task queue, looked at before anything is done with it: a task of the type this queue is for, or a reason to park it.

use baton_bus::{DELIVERY_LIMIT, Delivery, HeaderValue};
use baton_messages::headers::{VERSION, VERSION_HEADER, version_is_known};
use baton_messages::{BODY_BYTES_MAX, DeadReason, Task, TaskMessage, TaskType};
use serde_json::error::Category;

/// The only kind there is on a task queue.
const KIND: &str = "task@1";
/// Deliveries of a message that are read as they come. So many an unlucky worker, or a restarted one, may cost it; and so many before
/// [`DELIVERY_LIMIT`] are left in which one that kills nobody is read alone, and out of the way.
const TRUSTED: u64 = 5;

/// Why a message is parked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: DeadReason,
    pub(crate) error: String,
}

fn refusal(reason: DeadReason, error: impl Into<String>) -> Refusal {
    Refusal {
        reason,
        error: error.into(),
    }
}

/// Whether a message was delivered so often that reading it may be what kills its workers. It is read alone then: all that a worker has in hand
/// when it dies is counted alike, and only what is answered before the next one is read is certainly in nobody's company.
pub(crate) const fn is_suspect(delivery: &Delivery) -> bool {
    delivery.deliveries > TRUSTED
}

/// Why a message that was delivered again and again is parked unread, if it is: only where it is the `first` that this process takes from
/// its queue. Those before it were read alone and are answered ([`is_suspect`]), so it is the one that was being read when the last worker died;
/// what lies behind the first one was in nobody's way, and its count says nothing about it.
pub(crate) fn too_often(delivery: &Delivery, first: bool) -> Option<Refusal> {
    let deliveries = delivery.deliveries;
    (first && deliveries > DELIVERY_LIMIT).then(|| {
        let error = format!(
            "delivered {deliveries} times, more than {DELIVERY_LIMIT}, and never begun: it may be what kills its workers"
        );
        refusal(DeadReason::DeliveredTooOften, error)
    })
}

/// The task in `delivery`, which came from the queue of `serves`. Whatever is in it, the worker lives: a panic is a reason to park it.
pub(crate) fn inspect(delivery: &Delivery, serves: &TaskType) -> Result<Task, Refusal> {
    let version = delivery.header(VERSION_HEADER);
    if !version_is_known(version.as_ref().map(HeaderValue::as_u64)) {
        return Err(refusal(
            DeadReason::UnknownKind,
            format!(
                "header {VERSION_HEADER} is {version:?}; this worker reads up to {VERSION}: upgrade it"
            ),
        ));
    }
    let read = || decode(&delivery.body, delivery.kind.as_deref(), serves);
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    read.unwrap_or_else(|_| {
        let error = "reading it panics; the worker's log says where";
        Err(refusal(DeadReason::Other, error))
    })
}

fn decode(body: &[u8], kind: Option<&str>, serves: &TaskType) -> Result<Task, Refusal> {
    if body.len() > BODY_BYTES_MAX {
        let bytes = body.len();
        return Err(refusal(
            DeadReason::TooLarge,
            format!("{bytes} bytes, more than {BODY_BYTES_MAX}"),
        ));
    }
    if let Some(kind) = kind.filter(|kind| *kind != KIND) {
        return Err(refusal(
            DeadReason::UnknownKind,
            format!("a `{kind}` on a task queue; this worker reads {KIND}"),
        ));
    }
    let TaskMessage::Task(task) = serde_json::from_slice(body).map_err(|error| {
        refusal(
            DeadReason::Undecodable,
            format!("no task: {}", without_content(&error)),
        )
    })?;
    if task.task_type != *serves {
        return Err(refusal(
            DeadReason::UnknownType,
            format!("a task of type {} on the queue of {serves}", task.task_type),
        ));
    }
    Ok(task)
}

/// What is wrong with a message, and where, without a word of what it says: that may be secret, and this is logged.
pub(crate) fn without_content(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Io => "cannot be read",
        Category::Syntax => "is not JSON",
        Category::Data => "has not the shape of its kind",
        Category::Eof => "ends too early",
    };
    let (line, column) = (error.line(), error.column());
    format!("it {what} (line {line}, column {column})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(body: &[u8], kind: Option<&str>) -> DeadReason {
        let serves = TaskType::new("test.echo@1").unwrap();
        decode(body, kind, &serves).unwrap_err().reason
    }

    #[test]
    fn what_is_no_task_is_refused_with_its_reason() {
        let large = vec![b' '; BODY_BYTES_MAX + 1];
        assert_eq!(reason(b"\xff\xfe", None), DeadReason::Undecodable);
        assert_eq!(reason(b"{}", Some(KIND)), DeadReason::Undecodable);
        assert_eq!(reason(b"{}", Some("task@2")), DeadReason::UnknownKind);
        assert_eq!(reason(&large, Some(KIND)), DeadReason::TooLarge);
    }

    #[test]
    fn a_refusal_says_where_and_never_what() {
        let serves = TaskType::new("test.echo@1").unwrap();
        for body in [
            &br#"{"task@1":"hunter2"}"#[..],
            br#"{"task@1":{"hunter2":1}}"#,
            br#"{"hunter2":{}}"#,
        ] {
            let said = decode(body, Some(KIND), &serves).unwrap_err().error;
            assert!(!said.contains("hunter2"), "{said}");
            assert!(said.contains("line 1, column "), "{said}");
        }
    }
}
