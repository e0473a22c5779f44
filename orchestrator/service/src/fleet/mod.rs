//! The fleet as this orchestrator hears it, on a queue of its own: who is there, what they can do, what they run. Announcements go into
//! the catalogue and make queues; heartbeats extend leases; our own canary proves that we can hear at all.

mod queues;
mod say;
mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_bus::{Bus, ConsumeSpec, Consumer, Delivery, ExclusiveQueue, HeaderValue};
use baton_messages::batch::TASKS_MAX;
use baton_messages::fleet::Announcement;
use baton_messages::headers::TOGETHER;
use baton_messages::topology;
use baton_messages::{BODY_BYTES_MAX, FleetMessage, TaskType};
use tokio::task::JoinSet;

pub(crate) use say::speak;
pub(crate) use workers::{Places, SHOWN_MS, WorkerView, Workers};

use crate::clock;
use crate::cluster::Router;
use crate::hot::mail::Heard;
use queues::Queues;

/// Most words of the fleet not yet read: a heartbeat of a thousand workers, which may all speak at once after a reconnect.
const PREFETCH: u16 = 1_000;
/// Most types one heartbeat may say that of.
const TYPES_MAX: usize = 1_000;
/// Most announcements whose queues are being made at once; each may wait for the broker, and is said again in seconds.
const MAKING_MAX: usize = 64;

/// Listens to the fleet.
pub(crate) struct Fleet {
    pub(crate) bus: Bus,
    pub(crate) instance: String,
    pub(crate) workers: Arc<Workers>,
    pub(crate) router: Arc<Router>,
    queues: Queues,
    /// Ends with the listener.
    making: JoinSet<()>,
}

impl Fleet {
    pub(crate) fn new(
        bus: Bus,
        instance: String,
        workers: Arc<Workers>,
        router: Arc<Router>,
    ) -> Self {
        Self {
            queues: Queues::new(bus.clone()),
            making: JoinSet::new(),
            bus,
            instance,
            workers,
            router,
        }
    }

    /// Listens until the bus stops its consumers or the loop is gone.
    pub(crate) async fn run(mut self) {
        let spec = ConsumeSpec {
            queue: topology::fleet_queue(&self.instance),
            prefetch: PREFETCH,
            exclusive_queue: Some(ExclusiveQueue {
                bindings: vec![(topology::FLEET.to_owned(), String::new())],
                arguments: Vec::new(),
            }),
            consumer_tag: format!("fleet-{}", self.instance),
        };
        let mut consumer: Consumer = self.bus.consume(spec).await;
        while let Some(delivery) = consumer.next().await {
            while self.making.try_join_next().is_some() {}
            if !self.take(&delivery).await {
                return;
            }
            // a lost one is only heard twice
            let _ = delivery.ack().await;
        }
    }

    /// False when the loop is gone.
    async fn take(&mut self, delivery: &Delivery) -> bool {
        let Some(message) = read(delivery) else {
            return true;
        };
        match message {
            FleetMessage::Announcement(announcement) => self.announced(announcement).await,
            FleetMessage::Heartbeat(heartbeat) => {
                let together = together(delivery);
                self.workers.heartbeat(&heartbeat, together, clock::now());
                let heard = || Heard::Heartbeat(heartbeat.clone());
                self.router.hear(heard).await
            }
            FleetMessage::Leaving(leaving) => {
                self.workers.left(&leaving.worker, clock::now());
                true
            }
            FleetMessage::Canary(canary) if canary.orchestrator == self.instance => {
                let now = clock::now();
                self.workers.canary(now);
                self.workers.forget_silent(now);
                self.router.hear(|| Heard::Canary).await
            }
            FleetMessage::Canary(_) => true,
        }
    }

    /// Takes in what a worker can do; its queues are made beside this, and what can be sent to is said when it is so.
    async fn announced(&mut self, announcement: Announcement) -> bool {
        self.workers.announced(&announcement, clock::now());
        let pools = announcement.pools.clone();
        let Some(types) = self.router.announced(announcement).await else {
            return false;
        };
        if self.making.len() >= MAKING_MAX {
            tracing::debug!(
                "many workers announce themselves at once; this one is taken at its next announcement"
            );
            return true;
        }
        let (queues, router) = (self.queues.clone(), self.router.clone());
        self.making.spawn(async move {
            let served = queues.serve(&pools, types).await;
            // the loop may be gone: then nothing is served any more
            router.hear(|| Heard::Served(served.clone())).await;
        });
        true
    }
}

/// How many tasks of which types a worker is glad to be sent in one message.
fn together(heartbeat: &Delivery) -> BTreeMap<TaskType, usize> {
    let Some(HeaderValue::Table(types)) = heartbeat.header(TOGETHER) else {
        return BTreeMap::new();
    };
    let known = types.iter().take(TYPES_MAX).filter_map(|(of, together)| {
        let together = usize::try_from(together.as_u64()?).ok()?;
        Some((TaskType::new(of).ok()?, together.min(TASKS_MAX)))
    });
    known.collect()
}

/// What nobody can read is dropped with a word: it is gone in seconds, and said again.
fn read(delivery: &Delivery) -> Option<FleetMessage> {
    if delivery.body.len() > BODY_BYTES_MAX {
        tracing::warn!(
            bytes = delivery.body.len(),
            "a word of the fleet is too large and is not read"
        );
        return None;
    }
    serde_json::from_slice(&delivery.body)
        .inspect_err(|error| {
            tracing::warn!(%error, kind = delivery.kind.as_deref().unwrap_or(""), "a word of the fleet cannot be read; is a worker of another version there?");
        })
        .ok()
}
