//! Dead letters after their intake: moved once by whoever comes first, counted once, found again after a crash.

use baton_driver::Store;
use baton_messages::Timestamp;
use uuid::Uuid;

use super::Subject;
use super::samples::{batch, dead_letter};
use crate::Partition;
use crate::letters::{
    Claiming, Ending, LetterState, Letters, Move, Mover, OperationRow, OperationState,
    OperationStep, Settling, Tally,
};
use crate::read::DeadLetterFilter;
use crate::reader::Reader;

async fn keep(store: &mut impl Store, mine: Partition, letters: std::ops::Range<u32>) {
    let mut all = batch(mine, 0);
    all.dead_letters = letters.map(dead_letter).collect();
    store.commit(all).await.unwrap();
}

fn id(n: u32) -> Uuid {
    dead_letter(n).id
}

fn by(action: u128, at: u64) -> Mover {
    Mover {
        action: Uuid::from_u128(action),
        by: "ann".to_owned(),
        why: "tried it".to_owned(),
        at: Timestamp(at),
    }
}

fn moved(n: u32, from: LetterState, to: LetterState, mover: Mover) -> Move {
    let letter = id(n);
    Move {
        letter,
        from,
        to,
        mover,
    }
}

fn settled(n: u32, action: u128, ending: Ending, operation: Option<Uuid>) -> Settling {
    Settling {
        letter: id(n),
        action: Uuid::from_u128(action),
        operation,
        ending,
        outcome: "so it went".to_owned(),
        at: Timestamp(77),
    }
}

/// A replay of many.
#[must_use]
pub fn operation(n: u128) -> OperationRow {
    OperationRow {
        id: Uuid::from_u128(n),
        filter: DeadLetterFilter {
            queue: Some("a".to_owned()),
            ..DeadLetterFilter::default()
        },
        by: "ann".to_owned(),
        reason: "mended \u{0} \u{1} it".to_owned(),
        force: false,
        target: Some(("x".to_owned(), "y".to_owned())),
        rate: 50,
        stop_at: 20,
        state: OperationState::Running,
        why: String::new(),
        made_at: Timestamp(5),
        changed_at: Timestamp(5),
        changed_by: "ann".to_owned(),
        found: 3,
        stage: 2,
        in_stage: Tally::default(),
        total: Tally::default(),
        cursor: None,
    }
}

async fn standing(reader: &impl Reader, n: u32) -> crate::Standing {
    let found = reader.dead_letters_between(id(n), id(n)).await.unwrap();
    found.into_iter().next().unwrap().now
}

/// Several who want the same letter: one has it, and its count of replays is one.
pub async fn of_two_who_move_a_letter_one_does(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..2).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    let ask = |action| {
        let asked = moved(0, LetterState::Dead, LetterState::Replaying, by(action, 9));
        letters.move_letter(asked)
    };
    let (a, b, c) = tokio::join!(ask(1), ask(2), ask(3));
    let won = [a, b, c].map(Result::unwrap);
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    let now = standing(&reader, 0).await;
    assert_eq!((now.state, now.replays), (LetterState::Replaying, 1));
    assert_eq!(now.changed_by.as_deref(), Some("ann"));
    assert_eq!(standing(&reader, 1).await.state, LetterState::Dead);
    let absent = moved(9, LetterState::Dead, LetterState::Replaying, by(1, 9));
    assert!(!letters.move_letter(absent).await.unwrap());
    let counts = subject.counts().await;
    assert_eq!(counts.dead_letters, 2);
    assert_eq!(counts.letters.get(&LetterState::Dead), Some(&1));
    assert_eq!(counts.letters.get(&LetterState::Replaying), Some(&1));
    subject.close(store).await;
}

/// A letter ends once, by the action it set out by; its operation counts it once.
pub async fn what_came_of_a_letter_is_written_once_and_counted_with_it(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..3).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    assert!(letters.begin(operation(7)).await.unwrap());
    assert!(!letters.begin(operation(7)).await.unwrap(), "it is there");
    let of = Some(Uuid::from_u128(7));
    let claimed = claim(&letters, 7, 0..3).await;
    assert_eq!(claimed, Some(vec![id(0), id(1), id(2)]));
    let none = settled(0, 8, Ending::Resolved, of);
    assert!(!letters.settle(none).await.unwrap(), "another action");
    for (n, ending) in [
        (0, Ending::Resolved),
        (1, Ending::Failed),
        (2, Ending::Refused),
    ] {
        let once = letters.settle(settled(n, 7, ending, of)).await.unwrap();
        let twice = letters.settle(settled(n, 7, ending, of)).await.unwrap();
        assert_eq!((once, twice), (true, false));
    }
    let row = reader.dead_operation(Uuid::from_u128(7)).await.unwrap();
    let tally = Tally {
        replayed: 3,
        resolved: 1,
        refused: 1,
        failed: 1,
    };
    let row = row.unwrap();
    assert_eq!((row.total, row.in_stage), (tally, tally));
    assert_eq!(row.reason, operation(7).reason);
    assert_eq!(row.filter, operation(7).filter);
    let mut stands = Vec::new();
    for n in 0..3 {
        let now = standing(&reader, n).await;
        assert_eq!(now.outcome.as_deref(), Some("so it went"));
        stands.push((now.state, now.replays));
    }
    let dead = LetterState::Dead;
    assert_eq!(stands, [(LetterState::Resolved, 1), (dead, 1), (dead, 0)]);
    subject.close(store).await;
}

/// What is not wanted, and wanted after all.
pub async fn a_letter_is_discarded_restored_and_noted(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..1).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    let (dead, gone) = (LetterState::Dead, LetterState::Discarded);
    for (from, to, done) in [
        (gone, dead, false),
        (dead, gone, true),
        (dead, gone, false),
        (gone, dead, true),
    ] {
        let asked = moved(0, from, to, by(1, 9));
        assert_eq!(letters.move_letter(asked).await.unwrap(), done, "{from:?}");
    }
    assert!(letters.note(id(0), "seen".to_owned()).await.unwrap());
    assert!(!letters.note(id(5), "seen".to_owned()).await.unwrap());
    let now = standing(&reader, 0).await;
    assert_eq!((now.state, now.replays), (dead, 0));
    assert_eq!(now.note.as_deref(), Some("seen"));
    // taken in once more, it stays as it stands
    keep(&mut store, mine, 0..1).await;
    assert_eq!(standing(&reader, 0).await, now);
    subject.close(store).await;
}

async fn claim(
    letters: &impl Letters,
    operation: u128,
    which: std::ops::Range<u32>,
) -> Option<Vec<Uuid>> {
    let claiming = Claiming {
        operation: Uuid::from_u128(operation),
        letters: which.clone().map(id).collect(),
        cursor: (dead_letter(which.start).at, id(which.start)),
        at: Timestamp(6),
    };
    letters.claim(claiming).await.unwrap()
}

/// Only what is still dead sets out, and the place is kept with it.
pub async fn an_operation_takes_what_is_dead_and_keeps_its_place(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..4).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    letters.begin(operation(7)).await.unwrap();
    letters.begin(operation(8)).await.unwrap();
    assert_eq!(claim(&letters, 7, 1..3).await, Some(vec![id(1), id(2)]));
    assert_eq!(claim(&letters, 8, 0..4).await, Some(vec![id(0), id(3)]));
    let row = reader.dead_operation(Uuid::from_u128(7)).await.unwrap();
    let row = row.unwrap();
    assert_eq!(row.cursor, Some((dead_letter(1).at, id(1))));
    assert_eq!(row.total.replayed, 2);
    let page = reader.dead_operations(None, 1).await.unwrap();
    assert_eq!(page.rows[0].id, Uuid::from_u128(8));
    let page = reader.dead_operations(page.next, 1).await.unwrap();
    assert_eq!((page.rows[0].id, page.next), (Uuid::from_u128(7), None));
    subject.close(store).await;
}

/// Paused, it takes nothing; it goes on, and stages end once.
pub async fn an_operation_that_does_not_run_takes_nothing(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..2).await;
    let letters = subject.letters(&store);
    let of = Uuid::from_u128(7);
    letters.begin(operation(7)).await.unwrap();
    let steer = |from: OperationState, to| OperationStep::Steer {
        from: vec![from],
        to,
        why: "so".to_owned(),
        by: "ben".to_owned(),
        at: Timestamp(8),
    };
    let (runs, paused) = (OperationState::Running, OperationState::Paused);
    assert_eq!(
        letters.step(of, steer(paused, runs)).await.unwrap(),
        Some(false)
    );
    assert_eq!(
        letters.step(of, steer(runs, paused)).await.unwrap(),
        Some(true)
    );
    assert!(letters.running().await.unwrap().is_empty());
    assert_eq!(claim(&letters, 7, 0..2).await, None);
    assert_eq!(claim(&letters, 9, 0..2).await, None, "nobody made it");
    assert_eq!(
        letters.step(of, steer(paused, runs)).await.unwrap(),
        Some(true)
    );
    assert_eq!(
        letters.step(of, OperationStep::Stage(2)).await.unwrap(),
        Some(true)
    );
    assert_eq!(
        letters.step(of, OperationStep::Stage(2)).await.unwrap(),
        Some(false)
    );
    assert_eq!(letters.running().await.unwrap()[0].changed_by, "ben");
    assert_eq!(
        claim(&letters, 7, 0..2).await.map(|taken| taken.len()),
        Some(2)
    );
    let absent = letters.step(Uuid::from_u128(9), OperationStep::Stage(0));
    assert_eq!(absent.await.unwrap(), None);
    subject.close(store).await;
}

/// Lists, counts and groups by where letters stand.
pub async fn letters_are_found_by_state_and_group(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = batch(mine, 0);
    all.dead_letters = (0..5).map(dead_letter).collect();
    for letter in &mut all.dead_letters[3..] {
        letter.error = "another cause".to_owned();
    }
    store.commit(all).await.unwrap();
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    let gone = moved(0, LetterState::Dead, LetterState::Discarded, by(1, 500));
    letters.move_letter(gone).await.unwrap();
    let (one, other) = (standing(&reader, 1).await, standing(&reader, 4).await);
    assert_ne!(one.group, other.group);
    let groups = reader.dead_letter_groups(9).await.unwrap();
    let of = |key: &str| groups.iter().find(|group| group.group == key).unwrap();
    assert_eq!(groups.len(), 2);
    assert_eq!((of(&one.group).dead, of(&other.group).dead), (2, 2));
    assert_eq!(of(&other.group).first_at, dead_letter(3).at);
    assert_eq!(of(&other.group).last_at, dead_letter(4).at);
    let none = DeadLetterFilter::default;
    for (filter, fit) in [
        (none(), vec![4, 3, 2, 1, 0]),
        (
            DeadLetterFilter {
                state: Some(LetterState::Dead),
                ..none()
            },
            vec![4, 3, 2, 1],
        ),
        (
            DeadLetterFilter {
                group: Some(one.group.clone()),
                ..none()
            },
            vec![2, 1, 0],
        ),
        (
            DeadLetterFilter {
                group: Some(one.group.clone()),
                state: Some(LetterState::Dead),
                reason: Some(dead_letter(0).reason),
                ..none()
            },
            vec![2, 1],
        ),
        (
            DeadLetterFilter {
                changed_until: Some(Timestamp(499)),
                ..none()
            },
            vec![4, 3, 2, 1],
        ),
        (
            DeadLetterFilter {
                changed_until: Some(Timestamp(500)),
                text: Some("another".to_owned()),
                state: Some(LetterState::Dead),
                ..none()
            },
            vec![4, 3],
        ),
    ] {
        let page = reader.dead_letters(filter.clone(), None, 9).await.unwrap();
        let found: Vec<Uuid> = page.rows.iter().map(|row| row.letter.id).collect();
        let wanted: Vec<Uuid> = fit.into_iter().map(id).collect();
        assert_eq!(found, wanted, "{filter:?}");
        let count = reader.dead_letters_count(filter).await.unwrap();
        assert_eq!(count, wanted.len() as u64);
    }
    subject.close(store).await;
}

/// After whoever did it is gone.
pub async fn what_set_out_and_has_not_ended_is_found_again(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..4).await;
    let letters = subject.letters(&store);
    letters.begin(operation(7)).await.unwrap();
    claim(&letters, 7, 0..2).await;
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
        ids(letters.on_their_way(of, late, 9).await.unwrap()),
        [id(1)]
    );
    assert_eq!(
        ids(letters.on_their_way(None, late, 9).await.unwrap()),
        [id(3)]
    );
    let early = letters.on_their_way(None, Timestamp(9), 9).await.unwrap();
    assert!(early.is_empty(), "it set out just now");
    assert_eq!(letters.running().await.unwrap().len(), 1);
    subject.close(store).await;
}
