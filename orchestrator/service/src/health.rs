//! What is said of the process to whoever asks: that its loops turn, that the store takes commits, how the broker is. Written by the
//! parts, read by `/healthz`, `/readyz` and the API; nothing here decides anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_bus::{BusState, Link};
use baton_driver::Figures;
use tokio::sync::watch;

use crate::metrics;

/// After how long without a turn of the loop the process counts as stuck: longer than a commit on a slow disk, or a locked database, takes.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(60);

/// After how long without a turn a loop takes no new sagas: its commits take so long that more of them would only wait behind what is there.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// How one loop is: written by it alone.
#[derive(Debug)]
pub(crate) struct Pulse {
    begun: Instant,
    beat_ms: AtomicU64,
    room: AtomicBool,
    starts: AtomicBool,
    stuck: AtomicUsize,
    parking: AtomicUsize,
    vain: Mutex<Vec<&'static str>>,
    store: AtomicBool,
    retention: AtomicBool,
    figures: Mutex<Figures>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            beat_ms: AtomicU64::new(0),
            room: AtomicBool::new(true),
            starts: AtomicBool::new(true),
            stuck: AtomicUsize::new(0),
            parking: AtomicUsize::new(0),
            vain: Mutex::default(),
            store: AtomicBool::new(true),
            retention: AtomicBool::new(true),
            figures: Mutex::default(),
        }
    }
}

impl Pulse {
    /// The loop turns.
    pub(crate) fn beat(&self) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(ms, Ordering::Relaxed);
    }

    /// How long ago the loop last turned.
    fn still_for(&self) -> Duration {
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
        self.starts.load(Ordering::Relaxed) && self.still_for() < SLOW_AFTER
    }

    /// Whether the loop takes more work.
    pub(crate) fn has_room(&self) -> bool {
        self.room.load(Ordering::Relaxed)
    }

    /// How many messages are being put aside, and how many of them in vain.
    pub(crate) fn set_parking(&self, parking: usize, stuck: usize) {
        self.parking.store(parking, Ordering::Relaxed);
        self.stuck.store(stuck, Ordering::Relaxed);
    }

    /// What the loop waits for in vain.
    pub(crate) fn set_vain(&self, vain: Vec<&'static str>) {
        *self.vain.lock().unwrap_or_else(PoisonError::into_inner) = vain;
    }

    /// Whether the store takes turns. Why not stands in the log: whoever asks here may carry no token.
    pub(crate) fn set_store(&self, takes: bool) {
        self.store.store(takes, Ordering::Relaxed);
    }

    /// Whether ended sagas could be archived and purged when that was last tried.
    pub(crate) fn set_retention(&self, works: bool) {
        self.retention.store(works, Ordering::Relaxed);
    }

    /// What the driver holds.
    pub(crate) fn set_figures(&self, figures: Figures) {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    fn figures(&self) -> Figures {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the process is.
#[derive(Debug)]
pub(crate) struct Health {
    pulses: Mutex<BTreeMap<u8, Arc<Pulse>>>,
    left: Mutex<BTreeMap<String, usize>>,
    /// Queues of others that are taken in, and whether they are consumed.
    adopted: Mutex<BTreeMap<String, bool>>,
    database: AtomicBool,
    topology: AtomicBool,
    bus: watch::Receiver<BusState>,
}

impl Health {
    pub(crate) fn new(bus: watch::Receiver<BusState>) -> Self {
        Self {
            pulses: Mutex::default(),
            left: Mutex::default(),
            adopted: Mutex::default(),
            database: AtomicBool::new(true),
            topology: AtomicBool::new(false),
            bus,
        }
    }

    /// A loop begins.
    pub(crate) fn begins(&self, partition: u8) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse::default());
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.insert(partition, pulse.clone());
        pulse
    }

    /// A loop has ended.
    pub(crate) fn ends(&self, partition: u8) {
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.remove(&partition);
    }

    fn pulses(&self) -> Vec<(u8, Arc<Pulse>)> {
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.iter().map(|(of, one)| (*of, one.clone())).collect()
    }

    /// How long ago the loop that is most behind last turned.
    pub(crate) fn still_for(&self) -> Duration {
        let pulses = self.pulses();
        let still = pulses.iter().map(|(_, pulse)| pulse.still_for());
        still.max().unwrap_or_default()
    }

    /// How many dead letters of a queue cannot be kept and stay in it.
    pub(crate) fn set_left(&self, queue: &str, n: usize) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.insert(queue.to_owned(), n);
        metrics::left(queue, n);
    }

    /// Whether a queue of another system is consumed; true when that has changed.
    pub(crate) fn set_adopted(&self, queue: &str, consumed: bool) -> bool {
        let mut adopted = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        metrics::adopted(queue, consumed);
        adopted.insert(queue.to_owned(), consumed) != Some(consumed)
    }

    /// They are taken in by another member, or by nobody.
    pub(crate) fn adopts_no_more(&self) {
        let mut adopted = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in std::mem::take(&mut *adopted).into_keys() {
            metrics::adopted(&queue, false);
        }
    }

    /// Whether the database answers this member of its cluster.
    pub(crate) fn set_database(&self, answers: bool) {
        self.database.store(answers, Ordering::Relaxed);
    }

    /// Whether the store takes turns.
    pub(crate) fn store_takes(&self) -> bool {
        let takes = |(_, pulse): &(u8, Arc<Pulse>)| pulse.store.load(Ordering::Relaxed);
        self.database.load(Ordering::Relaxed) && self.pulses().iter().all(takes)
    }

    /// Whether the broker is there.
    pub(crate) fn reaches_the_broker(&self) -> bool {
        let state = self.bus.borrow();
        let up = |link: &Link| !matches!(link, Link::Down { .. });
        up(&state.publishing) && up(&state.consuming)
    }

    /// Whether all that is declared stands at the broker.
    pub(crate) fn set_topology(&self, stands: bool) {
        self.topology.store(stands, Ordering::Relaxed);
    }

    /// The loops in numbers.
    pub(crate) fn gauges(&self) {
        let pulses = self.pulses();
        let figures: Vec<(u8, Figures)> = pulses
            .iter()
            .map(|(of, pulse)| (*of, pulse.figures()))
            .collect();
        metrics::figures(&figures);
        let parking = pulses
            .iter()
            .map(|(_, pulse)| pulse.parking.load(Ordering::Relaxed));
        metrics::parking(parking.sum());
        metrics::vain(vain(&pulses).len());
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
        let pulses = self.pulses();
        let stuck = pulses
            .iter()
            .map(|(_, pulse)| pulse.stuck.load(Ordering::Relaxed));
        let stuck = match stuck.sum::<usize>() {
            0 => None,
            n => Some(format!("{n} messages cannot be put aside")),
        };
        let unreadable = pulses.iter().map(|(_, pulse)| pulse.figures().unreadable);
        let unreadable = match unreadable.sum::<usize>() {
            0 => None,
            n => Some(format!(
                "{n} sagas are left alone: this version cannot read them, the log names them"
            )),
        };
        let keeps = |(_, pulse): &(u8, Arc<Pulse>)| pulse.retention.load(Ordering::Relaxed);
        let retention = (!pulses.iter().all(keeps))
            .then(|| "ended sagas cannot be archived and purged: see the log".to_owned());
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let left = left.iter().filter(|(_, n)| **n > 0);
        let left =
            left.map(|(queue, n)| format!("{n} dead letters cannot be kept and stay in {queue}"));
        let adopted = self.adopted.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = adopted.iter().filter(|(_, consumed)| !**consumed);
        let missing = missing.map(|(queue, _)| {
            format!(
                "the adopted queue {queue} is not consumed: it is not there, or may not be read"
            )
        });
        let all: Vec<String> = links
            .into_iter()
            .chain([topology, stuck, unreadable, retention])
            .flatten()
            .chain(left)
            .chain(missing)
            .chain(vain(&pulses).into_iter().map(str::to_owned))
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// What loops wait for in vain, each thing once.
fn vain(pulses: &[(u8, Arc<Pulse>)]) -> BTreeSet<&'static str> {
    let of = |pulse: &Pulse| {
        let vain = pulse.vain.lock().unwrap_or_else(PoisonError::into_inner);
        vain.clone()
    };
    pulses.iter().flat_map(|(_, pulse)| of(pulse)).collect()
}
