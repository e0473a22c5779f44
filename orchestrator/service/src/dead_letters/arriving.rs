//! Which message is which, at the intake: every message that comes becomes a letter of its own or a death of the letter it certainly is, and one that is delivered again
//! after it was kept is the one it was. So nothing is acknowledged that is nowhere, and nothing is kept twice.
//!
//! Each arrival has an id that is committed before anything is made of it (`baton_store::arrivals`); a letter bears the id of the arrival it was made of. A letter
//! that is there and bears another one was made of another message.

use baton_bus::{Delivery, HeaderValue, Headers};
use baton_driver::{DeadLetterRow, StoreError};
use baton_messages::dead::{ID_HEADER, REPLAY_OF_HEADER, REPLAYS_HEADER};
use baton_store::Letters as _;
use baton_store::arrivals::{Arrived, Arriving, CameOut};
use baton_store::letters::Death;
use uuid::Uuid;

use super::{AGAIN_MAX, AGAIN_MIN, Desk, again, namespace};
use crate::chain::chain;
use crate::clock;
use crate::hot::mail::Letter;
use crate::masks;
use crate::replay::raw::stays;

/// Where a letter bears the id of its arrival, among its properties.
const ARRIVAL: &str = "arrival";
/// A letter, and the arrival it is made of.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) arrival: Arrived,
    /// Whether its sender, or whoever parked it, gave it an id.
    named: bool,
    letter: Letter,
}

impl Taken {
    pub(super) fn new(delivery: &Delivery, arrival: Arrived, mut letter: Letter) -> Self {
        letter.0.properties[ARRIVAL] = arrival.id.to_string().into();
        Self {
            arrival,
            named: is_named(delivery),
            letter,
        }
    }

    /// The same as a letter of its own, and its saga has been told. Kept as that before, it is kept once.
    fn of_its_own(&self) -> Letter {
        let mut letter = self.letter.0.clone();
        letter.id = self.arrival.id;
        (letter, None)
    }
}

/// Arrivals of a queue that are acknowledged, and stand in the list as if they were not.
#[derive(Debug, Default)]
pub(super) struct Over {
    /// With the channel they were acknowledged on: of one that is gone nobody knows whether the broker heard it.
    ids: Vec<(u64, Uuid)>,
    /// Whether one of them has no id of its sender.
    unnamed: bool,
}

impl Over {
    pub(super) fn add(&mut self, delivery: &Delivery, arrival: Arrived) {
        self.ids.push((delivery.tag.epoch, arrival.id));
        self.unnamed |= !is_named(delivery);
    }

    /// Those of this channel, which is still there; the others are forgotten here and stay in the list.
    pub(super) fn of_channel(&mut self, epoch: u64) -> Vec<Uuid> {
        self.ids.retain(|(of, _)| *of == epoch);
        self.all()
    }

    /// All of them: whatever the broker would deliver again it has delivered.
    pub(super) fn all(&mut self) -> Vec<Uuid> {
        self.unnamed = false;
        self.ids.drain(..).map(|(_, id)| id).collect()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether they go from the list at once: another message without an id that is like one of them may come, and is not that one.
    pub(super) const fn is_urgent(&self) -> bool {
        self.unnamed
    }
}

/// Asks, more and more rarely, until there is an answer.
async fn answered<T, A: Future<Output = Option<T>>>(mut ask: impl FnMut() -> A) -> T {
    let mut pause = AGAIN_MIN;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MAX);
    }
}

/// What the store answers; why it does not is said.
fn heard<T>(what: &str, answer: Result<T, StoreError>) -> Option<T> {
    answer
        .inspect_err(|error| {
            tracing::warn!(what, error = %chain(error), "the store does not answer about dead letters; it is asked again, and none is acknowledged before");
        })
        .ok()
}

impl Desk {
    /// Which arrivals messages are; asked until the store answers.
    pub(super) async fn arrived<'a>(
        &self,
        queue: &str,
        over: Vec<Uuid>,
        batch: impl Iterator<Item = &'a Delivery>,
    ) -> Vec<Arrived> {
        let arriving = Arriving {
            queue: queue.to_owned(),
            at: clock::now(),
            over,
            came: batch.map(came_out).collect(),
        };
        answered(|| async {
            let arrived = self.replay.letters.arrived(arriving.clone()).await;
            heard("which arrivals they are", arrived)
        })
        .await
    }

    /// Has letters kept, however long that takes: whoever begins to lead may not drive the leading partition yet, and what is left in hand then is delivered to nobody.
    pub(super) async fn kept(&self, taken: &[Taken]) {
        answered(|| async { self.keep(taken).await.then_some(()) }).await;
    }

    /// Has letters kept; false when that cannot be now.
    async fn keep(&self, taken: &[Taken]) -> bool {
        let mut new = Vec::with_capacity(taken.len());
        for one in taken {
            if !self.tied(one).await {
                new.push(one);
            } else if let Some((saga, input)) = &one.letter.1
                && self
                    .router
                    .decided_at_last(*saga, (**input).clone())
                    .await
                    .is_err()
            {
                return false;
            }
        }
        if new.is_empty() {
            return true;
        }
        let letters = new.iter().map(|one| one.letter.clone()).collect();
        if !self.router.keep(letters).await {
            return false;
        }
        let own = self.others(&new).await;
        own.is_empty() || self.router.keep(own).await
    }

    /// Whether it is one that was sent back to work, and is kept as that. While the store does not answer nobody can say so, and it is asked again: a letter of its
    /// own would be one too many for ever.
    async fn tied(&self, one: &Taken) -> bool {
        let row = &one.letter.0;
        answered(|| async {
            let tied = again::tied(&self.replay, row, one.arrival.id).await;
            heard("whether one is a letter that was replayed", tied)
        })
        .await
    }

    /// Those of which there was a letter already that was made of another message: where it is certainly the same message, it is a death of that letter; the rest are letters of
    /// their own.
    async fn others(&self, kept: &[&Taken]) -> Vec<Letter> {
        let ids: Vec<Uuid> = kept.iter().map(|one| one.letter.0.id).collect();
        let made_of = answered(|| async {
            let found = self.replay.letters.arrivals_of(ids.clone()).await;
            heard("whether they were there before", found)
        })
        .await;
        let is_its_own = |one: &Taken| {
            let id = one.letter.0.id;
            made_of.contains(&(id, Some(one.arrival.id)))
        };
        let mut own = Vec::new();
        for one in kept {
            // the same attempt of a task is the same, however often it is parked, and its saga has heard of it
            if is_its_own(one) || again::attempt_of(&one.letter.0).is_some() {
                continue;
            }
            if !one.named || !self.came_again(one).await {
                own.push(one.of_its_own());
            }
        }
        own
    }

    /// A message died that is there as a letter, whatever has become of that: it is dead. False when the letter is gone.
    async fn came_again(&self, one: &Taken) -> bool {
        let row = &one.letter.0;
        let death = Death {
            letter: row.id,
            death: one.arrival.id,
            at: row.at,
            error: format!("{} ({})", row.error, row.reason.as_str()),
            properties: row.properties.clone(),
            body: None,
            attempt: None,
        };
        let is_known = answered(|| async {
            let written = self.replay.letters.died_again(death.clone()).await;
            heard("that one has died again", written)
        })
        .await;
        tracing::warn!(letter = %row.id, reason = row.reason.as_str(), error = %masks::text(&row.error), "a message died that is a dead letter already");
        self.replay.poke.notify_one();
        is_known
    }
}

fn came_out(delivery: &Delivery) -> CameOut {
    CameOut {
        print: delivery.print(),
        fresh: Uuid::new_v4(),
        redelivered: delivery.redelivered,
        named: is_named(delivery),
    }
}

fn is_named(delivery: &Delivery) -> bool {
    delivery
        .message_id
        .as_deref()
        .is_some_and(|id| !id.is_empty())
        || parked_as(delivery).is_some()
}

/// The id it was given when it was parked.
pub(super) fn parked_as(delivery: &Delivery) -> Option<Uuid> {
    delivery.headers.get(ID_HEADER)?.as_text()?.parse().ok()
}

/// The id of the letter a message is, from what tells it from others; kind, body and its sender's own headers are added. Of two with one id the second is another message
/// that is certainly the same.
pub(super) fn identity(delivery: &Delivery, parts: &[String]) -> Uuid {
    let replays = delivery.headers.get(REPLAYS_HEADER);
    let own: Vec<_> = delivery
        .headers
        .iter()
        .filter(|(name, _)| is_the_senders(name))
        .collect();
    let rest = [
        format!("{:?}", replays.and_then(HeaderValue::as_u64)),
        format!("{:?}", delivery.kind),
        format!("{own:?}"),
    ];
    named(&[parts, &rest].concat(), &delivery.body)
}

/// The death a message died the last time, as the broker notes it: queue, how often, when.
pub(super) fn noted(death: Option<&Headers>) -> String {
    death.map_or_else(String::new, |death| format!("{death:?}"))
}

/// Whether a header is neither the broker's nor ours.
pub(super) fn is_the_senders(name: &str) -> bool {
    stays(name) && name != REPLAYS_HEADER && name != REPLAY_OF_HEADER
}

fn named(parts: &[String], body: &[u8]) -> Uuid {
    // a body may be large, and is not copied
    let of_body = Uuid::new_v5(&namespace(), body);
    Uuid::new_v5(&of_body, parts.join("\u{1f}").as_bytes())
}

/// The sender's own headers of a letter, without those it does not have in common with whoever passed it on.
pub(super) fn are_the_headers_of(sent: &DeadLetterRow, died: &DeadLetterRow) -> bool {
    let own = |row: &DeadLetterRow| -> std::collections::BTreeMap<String, serde_json::Value> {
        let headers = row.properties["headers"].as_object();
        let own = headers.into_iter().flatten();
        own.filter(|(name, _)| is_the_senders(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let (sent_with, died_with) = (own(sent), own(died));
    if sent.message_id.is_none() {
        // whoever makes another message of it may hand its headers on: only what is like it in everything is it
        return sent_with == died_with;
    }
    // who gives up a message by its own code notes why in headers
    sent_with
        .iter()
        .all(|(name, value)| died_with.get(name) == Some(value))
}
