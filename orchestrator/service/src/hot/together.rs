//! Several tasks in one message: those that leave together for the same queue, where all who serve that queue have said that tasks of this type are over in moments.
//! Nothing waits here: what is packed together was ready together. A message that is alone stays as it is, and so does whatever is no task.
//!
//! What becomes of the message becomes of each of its commands: all of them are published again when it is not known.

use std::collections::HashMap;
use std::sync::Arc;

use baton_bus::{Outgoing, version_header};
use baton_driver::Ticket;
use baton_messages::batch::BATCH_BYTES_MAX;
use baton_messages::{MessageId, TasksMessage, topology};

use crate::clock;
use crate::fleet::{Places, Workers};
use crate::metrics;

/// What stands before and behind the tasks.
const HEAD: &[u8] = br#"{"tasks@1":{"tasks":["#;
const TAIL: &[u8] = b"]}}";

/// A message with the names of its commands.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) tickets: Vec<Ticket>,
    pub(super) message: Outgoing,
}

/// Who says how many tasks go in one message.
#[derive(Clone)]
pub(crate) struct Together {
    workers: Arc<Workers>,
    most: usize,
}

impl std::fmt::Debug for Together {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Together")
            .field("most", &self.most)
            .finish()
    }
}

impl Together {
    /// As the workers say, and never more than `most`.
    pub(crate) const fn new(workers: Arc<Workers>, most: usize) -> Self {
        Self { workers, most }
    }

    /// Messages on their way out, fewer where they may go together.
    pub(super) fn packed(&self, parcels: Vec<Parcel>) -> Vec<Parcel> {
        if self.most < 2 || parcels.len() < 2 {
            return parcels;
        }
        let places = self.workers.together(clock::now());
        if places.is_empty() {
            return parcels;
        }
        pack(parcels, &places, self.most)
    }
}

/// One that is being filled: its first task stands where the whole will stand.
struct Open {
    at: usize,
    bytes: usize,
    more: Vec<Parcel>,
}

/// A task that is packed leaves where the first of its message would have left: never later than it would have left alone, and never behind a cancel of it.
fn pack(parcels: Vec<Parcel>, places: &Places, most: usize) -> Vec<Parcel> {
    let mut out: Vec<Parcel> = Vec::with_capacity(parcels.len());
    let mut open: HashMap<String, Open> = HashMap::new();
    let mut full: Vec<Open> = Vec::new();
    for parcel in parcels {
        let message = &parcel.message;
        let at_once = if message.exchange == topology::TASKS {
            places.get(&message.key).copied().unwrap_or(1).min(most)
        } else {
            1
        };
        let bytes = message.body.len() + 1;
        if at_once < 2 {
            out.push(parcel);
            continue;
        }
        let filling = open.get_mut(&message.key).filter(|filling| {
            filling.more.len() + 1 < at_once && filling.bytes + bytes <= BATCH_BYTES_MAX
        });
        if let Some(filling) = filling {
            filling.bytes += bytes;
            filling.more.push(parcel);
            continue;
        }
        let begun = Open {
            at: out.len(),
            bytes: HEAD.len() + TAIL.len() + bytes,
            more: Vec::new(),
        };
        full.extend(open.insert(message.key.clone(), begun));
        out.push(parcel);
    }
    for filled in full.into_iter().chain(open.into_values()) {
        if let Some(first) = out.get_mut(filled.at)
            && !filled.more.is_empty()
        {
            join(first, filled.more, filled.bytes);
        }
    }
    out
}

/// The message has an id of its own: what a task is recognised by is its attempt, in the body.
fn join(first: &mut Parcel, more: Vec<Parcel>, bytes: usize) {
    let mut body = Vec::with_capacity(bytes);
    body.extend_from_slice(HEAD);
    body.extend_from_slice(&first.message.body);
    metrics::tasks_together(more.len() + 1);
    for parcel in more {
        body.push(b',');
        body.extend_from_slice(&parcel.message.body);
        first.tickets.extend(parcel.tickets);
    }
    body.extend_from_slice(TAIL);
    let message = &mut first.message;
    message.body = body;
    message.kind = TasksMessage::KIND;
    message.message_id = MessageId(uuid::Uuid::now_v7());
    // it speaks of many sagas
    message.correlation_id = None;
    message.headers = vec![version_header()];
}

#[cfg(test)]
mod tests {
    use baton_messages::{
        AttemptRef, Direction, Hold, IdempotencyKey, InboxKey, PoolName, SagaId, StepId, Task,
        TaskBatch, TaskMessage, TaskType, Timestamp,
    };
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn task(n: u64, kind: &str, letters: usize) -> Parcel {
        let saga = SagaId(Uuid::from_u128(n.into()));
        let task = Task {
            of: AttemptRef {
                saga,
                step: StepId::new("a").unwrap(),
                item: None,
                direction: Direction::Do,
                round: 1,
                attempt: 1,
                dispatch: 1,
            },
            task_type: TaskType::new(kind).unwrap(),
            pool: PoolName::default_pool(),
            idempotency_key: IdempotencyKey(saga.0),
            inbox: InboxKey::of(0),
            hold: Hold::Late,
            not_after: Timestamp(1),
            ask_after: None,
            timeout_ms: 1,
            lease_ms: 1,
            act: None,
            input: json!("x".repeat(letters)),
            output: None,
            before: None,
            progress: None,
            fences: std::collections::BTreeMap::new(),
        };
        let key = topology::task_key(&task.pool, &task.task_type);
        let id = task.of.message_id();
        let body = serde_json::to_vec(&TaskMessage::Task(task)).unwrap();
        Parcel {
            tickets: vec![Ticket {
                log_seq: n,
                index: 0,
            }],
            message: Outgoing::json(topology::TASKS, key, "task@1", id, body, 0),
        }
    }

    fn places(of: &[(&str, usize)]) -> Places {
        let key = |kind: &str| {
            topology::task_key(&PoolName::default_pool(), &TaskType::new(kind).unwrap())
        };
        of.iter().map(|(kind, n)| (key(kind), *n)).collect()
    }

    /// The commands of each message; each is checked to say what they say, and nothing else.
    fn rows(out: &[Parcel]) -> Vec<Vec<u64>> {
        let rows = |parcel: &Parcel| -> Vec<u64> {
            let sagas: Vec<u128> = match parcel.message.kind {
                "tasks@1" => {
                    let TasksMessage::Tasks(TaskBatch { tasks }) =
                        serde_json::from_slice(&parcel.message.body).unwrap();
                    let sagas = tasks.iter();
                    sagas
                        .map(|TaskMessage::Task(task)| task.of.saga.0.as_u128())
                        .collect()
                }
                _ => {
                    let TaskMessage::Task(task) =
                        serde_json::from_slice(&parcel.message.body).unwrap();
                    vec![task.of.saga.0.as_u128()]
                }
            };
            let rows: Vec<u64> = parcel.tickets.iter().map(|t| t.log_seq).collect();
            let of_body: Vec<u64> = sagas.iter().map(|n| u64::try_from(*n).unwrap()).collect();
            assert_eq!(rows, of_body);
            rows
        };
        out.iter().map(rows).collect()
    }

    #[test]
    fn tasks_for_a_queue_whose_workers_are_glad_of_it_go_together_and_others_alone() {
        let some = (1..=9).map(|n| task(n, if n % 3 == 0 { "b.c@1" } else { "a.b@1" }, 1));
        let out = pack(some.collect(), &places(&[("a.b@1", 4)]), 64);
        assert_eq!(
            rows(&out),
            [vec![1, 2, 4, 5], vec![3], vec![6], vec![7, 8], vec![9]]
        );
        assert_eq!(out[0].message.correlation_id, None);
        assert_ne!(out[0].message.message_id, out[3].message.message_id);
    }

    #[test]
    fn never_more_than_the_setting_and_one_that_is_alone_stays_as_it_is() {
        let some = |n| (1..=n).map(|n| task(n, "a.b@1", 1)).collect::<Vec<_>>();
        let glad = places(&[("a.b@1", 64)]);
        assert_eq!(
            rows(&pack(some(5), &glad, 2)),
            [vec![1, 2], vec![3, 4], vec![5]]
        );
        let alone = pack(some(1), &glad, 64);
        assert_eq!(alone[0].message.kind, "task@1");
        assert_eq!(rows(&pack(some(3), &places(&[]), 64)).len(), 3);
    }

    #[test]
    fn a_message_is_no_larger_than_it_may_be() {
        let letters = [
            BATCH_BYTES_MAX / 3,
            BATCH_BYTES_MAX / 3,
            BATCH_BYTES_MAX / 3,
            BATCH_BYTES_MAX,
            1,
        ];
        let some = (1..)
            .zip(letters)
            .map(|(n, letters)| task(n, "a.b@1", letters));
        let out = pack(some.collect(), &places(&[("a.b@1", 64)]), 64);
        assert_eq!(rows(&out), [vec![1, 2], vec![3], vec![4], vec![5]]);
        assert!(out[0].message.body.len() <= BATCH_BYTES_MAX);
    }

    #[test]
    fn what_is_no_task_is_left_alone() {
        let mut word = task(2, "a.b@1", 1);
        word.message.exchange = topology::CONTROL.into();
        let out = pack(
            vec![task(1, "a.b@1", 1), word, task(3, "a.b@1", 1)],
            &places(&[("a.b@1", 9)]),
            64,
        );
        assert_eq!(rows(&out), [vec![1, 3], vec![2]]);
    }
}
