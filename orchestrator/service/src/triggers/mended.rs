//! An event that an operator mended, since triggers had refused it. What was kept of the first one stays as it came: who could use it had it, and those alone that
//! could not are asked about the other, which goes by an id of its own.
//!
//! Guarantee: nobody outside can have an event taken for one of these: the mark is taken off whatever comes in.

use baton_messages::Event;
use serde_json::json;
use uuid::Uuid;

/// The extension attribute that names the letter it was mended in. The letter itself says what comes of it, so that no other is made.
const LETTER: &str = "batonletter";

/// The event that goes in instead of the first.
pub(crate) fn mended(event: &Event, first: &Event, letter: Uuid, edition: u32) -> Event {
    let mut mended = event.clone();
    if (&mended.source, &mended.id) == (&first.source, &first.id) {
        mended.id = format!("{}#{edition}", first.id);
    }
    mended.extensions.insert(LETTER.to_owned(), json!(letter));
    mended
}

/// Whether it is one of these.
pub(crate) fn is_mended(event: &Event) -> bool {
    event.extensions.contains_key(LETTER)
}

/// What comes from outside, or out of a letter, is none.
pub(super) fn unmarked(mut event: Event) -> Event {
    event.extensions.remove(LETTER);
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str) -> Event {
        serde_json::from_value(json!({
            "specversion": "1.0", "id": id, "source": "/s", "type": "a.b", "data": 1,
        }))
        .unwrap()
    }

    #[test]
    fn it_goes_by_an_id_of_its_own_and_only_we_mark_it() {
        let letter = Uuid::from_u128(7);
        let first = event("1");
        let second = mended(&event("1"), &first, letter, 2);
        assert_eq!((second.id.as_str(), second.source.as_str()), ("1#2", "/s"));
        assert!(is_mended(&second) && !is_mended(&first));
        let named = mended(&event("mine"), &first, letter, 2);
        assert_eq!(named.id, "mine", "who gave it an id meant it");
        assert_eq!(unmarked(mended(&first, &event("0"), letter, 1)), first);
    }
}
