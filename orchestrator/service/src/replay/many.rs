//! Replays of many, carried out by whoever leads. Every step is committed before the next: letters set out together with the place the operation has reached,
//! and each is counted with what came of it. Whoever leads next finds both, does again what was on its way, and goes on from there.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use baton_bus::Link;
use baton_driver::{DeadLetterRow, StoreError};
use baton_engine::SagaState;
use baton_messages::{SagaId, Timestamp};
use baton_store::letters::{Claiming, OperationStep, Settling, Waiting, Written};
use baton_store::{
    DeadLetterCursor, DeadLetterFilter, LetterRow, LetterState, Letters as _, OperationRow,
    OperationState, Reader as _,
};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::held::{self, NotGone, Piece, Place, place};
use super::once_more::{Late, Lates, Try, left_over};
use super::pace::Pace;
use super::route::{self, Route};
use super::{Came, NotYet, Orders, Replay, Target, outcome};
use crate::api::folded;
use crate::chain::chain;
use crate::{clock, metrics};

/// How often it is looked for operations that another member made or steered.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After how long a single letter that set out is taken over: longer than whoever sent it may wait for the loop and for the broker together.
const SINGLE_AFTER_MS: u64 = 120_000;
/// Single letters that are taken over at a time.
const SINGLES_MAX: usize = 32;
/// Letters that set out together at most: bounds what is in memory, and what is done again after a crash.
const CHUNK_MAX: u32 = 32;
/// Letters of one operation that are read at a time of those on their way: as many as set out together. What is held since a crash may lie before them, some of
/// each: it is read past.
const ON_THEIR_WAY_AT_ONCE: usize = CHUNK_MAX as usize;
/// Bytes of their bodies at most, but for one that is larger alone.
const CHUNK_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Letters that are done side by side at most: what sets out before a queue that is full is known to be.
const SIDE_BY_SIDE: usize = 16;
/// First and longest pause before something is tried again.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// How often it is asked whether an operation still runs, while its letters go.
const STEERED_EVERY: Duration = Duration::from_millis(200);
/// Letters whose outcome is looked for at a time; and letters of a stage at most that are looked at before all others.
const WAITING_MAX: usize = 256;
/// How it begins when an operation says that it gets no further for now.
const WAITS: &str = "it waits: ";
/// How it begins when it goes on without some of its letters.
const PASSES: &str = "passed over until it is taken: ";
/// Who stops an operation by itself.
const ITSELF: &str = "itself";

/// What is done beside the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Operation(Uuid),
    /// Single letters whose sender is gone.
    Singles,
}

impl Replay {
    /// Carries out what runs, until `stop`.
    pub(crate) async fn lead(self, stop: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut under_way, mut known) = (JoinSet::new(), HashMap::new());
        let mut is_first = true;
        let mut looked = None;
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
                    let work = known.remove(&task);
                    if ended.is_err() {
                        tracing::error!(?work, "a replay of dead letters failed; it is begun anew at the next look");
                    }
                    continue;
                }
            }
            let alone = is_first && self.router.is_alone();
            is_first = false;
            let mut to_do = vec![Work::Singles];
            match self.letters.running().await {
                Ok(some) => {
                    let runs = |row: &&OperationRow| row.state == OperationState::Running;
                    let waits = |row: &&OperationRow| runs(row) && row.why.starts_with(WAITS);
                    metrics::dead_operations_running(some.iter().filter(runs).count());
                    metrics::dead_operations("waiting", some.iter().filter(waits).count());
                    to_do.extend(some.iter().map(|row| Work::Operation(row.id)));
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "replays of dead letters cannot be read; they are looked for again");
                    continue;
                }
            }
            for work in to_do {
                if known.values().any(|one| *one == work) {
                    continue;
                }
                let (replay, stop) = (self.clone(), stop.clone());
                let task = under_way.spawn(async move {
                    match work {
                        Work::Operation(id) => replay.operate(id, &stop).await,
                        Work::Singles => replay.singles(alone, &stop).await,
                    }
                });
                known.insert(task.id(), work);
            }
            match self.outcomes(&mut looked).await {
                // whatever waited for them goes on, and the next ones are looked at
                Ok(true) => self.poke.notify_one(),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "what came of replayed dead letters cannot be read; it is looked for again");
                }
            }
        }
        // whoever leads next says how many there are
        metrics::dead_operations_running(0);
        metrics::dead_operations("waiting", 0);
        // what is under way comes to its end, as far as whoever waits for us has patience
        while under_way.join_next().await.is_some() {}
    }

    /// Looks for what came of letters that were sent, some at a time, from the one after the last; true when something did.
    async fn outcomes(&self, looked: &mut Option<Uuid>) -> Result<bool, StoreError> {
        let waiting = self.letters.waiting(*looked, WAITING_MAX).await?;
        let is_full = waiting.len() == WAITING_MAX;
        *looked = waiting.last().filter(|_| is_full).map(|last| last.letter);
        self.known_of(waiting).await
    }

    /// The same of what the stage of an operation waits for, where that is little: a canary does not wait its turn behind all that others sent.
    async fn outcomes_of(&self, row: &OperationRow) -> Result<bool, StoreError> {
        if !(1..=WAITING_MAX as u64).contains(&row.in_stage.open()) {
            return Ok(false);
        }
        let waiting = self
            .letters
            .waiting_in(row.id, row.leg, WAITING_MAX)
            .await?;
        self.known_of(waiting).await
    }

    /// Writes down what came of letters, where that is known; true when it is of any.
    async fn known_of(&self, waiting: Vec<Waiting>) -> Result<bool, StoreError> {
        // each saga is folded once for all letters of it
        let mut of_saga: BTreeMap<SagaId, Vec<Waiting>> = BTreeMap::new();
        for waits in waiting {
            of_saga.entry(waits.attempt.saga).or_default().push(waits);
        }
        let (mut known, mut unread) = (Vec::new(), None);
        for (saga, letters) in of_saga {
            match folded(&self.reader, saga).await {
                Ok(found) => known.extend(settled_by(found.map(|found| found.state), letters)),
                // the others are looked at all the same
                Err(error) => unread = Some((saga, error)),
            }
        }
        let mut any = false;
        if !known.is_empty() {
            any = self.letters.write_down(known).await?.contains(&true);
        }
        if let Some((saga, error)) = unread {
            tracing::warn!(saga.id = %saga, error = %chain(&error), "what came of replayed dead letters cannot be read from their saga; it is looked for again");
        }
        Ok(any)
    }

    /// Single letters whose sender is gone. `all`: nobody but this process can be sending one.
    async fn singles(&self, all: bool, stop: &CancellationToken) {
        let before = if all {
            self.began
        } else {
            Timestamp(clock::now().0.saturating_sub(SINGLE_AFTER_MS))
        };
        let mut after = None;
        loop {
            let left = self
                .letters
                .on_their_way(None, before, after, SINGLES_MAX)
                .await
                .unwrap_or_default();
            let is_last = left.len() < SINGLES_MAX;
            // those that cannot be done now keep none back that lie behind them
            after = left.last().map(last_of).or(after);
            for row in left {
                let now = &row.now;
                let orders = Orders {
                    by: now.changed_by.clone().unwrap_or_default(),
                    reason: now.why.clone().unwrap_or_default(),
                    // whoever sent it was let through
                    force: true,
                    target: None,
                    redirect: Vec::new(),
                };
                if stop.is_cancelled() {
                    return;
                }
                if let Err(not) = self.taken_over(&row, &orders, stop).await {
                    tracing::warn!(letter = %row.letter.id, why = %not, "a dead letter that was being replayed could not be done again; it is tried later");
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// A single letter of others is not published a second time: nobody asked for that, and nobody can say whether the first arrived.
    async fn taken_over(
        &self,
        row: &LetterRow,
        orders: &Orders,
        stop: &CancellationToken,
    ) -> Result<(), NotYet> {
        if is_of_others(&row.letter) {
            let came = Came::failed(
                "nobody wrote down what came of it, so it may have been delivered; look there before it is replayed again",
            );
            self.settled(row, &came).await?;
            return Ok(());
        }
        let (mut did, mut lates) = (None, Lates::new(self.router.lease()));
        loop {
            let carried = self.carry_on(row, orders, Try::Alone, &mut did).await;
            let Err(not) = carried else { return Ok(()) };
            match lates.saw(row, &not, Try::Alone, Instant::now()) {
                Late::Again if !stop.is_cancelled() => {}
                Late::TooOften(came) => did = Some(came.into()),
                Late::Again | Late::No => return Err(not),
            }
        }
    }

    /// Carries out one operation until it does not run, however often the store has to be asked.
    async fn operate(&self, id: Uuid, stop: &CancellationToken) {
        let mut pause = AGAIN_MIN;
        // of all its pieces together
        let mut pace = None;
        loop {
            if stop.is_cancelled() {
                return;
            }
            // not cut off by the stop: what is published and not written down would be published again
            match self.next(id, &mut pace, stop).await {
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

    /// The next step of an operation; false when there is none for now: it is looked at again when something came of a letter, or a moment later.
    async fn next(
        &self,
        id: Uuid,
        pace: &mut Option<Pace>,
        stop: &CancellationToken,
    ) -> Result<bool, StoreError> {
        let Some(row) = self.reader.dead_operation(id).await? else {
            return Ok(false);
        };
        let pace = pace.get_or_insert_with(|| Pace::new(row.rate));
        let orders = orders(&row);
        if row.state != OperationState::Running {
            return self.last_ones(&row, &orders, (pace, stop)).await;
        }
        // what goes where nothing is taken keeps none of the others back
        let goes = |one: &LetterRow| !held::is_held(&row, one, &orders);
        let left = self.left_of(id, ON_THEIR_WAY_AT_ONCE, goes).await?;
        if !left.is_empty() {
            let piece = Piece::new(&left, &row, row.cursor, &orders);
            return self
                .all((left, piece), &row, (&orders, true), (pace, stop))
                .await;
        }
        let waits = waits_for(&row);
        if let Some(many) = row.fails_too_often(waits.is_none()) {
            let why = format!(
                "{} of {} in {} failed again, which is more than {} in a hundred; look at what they say, then resume or cancel it",
                many.failed, many.known, many.of, row.stop_at
            );
            return self.stops(id, why).await;
        }
        if let Some(why) = self.hindered() {
            self.says(&row, &why).await?;
            return Ok(false);
        }
        if row.room() == 0 {
            return self.stage_ends(&row, waits, (&orders, stop)).await;
        }
        let (letters, last) = self.whose_turn(&row, &orders).await?;
        let Some(cursor) = last else {
            return self.had_their_turn(&row, waits).await;
        };
        let Some(taken) = self.set_out(&row, letters, cursor).await? else {
            return Ok(false);
        };
        if taken.is_empty() {
            return Ok(true);
        }
        let piece = Piece::new(&taken, &row, Some(cursor), &orders);
        self.all((taken, piece), &row, (&orders, false), (pace, stop))
            .await
    }

    /// Letters of an operation on their way of which nobody has written down whether they were sent, those that are wanted, as many at least where there are so
    /// many. However many lie before them they are found: what is held since a crash stays on its way.
    async fn left_of(
        &self,
        id: Uuid,
        least: usize,
        is_wanted: impl Fn(&LetterRow) -> bool + Send,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let (mut wanted, mut after) = (Vec::new(), None);
        loop {
            let page = self.left_after(id, after).await?;
            let is_last = page.len() < ON_THEIR_WAY_AT_ONCE;
            after = page.last().map(last_of);
            wanted.extend(page.into_iter().filter(&is_wanted));
            if is_last || wanted.len() >= least {
                return Ok(wanted);
            }
        }
    }

    async fn left_after(
        &self,
        id: Uuid,
        after: Option<DeadLetterCursor>,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let whenever = Timestamp(u64::MAX);
        let left = self
            .letters
            .on_their_way(Some(id), whenever, after, ON_THEIR_WAY_AT_ONCE);
        left.await
    }

    /// Does again what an operation that does not run has left on its way, each once in a look. Nobody waits for what nothing takes where it goes: that has failed.
    async fn last_ones(
        &self,
        row: &OperationRow,
        orders: &Orders,
        (pace, stop): (&mut Pace, &CancellationToken),
    ) -> Result<bool, StoreError> {
        let mut after = None;
        loop {
            let left = self.left_after(row.id, after).await?;
            let is_last = left.len() < ON_THEIR_WAY_AT_ONCE;
            after = left.last().map(last_of);
            if !left.is_empty() {
                let piece = Piece::new(&left, row, row.cursor, orders);
                self.all((left, piece), row, (orders, true), (&mut *pace, stop))
                    .await?;
            }
            // it is looked at again a moment later
            if is_last || stop.is_cancelled() || self.hindered().is_some() {
                return Ok(false);
            }
        }
    }

    /// Has letters set out, in one transaction with the place the operation has reached: those that have, in their order. None: it does not run.
    async fn set_out(
        &self,
        row: &OperationRow,
        letters: Vec<Uuid>,
        cursor: Place,
    ) -> Result<Option<Vec<LetterRow>>, StoreError> {
        let claiming = Claiming {
            operation: row.id,
            letters,
            cursor,
            at: clock::now(),
        };
        let Some(set_out) = self.letters.claim(claiming).await? else {
            return Ok(None);
        };
        if set_out.is_empty() {
            return Ok(Some(Vec::new()));
        }
        // as they stand now: another may have taken some of them
        let is_one = |one: &LetterRow| set_out.contains(&one.letter.id);
        let mut taken = self.left_of(row.id, set_out.len(), is_one).await?;
        taken.sort_by_key(place);
        if !row.filter.oldest_first {
            taken.reverse();
        }
        Ok(Some(taken))
    }

    /// The letters whose turn it is, one alone where the last that was tried was not taken; and how far it has looked then. None: it has looked at all.
    async fn whose_turn(
        &self,
        row: &OperationRow,
        orders: &Orders,
    ) -> Result<(Vec<Uuid>, Option<Place>), StoreError> {
        let most = if row.why.starts_with(WAITS) {
            1
        } else {
            row.rate.clamp(1, CHUNK_MAX)
        };
        let most = most.min(u32::try_from(row.room()).unwrap_or(u32::MAX));
        // what is passed over does not count
        let looked_at = if row.held.is_empty() { most } else { CHUNK_MAX };
        let page = self
            .reader
            .dead_letter_heads(of_operation(row), row.after(), looked_at as usize)
            .await?
            .whole("dead letters, to replay them")?;
        let is_passed = |one: &LetterRow| held::is_passed(row, one, orders);
        let (some, last) = held::turn(&page.rows, is_passed, (most as usize, CHUNK_BYTES_MAX));
        // a page without letters and with a place has looked so far and found none yet
        let looked = page.next.map(|next| (next.at, next.id));
        Ok((some, last.or(looked)))
    }

    /// The next stage, once it is known what came of this one, or the wait for it is over.
    async fn stage_ends(
        &self,
        row: &OperationRow,
        waits: Option<String>,
        (orders, stop): (&Orders, &CancellationToken),
    ) -> Result<bool, StoreError> {
        let Some(held) = self.held_of_stage(row, orders, stop).await? else {
            return Ok(true);
        };
        if let Some(why) = waits {
            return self.waits_on(row, &why).await;
        }
        let of = row.in_stage;
        if of.open() > 0 && of.resolved + of.failed == 0 {
            if of.open() <= held
                && let Some(why) = held::said(row)
            {
                self.says(row, &format!("{WAITS}{why}")).await?;
                return Ok(false);
            }
            let why = format!(
                "after {} s nobody knows what came of any letter of its stage; look at their sagas (`baton dead --operation {} --state replaying`), then resume or cancel it",
                row.wait_s, row.id
            );
            return self.stops(row.id, why).await;
        }
        let next = OperationStep::Stage(row.stage);
        self.letters.step(row.id, next).await?;
        Ok(true)
    }

    /// Does again the letters of its stage that were on their way when a process died, and go where it waits for something to take them: that nothing is known of
    /// these says nothing of the others. How many still wait; none where something came of one.
    async fn held_of_stage(
        &self,
        row: &OperationRow,
        orders: &Orders,
        stop: &CancellationToken,
    ) -> Result<Option<u64>, StoreError> {
        if row.held.is_empty() {
            return Ok(Some(0));
        }
        let is_one =
            |one: &LetterRow| one.now.stage == Some(row.leg) && held::is_held(row, one, orders);
        let mut held = 0;
        for one in self.left_of(row.id, ON_THEIR_WAY_AT_ONCE, is_one).await? {
            let done = self.until_done(one, orders, (Try::Alone, true), stop).await;
            if done.is_none() {
                return Ok(None);
            }
            held += 1;
        }
        Ok(Some(held))
    }

    /// Goes on where something came of what is waited for; else says what that is.
    async fn waits_on(&self, row: &OperationRow, why: &str) -> Result<bool, StoreError> {
        if self.outcomes_of(row).await? {
            return Ok(true);
        }
        self.says(row, why).await?;
        Ok(false)
    }

    /// Done, once it is known what came of the last ones, or the wait for them is over, and nothing is held any more: what is, is tried again in turn.
    async fn had_their_turn(
        &self,
        row: &OperationRow,
        waits: Option<String>,
    ) -> Result<bool, StoreError> {
        if let (Some(first), Some(why)) = (row.held.first(), held::said(row)) {
            // it is looked at again a moment later
            let again = OperationStep::Again {
                to: first.to.clone(),
                cursor: row.cursor,
            };
            self.says(row, &format!("{WAITS}{why}")).await?;
            self.letters.step(row.id, again).await?;
            return Ok(false);
        }
        if let Some(why) = waits {
            return self.waits_on(row, &why).await;
        }
        let why = row.said_of_all();
        self.ends(row.id, OperationState::Done, why).await?;
        Ok(false)
    }

    async fn stops(&self, id: Uuid, why: String) -> Result<bool, StoreError> {
        tracing::warn!(operation = %id, why, "a replay of dead letters stops by itself");
        self.ends(id, OperationState::Stopped, why).await?;
        Ok(false)
    }

    /// Why nothing can be published now.
    fn hindered(&self) -> Option<String> {
        match &self.bus.state().borrow().publishing {
            Link::Up { .. } => None,
            Link::Blocked { why, .. } => {
                Some(format!("{WAITS}the broker takes no messages now ({why})"))
            }
            Link::Down { .. } => Some(format!("{WAITS}there is no connection to the broker")),
        }
    }

    /// Says why an operation that runs gets no further, once.
    async fn says(&self, row: &OperationRow, why: &str) -> Result<(), StoreError> {
        if row.why == why {
            return Ok(());
        }
        self.ends(row.id, OperationState::Running, why.to_owned())
            .await
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

    /// Does letters that set out, at the operation's pace; true when it goes on at once. What was not begun when somebody steers it, and what nothing takes now,
    /// stands as it did before and has its turn again; what nothing takes where it goes keeps none of the others back.
    async fn all(
        &self,
        (letters, mut piece): (Vec<LetterRow>, Piece),
        of: &OperationRow,
        (orders, again): (&Orders, bool),
        (pace, stop): (&mut Pace, &CancellationToken),
    ) -> Result<bool, StoreError> {
        let how = if again { Try::Alone } else { Try::First };
        let runs = of.state == OperationState::Running;
        let mut under_way = FuturesUnordered::new();
        let mut asked_at = Instant::now();
        let mut rest = letters.into_iter();
        while let Some(row) = rest.next() {
            if under_way.len() >= SIDE_BY_SIDE {
                note(under_way.next().await, &mut piece);
            }
            if piece.passes(row.letter.id) {
                continue;
            }
            // what has set out goes on while the next one waits for its moment
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = pace.tick() => break,
                    Some(done) = under_way.next(), if !under_way.is_empty() => note(Some(done), &mut piece),
                }
            }
            let steered = !again && asked_at.elapsed() >= STEERED_EVERY && {
                asked_at = Instant::now();
                // a look that fails cuts nothing off that is published and not written down: the next one asks again
                !self.runs(of.id).await.unwrap_or(true)
            };
            if stop.is_cancelled() || steered || piece.why().is_some() {
                piece.not_begun(row.letter.id);
                for row in rest.by_ref() {
                    piece.not_begun(row.letter.id);
                }
                break;
            }
            under_way.push(self.until_done(row, orders, (how, runs), stop));
        }
        while let Some(done) = under_way.next().await {
            note(Some(done), &mut piece);
        }
        // those that may have been sent before a crash stay on their way, and are done again
        if let Some(given) = piece.giving_back(of, again) {
            self.letters.give_back(given).await?;
        }
        self.given_up(&piece, of, again).await?;
        self.says_of(&piece, of).await
    }

    /// Says what letters that set out met; true when the operation goes on at once.
    async fn says_of(&self, piece: &Piece, of: &OperationRow) -> Result<bool, StoreError> {
        let waited = of.why.starts_with(WAITS);
        match (piece.why(), piece.why_held()) {
            (Some(why), _) => {
                self.says(of, &format!("{WAITS}{why}")).await?;
                return Ok(false);
            }
            // where it waits for nothing else that is said already
            (None, Some(_)) if waited => {}
            (None, Some(why)) => self.says(of, &format!("{PASSES}{why}")).await?,
            (None, None) if waited => self.says(of, "").await?,
            (None, None) => {}
        }
        // one that somebody ended only has its last letters looked at again, a moment later
        Ok(of.state == OperationState::Running)
    }

    async fn runs(&self, operation: Uuid) -> Result<bool, StoreError> {
        let found = self.reader.dead_operation(operation).await?;
        Ok(found.is_some_and(|row| row.state == OperationState::Running))
    }

    /// Does one letter until it is written down what came of it; or says that it was certainly not sent now. `runs`: its operation does, and waits for it then.
    async fn until_done(
        &self,
        row: LetterRow,
        orders: &Orders,
        (mut how, runs): (Try, bool),
        stop: &CancellationToken,
    ) -> Option<NotGone> {
        let (mut pause, mut lates) = (AGAIN_MIN, Lates::new(self.router.lease()));
        // what was published is not published again because the store does not answer
        let mut did = None;
        loop {
            let carried = self.carry_on(&row, orders, how, &mut did).await;
            match carried {
                Ok(()) => return None,
                Err(NotYet::NotSent(why)) => {
                    return Some(NotGone {
                        letter: row.letter.id,
                        why,
                        is_there_alone: false,
                    });
                }
                Err(NotYet::NotThere(why)) if !runs => did = Some(left_over(&why).into()),
                Err(NotYet::NotThere(why)) => {
                    return Some(NotGone {
                        letter: row.letter.id,
                        why,
                        is_there_alone: true,
                    });
                }
                Err(not @ (NotYet::NotTaken(_) | NotYet::Store(_))) => {
                    if matches!(not, NotYet::Store(_)) {
                        tracing::warn!(letter = %row.letter.id, why = %not, "what came of a dead letter could not be written; it is tried again");
                    }
                    if let Late::TooOften(came) = lates.saw(&row, &not, how, Instant::now()) {
                        did = Some(came.into());
                    }
                    how = how.after(&not);
                    if stop.is_cancelled() {
                        return None;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_MAX);
                }
            }
        }
    }
}

/// What a saga says of letters, of those of which it does.
fn settled_by(state: Option<SagaState>, letters: Vec<Waiting>) -> Vec<Written> {
    let mut settled = Vec::new();
    for waits in letters {
        let Some((came, last)) = outcome::known(&waits.attempt, state.as_ref()) else {
            continue;
        };
        settled.push(Written::Settled(Settling {
            letter: waits.letter,
            action: waits.action,
            operation: waits.operation,
            ending: came.ending,
            outcome: came.outcome,
            at: clock::now(),
            attempt: Some(last),
        }));
    }
    settled
}

/// Where the next page of letters on their way begins.
fn last_of(row: &LetterRow) -> DeadLetterCursor {
    DeadLetterCursor {
        at: row.letter.at,
        id: row.letter.id,
    }
}

/// One that was not sent, where it is one.
fn note(done: Option<Option<NotGone>>, piece: &mut Piece) {
    if let Some(not) = done.flatten() {
        piece.not_gone(not);
    }
}

/// Whose letters they are, and how they go.
fn orders(of: &OperationRow) -> Orders {
    Orders {
        by: of.by.clone(),
        reason: of.reason.clone(),
        force: of.force,
        target: of
            .target
            .clone()
            .map(|(exchange, key)| Target { exchange, key }),
        redirect: of.redirect.clone(),
    }
}

/// What a stage still waits for: outcomes of what was sent, or messages of others that may die again at once.
fn waits_for(row: &OperationRow) -> Option<String> {
    let of = row.in_stage;
    let all = u64::from(row.wait_s) * 1_000;
    let (most, what) = if of.open() > 0 {
        (all, format!("for what comes of {} of its stage", of.open()))
    } else if of.published > 0 {
        let what = format!(
            "whether one of {} that were published dies again",
            of.published
        );
        (u64::from(row.back_s) * 1_000, what)
    } else {
        return None;
    };
    let since = row.moved_at.unwrap_or(row.made_at);
    let waited = clock::now().0.saturating_sub(since.0);
    (waited < most).then(|| format!("{WAITS}{what}, at most {} s", most / 1_000))
}

/// Whether a letter is published as it is, wherever it was sent: its sender may have said where to.
fn is_of_others(letter: &DeadLetterRow) -> bool {
    let anywhere = Target {
        exchange: String::new(),
        key: String::new(),
    };
    matches!(route::route(letter, Some(&anywhere)), Ok(Route::Raw(_)))
}

/// The letters an operation takes: those that were dead when it was made, or when whoever asked for it saw what it would do, and that nobody has touched since.
pub(crate) fn of_operation(row: &OperationRow) -> DeadLetterFilter {
    let died = row.takes_died_until();
    DeadLetterFilter {
        state: Some(LetterState::Dead),
        until: Some(row.filter.until.map_or(died, |until| until.min(died))),
        changed_until: Some(row.takes_until()),
        ..row.filter.clone()
    }
}
