//! The store that is configured: a file beside this process, or a database.

mod written;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_driver::StoreError;
use baton_engine::Level;
use baton_engine::definition::rfc3339;
use baton_store::moving::{MoveError, move_into};
use baton_store::postgres::{self, PostgresStatus};
use baton_store::{
    AnyAlerts, AnyAudit, AnyCloseError, AnyLetters, AnyOpenError, AnyReader, AnyReservations,
    AnyStore, AnySuspects, AnyTokens, AnyTriggers, AuditLog as _, Counts, ExportError, Layout,
    PostgresCluster, PostgresError, PostgresOptions, PostgresReader, Reader as _, SqliteAudit,
    SqliteOptions, SqliteReader, SqliteStore,
};
use serde_json::{Value, json};

use crate::chain::chain;
use crate::cluster::Home;
use crate::config::{Config, StoreKind};
use crate::token::TokenError;
use written::Act;

/// Pause before a database that did not answer is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be opened.
    #[error(transparent)]
    Store(#[from] AnyOpenError),
    /// The file with the password cannot be read.
    #[error("open store: read store.password_file {}", path.display())]
    Password {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A store that is open, with all that is used of it beside the drivers.
pub(crate) struct Opened {
    pub(crate) home: Home,
    pub(crate) layout: Arc<Layout>,
    pub(crate) reader: AnyReader,
    pub(crate) tokens: AnyTokens,
    pub(crate) suspects: AnySuspects,
    pub(crate) letters: AnyLetters,
    pub(crate) audit: AnyAudit,
    pub(crate) alerts: AnyAlerts,
    pub(crate) tables: AnyTriggers,
    pub(crate) book: AnyReservations,
}

/// Opens it: a file as its owner, a database as one who may share it.
///
/// # Errors
/// [`OpenError`], saying what to do.
pub(crate) async fn open(config: &Config) -> Result<Opened, OpenError> {
    match config.store.kind {
        StoreKind::Sqlite => {
            let store = released(&config.database(), taken).await;
            let store = store.map_err(AnyOpenError::from)?;
            Ok(Opened {
                layout: Arc::new(Layout::one()),
                reader: AnyReader::Sqlite(store.reader()),
                tokens: AnyTokens::Sqlite(store.tokens()),
                suspects: AnySuspects::Sqlite(store.suspects()),
                letters: AnyLetters::Sqlite(store.letters()),
                audit: AnyAudit::Sqlite(store.audit()),
                alerts: AnyAlerts::Sqlite(store.alerts()),
                tables: AnyTriggers::Sqlite(store.triggers()),
                book: AnyReservations::Sqlite(store.reservations()),
                home: Home::File(Box::new(store)),
            })
        }
        StoreKind::Postgres => {
            let cluster = reached(&options(config)?, config.store.partitions).await;
            let cluster = cluster.map_err(AnyOpenError::from)?;
            Ok(Opened {
                layout: cluster.layout(),
                reader: AnyReader::Postgres(cluster.reader()),
                tokens: AnyTokens::Postgres(cluster.tokens()),
                suspects: AnySuspects::Postgres(cluster.suspects()),
                letters: AnyLetters::Postgres(cluster.letters()),
                audit: AnyAudit::Postgres(cluster.audit()),
                alerts: AnyAlerts::Postgres(cluster.alerts()),
                tables: AnyTriggers::Postgres(cluster.triggers()),
                book: AnyReservations::Postgres(cluster.reservations()),
                home: Home::Database(Box::new(cluster)),
            })
        }
    }
}

/// As its owner.
fn taken(path: &Path) -> Result<SqliteStore, baton_store::OpenError> {
    SqliteStore::open(path, SqliteOptions::default())
}

/// A file somebody else holds is waited for: a backup or a shell lets go of it.
async fn released<T>(
    path: &Path,
    open: impl Fn(&Path) -> Result<T, baton_store::OpenError>,
) -> Result<T, baton_store::OpenError> {
    let mut said = false;
    loop {
        match open(path) {
            Err(error) if error.is_held() => {
                if !said {
                    tracing::warn!(store = %path.display(), error = %chain(&error), "another program holds the database (a backup, a shell with an open transaction?); it is tried again until that lets go");
                    said = true;
                }
                tokio::time::sleep(AGAIN).await;
            }
            opened => return opened,
        }
    }
}

/// A server that does not answer is waited for, as a broker is: it may be starting, or on its way back.
async fn reached(
    options: &PostgresOptions,
    partitions: Option<u8>,
) -> Result<PostgresCluster, PostgresError> {
    let mut said = false;
    loop {
        match PostgresCluster::open(options, partitions, &announced()).await {
            Err(error) if error.is_unreachable() => {
                if !said {
                    tracing::warn!(error = %chain(&error), "the database does not answer; it is tried again until it does");
                    said = true;
                }
                tokio::time::sleep(AGAIN).await;
            }
            opened => return opened,
        }
    }
}

/// The version of this program, and what it reads.
pub(crate) fn announced() -> String {
    Level::announced(env!("CARGO_PKG_VERSION"))
}

/// How the database is reached.
///
/// # Errors
/// [`OpenError::Password`].
pub fn options(config: &Config) -> Result<PostgresOptions, OpenError> {
    let store = &config.store;
    let password = match &store.password_file {
        None => None,
        Some(path) => {
            let read = std::fs::read_to_string(path);
            let text = read.map_err(|source| OpenError::Password {
                path: path.clone(),
                source,
            })?;
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
    };
    Ok(PostgresOptions {
        url: store.url.clone().unwrap_or_default(),
        password,
        ca_file: store.tls.ca_file.clone(),
        cert_file: store.tls.cert_file.clone(),
        key_file: store.tls.key_file.clone(),
        owner: Some(config.instance().to_owned()),
        readers: store.readers,
        connect_timeout_ms: store.connect_timeout_ms,
        statement_timeout_ms: store.statement_timeout_ms,
        lease_ms: store.lease_ms,
    })
}

/// How things stand in the store, for people; changes nothing.
///
/// # Errors
/// [`StatusError`].
pub async fn status(config: &Config) -> Result<String, StatusError> {
    let (mut text, reader) = match config.store.kind {
        StoreKind::Sqlite => {
            let path = config.database();
            let reader = SqliteReader::open(&path, &SqliteOptions::default());
            let reader = reader.map_err(AnyOpenError::from)?;
            let text = format!("store       {} (SQLite)\n", path.display());
            (text, AnyReader::Sqlite(reader))
        }
        StoreKind::Postgres => {
            let options = options(config)?;
            let text = told(
                &postgres::status(&options)
                    .await
                    .map_err(AnyOpenError::from)?,
            );
            let reader = PostgresReader::open(&options).await;
            match reader {
                // no tables yet, or older ones: there is nothing to count
                Err(PostgresError::Older { .. }) => return Ok(text),
                reader => (
                    text,
                    AnyReader::Postgres(reader.map_err(AnyOpenError::from)?),
                ),
            }
        }
    };
    let (counts, sizes) = (reader.counts().await?, reader.sizes().await?);
    for (status, n) in &counts.sagas {
        text += &format!("sagas       {n} {}\n", status.as_str());
    }
    if counts.purged > 0 {
        text += &format!("sagas       {} purged\n", counts.purged);
    }
    text += &format!(
        "records     {}\nunsent      {}\nwork items  {} open\ndead        {}\nbytes       {}\n",
        counts.log_rows,
        counts.unsent,
        counts.work_items_open,
        counts.dead_letters,
        counts.db_bytes
    );
    text += &format!(
        "events      {}\noldest end  {}\nretention   {}\n",
        sizes.events,
        sizes
            .oldest_ended
            .map_or_else(|| "none".to_owned(), rfc3339),
        kept(config),
    );
    Ok(text)
}

/// What becomes of ended sagas, in words.
fn kept(config: &Config) -> String {
    match config.retention() {
        None => "off: ended sagas stay".to_owned(),
        Some(policy) => {
            let after = &config.retention.ended_sagas;
            let into = policy.archive.map_or_else(
                || "archived nowhere".to_owned(),
                |folder| format!("archived in {}", folder.display()),
            );
            format!("{after} after their end, {into}")
        }
    }
}

fn told(status: &PostgresStatus) -> String {
    let mut text = format!("store       {} (PostgreSQL)\n", status.place);
    text += &match (status.version, status.version_known) {
        (0, _) => {
            "tables      none yet: `baton-orchestrator store migrate` makes them\n".to_owned()
        }
        (found, known) if found < known => format!(
            "tables      version {found}; this program writes {known}: `baton-orchestrator store migrate` brings them there\n"
        ),
        (found, known) if found > known => {
            format!("tables      version {found}, newer than this program's {known}\n")
        }
        (found, _) => format!("tables      version {found}\n"),
    };
    for one in &status.partitions {
        let lease = match one.lease_left_ms {
            None => "given up".to_owned(),
            Some(left) if left <= 0 => format!("its lease ended {} ms ago", -left),
            Some(left) => format!("leased for {left} ms more"),
        };
        if one.partition.epoch == 0 {
            text += &format!(
                "partition   {}: nobody has driven it yet\n",
                one.partition.id
            );
            continue;
        }
        text += &format!(
            "partition   {}: {}, epoch {}, {lease}\n",
            one.partition.id, one.owner, one.partition.epoch
        );
    }
    text
}

/// Brings the tables to this version, and writes that into the audit log; answers what was done, in a sentence. `by`: on whose behalf.
///
/// # Errors
/// [`StatusError`].
pub async fn migrate(config: &Config, by: Option<&str>) -> Result<String, StatusError> {
    let act = Act::new(config, "migrateStore", by, Value::Null);
    let done = |before: u32, now: u32| {
        let act = act.stood(json!({ "version": before }));
        vec![act.done(None, json!({ "version": now }))]
    };
    match config.store.kind {
        StoreKind::Sqlite => {
            crate::token::make_folder(&config.store.data_dir)?;
            let path = config.database();
            let version = |path: &Path| SqliteReader::version_of(path, &SqliteOptions::default());
            let before = released(&path, version).await.map_err(AnyOpenError::from)?;
            let store = released(&path, taken).await.map_err(AnyOpenError::from)?;
            let rows = done(before, SqliteReader::version_known());
            let written = store.audit().append(rows).await;
            AnyStore::Sqlite(store).close().await?;
            written?;
            Ok(format!(
                "{}: its tables are those of this version",
                path.display()
            ))
        }
        StoreKind::Postgres => {
            let options = options(config)?;
            let migrated = postgres::migrate(&options).await;
            let (status, before) = migrated.map_err(AnyOpenError::from)?;
            let log = postgres::audit_log(&options).map_err(AnyOpenError::from)?;
            log.append(done(before, status.version)).await?;
            Ok(if before == status.version {
                format!("{}: its tables have version {before} already", status.place)
            } else {
                format!(
                    "{}: its tables have version {}; it was {before}",
                    status.place, status.version
                )
            })
        }
    }
}

/// Writes the whole SQLite store into a file that is not there yet, also while an orchestrator has it, and into its audit log who did so, before and after; answers
/// what to do with it, in a sentence. `by`: on whose behalf.
///
/// # Errors
/// [`StatusError`], also where the log cannot be written: then nothing was copied.
pub async fn export(config: &Config, into: &Path, by: Option<&str>) -> Result<String, StatusError> {
    if config.store.kind != StoreKind::Sqlite {
        return Err(StatusError::NoFileStore);
    }
    let (path, options) = (config.database(), SqliteOptions::default());
    let reader = SqliteReader::open(&path, &options).map_err(AnyOpenError::from)?;
    let asked = json!({ "file": into.display().to_string() });
    let act = Act::new(config, "exportStore", by, asked).stood(told_of(&reader.counts().await?));
    let asked = SqliteAudit::append_beside(&path, &options, vec![act.asked()]);
    let asked = asked.map_err(AnyOpenError::from)?;
    let exported = reader.export(into).await;
    let after = match &exported {
        Ok(()) => json!({ "bytes": std::fs::metadata(into).ok().map(|file| file.len()) }),
        Err(error) => json!({ "failed": chain(error) }),
    };
    let done = act.done(asked.last().map(|row| row.seq), after);
    if let Err(error) = SqliteAudit::append_beside(&path, &options, vec![done]) {
        tracing::warn!(error = %chain(&error), "what came of the export is not in the audit log; that it was asked for is there");
    }
    exported?;
    Ok(format!(
        "{} is the whole store as it was a moment ago. As a backup it is put back as {} while no orchestrator runs",
        into.display(),
        path.display()
    ))
}

/// How much there is in a store, for its audit log.
fn told_of(counts: &Counts) -> Value {
    json!({
        "version": SqliteReader::version_known(),
        "sagas": counts.sagas.values().sum::<u64>() + counts.purged,
        "records": counts.log_rows,
        "dead_letters": counts.dead_letters,
    })
}

/// Takes everything from a SQLite file into the database that is configured, which has to be empty, and writes that into its audit log behind what the file has;
/// answers what was moved, in a sentence. `by`: on whose behalf.
///
/// # Errors
/// [`StatusError`].
pub async fn import(config: &Config, file: &Path, by: Option<&str>) -> Result<String, StatusError> {
    if config.store.kind != StoreKind::Postgres {
        return Err(StatusError::NoDatabase);
    }
    // a file that is not there would be made
    std::fs::metadata(file).map_err(|source| StatusError::NoFile {
        path: file.to_path_buf(),
        source,
    })?;
    let from = SqliteStore::open_to_move(file, SqliteOptions::default());
    let mut from = from.map_err(AnyOpenError::from)?;
    // under a name of its own: an orchestrator of this configuration may be running on the database
    let mut options = options(config)?;
    options.owner = Some(format!("import by {}", config.instance()));
    let into = PostgresCluster::open(&options, config.store.partitions, &announced()).await;
    let into = into.map_err(AnyOpenError::from)?;
    let (place, partitions) = (file.display(), into.layout().count());
    let act = Act::new(
        config,
        "importStore",
        by,
        json!({ "file": place.to_string() }),
    );
    let act = act.stood(json!({ "sagas": 0, "records": 0, "events": 0 }));
    let moved = move_into(&mut from, &into, |moved| {
        let after = json!({
            "sagas": moved.sagas, "records": moved.log_rows, "events": moved.events, "partitions": partitions,
        });
        vec![act.done(None, after)]
    });
    let moved = moved.await;
    into.close();
    let moved = moved?;
    AnyStore::Sqlite(from).close().await?;
    Ok(format!(
        "moved {} sagas, {} records and {} events from {place} into {partitions} partitions. Start the orchestrator on the database now. No orchestrator takes the file any more: keep it aside",
        moved.sagas, moved.log_rows, moved.events
    ))
}

/// Why nothing could be said or done about a store.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// It did not close in order.
    #[error(transparent)]
    Close(#[from] AnyCloseError),
    /// It was not moved.
    #[error(transparent)]
    Move(#[from] MoveError),
    /// There is nothing to import into.
    #[error("import: store.kind is sqlite; set it to postgres, and store.url to an empty database")]
    NoDatabase,
    /// It was not copied.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A database has means of its own.
    #[error(
        "export: store.kind is postgres; pg_dump --format=custom copies a database whole, also while the orchestrator runs"
    )]
    NoFileStore,
    /// There is nothing to import.
    #[error("import: {} cannot be read; it is <data_dir>/baton.db of the orchestrator that was stopped", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No folder for it.
    #[error(transparent)]
    Folder(#[from] TokenError),
}

impl From<AnyOpenError> for StatusError {
    fn from(source: AnyOpenError) -> Self {
        Self::Open(source.into())
    }
}
