//! What came into this inbox and belongs into another: whoever starts sagas need not know which partition has which, and a worker answers into the
//! inbox its task named. It is sent on, confirmed, and only then acknowledged; nothing of it is decided here.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_bus::{Delivery, Outgoing, Publisher, Sent};
use baton_driver::Store;
use baton_engine::Input;
use baton_messages::batch::{REPORTS_MAX, Report, STARTS_MAX};
use baton_messages::{InboxKey, InboxMessage, MessageId, ReportBatch, SagaId, Start, StartBatch};
use baton_store::Layout;
use uuid::Uuid;

use super::letter::for_inbox;
use super::piece::{Piece, Told};
use super::{HotLoop, suspect};
use crate::clock;
use crate::decode::Read;

/// Where sagas belong, and where we are.
pub(super) struct Elsewhere {
    layout: Arc<Layout>,
    partition: u8,
}

impl Elsewhere {
    pub(super) const fn new(layout: Arc<Layout>, partition: u8) -> Self {
        Self { layout, partition }
    }

    pub(super) fn is_ours(&self, saga: SagaId) -> bool {
        self.layout.count() == 1 || self.layout.of(saga) == self.partition
    }

    /// Takes from what was read what belongs elsewhere, by partition.
    fn sort_out(&self, read: Read) -> (Option<Read>, BTreeMap<u8, Vec<Told>>) {
        let mut away: BTreeMap<u8, Vec<Told>> = BTreeMap::new();
        let kept = match read {
            Read::Input(saga, input) if !self.is_ours(saga) => {
                away.insert(self.layout.of(saga), vec![(saga, input)]);
                None
            }
            Read::Inputs(told, broken) if told.iter().any(|(saga, _)| !self.is_ours(*saga)) => {
                let (ours, others): (Vec<Told>, Vec<Told>) =
                    told.into_iter().partition(|(saga, _)| self.is_ours(*saga));
                for told in others {
                    away.entry(self.layout.of(told.0)).or_default().push(told);
                }
                (!ours.is_empty() || broken.is_some()).then_some(Read::Inputs(ours, broken))
            }
            all => Some(all),
        };
        (kept, away)
    }
}

impl<S: Store> HotLoop<S> {
    /// Begins to send on what of a delivery belongs elsewhere; the piece that is left, when that was not all of it.
    pub(super) fn ours(&mut self, delivery: Delivery, read: Read) -> Ours {
        let (kept, away) = self.elsewhere.sort_out(read);
        if away.is_empty() {
            return match kept {
                Some(read) => Ours::All(delivery, read),
                None => Ours::Nothing(delivery),
            };
        }
        self.frontier.parking(delivery.tag);
        self.parking.forward(&delivery, away);
        match kept {
            Some(Read::Inputs(told, broken)) => Ours::Some(Piece::Mixed {
                delivery,
                told,
                broken,
            }),
            Some(_) | None => Ours::Nothing(delivery),
        }
    }
}

/// What of a delivery is ours.
pub(super) enum Ours {
    /// The usual case.
    All(Delivery, Read),
    /// A part of it.
    Some(Piece),
    /// It is sent on whole.
    Nothing(Delivery),
}

/// What one message held for another inbox, as messages of their own. Their ids are those of this message and their place in it: delivered again,
/// it makes the same.
pub(super) fn letters(delivery: &Delivery, away: BTreeMap<u8, Vec<Told>>) -> Vec<Outgoing> {
    let now = clock::now();
    let message = suspect::name(delivery);
    let mut made = Vec::new();
    for (partition, told) in away {
        let key = InboxKey::of(partition);
        let (mut reports, mut starts, mut words) = (Vec::new(), Vec::new(), Vec::new());
        for (_, input) in told {
            match *input {
                Input::Start(start) => starts.push(start),
                Input::TaskStarted(m) => reports.push(Report::Started(m)),
                Input::Checkpoint(m) => reports.push(Report::Checkpoint(m)),
                Input::ChildWanted(m) => words.push(InboxMessage::ChildWanted(m)),
                Input::ChildSaid(m) => words.push(InboxMessage::ChildSaid(m)),
                Input::TaskFinished(m) => reports.push(Report::Finished(m)),
                // no message of an inbox says anything else
                _ => {}
            }
        }
        let reports = reports.chunks(REPORTS_MAX).map(as_reports);
        let starts = starts.chunks(STARTS_MAX).map(as_starts);
        for (number, told) in reports.chain(starts).chain(words).enumerate() {
            let name = format!("{partition}/{number}");
            let id = MessageId(Uuid::new_v5(&message, name.as_bytes()));
            made.extend(for_inbox(&key, id, &told, now));
        }
    }
    made
}

fn as_reports(some: &[Report]) -> InboxMessage {
    InboxMessage::Batch(ReportBatch {
        reports: some.to_vec(),
    })
}

fn as_starts(some: &[Start]) -> InboxMessage {
    InboxMessage::Starts(StartBatch {
        starts: some.to_vec(),
    })
}

/// Sends them on; true when the broker has all of them.
pub(super) async fn send(publisher: &Publisher, letters: Vec<Outgoing>) -> bool {
    let sent = publisher.publish(letters).await;
    sent.iter().all(|sent| matches!(sent, Sent::Confirmed))
}
