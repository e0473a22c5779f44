//! The usher: has the store admit sagas that wait for what they take before their first step, and tells each, wherever it is driven. Every member has one; the
//! store lets one at a time look. It decides nothing: who is next is the store's rule, what follows is the engine's.
//!
//! It looks when a loop here has committed that something is wanted or let go, when the time of a limit is over, and every half minute whatever happened, so that
//! a nudge that was lost with its process costs no more than that.

use std::sync::Arc;
use std::time::Duration;

use baton_driver::StoreError;
use baton_engine::{Input, Verdict};
use baton_messages::{SagaId, Timestamp};
use baton_store::{AnyReservations, ReservationBook as _};
use futures::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::chain::chain;
use crate::clock;
use crate::cluster::Router;

/// How often the waiting are looked at, whatever happened.
const EVERY: Duration = Duration::from_secs(30);
/// So long after a nudge it is looked, and longer where the last look took longer: under load many nudges are one look, and half the time is left to others.
const PACE: Duration = Duration::from_millis(20);
/// How soon somebody is told again who could not be, or the store asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(1);
/// How long one saga may take to hear of it. Whose partition is changing hands holds up nobody else, and is told again.
const TELL_WAIT: Duration = Duration::from_millis(500);
/// Sagas told side by side: a turn of their loops takes many of them.
const SIDE_BY_SIDE: usize = 64;

/// What an usher works with.
pub(crate) struct Usher {
    pub(crate) book: AnyReservations,
    pub(crate) router: Arc<Router>,
    /// Nudged by the loops of this process.
    pub(crate) nudged: Arc<Notify>,
    pub(crate) stop: CancellationToken,
}

impl Usher {
    /// Looks after the waiting until the process stops.
    pub(crate) async fn run(self) {
        let (mut next, mut tidied, mut said) = (Instant::now(), Instant::now(), false);
        let mut pace = PACE;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.nudged.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            }
            // what happens meanwhile is seen by one look
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pace) => {}
            }
            let began = Instant::now();
            let tidies = self.router.leads() && tidied.elapsed() >= EVERY;
            let looked = self.look(tidies).await;
            pace = began.elapsed().max(PACE);
            if tidies {
                tidied = Instant::now();
            }
            next = match looked {
                Ok(wait) => {
                    said = false;
                    Instant::now() + wait
                }
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::error!(error = %chain(&error), "sagas that wait to be admitted cannot be looked at; it is tried again");
                    }
                    Instant::now() + AGAIN
                }
            };
        }
    }

    /// Looks at all that wait, page by page, and tells whom it has to; answers how long nothing more is to be done, unless something changes.
    async fn look(&self, tidies: bool) -> Result<Duration, StoreError> {
        if tidies {
            self.book.tidy().await?;
        }
        let (mut after, mut all_told) = (None, true);
        loop {
            let now = clock::now();
            let found = self.book.admit(now, after).await?;
            let told = found.admitted.into_iter();
            let told = told.map(|(saga, fences)| (saga, Input::Admitted { fences }));
            let held = found.held_back.into_iter();
            let held = held.map(|saga| (saga, Input::HeldBack));
            all_told &= self.tell(told.chain(held).collect()).await;
            if self.stop.is_cancelled() {
                return Ok(EVERY);
            }
            after = found.next;
            if after.is_none() {
                let wait = if all_told { EVERY } else { AGAIN };
                return Ok(until(found.wake_at, clock::now()).map_or(wait, |due| due.min(wait)));
            }
        }
    }

    /// Tells sagas what became of them; whether each has heard. Who has not is told again: the store knows that he has not said so.
    async fn tell(&self, inputs: Vec<(SagaId, Input)>) -> bool {
        let telling = inputs
            .into_iter()
            .map(|(saga, input)| self.tell_one(saga, input));
        let heard = stream::iter(telling).buffer_unordered(SIDE_BY_SIDE);
        heard.fold(true, async |all, heard| all && heard).await
    }

    async fn tell_one(&self, saga: SagaId, input: Input) -> bool {
        let kind = input.kind();
        let telling = self.router.decided(saga, input, TELL_WAIT);
        let told = tokio::select! {
            told = telling => told,
            () = self.stop.cancelled() => return false,
        };
        match told {
            Ok(Verdict::Refused(why)) => {
                tracing::warn!(saga.id = %saga, kind, %why, "a saga that waits to be admitted cannot hear of it; it is told again");
                true
            }
            Ok(Verdict::Applied | Verdict::Duplicate | Verdict::Ignored { .. }) => true,
            Err(_) => false,
        }
    }
}

/// How long until then; a moment at least, so that a clock that runs ahead of the store's rows makes nobody spin.
fn until(at: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    at.map(|at| Duration::from_millis(at.since_ms(now)).max(Duration::from_millis(50)))
}
