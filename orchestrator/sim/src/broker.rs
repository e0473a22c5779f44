//! A model of the broker: quorum queues that deliver at least once. What was not acknowledged when a consumer goes comes again, somewhere
//! near the front, marked and counted; what has been delivered too often goes to the dead.

use std::collections::{BTreeMap, VecDeque};

use baton_messages::{InboxMessage, PoolName, Task, TaskType};

use crate::rng::Rng;

/// After so many deliveries a message is dead: the limit the consumers keep themselves.
pub const DELIVERIES_MAX: u32 = 10;
/// How far back in a queue a redelivered message may come.
const REORDER_DEPTH: u64 = 4;

/// A message in a queue.
#[derive(Debug, Clone)]
pub struct Message<B> {
    /// What it says.
    pub body: B,
    /// How often it has been delivered.
    pub deliveries: u32,
    /// Whether it may be from before somebody's death.
    pub redelivered: bool,
}

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue<B> {
    ready: VecDeque<Message<B>>,
}

impl<B> Default for Queue<B> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
        }
    }
}

impl<B> Queue<B> {
    /// A new message.
    pub fn push(&mut self, body: B) {
        self.ready.push_back(Message {
            body,
            deliveries: 0,
            redelivered: false,
        });
    }

    /// Delivers one.
    pub fn deliver(&mut self) -> Option<Message<B>> {
        let mut message = self.ready.pop_front()?;
        message.deliveries += 1;
        Some(message)
    }

    /// Its consumer is gone without acknowledging it: it comes again, near the front.
    pub fn give_back(&mut self, mut message: Message<B>, rng: &mut Rng) {
        message.redelivered = true;
        let depth = rng.below(REORDER_DEPTH.min(self.ready.len() as u64 + 1));
        let at = usize::try_from(depth).unwrap_or(0);
        self.ready.insert(at, message);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}

/// The queues.
#[derive(Debug, Default)]
pub struct Broker {
    /// Those of tasks; a key that is missing has no queue.
    pub tasks: BTreeMap<(PoolName, TaskType), Queue<Task>>,
    /// One for each partition.
    pub(crate) inboxes: BTreeMap<u8, Queue<InboxMessage>>,
    /// Tasks nobody could use, by the partition of their saga.
    pub(crate) dead: BTreeMap<u8, Queue<Task>>,
    /// Whether it is there at all.
    pub up: bool,
    /// Grows with each restart: what was connected before is not any more.
    pub epoch: u64,
}

impl Broker {
    /// The inbox of a partition.
    pub fn inbox(&mut self, partition: u8) -> &mut Queue<InboxMessage> {
        self.inboxes.entry(partition).or_default()
    }

    /// Whether nothing waits in the inbox of a partition.
    #[must_use]
    pub fn is_read(&self, partition: u8) -> bool {
        self.inboxes.get(&partition).is_none_or(Queue::is_empty)
    }

    /// Tasks of a partition's sagas that nobody could use.
    pub fn dead(&mut self, partition: u8) -> &mut Queue<Task> {
        self.dead.entry(partition).or_default()
    }

    /// Puts a task into its queue; false when there is none.
    pub fn route(&mut self, task: Task) -> bool {
        match self
            .tasks
            .get_mut(&(task.pool.clone(), task.task_type.clone()))
        {
            Some(queue) => {
                queue.push(task);
                true
            }
            None => false,
        }
    }
}
