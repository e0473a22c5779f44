//! Replays of many, carried out by whoever leads. Every step is committed before the next: letters set out together with the place the operation has reached,
//! and each is counted with what came of it. Whoever leads next finds both, does again what was on its way, and goes on from there.

use std::collections::HashMap;
use std::time::Duration;

use baton_driver::{DeadLetterRow, StoreError};
use baton_messages::Timestamp;
use baton_store::letters::{Claiming, OperationStep};
use baton_store::read::PAGE_ROWS_MAX;
use baton_store::{
    DeadLetterFilter, LetterRow, LetterState, Letters as _, OperationRow, OperationState,
    Reader as _,
};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, interval_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::route::{self, Route};
use super::{Came, NotYet, Orders, Replay, Target};
use crate::chain::chain;
use crate::clock;

/// How often it is looked for operations that another member made or steered.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After how long a single letter that set out is taken over: longer than whoever sent it may wait for the loop and for the broker together.
const SINGLE_AFTER_MS: u64 = 120_000;
/// Single letters that are taken over at a time.
const SINGLES_MAX: usize = 32;
/// Letters that set out together at most: bounds what is in memory, and what is done again after a crash.
const CHUNK_MAX: u32 = 32;
/// Letters that are done side by side.
const SIDE_BY_SIDE: usize = 8;
/// First and longest pause before something is tried again.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Who stops an operation by itself.
const ITSELF: &str = "itself";

impl Replay {
    /// Carries out what runs, until `stop`.
    pub(crate) async fn lead(self, stop: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut under_way, mut known) = (JoinSet::new(), HashMap::new());
        let mut is_first = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = look.tick() => {}
                () = self.poke.notified() => {}
                Some(ended) = under_way.join_next_with_id(), if !under_way.is_empty() => {
                    let task = match &ended {
                        Ok((task, ())) => *task,
                        Err(panicked) => panicked.id(),
                    };
                    let operation = known.remove(&task);
                    if ended.is_err() {
                        tracing::error!(?operation, "a replay of dead letters failed; it is begun anew at the next look");
                    }
                    continue;
                }
            }
            match self.to_carry_out(is_first).await {
                Ok(running) => {
                    metrics::gauge!("baton_orchestrator_dead_operations_running")
                        .set(crate::metrics::float(running.len()));
                    for row in running {
                        if known.values().any(|id| *id == row.id) {
                            continue;
                        }
                        let (replay, stop) = (self.clone(), stop.clone());
                        let task =
                            under_way.spawn(async move { replay.operate(row.id, &stop).await });
                        known.insert(task.id(), row.id);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "replays of dead letters cannot be read; they are looked for again");
                    continue;
                }
            }
            let alone = is_first && self.router.is_alone();
            is_first = false;
            self.singles(alone, &stop).await;
        }
        // what is under way comes to its end, as far as whoever waits for us has patience
        while under_way.join_next().await.is_some() {}
    }

    /// What runs; at first also what was stopped by somebody and may have left letters on their way when its leader died.
    async fn to_carry_out(&self, is_first: bool) -> Result<Vec<OperationRow>, StoreError> {
        let mut found = self.letters.running().await?;
        if is_first {
            let last = self.reader.dead_operations(None, PAGE_ROWS_MAX).await?;
            let ended = |row: &OperationRow| {
                matches!(row.state, OperationState::Running | OperationState::Done)
            };
            found.extend(last.rows.into_iter().filter(|row| !ended(row)));
        }
        Ok(found)
    }

    /// Single letters whose sender is gone. `all`: nobody but this process can be sending one.
    async fn singles(&self, all: bool, stop: &CancellationToken) {
        let before = if all {
            self.began
        } else {
            Timestamp(clock::now().0.saturating_sub(SINGLE_AFTER_MS))
        };
        let left = self.letters.on_their_way(None, before, SINGLES_MAX).await;
        for row in left.unwrap_or_default() {
            let now = &row.now;
            let orders = Orders {
                by: now.changed_by.clone().unwrap_or_default(),
                reason: now.why.clone().unwrap_or_default(),
                // whoever sent it was let through
                force: true,
                target: None,
            };
            if stop.is_cancelled() {
                return;
            }
            if let Err(not) = self.taken_over(&row, &orders).await {
                tracing::warn!(letter = %row.letter.id, why = %not, "a dead letter that was being replayed could not be done again; it is tried later");
            }
        }
    }

    /// A single letter of others is not published a second time: nobody asked for that, and nobody can say whether the first arrived.
    async fn taken_over(&self, row: &LetterRow, orders: &Orders) -> Result<(), NotYet> {
        if is_of_others(&row.letter) {
            let came = Came::failed(
                "nobody wrote down what came of it, so it may have been delivered; look there before it is replayed again",
            );
            self.settled(row, &came).await?;
            return Ok(());
        }
        self.carry(row, orders, true).await
    }

    /// Carries out one operation until it does not run, however often the store has to be asked.
    async fn operate(&self, id: Uuid, stop: &CancellationToken) {
        let mut pause = AGAIN_MIN;
        loop {
            if stop.is_cancelled() {
                return;
            }
            // not cut off by the stop: what is published and not written down would be published again
            match self.next(id, stop).await {
                Ok(true) => pause = AGAIN_MIN,
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(operation = %id, error = %chain(&error), "a replay of dead letters cannot go on; it is tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_MAX);
                }
            }
        }
    }

    /// The next step of an operation; false when there is none for now.
    async fn next(&self, id: Uuid, stop: &CancellationToken) -> Result<bool, StoreError> {
        let Some(row) = self.reader.dead_operation(id).await? else {
            return Ok(false);
        };
        let most = row.rate.clamp(1, CHUNK_MAX);
        let mut pace = pace(row.rate);
        let left = self
            .letters
            .on_their_way(Some(id), Timestamp(u64::MAX), SINGLES_MAX)
            .await?;
        if !left.is_empty() {
            self.all(left, &row, true, &mut pace, stop).await;
            return Ok(true);
        }
        if row.state != OperationState::Running {
            return Ok(false);
        }
        if row.fails_too_often() {
            let of = row.in_stage;
            let why = format!(
                "{} of {} in its stage failed again, which is more than {} in a hundred; look at what they say, then resume or cancel it",
                of.failed,
                of.failed + of.resolved,
                row.stop_at
            );
            tracing::warn!(operation = %id, why, "a replay of dead letters stops by itself");
            self.ends(id, OperationState::Stopped, why).await?;
            return Ok(false);
        }
        if row.room() == 0 {
            let next = OperationStep::Stage(row.stage);
            self.letters.step(id, next).await?;
            return Ok(true);
        }
        let limit = most.min(u32::try_from(row.room()).unwrap_or(u32::MAX));
        let page = self
            .reader
            .dead_letters(of_operation(&row), row.after(), limit as usize)
            .await?;
        let Some(last) = page.rows.last() else {
            let why = "every letter has had its turn".to_owned();
            self.ends(id, OperationState::Done, why).await?;
            return Ok(false);
        };
        let claiming = Claiming {
            operation: id,
            letters: page.rows.iter().map(|row| row.letter.id).collect(),
            cursor: (last.letter.at, last.letter.id),
            at: clock::now(),
        };
        if self.letters.claim(claiming).await?.is_none() {
            return Ok(false);
        }
        // as they stand now: another may have taken some of them
        let taken = self
            .letters
            .on_their_way(Some(id), Timestamp(u64::MAX), SINGLES_MAX)
            .await?;
        self.all(taken, &row, false, &mut pace, stop).await;
        Ok(true)
    }

    async fn ends(&self, id: Uuid, to: OperationState, why: String) -> Result<(), StoreError> {
        let step = OperationStep::Steer {
            from: vec![OperationState::Running],
            to,
            why,
            by: ITSELF.to_owned(),
            at: clock::now(),
        };
        self.letters.step(id, step).await?;
        Ok(())
    }

    /// Does letters that set out, at the operation's pace.
    async fn all(
        &self,
        letters: Vec<LetterRow>,
        of: &OperationRow,
        again: bool,
        pace: &mut Interval,
        stop: &CancellationToken,
    ) {
        let orders = Orders {
            by: of.by.clone(),
            reason: of.reason.clone(),
            force: of.force,
            target: of
                .target
                .clone()
                .map(|(exchange, key)| Target { exchange, key }),
        };
        let mut under_way = FuturesUnordered::new();
        for row in letters {
            if under_way.len() >= SIDE_BY_SIDE {
                under_way.next().await;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                _ = pace.tick() => {}
            }
            under_way.push(self.until_done(row, &orders, again, stop));
        }
        while under_way.next().await.is_some() {}
    }

    async fn until_done(
        &self,
        row: LetterRow,
        orders: &Orders,
        mut again: bool,
        stop: &CancellationToken,
    ) {
        let mut pause = AGAIN_MIN;
        // what was published is not published again because the store does not answer
        let mut came = None;
        loop {
            match self.carry_on(&row, orders, again, &mut came).await {
                Ok(()) => return,
                Err(not) => {
                    if matches!(not, NotYet::Store(_)) {
                        tracing::warn!(letter = %row.letter.id, why = %not, "what came of a dead letter could not be written; it is tried again");
                    }
                    again = true;
                    if stop.is_cancelled() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_MAX);
                }
            }
        }
    }
}

/// Whether a letter is published as it is, wherever it was sent: its sender may have said where to.
fn is_of_others(letter: &DeadLetterRow) -> bool {
    let anywhere = Target {
        exchange: String::new(),
        key: String::new(),
    };
    matches!(route::route(letter, Some(&anywhere)), Ok(Route::Raw(_)))
}

/// A tick for each letter.
fn pace(rate: u32) -> Interval {
    let each = Duration::from_secs(1) / rate.max(1);
    // the first waits too: an operation goes in pieces, and each of them begins here
    let mut pace = interval_at(Instant::now() + each, each);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// The letters an operation takes: those that were dead when it was made, and that nobody has touched since.
fn of_operation(row: &OperationRow) -> DeadLetterFilter {
    let made_at = row.made_at;
    DeadLetterFilter {
        state: Some(LetterState::Dead),
        until: Some(row.filter.until.map_or(made_at, |until| until.min(made_at))),
        changed_until: Some(made_at),
        ..row.filter.clone()
    }
}
