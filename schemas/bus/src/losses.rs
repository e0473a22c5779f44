//! How often this process itself lost the channel of a queue, to tell a message that was delivered again for that from one its consumers may be dying of.
//! Guarantee: pure; nothing is counted that was not seen.

use crate::delivery::AckTag;

/// Deliveries of a message that are taken as they come. What an unlucky process, or one that is started anew, may cost a message is less; and so many before
/// [`DELIVERY_LIMIT`](crate::DELIVERY_LIMIT) are left in which one that kills nobody is taken by itself, and out of the way.
const TRUSTED: u64 = 5;

/// How often a queue's channel was lost in this process' own life. So many deliveries of a message may be this process' own, and then
/// nobody died of them.
#[derive(Debug, Default)]
pub struct Losses {
    epoch: u64,
    lost: u64,
}

impl Losses {
    /// A delivery came on this channel.
    pub fn saw(&mut self, tag: AckTag) {
        if tag.epoch > self.epoch {
            self.lost += u64::from(self.epoch > 0);
            self.epoch = tag.epoch;
        }
    }

    /// How many deliveries of a message, this one among them, cannot be for channels that this process lost.
    #[must_use]
    pub const fn beside(&self, deliveries: u64) -> u64 {
        deliveries.saturating_sub(self.lost)
    }

    /// Whether a message that was delivered so often was delivered too often to be trusted.
    #[must_use]
    pub const fn suspects(&self, deliveries: u64) -> bool {
        self.beside(deliveries) > TRUSTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_was_lost_is_no_death_and_the_first_one_is_none() {
        let mut losses = Losses::default();
        for (epoch, lost) in [(7, 0), (7, 0), (9, 1), (9, 1), (12, 2), (9, 2)] {
            losses.saw(AckTag { epoch, tag: 1 });
            assert_eq!(losses.beside(12), 12 - lost, "after channel {epoch}");
        }
        assert_eq!(losses.beside(1), 0, "more were lost than it was delivered");
        assert!(!losses.suspects(TRUSTED + 2));
        assert!(losses.suspects(TRUSTED + 3));
    }
}
