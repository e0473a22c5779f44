//! One asking of a loop of this process, or of what the leader does here: taken or not, answered or not.

use std::time::Duration;

use baton_messages::{Event, Timestamp};
use baton_store::TriggerRef;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::words::Answer;
use crate::hot::mail::{Post, Request};
use crate::triggers::{Incoming, Lead, ScheduleAsked, ScheduleCommand};

/// What came of asking once.
pub(super) enum Once<T> {
    Answered(T),
    Busy,
    Late,
    /// Nobody has it now.
    Nobody,
}

/// Whether room is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    None,
    ForRoom,
}

/// As good as for ever, and safe to add to an instant.
pub(super) const AGES: Duration = Duration::from_secs(365 * 24 * 3600);

impl<T> Once<T> {
    pub(super) fn map<U>(self, of: impl FnOnce(T) -> U) -> Once<U> {
        match self {
            Self::Answered(answer) => Once::Answered(of(answer)),
            Self::Busy => Once::Busy,
            Self::Late => Once::Late,
            Self::Nobody => Once::Nobody,
        }
    }
}

pub(super) async fn ask_loop<T>(
    post: &Post,
    request: Request,
    told: oneshot::Receiver<T>,
    patience: Patience,
    deadline: Instant,
) -> Once<T> {
    match patience {
        Patience::ForRoom => {
            if post.requests.send(request).await.is_err() {
                return Once::Nobody;
            }
        }
        Patience::None if !post.pulse.has_room() => return Once::Busy,
        Patience::None => match post.requests.try_send(request) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Once::Busy,
            Err(mpsc::error::TrySendError::Closed(_)) => return Once::Nobody,
        },
    }
    answer_of(told, deadline).await
}

async fn answer_of<T>(told: oneshot::Receiver<T>, deadline: Instant) -> Once<T> {
    match tokio::time::timeout_at(deadline, told).await {
        Ok(Ok(answer)) => Once::Answered(answer),
        Ok(Err(_)) => Once::Nobody,
        Err(_) => Once::Late,
    }
}

fn sent<T>(sent: Result<(), mpsc::error::TrySendError<T>>) -> Result<(), Once<Answer>> {
    sent.map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => Once::Busy,
        mpsc::error::TrySendError::Closed(_) => Once::Nobody,
    })
}

pub(super) async fn keep(
    lead: Option<Lead>,
    event: Event,
    secret: String,
    deadline: Instant,
) -> Once<Answer> {
    let Some(lead) = lead else {
        return Once::Nobody;
    };
    let (kept, told) = oneshot::channel();
    let incoming = Incoming {
        events: vec![event],
        secret: Some(secret),
        keep: true,
        again: Vec::new(),
        kept: Some(kept),
        done: None,
    };
    if let Err(not) = sent(lead.incoming.try_send(incoming)) {
        return not;
    }
    answer_of(told, deadline).await.map(|_| Answer::Done)
}

/// Has an event taken in; answers whether anybody wanted it, when all it causes is committed.
pub(super) async fn take_in(
    lead: Option<Lead>,
    event: Event,
    again: Vec<TriggerRef>,
    deadline: Instant,
) -> Once<Answer> {
    let Some(lead) = lead else {
        return Once::Nobody;
    };
    let (kept, told) = oneshot::channel();
    let (done, all_done) = oneshot::channel();
    let incoming = Incoming {
        events: vec![event],
        secret: None,
        keep: false,
        again,
        kept: Some(kept),
        done: Some(done),
    };
    if let Err(not) = sent(lead.incoming.try_send(incoming)) {
        return not;
    }
    match answer_of(told, deadline).await {
        Once::Answered(rows) => {
            let done = answer_of(all_done, deadline).await;
            done.map(|()| Answer::TakenIn(!rows.is_empty()))
        }
        not => not.map(|_| Answer::Done),
    }
}

/// Waits until what was taken in here before is carried out.
pub(super) async fn caught_up(lead: Option<Lead>, deadline: Instant) -> Once<()> {
    let Some(lead) = lead else {
        return Once::Nobody;
    };
    let (done, told) = oneshot::channel();
    let incoming = Incoming {
        events: Vec::new(),
        secret: None,
        keep: false,
        again: Vec::new(),
        kept: None,
        done: Some(done),
    };
    if let Err(not) = sent(lead.incoming.try_send(incoming)) {
        return not.map(|_| ());
    }
    answer_of(told, deadline).await
}

/// Has whoever leads act on a schedule. `first`: when that was asked for the first time, so that asked again it is the same.
pub(super) async fn schedule(
    lead: Option<Lead>,
    (definition, trigger, what): (String, u32, ScheduleAsked),
    first: Timestamp,
    deadline: Instant,
) -> Once<Answer> {
    let Some(lead) = lead else {
        return Once::Nobody;
    };
    let (answer, told) = oneshot::channel();
    let command = ScheduleCommand {
        definition,
        trigger,
        what,
        at: first,
        answer,
    };
    if let Err(not) = sent(lead.schedules.try_send(command)) {
        return not;
    }
    let done = answer_of(told, deadline).await;
    done.map(|done| Answer::Schedule(done.map(Box::new)))
}
