//! A copy of the whole file as it stood at one moment, made while the orchestrator goes on: what a backup is, and what is imported elsewhere.
//!
//! A copy that is there under its name is whole and on the disk; one that was not finished lies beside it under another name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use baton_driver::StoreError;

use super::SqliteReader;

/// Only whoever runs the orchestrator reads it: inputs and outputs of sagas are in it.
const MODE: u32 = 0o600;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Something is there.
    #[error("export store: {} is there already. Name a file that is not; nothing was changed", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The copy cannot be written.
    #[error("export store: write {}. The folder has to exist, be writable and have room for the whole store", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store cannot be read, or its copy not be written.
    #[error("export store")]
    Store(#[from] StoreError),
}

impl SqliteReader {
    /// Writes the whole store into a file that is not there yet, as it is at this moment. The owner goes on meanwhile; its log only grows, since
    /// it cannot be taken into the file before the copy is done.
    ///
    /// # Errors
    /// [`ExportError`]; then there is no file under that name.
    pub async fn export(&self, into: &Path) -> Result<(), ExportError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| ExportError::File { path, source }
        };
        if into.try_exists().map_err(failed(into))? {
            return Err(ExportError::Exists {
                path: into.to_path_buf(),
            });
        }
        let mut part = into.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        // SQLite writes into an empty file as into none, and this one nobody else can read
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(&part)
            .map_err(failed(&part))?;
        let name = part.to_string_lossy().into_owned();
        let copied = self.read("the whole store, to copy it", move |conn| {
            conn.execute("VACUUM INTO ?1", [name]).map(drop)
        });
        if let Err(error) = copied.await {
            // half a copy is of no use to anybody
            let _ = fs::remove_file(&part);
            return Err(error.into());
        }
        settle(&part, into).map_err(failed(into))
    }
}

/// Gives the copy its name once it is on the disk.
fn settle(part: &Path, into: &Path) -> io::Result<()> {
    File::open(part)?.sync_all()?;
    fs::rename(part, into)?;
    let folder = into
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
