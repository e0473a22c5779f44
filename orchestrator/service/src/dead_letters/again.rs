//! A letter that was sent back to work and died again is the same letter: it comes back with its history, and no other is made of it. Known by the header a replay
//! puts on a message of others, or by the attempt a replay had a saga mint. What only looks like it (another body, id, kind, or other headers of its sender's) is a letter of
//! its own: nothing is lost behind one that is settled.
//!
//! Taken in twice it is one death: its id is the arrival's, or that of a task its attempt's.

use baton_driver::{DeadLetterRow, StoreError};
use baton_messages::dead::REPLAY_OF_HEADER;
use baton_messages::{AttemptRef, TaskMessage};
use baton_store::letters::Death;
use baton_store::{LetterRow, LetterState, Letters as _, Reader as _};
use uuid::Uuid;

use super::arriving::are_the_headers_of;
use crate::masks;
use crate::replay::Replay;
use crate::replay::route::header;

/// The first sending of a task: a replay has its saga mint a later one.
const FIRST: (u32, u32) = (1, 1);

/// Ties a letter to the one it was sent back from; true when it is the same, and is kept as that.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn tied(
    replay: &Replay,
    row: &DeadLetterRow,
    arrival: Uuid,
) -> Result<bool, StoreError> {
    let found = match named(row) {
        Some(letter) => of_header(replay, row, letter, arrival).await?,
        None => of_attempt(replay, row).await?,
    };
    let Some(death) = found else { return Ok(false) };
    let letter = death.letter;
    let tied = replay.letters.died_again(death).await?;
    if tied {
        tracing::warn!(%letter, reason = row.reason.as_str(), error = %masks::text(&row.error), "a dead letter that was replayed died again");
        replay.poke.notify_one();
    }
    Ok(tied)
}

/// The letter a message says it was sent back from.
fn named(row: &DeadLetterRow) -> Option<Uuid> {
    header(row, REPLAY_OF_HEADER).as_str()?.parse().ok()
}

async fn of_header(
    replay: &Replay,
    row: &DeadLetterRow,
    letter: Uuid,
    arrival: Uuid,
) -> Result<Option<Death>, StoreError> {
    let found = replay.reader.dead_letters_between(letter, letter).await?;
    let Some(found) = found.into_iter().next() else {
        return Ok(None);
    };
    let sent = replay.current(&found).await?;
    // headers travel on to what others make of a message
    if sent.is_none_or(|sent| !is_the_same(&sent, row)) {
        return Ok(None);
    }
    // of one that went to several queues each may reject it: each arrival is a death
    Ok(Some(death(row, letter, arrival, None)))
}

/// Whether what died is what was sent. Whoever makes another message of it may hand on its headers, ours among them, and its body.
fn is_the_same(sent: &DeadLetterRow, died: &DeadLetterRow) -> bool {
    sent.message_id == died.message_id
        && sent.kind == died.kind
        && sent.body == died.body
        && are_the_headers_of(sent, died)
}

async fn of_attempt(replay: &Replay, row: &DeadLetterRow) -> Result<Option<Death>, StoreError> {
    let Some(died) = attempt_of(row) else {
        return Ok(None);
    };
    if sending(&died) == FIRST {
        // nothing is replayed as its first sending
        return Ok(None);
    }
    for letter in replay.reader.dead_letters_tried(died.clone()).await? {
        let own = own_attempt(replay, &letter).await?;
        if is_retried(&letter, own, &died) {
            let name = format!("death/{}/{}", died.attempt, died.dispatch);
            let id = letter.letter.id;
            let death_id = Uuid::new_v5(&id, name.as_bytes());
            return Ok(Some(death(row, id, death_id, Some(died))));
        }
    }
    Ok(None)
}

/// The attempt a letter itself was, where its saga is not known to have minted another for it. The list has only the beginning of its body.
async fn own_attempt(
    replay: &Replay,
    letter: &LetterRow,
) -> Result<Option<AttemptRef>, StoreError> {
    if letter.now.attempt.is_some() {
        return Ok(None);
    }
    if letter.is_whole() {
        return Ok(attempt_of(&letter.letter));
    }
    let id = letter.letter.id;
    let found = replay.reader.dead_letters_between(id, id).await?.pop();
    Ok(found.and_then(|found| attempt_of(&found.letter)))
}

pub(crate) fn attempt_of(row: &DeadLetterRow) -> Option<AttemptRef> {
    match serde_json::from_slice(&row.body) {
        Ok(TaskMessage::Task(task)) => Some(task.of),
        Err(_) => None,
    }
}

/// Whether the attempt that died is one a replay of this letter had its saga mint; `own`: the one the letter was itself.
fn is_retried(letter: &LetterRow, own: Option<AttemptRef>, died: &AttemptRef) -> bool {
    let Some(last) = letter.now.attempt.clone().or(own) else {
        return false;
    };
    let same_step =
        last.key() == died.key() && last.round == died.round && last.direction == died.direction;
    let was_minted = match letter.now.state {
        LetterState::Replaying if letter.now.sent_at.is_some() => sending(died) >= sending(&last),
        // it was minted, and nobody has written that down yet
        LetterState::Replaying => sending(died) > sending(&last),
        // its saga was heard first
        LetterState::Dead | LetterState::Resolved | LetterState::Discarded => {
            letter.now.attempt.is_some() && sending(died) == sending(&last)
        }
    };
    same_step && was_minted
}

/// Which sending of which attempt: one that nobody ran is sent again under its number.
const fn sending(of: &AttemptRef) -> (u32, u32) {
    (of.attempt, of.dispatch)
}

fn death(row: &DeadLetterRow, letter: Uuid, death: Uuid, attempt: Option<AttemptRef>) -> Death {
    Death {
        letter,
        death,
        at: row.at,
        error: format!("{} ({})", row.error, row.reason.as_str()),
        properties: row.properties.clone(),
        body: attempt.is_some().then(|| row.body.clone()),
        attempt,
    }
}

#[cfg(test)]
mod tests {
    use baton_messages::{Direction, SagaId, StepId};

    use super::*;

    fn attempt(number: u32) -> AttemptRef {
        AttemptRef {
            saga: SagaId(Uuid::from_u128(2)),
            step: StepId::new("a").unwrap(),
            item: None,
            direction: Direction::Do,
            round: 1,
            attempt: number,
            dispatch: 1,
        }
    }

    fn letter(state: LetterState, minted: Option<u32>, sent: bool) -> LetterRow {
        let mut row = LetterRow {
            letter: crate::replay::route::tests::letter(Some("task@1"), b"{}"),
            now: baton_store::Standing::default(),
            body_bytes: 2,
            about: baton_store::facets::Facets::default(),
        };
        row.now.state = state;
        row.now.attempt = minted.map(attempt);
        row.now.sent_at = sent.then_some(baton_messages::Timestamp(1));
        row
    }

    #[test]
    fn an_attempt_a_replay_had_minted_is_the_same_letter_and_another_is_not() {
        use LetterState::{Dead, Replaying, Resolved};
        for (state, minted, sent, died, same) in [
            (Replaying, Some(2), true, 2, true),
            (Replaying, Some(2), true, 3, true),
            (Replaying, Some(2), true, 1, false),
            (Replaying, Some(2), false, 3, true),
            (Replaying, Some(2), false, 2, false),
            (Dead, Some(2), false, 2, true),
            (Dead, Some(2), false, 3, false),
            (Resolved, Some(2), false, 2, true),
            (Dead, None, false, 2, false),
        ] {
            let row = letter(state, minted, sent);
            assert_eq!(
                is_retried(&row, None, &attempt(died)),
                same,
                "{state:?} {minted:?} {died}"
            );
        }
        let mut sent_again = attempt(2);
        sent_again.dispatch = 2;
        assert!(is_retried(
            &letter(Replaying, Some(2), true),
            None,
            &sent_again
        ));
        assert!(is_retried(
            &letter(Replaying, Some(2), false),
            None,
            &sent_again
        ));
        assert!(!is_retried(
            &letter(Dead, Some(2), false),
            None,
            &sent_again
        ));
        // it set out, and nobody has written down which attempt was minted
        let set_out = letter(Replaying, None, false);
        assert!(is_retried(&set_out, Some(attempt(1)), &attempt(2)));
        assert!(!is_retried(&set_out, Some(attempt(2)), &attempt(2)));
        assert!(!is_retried(&set_out, None, &attempt(2)));
        let mut of_another_round = attempt(2);
        of_another_round.round = 2;
        assert!(!is_retried(
            &letter(Replaying, Some(2), true),
            None,
            &of_another_round
        ));
    }
}
