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
use baton_store::Suspects as _;
use uuid::Uuid;

use super::piece::Piece;
use super::turn::{AGAIN_MAX, AGAIN_MIN};
use super::{HotError, HotLoop};
use crate::chain::chain;
use crate::decode::{self, Read, Unusable};
use crate::{clock, metrics};

/// Deliveries of a message that are taken as they come. What an unlucky process and a broken connection may cost a message is less.
const TRUSTED: u64 = 5;
/// How often an orchestrator may die over one report while it takes nothing else from the inbox. More than once, since processes are
/// killed for other reasons too, and what is due by the clock goes into the same turn.
const DEATHS_MAX: u32 = 3;

/// A message under suspicion.
pub(super) struct Suspect {
    delivery: Delivery,
    /// What its notes are filed under: the same whenever it is delivered.
    message: Uuid,
    /// Whether it is a batch.
    batch: bool,
    /// What is left of it, each as the message it would be alone, with its place.
    parts: VecDeque<(u32, Delivery)>,
}

impl Suspect {
    /// Whether a message was delivered too often to be trusted.
    pub(super) const fn is(delivery: &Delivery) -> bool {
        delivery.deliveries > TRUSTED
    }

    /// Takes such a message apart.
    pub(super) fn of(delivery: Delivery) -> Self {
        let message = name(&delivery);
        let reports = decode::apart(&delivery.body);
        let batch = reports.is_some();
        let parts: VecDeque<(u32, Delivery)> = match reports {
            Some(reports) => (1..)
                .zip(reports)
                .map(|(number, report)| (number, alone(&delivery, message, number, report)))
                .collect(),
            None => VecDeque::from([(0, delivery.clone())]),
        };
        tracing::warn!(
            deliveries = delivery.deliveries,
            message_id = delivery.message_id.as_deref().unwrap_or(""),
            reports = parts.len(),
            "a message was delivered again and again without being answered; what it says is decided one by one, each alone"
        );
        Self {
            delivery,
            message,
            batch,
            parts,
        }
    }

    /// The whole message, to be given back.
    pub(super) fn into_delivery(self) -> Delivery {
        self.delivery
    }

    fn read(&self, part: &Delivery) -> Result<Read, Unusable> {
        if self.batch {
            decode::report(part)
        } else {
            decode::inbox(part)
        }
    }
}

fn name(delivery: &Delivery) -> Uuid {
    let id = delivery.message_id.as_deref().unwrap_or("");
    let mut what = Vec::with_capacity(id.len() + 1 + delivery.body.len());
    what.extend_from_slice(id.as_bytes());
    what.push(0x1f);
    what.extend_from_slice(&delivery.body);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &what)
}

/// A report as a message of its own. Its id says where it was, and is the same whenever its batch is delivered.
fn alone(batch: &Delivery, message: Uuid, number: u32, report: &[u8]) -> Delivery {
    let mut part = batch.clone();
    part.body = report.to_vec();
    // what its tag says: a report under another tag cannot be read, and its kind is not known
    part.kind = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(report)
        .ok()
        .and_then(|map| map.into_iter().next())
        .map(|(tag, _)| tag);
    let id = batch.message_id.clone();
    let id = id.unwrap_or_else(|| message.to_string());
    part.message_id = Some(format!("{id}.{number}"));
    part
}

impl<S: Store> HotLoop<S> {
    /// Decides one report of the message under suspicion, if there is one; after the last the message may be acknowledged.
    pub(super) async fn one_of_suspect(&mut self) -> Result<(), HotError> {
        if !self.driver.has_room() {
            return Ok(());
        }
        let Some(mut suspect) = self.suspect.take() else {
            return Ok(());
        };
        if let Some((number, part)) = suspect.parts.pop_front() {
            self.tried_alone(&suspect, number, part).await?;
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
        suspect: &Suspect,
        number: u32,
        part: Delivery,
    ) -> Result<(), HotError> {
        let Some(deaths) = self.noted(suspect.message, number).await else {
            return Ok(());
        };
        if deaths >= DEATHS_MAX {
            let error = format!(
                "the orchestrator died {deaths} times while it worked on this report alone; its message was delivered {} times",
                part.deliveries
            );
            self.put_aside(part, Unusable::new(DeadReason::DeliveredTooOften, error));
            // the note stays: it may come again before its message is acknowledged
            return Ok(());
        }
        match suspect.read(&part) {
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
        if let Err(error) = self.suspects.done(suspect.message, number).await {
            tracing::debug!(error = %chain(&error), "a note of what was tried alone could not be taken away");
        }
        Ok(())
    }

    /// Writes down what is tried next, as long as that takes; answers how often a process died over it. None when the process is stopped.
    async fn noted(&mut self, message: Uuid, number: u32) -> Option<u32> {
        let mut pause = AGAIN_MIN;
        loop {
            let error = match self.suspects.begin(message, number, clock::now()).await {
                Ok(deaths) => {
                    if pause != AGAIN_MIN {
                        tracing::info!("the store takes commits again");
                        self.health.set_store(true);
                    }
                    return Some(deaths);
                }
                Err(error) => error,
            };
            if pause == AGAIN_MIN {
                tracing::error!(
                    error = %chain(&error),
                    "what is to be tried alone could not be written down: the store could not be written, see the error; nothing is acknowledged, it is tried again until it succeeds"
                );
                self.health.set_store(false);
            }
            self.health.beat();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }
}
