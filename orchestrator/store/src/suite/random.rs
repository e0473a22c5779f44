//! Random sequences of batches, right and wrong ones, with the store opened anew in between, against the naive store in memory:
//! after each step both answer the same. A failure names seed and step; the same seed gives the same sequence.

use std::collections::BTreeSet;

use baton_driver::{Batch, ColdRow, CommitError, Recovered, Store, WorkItemRow};
use baton_engine::Status;
use baton_engine::state::SNAPSHOT_VERSION;

use super::Subject;
use super::samples::{
    assigned_item, at, attempt_ref, batch, dead_letter, definition, kind, later, manifest,
    owed_event, purge, row, saga, saga_row, snapshot, started, unsent,
};
use crate::{MemoryStore, Partition};

/// Steps of one sequence: long enough for rows of every kind to be changed several times.
const STEPS: u32 = 120;
/// Sagas of one sequence: few, so that the steps meet.
const SAGAS: u32 = 9;
const TYPES: [&str; 3] = ["net.resolve@1", "switch.set-vlan@1", "switch.set-vlan@2"];
const STATUSES: [Status; 6] = [
    Status::Running,
    Status::Compensating,
    Status::Parked,
    Status::Completed,
    Status::Compensated,
    Status::Abandoned,
];

/// The sequences one after the other, each on top of what those before left.
pub async fn like_the_naive_store(subject: &mut impl Subject) {
    let naive = MemoryStore::new();
    let mut sequence = Sequence::default();
    for seed in 1..=4 {
        sequence.chance = Chance(seed);
        sequence.run(subject, naive.clone(), seed).await;
    }
}

/// Splitmix64: chance that can be repeated.
#[derive(Debug, Default)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(end)).expect("a number below a u32")
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

/// Where a sequence stands: what the next right batch has to begin with.
#[derive(Debug, Default)]
struct Sequence {
    chance: Chance,
    log_seq: u64,
    watermark: u64,
    saga_seqs: [u64; SAGAS as usize],
    work_items: u32,
    /// Sagas whose records were taken out: nothing is written of them any more.
    gone: BTreeSet<u32>,
}

impl Sequence {
    async fn run(&mut self, subject: &mut impl Subject, mut naive: MemoryStore, seed: u64) {
        let (mut store, mut mine) = subject.open().await;
        assert_eq!(naive.take(mine.id), mine);
        for step in 0..STEPS {
            if self.chance.one_in(30) {
                subject.close(store).await;
                (store, mine) = subject.open().await;
                assert_eq!(naive.take(mine.id), mine);
            }
            let batch = self.batch(mine);
            let (expected, answered) = (
                naive.commit(batch.clone()).await,
                store.commit(batch.clone()).await,
            );
            assert_eq!(
                word(&answered),
                word(&expected),
                "seed {seed} step {step}: {answered:?}\n{batch:#?}"
            );
            if expected.is_ok() {
                self.written(&batch);
                let gone = |n: &u32| {
                    naive
                        .saga_row(saga(*n))
                        .is_some_and(|row| row.purged.is_some())
                };
                self.gone = (0..SAGAS).filter(gone).collect();
            }
            let place = format!("seed {seed} step {step}");
            self.compare(&mut store, &mut naive, mine, &place).await;
            assert_eq!(
                figures(subject.counts().await),
                figures(naive.counts()),
                "{place}"
            );
        }
        subject.close(store).await;
    }

    /// A batch that is right nine times in ten.
    fn batch(&mut self, mine: Partition) -> Batch {
        let mut all = batch(
            mine,
            self.watermark + u64::from(self.chance.below(3)).min(self.log_seq - self.watermark),
        );
        let mut saga_seqs = self.saga_seqs;
        for log_seq in self.log_seq + 1..=self.log_seq + u64::from(self.chance.below(6)) {
            let n = self.one();
            let saga_seq = &mut saga_seqs[n as usize];
            let entry = if *saga_seq == 0 {
                started(n)
            } else {
                later(n, 1 + self.chance.below(4))
            };
            if *saga_seq == 0 {
                all.sagas.push(saga_row(n, Status::Running));
            }
            let records = u64::try_from(entry.records.len()).unwrap();
            all.rows.push(row(log_seq, saga(n), *saga_seq, entry));
            *saga_seq += records;
        }
        for _ in 0..self.chance.below(4) {
            let (n, status) = (self.one(), STATUSES[self.chance.below(6) as usize]);
            let mut moved = saga_row(n, status);
            moved.paused = self.chance.one_in(2);
            moved.version = if self.chance.one_in(5) {
                4
            } else {
                moved.version
            };
            if self.chance.one_in(5) {
                moved
                    .labels
                    .insert("edited".to_owned(), self.chance.below(3).to_string());
            }
            all.sagas.push(moved);
        }
        for _ in 0..self.chance.below(4) {
            let wake_at = self
                .chance
                .one_in(2)
                .then(|| at(u64::from(self.chance.below(50))));
            all.cold.push(ColdRow {
                saga: saga(self.one()),
                cold: self.chance.one_in(2),
                wake_at,
            });
        }
        self.fill_beside(&mut all, &saga_seqs);
        self.spoil(&mut all);
        all
    }

    /// A saga that something may happen to.
    fn one(&mut self) -> u32 {
        let n = self.chance.below(SAGAS);
        if self.gone.contains(&n) { 0 } else { n }
    }

    /// Everything beside log and sagas.
    fn fill_beside(&mut self, all: &mut Batch, saga_seqs: &[u64; SAGAS as usize]) {
        for _ in 0..self.chance.below(3) {
            let n = self.one();
            let mut kept = snapshot(n, saga_seqs[n as usize], &self.log_seq.to_string());
            kept.version = if self.chance.one_in(4) {
                SNAPSHOT_VERSION + 1
            } else {
                kept.version
            };
            all.snapshots.push(kept);
        }
        for _ in 0..self.chance.below(5) {
            let (n, attempt) = (self.one(), 1 + self.chance.below(3));
            let name = kind(TYPES[self.chance.below(3) as usize]);
            match self.chance.below(6) {
                4 => all
                    .owed_add
                    .push(owed_event(n, u64::from(self.chance.below(50)))),
                5 => all.owed_remove.push(owed_event(n, 0).id),
                0 => all
                    .unsent_add
                    .push(unsent(n, attempt, u64::from(self.chance.below(50)))),
                1 => all.unsent_remove.push(attempt_ref(n, attempt)),
                2 => all.unserved_add.push((name, saga(n))),
                _ => all.unserved_remove.push((name, saga(n))),
            }
        }
        for _ in 0..self.chance.below(3) {
            let (saga, number) = (saga(0), self.work_items + 1);
            let opened = all
                .work_items
                .iter()
                .any(|row| matches!(row, WorkItemRow::Open { .. }));
            let whose = ["", "ann", "bob"][self.chance.below(3) as usize];
            let whose = Some(whose).filter(|whose| !whose.is_empty());
            let due = self
                .chance
                .one_in(2)
                .then(|| u64::from(self.chance.below(99)));
            all.work_items.push(match self.chance.below(3) {
                0 if !opened => WorkItemRow::Open {
                    saga,
                    item: Box::new(assigned_item(number, whose, due)),
                },
                // also of one that is closed, or that the same batch opens
                1 if number > 1 || opened => WorkItemRow::Change {
                    saga,
                    item: Box::new(assigned_item(
                        1 + self.chance.below(self.work_items + u32::from(opened)),
                        whose,
                        due,
                    )),
                },
                _ => WorkItemRow::Close {
                    saga,
                    number: self.chance.below(number),
                    by: "ann".to_owned(),
                    at: at(1),
                },
            });
        }
        if self.chance.one_in(40) {
            // the first has work items and is what batches are spoiled with
            let n = 1 + self.chance.below(SAGAS - 1);
            let log_seq = self.log_seq.saturating_sub(u64::from(self.chance.below(4)));
            all.purged.push(purge(n, log_seq));
        }
        if self.chance.one_in(3) {
            all.dead_letters.push(dead_letter(self.chance.below(20)));
        }
    }

    /// Makes one batch in ten wrong.
    fn spoil(&mut self, all: &mut Batch) {
        match self.chance.below(40) {
            0 => all.epoch -= 1,
            1 => all.epoch += 1,
            2 if self.log_seq > 0 && self.gone.is_empty() => {
                all.rows
                    .push(row(self.log_seq, saga(0), 1_000_000, later(0, 1)))
            }
            3 if self.saga_seqs[0] > 0 => all
                .rows
                .insert(0, row(self.log_seq + 100, saga(0), 0, later(0, 1))),
            4 => all
                .rows
                .push(row(self.log_seq + 100, saga(SAGAS), 0, later(0, 1))),
            _ => {}
        }
    }

    fn written(&mut self, batch: &Batch) {
        self.watermark = batch.watermark;
        for row in &batch.rows {
            self.log_seq = row.log_seq;
            let n = (0..SAGAS)
                .find(|n| saga(*n) == row.saga)
                .expect("one of the sequence's sagas");
            self.saga_seqs[n as usize] =
                row.saga_seq + u64::try_from(row.entry.records.len()).unwrap();
        }
        let opened = batch
            .work_items
            .iter()
            .filter(|row| matches!(row, WorkItemRow::Open { .. }))
            .count();
        self.work_items += u32::try_from(opened).unwrap();
    }

    async fn compare(
        &mut self,
        store: &mut impl Store,
        naive: &mut MemoryStore,
        mine: Partition,
        place: &str,
    ) {
        let sorted = |mut found: Recovered| {
            found.hot.sort_unstable();
            found
        };
        let (answered, expected) = (
            store.recover(mine.id).await.unwrap(),
            naive.recover(mine.id).await.unwrap(),
        );
        assert_eq!(sorted(answered), sorted(expected), "{place}");
        let sagas: Vec<_> = (0..=SAGAS).map(saga).collect();
        assert_eq!(
            store.load(sagas.clone()).await.unwrap(),
            naive.load(sagas).await.unwrap(),
            "{place}"
        );
        let (until, limit) = (
            at(u64::from(self.chance.below(50))),
            self.chance.below(4) as usize,
        );
        let due = store.cold_due(mine.id, until, limit).await.unwrap();
        assert_eq!(
            due,
            naive.cold_due(mine.id, until, limit).await.unwrap(),
            "{place}"
        );
        let (name, after) = (
            TYPES[self.chance.below(3) as usize],
            self.chance.one_in(2).then(|| saga(3)),
        );
        let waiting = store
            .unserved(mine.id, kind(name), after, limit)
            .await
            .unwrap();
        assert_eq!(
            waiting,
            naive
                .unserved(mine.id, kind(name), after, limit)
                .await
                .unwrap(),
            "{place}"
        );
        let lane = owed_event(self.chance.below(2), 0).lane;
        let after = self.chance.one_in(2).then(|| (at(20), owed_event(2, 0).id));
        let owed = store.owed(mine.id, lane.clone(), after, limit).await;
        let expected = naive.owed(mine.id, lane, after, limit).await;
        assert_eq!(owed.unwrap(), expected.unwrap(), "{place}");
        if self.chance.one_in(10) {
            self.compare_catalogue(store, naive, place).await;
        }
    }

    async fn compare_catalogue(
        &mut self,
        store: &mut impl Store,
        naive: &mut MemoryStore,
        place: &str,
    ) {
        let row = definition(
            "move-port",
            self.chance.below(3),
            &self.chance.below(2).to_string(),
        );
        let kept = store.put_definition(row.clone()).await.unwrap();
        assert_eq!(kept, naive.put_definition(row).await.unwrap(), "{place}");
        assert_eq!(
            store.definitions().await.unwrap(),
            naive.definitions().await.unwrap(),
            "{place}"
        );
        let announced = manifest(
            TYPES[self.chance.below(3) as usize],
            &self.chance.below(9).to_string(),
        );
        store.put_manifest(announced.clone(), at(1)).await.unwrap();
        naive.put_manifest(announced, at(1)).await.unwrap();
        assert_eq!(
            store.manifests().await.unwrap(),
            naive.manifests().await.unwrap(),
            "{place}"
        );
    }
}

fn word(answer: &Result<(), CommitError>) -> &'static str {
    match answer {
        Ok(()) => "written",
        Err(CommitError::Fenced { .. }) => "fenced",
        Err(CommitError::Data { .. }) => "data",
        Err(CommitError::Failed { .. }) => "failed",
        Err(CommitError::Unknown { .. }) => "unknown",
    }
}

/// The figures without the size of a file, which only one of the two has.
fn figures(mut counts: crate::Counts) -> crate::Counts {
    counts.db_bytes = 0;
    counts
}
