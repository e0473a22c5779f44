//! Reports packed for the broker: those that are ready for the same inbox go in one message, in their order, as long as it is not full; one
//! that is alone goes as itself. Nothing waits here: what is packed together was waiting already.

use baton_bus::{HeaderValue, Outgoing, version_header};
use baton_messages::batch::{BATCH_BYTES_MAX, REPORTS_MAX};
use baton_messages::headers::{TRACEPARENT, traceparent};
use baton_messages::{
    Checkpoint, Finished, InboxKey, MessageId, SagaId, Started, Timestamp, topology,
};
use serde::Serialize;

/// Room for most reports, so that writing one moves nothing.
const REPORT_BYTES_USUAL: usize = 1024;

/// What stands before and behind the reports of a batch.
const HEAD: &[u8] = br#"{"batch@1":{"reports":["#;
const TAIL: &[u8] = b"]}}";

/// A report as it is written, borrowed from who says it.
#[derive(Serialize)]
pub(crate) enum Said<'a> {
    #[serde(rename = "started@1")]
    Started(&'a Started),
    #[serde(rename = "checkpoint@1")]
    Checkpoint(&'a Checkpoint),
    #[serde(rename = "finished@1")]
    Finished(&'a Finished),
}

impl Said<'_> {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Started(_) => "started@1",
            Self::Checkpoint(_) => "checkpoint@1",
            Self::Finished(_) => "finished@1",
        }
    }

    pub(crate) const fn saga(&self) -> SagaId {
        match self {
            Self::Started(m) => m.of.saga,
            Self::Checkpoint(m) => m.of.saga,
            Self::Finished(m) => m.of.saga,
        }
    }
}

/// A report, written.
#[derive(Clone)]
pub(crate) struct Letter {
    pub(crate) inbox: InboxKey,
    /// Its id where it goes alone.
    pub(crate) id: MessageId,
    pub(crate) kind: &'static str,
    pub(crate) saga: SagaId,
    pub(crate) at: Timestamp,
    pub(crate) body: Vec<u8>,
}

impl Letter {
    pub(crate) fn written(said: &Said<'_>) -> serde_json::Result<Vec<u8>> {
        let mut body = Vec::with_capacity(REPORT_BYTES_USUAL);
        serde_json::to_writer(&mut body, said)?;
        Ok(body)
    }

    fn alone(self) -> Outgoing {
        let trace = HeaderValue::Text(traceparent(self.saga, self.id));
        let mut out = message(&self.inbox, self.kind, self.id, self.body, self.at);
        out.correlation_id = Some(self.saga.to_string());
        out.headers.push((TRACEPARENT.to_owned(), trace));
        out
    }
}

fn message(
    inbox: &InboxKey,
    kind: &'static str,
    id: MessageId,
    body: Vec<u8>,
    at: Timestamp,
) -> Outgoing {
    let mut out = Outgoing::json(topology::INBOX, inbox.as_str(), kind, id, body, at.0);
    out.headers = vec![version_header()];
    out
}

/// Reports on their way into messages, each with what is known of it here.
pub(crate) struct Parcels<T> {
    sealed: Vec<(Outgoing, Vec<T>)>,
    /// At most one for each inbox.
    open: Vec<Parcel<T>>,
}

struct Parcel<T> {
    letters: Vec<Letter>,
    carried: Vec<T>,
    bytes: usize,
}

impl<T> Default for Parcels<T> {
    fn default() -> Self {
        Self {
            sealed: Vec::new(),
            open: Vec::new(),
        }
    }
}

impl<T> Parcels<T> {
    /// Packs one, behind those of its inbox that came before it.
    pub(crate) fn put(&mut self, letter: Letter, carried: T) {
        let bytes = letter.body.len() + 1;
        let of_inbox =
            |parcel: &Parcel<T>| parcel.letters.first().map(|l| &l.inbox) == Some(&letter.inbox);
        if let Some(at) = self.open.iter().position(of_inbox) {
            let parcel = &mut self.open[at];
            if parcel.letters.len() < REPORTS_MAX && parcel.bytes + bytes <= BATCH_BYTES_MAX {
                parcel.bytes += bytes;
                parcel.letters.push(letter);
                parcel.carried.push(carried);
                return;
            }
            let full = self.open.swap_remove(at);
            self.seal(full);
        }
        self.open.push(Parcel {
            bytes: HEAD.len() + TAIL.len() + bytes,
            letters: vec![letter],
            carried: vec![carried],
        });
    }

    /// The messages, and what each of them carries.
    pub(crate) fn sealed(mut self) -> (Vec<Outgoing>, Vec<Vec<T>>) {
        for parcel in std::mem::take(&mut self.open) {
            self.seal(parcel);
        }
        self.sealed.into_iter().unzip()
    }

    fn seal(&mut self, parcel: Parcel<T>) {
        let Parcel {
            mut letters,
            carried,
            bytes,
        } = parcel;
        let out = match letters.pop() {
            Some(alone) if letters.is_empty() => alone.alone(),
            Some(last) => together(&letters, &last, bytes),
            None => return,
        };
        self.sealed.push((out, carried));
    }
}

/// The message has an id of its own: what a report is recognised by is its run, in the body.
fn together(before: &[Letter], last: &Letter, bytes: usize) -> Outgoing {
    let mut body = Vec::with_capacity(bytes);
    body.extend_from_slice(HEAD);
    for letter in before {
        body.extend_from_slice(&letter.body);
        body.push(b',');
    }
    body.extend_from_slice(&last.body);
    body.extend_from_slice(TAIL);
    let id = MessageId(uuid::Uuid::now_v7());
    message(&last.inbox, "batch@1", id, body, last.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_messages::{InboxMessage, RunId, StepId, WorkerId};

    fn started(saga: u128) -> Started {
        let saga = SagaId(uuid::Uuid::from_u128(saga));
        Started {
            of: baton_messages::AttemptRef {
                saga,
                step: StepId::new("a").unwrap(),
                item: None,
                direction: baton_messages::Direction::Do,
                round: 1,
                attempt: 1,
                dispatch: 1,
            },
            run: RunId(saga.0),
            worker: WorkerId::new("w").unwrap(),
            at: Timestamp(1),
        }
    }

    fn letter(inbox: u8, saga: u128) -> Letter {
        let started = started(saga);
        let said = Said::Started(&started);
        Letter {
            inbox: InboxKey::of(inbox),
            id: MessageId(started.run.0),
            kind: said.kind(),
            saga: said.saga(),
            at: started.at,
            body: Letter::written(&said).unwrap(),
        }
    }

    /// The sagas a message speaks of.
    fn read(out: &Outgoing) -> Vec<u128> {
        let message: InboxMessage = serde_json::from_slice(&out.body).unwrap();
        assert_eq!(message.kind(), out.kind);
        match message {
            InboxMessage::Batch(batch) => batch
                .reports
                .into_iter()
                .map(|report| InboxMessage::from(report).saga().unwrap().0.as_u128())
                .collect(),
            alone => vec![alone.saga().unwrap().0.as_u128()],
        }
    }

    #[test]
    fn one_that_is_alone_goes_as_itself() {
        let mut parcels = Parcels::default();
        parcels.put(letter(0, 7), 7);
        let (messages, carried) = parcels.sealed();
        assert_eq!(messages[0].kind, "started@1");
        assert_eq!(messages[0].message_id.0.as_u128(), 7);
        assert!(messages[0].correlation_id.is_some());
        assert_eq!(carried, [[7]]);
    }

    #[test]
    fn each_inbox_has_its_own_and_the_order_stays() {
        let mut parcels = Parcels::default();
        for n in 0..10 {
            parcels.put(letter(u8::try_from(n % 2).unwrap(), n), n);
        }
        let (messages, carried) = parcels.sealed();
        let inboxes: Vec<&str> = messages.iter().map(|out| out.key.as_str()).collect();
        assert_eq!(inboxes, ["00", "01"]);
        assert_eq!(read(&messages[0]), [0, 2, 4, 6, 8]);
        assert_eq!(read(&messages[1]), [1, 3, 5, 7, 9]);
        assert_eq!(carried, [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]);
    }

    #[test]
    fn none_is_fuller_than_it_may_be() {
        let mut parcels = Parcels::default();
        let most = REPORTS_MAX as u128;
        for n in 0..2 * most + 1 {
            parcels.put(letter(0, n), n);
        }
        let (messages, carried) = parcels.sealed();
        let lengths: Vec<usize> = carried.iter().map(Vec::len).collect();
        assert_eq!(lengths, [REPORTS_MAX, REPORTS_MAX, 1]);
        let all: Vec<u128> = messages.iter().flat_map(read).collect();
        assert_eq!(all, (0..2 * most + 1).collect::<Vec<_>>());
    }

    #[test]
    fn a_large_one_leaves_no_room_for_others() {
        let mut parcels = Parcels::default();
        let mut large = letter(0, 1);
        large.body.splice(1..1, vec![b' '; BATCH_BYTES_MAX]);
        parcels.put(letter(0, 0), 0);
        parcels.put(large, 1);
        parcels.put(letter(0, 2), 2);
        let (messages, carried) = parcels.sealed();
        assert_eq!(carried, [[0], [1], [2]]);
        assert_eq!(read(&messages[1]), [1]);
        let mut parcels = Parcels::default();
        for n in 0..3 {
            let mut half = letter(0, n);
            half.body.splice(1..1, vec![b' '; BATCH_BYTES_MAX / 3]);
            parcels.put(half, n);
        }
        let (messages, carried) = parcels.sealed();
        assert_eq!(carried, [vec![0, 1], vec![2]]);
        assert!(messages[0].body.len() <= BATCH_BYTES_MAX);
    }
}
