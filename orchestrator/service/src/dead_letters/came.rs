//! What came, letter by letter: several tasks that died in one message are several letters, each what it would be if it had come alone, and their message is
//! acknowledged when all of them are kept.

use baton_bus::{Delivery, apart, is_several};
use baton_store::arrivals::Arrived;

use super::Source;
use super::arriving::Over;

/// One letter that came.
#[derive(Debug, Clone)]
pub(super) struct Came {
    pub(super) delivery: Delivery,
    /// Whether it is the last, or the only one, of its message.
    last: bool,
}

/// The letters messages are. Only what is ours is taken apart; what says it is several, and cannot be read as that, is one.
pub(super) fn letters(source: &Source, batch: Vec<Delivery>) -> Vec<Came> {
    let of_one = |delivery: Delivery| {
        let several = matches!(source, Source::Own(_)) && is_several(&delivery);
        let parts = several.then(|| apart(&delivery).ok()).flatten();
        parts.unwrap_or_else(|| vec![delivery])
    };
    batch.into_iter().flat_map(|d| marked(of_one(d))).collect()
}

fn marked(parts: Vec<Delivery>) -> impl Iterator<Item = Came> {
    let last = parts.len();
    (1..).zip(parts).map(move |(place, delivery)| Came {
        delivery,
        last: place == last,
    })
}

/// Letters of one message that are kept while others of it are not yet; those come right behind them.
#[derive(Debug, Default)]
pub(super) struct Kept {
    of_whole: Vec<(Delivery, Arrived)>,
    /// Whether one before of the same message could not be kept.
    left: bool,
}

impl Kept {
    /// One letter is kept; its message is acknowledged when it is the last.
    pub(super) async fn add(&mut self, came: &Came, arrival: Arrived, over: &mut Over) {
        self.of_whole.push((came.delivery.clone(), arrival));
        if !came.last {
            return;
        }
        let whole = std::mem::take(self);
        // a stale one comes again, and is known by what is in the list
        if !whole.left && came.delivery.ack().await.is_ok() {
            for (delivery, arrival) in whole.of_whole {
                over.add(&delivery, arrival);
            }
        }
    }

    /// One letter cannot be kept, so that its message stays where it is.
    pub(super) fn leave(&mut self, came: &Came) {
        self.left = true;
        if came.last {
            *self = Self::default();
        }
    }
}
