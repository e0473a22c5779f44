//! The fleet as this orchestrator hears it, on a queue of its own: who is there, what they can do, what they run. Announcements go into
//! the catalogue and make queues; heartbeats extend leases; our own canary proves that we can hear at all.

mod say;
mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_bus::{Bus, ConsumeSpec, Consumer, Delivery, ExclusiveQueue};
use baton_messages::fleet::Announcement;
use baton_messages::topology::{self, Topology};
use baton_messages::{BODY_BYTES_MAX, FleetMessage, PoolName, TaskType};
use tokio::sync::{mpsc, oneshot};

pub(crate) use say::speak;
pub(crate) use workers::Workers;

use crate::chain::chain;
use crate::clock;
use crate::hot::mail::Heard;

/// Most words of the fleet not yet read: a heartbeat of a thousand workers, which may all speak at once after a reconnect.
const PREFETCH: u16 = 1_000;
/// How often a queue that stands is declared again when its worker announces itself: it may have been deleted since.
const DECLARE_AGAIN: Duration = Duration::from_secs(30);

/// Listens to the fleet.
pub(crate) struct Fleet {
    pub(crate) bus: Bus,
    pub(crate) instance: String,
    pub(crate) workers: Arc<Workers>,
    pub(crate) heard: mpsc::Sender<Heard>,
    declared: BTreeMap<(PoolName, TaskType), Instant>,
}

impl Fleet {
    pub(crate) fn new(
        bus: Bus,
        instance: String,
        workers: Arc<Workers>,
        heard: mpsc::Sender<Heard>,
    ) -> Self {
        Self {
            bus,
            instance,
            workers,
            heard,
            declared: BTreeMap::new(),
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
                self.workers.heartbeat(&heartbeat, clock::now());
                self.heard.send(Heard::Heartbeat(heartbeat)).await.is_ok()
            }
            FleetMessage::Leaving(leaving) => {
                self.workers.left(&leaving.worker);
                true
            }
            FleetMessage::Canary(canary) if canary.orchestrator == self.instance => {
                self.workers.forget_silent(clock::now());
                self.heard.send(Heard::Canary).await.is_ok()
            }
            FleetMessage::Canary(_) | FleetMessage::RollCall(_) => true,
        }
    }

    async fn announced(&mut self, announcement: Announcement) -> bool {
        self.workers.announced(&announcement, clock::now());
        let pools = announcement.pools.clone();
        let (answer, taken) = oneshot::channel();
        let told = self.heard.send(Heard::Announced(announcement, answer));
        if told.await.is_err() {
            return false;
        }
        let Ok(types) = taken.await else {
            return false;
        };
        let mut served = Vec::with_capacity(types.len());
        for task_type in types {
            let mut all = true;
            for pool in &pools {
                all &= self.declare(pool, &task_type).await;
            }
            if all {
                served.push(task_type);
            }
        }
        self.heard.send(Heard::Served(served)).await.is_ok()
    }

    /// Makes the queue of a type in a pool; whether it stands.
    async fn declare(&mut self, pool: &PoolName, task_type: &TaskType) -> bool {
        let key = (pool.clone(), task_type.clone());
        let fresh = |at: &Instant| at.elapsed() < DECLARE_AGAIN;
        if self.declared.get(&key).is_some_and(fresh) {
            return true;
        }
        match self.bus.declare(&Topology::of_task(pool, task_type)).await {
            Ok(report) if report.is_complete() => {
                self.declared.insert(key, Instant::now());
                true
            }
            Ok(report) => {
                tracing::error!(task.r#type = %task_type, %pool, %report, "the queue of a task type cannot be made; its steps wait");
                false
            }
            Err(error) => {
                tracing::warn!(task.r#type = %task_type, %pool, error = %chain(&error), "the queue of a task type is not made yet; it is tried at the next announcement");
                false
            }
        }
    }
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
