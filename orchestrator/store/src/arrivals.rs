//! What came out of a queue of dead letters and is not known to be acknowledged. Each arrival has an id, committed before its letter is kept; what the broker
//! delivers again gets the id it had, so that keeping it again makes nothing new. Pure, but for the store that keeps the list.
//!
//! Two messages without an id that are alike in everything cannot be told apart. Where more than one of them may be meant, each is an arrival of its own: rather two of
//! one than none of another.

use baton_messages::Timestamp;
use uuid::Uuid;

/// How long a row is kept whose message did not come again: what a dead process held comes at once.
pub const KEPT_MS: u64 = 10 * 60_000;
/// Rows of one queue at most: many times what is delivered ahead of its acknowledgement.
pub const ROWS_MAX: u32 = 4_096;

/// Messages that came out of a queue, and those before them whose acknowledgement is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arriving {
    /// The queue.
    pub queue: String,
    /// When.
    pub at: Timestamp,
    /// Arrivals that are acknowledged: they go from the list.
    pub over: Vec<Uuid>,
    /// The messages, in their order.
    pub came: Vec<CameOut>,
}

/// A message that came out of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CameOut {
    /// All that it is: the same whenever it is delivered.
    pub print: Uuid,
    /// The id it gets where it has none yet.
    pub fresh: Uuid,
    /// Whether the broker may have delivered it before.
    pub redelivered: bool,
    /// Whether its sender gave it an id: two that are alike in everything are the same message then.
    pub named: bool,
}

/// The arrival a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Its id.
    pub id: Uuid,
    /// Whether it had come before: its letter may be kept already.
    pub again: bool,
}

impl Arriving {
    /// Whether all that can come again has come: then old rows wait for nothing.
    pub(crate) fn is_calm(&self) -> bool {
        !self.came.is_empty() && self.came.iter().all(|one| !one.redelivered)
    }

    /// Which arrival each message is. `rows`: print and id of those of its queue with these prints.
    pub(crate) fn arrived(&self, rows: &[(Uuid, Uuid)]) -> Vec<Arrived> {
        let mut left = rows.to_vec();
        let alike = |print: Uuid| rows.iter().filter(|row| row.0 == print).count();
        let asked = |print: Uuid| {
            let again = self.came.iter().filter(|one| one.redelivered);
            again.filter(|one| one.print == print).count()
        };
        let arrived = self.came.iter().map(|one| {
            let certain = one.named || (alike(one.print) == 1 && asked(one.print) == 1);
            let found = left
                .iter()
                .position(|row| row.0 == one.print)
                .filter(|_| one.redelivered && certain);
            match found {
                Some(place) => Arrived {
                    id: left.swap_remove(place).1,
                    again: true,
                },
                None => Arrived {
                    id: one.fresh,
                    again: false,
                },
            }
        });
        arrived.collect()
    }

    /// The prints that may be in the list.
    pub(crate) fn looked_for(&self) -> Vec<Uuid> {
        let again = self.came.iter().filter(|one| one.redelivered);
        let mut prints: Vec<Uuid> = again.map(|one| one.print).collect();
        prints.sort_unstable();
        prints.dedup();
        prints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(print: u128, fresh: u128, redelivered: bool, named: bool) -> CameOut {
        CameOut {
            print: Uuid::from_u128(print),
            fresh: Uuid::from_u128(fresh),
            redelivered,
            named,
        }
    }

    fn ids(came: Vec<CameOut>, rows: &[(u128, u128)]) -> Vec<u128> {
        let id = |n: u128| Uuid::from_u128(n);
        let rows: Vec<(Uuid, Uuid)> = rows.iter().map(|row| (id(row.0), id(row.1))).collect();
        let arriving = Arriving {
            queue: "q".to_owned(),
            at: Timestamp(1),
            over: Vec::new(),
            came,
        };
        let arrived = arriving.arrived(&rows);
        arrived.iter().map(|one| one.id.as_u128()).collect()
    }

    #[test]
    fn what_is_delivered_again_is_what_it_was_and_what_is_new_is_new() {
        let again = vec![came(1, 10, true, false), came(2, 11, true, true)];
        assert_eq!(ids(again, &[(1, 20), (2, 21)]), [20, 21]);
        let new = vec![came(1, 10, false, false), came(3, 11, true, false)];
        assert_eq!(ids(new, &[(1, 20)]), [10, 11]);
    }

    #[test]
    fn of_two_that_look_alike_and_have_no_id_none_is_taken_for_the_other() {
        let two = vec![came(1, 10, true, false), came(1, 11, true, false)];
        assert_eq!(ids(two, &[(1, 20)]), [10, 11], "which of them was kept?");
        let one = vec![came(1, 10, true, false)];
        assert_eq!(ids(one, &[(1, 20), (1, 21)]), [10], "which of them is it?");
        let named = vec![came(1, 10, true, true), came(1, 11, true, true)];
        assert_eq!(ids(named, &[(1, 20)]), [20, 11]);
    }
}
