//! What comes of dead letters that were sent: outcomes that come later, deaths that come again, what is given back and what expires.

use baton_driver::Store as _;
use baton_messages::{AttemptRef, SagaId, Timestamp};
use uuid::Uuid;

use super::Subject;
use super::letters::{
    OneByOne as _, by, claim, edited, id, keep, moved, operation, settled, standing,
};
use super::samples::{attempt_ref, batch, dead_letter};
use crate::facets::facets_of;
use crate::letters::{
    Death, Ending, GivingBack, Held, LetterState, Letters as _, Move, OperationState,
    OperationStep, Sending, Settling, Written,
};
use crate::read::{DeadLetterCursor, DeadLetterFilter};
use crate::reader::Reader as _;

/// After whoever did it is gone.
pub async fn what_set_out_and_has_not_ended_is_found_again(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..7).await;
    let letters = subject.letters(&store);
    for (of, which) in [(7, 0..2), (8, 4..7)] {
        letters.begin(operation(of)).await.unwrap();
        claim(&letters, of, which).await;
    }
    let single = moved(3, LetterState::Dead, LetterState::Replaying, by(1, 9));
    letters.move_letter(single).await.unwrap();
    let of = Some(Uuid::from_u128(7));
    letters
        .settle(settled(0, 7, Ending::Resolved, of))
        .await
        .unwrap();
    subject.close(store).await;
    let (store, _) = subject.open().await;
    let letters = subject.letters(&store);
    let ids = |rows: Vec<crate::LetterRow>| -> Vec<Uuid> {
        rows.into_iter().map(|row| row.letter.id).collect()
    };
    let late = Timestamp(1_000);
    assert_eq!(
        ids(letters.on_their_way(of, late, None, 9).await.unwrap()),
        [id(1)]
    );
    assert_eq!(
        ids(letters.on_their_way(None, late, None, 9).await.unwrap()),
        [id(3)]
    );
    let early = letters
        .on_their_way(None, Timestamp(9), None, 9)
        .await
        .unwrap();
    assert!(early.is_empty(), "it set out just now");
    assert_eq!(letters.running().await.unwrap().len(), 2);
    // however many there are, each is come to
    let other = Some(Uuid::from_u128(8));
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let page = letters.on_their_way(other, late, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(DeadLetterCursor {
            at: last.letter.at,
            id: last.letter.id,
        });
        pages.push(ids(page));
    }
    assert_eq!(pages, [vec![id(4), id(5)], vec![id(6)]]);
    subject.close(store).await;
}

fn attempt(n: u32, number: u32) -> AttemptRef {
    AttemptRef {
        attempt: number,
        ..attempt_ref(n, 1)
    }
}

/// What was sent is not sent again, and is waited for until somebody knows what came of it; whichever attempt that was stays with the letter.
pub async fn what_was_sent_is_waited_for_until_its_outcome_is_known(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..3).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    letters.begin(operation(7)).await.unwrap();
    claim(&letters, 7, 0..2).await;
    let sent = |n: u32, action: u128| {
        letters.sent(Sending {
            letter: id(n),
            action: Uuid::from_u128(action),
            attempt: attempt(n, 2),
            outcome: "attempt 2".to_owned(),
            at: Timestamp(70),
        })
    };
    assert!(!sent(0, 8).await.unwrap(), "another action");
    assert!(sent(0, 7).await.unwrap());
    assert!(!sent(0, 7).await.unwrap(), "once");
    assert!(!sent(2, 7).await.unwrap(), "it has not set out");
    let of = Some(Uuid::from_u128(7));
    let left = letters
        .on_their_way(of, Timestamp(1_000), None, 9)
        .await
        .unwrap();
    let left: Vec<Uuid> = left.iter().map(|row| row.letter.id).collect();
    assert_eq!(left, [id(1)], "the other one was sent");
    let waiting = letters.waiting(None, 9).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].attempt, attempt(0, 2));
    assert_eq!(
        (waiting[0].operation, waiting[0].sent_at),
        (of, Timestamp(70))
    );
    assert!(letters.waiting(Some(id(0)), 9).await.unwrap().is_empty());
    let known = Settling {
        attempt: Some(attempt(0, 4)),
        ..settled(0, 7, Ending::Failed, of)
    };
    assert!(letters.settle(known).await.unwrap());
    assert!(letters.waiting(None, 9).await.unwrap().is_empty());
    let now = standing(&reader, 0).await;
    assert_eq!((now.state, now.sent_at), (LetterState::Dead, None));
    assert_eq!(now.attempt, Some(attempt(0, 4)));
    let history = reader.dead_letter_history(id(0), 9).await.unwrap();
    let what: Vec<(u32, &str, &str)> = history
        .iter()
        .map(|row| (row.n, row.what.as_str(), row.by.as_str()))
        .collect();
    assert_eq!(what, [(1, "sent", "ann"), (2, "failed", "ann")]);
    let last = reader.dead_letter_history(id(0), 1).await.unwrap();
    assert_eq!((last.len(), last[0].n), (1, 2));
    subject.close(store).await;
}

/// A letter that dies again comes back with its history, once however often that is taken in, and what had counted it as done counts it as failed.
pub async fn a_letter_that_dies_again_comes_back_with_its_history(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..2).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    letters.begin(operation(7)).await.unwrap();
    claim(&letters, 7, 0..1).await;
    let of = Some(Uuid::from_u128(7));
    letters
        .settle(settled(0, 7, Ending::Published, of))
        .await
        .unwrap();
    let death = |n: u32, death: u128| {
        letters.died_again(Death {
            letter: id(n),
            death: Uuid::from_u128(death),
            at: Timestamp(90),
            error: "rejected".to_owned(),
            properties: serde_json::json!({ "headers": { "x": 1 } }),
            body: Some(vec![0, 255]),
            attempt: None,
        })
    };
    assert!(!death(9, 1).await.unwrap(), "no such letter");
    assert!(death(0, 1).await.unwrap());
    assert!(death(0, 1).await.unwrap(), "known already");
    let now = standing(&reader, 0).await;
    assert_eq!(
        (now.state, now.replays, now.died_again),
        (LetterState::Dead, 1, 1)
    );
    assert_eq!(now.outcome.as_deref(), Some("it died again: rejected"));
    let row = reader.dead_operation(Uuid::from_u128(7)).await.unwrap();
    let tally = row.unwrap().total;
    assert_eq!((tally.resolved, tally.published, tally.failed), (0, 0, 1));
    let history = reader.dead_letter_history(id(0), 9).await.unwrap();
    let what: Vec<&str> = history.iter().map(|row| row.what.as_str()).collect();
    assert_eq!(what, ["published", "died"]);
    let gone = moved(0, LetterState::Dead, LetterState::Discarded, by(1, 9));
    letters.move_letter(gone).await.unwrap();
    assert!(death(0, 2).await.unwrap());
    assert_eq!(standing(&reader, 0).await.state, LetterState::Dead);
    let row = reader.dead_operation(Uuid::from_u128(7)).await.unwrap();
    assert_eq!(row.unwrap().total.failed, 1, "it counts no more");
    subject.close(store).await;
}

/// What comes of a task its saga says, and nobody before it: the death of one of its messages is known, and changes nothing else.
pub async fn a_task_that_dies_again_stands_where_it_stood(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..1).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    letters.begin(operation(7)).await.unwrap();
    claim(&letters, 7, 0..1).await;
    let before = standing(&reader, 0).await;
    let death = Death {
        letter: id(0),
        death: Uuid::from_u128(1),
        at: Timestamp(90),
        error: "delivered ten times".to_owned(),
        properties: serde_json::json!({}),
        body: Some(vec![1]),
        attempt: Some(attempt(0, 4)),
    };
    assert!(letters.died_again(death.clone()).await.unwrap());
    assert!(letters.died_again(death).await.unwrap(), "known already");
    let after = standing(&reader, 0).await;
    let wanted = crate::Standing {
        died_again: 1,
        died_at: after.died_at,
        attempt: Some(attempt(0, 4)),
        ..before
    };
    assert_eq!(after, wanted);
    assert!(after.died_at.is_some(), "when is known");
    let history = reader.dead_letter_history(id(0), 9).await.unwrap();
    assert_eq!(history.last().map(|row| row.what.as_str()), Some("died"));
    let row = reader.dead_operation(Uuid::from_u128(7)).await.unwrap();
    assert_eq!(row.unwrap().total.failed, 0);
    subject.close(store).await;
}

/// Groups come in pages by key: each once, and none is left out since those of an earlier page are gone.
pub async fn groups_come_in_pages(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = batch(mine, 0);
    all.dead_letters = (0..7).map(dead_letter).collect();
    let causes = ["air", "air", "water", "fire", "earth", "wood", "metal"];
    for (letter, cause) in all.dead_letters.iter_mut().zip(causes) {
        letter.error = format!("it died of {cause}");
    }
    store.commit(all).await.unwrap();
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    let whole = reader.dead_letter_groups(None, 99).await.unwrap();
    assert_eq!(whole.len(), 6);
    assert!(whole.is_sorted_by(|a, b| a.group < b.group), "{whole:?}");
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = reader.dead_letter_groups(after.clone(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2, "{page:?}");
        after = Some(last.group.clone());
        let gone = DeadLetterFilter {
            group: Some(page[0].group.clone()),
            ..DeadLetterFilter::default()
        };
        found.extend(page);
        let gone = reader.dead_letter_heads(gone, None, 9).await.unwrap();
        for row in gone.rows {
            let asked = Move {
                letter: row.letter.id,
                from: LetterState::Dead,
                to: LetterState::Discarded,
                mover: by(1, 500),
            };
            assert!(letters.move_letter(asked).await.unwrap());
        }
    }
    assert_eq!(found, whole);
    subject.close(store).await;
}

/// Whoever asks at the same moment: an operation steps once, a letter goes with one of two operations, and each of them counts what it has.
pub async fn of_many_at_once_one_steps_and_one_takes_a_letter(subject: &mut impl Subject) {
    const LETTERS: u32 = 6;
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..LETTERS).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    for of in [7, 8] {
        assert!(letters.begin(operation(of)).await.unwrap());
    }
    let step = || letters.step(Uuid::from_u128(7), OperationStep::Stage(2));
    let (a, b, c, d) = tokio::join!(step(), step(), step(), step());
    let stepped = [a, b, c, d].map(Result::unwrap);
    let once = stepped.iter().filter(|one| **one == Some(true)).count();
    assert_eq!(once, 1, "{stepped:?}");
    let (one, other) = tokio::join!(
        claim(&letters, 7, 0..LETTERS),
        claim(&letters, 8, 0..LETTERS)
    );
    let mut all = [one.unwrap(), other.unwrap()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..LETTERS).map(id).collect::<Vec<_>>(), "each once");
    let mut replayed = 0;
    for of in [7, 8] {
        let row = reader.dead_operation(Uuid::from_u128(of)).await.unwrap();
        replayed += row.unwrap().total.replayed;
    }
    assert_eq!(replayed, u64::from(LETTERS));
    subject.close(store).await;
}

/// What set out and was not sent is as it was, and has its turn again; what was sent is not touched.
pub async fn what_was_not_sent_is_given_back_and_taken_again(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..3).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    letters.begin(operation(7)).await.unwrap();
    claim(&letters, 7, 0..3).await;
    let sent = Sending {
        letter: id(2),
        action: Uuid::from_u128(7),
        attempt: attempt(2, 2),
        outcome: String::new(),
        at: Timestamp(70),
    };
    letters.sent(sent).await.unwrap();
    let held = Held {
        to: (String::new(), "gone".to_owned()),
        from: None,
        why: "no queue takes it there".to_owned(),
    };
    let back = GivingBack {
        operation: Uuid::from_u128(7),
        letters: vec![id(1), id(0), id(2)],
        cursor: Some((dead_letter(2).at, id(2))),
        held: vec![held.clone()],
    };
    assert_eq!(letters.give_back(back.clone()).await.unwrap(), 2);
    assert_eq!(letters.give_back(back).await.unwrap(), 0);
    let now = standing(&reader, 0).await;
    assert_eq!((now.state, now.replays), (LetterState::Dead, 0));
    assert_eq!(
        now.changed_at,
        Some(operation(7).made_at),
        "not touched since"
    );
    assert_eq!(standing(&reader, 2).await.state, LetterState::Replaying);
    let row = reader.dead_operation(Uuid::from_u128(7)).await.unwrap();
    let row = row.unwrap();
    assert_eq!((row.total.replayed, row.in_stage.replayed), (1, 1));
    assert_eq!(row.cursor, Some((dead_letter(2).at, id(2))));
    assert_eq!(row.held, [held], "once");
    assert_eq!(claim(&letters, 7, 0..3).await, Some(vec![id(0), id(1)]));
    subject.close(store).await;
}

/// What another operation left is found by that one, also once it was given back: whoever takes it by that takes it again.
pub async fn what_is_given_back_is_found_by_the_operation_that_left_it(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..2).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    letters.begin(operation(7)).await.unwrap();
    claim(&letters, 7, 0..2).await;
    let first = Some(Uuid::from_u128(7));
    for n in 0..2 {
        let left = settled(n, 7, Ending::Failed, first);
        assert!(letters.settle(left).await.unwrap());
    }
    let by_the_first = DeadLetterFilter {
        operation: first,
        state: Some(LetterState::Dead),
        ..DeadLetterFilter::default()
    };
    let mut second = operation(8);
    second.filter = by_the_first.clone();
    letters.begin(second).await.unwrap();
    assert_eq!(claim(&letters, 8, 0..2).await, Some(vec![id(0), id(1)]));
    let back = GivingBack {
        operation: Uuid::from_u128(8),
        letters: vec![id(0)],
        cursor: None,
        held: Vec::new(),
    };
    assert_eq!(letters.give_back(back).await.unwrap(), 1);
    assert_eq!(standing(&reader, 0).await.operation, first);
    let found = reader.dead_letter_heads(by_the_first, None, 9).await;
    let found: Vec<Uuid> = found
        .unwrap()
        .rows
        .iter()
        .map(|row| row.letter.id)
        .collect();
    assert_eq!(found, [id(0)], "the other one is on its way");
    assert_eq!(claim(&letters, 8, 0..2).await, Some(vec![id(0)]));
    subject.close(store).await;
}

/// What is over goes with all that belongs to it once it is old enough; what somebody may still have to act on never does.
pub async fn only_letters_that_are_over_expire(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..4).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    assert!(letters.edit(edited(0, 1, 3)).await.unwrap());
    let gone = |n, at| moved(n, LetterState::Dead, LetterState::Discarded, by(1, at));
    letters.move_letter(gone(0, 100)).await.unwrap();
    letters.move_letter(gone(1, 200)).await.unwrap();
    let sent = moved(2, LetterState::Dead, LetterState::Replaying, by(1, 50));
    letters.move_letter(sent).await.unwrap();
    let none = letters.expire(Timestamp(100), 9).await.unwrap();
    assert!(none.is_empty(), "not yet");
    assert!(!letters.is_any_over(Timestamp(100)).await.unwrap());
    assert!(letters.is_any_over(Timestamp(101)).await.unwrap());
    assert_eq!(letters.expire(Timestamp(150), 9).await.unwrap(), [id(0)]);
    assert!(letters.expire(Timestamp(900), 0).await.unwrap().is_empty());
    assert_eq!(letters.expire(Timestamp(900), 9).await.unwrap(), [id(1)]);
    let left = reader.dead_letters(DeadLetterFilter::default(), None, 9);
    let left: Vec<Uuid> = left
        .await
        .unwrap()
        .rows
        .iter()
        .map(|row| row.letter.id)
        .collect();
    assert_eq!(left, [id(3), id(2)]);
    assert_eq!(reader.dead_letter_history(id(0), 9).await.unwrap(), []);
    assert_eq!(reader.dead_letter_edits(id(0)).await.unwrap(), []);
    let counts = subject.counts().await;
    assert_eq!(counts.dead_letters, 2);
    assert_eq!(counts.letters.get(&LetterState::Discarded), None);
    subject.close(store).await;
}

/// Those that speak of one saga, whatever came of them.
pub async fn letters_of_a_saga_are_found(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = batch(mine, 0);
    all.dead_letters = (0..3).map(dead_letter).collect();
    for letter in &mut all.dead_letters[..2] {
        letter.saga = Some(attempt_ref(3, 1).saga);
    }
    all.dead_letters[2].saga = None;
    store.commit(all).await.unwrap();
    let reader = subject.reader(&store);
    let found = reader.dead_letters_of(attempt_ref(3, 1).saga, 9).await;
    let found: Vec<Uuid> = found.unwrap().iter().map(|row| row.letter.id).collect();
    assert_eq!(found, [id(1), id(0)]);
    let none = reader.dead_letters_of(attempt_ref(4, 1).saga, 9).await;
    assert_eq!(none.unwrap(), []);
    subject.close(store).await;
}

/// One that may be what an attempt was minted for: by its step, however many letters its saga has, or since nobody has written down yet which attempt it was.
pub async fn letters_an_attempt_was_minted_for_are_found(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let saga = attempt(0, 1).saga;
    let mut all = batch(mine, 0);
    all.dead_letters = (0..5).map(dead_letter).collect();
    for letter in &mut all.dead_letters {
        letter.saga = Some(saga);
    }
    store.commit(all).await.unwrap();
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    letters.begin(operation(7)).await.unwrap();
    claim(&letters, 7, 0..4).await;
    let of = |item: Option<u32>| AttemptRef {
        item,
        ..attempt(0, 2)
    };
    for (n, item) in [(0, None), (1, Some(3)), (2, Some(4))] {
        let sent = Sending {
            letter: id(n),
            action: Uuid::from_u128(7),
            attempt: of(item),
            outcome: String::new(),
            at: Timestamp(70),
        };
        assert!(letters.sent(sent).await.unwrap());
    }
    let tried = async |of| {
        let found = reader.dead_letters_tried(of).await.unwrap();
        let mut found: Vec<Uuid> = found.iter().map(|row| row.letter.id).collect();
        found.sort();
        found
    };
    assert_eq!(tried(of(None)).await, [id(0), id(3)]);
    assert_eq!(tried(of(Some(4))).await, [id(2), id(3)]);
    assert_eq!(tried(of(Some(5))).await, [id(3)]);
    let elsewhere = AttemptRef {
        saga: SagaId(Uuid::from_u128(9)),
        ..of(None)
    };
    assert!(tried(elsewhere).await.is_empty());
    // what a stage waits for, and what nobody has written down
    let stage = standing(&reader, 0).await.stage.unwrap();
    let waits = letters.waiting_in(Uuid::from_u128(7), stage, 9).await;
    let mut waits: Vec<Uuid> = waits.unwrap().iter().map(|one| one.letter).collect();
    waits.sort();
    assert_eq!(waits, [id(0), id(1), id(2)]);
    let others = letters.waiting_in(Uuid::from_u128(7), stage + 1, 9).await;
    assert_eq!(others.unwrap(), []);
    let ended = OperationStep::Steer {
        from: vec![OperationState::Running],
        to: OperationState::Cancelled,
        why: String::new(),
        by: "ann".to_owned(),
        at: Timestamp(80),
    };
    letters.step(Uuid::from_u128(7), ended).await.unwrap();
    let left = letters.running().await.unwrap();
    assert_eq!(left.len(), 1, "one letter of it is on its way");
    letters
        .settle(settled(3, 7, Ending::Failed, None))
        .await
        .unwrap();
    assert_eq!(letters.running().await.unwrap(), []);
    subject.close(store).await;
}

/// Groups, hours, lists and what is asked since a moment go by when a letter died the last time, also one that was dead already.
pub async fn a_letter_that_dies_again_counts_when_it_does(subject: &mut impl Subject) {
    const HOUR: u64 = 3_600_000;
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..3).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    let groups = async || reader.dead_letter_groups(None, 9).await.unwrap();
    let before = groups().await;
    let group = before[0].group.clone();
    let hours = async || {
        let found = reader.dead_letter_hours(group.clone(), Timestamp(0)).await;
        let each = found
            .unwrap()
            .into_iter()
            .map(|(hour, n)| (hour.0 / HOUR, n));
        each.collect::<Vec<_>>()
    };
    let first = before[0].last_at.0 / HOUR;
    assert_eq!(hours().await, [(first, 3)]);
    let since = async |from: u64| {
        let filter = DeadLetterFilter {
            from: Some(Timestamp(from)),
            ..DeadLetterFilter::default()
        };
        let n = reader.dead_letters_count(filter.clone()).await.unwrap();
        let page = reader.dead_letter_heads(filter, None, 9).await.unwrap();
        let ids: Vec<Uuid> = page.rows.iter().map(|row| row.letter.id).collect();
        assert_eq!(n, ids.len() as u64);
        ids
    };
    let dies = async |n: u32, at: u64, attempt: Option<AttemptRef>| {
        let death = Death {
            letter: id(n),
            death: Uuid::from_u128(u128::from(at)),
            at: Timestamp(at),
            error: "rejected".to_owned(),
            properties: serde_json::json!({}),
            body: None,
            attempt,
        };
        assert!(letters.died_again(death).await.unwrap());
    };
    let later = (first + 5) * HOUR;
    assert!(since(later).await.is_empty());
    // it was dead, and is
    dies(0, later + 7, None).await;
    assert_eq!(hours().await, [(first, 2), (first + 5, 1)]);
    assert_eq!(since(later).await, [id(0)]);
    assert_eq!(groups().await[0].last_at, Timestamp(later + 7));
    // it was sent back, and dies
    let asked = moved(1, LetterState::Dead, LetterState::Replaying, by(1, 9));
    letters.move_letter(asked).await.unwrap();
    assert_eq!(hours().await, [(first, 1), (first + 5, 1)]);
    dies(1, later + 9, None).await;
    assert_eq!(hours().await, [(first, 1), (first + 5, 2)]);
    // of a task its saga says where it stands; when it died is known all the same
    dies(2, later + 8, Some(attempt(2, 2))).await;
    assert_eq!(hours().await, [(first + 5, 3)]);
    assert_eq!(
        since(0).await,
        [id(1), id(2), id(0)],
        "the last one that died first"
    );
    assert_eq!(
        standing(&reader, 1).await.died_at,
        Some(Timestamp(later + 9))
    );
    subject.close(store).await;
}

/// What came of several is one transaction: each is written where it is still on its way, and its operation counts it.
pub async fn several_are_written_down_together(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..5).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    letters.begin(operation(7)).await.unwrap();
    letters.begin(operation(8)).await.unwrap();
    claim(&letters, 7, 0..3).await.unwrap();
    claim(&letters, 8, 3..4).await.unwrap();
    let of =
        |n, ending, of: u128| Written::Settled(settled(n, of, ending, Some(Uuid::from_u128(of))));
    let sent = Written::Sent(Sending {
        letter: id(2),
        action: Uuid::from_u128(7),
        attempt: attempt(2, 2),
        outcome: "asked for".to_owned(),
        at: Timestamp(70),
    });
    let all = vec![
        of(0, Ending::Resolved, 7),
        of(3, Ending::Failed, 8),
        // of an action that did not send it, and one that nobody sent
        of(1, Ending::Resolved, 8),
        of(4, Ending::Resolved, 7),
        of(1, Ending::Failed, 7),
        sent,
        of(0, Ending::Failed, 7),
    ];
    let written = letters.write_down(all).await.unwrap();
    assert_eq!(written, [true, true, false, false, true, true, false]);
    let total = async |n: u128| {
        let row = reader.dead_operation(Uuid::from_u128(n)).await.unwrap();
        row.unwrap().total
    };
    let (a, b) = (total(7).await, total(8).await);
    assert_eq!((a.replayed, a.resolved, a.failed, a.open()), (3, 1, 1, 1));
    assert_eq!((b.replayed, b.resolved, b.failed, b.open()), (1, 0, 1, 0));
    let waiting = letters.waiting(None, 9).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].letter, id(2));
    let history = reader.dead_letter_history(id(0), 9).await.unwrap();
    assert_eq!(history.len(), 1, "{history:?}");
    let none = letters.write_down(Vec::new()).await.unwrap();
    assert!(none.is_empty());
    subject.close(store).await;
}

/// What is imported stands where it stood, once, however often; what is here stays.
pub async fn letters_are_imported_once(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..1).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    let row = |n: u32, state, edition| {
        let letter = dead_letter(n);
        let now = crate::Standing {
            state,
            replays: 2,
            why: Some("so".to_owned()),
            edition,
            attempt: (state == LetterState::Resolved).then(|| attempt_ref(n, 3)),
            ..crate::Standing::default()
        };
        let row = crate::LetterRow {
            body_bytes: letter.body.len() as u64,
            about: facets_of(&letter),
            letter,
            now,
        };
        crate::WholeLetter {
            row,
            edits: (1..=edition).map(|n_th| edited(n, n_th, 7)).collect(),
            history: Vec::new(),
        }
    };
    let died = crate::letters::HistoryRow {
        n: 1,
        at: Timestamp(5),
        what: "died".to_owned(),
        by: String::new(),
        why: String::new(),
        text: "again".to_owned(),
        died: Some(crate::letters::Died {
            death: id(77),
            properties: serde_json::json!({ "headers": { "a": 1 } }),
            body: Some(vec![0, 159]),
        }),
    };
    let all = || {
        let mut last = row(2, LetterState::Dead, 1);
        last.history.push(died.clone());
        last.row.now.died_again = 1;
        vec![
            row(0, LetterState::Discarded, 0),
            row(1, LetterState::Resolved, 0),
            last,
        ]
    };
    let done = letters.import(all()).await.unwrap();
    assert_eq!((done.added, done.known), (2, 1));
    let again = letters.import(all()).await.unwrap();
    assert_eq!((again.added, again.known), (0, 3));
    assert_eq!(standing(&reader, 0).await.state, LetterState::Dead);
    let now = standing(&reader, 1).await;
    assert_eq!((now.state, now.replays), (LetterState::Resolved, 2));
    assert_eq!(now.attempt, Some(attempt_ref(1, 3)));
    assert!(!now.group.is_empty(), "made anew");
    let now = standing(&reader, 2).await;
    assert_eq!((now.edition, now.died_again), (1, 1));
    assert_eq!(reader.dead_letter_edits(id(2)).await.unwrap().len(), 1);
    let history = reader.dead_letter_history(id(2), 9).await.unwrap();
    assert_eq!(history, [died]);
    let counts = subject.counts().await;
    assert_eq!(counts.dead_letters, 3);
    assert_eq!(counts.letters.get(&LetterState::Dead), Some(&2));
    assert_eq!(counts.letters.get(&LetterState::Resolved), Some(&1));
    let groups = reader.dead_letter_groups(None, 9).await.unwrap();
    assert_eq!(groups.iter().map(|group| group.dead).sum::<u64>(), 2);
    subject.close(store).await;
}
