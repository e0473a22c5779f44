//! Opening the database: the server's version, the tables' version, migrations under a lock, and the reasons why it could not be done.

use std::path::PathBuf;

use deadpool_postgres::{BuildError, Object};
use refinery::{Migration, Runner};

use super::fault::Fault;

/// The tables, version by version; what was released is never edited.
const MIGRATIONS: [(&str, &str); 13] = [
    (
        "V1__init",
        include_str!("../../migrations/postgres/V1__init.sql"),
    ),
    (
        "V2__members",
        include_str!("../../migrations/postgres/V2__members.sql"),
    ),
    (
        "V3__retention",
        include_str!("../../migrations/postgres/V3__retention.sql"),
    ),
    (
        "V4__replay",
        include_str!("../../migrations/postgres/V4__replay.sql"),
    ),
    (
        "V5__dead_letters",
        include_str!("../../migrations/postgres/V5__dead_letters.sql"),
    ),
    (
        "V6__audit",
        include_str!("../../migrations/postgres/V6__audit.sql"),
    ),
    (
        "V7__outcomes",
        include_str!("../../migrations/postgres/V7__outcomes.sql"),
    ),
    (
        "V8__tries",
        include_str!("../../migrations/postgres/V8__tries.sql"),
    ),
    (
        "V9__arrivals",
        include_str!("../../migrations/postgres/V9__arrivals.sql"),
    ),
    (
        "V10__reservations",
        include_str!("../../migrations/postgres/V10__reservations.sql"),
    ),
    (
        "V11__assigned",
        include_str!("../../migrations/postgres/V11__assigned.sql"),
    ),
    (
        "V12__hot_path",
        include_str!("../../migrations/postgres/V12__hot_path.sql"),
    ),
    (
        "V13__owed_and_carried",
        include_str!("../../migrations/postgres/V13__owed_and_carried.sql"),
    ),
];
/// Where it stands which of them were applied.
const HISTORY: &str = "baton_schema_history";
/// The advisory lock under which they are applied: "BATN", then a word for this use.
const MIGRATING: i64 = 0x4241_544e_0000_0001;
/// The oldest server whose SQL is ours: PostgreSQL 13.
const SERVER_MIN: i32 = 130_000;

/// Why a store in PostgreSQL could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The address cannot be read.
    #[error(
        "open store: store.url is no address of a PostgreSQL server; it looks like postgres://user@host:5432/database"
    )]
    Address,
    /// A file cannot be read.
    #[error("open store: read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("open store: TLS: {why}")]
    Tls {
        /// Why.
        why: String,
    },
    /// The connections cannot be pooled.
    #[error("open store: pool the connections")]
    Pool {
        /// Why.
        #[source]
        source: BuildError,
    },
    /// The database cannot be used.
    #[error("open store at {place}: {doing}")]
    Database {
        /// Hosts and database.
        place: String,
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server is too old.
    #[error("open store at {place}: its server has version {found}; 13 is the oldest that is used")]
    Server {
        /// Hosts and database.
        place: String,
        /// Its version.
        found: String,
    },
    /// The tables were written by a newer version.
    #[error(
        "open store at {place}: its tables have version {found}, this program knows {known} at most. Use the newer program, or a backup made \
         before it was upgraded; nothing was changed"
    )]
    Newer {
        /// Hosts and database.
        place: String,
        /// Their version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// There are no tables yet, or older ones, and none are to be made.
    #[error(
        "open store at {place}: its tables have version {found}, not {known}. Run `baton-orchestrator store migrate`, or start the orchestrator once"
    )]
    Older {
        /// Hosts and database.
        place: String,
        /// Their version; 0 when there are none.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Another orchestrator has it.
    #[error(
        "open store at {place}: {owner} owns partition {partition} and renews its lease. Stop that one first, or give this one a database of its own"
    )]
    Owned {
        /// Hosts and database.
        place: String,
        /// Which partition.
        partition: u8,
        /// Who.
        owner: String,
    },
    /// Slices lie where nobody looks.
    #[error(
        "open store at {place}: {slices} of its slices lie in partitions that cannot be driven. After an import that was not finished, drop the database, make it anew and import again; an import needs a database that no orchestrator was ever started on"
    )]
    Partitions {
        /// Hosts and database.
        place: String,
        /// How many.
        slices: i64,
    },
}

impl PostgresError {
    /// Whether no server answered at all: it may be starting, or on its way back.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        let mut below: Option<&(dyn std::error::Error + 'static)> = Some(source.as_ref());
        while let Some(error) = below {
            if let Some(error) = error.downcast_ref::<tokio_postgres::Error>() {
                // whatever a server says is its answer, unless it says that it is starting or ending
                return error
                    .code()
                    .is_none_or(|code| code.code().starts_with("57P"));
            }
            below = error.source();
        }
        // the time to connect was over
        true
    }
}

/// The version of the tables this program writes.
pub(crate) const fn version_known() -> u32 {
    let name = MIGRATIONS[MIGRATIONS.len() - 1].0.as_bytes();
    let (mut place, mut version) = (1, 0);
    // as far as the digits behind the V go
    while name[place].is_ascii_digit() {
        version = version * 10 + (name[place] - b'0') as u32;
        place += 1;
    }
    version
}

/// Says what could not be done.
pub(crate) fn failed(place: &str, doing: &'static str) -> impl FnOnce(Fault) -> PostgresError {
    move |source| PostgresError::Database {
        place: place.to_owned(),
        doing,
        source: Box::new(source),
    }
}

/// Refuses a server that is too old.
pub(crate) async fn check_server(client: &Object, place: &str) -> Result<(), PostgresError> {
    let read = async {
        let row = client
            .query_one(
                "SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_setting('fsync')::bool",
                &[],
            )
            .await?;
        Ok::<_, Fault>((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
    };
    let (number, found, fsync): (i32, String, bool) =
        read.await.map_err(failed(place, "ask for its version"))?;
    if number < SERVER_MIN {
        let place = place.to_owned();
        return Err(PostgresError::Server { place, found });
    }
    if !fsync {
        tracing::warn!(
            database = place,
            "the server runs with fsync=off: after a power cut it may have lost what was committed, and sagas with it"
        );
    }
    Ok(())
}

/// The version of the tables; 0 when there are none.
pub(crate) async fn version(client: &Object, place: &str) -> Result<u32, PostgresError> {
    let read = async {
        let there = client
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&HISTORY])
            .await?;
        if !there.try_get(0)? {
            return Ok(0);
        }
        let sql = format!("SELECT coalesce(max(version), 0)::bigint FROM {HISTORY}");
        let found: i64 = client.query_one(&sql, &[]).await?.try_get(0)?;
        Ok::<_, Fault>(u32::try_from(found).unwrap_or(u32::MAX))
    };
    read.await
        .map_err(failed(place, "ask for the version of its tables"))
}

/// Whether these tables can be used as they are.
pub(crate) fn check_version(found: u32, place: &str) -> Result<(), PostgresError> {
    let (place, known) = (place.to_owned(), version_known());
    match found.cmp(&known) {
        std::cmp::Ordering::Greater => Err(PostgresError::Newer {
            place,
            found,
            known,
        }),
        std::cmp::Ordering::Less => Err(PostgresError::Older {
            place,
            found,
            known,
        }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

/// Brings the tables to this version, one process at a time; answers the versions before and after.
pub(crate) async fn migrate(client: &mut Object, place: &str) -> Result<(u32, u32), PostgresError> {
    let known = version_known();
    let before = version(client, place).await?;
    if before == known {
        return Ok((before, known));
    }
    let place_of = place.to_owned();
    if before > known {
        return Err(PostgresError::Newer {
            place: place_of,
            found: before,
            known,
        });
    }
    let lock = client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATING]);
    lock.await.map_err(|source| {
        failed(place, "wait for another process that migrates its tables")(source.into())
    })?;
    let applied = apply(client).await;
    // the lock ends with the session as well
    let unlock = client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATING]);
    let unlocked = unlock.await;
    applied.map_err(|source| PostgresError::Database {
        place: place_of,
        doing: "bring its tables to this version",
        source: Box::new(source),
    })?;
    unlocked.map_err(|source| failed(place, "end the lock of the migration")(source.into()))?;
    tracing::info!(database = place, before, now = known, "tables migrated");
    Ok((before, known))
}

/// One transaction for all of them. Whoever comes second finds nothing left to do.
async fn apply(client: &mut Object) -> Result<(), refinery::Error> {
    let plain: &mut tokio_postgres::Client = client;
    runner()?.run_async(plain).await?;
    Ok(())
}

/// As an older program leaves a database whose tables it makes.
#[cfg(test)]
pub(crate) async fn make_as_of(
    client: &mut tokio_postgres::Client,
    version: i32,
) -> Result<(), refinery::Error> {
    let runner = runner()?.set_target(refinery::Target::Version(version));
    runner.run_async(client).await?;
    Ok(())
}

fn runner() -> Result<Runner, refinery::Error> {
    let migrations = MIGRATIONS
        .iter()
        .map(|(name, sql)| Migration::unapplied(name, sql))
        .collect::<Result<Vec<_>, _>>()?;
    let mut runner = Runner::new(&migrations).set_grouped(true);
    runner.set_migration_table_name(HISTORY);
    Ok(runner)
}
