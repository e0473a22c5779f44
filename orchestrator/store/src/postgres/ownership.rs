//! Who owns the partition: a row with owner, epoch and the end of a lease, by the database's clock alone. Taking it over counts the epoch up, and
//! that fences whoever had it; the lease only says when it may be taken, so that two orchestrators do not take it from each other all day.
//!
//! Renewals and commits both make the lease as long as it may be, from the moment at which the database does them; the owner counts from the moment at which it sent
//! them, which is earlier. So it never takes a lease for longer than the database does, however late an answer comes. One case is otherwise: while a commit is under
//! way its row is locked, and nobody can take the partition although its lease may end meanwhile. Then the owner goes on until that commit has an answer or is given
//! up, and for one more renewal. Should it be wrong (the commit never arrived), somebody else has a higher epoch, and all that is wrong is that two are busy.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::PartitionStatus;
use super::columns::{get, int, uint};
use super::connect::{Connections, execute_unless, rows};
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
/// One that comes to its turn after the partition was given up makes nobody wait.
const RENEW: &str = "UPDATE partitions SET lease_until = clock_timestamp() + $3 * interval '1 millisecond' WHERE id = $1 AND epoch = $2 AND lease_until IS NOT NULL";
const RELEASE: &str = "UPDATE partitions SET lease_until = NULL WHERE id = $1 AND epoch = $2";
const PARTITIONS: &str = "SELECT id, epoch, owner, (extract(epoch FROM lease_until - clock_timestamp()) * 1000)::bigint FROM partitions ORDER BY id";
const ELSEWHERE: &str = "SELECT count(*) FROM slices WHERE partition <> $1";

/// A lease is renewed so many times before it would end.
const RENEWALS: u32 = 3;
/// A renewal that failed is tried again after this part of the time between two: a database that refuses at once is not asked in a circle.
const AGAIN_PART: u32 = 4;

/// What came of an attempt to take a partition.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is ours.
    Mine {
        /// It.
        partition: Partition,
        /// When it was asked for: from then on its lease counts.
        since: Instant,
    },
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
            let since = Instant::now();
            let taken = rows(client, TAKE, &[&number, &owner, &lease_ms]).await?;
            if let Some(row) = taken.first() {
                let epoch: i64 = row.try_get(0)?;
                let partition = Partition {
                    id,
                    epoch: uint(epoch),
                };
                return Ok(Taken::Mine { partition, since });
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

/// A lease as its owner knows it.
#[derive(Debug)]
pub(crate) struct Lease {
    length_ms: u64,
    known: watch::Sender<Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// When the last statement was sent that made it as long as it may be, and was answered.
    renewed: Instant,
    /// When the commit was sent that is under way.
    committing: Option<Instant>,
}

impl Lease {
    /// One that was taken by what was sent then.
    pub(crate) fn new(length_ms: u64, since: Instant) -> Self {
        let known = Known {
            renewed: since,
            committing: None,
        };
        Self {
            length_ms,
            known: watch::Sender::new(known),
        }
    }

    /// How long it may be, as the database takes it.
    pub(crate) fn ms(&self) -> f64 {
        lease(self.length_ms)
    }

    const fn length(&self) -> Duration {
        Duration::from_millis(self.length_ms)
    }

    /// The time between two renewals.
    fn every(&self) -> Duration {
        self.length() / RENEWALS
    }

    /// When it is to be renewed next.
    fn due(&self) -> Instant {
        self.known.borrow().renewed + self.every()
    }

    /// How long what is begun now to renew it may take: until its end, or, where that is over already, as long as between two.
    fn limit(&self, now: Instant) -> Duration {
        let end = self.known.borrow().renewed + self.length();
        match end.saturating_duration_since(now) {
            Duration::ZERO => self.every(),
            left => left,
        }
    }

    /// Whether somebody else may have it: its time is over, and no commit holds its row.
    fn is_over(&self, now: Instant) -> bool {
        let known = *self.known.borrow();
        known.renewed + self.length() <= now && known.committing.is_none()
    }

    /// What was sent then has been done.
    fn renewed(&self, sent: Instant) {
        self.known
            .send_modify(|known| known.renewed = known.renewed.max(sent));
    }

    /// A commit is sent now.
    pub(crate) fn committing(&self) -> Committing<'_> {
        let sent = Instant::now();
        self.known
            .send_modify(|known| known.committing = Some(sent));
        Committing { lease: self, sent }
    }

    /// Ends when a renewal that is sent now has been waited for long enough; answers how long that was. Behind a commit that is under way it waits for the row, and has it
    /// when that has ended.
    async fn patience(&self, limit: Duration) -> Duration {
        let begun = Instant::now();
        tokio::time::sleep(limit).await;
        let sent = self.known.borrow().committing;
        if sent.is_some() {
            let mut known = self.known.subscribe();
            // this one and no later one, whose own beginning says that the row is ours: so the wait has an end
            let _ = known.wait_for(|known| known.committing != sent).await;
            tokio::time::sleep(self.every()).await;
        }
        begun.elapsed()
    }
}

/// A commit that is under way, until it is dropped.
pub(crate) struct Committing<'a> {
    lease: &'a Lease,
    sent: Instant,
}

impl Committing<'_> {
    /// It is there: its fence has renewed the lease.
    pub(crate) fn done(self) {
        self.lease.renewed(self.sent);
    }
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.lease
            .known
            .send_modify(|known| known.committing = None);
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
    /// Starts it.
    pub(crate) fn start(connections: Connections, partition: Partition, lease: Arc<Lease>) -> Self {
        let (tell, lost) = watch::channel(None);
        let task = tokio::spawn(async move {
            let why = renew(&connections, partition, &lease).await;
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
async fn renew(connections: &Connections, partition: Partition, lease: &Lease) -> String {
    let mut said = false;
    loop {
        let due = lease.due();
        if Instant::now() < due {
            tokio::time::sleep_until(due).await;
            // a commit may have renewed it meanwhile
            continue;
        }
        let begun = Instant::now();
        match renew_once(connections, partition, lease, begun).await {
            Ok(true) => {
                lease.renewed(begun);
                said = false;
            }
            Ok(false) => return "another orchestrator has taken it".to_owned(),
            Err(fault) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(partition = partition.id, error = %chain(&fault), "the lease of the partition was not renewed; tried again");
                }
                if lease.is_over(Instant::now()) {
                    let lease_ms = lease.length_ms;
                    return format!(
                        "its lease of {lease_ms} ms has ended, and the database does not answer"
                    );
                }
                tokio::time::sleep(lease.every() / AGAIN_PART).await;
            }
        }
    }
}

async fn renew_once(
    connections: &Connections,
    partition: Partition,
    lease: &Lease,
    now: Instant,
) -> Result<bool, Fault> {
    let (id, epoch) = (i16::from(partition.id), int(partition.epoch));
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&id, &epoch, &lease.ms()];
    // a connection may have to be made first; one that is there and does not answer leaves time for another
    let limit = lease.limit(now);
    let got = tokio::time::timeout(limit, connections.get()).await;
    let client = got.unwrap_or(Err(Fault::Late(limit)))?;
    let over = lease.patience(lease.limit(Instant::now()).min(lease.every()));
    let renewed = execute_unless(client, over, RENEW, &values).await?;
    Ok(renewed == 1)
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use baton_driver::Store as _;
    use tokio::time::timeout;

    use super::*;
    use crate::postgres::tests::FreshDatabase;
    use crate::suite::Subject as _;
    use crate::suite::samples::starts;

    /// What any of this may take, on a machine that is building something on every core meanwhile.
    const SOON: Duration = Duration::from_secs(60);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_lease_counts_from_what_was_sent_and_answered_and_is_not_over_while_a_commit_is_under_way()
    {
        let since = Instant::now();
        let lease = Lease::new(3_000, since);
        let end = since + lease.length();
        assert!(!lease.is_over(end - MS));
        assert!(lease.is_over(end));
        let commit = lease.committing();
        assert!(!lease.is_over(end), "it may hold the row");
        drop(commit);
        assert!(lease.is_over(end), "it was not answered");
        let commit = lease.committing();
        let sent = commit.sent;
        commit.done();
        assert!(!lease.is_over(sent + lease.length() - MS));
        assert!(lease.is_over(sent + lease.length()));
        lease.renewed(since);
        assert_eq!(
            lease.due(),
            sent + lease.every(),
            "what is older says nothing"
        );
    }

    #[tokio::test]
    async fn a_renewal_waits_behind_the_commit_there_is_and_for_no_other() {
        let lease = Lease::new(300, Instant::now());
        let commit = lease.committing();
        let waits = lease.patience(Duration::ZERO);
        tokio::pin!(waits);
        let ended = timeout(lease.length(), &mut waits).await;
        assert!(ended.is_err(), "{ended:?}");
        drop(commit);
        let _next = lease.committing();
        let waited = timeout(SOON, waits).await.expect("it has an end");
        assert!(waited >= lease.length());
    }

    async fn lease_until(client: &tokio_postgres::Client) -> Option<SystemTime> {
        let sql = "SELECT lease_until FROM partitions WHERE id = 0";
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn a_commit_renews_the_lease_unless_it_was_given_up() {
        let mut subject = FreshDatabase::new().await;
        let client = subject.database.client().await;
        let (mut store, mine) = subject.open().await;
        store.renewal.stop();
        let (lease, until) = (store.session.lease(), lease_until(&client).await);
        let due = lease.due();
        store.commit(starts(mine, 1, 0..1)).await.unwrap();
        assert!(lease_until(&client).await > until);
        assert!(lease.due() > due);
        assert!(lease.known.borrow().committing.is_none());
        let given_up = "UPDATE partitions SET lease_until = NULL";
        client.batch_execute(given_up).await.unwrap();
        store.commit(starts(mine, 2, 1..2)).await.unwrap();
        assert_eq!(lease_until(&client).await, None);
        subject.close(store).await;
    }
}
