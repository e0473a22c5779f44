//! What the loop is told beside the inbox: by the API, by the intake of dead letters, by the fleet. Every way in is bounded, and each
//! sender waits while the loop has no room.

use std::sync::Arc;

use baton_bus::Consumer;
use baton_driver::{DeadLetterRow, PurgeRow, SubscriptionRow};
use baton_engine::{Definition, Input, Verdict};
use baton_messages::fleet::{Announcement, Heartbeat};
use baton_messages::{SagaId, StepId, TaskType};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::trial::{Alone, Begun, Note};
use crate::health::Pulse;

/// Requests of the API that wait for the loop: two full turns. Beyond it the API says 429.
const REQUESTS_MAX: usize = 1024;
/// Batches of dead letters that wait: one of each queue, and one more.
const DEAD_MAX: usize = 3;
/// Askings for a try alone that wait: one of each that may ask.
const ALONE_MAX: usize = 4;
/// Words of the fleet that wait: a heartbeat of a thousand workers.
const HEARD_MAX: usize = 1024;

/// Batches of steps that began to wait and that nobody has searched the kept events for; beyond it they stay in the driver.
const SUBSCRIBED_MAX: usize = 16;
/// Steps in one of them: with the others, what waits here is some megabytes.
pub(super) const SUBSCRIBED_BATCH: usize = 1024;

/// What the API asks of the loop.
#[derive(Debug)]
pub(crate) enum Request {
    /// An input about a saga; answered when it is committed.
    Input {
        /// The saga.
        saga: SagaId,
        /// The input.
        input: Box<Input>,
        /// How it was taken.
        answer: oneshot::Sender<Verdict>,
    },
    /// A definition to be registered.
    Register {
        /// It.
        definition: Box<Definition>,
        /// By whom.
        by: String,
        /// Whether it is registered now; `Ok(false)`: other content stands under its name and version.
        answer: oneshot::Sender<Result<bool, String>>,
    },
    /// Sagas whose records lie elsewhere are to be taken out with the next commit; answered when it is made.
    Purge {
        /// They.
        sagas: Vec<PurgeRow>,
        /// Told after the commit, whatever the store let go.
        answer: oneshot::Sender<()>,
    },
    /// Definitions or task types may have been kept by another loop; answered with whether they were read.
    Learn(oneshot::Sender<bool>),
}

/// A dead letter, and what its saga is told.
pub(crate) type Letter = (Box<DeadLetterRow>, Option<(SagaId, Box<Input>)>);

/// Dead letters of one queue, to be kept in one turn.
#[derive(Debug)]
pub(crate) struct Letters {
    /// They.
    pub(crate) letters: Vec<Letter>,
    /// Told when they are committed.
    pub(crate) kept: oneshot::Sender<()>,
}

/// What the fleet says.
pub(crate) enum Heard {
    /// A worker can do this; answered with the types that were taken into the catalogue.
    Announced(Announcement, oneshot::Sender<Vec<TaskType>>),
    /// Queues of these types stand, and a worker serves them.
    Served(Vec<TaskType>),
    /// A worker lives.
    Heartbeat(Heartbeat),
    /// Our own canary came back: what is said on the fleet's exchange reaches us.
    Canary,
    /// The topology stands: the inbox can be consumed.
    Inbox(Box<Consumer>),
    /// The kept events were searched for these steps, and what was found is committed.
    Searched(Vec<(SagaId, StepId)>),
}

/// The senders' ends.
#[derive(Clone)]
pub(crate) struct Post {
    /// For the API.
    pub(crate) requests: mpsc::Sender<Request>,
    /// For the intake of dead letters.
    pub(crate) dead: mpsc::Sender<Letters>,
    /// For what may be what kills its orchestrator.
    alone: mpsc::Sender<Alone>,
    /// For the fleet.
    pub(crate) heard: mpsc::Sender<Heard>,
    /// How the loop is.
    pub(crate) pulse: Arc<Pulse>,
}

impl Post {
    /// Waits until nothing else is taken. None when the process stops.
    pub(crate) async fn alone(&self, message: Uuid, part: u32) -> Option<Begun> {
        let (begun, told) = oneshot::channel();
        let note = Note { message, part };
        self.alone.send(Alone { note, begun }).await.ok()?;
        told.await.ok()
    }
}

/// The loop's ends.
pub(crate) struct Mail {
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) dead: mpsc::Receiver<Letters>,
    pub(crate) alone: mpsc::Receiver<Alone>,
    pub(crate) heard: mpsc::Receiver<Heard>,
    /// To the triggers: steps that begin to wait for events.
    pub(crate) subscribed: mpsc::Sender<Vec<SubscriptionRow>>,
}

/// Makes both, and the end where waits are told.
pub(crate) fn mail(pulse: Arc<Pulse>) -> (Post, Mail, mpsc::Receiver<Vec<SubscriptionRow>>) {
    let (to_triggers, subscribed) = mpsc::channel(SUBSCRIBED_MAX);
    let (to_requests, requests) = mpsc::channel(REQUESTS_MAX);
    let (to_dead, dead) = mpsc::channel(DEAD_MAX);
    let (to_alone, alone) = mpsc::channel(ALONE_MAX);
    let (to_heard, heard) = mpsc::channel(HEARD_MAX);
    (
        Post {
            requests: to_requests,
            dead: to_dead,
            alone: to_alone,
            heard: to_heard,
            pulse,
        },
        Mail {
            requests,
            dead,
            alone,
            heard,
            subscribed: to_triggers,
        },
        subscribed,
    )
}
