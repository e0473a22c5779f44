//! One turn of the loop: commit, then publish, acknowledge, answer. A turn that was not committed is given again until it is, or until
//! the process is stopped: nothing of it was acknowledged, so nothing is lost either way.

use std::time::{Duration, Instant};

use baton_bus::{Delivery, Link};
use baton_driver::{Answer, DriverError, Store, Work};
use baton_engine::Verdict;

use super::suspect::Suspect;
use super::{HotError, HotLoop, Piece};
use crate::chain::chain;
use crate::decode::Unusable;
use crate::{clock, decode, metrics};

/// First and longest pause after a commit that failed.
pub(super) const AGAIN_MIN: Duration = Duration::from_millis(100);
pub(super) const AGAIN_MAX: Duration = Duration::from_secs(5);
/// How often the end looks whether everything is confirmed, beside being told.
const END_STEP: Duration = Duration::from_millis(20);

impl<S: Store> HotLoop<S> {
    /// Decides and commits what there is.
    pub(super) async fn turn(&mut self) -> Result<(), HotError> {
        let began = Instant::now();
        if self.pieces.is_empty() && !self.is_due() {
            self.idle_turn = false;
            self.publish();
            return Ok(());
        }
        let before = self.driver.figures();
        let empty = self.pieces.is_empty();
        let told = self.changes.wanted();
        self.driver.note_changes(told);
        self.driver.write_for(self.router.level());
        let Some(answers) = self.committed().await? else {
            return Ok(());
        };
        metrics::turn(self.inputs, began.elapsed());
        self.idle_turn = empty && before == self.driver.figures();
        // The lanes start first: what was decided need not wait for the acknowledgement to be written.
        self.publish();
        self.settle(answers).await;
        let changed = self.driver.take_changed();
        if told {
            self.changes.committed(changed);
        } else if self.changes.wanted() {
            // somebody began to watch while this turn was committed
            self.changes.anything();
        }
        self.health
            .set_room(self.driver.has_room(), self.driver.takes_starts());
        Ok(())
    }

    /// Whether the driver has something to do by itself.
    pub(super) fn is_due(&self) -> bool {
        let wake = self.driver.next_wake();
        wake.is_some_and(|at| at <= clock::steady())
    }

    /// The answers of a committed turn; none when the process is stopped before it could be committed.
    async fn committed(&mut self) -> Result<Option<Vec<Answer>>, HotError> {
        let mut pause = AGAIN_MIN;
        loop {
            let work = self.work();
            let error = match self
                .driver
                .turn(work, clock::steady(), clock::entropy())
                .await
            {
                Ok(answers) => {
                    if pause != AGAIN_MIN {
                        tracing::info!("the store takes commits again");
                        // of a turn that was lost nobody knows what it changed
                        self.changes.anything();
                        self.health.set_store(true);
                    }
                    return Ok(Some(answers));
                }
                Err(error) => temporary(error)?,
            };
            // alive: what is tried alone did not kill
            self.take_back().await;
            if pause == AGAIN_MIN {
                tracing::error!(
                    error = %chain(&error),
                    "the turn was not committed: the store could not be read or written, see the error; nothing is acknowledged, it is tried again until it succeeds"
                );
                self.health.set_store(false);
            }
            if !self.again(&mut pause).await? {
                return Ok(None);
            }
            if !self.begin_again().await {
                self.give_up();
                return Ok(None);
            }
        }
    }

    /// Reads everything in memory anew; false when the process is to stop instead.
    async fn again(&mut self, pause: &mut Duration) -> Result<bool, HotError> {
        loop {
            self.health.beat();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    self.give_up();
                    return Ok(false);
                }
                () = tokio::time::sleep(*pause) => {}
            }
            *pause = (*pause * 2).min(AGAIN_MAX);
            self.lanes.forget();
            self.watch.anew();
            match self.driver.recover_again(clock::steady()).await {
                Ok(()) => {
                    // While nothing was committed the inbox was not read either.
                    self.hold();
                    return Ok(true);
                }
                Err(error) => {
                    let error = chain(&temporary(error)?);
                    tracing::debug!(%error, "the store could not be read anew; it is tried again");
                }
            }
        }
    }

    /// Nothing of this turn is acknowledged or answered: its senders try again.
    fn give_up(&mut self) {
        self.pieces.clear();
        self.inputs = 0;
        self.kept.clear();
    }

    /// The tokens are the places of the inputs, counted through all pieces.
    fn work(&mut self) -> Vec<Work> {
        let mut work = Vec::with_capacity(self.inputs);
        let mut token = 0;
        for piece in &mut self.pieces {
            piece.work(token, &mut work);
            token += piece.inputs() as u64;
        }
        work
    }

    /// After the commit: each piece is acknowledged, put aside or answered.
    async fn settle(&mut self, answers: Vec<Answer>) {
        let mut verdicts: Vec<Option<Verdict>> = vec![None; self.inputs];
        for answer in answers {
            let at = usize::try_from(answer.token).unwrap_or(usize::MAX);
            if let Some(slot) = verdicts.get_mut(at) {
                *slot = Some(answer.verdict);
            }
        }
        self.inputs = 0;
        let mut rest = verdicts.as_mut_slice();
        for piece in std::mem::take(&mut self.pieces) {
            let (verdicts, after) = rest.split_at_mut(piece.inputs().min(rest.len()));
            rest = after;
            self.settle_one(piece, verdicts);
        }
        self.acknowledge().await;
        for kept in self.kept.drain(..) {
            // the intake may have ended; its messages come again and make no second row
            let _ = kept.send(());
        }
    }

    fn settle_one(&mut self, piece: Piece, verdicts: &mut [Option<Verdict>]) {
        match piece {
            Piece::Report { delivery, .. } => {
                let unusable = verdicts.iter().flatten().find_map(unusable);
                self.settle_delivery(delivery, unusable);
            }
            Piece::Batch {
                delivery, broken, ..
            }
            | Piece::Mixed {
                delivery, broken, ..
            } => {
                let refused = verdicts.iter().flatten().find_map(unusable);
                self.settle_delivery(delivery, broken.or(refused));
            }
            Piece::Part { delivery, .. } => {
                if let Some(unusable) = verdicts.iter().flatten().find_map(unusable) {
                    self.put_aside(delivery, unusable);
                }
            }
            Piece::Marker(delivery, marker) => {
                self.frontier.done(delivery.tag);
                let over = self.watch.marker_back(&marker, self.driver.leases());
                self.driver.leases_over(over);
                if self.catch_up.back(&marker) {
                    self.carried.read_to(delivery.tag);
                    self.driver.caught_up();
                    tracing::debug!("the inbox is read up to now; clocks count again");
                }
            }
            Piece::Asked { answer, .. } => {
                // who asked may have gone; what he asked for is committed
                let verdict = verdicts.first_mut().and_then(Option::take);
                let _ = answer.send(verdict.unwrap_or(Verdict::Applied));
            }
            Piece::Dead(_) => {}
        }
    }

    /// All that a message says is committed; what of it nobody can use is why it is put aside, whole.
    fn settle_delivery(&mut self, delivery: Delivery, unusable: Option<Unusable>) {
        self.frontier.done(delivery.tag);
        if let Some(unusable) = unusable {
            self.put_aside(delivery, unusable);
        }
    }

    /// Begins to put one aside; it is not acknowledged before that is confirmed.
    pub(super) fn put_aside(&mut self, delivery: Delivery, unusable: Unusable) {
        self.frontier.parking(delivery.tag);
        self.parking.park(delivery, unusable);
    }

    /// Acknowledges as far as it may.
    pub(super) async fn acknowledge(&mut self) {
        let (Some(inbox), Some(to)) = (&mut self.inbox, self.frontier.advance()) else {
            return;
        };
        if let Err(stale) = inbox.ack_until(&to).await {
            // it is delivered again, and recognised
            tracing::debug!(%stale, "an acknowledgement came too late");
        }
    }

    /// Puts what was committed on its way.
    fn publish(&mut self) {
        let refused = self.lanes.start();
        if !refused.is_empty() {
            tracing::error!(
                commands = refused.len(),
                "commands could not be written as messages; they are tried again"
            );
            self.driver.sent(refused);
        }
    }

    /// The end, in order.
    pub(super) async fn end(mut self, grace: Duration) -> Result<S, HotError> {
        let deadline = tokio::time::Instant::now() + grace;
        if let Some(inbox) = &mut self.inbox {
            inbox.stop_taking().await;
        }
        if !self.pieces.is_empty() {
            self.turn().await?;
        }
        self.dropped().await;
        self.publish();
        while !self.lanes.is_idle() && tokio::time::Instant::now() < deadline {
            self.health.beat();
            let landed = tokio::select! {
                biased;
                landed = self.lanes.landed() => landed,
                () = tokio::time::sleep(END_STEP) => match self.bus.borrow().publishing {
                    // nothing more is confirmed: whoever goes on sends it again
                    Link::Down { .. } => break,
                    _ => continue,
                },
            };
            let sent = landed.map_err(|source| HotError::Lane { source })?;
            self.driver.sent(sent);
            self.publish();
        }
        if let Err(error) = self.driver.write_watermark(clock::steady()).await {
            tracing::warn!(error = %chain(&error), "how far everything is published could not be written; what is in doubt is published again at the next start");
        }
        if let Some(mut inbox) = self.inbox.take() {
            let mut given_back = 0;
            let suspect = self.suspect.take().map(Suspect::into_delivery);
            for delivery in suspect.into_iter().chain(self.waiting.drain(..)) {
                given_back += usize::from(delivery.nack_requeue().await.is_ok());
            }
            given_back += inbox.give_back().await;
            tracing::info!(given_back, "the inbox is given back");
        }
        Ok(self.driver.into_store())
    }
}

fn unusable(verdict: &Verdict) -> Option<Unusable> {
    match verdict {
        Verdict::Refused(refusal) => decode::refused(refusal),
        Verdict::Applied | Verdict::Duplicate | Verdict::Ignored { .. } => None,
    }
}

/// Sorts out what time may mend.
fn temporary(error: DriverError) -> Result<DriverError, HotError> {
    if baton_store::is_gone(&error) {
        return Err(HotError::Driver {
            source: Box::new(error),
        });
    }
    match error {
        DriverError::Lost { .. } | DriverError::Read { .. } | DriverError::NotRecovered { .. } => {
            Ok(error)
        }
        DriverError::Fenced { .. } => Err(HotError::Driver {
            source: Box::new(error),
        }),
    }
}
