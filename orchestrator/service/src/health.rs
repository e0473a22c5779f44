//! What is said of the process to whoever asks: that the loop turns, that the store takes commits, how the broker is. Written by the
//! parts, read by `/healthz`, `/readyz` and the API; nothing here decides anything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_bus::{BusState, Link};
use tokio::sync::watch;

use crate::metrics;

/// After how long without a turn of the loop the process counts as stuck: longer than a commit on a slow disk, or a locked database, takes.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(60);

/// How the process is.
#[derive(Debug)]
pub(crate) struct Health {
    begun: Instant,
    beat_ms: AtomicU64,
    room: AtomicBool,
    starts: AtomicBool,
    stuck: AtomicUsize,
    unreadable: AtomicUsize,
    left: Mutex<BTreeMap<&'static str, usize>>,
    vain: Mutex<Vec<&'static str>>,
    store: AtomicBool,
    topology: AtomicBool,
    bus: watch::Receiver<BusState>,
}

impl Health {
    pub(crate) fn new(bus: watch::Receiver<BusState>) -> Self {
        Self {
            begun: Instant::now(),
            beat_ms: AtomicU64::new(0),
            room: AtomicBool::new(true),
            starts: AtomicBool::new(true),
            stuck: AtomicUsize::new(0),
            unreadable: AtomicUsize::new(0),
            left: Mutex::default(),
            vain: Mutex::default(),
            store: AtomicBool::new(true),
            topology: AtomicBool::new(false),
            bus,
        }
    }

    /// The loop turns.
    pub(crate) fn beat(&self) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(ms, Ordering::Relaxed);
    }

    /// How long ago the loop last turned.
    pub(crate) fn still_for(&self) -> Duration {
        let beat = Duration::from_millis(self.beat_ms.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(beat)
    }

    /// Whether the loop takes more work, and whether new sagas may be part of it.
    pub(crate) fn set_room(&self, room: bool, starts: bool) {
        self.room.store(room, Ordering::Relaxed);
        self.starts.store(starts, Ordering::Relaxed);
    }

    /// Whether new sagas may start.
    pub(crate) fn takes_starts(&self) -> bool {
        self.starts.load(Ordering::Relaxed)
    }

    /// Whether the loop takes more work.
    pub(crate) fn has_room(&self) -> bool {
        self.room.load(Ordering::Relaxed)
    }

    /// How many messages wait in vain for being put aside.
    pub(crate) fn set_stuck(&self, n: usize) {
        self.stuck.store(n, Ordering::Relaxed);
    }

    /// How many sagas are left alone since this version cannot read them.
    pub(crate) fn set_unreadable(&self, n: usize) {
        self.unreadable.store(n, Ordering::Relaxed);
    }

    /// What the loop waits for in vain.
    pub(crate) fn set_vain(&self, vain: Vec<&'static str>) {
        *self.vain.lock().unwrap_or_else(PoisonError::into_inner) = vain;
    }

    /// How many dead letters of a queue cannot be kept and stay in it.
    pub(crate) fn set_left(&self, queue: &'static str, n: usize) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.insert(queue, n);
        metrics::left(queue, n);
    }

    /// Whether the store takes turns. Why not stands in the log: whoever asks here may carry no token.
    pub(crate) fn set_store(&self, takes: bool) {
        self.store.store(takes, Ordering::Relaxed);
    }

    /// Whether the store takes turns.
    pub(crate) fn store_takes(&self) -> bool {
        self.store.load(Ordering::Relaxed)
    }

    /// Whether all that is declared stands at the broker.
    pub(crate) fn set_topology(&self, stands: bool) {
        self.topology.store(stands, Ordering::Relaxed);
    }

    /// What is not well beside the store, in short words without addresses or causes; none when all is.
    pub(crate) fn trouble(&self) -> Option<String> {
        let word = |what: &str, link: &Link| match link {
            Link::Up { .. } => None,
            Link::Down { .. } => Some(format!("{what}: away")),
            Link::Blocked { .. } => Some(format!("{what}: blocked by the broker")),
        };
        let state = self.bus.borrow();
        let links = [
            word("consuming", &state.consuming),
            word("publishing", &state.publishing),
        ];
        drop(state);
        let topology =
            (!self.topology.load(Ordering::Relaxed)).then(|| "topology: not declared".to_owned());
        let stuck = match self.stuck.load(Ordering::Relaxed) {
            0 => None,
            n => Some(format!("{n} messages cannot be put aside")),
        };
        let unreadable = match self.unreadable.load(Ordering::Relaxed) {
            0 => None,
            n => Some(format!(
                "{n} sagas are left alone: this version cannot read them, the log names them"
            )),
        };
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let left = left.iter().filter(|(_, n)| **n > 0);
        let left =
            left.map(|(queue, n)| format!("{n} dead letters cannot be kept and stay in {queue}"));
        let vain = self.vain.lock().unwrap_or_else(PoisonError::into_inner);
        let vain = vain.iter().map(|what| (*what).to_owned());
        let all: Vec<String> = links
            .into_iter()
            .chain([topology, stuck, unreadable])
            .flatten()
            .chain(left)
            .chain(vain)
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}
