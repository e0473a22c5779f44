//! Who drives what: sagas hash to slices, slices lie in partitions, and partitions are shared out over the orchestrators that are there. Pure: every
//! member that sees the same members comes to the same answer, without asking anybody.

use std::collections::BTreeMap;

use baton_engine::Level;
use baton_messages::slice::SLICES;
use baton_messages::{SagaId, Slice};

use crate::Partition;

/// Most partitions of a store: each has an inbox and a connection of its own.
pub const PARTITIONS_MAX: u8 = 64;

/// Which partition has which slice: fixed when the store is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    of_slice: [u8; SLICES],
    count: u8,
}

impl Layout {
    /// One partition has all of them.
    #[must_use]
    pub const fn one() -> Self {
        Self {
            of_slice: [0; SLICES],
            count: 1,
        }
    }

    /// By slice, in their order. None when that is no layout: a slice is missing, or lies beyond what a store may have.
    #[must_use]
    pub fn read(partitions: &[i16]) -> Option<Self> {
        let read: Option<Vec<u8>> = partitions
            .iter()
            .map(|one| u8::try_from(*one).ok().filter(|one| *one < PARTITIONS_MAX))
            .collect();
        let of_slice: [u8; SLICES] = read?.try_into().ok()?;
        let last = of_slice.iter().max().copied().unwrap_or_default();
        Some(Self {
            of_slice,
            count: last + 1,
        })
    }

    /// The partition of a saga.
    #[must_use]
    pub fn of(&self, saga: SagaId) -> u8 {
        let Slice(slice) = Slice::of(saga);
        self.of_slice
            .get(usize::from(slice))
            .copied()
            .unwrap_or_default()
    }

    /// How many there are, from 0 on.
    #[must_use]
    pub const fn count(&self) -> u8 {
        self.count
    }
}

/// An orchestrator of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Of its program, and what that reads ([`Level::announced`]).
    pub version: String,
    /// Whether it reaches the broker.
    pub ready: bool,
    /// For how long it has been there.
    pub joined_ms_ago: u64,
    /// For how long it counts as alive without another word; below 0: since when it does not.
    pub lease_left_ms: i64,
}

impl Member {
    /// Whether it counts as alive.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.lease_left_ms > 0
    }
}

/// A partition as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// It, and how often it was taken.
    pub partition: Partition,
    /// Who took it last; empty when nobody ever has.
    pub owner: String,
    /// For how long it is still leased; none: it was given up.
    pub lease_left_ms: Option<i64>,
    /// The last row of its log.
    pub log_seq: u64,
    /// How far that is published.
    pub watermark: u64,
}

impl Owned {
    /// Whether somebody has it now.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        self.lease_left_ms.is_some_and(|left| left > 0)
    }
}

/// How the cluster stood at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// Everybody who is there, or was lately, by name.
    pub members: Vec<Member>,
    /// Every partition, by number.
    pub partitions: Vec<Owned>,
}

impl View {
    /// Who has a partition now.
    #[must_use]
    pub fn owner(&self, partition: u8) -> Option<&str> {
        let of = |one: &&Owned| one.partition.id == partition && one.is_leased();
        Some(self.partitions.iter().find(of)?.owner.as_str())
    }

    /// What every member that is alive reads; of a cluster without any nothing is known, and somebody may be there.
    #[must_use]
    pub fn level(&self) -> Level {
        let alive = self.members.iter().filter(|member| member.is_alive());
        let levels = alive.map(|member| Level::of(&member.version));
        levels.min().unwrap_or(Level::OLDEST)
    }

    /// The members that are alive and do not read so much.
    #[must_use]
    pub fn below(&self, level: Level) -> Vec<&str> {
        let alive = self.members.iter().filter(|member| member.is_alive());
        let below = alive.filter(|member| Level::of(&member.version) < level);
        below.map(|member| member.name.as_str()).collect()
    }

    /// Who should have which partition: shared out over those that are alive and reach the broker; over all that are alive when none of them does.
    #[must_use]
    pub fn targets(&self, partitions: u8) -> BTreeMap<u8, String> {
        let alive = || self.members.iter().filter(|member| member.is_alive());
        let name = |member: &Member| member.name.clone();
        let mut names: Vec<String> = alive().filter(|member| member.ready).map(name).collect();
        if names.is_empty() {
            names = alive().map(name).collect();
        }
        spread(&names, partitions)
    }
}

/// Rendezvous hashing with a bound: each partition goes to the member whose hash with it is highest and who has room, and nobody has more than their
/// equal share, rounded up. Who joins or leaves moves few partitions, and nobody has to agree on anything.
#[must_use]
pub fn spread(members: &[String], partitions: u8) -> BTreeMap<u8, String> {
    let mut room: BTreeMap<&str, usize> = members
        .iter()
        .map(|name| (name.as_str(), 0))
        .collect::<BTreeMap<_, _>>();
    let Some(share) = usize::from(partitions)
        .checked_add(room.len().saturating_sub(1))
        .and_then(|sum| sum.checked_div(room.len()))
    else {
        return BTreeMap::new();
    };
    room.values_mut().for_each(|left| *left = share);
    let mut of = BTreeMap::new();
    for partition in 0..partitions {
        let best = room
            .iter()
            .filter(|(_, left)| **left > 0)
            .max_by_key(|(name, _)| (score(name, partition), **name))
            .map(|(name, _)| *name);
        if let Some(name) = best {
            if let Some(left) = room.get_mut(name) {
                *left -= 1;
            }
            of.insert(partition, name.to_owned());
        }
    }
    of
}

/// FNV-1a, 64 bits, over name and partition, then mixed (the end of `MurmurHash3`), so that names that differ in their last letter are far apart.
fn score(name: &str, partition: u8) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes().chain([0x1f, partition]) {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("host-{i}")).collect()
    }

    fn member(name: &str, ready: bool, lease_left_ms: i64) -> Member {
        Member {
            name: name.to_owned(),
            version: "1".to_owned(),
            ready,
            joined_ms_ago: 0,
            lease_left_ms,
        }
    }

    #[test]
    fn every_partition_has_one_owner_and_nobody_more_than_an_equal_share() {
        assert!(spread(&[], 8).is_empty());
        for n in 1..=9 {
            for partitions in [1, 8, 16, 64] {
                let of = spread(&names(n), partitions);
                assert_eq!(of.len(), usize::from(partitions));
                let most = usize::from(partitions).div_ceil(n);
                for name in names(n) {
                    let has = of.values().filter(|owner| **owner == name).count();
                    assert!(has <= most, "{name} of {n} has {has} of {partitions}");
                }
            }
        }
    }

    #[test]
    fn the_order_in_which_members_are_seen_makes_no_difference_and_a_new_one_moves_few() {
        let two = spread(&names(2), 16);
        let mut turned = names(2);
        turned.reverse();
        assert_eq!(two, spread(&turned, 16));
        let three = spread(&names(3), 16);
        let moved = two.iter().filter(|(at, was)| three[at] != **was).count();
        assert!(moved <= 10, "{moved} of 16 moved");
    }

    #[test]
    fn who_is_dead_or_away_from_the_broker_gets_nothing_while_another_can() {
        let mut view = View {
            members: vec![
                member("a", true, 10),
                member("b", false, 10),
                member("c", true, -1),
            ],
            partitions: Vec::new(),
        };
        let all = |view: &View, name: &str| view.targets(8).values().all(|owner| owner == name);
        assert!(all(&view, "a"));
        view.members.remove(0);
        assert!(all(&view, "b"), "better than nobody");
        view.members.remove(0);
        assert!(view.targets(8).is_empty());
    }

    #[test]
    fn what_all_read_is_what_the_oldest_that_is_alive_reads() {
        let mut view = View::default();
        assert_eq!(view.level(), Level::OLDEST, "nobody has said anything");
        let new = Level::announced("1.0.0");
        for name in ["a", "b"] {
            let mut one = member(name, true, 10);
            one.version.clone_from(&new);
            view.members.push(one);
        }
        assert_eq!(view.level(), Level::NEWEST);
        assert!(view.below(Level::NEWEST).is_empty());
        view.members.push(member("old", false, 10));
        assert_eq!(
            view.level(),
            Level::OLDEST,
            "it may come to drive something"
        );
        assert_eq!(view.below(Level::NEWEST), ["old"]);
        view.members[2].lease_left_ms = -1;
        assert_eq!(view.level(), Level::NEWEST, "it is gone");
    }

    #[test]
    fn a_layout_is_read_whole_or_not_at_all() {
        let mut of: Vec<i16> = (0..256).map(|slice| slice * 8 / 256).collect();
        let layout = Layout::read(&of).unwrap();
        assert_eq!(layout.count(), 8);
        let saga = SagaId(uuid::Uuid::nil());
        let Slice(slice) = Slice::of(saga);
        assert_eq!(i16::from(layout.of(saga)), of[usize::from(slice)]);
        assert!(Layout::read(&of[1..]).is_none());
        of[0] = -1;
        assert!(Layout::read(&of).is_none(), "an import is not finished");
    }
}
