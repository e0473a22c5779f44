//! A message that was delivered again and again may be what kills its orchestrator; so may any other that was in hand with it, and the
//! broker counts them all alike. From a few deliveries on it is taken apart, and each report in it is decided in a turn of its own, with a
//! note of it in the store that is taken away afterwards. A note that is found is evidence against this one report: after a few it is put
//! aside, alone. Everything beside it goes its way, however often it was delivered.
//!
//! Whatever dies in between: reports whose turns were committed are duplicates when the message comes again, the order within the message
//! is kept, and it is acknowledged only when all of it is committed or put aside.

use std::collections::VecDeque;

use baton_bus::Delivery;
use baton_driver::Store;
use baton_messages::DeadReason;
use uuid::Uuid;

use super::elsewhere::Ours;
use super::piece::Piece;
use super::trial::{DEATHS_MAX, Note};
use super::{HotError, HotLoop};
use crate::decode::{self, Apart, Read, Unusable};
use crate::metrics;

/// A message under suspicion.
pub(super) struct Suspect {
    delivery: Delivery,
    /// What its notes are filed under: the same whenever it is delivered.
    message: Uuid,
    /// Whether it is a batch of reports: then nothing else is read in it.
    reports: bool,
    /// What is left of it, each as the message it would be alone, with its place.
    parts: VecDeque<(u32, Delivery)>,
}

impl Suspect {
    /// Takes such a message apart.
    pub(super) fn of(delivery: Delivery) -> Self {
        let message = name(&delivery);
        let apart = Apart::of(&delivery.body);
        let reports = matches!(apart, Some(Apart::Reports(_)));
        let parts: VecDeque<(u32, Delivery)> = match apart {
            Some(apart) => (1..)
                .zip(apart.messages())
                .map(|(number, part)| (number, alone(&delivery, message, number, part)))
                .collect(),
            None => VecDeque::from([(0, delivery.clone())]),
        };
        tracing::warn!(
            deliveries = delivery.deliveries,
            message_id = delivery.message_id.as_deref().unwrap_or(""),
            parts = parts.len(),
            "a message was delivered again and again without being answered; what it says is decided one by one, each alone"
        );
        Self {
            delivery,
            message,
            reports,
            parts,
        }
    }

    /// The whole message, to be given back.
    pub(super) fn into_delivery(self) -> Delivery {
        self.delivery
    }
}

/// Reads a part of a message, which is a report or a message of its own.
fn read(reports: bool, part: &Delivery) -> Result<Read, Unusable> {
    if reports {
        decode::report(part)
    } else {
        decode::inbox(part)
    }
}

/// The same whenever a message is delivered, and of no other message.
pub(crate) fn name(delivery: &Delivery) -> Uuid {
    let id = delivery.message_id.as_deref().unwrap_or("");
    let mut what = Vec::with_capacity(id.len() + 1 + delivery.body.len());
    what.extend_from_slice(id.as_bytes());
    what.push(0x1f);
    what.extend_from_slice(&delivery.body);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &what)
}

/// A part of a batch as a message of its own. Its id says where it was, and is the same whenever its batch is delivered.
fn alone(batch: &Delivery, message: Uuid, number: u32, body: Vec<u8>) -> Delivery {
    let mut part = batch.clone();
    // what its tag says: a report under another tag cannot be read, and its kind is not known
    part.kind = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&body)
        .ok()
        .and_then(|map| map.into_iter().next())
        .map(|(tag, _)| tag);
    part.body = body;
    let id = batch.message_id.clone();
    let id = id.unwrap_or_else(|| message.to_string());
    part.message_id = Some(format!("{id}.{number}"));
    part
}

impl<S: Store> HotLoop<S> {
    /// Decides one report of the message under suspicion, if there is one; after the last the message may be acknowledged.
    pub(super) async fn one_of_suspect(&mut self) -> Result<(), HotError> {
        if !self.driver.has_room() || self.is_tried_elsewhere() {
            return Ok(());
        }
        let Some(mut suspect) = self.suspect.take() else {
            return Ok(());
        };
        if let Some((number, part)) = suspect.parts.pop_front() {
            let (message, reports) = (suspect.message, suspect.reports);
            self.tried_alone(message, reports, number, part).await?;
        }
        if self.stop.is_cancelled() || !suspect.parts.is_empty() {
            // after a stop nobody knows whether the turn was committed: the whole message is given back
            self.suspect = Some(suspect);
            return Ok(());
        }
        self.frontier.done(suspect.delivery.tag);
        self.acknowledge().await;
        Ok(())
    }

    async fn tried_alone(
        &mut self,
        message: Uuid,
        reports: bool,
        number: u32,
        part: Delivery,
    ) -> Result<(), HotError> {
        let note = Note {
            message,
            part: number,
        };
        let Some(deaths) = self.begin(note).await else {
            return Ok(());
        };
        if deaths >= DEATHS_MAX {
            let error = format!(
                "the orchestrator died {deaths} times while it worked on this report alone; its message was delivered {} times",
                part.deliveries
            );
            self.put_aside(part, Unusable::new(DeadReason::DeliveredTooOften, error));
            // the notes of those deaths stay: it may come again before its message is acknowledged
            self.dropped().await;
            return Ok(());
        }
        match read(reports, &part) {
            Ok(Read::Input(saga, input)) if !self.elsewhere.is_ours(saga) => {
                // whose it is tries it alone, should it come there as often
                if let Ours::Some(piece) = self.ours(part, Read::Input(saga, input)) {
                    self.put(piece);
                }
            }
            Ok(Read::Input(saga, input)) => {
                metrics::input(input.kind());
                let read = (saga, input);
                self.put(Piece::Part {
                    delivery: part,
                    read,
                });
            }
            Ok(Read::Marker(marker)) => self.put(Piece::Marker(part, marker)),
            // taken apart above whenever it can be
            Ok(Read::Inputs(..)) => {}
            Err(unusable) => self.put_aside(part, unusable),
        }
        self.turn().await?;
        if self.stop.is_cancelled() {
            // nobody knows whether the turn was committed
            self.dropped().await;
        } else {
            self.over().await;
        }
        Ok(())
    }
}
