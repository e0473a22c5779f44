//! The queues of the task types the fleet serves: made beside the listener, which must go on hearing while a broker is slow to
//! make one. Only a type whose queue stands is said to be served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_bus::Bus;
use baton_messages::topology::Topology;
use baton_messages::{PoolName, TaskType};

use crate::chain::chain;

/// How often a queue that stands is declared again when its worker announces itself: it may have been deleted since.
const DECLARE_AGAIN: Duration = Duration::from_secs(30);
/// How long a queue that could not be made is left alone: every worker that serves it announces it.
const FAILED_AGAIN: Duration = Duration::from_secs(5);

/// When a queue was last declared, and whether it stood then.
#[derive(Debug, Clone, Copy)]
struct Tried {
    at: Instant,
    stood: bool,
}

/// The queues made lately.
#[derive(Clone)]
pub(super) struct Queues {
    bus: Bus,
    tried: Arc<Mutex<BTreeMap<(PoolName, TaskType), Tried>>>,
}

impl Queues {
    pub(super) fn new(bus: Bus) -> Self {
        Self {
            bus,
            tried: Arc::default(),
        }
    }

    /// Makes the queues of these types in these pools; answers the types that can be sent to all of them.
    pub(super) async fn serve(&self, pools: &[PoolName], types: Vec<TaskType>) -> Vec<TaskType> {
        let mut served = Vec::with_capacity(types.len());
        for task_type in types {
            let mut all = true;
            for pool in pools {
                all &= self.stands(pool, &task_type).await;
            }
            if all {
                served.push(task_type);
            }
        }
        served
    }

    async fn stands(&self, pool: &PoolName, task_type: &TaskType) -> bool {
        let key = (pool.clone(), task_type.clone());
        if let Some(known) = self.lately(&key) {
            return known;
        }
        let stood = self.declare(pool, task_type).await;
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        tried.insert(key, Tried { at, stood });
        stood
    }

    fn lately(&self, key: &(PoolName, TaskType)) -> Option<bool> {
        let tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let last = tried.get(key)?;
        let lasts = if last.stood {
            DECLARE_AGAIN
        } else {
            FAILED_AGAIN
        };
        (last.at.elapsed() < lasts).then_some(last.stood)
    }

    async fn declare(&self, pool: &PoolName, task_type: &TaskType) -> bool {
        match self.bus.declare(&Topology::of_task(pool, task_type)).await {
            Ok(report) if report.is_complete() => true,
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
