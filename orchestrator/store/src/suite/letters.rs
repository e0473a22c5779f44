//! Dead letters after their intake: moved once by whoever comes first, counted once, found again after a crash.

use baton_driver::{Store, StoreError};
use baton_messages::{DeadReason, Timestamp};
use uuid::Uuid;

use super::Subject;
use super::samples::{batch, dead_letter};
use crate::Partition;
use crate::letters::{
    Claiming, EditRow, Ending, LetterState, Letters, Move, Mover, OperationRow, OperationState,
    OperationStep, Sending, Settling, Tally, Written,
};
use crate::read::{DeadLetterFilter, HEAD_BYTES_MAX, HOUR_MS, Newest};
use crate::reader::Reader;

pub(super) async fn keep(store: &mut impl Store, mine: Partition, letters: std::ops::Range<u32>) {
    let mut all = batch(mine, 0);
    all.dead_letters = letters.map(dead_letter).collect();
    store.commit(all).await.unwrap();
}

pub(super) fn id(n: u32) -> Uuid {
    dead_letter(n).id
}

pub(super) fn by(action: u128, at: u64) -> Mover {
    Mover {
        action: Uuid::from_u128(action),
        by: "ann".to_owned(),
        why: "tried it".to_owned(),
        at: Timestamp(at),
    }
}

pub(super) fn moved(n: u32, from: LetterState, to: LetterState, mover: Mover) -> Move {
    let letter = id(n);
    Move {
        letter,
        from,
        to,
        mover,
    }
}

pub(super) fn settled(n: u32, action: u128, ending: Ending, operation: Option<Uuid>) -> Settling {
    Settling {
        letter: id(n),
        action: Uuid::from_u128(action),
        operation,
        ending,
        outcome: "so it went".to_owned(),
        at: Timestamp(77),
        attempt: None,
    }
}

/// One at a time, where the others are written down together.
pub(super) trait OneByOne: Letters {
    /// Of one of which it is known what came of it.
    async fn settle(&self, settled: Settling) -> Result<bool, StoreError> {
        Ok(self.write_down(vec![Written::Settled(settled)]).await? == [true])
    }

    /// Of one that was sent.
    async fn sent(&self, sent: Sending) -> Result<bool, StoreError> {
        Ok(self.write_down(vec![Written::Sent(sent)]).await? == [true])
    }
}

impl<L: Letters> OneByOne for L {}

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
        wait_s: 60,
        leg: 0,
        moved_at: None,
        redirect: Vec::new(),
        back_s: 5,
        seen: Tally::default(),
        as_of: None,
        newest: None,
        held: Vec::new(),
        reached: None,
    }
}

pub(super) async fn standing(reader: &impl Reader, n: u32) -> crate::Standing {
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
        published: 0,
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
    for (n, note, by, done) in [
        (0, "looked", "ann", true),
        (0, "seen", "ben", true),
        (5, "seen", "ben", false),
    ] {
        let noted = letters.note(id(n), note.to_owned(), by.to_owned(), Timestamp(11));
        assert_eq!(noted.await.unwrap(), done);
    }
    let history = reader.dead_letter_history(id(0), 9).await.unwrap();
    let noted = history.iter().filter(|one| one.what == "noted");
    let noted: Vec<_> = noted
        .map(|one| (one.at.0, one.by.as_str(), one.text.as_str()))
        .collect();
    assert_eq!(noted, [(11, "ann", "looked"), (11, "ben", "seen")]);
    let now = standing(&reader, 0).await;
    assert_eq!((now.state, now.replays), (dead, 0));
    assert_eq!(now.note.as_deref(), Some("seen"));
    // taken in once more, it stays as it stands
    keep(&mut store, mine, 0..1).await;
    assert_eq!(standing(&reader, 0).await, now);
    subject.close(store).await;
}

pub(super) async fn claim(
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
    for (operation, expected) in [
        (7, vec![id(2), id(1)]),
        (8, vec![id(3), id(0)]),
        (9, vec![]),
    ] {
        let of_it = DeadLetterFilter {
            operation: Some(Uuid::from_u128(operation)),
            ..DeadLetterFilter::default()
        };
        let page = reader.dead_letters(of_it.clone(), None, 9).await.unwrap();
        let found: Vec<Uuid> = page.rows.iter().map(|row| row.letter.id).collect();
        assert_eq!(found, expected, "of {operation}");
        let heads = reader.dead_letter_heads(of_it.clone(), None, 9);
        assert_eq!(heads.await.unwrap().rows.len(), expected.len());
        let count = reader.dead_letters_count(of_it).await.unwrap();
        assert_eq!(count, expected.len() as u64);
    }
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
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    let of = Uuid::from_u128(7);
    letters.begin(operation(7)).await.unwrap();
    let in_state = async |state, limit| {
        let found = reader.dead_operations_in(state, limit).await.unwrap();
        found.iter().map(|row| row.id).collect::<Vec<_>>()
    };
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
    // found by where they stand, the newest first
    let newer = OperationRow {
        state: paused,
        made_at: Timestamp(6),
        ..operation(8)
    };
    letters.begin(newer).await.unwrap();
    let both = [Uuid::from_u128(8), of];
    assert_eq!(in_state(paused, 9).await, both);
    assert_eq!(in_state(paused, 1).await, both[..1]);
    assert!(in_state(runs, 9).await.is_empty());
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
    let groups = reader.dead_letter_groups(None, 9).await.unwrap();
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

pub(super) fn edited(n: u32, edition: u32, action: u128) -> EditRow {
    EditRow {
        letter: id(n),
        edition,
        at: Timestamp(80),
        by: "ann".to_owned(),
        why: "a typing \u{0} error".to_owned(),
        action: Uuid::from_u128(action),
        difference: "body/a: 1 -> 2".to_owned(),
        properties: serde_json::json!({ "headers": { "theirs": 7 } }),
        body: (edition == 1).then(|| vec![0, 255, 1]),
    }
}

/// Of two who edit one copy one does; the original and every copy stay.
pub async fn a_letter_is_edited_from_the_copy_that_was_seen(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    keep(&mut store, mine, 0..2).await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    let (a, b) = tokio::join!(letters.edit(edited(0, 1, 1)), letters.edit(edited(0, 1, 2)));
    assert_eq!(
        [a.unwrap(), b.unwrap()].iter().filter(|won| **won).count(),
        1
    );
    assert!(
        !letters.edit(edited(0, 3, 3)).await.unwrap(),
        "none between"
    );
    assert!(
        !letters.edit(edited(9, 1, 3)).await.unwrap(),
        "no such letter"
    );
    assert!(letters.edit(edited(0, 2, 4)).await.unwrap());
    let found = reader.dead_letters_between(id(0), id(0)).await.unwrap();
    assert_eq!(found[0].letter, dead_letter(0), "as it came");
    assert_eq!(found[0].now.edition, 2);
    assert_eq!(standing(&reader, 1).await.edition, 0);
    let all = reader.dead_letter_edits(id(0)).await.unwrap();
    let editions: Vec<u32> = all.iter().map(|edit| edit.edition).collect();
    assert_eq!(editions, [1, 2]);
    assert!(all.iter().all(|edit| edit.body.is_none()), "without bodies");
    let first = reader.dead_letter_edit(id(0), 1).await.unwrap().unwrap();
    let won = first.action.as_u128();
    assert!([1, 2].contains(&won));
    // text as the store keeps it: one has no zero bytes
    let why = first.why.clone();
    assert_eq!(
        first,
        EditRow {
            why,
            ..edited(0, 1, won)
        }
    );
    assert_eq!(reader.dead_letter_edit(id(0), 3).await.unwrap(), None);
    let gone = moved(0, LetterState::Dead, LetterState::Discarded, by(1, 9));
    letters.move_letter(gone).await.unwrap();
    assert!(
        !letters.edit(edited(0, 3, 5)).await.unwrap(),
        "it is not dead"
    );
    subject.close(store).await;
}

/// A list has the beginning of a body and says how long it is; hours are counted as letters come and go.
pub async fn a_list_has_heads_and_groups_have_hours(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = batch(mine, 0);
    all.dead_letters = (0..4).map(dead_letter).collect();
    all.dead_letters[0].body = vec![7; HEAD_BYTES_MAX + 1];
    all.dead_letters[1].body = Vec::new();
    all.dead_letters[3].at = Timestamp(dead_letter(0).at.0 + 5 * HOUR_MS);
    store.commit(all).await.unwrap();
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    let heads = reader.dead_letter_heads(DeadLetterFilter::default(), None, 9);
    let heads = heads.await.unwrap();
    let of = |n: u32| {
        heads
            .rows
            .iter()
            .find(|row| row.letter.id == id(n))
            .unwrap()
    };
    assert_eq!(heads.next, None);
    assert_eq!(of(0).letter.body, vec![7; HEAD_BYTES_MAX]);
    assert_eq!(
        (of(0).body_bytes, of(0).is_whole()),
        (HEAD_BYTES_MAX as u64 + 1, false)
    );
    assert_eq!((of(1).body_bytes, of(1).is_whole()), (0, true));
    let whole = reader.dead_letters_between(id(0), id(0)).await.unwrap();
    assert!(whole[0].is_whole());
    let group = of(1).now.group.clone();
    let hours = async || {
        reader
            .dead_letter_hours(group.clone(), Timestamp(0))
            .await
            .unwrap()
    };
    let first = dead_letter(0).at.0 / HOUR_MS * HOUR_MS;
    let later = Timestamp(first + 5 * HOUR_MS);
    assert_eq!(hours().await, [(Timestamp(first), 3), (later, 1)]);
    for (n, from, to) in [
        (3, LetterState::Dead, LetterState::Discarded),
        (0, LetterState::Dead, LetterState::Replaying),
    ] {
        letters
            .move_letter(moved(n, from, to, by(1, 9)))
            .await
            .unwrap();
    }
    assert_eq!(hours().await, [(Timestamp(first), 2)]);
    let back = moved(3, LetterState::Discarded, LetterState::Dead, by(2, 9));
    letters.move_letter(back).await.unwrap();
    let since = reader
        .dead_letter_hours(group.clone(), later)
        .await
        .unwrap();
    assert_eq!(since, [(later, 1)]);
    subject.close(store).await;
}

/// By the times that stand in the letters, and by no clock; what a clock that is wrong has stamped does not count.
pub async fn how_far_letters_have_come_stands_in_them(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let (letters, reader) = (subject.letters(&store), subject.reader(&store));
    let newest = async |state, not_after: Timestamp| {
        let found = reader.dead_letters_newest(state, not_after).await.unwrap();
        (found.died, found.moved)
    };
    let (dead, discarded) = (LetterState::Dead, LetterState::Discarded);
    let end = Timestamp(u64::MAX);
    let none = Newest::default();
    assert_eq!(newest(dead, end).await, (none.died, none.moved));
    keep(&mut store, mine, 0..3).await;
    let [first, second, last] = [0, 1, 2].map(|n| dead_letter(n).at);
    assert_eq!(newest(dead, end).await, (last, last));
    assert_eq!(newest(dead, second).await, (second, second));
    let later = |ms| last.plus_ms(ms);
    let asked = moved(0, dead, discarded, by(1, later(100).0));
    assert!(letters.move_letter(asked).await.unwrap());
    assert_eq!(newest(dead, end).await, (last, last));
    assert_eq!(newest(discarded, end).await, (first, later(100)));
    let asked = moved(0, discarded, dead, by(2, later(200).0));
    assert!(letters.move_letter(asked).await.unwrap());
    assert_eq!(newest(dead, end).await, (last, later(200)));
    assert_eq!(newest(dead, later(199)).await, (last, last));
    subject.close(store).await;
}

/// Each by what it is about, over all pages: also where a page is full of others.
pub async fn letters_are_found_by_what_they_are_about(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = batch(mine, 0);
    all.dead_letters = (0..6).map(dead_letter).collect();
    let letters = &mut all.dead_letters;
    letters[0].queue = "baton.task.north.net.ping@1".to_owned();
    letters[1].exchange = "baton.events".to_owned();
    letters[1].key = "com.example.x".to_owned();
    letters[2].body = br#"{"start@1":{"definition":"move"}}"#.to_vec();
    letters[3].body = br#"{"finished@1":{"worker":"w-1"}}"#.to_vec();
    letters[4].properties = serde_json::json!({ "headers": { "baton-replays": 2 } });
    letters[5].error = "another 100%_ cause".to_owned();
    store.commit(all).await.unwrap();
    let reader = subject.reader(&store);
    let none = DeadLetterFilter::default;
    let text = |text: &str| Some(text.to_owned());
    for (filter, fits) in [
        (
            DeadLetterFilter {
                pool: text("north"),
                ..none()
            },
            vec![0],
        ),
        (
            DeadLetterFilter {
                task_type: text("net.ping@1"),
                ..none()
            },
            vec![0],
        ),
        (
            DeadLetterFilter {
                event_type: text("com.example.x"),
                ..none()
            },
            vec![1],
        ),
        (
            DeadLetterFilter {
                definition: text("move"),
                ..none()
            },
            vec![2],
        ),
        (
            DeadLetterFilter {
                worker: text("w-1"),
                ..none()
            },
            vec![3],
        ),
        (
            DeadLetterFilter {
                replays: Some(2),
                ..none()
            },
            vec![4],
        ),
        (
            DeadLetterFilter {
                error: text("100%_"),
                ..none()
            },
            vec![5],
        ),
        (
            DeadLetterFilter {
                error: text("{"),
                ..none()
            },
            vec![],
        ),
        (
            DeadLetterFilter {
                label: Some(("a".to_owned(), "b".to_owned())),
                ..none()
            },
            vec![],
        ),
    ] {
        for state in [None, Some(LetterState::Dead)] {
            let filter = DeadLetterFilter {
                state,
                ..filter.clone()
            };
            let page = reader
                .dead_letter_heads(filter.clone(), None, 9)
                .await
                .unwrap();
            let found: Vec<Uuid> = page.rows.iter().map(|row| row.letter.id).collect();
            let wanted: Vec<Uuid> = fits.iter().copied().map(id).collect();
            assert_eq!((found, page.next), (wanted, None), "{filter:?}");
            let count = reader.dead_letters_count(filter).await.unwrap();
            assert_eq!(count, fits.len() as u64);
        }
    }
    subject.close(store).await;
}

/// The first page, the groups and the pages of a store with so many letters: none of them makes a person wait. How long each took is told, for who measures.
pub async fn are_shown_at_once(reader: &impl Reader, rows: u64, most: std::time::Duration) {
    let none = DeadLetterFilter::default;
    let dead = Some(LetterState::Dead);
    let group = Some("group-7".to_owned());
    // once, so that what is timed is not a file that is opened
    reader.dead_letter_heads(none(), None, 1).await.unwrap();
    let mut took = Vec::new();
    let began = std::time::Instant::now();
    let groups = reader.dead_letter_groups(None, 10_000).await.unwrap();
    took.push(("groups", began.elapsed()));
    // tens are resolved, and so are the groups of tens
    assert_eq!(groups.len(), 180);
    assert_eq!(
        groups.iter().map(|group| group.dead).sum::<u64>(),
        rows / 10 * 9
    );
    for (what, filter, full) in [
        (
            "first page",
            DeadLetterFilter {
                state: dead,
                ..none()
            },
            true,
        ),
        ("of all states", none(), true),
        (
            "of a group",
            DeadLetterFilter {
                state: dead,
                group: group.clone(),
                ..none()
            },
            true,
        ),
        (
            "of a group, any state",
            DeadLetterFilter { group, ..none() },
            true,
        ),
        (
            "rare reason",
            DeadLetterFilter {
                state: dead,
                reason: Some(DeadReason::TooLarge),
                ..none()
            },
            false,
        ),
        (
            "text",
            DeadLetterFilter {
                state: dead,
                text: Some("nowhere at all".to_owned()),
                ..none()
            },
            false,
        ),
    ] {
        let began = std::time::Instant::now();
        let page = reader
            .dead_letter_heads(filter.clone(), None, 50)
            .await
            .unwrap();
        took.push((what, began.elapsed()));
        assert_eq!(page.rows.len() == 50, full, "{what}");
        assert!(
            page.next.is_some(),
            "{what}: it has not looked at all of them"
        );
    }
    // page by page it comes to the end, and finds every one
    for oldest_first in [false, true] {
        let rare = DeadLetterFilter {
            reason: Some(DeadReason::TooLarge),
            oldest_first,
            ..none()
        };
        let (mut after, mut found, mut pages) = (None, 0, 0);
        loop {
            let page = reader
                .dead_letter_heads(rare.clone(), after, 50)
                .await
                .unwrap();
            (found, pages, after) = (found + page.rows.len(), pages + 1, page.next);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found as u64, rows.div_ceil(100_000));
        assert!(pages >= 2, "{pages}");
    }
    #[expect(clippy::print_stdout, reason = "figures for who measures")]
    {
        println!("{rows} letters: {took:?}");
    }
    for (what, took) in took {
        assert!(took < most, "{what} took {took:?}");
    }
}

/// A page that looks for a text looks into so many bytes of bodies and no more: `rows` letters as above, of which the newest hundred have a mebibyte each.
pub async fn large_bodies_are_looked_into_in_parts(reader: &impl Reader, rows: u64) {
    let filter = DeadLetterFilter {
        state: Some(LetterState::Dead),
        text: Some("nowhere at all".to_owned()),
        ..DeadLetterFilter::default()
    };
    let page = reader.dead_letter_heads(filter.clone(), None, 50).await;
    let page = page.unwrap();
    assert!(page.rows.is_empty());
    let end = page.next.unwrap().at.0 / 10;
    // nine of ten are dead
    assert!((rows - 75..rows - 60).contains(&end), "{end} of {rows}");
    // the rest of them are small, and end as others do
    let page = reader.dead_letter_heads(filter, page.next, 50).await;
    let page = page.unwrap();
    assert!(page.rows.is_empty());
    assert!(page.next.is_some_and(|next| next.at.0 / 10 < rows - 20_000));
}
