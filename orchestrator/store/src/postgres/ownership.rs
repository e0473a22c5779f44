//! Who owns the partition: a row with owner, epoch and the end of a lease, by the database's clock alone. Taking it over counts the epoch up, and
//! that fences whoever had it; the lease only says when it may be taken, so that two orchestrators do not take it from each other all day.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::PartitionStatus;
use super::columns::{get, int, uint};
use super::connect::{Connections, rows};
use super::fault::Fault;
use super::load::each;
use crate::Partition;

const TAKE: &str = "INSERT INTO partitions (id, epoch, owner, lease_until) VALUES ($1, 1, $2, clock_timestamp() + $3 * interval '1 millisecond')
    ON CONFLICT (id) DO UPDATE SET epoch = partitions.epoch + 1, owner = excluded.owner, lease_until = excluded.lease_until,
        writer = partitions.writer + 1
    WHERE partitions.lease_until IS NULL OR partitions.lease_until <= clock_timestamp() OR partitions.owner = excluded.owner
    RETURNING epoch";
const OWNER: &str = "SELECT owner, (extract(epoch FROM lease_until - clock_timestamp()) * 1000)::bigint FROM partitions
    WHERE id = $1 AND lease_until > clock_timestamp()";
const RENEW: &str = "UPDATE partitions SET lease_until = clock_timestamp() + $3 * interval '1 millisecond' WHERE id = $1 AND epoch = $2";
const RELEASE: &str = "UPDATE partitions SET lease_until = NULL WHERE id = $1 AND epoch = $2";
const PARTITIONS: &str = "SELECT id, epoch, owner, (extract(epoch FROM lease_until - clock_timestamp()) * 1000)::bigint FROM partitions ORDER BY id";
const ELSEWHERE: &str = "SELECT count(*) FROM slices WHERE partition <> $1";

/// A lease is renewed so many times before it would end.
const RENEWALS: u32 = 3;

/// What came of an attempt to take a partition.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is ours.
    Mine(Partition),
    /// It is leased.
    Leased {
        /// Who has it.
        owner: String,
        /// For how much longer, unless it is renewed.
        left: Duration,
    },
}

/// Begins a new epoch of a partition that nobody has, or that an owner of the same name had before it died: whoever had it is fenced from here on.
pub(crate) async fn take(
    connections: &Connections,
    id: u8,
    owner: &str,
    lease_ms: u64,
) -> Result<Taken, Fault> {
    let (number, lease_ms) = (i16::from(id), lease(lease_ms));
    connections
        .with(async |client| {
            let taken = rows(client, TAKE, &[&number, &owner, &lease_ms]).await?;
            if let Some(row) = taken.first() {
                let epoch: i64 = row.try_get(0)?;
                return Ok(Taken::Mine(Partition {
                    id,
                    epoch: uint(epoch),
                }));
            }
            let leased = rows(client, OWNER, &[&number]).await?;
            let (owner, left) = match leased.first() {
                Some(row) => (row.try_get(0)?, uint(row.try_get(1)?)),
                // it ended between the two questions
                None => (String::new(), 0),
            };
            Ok(Taken::Leased {
                owner,
                left: Duration::from_millis(left),
            })
        })
        .await
}

/// Who owns which partition.
pub(crate) async fn partitions(connections: &Connections) -> Result<Vec<PartitionStatus>, Fault> {
    let found = connections.rows(PARTITIONS, &[]).await?;
    each(&found, |row| {
        let (id, epoch): (i16, i64) = (get(row, 0)?, get(row, 1)?);
        Ok(PartitionStatus {
            partition: Partition {
                id: u8::try_from(id).unwrap_or(u8::MAX),
                epoch: uint(epoch),
            },
            owner: get(row, 2)?,
            lease_left_ms: get(row, 3)?,
        })
    })
}

/// How many slices are in other partitions.
pub(crate) async fn slices_elsewhere(connections: &Connections, id: u8) -> Result<i64, Fault> {
    let found = connections.rows(ELSEWHERE, &[&i16::from(id)]).await?;
    found.first().map_or(Ok(0), |row| Ok(row.try_get(0)?))
}

/// What `PostgreSQL` multiplies an interval by.
pub(crate) fn lease(lease_ms: u64) -> f64 {
    // a lease is a few seconds: exact
    f64::from(u32::try_from(lease_ms).unwrap_or(u32::MAX))
}

/// Says when the partition is no longer ours.
#[derive(Debug, Clone)]
pub struct Ownership {
    lost: Option<watch::Receiver<Option<String>>>,
}

impl Ownership {
    /// One that cannot be lost while the process lives: an operating system lock.
    #[must_use]
    pub const fn for_life() -> Self {
        Self { lost: None }
    }

    /// Waits until it is lost; answers why. Never returns while it lasts.
    pub async fn lost(&mut self) -> String {
        let Some(lost) = &mut self.lost else {
            return std::future::pending().await;
        };
        let why = lost
            .wait_for(Option::is_some)
            .await
            .map(|why| why.clone().unwrap_or_default());
        match why {
            Ok(why) => why,
            // the store was closed, in order: nothing is lost that anybody waits for
            Err(_) => std::future::pending().await,
        }
    }
}

/// Renews the lease until it is dropped.
#[derive(Debug)]
pub(crate) struct Renewal {
    task: JoinHandle<()>,
    ownership: Ownership,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Renewal {
    /// Starts it; the lease was taken just now.
    pub(crate) fn start(connections: Connections, partition: Partition, lease_ms: u64) -> Self {
        let (tell, lost) = watch::channel(None);
        let task = tokio::spawn(async move {
            let why = renew(&connections, partition, lease_ms).await;
            tracing::error!(
                partition = partition.id,
                epoch = partition.epoch,
                why,
                "the partition is no longer owned"
            );
            tell.send_replace(Some(why));
            // the sender stays, so that whoever asks later hears it too
            std::future::pending::<()>().await;
        });
        Self {
            task,
            ownership: Ownership { lost: Some(lost) },
        }
    }

    pub(crate) fn ownership(&self) -> Ownership {
        self.ownership.clone()
    }

    /// As if the process were stopped.
    #[cfg(test)]
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

/// Renews until it cannot; answers why. A renewal that comes late is no loss when nobody took the partition meanwhile: the epoch says so.
async fn renew(connections: &Connections, partition: Partition, lease_ms: u64) -> String {
    let every = Duration::from_millis(lease_ms) / RENEWALS;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut renewed = Instant::now();
    loop {
        ticks.tick().await;
        let begun = Instant::now();
        match renew_once(connections, partition, lease_ms, every).await {
            Ok(true) => renewed = begun,
            Ok(false) => return "another orchestrator has taken it".to_owned(),
            Err(fault) => {
                tracing::warn!(error = %chain(&fault), "the lease of the partition was not renewed; tried again");
                // one more try would come after its end
                if renewed.elapsed() + every > Duration::from_millis(lease_ms) {
                    return format!(
                        "its lease of {lease_ms} ms has ended, and the database does not answer"
                    );
                }
            }
        }
    }
}

async fn renew_once(
    connections: &Connections,
    partition: Partition,
    lease_ms: u64,
    limit: Duration,
) -> Result<bool, Fault> {
    let (id, epoch) = (i16::from(partition.id), int(partition.epoch));
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&id, &epoch, &lease(lease_ms)];
    match tokio::time::timeout(limit, connections.execute(RENEW, &values)).await {
        Ok(renewed) => Ok(renewed? == 1),
        Err(_) => Err(Fault::Late(limit)),
    }
}

/// Gives the partition up, so that the next owner need not wait.
pub(crate) async fn release(connections: &Connections, partition: Partition) -> Result<(), Fault> {
    let (id, epoch) = (i16::from(partition.id), int(partition.epoch));
    connections.execute(RELEASE, &[&id, &epoch]).await?;
    Ok(())
}

/// An error with all that is below it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        text.push_str(": ");
        text.push_str(&source.to_string());
        below = source.source();
    }
    text
}
