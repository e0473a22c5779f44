//! Events and words to other sagas that the broker did not confirm, to be published again. They stand in a table of the store, so that the watermark passes
//! them, however many they are and for however long nobody takes them. In memory is only by what they wait, in lanes: one for each type of event, one for each
//! slice that words go to. What refuses one of a lane refuses the others as well, so that one of it is tried, more and more rarely; when it is let through
//! the others follow.

use std::collections::BTreeMap;

use baton_engine::Command;
use baton_messages::{Event, InboxMessage, MessageId, SagaId, Slice, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::outlet::Ticket;
use crate::unsent::{REFUSED_MS_MAX, RESEND_MS};

/// Read and published together of one lane, at most: so many bodies are in memory, each of some hundred kilobytes at worst.
pub(crate) const TOGETHER_MAX: usize = 64;
/// Under way together of all lanes: a quarter of what may be, so that what is new always has room beside what was refused.
pub(crate) const UNDER_WAY_MAX: usize = 512;
/// Lanes that are told apart, of some hundred bytes each. What would be one more waits with all that are too many.
const LANES_MAX: usize = 1_024;
/// Where those wait; no other is called so.
const REST: &str = "rest";
/// So much of an event's type names its lane, in characters: as much as it may have as a routing key.
const NAMED_BY: usize = 255;

/// What is published again until the broker confirms it, since nobody asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owed {
    /// An event.
    Event(Box<Event>),
    /// A word to another saga.
    Word(Box<InboxMessage>),
}

impl Owed {
    /// What publishes it.
    #[must_use]
    pub fn command(&self) -> Command {
        match self {
            Self::Event(event) => Command::EmitEvent(event.clone()),
            Self::Word(word) => Command::TellSaga(word.clone()),
        }
    }

    /// The id of its message: published again, and kept again, it is the same.
    #[must_use]
    pub fn id(&self, saga: SagaId) -> Uuid {
        match self {
            Self::Event(event) => match event.id.parse::<MessageId>() {
                Ok(id) => id.0,
                Err(_) => Uuid::new_v5(&saga.0, event.id.as_bytes()),
            },
            Self::Word(word) => match word.as_ref() {
                InboxMessage::ChildWanted(wanted) => wanted.message_id().0,
                InboxMessage::ChildSaid(said) => said.message_id().0,
                // no other is said by a saga
                _ => Uuid::new_v5(&saga.0, b"word"),
            },
        }
    }

    /// The lane it waits in.
    fn lane(&self, saga: SagaId) -> String {
        let to = match self {
            Self::Event(event) => {
                let kind: String = event.kind.chars().take(NAMED_BY).collect();
                return format!("event/{kind}");
            }
            Self::Word(word) => match word.as_ref() {
                InboxMessage::ChildWanted(wanted) => wanted.child,
                InboxMessage::ChildSaid(said) => said.parent.saga,
                _ => saga,
            },
        };
        format!("word/{}", Slice::of(to).0)
    }
}

/// A place within a lane: since when it waits, and its id.
pub(crate) type Place = (Timestamp, Uuid);

/// What the next of a lane is read by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) lane: String,
    pub(crate) after: Option<Place>,
    pub(crate) most: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: BTreeMap<String, Lane>,
    /// How many wait in the store, those included that are being tried.
    waiting: u64,
    /// Those that are being tried, with the lane of each.
    trying: BTreeMap<Ticket, (String, Uuid)>,
    /// Those that the broker has, and the table still holds.
    gone: Vec<Uuid>,
    /// Tickets of rows that are none: each is another one, also after a recovery.
    tickets: u32,
}

#[derive(Debug)]
struct Lane {
    /// When the next try.
    due: Timestamp,
    /// How many try together.
    together: usize,
    /// How long after a try that failed the next follows.
    pause_ms: u64,
    /// Behind whom the next is read: who was tried in vain does not stand in the way of the others.
    after: Option<Place>,
    under_way: usize,
    /// One of those that were under way together did not get through.
    failed: bool,
    /// The last try failed.
    refuses: bool,
    /// Anything was published since it was last read from its beginning.
    published: bool,
}

impl Lane {
    const fn new(due: Timestamp) -> Self {
        Self {
            due,
            together: 1,
            pause_ms: RESEND_MS,
            after: None,
            under_way: 0,
            failed: false,
            refuses: false,
            published: false,
        }
    }

    /// It is known what came of all that were under way.
    fn came_back(&mut self, now: Timestamp) {
        if !std::mem::take(&mut self.failed) {
            self.refuses = false;
            self.together = (self.together * 2).min(TOGETHER_MAX);
            self.pause_ms = RESEND_MS;
            self.due = now;
            return;
        }
        if self.refuses {
            self.pause_ms = (self.pause_ms * 2).min(REFUSED_MS_MAX);
        }
        self.refuses = true;
        self.together = 1;
        self.due = now.plus_ms(self.pause_ms);
    }
}

impl Lanes {
    /// After everything was read anew: lanes in which something waits, and how many wait in all of them.
    pub(crate) fn recovered(&mut self, lanes: Vec<String>, waiting: u64, now: Timestamp) {
        let due = |name| (name, Lane::new(now));
        *self = Self {
            lanes: lanes.into_iter().map(due).collect(),
            waiting,
            tickets: self.tickets,
            ..Self::default()
        };
    }

    /// About how many wait.
    pub(crate) fn waiting(&self) -> usize {
        usize::try_from(self.waiting).unwrap_or(usize::MAX)
    }

    /// Lanes whose last try failed.
    pub(crate) fn refusing(&self) -> usize {
        self.lanes.values().filter(|lane| lane.refuses).count()
    }

    /// How many are being tried.
    pub(crate) fn under_way(&self) -> usize {
        self.trying.len()
    }

    /// One more is about to wait, not to be tried before `due` where nothing like it waits already; answers the lane it waits in.
    pub(crate) fn keep(&mut self, what: &Owed, saga: SagaId, due: Timestamp) -> String {
        let mut name = what.lane(saga);
        if !self.lanes.contains_key(&name) && self.lanes.len() >= LANES_MAX {
            REST.clone_into(&mut name);
        }
        self.waiting += 1;
        self.lanes
            .entry(name.clone())
            .or_insert_with(|| Lane::new(due));
        name
    }

    /// The lane that waits for longest among those whose time has come, and what is to be read of it.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Asked> {
        let ready = self.lanes.iter().filter(|(_, lane)| lane.under_way == 0);
        let (name, lane) = ready.min_by_key(|(_, lane)| lane.due)?;
        (lane.due <= now).then(|| Asked {
            lane: name.clone(),
            after: lane.after,
            most: lane.together,
        })
    }

    /// When the next is to be tried.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let ready = self.lanes.values().filter(|lane| lane.under_way == 0);
        ready.map(|lane| lane.due).min()
    }

    /// What was asked for was read, up to `last`; none: nobody waits behind the place that was asked for.
    pub(crate) fn read(&mut self, name: &str, last: Option<Place>, now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        if last.is_some() || lane.after.is_some() {
            if last.is_none() && !std::mem::take(&mut lane.published) {
                // all that wait are of a version that knows more than this one
                lane.due = now.plus_ms(REFUSED_MS_MAX);
            }
            lane.after = last;
            return;
        }
        self.lanes.remove(name);
        if self.lanes.is_empty() {
            self.waiting = 0;
        }
    }

    /// One is tried; answers its ticket.
    pub(crate) fn started(&mut self, name: &str, id: Uuid) -> Ticket {
        self.tickets = self.tickets.wrapping_add(1);
        // rows count from 1: no row has this one
        let ticket = Ticket {
            log_seq: 0,
            index: self.tickets,
        };
        self.trying.insert(ticket, (name.to_owned(), id));
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.under_way += 1;
            lane.published = true;
        }
        ticket
    }

    /// It is known what came of one; false where it is none of those that were tried.
    pub(crate) fn landed(&mut self, ticket: Ticket, confirmed: bool, now: Timestamp) -> bool {
        let Some((name, id)) = self.trying.remove(&ticket) else {
            return false;
        };
        if confirmed {
            self.gone.push(id);
            self.waiting = self.waiting.saturating_sub(1);
        }
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.under_way = lane.under_way.saturating_sub(1);
            lane.failed |= !confirmed;
            if lane.under_way == 0 {
                lane.came_back(now);
            }
        }
        true
    }

    /// Nothing of a lane is tried before `at`.
    pub(crate) fn later(&mut self, name: &str, at: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.due = at;
        }
    }

    /// The broker is there (again).
    pub(crate) fn all_due(&mut self, now: Timestamp) {
        for lane in self.lanes.values_mut() {
            lane.due = now;
            lane.pause_ms = RESEND_MS;
            lane.refuses = false;
        }
    }

    /// Those that the broker has, to be taken out of the table.
    pub(crate) fn gone(&self) -> &[Uuid] {
        &self.gone
    }

    /// They are taken out.
    pub(crate) fn forget_gone(&mut self) {
        self.gone.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SAGA: SagaId = SagaId(Uuid::from_u128(7));

    fn event(n: u128, kind: &str) -> Owed {
        let event = serde_json::from_value(json!({
            "specversion": "1.0", "id": Uuid::from_u128(n), "source": "/s", "type": kind,
        }));
        Owed::Event(Box::new(event.unwrap()))
    }

    /// A table of one lane, and a broker that takes what it is told to.
    fn tried(
        lanes: &mut Lanes,
        table: &mut Vec<Place>,
        now: Timestamp,
        takes: impl Fn(Uuid) -> bool,
    ) -> usize {
        let mut published = 0;
        while let Some(asked) = lanes.next(now) {
            let behind = table.iter().filter(|place| Some(**place) > asked.after);
            let rows: Vec<Place> = behind.take(asked.most).copied().collect();
            lanes.read(&asked.lane, rows.last().copied(), now);
            let out: Vec<(Ticket, Uuid)> = rows
                .iter()
                .map(|(_, id)| (lanes.started(&asked.lane, *id), *id))
                .collect();
            published += out.len();
            for (ticket, id) in out {
                assert!(lanes.landed(ticket, takes(id), now));
            }
            table.retain(|(_, id)| !lanes.gone().contains(id));
            lanes.forget_gone();
        }
        published
    }

    fn filled(lanes: &mut Lanes, n: u128) -> Vec<Place> {
        let of = |n| {
            lanes.keep(&event(n, "a.b"), SAGA, Timestamp(RESEND_MS));
            (Timestamp(0), Uuid::from_u128(n))
        };
        (1..=n).map(of).collect()
    }

    #[test]
    fn one_of_a_lane_tries_more_and_more_rarely_and_none_that_fails_stands_in_the_way() {
        let mut lanes = Lanes::default();
        let mut table = filled(&mut lanes, 1_000);
        let (mut now, mut pauses) = (Timestamp(0), Vec::new());
        for _ in 0..6 {
            let due = lanes.next_due().unwrap();
            pauses.push(due.since_ms(now));
            now = due;
            assert_eq!(tried(&mut lanes, &mut table, now, |_| false), 1);
        }
        assert_eq!(pauses, [5_000, 5_000, 10_000, 20_000, 40_000, 60_000]);
        assert_eq!((lanes.waiting(), lanes.refusing()), (1_000, 1));
        now = lanes.next_due().unwrap();
        // one is refused for ever, and the others are let through
        let poison = Uuid::from_u128(3);
        tried(&mut lanes, &mut table, now, |id| id != poison);
        now = lanes.next_due().unwrap();
        tried(&mut lanes, &mut table, now, |id| id != poison);
        assert_eq!(table, [(Timestamp(0), poison)]);
        assert_eq!(lanes.waiting(), 1);
        now = lanes.next_due().unwrap();
        tried(&mut lanes, &mut table, now, |_| true);
        assert_eq!((lanes.waiting(), lanes.next_due()), (0, None));
    }

    #[test]
    fn never_more_of_a_lane_is_under_way_than_one_page() {
        let mut lanes = Lanes::default();
        filled(&mut lanes, 1_000);
        let now = Timestamp(RESEND_MS);
        let mut sizes = Vec::new();
        for n in 0..9 {
            let asked = lanes.next(now).unwrap();
            sizes.push(asked.most);
            lanes.read(&asked.lane, Some((now, Uuid::from_u128(n))), now);
            let one = Uuid::from_u128(n);
            let out: Vec<Ticket> = (0..asked.most)
                .map(|_| lanes.started(&asked.lane, one))
                .collect();
            assert_eq!(lanes.next(now), None, "what is under way is waited for");
            out.into_iter().for_each(|ticket| {
                lanes.landed(ticket, true, now);
            });
        }
        assert_eq!(sizes, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    }

    #[test]
    fn a_lane_that_is_refused_holds_up_no_other_and_their_number_is_bounded() {
        let mut lanes = Lanes::default();
        let now = Timestamp(RESEND_MS);
        for n in 0..2_000 {
            let lane = lanes.keep(&event(n, &format!("a.b{n}")), SAGA, now);
            assert_eq!(lane == REST, n >= 1_024, "{n}: {lane}");
        }
        assert_eq!(lanes.lanes.len(), LANES_MAX + 1);
        let mut seen = std::collections::BTreeSet::new();
        while let Some(asked) = lanes.next(now) {
            let ticket = lanes.started(&asked.lane, Uuid::nil());
            lanes.landed(ticket, false, now);
            assert!(seen.insert(asked.lane), "each is tried once");
        }
        assert_eq!(seen.len(), LANES_MAX + 1);
        assert_eq!(lanes.refusing(), LANES_MAX + 1);
        lanes.all_due(now);
        assert!(lanes.next(now).is_some(), "the broker is back");
    }

    #[test]
    fn what_only_another_version_can_read_is_looked_at_rarely() {
        let mut lanes = Lanes::default();
        filled(&mut lanes, 2);
        let now = Timestamp(RESEND_MS);
        let mut reads = 0;
        while let Some(asked) = lanes.next(now) {
            let last = asked.after.is_none();
            lanes.read(&asked.lane, last.then_some((now, Uuid::from_u128(2))), now);
            reads += 1;
            assert!(reads < 10, "round and round");
        }
        assert_eq!(lanes.next_due(), Some(now.plus_ms(REFUSED_MS_MAX)));
        assert_eq!(lanes.waiting(), 2);
    }

    #[test]
    fn what_landed_after_everything_was_read_anew_speaks_for_nothing() {
        let mut lanes = Lanes::default();
        filled(&mut lanes, 1);
        let before = lanes.started("event/a.b", Uuid::from_u128(1));
        lanes.recovered(vec!["event/a.b".to_owned()], 1, Timestamp(9));
        let after = lanes.started("event/a.b", Uuid::from_u128(1));
        assert_ne!(before, after);
        assert!(!lanes.landed(before, true, Timestamp(10)));
        assert!(lanes.gone().is_empty());
        assert!(lanes.landed(after, true, Timestamp(10)));
        assert_eq!(lanes.gone(), [Uuid::from_u128(1)]);
    }

    #[test]
    fn a_word_and_an_event_are_written_and_read() {
        let what = event(1, "a.b");
        let text = serde_json::to_string(&what).unwrap();
        assert!(text.starts_with("{\"event\":{"), "{text}");
        assert_eq!(serde_json::from_str::<Owed>(&text).unwrap(), what);
        assert_eq!(what.id(SAGA), Uuid::from_u128(1));
    }
}
