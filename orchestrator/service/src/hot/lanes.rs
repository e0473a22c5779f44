//! The outlet: committed commands wait here until a lane is free, then leave many at once; what became of each comes back to the loop.
//! Nothing here waits for the broker in the loop itself, and the slower the broker the larger the batches become by themselves.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use baton_bus::Publisher;
use baton_driver::{Outgoing, Outlet, Sent, Ticket};
use baton_store::Layout;
use tokio::task::{JoinError, JoinSet};

use super::letter::letter;
use super::together::{Parcel, Together};
use crate::clock;

/// Most messages handed to one lane at once: one full turn. Smaller, and the confirms of a turn are awaited in pieces; larger, and one
/// lost channel leaves more in doubt.
const PARCELS_MAX: usize = 512;

#[derive(Debug, Default)]
struct Waiting {
    parcels: VecDeque<Parcel>,
    /// What could not become a message, told with the next results.
    refused: Vec<(Ticket, Sent)>,
}

/// The end the driver holds. What waits is bounded by the driver, which takes no work while too much is under way.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    /// Which partition has which saga: words go from one to another.
    layout: Arc<Layout>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Outlet for Outbox {
    fn publish(&mut self, commands: Vec<Outgoing>) {
        let now = clock::now();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for out in commands {
            let ticket = out.ticket;
            match letter(out.saga, &out.command, &self.layout, now) {
                Some(message) => waiting.parcels.push_back(Parcel {
                    tickets: vec![ticket],
                    message,
                }),
                None => waiting.refused.push((ticket, Sent::Nacked)),
            }
        }
    }
}

impl Outbox {
    pub(crate) fn new(layout: Arc<Layout>) -> Self {
        Self {
            layout,
            waiting: Arc::default(),
        }
    }

    fn take(&self, most: usize) -> Vec<Parcel> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let n = waiting.parcels.len().min(most);
        waiting.parcels.drain(..n).collect()
    }

    fn take_refused(&self) -> Vec<(Ticket, Sent)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut waiting.refused)
    }

    /// Forgets what has not left: the driver has dropped everything in memory and will say it again.
    pub(crate) fn forget(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.parcels.clear();
        waiting.refused.clear();
    }

    fn is_empty(&self) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.parcels.is_empty() && waiting.refused.is_empty()
    }
}

/// The end the loop holds: a few batches under way side by side.
#[derive(Debug)]
pub(crate) struct Lanes {
    outbox: Outbox,
    publisher: LanePublisher,
    together: Together,
    lanes: usize,
    flying: JoinSet<Vec<(Ticket, Sent)>>,
}

/// [`Publisher`] has no `Debug`.
struct LanePublisher(Publisher);

impl std::fmt::Debug for LanePublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Publisher")
    }
}

impl Lanes {
    pub(crate) fn new(
        outbox: Outbox,
        publisher: Publisher,
        together: Together,
        lanes: usize,
    ) -> Self {
        Self {
            outbox,
            together,
            publisher: LanePublisher(publisher),
            lanes,
            flying: JoinSet::new(),
        }
    }

    /// Puts what waits on free lanes. Call it after every turn and whenever a lane has come back.
    pub(crate) fn start(&mut self) -> Vec<(Ticket, Sent)> {
        while self.flying.len() < self.lanes {
            let parcels = self.outbox.take(PARCELS_MAX);
            if parcels.is_empty() {
                break;
            }
            let publisher = self.publisher.0.clone();
            let parcels = self.together.packed(parcels);
            self.flying.spawn(deliver(publisher, parcels));
        }
        self.outbox.take_refused()
    }

    /// What became of one batch; waits for ever while none is under way.
    ///
    /// # Errors
    /// When a lane ended by itself: what it carried would count as under way for ever, so the process has to begin again.
    pub(crate) async fn landed(&mut self) -> Result<Vec<(Ticket, Sent)>, JoinError> {
        match self.flying.join_next().await {
            Some(landed) => landed,
            None => std::future::pending().await,
        }
    }

    /// What became of a batch that has landed already, if one has.
    ///
    /// # Errors
    /// As [`Lanes::landed`].
    pub(crate) fn try_landed(&mut self) -> Option<Result<Vec<(Ticket, Sent)>, JoinError>> {
        self.flying.try_join_next()
    }

    /// Whether everything handed over is confirmed or known not to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.flying.is_empty() && self.outbox.is_empty()
    }

    /// Forgets what has not left.
    pub(crate) fn forget(&self) {
        self.outbox.forget();
    }
}

async fn deliver(publisher: Publisher, parcels: Vec<Parcel>) -> Vec<(Ticket, Sent)> {
    let (tickets, messages): (Vec<Vec<Ticket>>, Vec<_>) = parcels
        .into_iter()
        .map(|parcel| (parcel.tickets, parcel.message))
        .unzip();
    let sent = publisher.publish(messages).await;
    let sent = sent.into_iter().map(|sent| match sent {
        baton_bus::Sent::Confirmed => Sent::Confirmed,
        baton_bus::Sent::Returned { .. } => Sent::Returned,
        baton_bus::Sent::Nacked => Sent::Nacked,
        baton_bus::Sent::NotSent { .. } => Sent::NotSent,
        baton_bus::Sent::Unknown { .. } => Sent::Unknown,
    });
    let each = tickets.into_iter().zip(sent);
    each.flat_map(|(tickets, sent)| tickets.into_iter().map(move |ticket| (ticket, sent)))
        .collect()
}
