//! Dead letters on their way back to work.
//!
//! ```text
//! one:  POST …/{id}/replay ─▶ dead → replaying (a conditional change) ─▶ route ─▶ saga │ event │ as it was ─▶ resolved, or dead again
//! many: POST …/replays     ─▶ an operation (a row) ─▶ the leader: [claim letters + place] ─▶ each as above ─▶ [settle + count] ─▶ next
//! ```
//!
//! Guarantee: of two who press at once one moves a letter. Whatever dies in between, a letter that set out is found again and done again: what its saga or
//! the triggers have had already they know by its id; only a message of others may be published twice. What is in brackets is one transaction.

pub(crate) mod edit;
mod many;
mod plan;
mod raw;
pub(crate) mod route;

use std::sync::Arc;
use std::time::Duration;

use baton_bus::{Bus, Sent};
use baton_driver::{DeadLetterRow, StoreError};
use baton_engine::input::Seen;
use baton_engine::{Input, Operator, Role, Verdict};
use baton_messages::{AttemptRef, Event, InputId, SagaId, Timestamp};
use baton_store::letters::{Ending, Settling};
use baton_store::{AnyLetters, AnyReader, LetterRow, Letters as _, Reader as _};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::api::{event_message, folded};
use crate::chain::chain;
use crate::clock;
use crate::cluster::{NotTaken, Router};
use crate::decode::{self, Unusable};
pub(crate) use plan::Plan;
pub(crate) use route::Never;
use route::Route;
pub(crate) use route::Target;

/// Why a letter without the copy it names is not sent.
const NO_COPY: &str = "its edited copy is not there; edit it once more";
/// How long the loop may take over one input.
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
            Self::NotSent(why) => f.write_str(why),
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

impl From<Never> for Came {
    fn from(never: Never) -> Self {
        match never {
            Never::Refused(why) => Self::refused(why),
            Never::Unreadable(why) => Self::failed(why),
        }
    }
}

/// Sends letters back to work. Clones share what they do it with.
#[derive(Clone)]
pub(crate) struct Replay {
    pub(crate) letters: AnyLetters,
    reader: AnyReader,
    router: Arc<Router>,
    bus: Bus,
    /// When this process began.
    began: Timestamp,
    /// Told when an operation was made or steered here.
    pub(crate) poke: Arc<Notify>,
}

impl Replay {
    pub(crate) fn new(
        letters: AnyLetters,
        reader: AnyReader,
        router: Arc<Router>,
        bus: Bus,
    ) -> Self {
        Self {
            letters,
            reader,
            router,
            bus,
            began: clock::now(),
            poke: Arc::new(Notify::new()),
        }
    }

    /// Where a letter would go, or why it would not: as far as that can be said without sending it.
    pub(crate) async fn foresee(
        &self,
        row: &LetterRow,
        orders: &Orders,
    ) -> Result<Result<Route, Never>, StoreError> {
        let Some(copy) = self.current(row).await? else {
            return Ok(Err(Never::Refused(NO_COPY.to_owned())));
        };
        let letter = &copy;
        let replays = route::replays(letter, row.now.replays);
        if !orders.force
            && let Some(why) = route::held_back(letter, replays)
        {
            return Ok(Err(Never::Refused(why)));
        }
        let route = match route::route(letter, orders.target.as_ref()) {
            Ok(route) => route,
            Err(never) => return Ok(Err(never)),
        };
        let why = match &route {
            Route::Task(of) => self.next_attempt(of).await?.err(),
            Route::Event(event) => self.is_kept(event).await?,
            Route::Inputs(..) | Route::Raw(_) => None,
        };
        Ok(why.map_or(Ok(route), |why| Err(Never::Refused(why))))
    }

    /// The copy of a letter that is sent: the original, or the last that was edited; none when that is not there. Of a letter that is there only in part, all of it.
    pub(crate) async fn current(
        &self,
        row: &LetterRow,
    ) -> Result<Option<DeadLetterRow>, StoreError> {
        let id = row.letter.id;
        let mut letter = if row.is_whole() || route::kind(&row.letter) == route::Kind::Foreign {
            row.letter.clone()
        } else {
            let found = self.reader.dead_letters_between(id, id).await?.pop();
            match found {
                Some(found) => found.letter,
                None => return Ok(None),
            }
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

    /// Does what is to be done about a letter that set out, and writes down what came of it. `again`: it may have been done before, and the answer was lost.
    ///
    /// # Errors
    /// [`NotYet`]: it stays on its way.
    pub(crate) async fn carry(
        &self,
        row: &LetterRow,
        orders: &Orders,
        again: bool,
    ) -> Result<(), NotYet> {
        self.carry_on(row, orders, again, &mut None).await
    }

    /// The same, with what came of it at an earlier try that could not be written down: then nothing is done a second time.
    async fn carry_on(
        &self,
        row: &LetterRow,
        orders: &Orders,
        again: bool,
        came: &mut Option<Came>,
    ) -> Result<(), NotYet> {
        let came = match came {
            Some(came) => came,
            None => came.insert(self.done(row, orders, again).await?),
        };
        Ok(self.settled(row, came).await?)
    }

    async fn settled(&self, row: &LetterRow, came: &Came) -> Result<(), StoreError> {
        let settled = Settling {
            letter: row.letter.id,
            action: row.now.action.unwrap_or_default(),
            operation: row.now.operation,
            ending: came.ending,
            outcome: came.outcome.clone(),
            at: clock::now(),
        };
        self.letters.settle(settled).await?;
        Ok(())
    }

    async fn done(&self, row: &LetterRow, orders: &Orders, again: bool) -> Result<Came, NotYet> {
        let Some(copy) = self.current(row).await? else {
            return Ok(Came::refused(NO_COPY));
        };
        let letter = &copy;
        // it has been counted when it set out
        let replays = route::replays(letter, row.now.replays);
        if !orders.force
            && let Some(why) = route::held_back(letter, replays.saturating_sub(1))
        {
            return Ok(Came::refused(why));
        }
        match route::route(letter, orders.target.as_ref()) {
            Err(never) => Ok(never.into()),
            Ok(Route::Task(of)) => self.task(row, &of, orders, again).await,
            Ok(Route::Inputs(inputs, broken)) => self.inputs(inputs, broken).await,
            Ok(Route::Event(event)) => self.event(*event, row, again).await,
            Ok(Route::Raw(target)) => {
                let raw = raw::message(letter, &target, replays);
                let sent = self.bus.publisher().publish_raw(raw).await;
                let place = format!("exchange {:?} under key {:?}", target.exchange, target.key);
                came_of(row, &sent, &place)
            }
        }
    }

    /// What is to be seen of a step to be tried again, and the attempt that comes then; or why nobody wants that.
    async fn next_attempt(
        &self,
        of: &AttemptRef,
    ) -> Result<Result<(Seen, u32), String>, StoreError> {
        let found = folded(&self.reader, of.saga).await?;
        Ok(match found {
            Some(folded) => route::retry(of, &folded.state),
            None => Err("its saga is not there any more".to_owned()),
        })
    }

    async fn task(
        &self,
        row: &LetterRow,
        of: &AttemptRef,
        orders: &Orders,
        again: bool,
    ) -> Result<Came, NotYet> {
        let (seen, next, why) = match self.next_attempt(of).await? {
            Ok((seen, next)) => (seen, next, None),
            // the saga itself knows whether it has had this action already
            Err(why) if again => (route::seen_before(of), of.attempt + 1, Some(why)),
            Err(why) => return Ok(Came::refused(why)),
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
            Verdict::Applied | Verdict::Duplicate => Came::resolved(format!(
                "step {} of saga {} is tried again: attempt {next}",
                of.key(),
                of.saga
            )),
            Verdict::Ignored { why } => Came::refused(why),
            Verdict::Refused(refusal) => Came::refused(why.unwrap_or_else(|| refusal.to_string())),
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

    /// Why an event need not be published: it is kept.
    async fn is_kept(&self, event: &Event) -> Result<Option<String>, StoreError> {
        let kept = self.reader.event(event.source.clone(), event.id.clone());
        Ok(kept.await?.map(|kept| {
            format!(
                "the event {:?} of {:?} is kept already, with what it caused: `baton event ls`; published again it is the same. Publish it under another id to have the triggers look at it anew",
                kept.event.id, kept.event.source
            )
        }))
    }

    async fn event(&self, event: Event, row: &LetterRow, again: bool) -> Result<Came, NotYet> {
        if let Some(why) = self.is_kept(&event).await? {
            // nobody else published it since it set out, as far as anybody knows
            let kept = self.reader.event(event.source.clone(), event.id.clone());
            let since = kept.await?.map(|kept| kept.received_at);
            return Ok(if again && since >= row.now.changed_at {
                Came::resolved("published as an event, and kept")
            } else {
                Came::refused(why)
            });
        }
        let place = format!("exchange \"baton.events\" as {:?}", event.kind);
        let Ok(out) = event_message(event) else {
            return Ok(Came::failed("the event cannot be written as JSON"));
        };
        let sent = self.bus.publisher().publish(vec![out]).await.pop();
        let lost = Sent::Unknown {
            why: "no verdict".to_owned(),
        };
        came_of(row, &sent.unwrap_or(lost), &place)
    }
}

/// The id of what a saga is asked for a letter's sake: the same each time the same replay of it is done.
fn action_id(row: &LetterRow) -> InputId {
    let name = format!("replay/{}", row.now.replays);
    InputId(Uuid::new_v5(&row.letter.id, name.as_bytes()))
}

/// What came of a message that was to be published. One that was certainly not sent waits, where it is one of many; a person is told so at once.
fn came_of(row: &LetterRow, sent: &Sent, place: &str) -> Result<Came, NotYet> {
    match sent.not_sent() {
        Some(why) if row.now.operation.is_some() => Err(NotYet::NotSent(why.to_owned())),
        Some(why) => Ok(Came::refused(format!(
            "{why}; it stays dead: replay it again when the broker takes messages"
        ))),
        None => Ok(published(sent, place)),
    }
}

fn published(sent: &Sent, place: &str) -> Came {
    match sent {
        Sent::Confirmed => Came::resolved(format!("published to {place}, confirmed and routed")),
        Sent::Returned { code, text } => Came::failed(format!(
            "it came back from {place}: no queue takes it there ({code} {text})"
        )),
        Sent::Nacked => Came::failed(format!(
            "the broker refused it at {place}: a queue there is full, or has lost its majority"
        )),
        // the broker's own word: it took nothing
        Sent::Unknown { why } if why.contains("NOT_FOUND") || why.contains("ACCESS_REFUSED") => {
            Came::failed(format!("the broker takes nothing at {place}: {why}"))
        }
        Sent::Unknown { why } => Came::failed(format!(
            "published to {place} without an answer, so it may have been delivered: {why}"
        )),
    }
}
