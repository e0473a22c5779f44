//! Dead letters on their way back to work.
//!
//! ```text
//! one:  POST …/{id}/replay ─▶ dead → replaying (a conditional change) ─▶ route ─▶ saga │ triggers │ as it was ─▶ resolved, or dead again
//!                                                                                └─▶ sent, and what comes of it is waited for
//! many: POST …/replays     ─▶ an operation (a row) ─▶ the leader: [claim letters + place] ─▶ each as above ─▶ [settle + count] ─▶ next
//! ```
//!
//! A task is done when its step is, and not when its saga has heard of it (`outcome.rs`). A message of others is done when the broker has it: more is not known,
//! and one that dies again comes back as the same letter, with its history (`dead_letters/again.rs`).
//!
//! Guarantee: of two who press at once one moves a letter. Whatever dies in between, a letter that set out is found again and done again: what its saga or
//! the triggers have had already they know by its id; only a message of others may be published twice. What is done again is done alone, and not for ever: it may be
//! what killed who did it (`once_more.rs`). What is in brackets is one transaction.

pub(crate) mod edit;
mod foresee;
mod given_back;
mod held;
mod many;
mod once_more;
mod outcome;
mod pace;
mod plan;
pub(crate) mod raw;
pub(crate) mod route;
mod scribe;
pub(crate) mod typed;

use std::sync::Arc;
use std::time::Duration;

use baton_bus::{Bus, Sent};
use baton_driver::{DeadLetterRow, StoreError};
use baton_engine::input::Seen;
use baton_engine::{Input, Operator, Role, Verdict};
use baton_messages::{AttemptRef, Event, InputId, PoolName, SagaId, TaskType, Timestamp};
use baton_store::letters::{Ending, Redirect, Sending, Settling, Written};
use baton_store::{AnyLetters, AnyReader, LetterRow, Reader as _};
use baton_store::{Effect, EventRow, TriggerRef};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::api::{folded, is_unreadable};
use crate::chain::chain;
use crate::clock;
use crate::cluster::{NotTaken, Router};
use crate::decode::{self, Unusable};
use crate::fleet::Workers;
use crate::planned;
use crate::triggers::mended::mended;
use crate::triggers::{Live, letters};
pub(crate) use many::of_operation;
use once_more::Try;
pub(crate) use plan::{LOOK, Plan, Steps};
use route::Route;
pub(crate) use route::{Cure, Never, Refused, Target};
pub(crate) use scribe::Scribe;

/// Why a letter without the copy it names is not sent.
const NO_COPY: &str = "its edited copy is not there; edit it once more";
/// How long the loop may take over one input, and the triggers over one event.
const DECIDE_WAIT: Duration = Duration::from_secs(10);

/// Who sends letters back to work, why, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) by: String,
    pub(crate) reason: String,
    /// Whether what is held back for its history alone is sent all the same.
    pub(crate) force: bool,
    /// Where messages of others go instead of where they came from.
    pub(crate) target: Option<Target>,
    /// The same, for those that came from there.
    pub(crate) redirect: Vec<Redirect>,
}

impl Orders {
    /// Where this letter goes instead of where it came from.
    fn target(&self, letter: &DeadLetterRow) -> Option<Target> {
        let found = || route::redirected(letter, &self.redirect);
        self.target.clone().or_else(found)
    }
}

/// Why nobody can say yet what came of a letter. It stays on its way, and is done again.
#[derive(Debug)]
pub(crate) enum NotYet {
    /// The loop did not take it.
    NotTaken(NotTaken),
    /// The store does not answer.
    Store(StoreError),
    /// The broker takes nothing now, or is away: it was certainly not sent.
    NotSent(String),
    /// Nothing takes it where it goes: it was certainly not sent, and what goes elsewhere may be.
    NotThere(String),
}

impl From<NotTaken> for NotYet {
    fn from(not: NotTaken) -> Self {
        Self::NotTaken(not)
    }
}

impl From<StoreError> for NotYet {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl std::fmt::Display for NotYet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotTaken(NotTaken::Busy) => f.write_str("the orchestrator is busy"),
            Self::NotTaken(NotTaken::Stopping) => f.write_str("the orchestrator is stopping"),
            Self::NotTaken(NotTaken::Late) => f.write_str("nothing was committed in time"),
            Self::Store(error) => f.write_str(&chain(error)),
            Self::NotSent(why) | Self::NotThere(why) => f.write_str(why),
        }
    }
}

/// What came of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) ending: Ending,
    pub(crate) outcome: String,
}

impl Came {
    fn resolved(outcome: impl Into<String>) -> Self {
        Self::to(Ending::Resolved, outcome)
    }

    fn failed(outcome: impl Into<String>) -> Self {
        Self::to(Ending::Failed, outcome)
    }

    fn refused(outcome: impl Into<String>) -> Self {
        Self::to(Ending::Refused, outcome)
    }

    fn to(ending: Ending, outcome: impl Into<String>) -> Self {
        let outcome = outcome.into();
        Self { ending, outcome }
    }
}

/// What was done about a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Did {
    /// It is known what came of it.
    Came(Came),
    /// Its saga mints this attempt; what comes of it is waited for.
    Sent(Box<AttemptRef>, String),
}

impl From<Came> for Did {
    fn from(came: Came) -> Self {
        Self::Came(came)
    }
}

impl From<Refused> for Came {
    fn from(refused: Refused) -> Self {
        Self::refused(refused.why)
    }
}

impl From<Never> for Came {
    fn from(never: Never) -> Self {
        match never {
            Never::Refused(refused) => refused.into(),
            Never::Unreadable(why) => Self::failed(why),
        }
    }
}

/// Sends letters back to work. Clones share what they do it with.
#[derive(Clone)]
pub(crate) struct Replay {
    pub(crate) letters: AnyLetters,
    scribe: Scribe,
    pub(crate) reader: AnyReader,
    router: Arc<Router>,
    bus: Bus,
    /// What the triggers are, to say what they would make of an event.
    live: watch::Receiver<Arc<Live>>,
    /// Who is heard, to say of which task types nobody is.
    workers: Arc<Workers>,
    /// When this process began.
    began: Timestamp,
    /// Told when an operation was made or steered here.
    pub(crate) poke: Arc<Notify>,
}

impl Replay {
    pub(crate) fn new(
        letters: AnyLetters,
        scribe: Scribe,
        reader: AnyReader,
        router: Arc<Router>,
        bus: Bus,
        live: watch::Receiver<Arc<Live>>,
        workers: Arc<Workers>,
    ) -> Self {
        Self {
            letters,
            scribe,
            reader,
            router,
            bus,
            live,
            workers,
            began: clock::now(),
            poke: Arc::new(Notify::new()),
        }
    }

    /// Where a letter would go, and which worker a step that it tries again needs; or why it would not go: as far as that can be said without sending it.
    pub(crate) async fn foresee(
        &self,
        row: &LetterRow,
        orders: &Orders,
    ) -> Result<Result<(Route, Needs), Never>, StoreError> {
        let Some(copy) = self.current(row).await? else {
            return Ok(Err(Never::Refused(Refused::new(NO_COPY, Cure::Edit))));
        };
        let letter = &copy;
        let replays = route::replays(letter, row.now.replays);
        if !orders.force
            && let Some(refused) = route::held_back(letter, replays)
        {
            return Ok(Err(Never::Refused(refused)));
        }
        let mut route = match route::route(letter, orders.target(letter).as_ref()) {
            Ok(route) => route,
            Err(never) => return Ok(Err(never)),
        };
        let mut needs = Needs::default();
        let refused = match &mut route {
            Route::Task(of) => match self.next_attempt(row, &last_attempt(row, of)).await? {
                Ok(next) => {
                    let refused = self.unserved(&next, orders);
                    **of = next.attempt;
                    needs = next.needs;
                    refused
                }
                Err(refused) => Some(refused),
            },
            Route::Event(event) => match self.door(event, row).await? {
                Door::Same(refused) | Door::Taken(refused) => Some(refused),
                door => match self.live.borrow().refusal(door.asked(), event) {
                    Some(why) => {
                        let why = format!("it would be refused again: {why}");
                        return Ok(Err(Never::Unreadable(why)));
                    }
                    None => None,
                },
            },
            Route::Inputs(..) | Route::Raw(_) => None,
        };
        Ok(match refused {
            None => Ok((route, needs)),
            Some(refused) => Err(Never::Refused(refused)),
        })
    }

    /// The copy of a letter that is sent: the original, or the last that was edited; none when that is not there. Of a letter that is there only in part, all of it.
    pub(crate) async fn current(
        &self,
        row: &LetterRow,
    ) -> Result<Option<DeadLetterRow>, StoreError> {
        let id = row.letter.id;
        let Some(mut letter) = self.original(row).await? else {
            return Ok(None);
        };
        if row.now.edition == 0 {
            return Ok(Some(letter));
        }
        let Some(edit) = self.reader.dead_letter_edit(id, row.now.edition).await? else {
            return Ok(None);
        };
        letter.properties = edit.properties;
        if let Some(body) = edit.body {
            letter.body = body;
        }
        Ok(Some(letter))
    }

    /// A letter as it died; none when it is not there.
    async fn original(&self, row: &LetterRow) -> Result<Option<DeadLetterRow>, StoreError> {
        let id = row.letter.id;
        if row.is_whole() || route::kind(&row.letter) == route::Kind::Foreign {
            return Ok(Some(row.letter.clone()));
        }
        let found = self.reader.dead_letters_between(id, id).await?.pop();
        Ok(found.map(|found| found.letter))
    }

    /// Does what is to be done about a letter that set out just now, and writes down what came of it.
    ///
    /// # Errors
    /// [`NotYet`]: it stays on its way.
    pub(crate) async fn carry(&self, row: &LetterRow, orders: &Orders) -> Result<(), NotYet> {
        self.carry_on(row, orders, Try::First, &mut None).await
    }

    /// The same, with what came of it at an earlier try that could not be written down: then nothing is done a second time.
    async fn carry_on(
        &self,
        row: &LetterRow,
        orders: &Orders,
        how: Try,
        did: &mut Option<Did>,
    ) -> Result<(), NotYet> {
        let mut trial = None;
        let did = match did {
            Some(did) => did,
            None => {
                let (done, begun) = match how {
                    Try::Alone => self.once_more(row, orders).await?,
                    Try::First => (self.done(row, orders, false).await?, None),
                    Try::Again => (self.done(row, orders, true).await?, None),
                };
                trial = begun;
                did.insert(done)
            }
        };
        match did {
            Did::Came(came) => self.settled(row, came).await?,
            Did::Sent(attempt, outcome) => {
                let sent = Sending {
                    letter: row.letter.id,
                    action: row.now.action.unwrap_or_default(),
                    attempt: (**attempt).clone(),
                    outcome: outcome.clone(),
                    at: clock::now(),
                };
                self.scribe.write(Written::Sent(sent)).await?;
            }
        }
        if let Some(begun) = trial {
            begun.over();
        }
        Ok(())
    }

    async fn settled(&self, row: &LetterRow, came: &Came) -> Result<(), StoreError> {
        let settled = Settling {
            letter: row.letter.id,
            action: row.now.action.unwrap_or_default(),
            operation: row.now.operation,
            ending: came.ending,
            outcome: came.outcome.clone(),
            at: clock::now(),
            attempt: None,
        };
        self.scribe.write(Written::Settled(settled)).await?;
        Ok(())
    }

    async fn done(&self, row: &LetterRow, orders: &Orders, again: bool) -> Result<Did, NotYet> {
        let Some(copy) = self.current(row).await? else {
            return Ok(Came::refused(NO_COPY).into());
        };
        let letter = &copy;
        // it has been counted when it set out
        let replays = route::replays(letter, row.now.replays);
        if !orders.force
            && let Some(refused) = route::held_back(letter, replays.saturating_sub(1))
        {
            return Ok(Came::from(refused).into());
        }
        let came = match route::route(letter, orders.target(letter).as_ref()) {
            Err(never) => never.into(),
            Ok(Route::Task(of)) => {
                let of = last_attempt(row, &of);
                return self.task(row, &of, orders, again).await;
            }
            Ok(Route::Inputs(inputs, broken)) => self.inputs(inputs, broken).await?,
            Ok(Route::Event(event)) => self.event(*event, row, again).await?,
            Ok(Route::Raw(target)) => {
                let raw = raw::message(letter, &target, replays);
                let sent = self.bus.publisher().publish_raw(raw).await;
                let place = format!("exchange {:?} under key {:?}", target.exchange, target.key);
                // by the default exchange it goes to one queue; by another it may be in some when one of them refuses
                came_of(row, &sent, &place, target.exchange.is_empty())?
            }
        };
        Ok(came.into())
    }

    /// What comes of a step that is to be tried again; or why nobody wants that.
    async fn next_attempt(
        &self,
        row: &LetterRow,
        of: &AttemptRef,
    ) -> Result<Result<Next, Refused>, StoreError> {
        let found = match folded(&self.reader, of.saga).await {
            // its loop leaves it alone as well, and every other letter is concerned with another saga
            Err(error) if is_unreadable(&error) => {
                let why = format!("its saga cannot be read: {}", chain(&error));
                return Ok(Err(Refused::new(why, Cure::Look)));
            }
            found => found?,
        };
        let Some(folded) = found else {
            let why = "its saga is not there any more";
            return Ok(Err(Refused::new(why, Cure::Discard)));
        };
        Ok(route::retry(of, &folded.state).map(|(seen, attempt)| {
            // as its saga would send it, which may be another version than the letter is of
            let step = folded.state.at(&of.key());
            let ready = step.and_then(|step| step.prepared(of.direction));
            let needs = match ready {
                Some(ready) => Needs {
                    task_type: Some(ready.facts.task_type.clone()),
                    pool: Some(ready.facts.pool.clone()),
                },
                None => told(row),
            };
            Next {
                seen,
                attempt,
                needs,
            }
        }))
    }

    /// That nobody serves the task type of an attempt in its pool, where that is known: it would only wait. Whoever insists has it wait.
    fn unserved(&self, next: &Next, orders: &Orders) -> Option<Refused> {
        let of = next.needs.task_type.as_ref().filter(|_| !orders.force)?;
        let (pool, now) = (next.needs.pool.as_ref(), clock::now());
        self.workers.is_unserved(of, pool, now).then(|| {
            // where somebody serves it elsewhere that has to be said
            let pool = pool.filter(|_| !self.workers.is_unserved(of, None, now));
            let pool = pool.map_or_else(String::new, |pool| format!(" in pool {pool}"));
            let planned = planned::said(of.as_str());
            let why = format!(
                "nobody serves {of}{pool}{planned}: start a worker that does, then replay it; or force it with a reason, and its step waits for one"
            );
            Refused::new(why, Cure::Serve)
        })
    }

    async fn task(
        &self,
        row: &LetterRow,
        of: &AttemptRef,
        orders: &Orders,
        again: bool,
    ) -> Result<Did, NotYet> {
        let (seen, next, why) = match self.next_attempt(row, of).await? {
            // its step still waits, so that it has not had this action
            Ok(next) => match self.unserved(&next, orders) {
                Some(refused) => return Ok(Came::from(refused).into()),
                None => (next.seen, next.attempt, None),
            },
            // the saga itself knows whether it has had this action already
            Err(refused) if again => {
                let next = AttemptRef {
                    dispatch: of.dispatch + 1,
                    ..of.clone()
                };
                (route::SEEN_BEFORE, next, Some(refused.why))
            }
            Err(refused) => return Ok(Came::from(refused).into()),
        };
        let operator = Operator {
            id: action_id(row),
            by: orders.by.clone(),
            role: Role::Operator,
            reason: format!(
                "dead letter {} is replayed: {}",
                row.letter.id, orders.reason
            ),
            seen: Some(seen),
        };
        let step = of.key();
        let input = Input::RetryStep { step, operator };
        Ok(match self.decided(of.saga, input).await? {
            Verdict::Applied | Verdict::Duplicate => {
                let told = format!(
                    "step {} of saga {} is tried again: attempt {}",
                    of.key(),
                    of.saga,
                    next.attempt
                );
                Did::Sent(Box::new(next), told)
            }
            Verdict::Ignored { why } => Came::refused(why).into(),
            Verdict::Refused(refusal) => {
                Came::refused(why.unwrap_or_else(|| refusal.to_string())).into()
            }
        })
    }

    async fn decided(&self, saga: SagaId, input: Input) -> Result<Verdict, NotTaken> {
        self.router.decided(saga, input, DECIDE_WAIT).await
    }

    /// Every part of it is told; those that were told before are known.
    async fn inputs(
        &self,
        inputs: Vec<(SagaId, Box<Input>)>,
        broken: Option<Unusable>,
    ) -> Result<Came, NotYet> {
        let of = inputs.len() + usize::from(broken.is_some());
        let (mut taken, mut failed, mut refused) = (0, None, None);
        for (saga, input) in inputs {
            match self.decided(saga, *input).await? {
                Verdict::Applied | Verdict::Duplicate => taken += 1,
                Verdict::Ignored { why } => refused = Some(why),
                Verdict::Refused(refusal) => match decode::refused(&refusal) {
                    Some(why) => failed = Some(format!("saga {saga}: {}", why.error)),
                    None => refused = Some(format!("saga {saga}: {refusal}")),
                },
            }
        }
        let failed = broken
            .map(|why| format!("the rest still cannot be used: {}", why.error))
            .or(failed);
        Ok(match (failed, refused) {
            (Some(why), _) => Came::failed(format!("taken: {taken} of {of}; {why}")),
            (None, Some(why)) => Came::refused(format!("taken: {taken} of {of}; {why}")),
            (None, None) => Came::resolved(format!("taken by its saga: {taken} of {of}")),
        })
    }

    /// How the event of a letter goes in, or why it does not.
    async fn door(&self, event: &Event, row: &LetterRow) -> Result<Door, StoreError> {
        if row.now.edition > 0
            && let Some((first, refused)) = self.first_and_refused(row).await?
        {
            if first == *event {
                return Ok(Door::Again(refused));
            }
            let mended = mended(event, &first, row.letter.id, row.now.edition);
            let kept = self.kept(&mended).await?;
            return Ok(match kept.filter(|kept| kept.event != mended) {
                Some(kept) => Door::Taken(taken(&kept.event)),
                None => Door::Mended(Box::new(mended), refused),
            });
        }
        let Some(kept) = self.kept(event).await? else {
            return Ok(Door::New);
        };
        if kept.event != *event {
            return Ok(Door::Taken(taken(&kept.event)));
        }
        let refused = letters::refused_by(&kept, row.letter.id);
        if !refused.is_empty() {
            return Ok(Door::Again(refused));
        }
        let why = format!(
            "the event {:?} of {:?} is kept already, with what it caused: `baton event ls`; taken in again it is the same. Edit its id to have the triggers look at it anew",
            event.id, event.source
        );
        Ok(Door::Same(Refused::new(why, Cure::Edit)))
    }

    /// What is kept under the id of an event.
    async fn kept(&self, event: &Event) -> Result<Option<EventRow>, StoreError> {
        let kept = self.reader.event(event.source.clone(), event.id.clone());
        kept.await
    }

    /// The event of a letter as it died, and the triggers that refused it: where it is kept, and its letter is of some.
    async fn first_and_refused(
        &self,
        row: &LetterRow,
    ) -> Result<Option<(Event, Vec<TriggerRef>)>, StoreError> {
        let Some(letter) = self.original(row).await? else {
            return Ok(None);
        };
        let Ok(Route::Event(first)) = route::route(&letter, None) else {
            return Ok(None);
        };
        let refused = self
            .kept(&first)
            .await?
            .map(|kept| letters::refused_by(&kept, letter.id));
        let refused = refused.filter(|refused| !refused.is_empty());
        Ok(refused.map(|refused| (*first, refused)))
    }

    /// Why the triggers that refused the event of this letter, or any where none is known to have, would refuse this one.
    pub(crate) async fn refusal(
        &self,
        row: &LetterRow,
        event: &Event,
    ) -> Result<Option<String>, StoreError> {
        let refused = self.first_and_refused(row).await?;
        let refused = refused.map(|(_, refused)| refused).unwrap_or_default();
        Ok(self.live.borrow().refusal(&refused, event))
    }

    /// An event goes to the triggers, and to nobody else: whoever else listens had it when it was published.
    async fn event(&self, event: Event, row: &LetterRow, again: bool) -> Result<Came, NotYet> {
        let (event, refused) = match self.door(&event, row).await? {
            Door::New => (event, Vec::new()),
            Door::Again(refused) => (event, refused),
            Door::Mended(mended, refused) => (*mended, refused),
            Door::Same(_) if again => {
                // It may have been taken in by this replay, and nobody wrote that down: what is kept of it says what it did.
                let kept = self.kept(&event).await?;
                let gone = || Came::resolved("taken in, and not kept any more");
                return Ok(kept.map_or_else(gone, |kept| taken_in(&kept, &[])));
            }
            Door::Same(refused) | Door::Taken(refused) => return Ok(refused.into()),
        };
        let wanted = self
            .router
            .taken_in(event.clone(), refused.clone(), DECIDE_WAIT);
        if !wanted.await? {
            return Ok(Came::resolved(format!(
                "taken in, and nobody wanted it: no trigger and no waiting step looks at events of type {}",
                event.kind
            )));
        }
        Ok(match self.kept(&event).await? {
            // another came in under its id since it was looked for
            Some(kept) if kept.event != event => taken(&kept.event).into(),
            Some(kept) => taken_in(&kept, &refused),
            None => Came::resolved("taken in, and not kept any more"),
        })
    }
}

/// What comes of a step that is tried again.
struct Next {
    /// What has to be seen of it.
    seen: Seen,
    /// The attempt that comes then.
    attempt: AttemptRef,
    /// Which worker it needs.
    needs: Needs,
}

/// Which worker an attempt needs.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// What it has to serve, where that is known.
    task_type: Option<TaskType>,
    /// In which pool, where that is.
    pool: Option<PoolName>,
}

/// The worker the task of a letter needed, by what the letter says.
fn told(row: &LetterRow) -> Needs {
    let about = &row.about;
    let task_type = about.task_type.as_deref().map(TaskType::new);
    let pool = about.pool.as_deref().map(PoolName::new);
    Needs {
        task_type: task_type.and_then(Result::ok),
        pool: pool.and_then(Result::ok),
    }
}

/// How an event goes in.
enum Door {
    /// As one that is not kept.
    New,
    /// The one that is kept, to the triggers that refused it.
    Again(Vec<TriggerRef>),
    /// Another in its stead, which was edited, to those alone.
    Mended(Box<Event>, Vec<TriggerRef>),
    /// Not: it is kept, and did what it did.
    Same(Refused),
    /// Not: another is kept under its id, and it would be taken for that one.
    Taken(Refused),
}

impl Door {
    /// The triggers that are asked; none: whichever there are.
    fn asked(&self) -> &[TriggerRef] {
        match self {
            Self::New | Self::Same(_) | Self::Taken(_) => &[],
            Self::Again(refused) | Self::Mended(_, refused) => refused,
        }
    }
}

/// That another event is kept under the id of one, which nobody would see.
fn taken(kept: &Event) -> Refused {
    let why = format!(
        "another event is kept as {:?} of {:?} (`baton event ls`), and this one would be taken for it: edit its id to one that is free",
        kept.id, kept.source
    );
    Refused::new(why, Cure::Edit)
}

/// What came of an event that was taken in. `looked`: only these triggers were asked.
fn taken_in(kept: &EventRow, looked: &[TriggerRef]) -> Came {
    let is_of = |of: &TriggerRef| looked.is_empty() || looked.iter().any(|one| one.is_place_of(of));
    let (mut did, mut refused) = (Vec::new(), Vec::new());
    for effect in &kept.effects {
        match effect {
            Effect::Started { of, saga, .. } if is_of(of) => {
                did.push(format!("started saga {saga} of {}", of.definition));
            }
            Effect::Joined { of, saga, .. } if is_of(of) => {
                did.push(format!("joined saga {saga} of {}", of.definition));
            }
            Effect::AskedToCancel { of, saga, .. } if is_of(of) => {
                did.push(format!("asked saga {saga} of {} to cancel", of.definition));
            }
            Effect::NothingToCancel { of, why, .. } if is_of(of) => {
                did.push(format!("nothing of {} to cancel: {why}", of.definition));
            }
            Effect::Woke { saga, step } if looked.is_empty() => {
                did.push(format!("saga {saga} goes on at step {step}"));
            }
            Effect::Refused { of, error } if is_of(of) => {
                refused.push(format!(
                    "trigger {} of {}: {error}",
                    of.trigger, of.definition
                ));
            }
            _ => {}
        }
    }
    match (did.is_empty(), refused.is_empty()) {
        (true, true) => Came::resolved("taken in and kept; nobody waits for it now"),
        (false, true) => Came::resolved(format!("taken in: {}", did.join("; "))),
        (_, false) => {
            did.extend(refused);
            Came::failed(format!("taken in, and refused again: {}", did.join("; ")))
        }
    }
}

/// The last attempt a letter is known to speak of: its own, or the one that was minted for it.
fn last_attempt(row: &LetterRow, own: &AttemptRef) -> AttemptRef {
    row.now.attempt.clone().unwrap_or_else(|| own.clone())
}

/// The id of what a saga is asked for a letter's sake: the same each time the same replay of it is done.
fn action_id(row: &LetterRow) -> InputId {
    let name = format!("replay/{}", row.now.replays);
    InputId(Uuid::new_v5(&row.letter.id, name.as_bytes()))
}

/// What came of a message that was to be published. One that was certainly not sent, or that nothing takes where it goes, waits where it is one of many; a
/// person is told so at once.
fn came_of(row: &LetterRow, sent: &Sent, place: &str, to_one_queue: bool) -> Result<Came, NotYet> {
    let is_one_of_many = row.now.operation.is_some();
    Ok(match sent {
        Sent::Confirmed => Came::to(
            Ending::Published,
            format!(
                "published to {place}, confirmed and routed; what its consumer makes of it is not known here: if it dies again, this letter comes back"
            ),
        ),
        Sent::NotSent { why } if is_one_of_many => return Err(NotYet::NotSent(why.clone())),
        Sent::NotSent { why } => Came::refused(format!(
            "{why}; it stays dead: replay it again when the broker takes messages"
        )),
        Sent::Nacked if !to_one_queue => Came::failed(format!(
            "the broker refused it at {place}: a queue there is full, or has lost its majority; others that are bound there may have it: look there before it is replayed again"
        )),
        refused => match nothing_takes(refused, place) {
            Some(why) if is_one_of_many => return Err(NotYet::NotThere(why)),
            Some(why) => Came::failed(why),
            None => Came::failed(format!(
                "published to {place} without an answer, so it may have been delivered: {}",
                refused.why()
            )),
        },
    })
}

/// By the broker's own word it took nothing, or not all that should have had it did.
fn nothing_takes(sent: &Sent, place: &str) -> Option<String> {
    match sent {
        Sent::Returned { code, text } => Some(format!(
            "it came back from {place}: no queue takes it there ({code} {text}); declare or bind one"
        )),
        Sent::Nacked => Some(format!(
            "the broker refused it at {place}: a queue there is full, or has lost its majority"
        )),
        Sent::Unknown { why } if why.contains("NOT_FOUND") || why.contains("ACCESS_REFUSED") => {
            Some(format!("the broker takes nothing at {place}: {why}"))
        }
        _ => None,
    }
}
