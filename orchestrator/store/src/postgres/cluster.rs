//! An orchestrator among others on one database: it says that it is there, sees who else is, and takes partitions one by one. What it should take is
//! decided elsewhere ([`crate::cluster`]); that nobody else has it is a row with an epoch (`ownership.rs`).

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use baton_driver::{SagaRow, StoreError};
use futures::future::try_join;

use super::columns::{get, int, saga_row, uint};
use super::connect::{Connections, Use, rows};
use super::fault::Fault;
use super::load::each;
use super::open::failed;
use super::options::Target;
use super::ownership::{self, Lease, Taken, lease};
use super::{
    PostgresAlerts, PostgresAudit, PostgresError, PostgresLetters, PostgresOptions, PostgresReader,
    PostgresReservations, PostgresStore, PostgresSuspects, PostgresTokens, PostgresTriggers,
    WRITERS, migrate_on, queries,
};
use crate::Partition;
use crate::cluster::{Layout, Member, Owned, PARTITIONS_MAX, View};
use crate::sqlite::process_and_host;

/// Partitions of a store that is made without another word: enough for as many orchestrators.
pub const PARTITIONS: u8 = 8;

/// Most records told one by one to who watches: of a busier cluster he looks at the list again.
const RECORDED_MAX: u64 = 1_000;

/// Only a store that nobody has ever driven is laid out: from then on ids in flight carry where they belong.
const LAY_OUT: &str = "LOCK TABLE slices IN EXCLUSIVE MODE";
const UNTOUCHED: &str = "SELECT NOT EXISTS (SELECT 1 FROM partitions) AND NOT EXISTS (SELECT 1 FROM sagas WHERE number > 0)
    AND NOT EXISTS (SELECT 1 FROM slices WHERE partition <> 0)";
const SLICES: &str = "UPDATE slices SET partition = slice * $1::smallint / 256";
const ROWS: &str = "INSERT INTO partitions (id, epoch, owner) SELECT id, 0, '' FROM generate_series(0, $1::smallint - 1) AS id";
const LAYOUT: &str = "SELECT partition FROM slices ORDER BY slice";
/// The moment of joining tells two processes of one name apart: the first beat of one takes the row, any further beat has to find it as it was left. Others that have
/// been gone for an hour are no longer shown.
const BEAT: &str = "WITH gone AS (DELETE FROM members WHERE lease_until < clock_timestamp() - interval '1 hour' AND name <> $1)
    INSERT INTO members (name, version, ready, joined_at, lease_until)
    VALUES ($1, $2, $3, coalesce($5, clock_timestamp()), clock_timestamp() + $4 * interval '1 millisecond')
    ON CONFLICT (name) DO UPDATE SET version = excluded.version, ready = excluded.ready, lease_until = excluded.lease_until,
        joined_at = excluded.joined_at
    WHERE $5 IS NULL OR members.joined_at = $5
    RETURNING joined_at";
const NAMESAKE: &str =
    "SELECT lease_until FROM members WHERE name = $1 AND lease_until > clock_timestamp()";
const MEMBERS: &str = "SELECT name, version, ready, (extract(epoch FROM clock_timestamp() - joined_at) * 1000)::bigint,
        (extract(epoch FROM lease_until - clock_timestamp()) * 1000)::bigint FROM members ORDER BY name";
const OWNED: &str = "SELECT p.id, p.epoch, p.owner, (extract(epoch FROM p.lease_until - clock_timestamp()) * 1000)::bigint,
        greatest(coalesce((SELECT r.log_seq FROM records r WHERE r.partition = p.id ORDER BY r.log_seq DESC LIMIT 1), 0), p.watermark), p.watermark
    FROM partitions p ORDER BY p.id";
/// Changes with every definition and task type that is kept.
const RULES: &str = "SELECT (SELECT count(*) FROM definitions), (SELECT coalesce(max(registered_at), 0) FROM definitions),
    (SELECT count(*) FROM task_types), (SELECT coalesce(max(at), 0) FROM task_types)";
const LEAVE: &str = "DELETE FROM members WHERE name = $1 AND joined_at = $2";

/// A database as a member of its cluster has it.
#[derive(Debug, Clone)]
pub struct PostgresCluster {
    place: String,
    name: String,
    version: String,
    lease_ms: u64,
    layout: Arc<Layout>,
    beside: Connections,
    /// What says that this member is there, and has what it has.
    leases: Connections,
    reader: PostgresReader,
    /// Since when this process is a member.
    joined: Arc<Mutex<Option<SystemTime>>>,
}

impl PostgresCluster {
    /// Opens the database, making the tables if they are not there and laying them out in so many partitions if nobody has driven them yet. Says
    /// nothing of itself before the first [`Self::beat`].
    ///
    /// # Errors
    /// [`PostgresError`]: the tables are newer, an import was not finished, the server cannot be reached or refuses.
    pub async fn open(
        options: &PostgresOptions,
        partitions: Option<u8>,
        version: &str,
    ) -> Result<Self, PostgresError> {
        let target = Target::of(options)?;
        let place = target.place.clone();
        let made = partitions.unwrap_or(PARTITIONS).clamp(1, PARTITIONS_MAX);
        // one for what is asked of a store whose partitions are not known yet
        let asking = Connections::new(&target, options, Use::Write, 1)?;
        migrate_on(&asking, &place).await?;
        let layout = lay_out(&asking, made).await;
        let found = layout.map_err(failed(&place, "ask how it is laid out"))?;
        asking.close();
        let Some(layout) = Layout::read(&found) else {
            let slices = found.iter().filter(|of| **of < 0).count();
            let slices = i64::try_from(slices).unwrap_or(i64::MAX);
            return Err(PostgresError::Partitions { place, slices });
        };
        if let Some(wanted) = partitions.filter(|wanted| *wanted != layout.count()) {
            tracing::warn!(
                database = place,
                partitions = layout.count(),
                wanted,
                "the store was made with another number of partitions than store.partitions says; that number never changes, and is used"
            );
        }
        let partitions = usize::from(layout.count());
        let connections = WRITERS + 1 + partitions;
        // a beat, and for each partition a renewal, which waits as long as a commit there takes: none of them ever waits for another
        let leases = Connections::new(&target, options, Use::Lease, 1 + partitions)?;
        let reading = Connections::new(&target, options, Use::Read, options.readers)?;
        Ok(Self {
            name: options.owner.clone().unwrap_or_else(process_and_host),
            version: version.to_owned(),
            lease_ms: options.lease_ms,
            layout: Arc::new(layout),
            beside: Connections::new(&target, options, Use::Write, connections)?,
            leases,
            reader: PostgresReader::new(reading),
            joined: Arc::default(),
            place,
        })
    }

    /// Which partition has which saga.
    #[must_use]
    pub fn layout(&self) -> Arc<Layout> {
        self.layout.clone()
    }

    /// Hosts and database, without a user and a password.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The name of this member.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For how long a member counts as alive, and a partition as owned, without a word.
    #[must_use]
    pub const fn lease_ms(&self) -> u64 {
        self.lease_ms
    }

    /// Something that reads beside the drivers.
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

    /// What sagas take before their first step.
    #[must_use]
    pub fn reservations(&self) -> PostgresReservations {
        PostgresReservations::new(self.beside.clone())
    }

    /// What needs a person.
    #[must_use]
    pub fn alerts(&self) -> PostgresAlerts {
        PostgresAlerts::new(self.beside.clone())
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
        PostgresTriggers::new(self.beside.clone()).led_by(&self.name)
    }

    /// Whether another process goes on saying, under the name of this one, that it is there: it is listened for so long, unless nobody has said so lately.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_namesake(&self, within: Duration) -> Result<bool, StoreError> {
        let Some(before) = self.said_until().await? else {
            return Ok(false);
        };
        tokio::time::sleep(within).await;
        Ok(self.said_until().await?.is_some_and(|now| now > before))
    }

    /// Until when who has the name of this member counts as there.
    async fn said_until(&self) -> Result<Option<SystemTime>, StoreError> {
        let found = self.leases.rows(NAMESAKE, &[&self.name]).await;
        let read = found.and_then(|rows| rows.first().map(|row| get(row, 0)).transpose());
        read.map_err(|fault| fault.read("the members of the cluster"))
    }

    /// Says that this member is there, and whether it reaches the broker; answers how the cluster stands. None, and nothing is said, when another process
    /// has joined under its name since it did.
    ///
    /// # Errors
    /// When the database does not answer within so long.
    pub async fn beat(&self, ready: bool, within: Duration) -> Result<Option<View>, StoreError> {
        let joined = self.joined();
        let seen = self.leases.within(within, async |client| {
            let lease_ms = lease(self.lease_ms);
            let said = rows(
                client,
                BEAT,
                &[&self.name, &self.version, &ready, &lease_ms, &joined],
            )
            .await?;
            let Some(said) = said.first() else {
                return Ok(None);
            };
            let joined: SystemTime = get(said, 0)?;
            Ok(Some((joined, view(client).await?)))
        });
        let seen = seen.await;
        let seen = seen.map_err(|fault| fault.read("the members of the cluster"))?;
        Ok(seen.map(|(joined, view)| {
            *self.joined.lock().unwrap_or_else(PoisonError::into_inner) = Some(joined);
            view
        }))
    }

    /// Whether this process has said that it is there.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.joined().is_some()
    }

    fn joined(&self) -> Option<SystemTime> {
        *self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a partition that nobody has; none when somebody does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn take(&self, partition: u8) -> Result<Option<PostgresStore>, StoreError> {
        let taken = ownership::take(&self.beside, partition, &self.name, self.lease_ms).await;
        let taken = taken.map_err(|fault| fault.read("a partition, to take it"))?;
        let Taken::Mine { partition, since } = taken else {
            return Ok(None);
        };
        tracing::info!(
            database = self.place,
            partition = partition.id,
            epoch = partition.epoch,
            "partition taken"
        );
        Ok(Some(PostgresStore::of_cluster(
            partition,
            [self.beside.clone(), self.leases.clone()],
            self.reader.clone(),
            Lease::new(self.lease_ms, since),
        )))
    }

    /// What changes whenever a definition or a task type is kept, by whomever.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn rules(&self) -> Result<[i64; 4], StoreError> {
        let asked = self.beside.with(async |client| {
            let found = rows(client, RULES, &[]).await?;
            let [row] = found.as_slice() else {
                return Ok([0; 4]);
            };
            Ok([get(row, 0)?, get(row, 1)?, get(row, 2)?, get(row, 3)?])
        });
        let asked = asked.await;
        asked.map_err(|fault| fault.read("whether definitions or task types are new"))
    }

    /// Sagas something was recorded of behind the first and up to the second of these places in the logs of partitions, each once and as it is now; none
    /// when that is too much to be told one by one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn recorded(
        &self,
        places: &[(u8, Range<u64>)],
    ) -> Result<Option<Vec<SagaRow>>, StoreError> {
        let records = places.iter().map(|(_, of)| of.end.saturating_sub(of.start));
        if records.sum::<u64>() > RECORDED_MAX {
            return Ok(None);
        }
        let partitions: Vec<i16> = places.iter().map(|(of, _)| i16::from(*of)).collect();
        let since: Vec<i64> = places.iter().map(|(_, of)| int(of.start)).collect();
        let until: Vec<i64> = places.iter().map(|(_, of)| int(of.end)).collect();
        let found = self
            .reader
            .read("what other members have recorded", async |client| {
                let found =
                    rows(client, &queries::recorded(), &[&partitions, &since, &until]).await?;
                each(&found, saga_row)
            });
        Ok(Some(found.await?))
    }

    /// Says that this member is there no more, so that the others take what it has as soon as it is given up.
    ///
    /// # Errors
    /// When the database does not answer; its lease ends all the same.
    pub async fn leave(&self) -> Result<(), StoreError> {
        let left = self
            .beside
            .execute(LEAVE, &[&self.name, &self.joined()])
            .await;
        left.map_err(|fault| fault.read("the members of the cluster, to leave them"))?;
        Ok(())
    }

    /// Gives up every connection.
    pub fn close(&self) {
        self.beside.close();
        self.leases.close();
    }
}

impl PostgresReader {
    /// How the cluster stands.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn cluster(&self) -> Result<View, StoreError> {
        self.read("the members of the cluster", async |client| {
            view(client).await
        })
        .await
    }
}

async fn lay_out(connections: &Connections, partitions: u8) -> Result<Vec<i16>, Fault> {
    connections
        .with(async |client| {
            let laying = client.transaction().await?;
            laying.batch_execute(LAY_OUT).await?;
            let untouched = rows(&laying, UNTOUCHED, &[]).await?;
            if untouched.first().is_some_and(|row| row.get(0)) {
                let count = i16::from(partitions);
                rows(&laying, SLICES, &[&count]).await?;
                rows(&laying, ROWS, &[&count]).await?;
            }
            let found = rows(&laying, LAYOUT, &[]).await?;
            laying.commit().await?;
            each(&found, |row| get(row, 0))
        })
        .await
}

async fn view(client: &impl deadpool_postgres::GenericClient) -> Result<View, Fault> {
    // one round trip: the second goes out before the first is answered
    let (members, partitions) =
        try_join(rows(client, MEMBERS, &[]), rows(client, OWNED, &[])).await?;
    Ok(View {
        members: each(&members, |row| {
            Ok(Member {
                name: get(row, 0)?,
                version: get(row, 1)?,
                ready: get(row, 2)?,
                joined_ms_ago: uint(get(row, 3)?),
                lease_left_ms: get(row, 4)?,
            })
        })?,
        partitions: each(&partitions, |row| {
            let id: i16 = get(row, 0)?;
            Ok(Owned {
                partition: Partition {
                    id: u8::try_from(id).unwrap_or(u8::MAX),
                    epoch: uint(get(row, 1)?),
                },
                owner: get(row, 2)?,
                lease_left_ms: get(row, 3)?,
                log_seq: uint(get(row, 4)?),
                watermark: uint(get(row, 5)?),
            })
        })?,
    })
}
