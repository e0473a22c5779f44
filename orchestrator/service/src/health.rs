//! What is said of the process to whoever asks: that the loop turns, that the store takes commits, how the broker is. Written by the
//! parts, read by `/healthz`, `/readyz` and the API; nothing here decides anything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_bus::{BusState, Link};
use tokio::sync::watch;

/// After how long without a turn of the loop the process counts as stuck: longer than a commit on a slow disk, or a locked database, takes.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(60);

/// How the process is.
#[derive(Debug)]
pub(crate) struct Health {
    begun: Instant,
    beat_ms: AtomicU64,
    room: AtomicBool,
    store: Mutex<Option<String>>,
    topology: Mutex<Option<String>>,
    bus: watch::Receiver<BusState>,
    /// Grows with every committed turn that decided something, for those who wait for a saga.
    turns: watch::Sender<u64>,
}

impl Health {
    pub(crate) fn new(bus: watch::Receiver<BusState>) -> Self {
        Self {
            begun: Instant::now(),
            beat_ms: AtomicU64::new(0),
            room: AtomicBool::new(true),
            store: Mutex::new(None),
            topology: Mutex::new(Some("not declared yet".to_owned())),
            bus,
            turns: watch::Sender::new(0),
        }
    }

    /// The loop turns.
    pub(crate) fn beat(&self) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(ms, Ordering::Relaxed);
    }

    /// Something was decided and committed.
    pub(crate) fn turned(&self) {
        self.turns
            .send_modify(|turns| *turns = turns.wrapping_add(1));
    }

    /// Told of every turn that decided something.
    pub(crate) fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// How long ago the loop last turned.
    pub(crate) fn still_for(&self) -> Duration {
        let beat = Duration::from_millis(self.beat_ms.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(beat)
    }

    /// Whether the loop takes more work.
    pub(crate) fn set_room(&self, room: bool) {
        self.room.store(room, Ordering::Relaxed);
    }

    /// Whether the loop takes more work.
    pub(crate) fn has_room(&self) -> bool {
        self.room.load(Ordering::Relaxed)
    }

    /// Why the store takes nothing; none when it does.
    pub(crate) fn set_store(&self, trouble: Option<String>) {
        *self.store.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Why the store takes nothing.
    pub(crate) fn store_trouble(&self) -> Option<String> {
        self.store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What is missing at the broker; none when all is there.
    pub(crate) fn set_topology(&self, trouble: Option<String>) {
        *self.topology.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// How the bus is, in words; none when all is well.
    pub(crate) fn bus_trouble(&self) -> Option<String> {
        let state = self.bus.borrow();
        let link = |what: &str, link: &Link| match link {
            Link::Up { .. } => None,
            Link::Down { why } => Some(format!("{what}: away ({why})")),
            Link::Blocked { why, .. } => Some(format!("{what}: blocked ({why})")),
        };
        let links = [
            link("consuming", &state.consuming),
            link("publishing", &state.publishing),
        ];
        drop(state);
        let topology = self
            .topology
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .map(|why| format!("topology: {why}"));
        let all: Vec<String> = links.into_iter().chain([topology]).flatten().collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}
