//! Replays of many dead letters: each is one row, a document that is changed in the transaction that changes its letters. Pure: what a change makes of it is
//! the same in every store.
//!
//! Letters go in stages: 1, then 2, then 5, then the rest. What comes of a letter counts in the stage it set out in, whenever it comes. One that is refused
//! counts for none: a stage of a canary has as many that were sent.

use baton_messages::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::letters::{Ending, LetterState, Settling};
use crate::read::{DeadLetterCursor, DeadLetterFilter, Newest};

/// Where a replay of many stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// It goes on.
    Running,
    /// Somebody stopped it for a while.
    Paused,
    /// It stopped by itself: too many failed again.
    Stopped,
    /// Somebody ended it.
    Cancelled,
    /// Every letter has had its turn.
    Done,
}

impl OperationState {
    /// The word it is kept and shown as.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
        }
    }
}

/// Letters of the first stages of a replay of many; the one after them has the rest.
pub const CANARY: [u64; 3] = [1, 2, 5];
/// Letters of the last stage whose outcome has to be known before their share says anything.
const ENOUGH: u64 = 10;
/// Letters of all of them.
const ALL_CANARIES: u64 = CANARY[0] + CANARY[1] + CANARY[2];
/// How long a stage waits for what comes of its letters, where nobody says.
pub const WAIT_S: u32 = 60;
/// How long it waits for messages of others to die again, where nobody says: most who reject one do so at once.
pub const BACK_S: u32 = 5;

/// What one stage has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Set out.
    pub replayed: u64,
    /// Did their work.
    pub resolved: u64,
    /// Were not sent.
    pub refused: u64,
    /// Failed again.
    pub failed: u64,
    /// Of those that did their work, messages of others: published, and more is not known of them unless they die again.
    #[serde(default)]
    pub published: u64,
}

impl Tally {
    /// Of how many nobody knows yet what comes of them.
    #[must_use]
    pub const fn open(&self) -> u64 {
        let known = self.resolved + self.refused + self.failed;
        self.replayed.saturating_sub(known)
    }

    fn add(&mut self, ending: Ending) {
        match ending {
            Ending::Resolved => self.resolved += 1,
            Ending::Published => {
                self.resolved += 1;
                self.published += 1;
            }
            Ending::Failed => self.failed += 1,
            Ending::Refused => self.refused += 1,
        }
    }

    /// One that was published died again.
    const fn came_back(&mut self) {
        self.resolved = self.resolved.saturating_sub(1);
        self.published = self.published.saturating_sub(1);
        self.failed += 1;
    }
}

/// A replay of many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRow {
    /// Its id, minted by whoever asked for it.
    pub id: Uuid,
    /// Which letters: of those that were dead when it was made.
    pub filter: DeadLetterFilter,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Whether what is refused for its history alone is sent all the same.
    pub force: bool,
    /// Where foreign messages go instead of where they came from: exchange and routing key.
    pub target: Option<(String, String)>,
    /// Letters a second at most.
    pub rate: u32,
    /// It stops by itself when more than this share of a stage, in percent, failed again.
    pub stop_at: u8,
    /// Where it stands.
    pub state: OperationState,
    /// Why it stands there.
    pub why: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was last changed by somebody, or by itself.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
    /// Letters that fitted when it was made.
    pub found: u64,
    /// Which stage it is in, from 0.
    pub stage: u8,
    /// What this stage has come to.
    pub in_stage: Tally,
    /// What all of it has come to.
    pub total: Tally,
    /// The last letter that had its turn: newest first.
    pub cursor: Option<(Timestamp, Uuid)>,
    /// How long a stage waits for what comes of its letters.
    #[serde(default = "wait_s")]
    pub wait_s: u32,
    /// Counts the stages begun: what comes late of a letter counts for the stage it set out in, and for no other.
    #[serde(default)]
    pub leg: u32,
    /// When the last letter set out, or the last outcome came.
    #[serde(default)]
    pub moved_at: Option<Timestamp>,
    /// Messages of others that go elsewhere than they came from: from where, and where to.
    #[serde(default)]
    pub redirect: Vec<Redirect>,
    /// How long a stage waits for messages of others that were published to die again: as long as for the rest, where somebody said how long that is.
    #[serde(default = "back_s")]
    pub back_s: u32,
    /// What all of it had come to when somebody let it go on after it stopped: that has been seen.
    #[serde(default)]
    pub seen: Tally,
    /// When whoever asked for it saw what it would do: what came later is not taken. None: it was not looked at before.
    #[serde(default)]
    pub as_of: Option<Timestamp>,
    /// Where messages of others go that nothing takes there now: they are passed over, and tried again in turn once all others have gone.
    #[serde(default)]
    pub held: Vec<Held>,
    /// How far the letters of the store had come when it was made, or when whoever asked for it saw what it would do: what died or was moved later is not taken. None: it was
    /// made by a version before, which went by clocks.
    #[serde(default)]
    pub newest: Option<Newest>,
    /// How far the others have gone, while those are tried again.
    #[serde(default)]
    pub reached: Option<(Timestamp, Uuid)>,
}

const fn wait_s() -> u32 {
    WAIT_S
}

const fn back_s() -> u32 {
    BACK_S
}

/// More letters than were allowed for failed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// So many.
    pub failed: u64,
    /// Of so many of which it is known what came of them.
    pub known: u64,
    /// Of what these are.
    pub of: &'static str,
}

impl TooMany {
    const fn of(tally: Tally, of: &'static str) -> Self {
        Self {
            failed: tally.failed,
            known: tally.failed + tally.resolved,
            of,
        }
    }
}

/// Somewhere nothing is taken now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Exchange and routing key.
    pub to: (String, String),
    /// The place of the last letter before the first that goes there; none: it is the first of all.
    pub from: Option<(Timestamp, Uuid)>,
    /// Why, for whoever wonders.
    pub why: String,
}

/// Messages of others that came from there go elsewhere. From: an exchange and routing key, or, without an exchange, a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// From where: exchange and routing key, or `""` and the queue it died in.
    pub from: (String, String),
    /// Where to: exchange and routing key.
    pub to: (String, String),
}

impl OperationRow {
    /// Letters that were moved later than this it does not take.
    #[must_use]
    pub fn takes_until(&self) -> Timestamp {
        let by_clocks = || self.as_of.map_or(self.made_at, |at| at.min(self.made_at));
        self.newest.map_or_else(by_clocks, |newest| newest.moved)
    }

    /// Letters that died later than this it does not take.
    #[must_use]
    pub fn takes_died_until(&self) -> Timestamp {
        self.newest
            .map_or_else(|| self.takes_until(), |newest| newest.died)
    }

    /// How many more letters this stage may set out. One that was refused tells nothing of the others: another takes its place in the canary.
    #[must_use]
    pub const fn room(&self) -> u64 {
        if self.is_last_stage() {
            return u64::MAX;
        }
        let tried = self.in_stage.replayed.saturating_sub(self.in_stage.refused);
        CANARY[self.stage as usize].saturating_sub(tried)
    }

    /// Whether it is in the last stage, which has the rest.
    #[must_use]
    pub const fn is_last_stage(&self) -> bool {
        self.stage as usize >= CANARY.len()
    }

    /// Whether too many failed again: more than the share, of those of which it is known what came of them. Of a stage of a canary that is asked
    /// once all of them are known, or the wait for them `is_over`; of the last one all the time, once there are enough. And the same of all stages together: what fails
    /// when the next stage is under way fails all the same. Answers failed and known, of its stage or of all.
    #[must_use]
    pub const fn fails_too_often(&self, is_over: bool) -> Option<TooMany> {
        let in_stage = self.in_stage;
        let is_known = in_stage.open() == 0 || is_over;
        let all = Tally {
            failed: self.total.failed.saturating_sub(self.seen.failed),
            resolved: self.total.resolved.saturating_sub(self.seen.resolved),
            ..self.total
        };
        if self.is_too_many(in_stage, is_known, ENOUGH) {
            return Some(TooMany::of(in_stage, "its stage"));
        }
        if self.is_too_many(all, is_known, ALL_CANARIES) {
            return Some(TooMany::of(all, "all it sent"));
        }
        None
    }

    const fn is_too_many(&self, of: Tally, is_known: bool, least: u64) -> bool {
        let known = of.failed + of.resolved;
        let enough = if self.is_last_stage() {
            known >= least
        } else {
            is_known
        };
        enough && of.failed * 100 > known * self.stop_at as u64
    }

    /// What is said of it when every letter has had its turn, as it is known now.
    #[must_use]
    pub fn said_of_all(&self) -> String {
        let mut why = "every letter has had its turn".to_owned();
        if self.total.failed > 0 {
            why += &format!("; {} failed again", self.total.failed);
        }
        if self.total.open() > 0 {
            why += &format!(
                "; of {} it is not known yet what came of them: `baton dead --operation {} --state replaying`",
                self.total.open(),
                self.id
            );
        }
        why
    }

    /// Where its letters go on.
    #[must_use]
    pub fn after(&self) -> Option<DeadLetterCursor> {
        self.cursor.map(|(at, id)| DeadLetterCursor { at, id })
    }

    /// Whether letters that go there are passed over.
    #[must_use]
    pub fn holds(&self, to: &(String, String)) -> bool {
        self.held.iter().any(|held| held.to == *to)
    }

    /// The later of two places, in the order in which its letters go.
    #[must_use]
    pub fn later(
        &self,
        a: Option<(Timestamp, Uuid)>,
        b: Option<(Timestamp, Uuid)>,
    ) -> Option<(Timestamp, Uuid)> {
        match (a, b) {
            (Some(a), Some(b)) if self.filter.oldest_first => Some(a.max(b)),
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// What came of a letter, once or again: in all, and in its stage while that is the one under way.
    fn count(&mut self, stage: Option<u32>, at: Timestamp, counted: impl Fn(&mut Tally)) {
        counted(&mut self.total);
        if stage == Some(self.leg) {
            counted(&mut self.in_stage);
            self.moved_at = self.moved_at.max(Some(at));
        }
        // what comes after its end is told with the rest
        if self.state == OperationState::Done {
            self.why = self.said_of_all();
        }
    }

    /// A letter it had sent died again; `from`: where it stood.
    pub(crate) fn died_again(&mut self, stage: Option<u32>, from: LetterState, at: Timestamp) {
        match from {
            LetterState::Replaying => self.count(stage, at, |tally| tally.add(Ending::Failed)),
            LetterState::Resolved => self.count(stage, at, Tally::came_back),
            // it was counted when it failed
            LetterState::Dead | LetterState::Discarded => {}
        }
    }

    /// The next stage, or the first one again.
    fn begins(&mut self, stage: u8) {
        self.stage = stage;
        self.leg += 1;
        self.in_stage = Tally::default();
        self.why.clear();
    }

    /// Applies a step; false where it does not fit, and nothing is changed.
    pub(crate) fn step(&mut self, step: &OperationStep) -> bool {
        match step {
            OperationStep::Stage(from) if self.stage == *from => {
                self.begins(self.stage + 1);
                true
            }
            OperationStep::Stage(_) => false,
            OperationStep::Again { to, cursor } => {
                let is_first = self.held.first().is_some_and(|held| held.to == *to);
                if !is_first || self.cursor != *cursor {
                    return false;
                }
                let held = self.held.remove(0);
                self.reached = self.later(self.reached, self.cursor);
                self.cursor = held.from;
                true
            }
            OperationStep::Steer {
                from,
                to,
                why,
                by,
                at,
            } => {
                if !from.contains(&self.state) {
                    return false;
                }
                if self.state == OperationState::Stopped && *to == OperationState::Running {
                    // whoever lets it go on has seen what failed: it begins with a canary again
                    self.begins(0);
                    self.seen = self.total;
                }
                self.state = *to;
                self.why.clone_from(why);
                self.changed_by.clone_from(by);
                self.changed_at = *at;
                true
            }
        }
    }
}

/// A change of a replay of many, beside its letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationStep {
    /// From this stage to the next.
    Stage(u8),
    /// All others have gone: what goes there, the first that is held, is tried again.
    Again {
        /// Exchange and routing key.
        to: (String, String),
        /// How far it has come.
        cursor: Option<(Timestamp, Uuid)>,
    },
    /// To another state.
    Steer {
        /// Where it has to stand.
        from: Vec<OperationState>,
        /// Where it stands then.
        to: OperationState,
        /// Why.
        why: String,
        /// By whom.
        by: String,
        /// When.
        at: Timestamp,
    },
}

/// Letters that set out together for a replay of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claiming {
    /// Which operation; it has to be running.
    pub operation: Uuid,
    /// The letters: those of them that are still dead set out.
    pub letters: Vec<Uuid>,
    /// How far they reach: the place of the last one.
    pub cursor: (Timestamp, Uuid),
    /// When.
    pub at: Timestamp,
}

impl Claiming {
    /// Applies it to the operation's row, once it is known how many set out; none where it does not run.
    pub(crate) fn apply(&self, row: &mut OperationRow, n: usize) {
        row.in_stage.replayed += n as u64;
        row.total.replayed += n as u64;
        row.cursor = Some(self.cursor);
        row.moved_at = row.moved_at.max(Some(self.at));
    }
}

/// Letters that set out and were not sent: they are as they were before, and have their turn again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivingBack {
    /// Which operation.
    pub operation: Uuid,
    /// The letters: those of them that are on their way and were not sent.
    pub letters: Vec<Uuid>,
    /// The place from which it goes on: of the last letter that had its turn before them, or, of those that are held, of the last that was looked at; none: from
    /// the first.
    pub cursor: Option<(Timestamp, Uuid)>,
    /// Where nothing is taken: what goes there is passed over from now on.
    pub held: Vec<Held>,
}

impl GivingBack {
    /// Applies it to the operation's row, once it is known how many are back.
    pub(crate) fn apply(&self, row: &mut OperationRow, n: usize) {
        let n = n as u64;
        row.in_stage.replayed = row.in_stage.replayed.saturating_sub(n);
        row.total.replayed = row.total.replayed.saturating_sub(n);
        row.cursor = self.cursor;
        for held in &self.held {
            // what is held already is so from an earlier place
            if !row.holds(&held.to) {
                row.held.push(held.clone());
            }
        }
    }
}

impl Settling {
    pub(crate) fn apply(&self, row: &mut OperationRow, stage: Option<u32>) {
        row.count(stage, self.at, |tally| tally.add(self.ending));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> OperationRow {
        OperationRow {
            id: Uuid::nil(),
            filter: DeadLetterFilter::default(),
            by: String::new(),
            reason: String::new(),
            force: false,
            target: None,
            rate: 50,
            stop_at: 20,
            state: OperationState::Running,
            why: String::new(),
            made_at: Timestamp(1),
            changed_at: Timestamp(1),
            changed_by: String::new(),
            found: 0,
            stage: 0,
            in_stage: Tally::default(),
            total: Tally::default(),
            cursor: None,
            wait_s: WAIT_S,
            leg: 0,
            moved_at: None,
            redirect: Vec::new(),
            back_s: BACK_S,
            seen: Tally::default(),
            as_of: None,
            newest: None,
            held: Vec::new(),
            reached: None,
        }
    }

    fn stage(stage: u8, resolved: u64, failed: u64, refused: u64) -> OperationRow {
        let in_stage = Tally {
            replayed: resolved + failed + refused,
            resolved,
            refused,
            failed,
            published: 0,
        };
        OperationRow {
            stage,
            in_stage,
            ..row()
        }
    }

    #[test]
    fn what_it_takes_ends_where_the_letters_had_come_and_no_clock_says_where() {
        let until = |row: &OperationRow| (row.takes_died_until().0, row.takes_until().0);
        let of_before = OperationRow {
            as_of: Some(Timestamp(8)),
            ..row()
        };
        assert_eq!(until(&of_before), (1, 1), "no later than it was made");
        let newest = Newest::of(Some(Timestamp(7)), Some(Timestamp(9)));
        let of_now = OperationRow {
            newest: Some(newest),
            ..of_before
        };
        assert_eq!(until(&of_now), (7, 9), "it was made by a slow clock");
        let at = |at| Some(Timestamp(at));
        let seen = |moved, died| {
            let newest = newest.up_to(moved, died);
            (newest.died.0, newest.moved.0)
        };
        assert_eq!(seen(None, None), (7, 9));
        assert_eq!(seen(at(8), at(6)), (6, 8));
        assert_eq!(seen(at(6), None), (6, 6), "whoever names one time alone");
        assert_eq!(seen(at(99), at(99)), (7, 9), "what is to come is no part");
        assert_eq!(Newest::of(at(7), None).moved, Timestamp(7));
    }

    #[test]
    fn a_canary_is_one_then_two_then_five_then_the_rest() {
        assert_eq!(row().room(), 1);
        assert_eq!(stage(0, 1, 0, 0).room(), 0);
        assert_eq!(stage(1, 1, 0, 0).room(), 1);
        assert_eq!(stage(2, 3, 0, 0).room(), 2);
        assert_eq!(stage(3, 900, 0, 0).room(), u64::MAX);
    }

    #[test]
    fn more_than_the_share_of_a_stage_stops_it_and_refusals_say_nothing() {
        let stops = |row: &OperationRow| row.fails_too_often(false).is_some();
        assert!(stops(&stage(0, 0, 1, 0)));
        assert!(!stops(&stage(0, 0, 0, 1)));
        assert!(!stops(&stage(2, 4, 1, 0)), "not more than a fifth");
        assert!(stops(&stage(2, 3, 2, 0)));
        let mut on_its_way = stage(2, 0, 3, 0);
        on_its_way.in_stage.replayed = 5;
        assert!(!stops(&on_its_way), "two of its stage are not known yet");
        assert!(
            on_its_way.fails_too_often(true).is_some(),
            "nobody waits for them any longer"
        );
        assert!(!stops(&stage(3, 0, 9, 0)), "too few to say");
        assert!(stops(&stage(3, 7, 3, 0)));
    }

    #[test]
    fn what_is_held_is_tried_again_in_turn_from_where_it_was() {
        let place = |n: u128| Some((Timestamp(1), Uuid::from_u128(n)));
        let to = |queue: &str| (String::new(), queue.to_owned());
        let held = |queue: &str, from| Held {
            to: to(queue),
            from,
            why: String::new(),
        };
        let back = |cursor, held: Vec<Held>| GivingBack {
            operation: Uuid::nil(),
            letters: Vec::new(),
            cursor,
            held,
        };
        let again = |queue: &str, cursor| OperationStep::Again {
            to: to(queue),
            cursor,
        };
        let mut row = row();
        row.filter.oldest_first = true;
        assert!(!row.step(&again("a", None)), "nothing is held");
        back(place(9), vec![held("a", None), held("b", place(3))]).apply(&mut row, 0);
        assert!(!row.step(&again("b", place(9))), "it is not its turn");
        assert!(!row.step(&again("a", place(8))), "it has gone on since");
        assert!(row.step(&again("a", place(9))));
        assert_eq!((row.cursor, row.reached), (None, place(9)));
        assert!(row.holds(&to("b")) && !row.holds(&to("a")));
        assert!(!row.step(&again("a", place(9))), "once");
        // refused again, it is the last of them, and nothing between is looked at once more
        let cursor = row.later(row.reached, place(2));
        back(cursor, vec![held("a", None)]).apply(&mut row, 0);
        assert_eq!(row.cursor, place(9));
        assert!(row.step(&again("b", place(9))));
        assert_eq!(row.cursor, place(3));
        let held_again = back(place(9), vec![held("a", place(7))]);
        held_again.apply(&mut row, 0);
        assert_eq!(row.held, [held("a", None)], "from where it was first");
    }

    #[test]
    fn those_that_are_refused_use_up_no_canary() {
        let mut row = row();
        let (mut refusals, mut sent) = (ALL_CANARIES, 0);
        while row.fails_too_often(false).is_none() {
            if row.room() == 0 {
                assert!(row.step(&OperationStep::Stage(row.stage)));
                continue;
            }
            assert!(!row.is_last_stage(), "nothing is known of the others");
            let ending = if refusals > 0 {
                refusals -= 1;
                Ending::Refused
            } else {
                sent += 1;
                Ending::Failed
            };
            row.in_stage.replayed += 1;
            row.total.replayed += 1;
            row.count(Some(row.leg), Timestamp(2), |tally| tally.add(ending));
        }
        assert_eq!((row.stage, sent), (0, 1), "the first that failed stops it");
        assert_eq!(row.total.refused, ALL_CANARIES);
        assert_eq!(stage(2, 3, 0, 4).room(), 2);
    }

    #[test]
    fn what_comes_late_counts_in_the_stage_the_letter_set_out_in() {
        let mut late = stage(0, 1, 0, 0);
        late.in_stage.published = 1;
        late.total = late.in_stage;
        late.died_again(Some(0), LetterState::Resolved, Timestamp(9));
        assert_eq!((late.in_stage.resolved, late.in_stage.failed), (0, 1));
        assert!(late.fails_too_often(false).is_some(), "it died again");
        assert!(late.step(&OperationStep::Stage(0)));
        late.died_again(Some(0), LetterState::Replaying, Timestamp(9));
        assert_eq!(late.in_stage, Tally::default(), "of an earlier stage");
        assert_eq!(late.total.failed, 2);
        late.died_again(Some(1), LetterState::Dead, Timestamp(9));
        assert_eq!(late.total.failed, 2, "it was counted already");
    }

    #[test]
    fn what_fails_after_its_stage_stops_it_all_the_same() {
        let mut late = stage(3, 40, 0, 0);
        late.total = Tally {
            replayed: 48,
            resolved: 48,
            published: 48,
            ..Tally::default()
        };
        for n in 1..=12 {
            let stops = late.fails_too_often(false);
            assert_eq!(stops.is_some(), n > 10, "{} of 48 is not a fifth", n - 1);
            late.died_again(Some(7), LetterState::Resolved, Timestamp(9));
        }
        let all = late.fails_too_often(false).unwrap();
        assert_eq!((all.failed, all.known, all.of), (12, 48, "all it sent"));
        assert_eq!(late.in_stage.failed, 0, "none of its stage");
        late.state = OperationState::Done;
        late.died_again(Some(7), LetterState::Resolved, Timestamp(9));
        assert_eq!(late.why, "every letter has had its turn; 13 failed again");
    }

    #[test]
    fn a_canary_that_fails_while_the_next_is_under_way_stops_it() {
        let mut late = stage(1, 2, 0, 0);
        late.total = Tally {
            replayed: 3,
            resolved: 3,
            published: 3,
            ..Tally::default()
        };
        assert_eq!(late.fails_too_often(false), None);
        late.died_again(Some(7), LetterState::Resolved, Timestamp(9));
        let all = late.fails_too_often(false).unwrap();
        assert_eq!((all.failed, all.known), (1, 3));
    }

    #[test]
    fn who_lets_a_stopped_one_go_on_is_not_stopped_by_what_failed_before() {
        let mut stopped = stage(1, 5, 5, 0);
        stopped.state = OperationState::Stopped;
        let on = OperationStep::Steer {
            from: vec![OperationState::Paused, OperationState::Stopped],
            to: OperationState::Running,
            why: String::new(),
            by: "ann".to_owned(),
            at: Timestamp(2),
        };
        assert!(stopped.step(&on));
        assert_eq!(stopped.fails_too_often(false), None);
        assert_eq!(stopped.room(), 1, "a canary again");
        assert!(!stopped.step(&on), "it runs already");
        assert!(stopped.step(&OperationStep::Stage(0)));
        assert!(!stopped.step(&OperationStep::Stage(0)), "once");
    }
}
