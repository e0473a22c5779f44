//! What an error of the database means. Everything rests on one distinction: what the server answers is certain (nothing of a statement it
//! refuses is there); a connection that ended, or a time limit that passed, while a statement was under way is not.

use std::time::Duration;

use baton_driver::store::BoxError;
use baton_driver::{CommitError, StoreError};
use deadpool_postgres::PoolError;
use tokio_postgres::Row;
use tokio_postgres::error::Severity;

/// What the fence raises.
const FENCED: &str = "BT001";
/// Classes of SQLSTATE that mean the rows themselves: data exceptions, constraints, one row twice in one statement, limits of the program.
const OF_DATA: [&str; 4] = ["22", "23", "21", "54"];

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Another owner.
    #[error("another orchestrator owns the partition")]
    Fenced,
    /// Another server than before, or one that holds less than was committed.
    #[error(
        "the database is not the one that was spoken to before, or holds less than was committed; the partition is read anew"
    )]
    Anew,
    /// No connection.
    #[error("no connection to the database; it is tried again")]
    Pool(#[source] PoolError),
    /// The database refuses, or its connection is gone.
    #[error("the database refuses, or the connection to it ended")]
    Sql(#[source] tokio_postgres::Error),
    /// A value cannot be written into a statement: it never left.
    #[error("a value cannot be written into the statement")]
    Values(#[source] tokio_postgres::Error),
    /// A value cannot be JSON.
    #[error("a value cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    /// No answer in time.
    #[error("no answer from the database within {} ms", .0.as_millis())]
    Late(Duration),
    /// A row holds what this version cannot read.
    #[error("column `{column}`: {what}")]
    Misfit {
        /// Which.
        column: String,
        /// What is wrong.
        what: String,
    },
}

impl From<tokio_postgres::Error> for Fault {
    fn from(source: tokio_postgres::Error) -> Self {
        match source.code() {
            Some(code) if code.code() == FENCED => Self::Fenced,
            Some(_) | None => Self::Sql(source),
        }
    }
}

impl From<PoolError> for Fault {
    fn from(source: PoolError) -> Self {
        Self::Pool(source)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(source: serde_json::Error) -> Self {
        Self::Json(source)
    }
}

impl Fault {
    /// A row that cannot be read.
    pub(crate) fn misfit(row: &Row, column: usize, what: String) -> Self {
        let column = row.columns().get(column);
        Self::Misfit {
            column: column.map_or_else(|| "?".to_owned(), |column| column.name().to_owned()),
            what,
        }
    }

    /// Whether the connection can be used after it: the server has answered, and still listens.
    pub(crate) fn leaves_the_connection(&self) -> bool {
        match self {
            Self::Sql(source) => answered(source) && !source.is_closed(),
            Self::Fenced | Self::Anew | Self::Json(_) | Self::Values(_) | Self::Misfit { .. } => {
                true
            }
            Self::Pool(_) | Self::Late(_) => false,
        }
    }

    /// Whether the rows are at fault: the same batch would fail on any other day as well.
    fn of_data(&self) -> bool {
        match self {
            Self::Json(_) | Self::Values(_) => true,
            Self::Sql(source) => source
                .code()
                .is_some_and(|code| OF_DATA.iter().any(|class| code.code().starts_with(class))),
            Self::Fenced | Self::Anew | Self::Pool(_) | Self::Late(_) | Self::Misfit { .. } => {
                false
            }
        }
    }

    /// In the driver's words, when it is certain that nothing was written.
    pub(crate) fn before_commit(self, partition: u8, epoch: u64) -> CommitError {
        if matches!(self, Self::Fenced) {
            return CommitError::Fenced { partition, epoch };
        }
        let data = self.of_data();
        let source = BoxError::from(self);
        if data {
            CommitError::Data { partition, source }
        } else {
            CommitError::Failed { partition, source }
        }
    }

    /// In the driver's words, when the batch was under way: certain only if the server has answered and goes on.
    pub(crate) fn of_commit(self, partition: u8, epoch: u64) -> CommitError {
        let certain = match &self {
            Self::Sql(source) => answered(source),
            Self::Fenced | Self::Anew | Self::Json(_) | Self::Values(_) | Self::Pool(_) => true,
            Self::Late(_) | Self::Misfit { .. } => false,
        };
        if certain {
            return self.before_commit(partition, epoch);
        }
        CommitError::Unknown {
            partition,
            source: BoxError::from(self),
        }
    }

    /// As an error of a read.
    pub(crate) fn read(self, what: impl Into<String>) -> StoreError {
        StoreError {
            what: what.into(),
            source: Box::new(self),
        }
    }
}

/// Whether an error says that a row is there and holds what this version cannot read.
pub(crate) fn is_misfit(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(Fault::Misfit { .. }))
}

/// Whether the server has answered this statement and lives on: a backend that is being ended says so as its last word, whatever it had done.
fn answered(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|answer| match answer.parsed_severity() {
            Some(Severity::Fatal | Severity::Panic) => false,
            Some(_) => true,
            None => !["FATAL", "PANIC"].contains(&answer.severity()),
        })
}
