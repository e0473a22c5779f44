//! Ownership of the file: an operating system lock on a file beside it. It ends with the process, however that ends, so there is
//! nothing to clean up; what stands in it is for people only.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::schema::OpenError;

/// How much of a lock file is read to name its owner.
const OWNER_BYTES_MAX: u64 = 400;

/// Held for as long as the store is open.
#[derive(Debug)]
pub(crate) struct FileLock {
    file: File,
}

impl Drop for FileLock {
    /// Unlocks by name: a child that was just forked has the same open file until it becomes another program, and would keep the lock.
    fn drop(&mut self) {
        if let Err(errno) = flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(error = %errno, "the store's lock file was not unlocked; its lock ends with the process");
        }
    }
}

impl FileLock {
    /// Locks `<path>.lock`, or says who has it.
    pub(crate) fn take(store: &Path) -> Result<Self, OpenError> {
        let path = lock_path(store);
        let failed = |source| OpenError::Lock {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(OpenError::Owned {
                    path: store.to_path_buf(),
                    owner: owner(&mut file),
                    lock: path,
                });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        write_owner(&mut file).map_err(failed)?;
        Ok(Self { file })
    }
}

/// This process, as people look for it.
pub(crate) fn process_and_host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!(
        "process {} on {}",
        std::process::id(),
        if host.is_empty() {
            "a host without a name"
        } else {
            host
        }
    )
}

fn lock_path(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn write_owner(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", process_and_host())
}

fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(OWNER_BYTES_MAX).read_to_string(&mut text);
    if read.is_err() || text.trim().is_empty() {
        return "a process that has not written its name yet".to_owned();
    }
    text.trim().to_owned()
}
