//! Which deliveries of the inbox may be acknowledged. Everything up to a tag is acknowledged at once, so the prefix stops short of a
//! message that is still being put aside; when that is confirmed, the prefix moves on. In the usual case nothing is being put aside
//! and this is one comparison.

use std::collections::BTreeMap;

use baton_bus::AckTag;

/// Which deliveries may be acknowledged, on the channel in use.
#[derive(Debug, Default)]
pub(crate) struct Frontier {
    epoch: u64,
    /// The last delivery whose turn is committed.
    done: u64,
    /// The last that was acknowledged.
    acknowledged: u64,
    /// Those being put aside, each with how many parts of it are.
    parking: BTreeMap<u64, usize>,
}

impl Frontier {
    /// A delivery's turn is committed (or it needed none).
    pub(crate) fn done(&mut self, tag: AckTag) {
        if self.on(tag) {
            self.done = self.done.max(tag.tag);
        }
    }

    /// A delivery, or one part of it, is being put aside: nothing from it on may be acknowledged.
    pub(crate) fn parking(&mut self, tag: AckTag) {
        if self.on(tag) {
            *self.parking.entry(tag.tag).or_default() += 1;
        }
    }

    /// It is put aside, confirmed.
    pub(crate) fn parked(&mut self, tag: AckTag) {
        if tag.epoch != self.epoch {
            return;
        }
        if let Some(parts) = self.parking.get_mut(&tag.tag) {
            *parts -= 1;
            if *parts == 0 {
                self.parking.remove(&tag.tag);
            }
        }
    }

    /// Up to which delivery everything may be acknowledged now, if that is further than before; it then counts as acknowledged.
    pub(crate) fn advance(&mut self) -> Option<AckTag> {
        let to = match self.parking.first_key_value() {
            Some((held, _)) => self.done.min(held.saturating_sub(1)),
            None => self.done,
        };
        if to <= self.acknowledged {
            return None;
        }
        self.acknowledged = to;
        Some(AckTag {
            epoch: self.epoch,
            tag: to,
        })
    }

    /// Whether a delivery, and all before it, was acknowledged on the channel in use.
    pub(crate) const fn has_acknowledged(&self, tag: AckTag) -> bool {
        tag.epoch == self.epoch && tag.tag <= self.acknowledged
    }

    /// Whether the tag belongs to the channel in use; the first one of a new channel makes that the one in use.
    fn on(&mut self, tag: AckTag) -> bool {
        if tag.epoch > self.epoch {
            *self = Self {
                epoch: tag.epoch,
                ..Self::default()
            };
        }
        tag.epoch == self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn tag(epoch: u64, tag: u64) -> AckTag {
        AckTag { epoch, tag }
    }

    #[test]
    fn the_prefix_stops_short_of_what_is_being_put_aside() {
        let mut frontier = Frontier::default();
        frontier.parking(tag(1, 3));
        frontier.done(tag(1, 5));
        assert_eq!(frontier.advance(), Some(tag(1, 2)));
        assert_eq!(frontier.advance(), None, "nothing new");
        frontier.done(tag(1, 9));
        assert_eq!(frontier.advance(), None);
        frontier.parked(tag(1, 3));
        assert_eq!(frontier.advance(), Some(tag(1, 9)));
    }

    #[test]
    fn a_delivery_of_which_parts_are_put_aside_waits_for_all_of_them() {
        let mut frontier = Frontier::default();
        frontier.parking(tag(1, 3));
        frontier.parking(tag(1, 3));
        frontier.done(tag(1, 3));
        frontier.parked(tag(1, 3));
        assert_eq!(frontier.advance(), Some(tag(1, 2)));
        frontier.parked(tag(1, 3));
        assert_eq!(frontier.advance(), Some(tag(1, 3)));
    }

    #[test]
    fn what_lies_behind_one_that_is_being_put_aside_or_on_another_channel_is_not_acknowledged() {
        let mut frontier = Frontier::default();
        frontier.parking(tag(1, 3));
        frontier.done(tag(1, 5));
        assert_eq!(frontier.advance(), Some(tag(1, 2)));
        assert!(frontier.has_acknowledged(tag(1, 2)));
        assert!(!frontier.has_acknowledged(tag(1, 5)), "3 lies before it");
        frontier.parked(tag(1, 3));
        assert_eq!(frontier.advance(), Some(tag(1, 5)));
        assert!(frontier.has_acknowledged(tag(1, 5)));
        frontier.done(tag(2, 1));
        assert!(
            !frontier.has_acknowledged(tag(1, 5)),
            "it may come once more"
        );
    }

    #[test]
    fn a_new_channel_begins_anew_and_the_old_one_is_forgotten() {
        let mut frontier = Frontier::default();
        frontier.parking(tag(1, 1));
        frontier.done(tag(1, 4));
        assert_eq!(frontier.advance(), None);
        frontier.done(tag(2, 1));
        frontier.parked(tag(1, 1));
        frontier.done(tag(1, 4));
        assert_eq!(frontier.advance(), Some(tag(2, 1)));
    }
}
