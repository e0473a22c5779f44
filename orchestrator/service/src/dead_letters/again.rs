//! A letter that was sent back to work and died again is the same letter: it comes back with its history, and no other is made of it. Known by the header a replay
//! puts on a message of others, or by the attempt a replay had a saga mint. What only looks like it (another body) is a letter of its own: nothing is lost
//! behind one that is settled.
//!
//! Taken in twice it is one death: its id is derived.

use baton_driver::{DeadLetterRow, StoreError};
use baton_messages::dead::{REPLAY_OF_HEADER, REPLAYS_HEADER};
use baton_messages::{AttemptRef, TaskMessage};
use baton_store::letters::Death;
use baton_store::{LetterRow, LetterState, Letters as _, Reader as _};
use uuid::Uuid;

use crate::replay::Replay;
use crate::replay::route::header;

/// Letters of one saga that are looked at: it has one for each of its tasks that died.
const OF_SAGA_MAX: usize = 64;

/// The first sending of a task: a replay has its saga mint a later one.
const FIRST: (u32, u32) = (1, 1);

/// Ties a letter to the one it was sent back from; true when it is the same, and is kept as that.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn tied(replay: &Replay, row: &DeadLetterRow) -> Result<bool, StoreError> {
    let found = match named(row) {
        Some(letter) => of_header(replay, row, letter).await?,
        None => of_attempt(replay, row).await?,
    };
    let Some(death) = found else { return Ok(false) };
    let letter = death.letter;
    let tied = replay.letters.died_again(death).await?;
    if tied {
        tracing::warn!(%letter, reason = row.reason.as_str(), error = row.error, "a dead letter that was replayed died again");
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
) -> Result<Option<Death>, StoreError> {
    let found = replay.reader.dead_letters_between(letter, letter).await?;
    let Some(found) = found.into_iter().next() else {
        return Ok(None);
    };
    let sent = replay.current(&found).await?;
    // headers travel on to what others make of a message
    if sent.is_none_or(|sent| sent.body != row.body) {
        return Ok(None);
    }
    let replays = header(row, REPLAYS_HEADER).as_u64().unwrap_or_default();
    // of one that went to several queues each may reject it
    let name = format!("death/{replays}/{}", row.queue);
    Ok(Some(death(row, letter, &name, None)))
}

async fn of_attempt(replay: &Replay, row: &DeadLetterRow) -> Result<Option<Death>, StoreError> {
    let Some(died) = attempt_of(row) else {
        return Ok(None);
    };
    if sending(&died) == FIRST {
        // nothing is replayed as its first sending
        return Ok(None);
    }
    let all = replay
        .reader
        .dead_letters_of(died.saga, OF_SAGA_MAX)
        .await?;
    let of = all.iter().find(|letter| is_retried(letter, &died));
    Ok(of.map(|of| {
        let name = format!("death/{}/{}", died.attempt, died.dispatch);
        death(row, of.letter.id, &name, Some(died))
    }))
}

fn attempt_of(row: &DeadLetterRow) -> Option<AttemptRef> {
    match serde_json::from_slice(&row.body) {
        Ok(TaskMessage::Task(task)) => Some(task.of),
        Err(_) => None,
    }
}

/// Whether the attempt that died is one a replay of this letter had its saga mint.
fn is_retried(letter: &LetterRow, died: &AttemptRef) -> bool {
    let Some(last) = letter
        .now
        .attempt
        .clone()
        .or_else(|| attempt_of(&letter.letter))
    else {
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

fn death(row: &DeadLetterRow, letter: Uuid, name: &str, attempt: Option<AttemptRef>) -> Death {
    Death {
        letter,
        death: Uuid::new_v5(&letter, name.as_bytes()),
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
                is_retried(&row, &attempt(died)),
                same,
                "{state:?} {minted:?} {died}"
            );
        }
        let mut sent_again = attempt(2);
        sent_again.dispatch = 2;
        assert!(is_retried(&letter(Replaying, Some(2), true), &sent_again));
        assert!(is_retried(&letter(Replaying, Some(2), false), &sent_again));
        assert!(!is_retried(&letter(Dead, Some(2), false), &sent_again));
        let mut of_another_round = attempt(2);
        of_another_round.round = 2;
        assert!(!is_retried(
            &letter(Replaying, Some(2), true),
            &of_another_round
        ));
    }
}
