//! Which of many things one action was done to, in few bytes: how many, from when to when, the first ids, and a hash over all of them. Whoever has a list of ids
//! can prove with it that these were the ones, and no others: one id in a line each, sorted, is what is hashed (`… | sort | sha256sum`). Pure.

use baton_messages::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Ids that are named: enough to find the action by one that somebody remembers, where it was done to few.
const NAMED_MAX: usize = 10;

/// What an action was done to, as it goes on. Whoever adds bounds how many: each stays in memory, 16 bytes of it.
#[derive(Debug, Default)]
pub(crate) struct Which {
    ids: Vec<Uuid>,
    /// The first and the last time of one of them.
    times: Option<(Timestamp, Timestamp)>,
}

impl Which {
    /// It was done to this one too, which is of then.
    pub(crate) fn add(&mut self, id: Uuid, at: Timestamp) {
        self.ids.push(id);
        self.times = Some(match self.times {
            None => (at, at),
            Some((from, to)) => (from.min(at), to.max(at)),
        });
    }

    /// To these too, of which nobody knows any more of when they are.
    pub(crate) fn add_all(&mut self, ids: &[Uuid]) {
        self.ids.extend_from_slice(ids);
    }

    /// To how many.
    pub(crate) const fn count(&self) -> usize {
        self.ids.len()
    }

    /// For the audit log; null where it was done to none.
    pub(crate) fn said(&self) -> Value {
        let mut ids = self.ids.clone();
        ids.sort_unstable();
        ids.dedup();
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            return Value::Null;
        };
        let mut hash = Sha256::new();
        for id in &ids {
            hash.update(id.hyphenated().to_string());
            hash.update(b"\n");
        }
        let hash = hash.finalize();
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let named: Vec<&Uuid> = ids.iter().take(NAMED_MAX).collect();
        json!({
            "count": ids.len(), "sha256": hash, "first": first, "last": last, "ids": named,
            "from": self.times.map(|(from, _)| from), "to": self.times.map(|(_, to)| to),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the ids 1 to 3, by those programs.
    const SHA256SUM: &str = "7a2ffd1dd0caa19bbfbff3757117ce8442257a811b8cf9de1344677d590ba057";

    #[test]
    fn the_hash_is_what_sort_and_sha256sum_say_of_the_ids_in_whatever_order_they_came() {
        let mut which = Which::default();
        for n in [3, 1, 2] {
            which.add(
                Uuid::from_u128(n),
                Timestamp(10 * u64::try_from(n).unwrap()),
            );
        }
        let said = which.said();
        assert_eq!(said["count"], 3);
        assert_eq!((&said["from"], &said["to"]), (&json!(10), &json!(30)));
        assert_eq!(said["first"], "00000000-0000-0000-0000-000000000001");
        assert_eq!(said["last"], "00000000-0000-0000-0000-000000000003");
        assert_eq!(said["sha256"], SHA256SUM);
        which.add_all(&[Uuid::from_u128(4)]);
        assert_ne!(which.said()["sha256"], SHA256SUM, "one more is another");
    }

    #[test]
    fn few_are_named_of_many_and_nothing_is_said_of_none() {
        let mut which = Which::default();
        assert_eq!(which.said(), Value::Null);
        let many: Vec<Uuid> = (0..1_000).map(Uuid::from_u128).collect();
        which.add_all(&many);
        let said = which.said();
        assert_eq!(said["count"], 1_000);
        assert_eq!(said["ids"].as_array().unwrap().len(), NAMED_MAX);
        assert!(said.to_string().len() < 1_000, "{said}");
    }
}
