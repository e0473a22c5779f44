//! The store in PostgreSQL: one database for all that orchestrators keep; each partition of it has one owner at a time.
//!
//! What the driver asks for goes through one connection in its order (`session.rs`); a batch is one call of a function in the database, and so
//! one round trip and one transaction (`commit.rs`). Who owns the partition is a row with an epoch and a lease (`ownership.rs`). Everything
//! beside the driver has connections of its own, pooled; leases and beats have theirs apart from all others, so that they wait for nobody.

mod alerts;
mod audit;
mod beside;
mod cluster;
mod columns;
mod commit;
mod connect;
mod fault;
mod items;
mod letter_rows;
mod letters;
mod load;
mod moving;
mod numbers;
mod open;
mod options;
mod owed;
mod ownership;
mod queries;
mod reader;
mod reservations;
mod rows;
mod session;
mod triggers;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_driver::{
    Batch, CommitError, DefinitionRow, InDoubt, Loaded, OwedRow, Recovered, Store, StoreError,
    SubscriptionRow,
};
use baton_messages::{Manifest, SagaId, StepId, TaskType, Timestamp};
use deadpool_postgres::Object;
use uuid::Uuid;

pub use alerts::PostgresAlerts;
pub use audit::PostgresAudit;
pub use beside::{PostgresSuspects, PostgresTokens};
pub use cluster::{PARTITIONS, PostgresCluster};
pub(crate) use fault::is_misfit;
pub use letters::PostgresLetters;
pub use moving::PostgresCarried;
pub use open::PostgresError;
pub use options::PostgresOptions;
pub use ownership::Ownership;
pub use reader::PostgresReader;
pub use reservations::PostgresReservations;
pub use triggers::PostgresTriggers;

use crate::Partition;
use crate::sqlite::process_and_host;
use connect::{Connections, Use};
use fault::Fault;
use open::failed;
use options::Target;
use ownership::{Lease, Renewal, Taken};
use session::Session;

/// The partition of a store that has one: it has all slices.
pub const PARTITION: u8 = 0;

/// Connections that write beside the session: triggers, and what else the API writes.
const WRITERS: usize = 4;
/// Connections for what must wait for nobody, of a store with one partition: its lease. One that is waited for no longer leaves its place to the next.
const LEASES: usize = 1;
/// A lease is looked at again so much after its end.
const LEASE_MARGIN: Duration = Duration::from_millis(100);
/// And at least so often: its owner may give it up before.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The store in one PostgreSQL database, as the owner of a partition has it.
#[derive(Debug)]
pub struct PostgresStore {
    partition: Partition,
    session: Session,
    beside: Connections,
    leases: Connections,
    /// Whether nobody else uses those connections.
    alone: bool,
    reader: PostgresReader,
    renewal: Renewal,
}

/// How things stand in a database, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresStatus {
    /// Hosts and database.
    pub place: String,
    /// The version of its tables; 0 when there are none.
    pub version: u32,
    /// The version this program writes.
    pub version_known: u32,
    /// Who owns which partition.
    pub partitions: Vec<PartitionStatus>,
}

/// How things stand with one partition, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    /// It, and how often it was taken.
    pub partition: Partition,
    /// Who took it last.
    pub owner: String,
    /// For how long it is still leased; none: it was given up.
    pub lease_left_ms: Option<i64>,
}

impl PostgresStore {
    /// Takes ownership of the only partition of a store that has one, making the tables if they are not there, and brings them to this version. A lease that nobody
    /// renews is waited for.
    ///
    /// # Errors
    /// [`PostgresError`]: another orchestrator has it, the tables are newer, the server cannot be reached or refuses.
    pub async fn open(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let target = Target::of(options)?;
        let place = target.place.as_str();
        let beside = Connections::new(&target, options, Use::Write, WRITERS + 1)?;
        migrate_on(&beside, place).await?;
        let elsewhere = ownership::slices_elsewhere(&beside, PARTITION)
            .await
            .map_err(failed(place, "ask which partitions it has"))?;
        if elsewhere > 0 {
            return Err(PostgresError::Partitions {
                place: place.to_owned(),
                slices: elsewhere,
            });
        }
        let owner = options.owner.clone().unwrap_or_else(process_and_host);
        let (partition, since) = take(&beside, place, &owner, options.lease_ms).await?;
        tracing::info!(
            database = place,
            partition = partition.id,
            epoch = partition.epoch,
            "store opened"
        );
        let reading = Connections::new(&target, options, Use::Read, options.readers)?;
        let leases = Connections::new(&target, options, Use::Lease, LEASES)?;
        let lease = Arc::new(Lease::new(options.lease_ms, since));
        Ok(Self {
            partition,
            session: Session::new(beside.clone(), partition, lease.clone()),
            renewal: Renewal::start(leases.clone(), partition, lease),
            beside,
            leases,
            alone: true,
            reader: PostgresReader::new(reading),
        })
    }

    /// A partition that was taken just now, with the connections of its member.
    fn of_cluster(
        partition: Partition,
        [beside, leases]: [Connections; 2],
        reader: PostgresReader,
        lease: Lease,
    ) -> Self {
        let lease = Arc::new(lease);
        Self {
            partition,
            session: Session::new(beside.clone(), partition, lease.clone()),
            renewal: Renewal::start(leases.clone(), partition, lease),
            beside,
            leases,
            alone: false,
            reader,
        }
    }

    /// The partition and the epoch under which this process owns it.
    #[must_use]
    pub const fn partition(&self) -> Partition {
        self.partition
    }

    /// Says when it is no longer owned.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        self.renewal.ownership()
    }

    /// Something that reads beside the driver.
    #[must_use]
    pub fn reader(&self) -> PostgresReader {
        self.reader.clone()
    }

    /// The tokens of the HTTP API.
    #[must_use]
    pub fn tokens(&self) -> PostgresTokens {
        PostgresTokens::new(self.beside.clone())
    }

    /// The notes of what is tried alone.
    #[must_use]
    pub fn suspects(&self) -> PostgresSuspects {
        PostgresSuspects::new(self.beside.clone())
    }

    /// What needs a person.
    #[must_use]
    pub fn alerts(&self) -> PostgresAlerts {
        PostgresAlerts::new(self.beside.clone())
    }

    /// What sagas take before their first step.
    #[must_use]
    pub fn reservations(&self) -> PostgresReservations {
        PostgresReservations::new(self.beside.clone())
    }

    /// What operators did.
    #[must_use]
    pub fn audit(&self) -> PostgresAudit {
        PostgresAudit::new(self.beside.clone())
    }

    /// The dead letters, to move them.
    #[must_use]
    pub fn letters(&self) -> PostgresLetters {
        PostgresLetters::new(self.beside.clone())
    }

    /// The tables of triggers.
    #[must_use]
    pub fn triggers(&self) -> PostgresTriggers {
        PostgresTriggers::new(self.beside.clone())
    }

    /// Gives the partition up, so that the next owner need not wait for the end of the lease.
    ///
    /// # Errors
    /// When the database does not answer; what was committed is there all the same.
    pub async fn close(self) -> Result<(), StoreError> {
        let Self {
            partition,
            mut session,
            beside,
            leases,
            alone,
            reader: _,
            renewal,
        } = self;
        drop(renewal);
        session.end();
        let released = ownership::release(&beside, partition).await;
        if alone {
            beside.close();
            leases.close();
        }
        released.map_err(|fault| fault.read("a partition, to give it up"))
    }
}

/// Brings the tables to this version; answers the versions before and after.
///
/// # Errors
/// [`PostgresError`].
pub async fn migrate(options: &PostgresOptions) -> Result<(PostgresStatus, u32), PostgresError> {
    let target = Target::of(options)?;
    let connections = Connections::new(&target, options, Use::Write, 1)?;
    let (before, now) = migrate_on(&connections, &target.place).await?;
    let status = PostgresStatus {
        place: target.place,
        version: now,
        version_known: now,
        partitions: Vec::new(),
    };
    Ok((status, before))
}

/// The audit log of a database, for who is no orchestrator: it is added to under the lock that all who add share. Connects when it is used.
///
/// # Errors
/// [`PostgresError`] where the address, or a file it needs, cannot be read.
pub fn audit_log(options: &PostgresOptions) -> Result<PostgresAudit, PostgresError> {
    let target = Target::of(options)?;
    let connections = Connections::new(&target, options, Use::Write, 1)?;
    Ok(PostgresAudit::new(connections))
}

/// How things stand; changes nothing.
///
/// # Errors
/// [`PostgresError`] when the database cannot be asked.
pub async fn status(options: &PostgresOptions) -> Result<PostgresStatus, PostgresError> {
    let target = Target::of(options)?;
    let connections = Connections::new(&target, options, Use::Read, 1)?;
    let place = target.place;
    let client = connections.get().await.map_err(failed(&place, "connect"))?;
    open::check_server(&client, &place).await?;
    let version = open::version(&client, &place).await?;
    drop(client);
    let partitions = if version == open::version_known() {
        let asked = ownership::partitions(&connections).await;
        asked.map_err(failed(&place, "ask who owns it"))?
    } else {
        Vec::new()
    };
    Ok(PostgresStatus {
        place,
        version,
        version_known: open::version_known(),
        partitions,
    })
}

impl PostgresReader {
    /// A reader of the database another process may be writing.
    ///
    /// # Errors
    /// [`PostgresError`] when there is no store, or one of another version.
    pub async fn open(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let target = Target::of(options)?;
        let reading = Connections::new(&target, options, Use::Read, options.readers)?;
        let place = &target.place;
        let client = reading.get().await.map_err(failed(place, "connect"))?;
        open::check_server(&client, place).await?;
        open::check_version(open::version(&client, place).await?, place)?;
        drop(client);
        Ok(Self::new(reading))
    }
}

async fn migrate_on(connections: &Connections, place: &str) -> Result<(u32, u32), PostgresError> {
    let mut client = connections.get().await.map_err(failed(place, "connect"))?;
    open::check_server(&client, place).await?;
    // what a migration rewrites or indexes takes as long as it takes, once; the connection is used for nothing else
    let unlimited = client.batch_execute("SET statement_timeout TO 0").await;
    unlimited
        .map_err(Fault::from)
        .map_err(failed(place, "lift the limit of time for its migrations"))?;
    let migrated = open::migrate(&mut client, place).await;
    drop(Object::take(client));
    migrated
}

/// Takes the partition, if need be after the lease of somebody who no longer renews it; answers from when on its own lease counts.
async fn take(
    connections: &Connections,
    place: &str,
    owner: &str,
    lease_ms: u64,
) -> Result<(Partition, tokio::time::Instant), PostgresError> {
    let (mut told, mut ends) = (None, None);
    loop {
        let taken = ownership::take(connections, PARTITION, owner, lease_ms)
            .await
            .map_err(failed(place, "take its partition"))?;
        let (owner, left) = match taken {
            Taken::Mine { partition, since } => return Ok((partition, since)),
            Taken::Leased { owner, left } => (owner, left + LEASE_MARGIN),
        };
        let now = Instant::now();
        let end = *ends.get_or_insert(now + left);
        if now >= end {
            return Err(PostgresError::Owned {
                place: place.to_owned(),
                partition: PARTITION,
                owner,
            });
        }
        if told.as_ref() != Some(&owner) {
            tracing::warn!(
                database = place,
                owner,
                left_ms = left.as_millis(),
                "the partition is leased; if its owner is alive it renews the lease, otherwise it is taken when that ends"
            );
            told = Some(owner);
        }
        tokio::time::sleep(left.min(LOOK_AGAIN)).await;
    }
}

impl Store for PostgresStore {
    async fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        commit::commit(&mut self.session, batch).await
    }

    async fn load(&mut self, sagas: Vec<SagaId>) -> Result<Vec<Loaded>, StoreError> {
        let loaded = self
            .session
            .trusting(async |client| load::sagas_and_standings(client, &sagas).await)
            .await;
        let (loaded, standings) = loaded.map_err(|fault| fault.read("sagas, to fold them"))?;
        self.session.note(standings);
        Ok(loaded)
    }

    async fn recover(&mut self, partition: u8) -> Result<Recovered, StoreError> {
        let found = self
            .session
            .with(async |client| load::recover(client, partition).await)
            .await;
        let found = found
            .map_err(|fault| fault.read(format!("partition {partition}, to go on with it")))?;
        self.session.recovered(found.log_seq, found.watermark);
        Ok(found)
    }

    async fn in_doubt(
        &mut self,
        partition: u8,
        after: u64,
        limit: usize,
    ) -> Result<InDoubt, StoreError> {
        let found = self
            .session
            .trusting(async |client| load::in_doubt(client, partition, after, limit).await)
            .await;
        found.map_err(|fault| fault.read("the log past what is published"))
    }

    async fn owed(
        &mut self,
        partition: u8,
        lane: String,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Result<Vec<OwedRow>, StoreError> {
        let found = self
            .session
            .trusting(async |client| owed::page(client, partition, &lane, after, limit).await)
            .await;
        found.map_err(|fault| fault.read(format!("what is owed in lane {lane}")))
    }

    async fn cold_due(
        &mut self,
        partition: u8,
        until: Timestamp,
        limit: usize,
    ) -> Result<(Vec<SagaId>, Option<Timestamp>), StoreError> {
        let due = self
            .session
            .trusting(async |client| load::cold_due(client, partition, until, limit).await)
            .await;
        due.map_err(|fault| fault.read("evicted sagas that are due"))
    }

    async fn unserved(
        &mut self,
        partition: u8,
        task_type: TaskType,
        after: Option<SagaId>,
        limit: usize,
    ) -> Result<Vec<SagaId>, StoreError> {
        let waiting = self
            .session
            .trusting(async |client| {
                load::unserved(client, partition, &task_type, after, limit).await
            })
            .await;
        waiting.map_err(|fault| fault.read(format!("sagas that wait for {task_type}")))
    }

    async fn subscribers(
        &mut self,
        kind: String,
        after: Option<(SagaId, StepId)>,
        limit: usize,
    ) -> Result<Vec<SubscriptionRow>, StoreError> {
        let found = self
            .session
            .with(async |client| load::subscribers(client, &kind, after.as_ref(), limit).await)
            .await;
        found.map_err(|fault| fault.read(format!("steps that wait for {kind}")))
    }

    async fn put_definition(&mut self, row: DefinitionRow) -> Result<bool, StoreError> {
        let kept = self
            .session
            .with(async |client| load::put_definition(client, &row).await)
            .await;
        kept.map_err(|fault| {
            fault.read(format!(
                "definition {}@{}, to keep it",
                row.name, row.version
            ))
        })
    }

    async fn definitions(&mut self) -> Result<Vec<DefinitionRow>, StoreError> {
        let found = self
            .session
            .with(async |client| {
                let rows = connect::rows(client, load::DEFINITIONS, &[]).await?;
                load::each(&rows, load::definition_row)
            })
            .await;
        found.map_err(|fault| fault.read("definitions"))
    }

    async fn put_manifest(&mut self, manifest: Manifest, at: Timestamp) -> Result<(), StoreError> {
        let kept = self
            .session
            .with(async |client| load::put_manifest(client, &manifest, at).await)
            .await;
        kept.map_err(|fault| {
            fault.read(format!(
                "the manifest of {}, to keep it",
                manifest.task_type
            ))
        })
    }

    async fn manifests(&mut self) -> Result<Vec<Manifest>, StoreError> {
        let found = self
            .session
            .with(async |client| load::manifests(client).await)
            .await;
        found.map_err(|fault| fault.read("manifests"))
    }
}
