//! What comes from a task queue, looked at before anything is done with it: a task of the type this queue is for, or several, or a reason to park it. Of several
//! that came together each is looked at as if it had come alone.

use baton_bus::{AckTag, DELIVERY_LIMIT, Delivery, HeaderValue, Losses, apart, is_several};
use baton_messages::headers::{VERSION, VERSION_HEADER, version_is_known};
use baton_messages::{
    BODY_BYTES_MAX, DeadReason, Task, TaskBatch, TaskMessage, TaskType, TasksMessage,
};
use serde_json::error::Category;

/// The kind of a task that comes alone.
const KIND: &str = "task@1";
/// Deliveries after which a message is parked unread by whoever takes it, also in the middle of its life: else one that kills whoever reads it would end one
/// long-lived worker after the other. Less than the 20 at which the broker itself gives a task up, and where no policy says where to, drops it: those that are left
/// are for its neighbours, which were counted with it and are read.
const GIVEN_UP: u64 = 15;

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

/// What this process has taken from one queue so far, as far as it says how the next delivery is to be read.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    begun: bool,
    losses: Losses,
    /// The last channel on which one was parked unread.
    parked_on: Option<u64>,
}

/// How a delivery is to be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Suspected {
    /// With nothing beside it.
    pub(crate) alone: bool,
    /// Not at all, and why.
    pub(crate) refused: Option<Refusal>,
}

impl Suspicion {
    /// The next delivery of this queue, and which one of its message it is.
    pub(crate) fn next(&mut self, tag: AckTag, deliveries: u64) -> Suspected {
        self.losses.saw(tag);
        let first = !std::mem::replace(&mut self.begun, true);
        let refused = match self.parked_on {
            Some(epoch) if epoch == tag.epoch => None,
            _ => too_often(self.losses.beside(deliveries), first),
        };
        if refused.is_some() {
            self.parked_on = Some(tag.epoch);
        }
        Suspected {
            alone: self.losses.suspects(deliveries),
            refused,
        }
    }
}

/// Why a message that was delivered again and again is parked unread, if it is. `deliveries` are those that are not for channels this process lost itself: nobody died of
/// those.
///
/// Above [`DELIVERY_LIMIT`] only where it is the `first` that this process takes from its queue. Those before it were read alone and are answered (`intake.rs`), so it is the
/// one that was being read when the last worker died; what lies behind the first one was in nobody's way, and its count says nothing about it. Above [`GIVEN_UP`] in any case:
/// it has gone through more workers that were not begun anew than it may.
///
/// One on each channel at most: what was in hand with a killer is counted as it is, and lies behind it. With the first of them out of the way the others are read alone, and are
/// done.
fn too_often(deliveries: u64, first: bool) -> Option<Refusal> {
    let limit = if first { DELIVERY_LIMIT } else { GIVEN_UP };
    (deliveries > limit).then(|| {
        let error = format!(
            "delivered {deliveries} times, more than {limit}, and never begun: it may be what kills its workers"
        );
        refusal(DeadReason::DeliveredTooOften, error)
    })
}

/// What a delivery says.
#[derive(Debug)]
pub(crate) enum Read {
    /// One task.
    Alone(Box<Task>),
    /// Several, each as if it had come alone.
    Together(Vec<Part>),
}

/// One of several tasks, or the message it would have been and a reason to park that.
pub(crate) type Part = Result<Box<Task>, (Box<Delivery>, Refusal)>;

/// What is in `delivery`, which came from the queue of `serves`. Whatever is in it, the worker lives: a panic is a reason to park it.
pub(crate) fn inspect(delivery: &Delivery, serves: &TaskType) -> Result<Read, Refusal> {
    let version = delivery.header(VERSION_HEADER);
    if !version_is_known(version.as_ref().map(HeaderValue::as_u64)) {
        return Err(refusal(
            DeadReason::UnknownKind,
            format!(
                "header {VERSION_HEADER} is {version:?}; this worker reads up to {VERSION}: upgrade it"
            ),
        ));
    }
    let read = || {
        if is_several(delivery) {
            return together(delivery, serves).map(Read::Together);
        }
        decode(&delivery.body, delivery.kind.as_deref(), serves)
            .map(|task| Read::Alone(task.into()))
    };
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    read.unwrap_or_else(|_| {
        let error = "reading it panics; the worker's log says where";
        Err(refusal(DeadReason::Other, error))
    })
}

fn decode(body: &[u8], kind: Option<&str>, serves: &TaskType) -> Result<Task, Refusal> {
    small_enough(body)?;
    if let Some(kind) = kind.filter(|kind| *kind != KIND) {
        return Err(refusal(
            DeadReason::UnknownKind,
            format!(
                "a `{kind}` on a task queue; this worker reads {KIND} and {}",
                TasksMessage::KIND
            ),
        ));
    }
    let task = serde_json::from_slice(body).map_err(|error| undecodable(&error))?;
    of_type(task, serves)
}

fn small_enough(body: &[u8]) -> Result<(), Refusal> {
    if body.len() <= BODY_BYTES_MAX {
        return Ok(());
    }
    let bytes = body.len();
    let error = format!("{bytes} bytes, more than {BODY_BYTES_MAX}");
    Err(refusal(DeadReason::TooLarge, error))
}

fn undecodable(error: &serde_json::Error) -> Refusal {
    let error = format!("no task: {}", without_content(error));
    refusal(DeadReason::Undecodable, error)
}

fn of_type(message: TaskMessage, serves: &TaskType) -> Result<Task, Refusal> {
    let TaskMessage::Task(task) = message;
    if task.task_type != *serves {
        return Err(refusal(
            DeadReason::UnknownType,
            format!("a task of type {} on the queue of {serves}", task.task_type),
        ));
    }
    Ok(task)
}

/// Several tasks, read at once where nothing is wrong with any, else one by one.
fn together(delivery: &Delivery, serves: &TaskType) -> Result<Vec<Part>, Refusal> {
    small_enough(&delivery.body)?;
    if let Ok(TasksMessage::Tasks(TaskBatch { tasks })) = serde_json::from_slice(&delivery.body)
        && tasks
            .iter()
            .all(|TaskMessage::Task(task)| task.task_type == *serves)
    {
        let tasks = tasks.into_iter();
        return Ok(tasks
            .map(|TaskMessage::Task(task)| Ok(task.into()))
            .collect());
    }
    let parts = apart(delivery).map_err(|error| undecodable(&error))?;
    let each = parts.into_iter().map(|alone| {
        let task = decode(&alone.body, Some(KIND), serves);
        task.map(Box::new)
            .map_err(|refusal| (alone.into(), refusal))
    });
    Ok(each.collect())
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
    fn what_comes_again_and_again_is_parked_first_in_its_queue_and_in_the_end_anywhere() {
        let parked = |deliveries, first| too_often(deliveries, first).is_some();
        for (deliveries, as_first, anywhere) in [
            (1, false, false),
            (DELIVERY_LIMIT, false, false),
            (DELIVERY_LIMIT + 1, true, false),
            (GIVEN_UP, true, false),
            (GIVEN_UP + 1, true, true),
        ] {
            assert_eq!(parked(deliveries, true), as_first, "{deliveries}, first");
            assert_eq!(parked(deliveries, false), anywhere, "{deliveries}");
        }
        let said = too_often(GIVEN_UP + 1, false).unwrap();
        assert_eq!(said.reason, DeadReason::DeliveredTooOften);
    }

    #[test]
    fn what_comes_again_since_this_process_lost_its_channels_is_read_as_it_comes() {
        let mut here = Suspicion::default();
        let waits = 2 * GIVEN_UP;
        for deliveries in 1..=waits {
            // a channel each time
            let tag = AckTag {
                epoch: deliveries,
                tag: 1,
            };
            assert_eq!(here.next(tag, deliveries), Suspected::default());
        }
        let tag = AckTag {
            epoch: waits,
            tag: 2,
        };
        let of_others = here.next(tag, waits + GIVEN_UP + 1);
        assert!(of_others.alone && of_others.refused.is_some());
    }

    #[test]
    fn of_what_was_in_hand_together_one_is_parked_on_a_channel_and_the_others_are_read_alone() {
        let on = |epoch, tag| AckTag { epoch, tag };
        for begun in [false, true] {
            let mut here = Suspicion::default();
            if begun {
                assert_eq!(here.next(on(1, 1), 1), Suspected::default());
            }
            let killer = here.next(on(1, 2), GIVEN_UP + 1);
            assert!(killer.alone && killer.refused.is_some(), "{begun}");
            for tag in 3..6 {
                let neighbour = here.next(on(1, tag), GIVEN_UP + 1);
                let alone = Suspected {
                    alone: true,
                    refused: None,
                };
                assert_eq!(neighbour, alone, "{begun}");
            }
            // one of these is counted for the channel that was lost
            let next = here.next(on(2, 1), GIVEN_UP + 2);
            assert!(next.alone && next.refused.is_some(), "{begun}");
        }
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
