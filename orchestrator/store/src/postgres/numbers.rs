//! The numbers by which the log names sagas, as far as the connection that commits knows them: what a commit says of a saga by its number the database need not
//! look up, row by row.
//!
//! A saga has its number from the commit in which it starts, for good; here stand only numbers of commits that were answered and of rows that were read. A saga
//! that was looked for and is not there is given one by us. Of what is not here the database is asked: nothing rests on its being here. All of it goes with the
//! connection: after one that ended, the partition is read anew.

use std::collections::{HashMap, HashSet, VecDeque};

use deadpool_postgres::GenericClient;
use uuid::Uuid;

use super::columns::{get, rows as limited};
use super::connect::rows;
use super::fault::Fault;
use super::load::each;

/// Numbers are drawn so many at once: one more round trip for as many sagas that start. Those of a connection that ends are nobody's.
const DRAWN: usize = 256;
/// So many are known at most, of some 30 bytes each: more than a partition has in memory. Past it, the database is asked of the others.
const KNOWN_MAX: usize = 1 << 17;
/// So many are known not to be there: what is looked for between two commits.
const ABSENT_MAX: usize = 4_096;

const DRAW: &str = "SELECT nextval('sagas_number_seq') FROM generate_series(1::bigint, $1::bigint)";

/// What reading says of a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is not there.
    Absent,
    /// It is there, and has ended.
    Ended,
    /// It is there, under this number.
    Active(i64),
}

/// What one connection knows.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    // no order of it is ever looked at
    known: HashMap<Uuid, i64>,
    drawn: VecDeque<i64>,
    absent: HashSet<Uuid>,
}

impl Numbers {
    /// The number of a saga that is there.
    pub(crate) fn of(&self, saga: Uuid) -> Option<i64> {
        self.known.get(&saga).copied()
    }

    /// A saga was looked for and is not there.
    pub(crate) fn note_absent(&mut self, saga: Uuid) {
        if self.absent.len() < ABSENT_MAX {
            self.absent.insert(saga);
        }
    }

    /// The sagas that are not there. Whoever takes them is about to commit: what was looked for before says nothing afterwards, whatever comes of that.
    pub(crate) fn take_absent(&mut self) -> HashSet<Uuid> {
        std::mem::take(&mut self.absent)
    }

    /// A number that nothing has: given once, whatever becomes of it.
    pub(crate) fn give(&mut self) -> Option<i64> {
        self.drawn.pop_front()
    }

    /// Sees to it that so many can be given.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn draw(
        &mut self,
        client: &impl GenericClient,
        wanted: usize,
    ) -> Result<(), Fault> {
        if self.drawn.len() >= wanted {
            return Ok(());
        }
        let most = limited(wanted.max(DRAWN));
        let drawn = rows(client, DRAW, &[&most]).await?;
        let drawn: Vec<i64> = each(&drawn, |row| get(row, 0))?;
        self.drawn.extend(drawn);
        Ok(())
    }

    /// Of a saga that is there, its number; none: it is there, and nothing more is to come of it.
    pub(crate) fn note(&mut self, saga: Uuid, number: Option<i64>) {
        self.absent.remove(&saga);
        match number {
            None => {
                self.known.remove(&saga);
            }
            Some(number) if self.known.len() < KNOWN_MAX => {
                self.known.insert(saga, number);
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_is_forgotten_and_no_more_is_known_than_there_is_room_for() {
        let saga = |n: usize| Uuid::from_u128(u128::try_from(n).unwrap());
        let mut numbers = Numbers::default();
        for n in 0..=KNOWN_MAX {
            numbers.note(saga(n), Some(limited(n)));
        }
        assert_eq!(numbers.of(saga(KNOWN_MAX)), None, "there was no room");
        assert_eq!(numbers.of(saga(7)), Some(7));
        numbers.note(saga(7), None);
        assert_eq!(numbers.of(saga(7)), None);
        numbers.note(saga(KNOWN_MAX), Some(1));
        assert_eq!(numbers.of(saga(KNOWN_MAX)), Some(1), "there is room again");
    }

    #[test]
    fn what_was_not_there_says_nothing_once_it_was_found_or_something_was_committed() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut numbers = Numbers::default();
        numbers.note_absent(a);
        numbers.note_absent(b);
        numbers.note(a, None);
        assert_eq!(numbers.take_absent(), HashSet::from([b]));
        assert_eq!(numbers.take_absent(), HashSet::new());
    }
}
