//! Where a replay of many finds that nothing is taken: what goes there is passed over, and all others go on. Pure.
//!
//! Guarantee: a letter that was not sent stands as it did before, and is either had again from its own place, or held with where it goes; none is passed over for good,
//! but those for which there is no room to wait, of which that is written down.

use std::collections::BTreeMap;

use baton_driver::DeadLetterRow;
use baton_messages::Timestamp;
use baton_store::letters::{GivingBack, Held};
use baton_store::{LetterRow, OperationRow};
use uuid::Uuid;

use super::Orders;
use super::route::{self, Kind, Route};

/// Places that are held at a time, which bounds the row of an operation: what goes to one more is not waited for, and stays dead.
pub(super) const HELD_MAX: usize = 64;

/// Where a message goes: exchange and routing key.
pub(super) type To = (String, String);
/// The place of a letter in lists.
pub(super) type Place = (Timestamp, Uuid);

/// Where a message of others goes; none of all else.
pub(super) fn goes_to(letter: &DeadLetterRow, orders: &Orders) -> Option<To> {
    if route::kind(letter) != Kind::Foreign {
        return None;
    }
    match route::route(letter, orders.target(letter).as_ref()) {
        Ok(Route::Raw(target)) => Some((target.exchange, target.key)),
        Ok(Route::Task(_) | Route::Inputs(..) | Route::Event(_)) | Err(_) => None,
    }
}

/// Whether a letter goes where an operation holds what goes there.
pub(super) fn is_held(row: &OperationRow, letter: &LetterRow, orders: &Orders) -> bool {
    !row.held.is_empty() && goes_to(&letter.letter, orders).is_some_and(|to| row.holds(&to))
}

/// Whether a letter has no turn now: it is held, or has had it. What is held is looked for from an earlier place again, and whoever wrote down what came of the others may
/// have had another clock than whoever made the operation.
pub(super) fn is_passed(row: &OperationRow, letter: &LetterRow, orders: &Orders) -> bool {
    letter.now.operation == Some(row.id) || is_held(row, letter, orders)
}

/// The letters of a page whose turn it is, at most so many of at most so many bytes, but one at least; and the place of the last that was looked at.
pub(super) fn turn(
    page: &[LetterRow],
    is_passed: impl Fn(&LetterRow) -> bool,
    (most, bytes_max): (usize, u64),
) -> (Vec<Uuid>, Option<Place>) {
    let (mut some, mut last, mut bytes) = (Vec::new(), None, 0_u64);
    for row in page {
        if !is_passed(row) {
            bytes = bytes.saturating_add(row.body_bytes);
            if !some.is_empty() && (some.len() >= most || bytes > bytes_max) {
                break;
            }
            some.push(row.letter.id);
        }
        last = Some(place(row));
    }
    (some, last)
}

/// The place of a letter in lists.
pub(super) fn place(row: &LetterRow) -> Place {
    (row.seen_at(), row.letter.id)
}

/// A letter that was certainly not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotGone {
    pub(super) letter: Uuid,
    pub(super) why: String,
    /// Whether others may go all the same: it is where this one goes that nothing is taken.
    pub(super) is_there_alone: bool,
}

/// Letters that set out together, in their order, and what of them was not sent.
#[derive(Debug)]
pub(super) struct Piece {
    letters: Vec<(Place, Option<To>)>,
    /// Where the operation stood before them, and where it stands with them.
    before: Option<Place>,
    after: Option<Place>,
    /// Places that may still be held.
    room: usize,
    held: BTreeMap<To, String>,
    /// Those that go to one place more than may be held, and why they were not sent.
    beyond: Vec<(Uuid, String)>,
    back: Vec<Uuid>,
    /// Those of them that are had again from their own place: they were not begun, or nothing takes anything.
    anew: Vec<Uuid>,
    /// Why nothing takes anything.
    why: Option<String>,
}

impl Piece {
    pub(super) fn new(
        letters: &[LetterRow],
        of: &OperationRow,
        after: Option<Place>,
        orders: &Orders,
    ) -> Self {
        let letters = letters.iter();
        Self {
            letters: letters
                .map(|row| (place(row), goes_to(&row.letter, orders)))
                .collect(),
            before: of.cursor,
            after,
            room: HELD_MAX.saturating_sub(of.held.len()),
            held: BTreeMap::new(),
            beyond: Vec::new(),
            back: Vec::new(),
            anew: Vec::new(),
            why: None,
        }
    }

    fn to(&self, letter: Uuid) -> Option<&To> {
        let found = self.letters.iter().find(|((_, id), _)| *id == letter);
        found.and_then(|(_, to)| to.as_ref())
    }

    /// Why nothing takes anything, where that is so.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Why something is held since, where it is.
    pub(super) fn why_held(&self) -> Option<&str> {
        self.held.values().next().map(String::as_str)
    }

    /// Whether a letter need not be tried: another that goes there was just not taken. It is passed over with that one.
    pub(super) fn passes(&mut self, letter: Uuid) -> bool {
        let is_held = self.to(letter).is_some_and(|to| self.held.contains_key(to));
        if is_held {
            self.back.push(letter);
        }
        is_held
    }

    /// One that was not begun.
    pub(super) fn not_begun(&mut self, letter: Uuid) {
        self.back.push(letter);
        self.anew.push(letter);
    }

    /// One that was not sent.
    pub(super) fn not_gone(&mut self, not: NotGone) {
        let NotGone {
            letter,
            why,
            is_there_alone,
        } = not;
        let said = format!("letter {letter}: {why}");
        let Some(to) = self.to(letter).filter(|_| is_there_alone).cloned() else {
            self.not_begun(letter);
            self.why.get_or_insert(said);
            return;
        };
        if self.held.contains_key(&to) || self.held.len() < self.room {
            self.held.entry(to).or_insert(said);
            self.back.push(letter);
        } else {
            self.beyond.push((letter, why));
        }
    }

    /// Those for which there is no room to wait, and why they were not sent: they have had their turn.
    pub(super) fn beyond(&self) -> &[(Uuid, String)] {
        &self.beyond
    }

    /// The place of the last letter before the first of these.
    fn place_before(&self, is_one: impl Fn(&(Place, Option<To>)) -> bool) -> Option<Place> {
        let first = self.letters.iter().position(is_one);
        let last = first.and_then(|first| first.checked_sub(1));
        last.and_then(|last| self.letters.get(last))
            .map_or(self.before, |(place, _)| Some(*place))
    }

    /// What is written down of those that were not sent; none: all were. `stays`: they may have been sent before a crash, so that they stay on their way.
    pub(super) fn giving_back(&self, of: &OperationRow, stays: bool) -> Option<GivingBack> {
        if self.back.is_empty() || (stays && self.held.is_empty()) {
            return None;
        }
        let held = self.held.iter().map(|(to, why)| Held {
            to: to.clone(),
            from: if stays {
                self.before
            } else {
                self.place_before(|(_, goes)| goes.as_ref() == Some(to))
            },
            why: why.clone(),
        });
        let cursor = if self.anew.is_empty() || stays {
            of.later(of.reached, self.after)
        } else {
            self.place_before(|((_, id), _)| self.anew.contains(id))
        };
        Some(GivingBack {
            operation: of.id,
            letters: if stays { Vec::new() } else { self.back.clone() },
            cursor,
            held: held.collect(),
        })
    }
}

/// Why an operation waits that has nothing left but what is held: the same sentence however they take turns.
pub(super) fn said(row: &OperationRow) -> Option<String> {
    let first = row.held.iter().min_by(|a, b| a.to.cmp(&b.to))?;
    let others = row.held.len() - 1;
    Some(match others {
        0 => first.why.clone(),
        1 => format!("{}; and so it is in one other place", first.why),
        n => format!("{}; and so it is in {n} other places", first.why),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::route::tests::letter;
    use super::*;

    fn row(n: u128, queue: &str) -> LetterRow {
        let mut letter = letter(None, b"{}");
        letter.id = Uuid::from_u128(n);
        letter.at = Timestamp(5);
        letter.exchange = String::new();
        letter.key = queue.to_owned();
        letter.queue = queue.to_owned();
        LetterRow {
            body_bytes: 10,
            letter,
            now: baton_store::Standing::default(),
            about: baton_store::facets::Facets::default(),
        }
    }

    fn operation() -> OperationRow {
        let none = json!({ "replayed": 0, "resolved": 0, "refused": 0, "failed": 0 });
        serde_json::from_value(json!({
            "id": Uuid::from_u128(99), "filter": { "oldest_first": true }, "by": "", "reason": "", "force": false, "target": null, "rate": 50,
            "stop_at": 20, "state": "running", "why": "", "made_at": 1, "changed_at": 1, "changed_by": "", "found": 0, "stage": 3, "in_stage": none,
            "total": none, "cursor": null,
        }))
        .unwrap()
    }

    fn orders() -> Orders {
        Orders {
            by: String::new(),
            reason: String::new(),
            force: false,
            target: None,
            redirect: Vec::new(),
        }
    }

    fn to(queue: &str) -> To {
        (String::new(), queue.to_owned())
    }

    fn at(n: u128) -> Place {
        (Timestamp(5), Uuid::from_u128(n))
    }

    fn not(n: u128, is_there_alone: bool) -> NotGone {
        NotGone {
            letter: Uuid::from_u128(n),
            why: "no".to_owned(),
            is_there_alone,
        }
    }

    #[test]
    fn those_that_are_held_are_looked_past_and_count_for_nothing() {
        let page = [row(1, "b"), row(2, "a"), row(3, "a"), row(4, "b")];
        let mut of = operation();
        let none = |_: &LetterRow| false;
        let ids = |ids: &[u128]| ids.iter().map(|n| Uuid::from_u128(*n)).collect::<Vec<_>>();
        assert_eq!(turn(&page, none, (2, 99)), (ids(&[1, 2]), Some(at(2))));
        assert_eq!(turn(&page, none, (9, 25)), (ids(&[1, 2]), Some(at(2))));
        assert_eq!(turn(&page, none, (9, 1)), (ids(&[1]), Some(at(1))));
        of.held.push(Held {
            to: to("a"),
            from: None,
            why: String::new(),
        });
        let held = |row: &LetterRow| is_passed(&of, row, &orders());
        assert_eq!(turn(&page, held, (1, 99)), (ids(&[1]), Some(at(3))));
        assert_eq!(turn(&page[1..3], held, (9, 99)), (ids(&[]), Some(at(3))));
    }

    #[test]
    fn one_that_has_had_its_turn_has_none_again() {
        let of = operation();
        let mut had = row(1, "a");
        had.now.operation = Some(of.id);
        let mut of_another = row(2, "a");
        of_another.now.operation = Some(Uuid::from_u128(98));
        let passed = |row: &LetterRow| is_passed(&of, row, &orders());
        let (some, last) = turn(&[had, of_another], passed, (9, 99));
        assert_eq!((some, last), (vec![Uuid::from_u128(2)], Some(at(2))));
    }

    #[test]
    fn what_is_not_taken_there_is_held_from_its_own_place_and_the_others_go_on() {
        let letters = [row(1, "b"), row(2, "a"), row(3, "b"), row(4, "a")];
        let of = operation();
        let mut piece = Piece::new(&letters, &of, Some(at(4)), &orders());
        assert!(!piece.passes(Uuid::from_u128(2)));
        piece.not_gone(not(2, true));
        assert!(!piece.passes(Uuid::from_u128(3)), "it goes elsewhere");
        assert!(
            piece.passes(Uuid::from_u128(4)),
            "the same would come of it"
        );
        assert_eq!(piece.why(), None);
        let given = piece.giving_back(&of, false).unwrap();
        assert_eq!(given.letters, [2, 4].map(Uuid::from_u128));
        assert_eq!(given.cursor, Some(at(4)));
        assert_eq!(
            (&given.held[0].to, given.held[0].from),
            (&to("a"), Some(at(1)))
        );
        assert_eq!(given.held.len(), 1);
        // while what is held is tried again, it goes on where all others have gone
        let mut again = operation();
        again.reached = Some(at(9));
        assert_eq!(
            piece.giving_back(&again, false).unwrap().cursor,
            Some(at(9))
        );
        // one that was not begun has its turn from its own place
        piece.not_begun(Uuid::from_u128(3));
        let given = piece.giving_back(&of, false).unwrap();
        assert_eq!(given.cursor, Some(at(2)));
        assert_eq!(given.letters.len(), 3);
        let stays = piece.giving_back(&of, true).unwrap();
        assert!(stays.letters.is_empty(), "they may have been sent");
    }

    #[test]
    fn where_nothing_is_taken_all_of_it_waits() {
        let letters = [row(1, "a"), row(2, "b")];
        let of = operation();
        let mut piece = Piece::new(&letters, &of, Some(at(2)), &orders());
        piece.not_gone(not(2, false));
        assert!(piece.why().is_some_and(|why| why.contains("no")));
        let given = piece.giving_back(&of, false).unwrap();
        assert_eq!((given.cursor, given.held.len()), (Some(at(1)), 0));
        assert!(piece.giving_back(&of, true).is_none());
    }

    #[test]
    fn what_goes_to_one_place_more_than_is_waited_for_is_given_up_and_all_else_goes_on() {
        let letters = [row(1, "a"), row(2, "b"), row(3, "a")];
        let mut of = operation();
        let others = (1..HELD_MAX).map(|n| Held {
            to: to(&format!("other-{n}")),
            from: None,
            why: String::new(),
        });
        of.held = others.collect();
        let mut piece = Piece::new(&letters, &of, Some(at(3)), &orders());
        piece.not_gone(not(1, true));
        piece.not_gone(not(2, true));
        assert_eq!(piece.beyond(), [(Uuid::from_u128(2), "no".to_owned())]);
        assert_eq!(piece.why(), None, "it goes on");
        assert!(piece.passes(Uuid::from_u128(3)), "there it is waited for");
        let given = piece.giving_back(&of, false).unwrap();
        assert_eq!(given.letters, [1, 3].map(Uuid::from_u128));
        assert_eq!((given.held.len(), given.cursor), (1, Some(at(3))));
    }
}
