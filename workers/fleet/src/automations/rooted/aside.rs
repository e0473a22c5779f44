//! Putting a file or a folder aside, whole, by one rename into a trash below its root, and back.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, RenameFlags, fsync, mkdirat, openat, renameat_with, statat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{FOLDER, Place, PlaceError, system};

/// The trash, below each root.
const TRASH: &str = ".baton-trash";
/// How long what was put aside is kept.
pub(crate) const TRASH_KEPT_DAYS: u64 = 7;
/// The most a folder may hold to be put aside.
const ENTRIES_MAX: u64 = 100_000;
/// Likewise, in bytes.
const BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// What kind of thing stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
}

/// One thing, which stays itself when it is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Thing {
    pub(crate) kind: Kind,
    device: u64,
    inode: u64,
}

impl Place {
    /// What stands here, if anything does.
    pub(crate) fn thing(&self) -> Result<Option<Thing>, PlaceError> {
        thing_at(&self.folder, &self.name)?.map_or(Ok(None), |found| {
            found.map_or_else(
                || Err(PlaceError::NoFile(self.path.clone())),
                |t| Ok(Some(t)),
            )
        })
    }

    /// How many entries and bytes stand here; an error when that is too much.
    pub(crate) fn measured(&self) -> Result<(u64, u64), PlaceError> {
        let mut sum = (0, 0);
        let mut waiting = vec![self.real_path()?];
        while let Some(path) = waiting.pop() {
            let failed = |source| PlaceError::System {
                doing: "it cannot be measured",
                source,
            };
            let about = std::fs::symlink_metadata(&path).map_err(failed)?;
            sum.0 += 1;
            sum.1 += about.len();
            if sum.0 > ENTRIES_MAX || sum.1 > BYTES_MAX {
                return Err(PlaceError::TooMuch {
                    path: self.path.clone(),
                    entries_max: ENTRIES_MAX,
                    bytes_max: BYTES_MAX,
                });
            }
            if about.is_dir() {
                for entry in std::fs::read_dir(&path).map_err(failed)? {
                    waiting.push(entry.map_err(failed)?.path());
                }
            }
        }
        Ok(sum)
    }

    /// What was put aside under this mark, if it is there.
    pub(crate) fn aside(&self, mark: &str) -> Result<Option<Thing>, PlaceError> {
        match openat(CWD, self.trash(), FOLDER, Mode::empty()) {
            Ok(trash) => Ok(thing_at(&trash, mark.as_ref())?.flatten()),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(system("the trash cannot be opened")(errno)),
        }
    }

    /// Puts what stands here aside, under this mark.
    pub(crate) fn put_aside(&self, mark: &str) -> Result<(), PlaceError> {
        let trash = self.trash();
        match mkdirat(CWD, &trash, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(system("the trash cannot be made")(errno)),
        }
        let trash = openat(CWD, &trash, FOLDER, Mode::empty())
            .map_err(system("the trash cannot be opened"))?;
        let only = RenameFlags::NOREPLACE;
        renameat_with(&self.folder, &self.name, &trash, mark, only).map_err(
            |errno| match errno {
                Errno::XDEV => PlaceError::OtherSystem(self.path.clone()),
                Errno::NOENT => PlaceError::Missing(self.path.clone()),
                errno => system("it cannot be put aside")(errno),
            },
        )?;
        fsync(&trash).map_err(system("the trash cannot be synced"))?;
        self.sync()
    }

    /// Puts what lies aside under this mark back here, where nothing may stand.
    pub(crate) fn put_back(&self, mark: &str) -> Result<(), PlaceError> {
        let trash = openat(CWD, self.trash(), FOLDER, Mode::empty())
            .map_err(system("the trash cannot be opened"))?;
        let only = RenameFlags::NOREPLACE;
        renameat_with(&trash, mark, &self.folder, &self.name, only).map_err(
            |errno| match errno {
                Errno::EXIST => PlaceError::Occupied(self.path.clone()),
                errno => system("it cannot be put back")(errno),
            },
        )?;
        fsync(&trash).map_err(system("the trash cannot be synced"))?;
        self.sync()
    }

    /// Takes away for good what was put aside long ago; what cannot be taken away now is met again next time.
    pub(crate) fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(self.trash()) else {
            return;
        };
        let kept = Duration::from_secs(TRASH_KEPT_DAYS * 24 * 3600);
        for entry in entries.flatten() {
            if is_older(&entry.path(), kept) {
                let path = entry.path();
                let _ = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    std::fs::remove_dir_all(path)
                } else {
                    std::fs::remove_file(path)
                };
            }
        }
    }

    fn trash(&self) -> PathBuf {
        self.root.join(TRASH)
    }
}

/// Whether the last change of the entry itself, which is when it was renamed here, was that long ago.
fn is_older(path: &Path, age: Duration) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(about) = std::fs::symlink_metadata(path) else {
        return false;
    };
    let changed = Duration::from_secs(u64::try_from(about.ctime()).unwrap_or_default());
    SystemTime::UNIX_EPOCH
        .checked_add(changed + age)
        .is_some_and(|then| then < SystemTime::now())
}

/// What is there: nothing, something of another kind (a socket, a device), or a thing.
fn thing_at(
    folder: &std::os::fd::OwnedFd,
    name: &std::ffi::OsStr,
) -> Result<Option<Option<Thing>>, PlaceError> {
    let about = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(about) => about,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(system("it cannot be looked at")(errno)),
    };
    let kind = match FileType::from_raw_mode(about.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        _ => return Ok(Some(None)),
    };
    Ok(Some(Some(Thing {
        kind,
        device: about.st_dev,
        inode: about.st_ino,
    })))
}
