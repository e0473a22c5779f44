//! A database that is being filled: every partition of it is ours meanwhile, and what is written comes to lie where its saga does.

use std::sync::Arc;

use baton_driver::{Batch, Store as _, SubscriptionChange, SubscriptionRow, WorkItemRow};
use baton_messages::SagaId;

use super::MoveError;
use crate::cluster::Layout;
use crate::postgres::{PostgresCluster, PostgresStore};

/// One partition.
pub(super) struct Part {
    pub(super) store: PostgresStore,
    /// The last row of its log.
    pub(super) log_seq: u64,
    /// How far that is published.
    pub(super) watermark: u64,
}

/// All of them.
pub(super) struct Database {
    layout: Arc<Layout>,
    /// The first, which also has what belongs to no saga.
    pub(super) home: Part,
    /// The others, from 1 on.
    others: Vec<Part>,
}

impl Database {
    /// Takes every partition.
    pub(super) async fn taken(cluster: &PostgresCluster) -> Result<Self, MoveError> {
        let layout = cluster.layout();
        let home = part(cluster, 0).await?;
        let mut taken = Self {
            layout,
            home,
            others: Vec::new(),
        };
        for partition in 1..taken.layout.count() {
            match part(cluster, partition).await {
                Ok(part) => taken.others.push(part),
                Err(error) => {
                    taken.given_up().await;
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    /// The partition of a saga.
    pub(super) fn of(&mut self, saga: SagaId) -> &mut Part {
        let at = usize::from(self.layout.of(saga));
        match at.checked_sub(1).and_then(|at| self.others.get_mut(at)) {
            Some(part) => part,
            None => &mut self.home,
        }
    }

    /// Writes each row into the partition of its saga, with how far the log there is published.
    pub(super) async fn commit(&mut self, rows: Batch) -> Result<(), MoveError> {
        let dealt = deal(&self.layout, rows);
        let parts = std::iter::once(&mut self.home).chain(&mut self.others);
        // a log goes on being published only with rows of it
        for (part, mut rows) in parts.zip(dealt).filter(|(_, rows)| !rows.is_empty()) {
            let partition = part.store.partition();
            rows.partition = partition.id;
            rows.epoch = partition.epoch;
            rows.watermark = part.watermark;
            part.store.commit(rows).await?;
        }
        Ok(())
    }

    /// Gives every partition up. One that could not be is free when its lease ends.
    pub(super) async fn given_up(self) {
        for part in std::iter::once(self.home).chain(self.others) {
            let partition = part.store.partition().id;
            if let Err(error) = part.store.close().await {
                tracing::warn!(partition, %error, "a partition could not be given up; it is free when its lease ends");
            }
        }
    }
}

async fn part(cluster: &PostgresCluster, partition: u8) -> Result<Part, MoveError> {
    let store = cluster.take(partition).await?;
    Ok(Part {
        store: store.ok_or(MoveError::Driven { partition })?,
        log_seq: 0,
        watermark: 0,
    })
}

/// What each partition has of what is moved, in their order. Dead letters lie in the first.
fn deal(layout: &Layout, rows: Batch) -> Vec<Batch> {
    let mut dealt: Vec<Batch> = (0..layout.count()).map(|_| Batch::default()).collect();
    // a layout names no partition that it does not count
    let of = |saga: SagaId| usize::from(layout.of(saga));
    for row in rows.sagas {
        dealt[of(row.saga)].sagas.push(row);
    }
    for row in rows.rows {
        dealt[of(row.saga)].rows.push(row);
    }
    for row in rows.cold {
        dealt[of(row.saga)].cold.push(row);
    }
    for row in rows.snapshots {
        dealt[of(row.saga)].snapshots.push(row);
    }
    for row in rows.unsent_add {
        dealt[of(row.of.saga)].unsent_add.push(row);
    }
    for row in rows.owed_add {
        dealt[of(row.saga)].owed_add.push(row);
    }
    for row in rows.unserved_add {
        dealt[of(row.1)].unserved_add.push(row);
    }
    for row in rows.purged {
        dealt[of(row.saga)].purged.push(row);
    }
    for change in rows.subscriptions {
        let (SubscriptionChange::Add(SubscriptionRow { saga, .. })
        | SubscriptionChange::Searched(saga, _)
        | SubscriptionChange::Remove(saga, _)) = &change;
        dealt[of(*saga)].subscriptions.push(change);
    }
    for change in rows.work_items {
        let (WorkItemRow::Open { saga, .. }
        | WorkItemRow::Change { saga, .. }
        | WorkItemRow::Close { saga, .. }) = &change;
        dealt[of(*saga)].work_items.push(change);
    }
    dealt[0].dead_letters = rows.dead_letters;
    dealt
}
