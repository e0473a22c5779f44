//! Where trouble strikes what sagas say to each other: what a saga is told by the one whose step it is, and what it says back. Changes nothing
//! in a world without a scene.

use baton_messages::{ChildSaid, Direction, InboxMessage, ParentRef, Standing, Wanted};

use super::scene::Scene;
use super::trouble::Trouble;
use crate::event::Fate;
use crate::world::World;

/// How late a word is that comes late: who waits for it has asked again by then, and was answered.
const LATE_MS: u64 = 150_000;
/// How much later still where messages are reordered, at most.
const LATER_MS: u64 = 24 * 60 * 60 * 1_000;

impl Scene {
    /// Whether a word passes between the target and the saga that it is, and is about the way the trouble befalls. With that: whether it is
    /// the saga within that speaks.
    fn is_word_of_target(&self, word: &InboxMessage) -> Option<bool> {
        let about =
            |parent: &ParentRef, way| self.is_target(parent.saga, (&parent.step, parent.item), way);
        match word {
            InboxMessage::ChildWanted(wanted) => {
                let way = match wanted.want {
                    Wanted::Done => Direction::Do,
                    Wanted::Undone => Direction::Undo,
                };
                about(&wanted.parent, way).then_some(false)
            }
            InboxMessage::ChildSaid(ChildSaid {
                parent, standing, ..
            }) => match standing {
                Standing::Completed { .. } => about(parent, Direction::Do).then_some(true),
                // by itself, or because it was told to
                Standing::Compensated { .. } => {
                    let either = [Direction::Do, Direction::Undo];
                    either
                        .into_iter()
                        .any(|way| about(parent, way))
                        .then_some(true)
                }
                Standing::UnderWay { .. } | Standing::Abandoned => None,
            },
            _ => None,
        }
    }

    /// Whether a trouble strikes this word: one of what the saga within is told, one of what it says.
    fn strikes_word(&mut self, of_told: Trouble, of_said: Trouble, word: &InboxMessage) -> bool {
        let trouble = match self.is_word_of_target(word) {
            Some(true) => of_said,
            Some(false) => of_told,
            None => return false,
        };
        let strikes = self.trouble == trouble && self.strikes == 0;
        self.strikes += u32::from(strikes);
        strikes
    }
}

impl World {
    /// What becomes of a word between two sagas on its way to the broker: one whose confirm is lost comes twice.
    pub(crate) fn fate_of_word(&mut self, word: &InboxMessage) -> Fate {
        if let Some(scene) = &mut self.scene
            && scene.strikes_word(Trouble::SentTwice, Trouble::SaidTwice, word)
        {
            return Fate::ConfirmLost;
        }
        self.fate()
    }

    /// How long a word lies in the inbox that comes late; none: it does not.
    pub(crate) fn word_late(&mut self, word: &InboxMessage) -> Option<u64> {
        let now = self.now;
        let scene = self.scene.as_mut()?;
        if !scene.strikes_word(Trouble::ServedLate, Trouble::SaidLate, word) {
            return None;
        }
        let more = if scene.mixed {
            self.rng.below(LATER_MS)
        } else {
            0
        };
        let late = LATE_MS + more;
        scene.mail_until = scene.mail_until.max(now + late);
        Some(late)
    }
}
