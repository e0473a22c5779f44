//! Files under the roots a worker's configuration allows, and nowhere else. Every folder on the way from a root is opened without following
//! links, and what is done to the file is done relative to the folder so opened: no link and no race leads out of a root.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, fchmod, fchown, fstat, fsync, openat,
    renameat_with, unlinkat,
};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use baton_worker::TaskError;

mod aside;
mod link;

pub(crate) use aside::{Kind, TRASH_KEPT_DAYS, Thing};
pub(crate) use link::Link;

/// The largest file read or written, in bytes: twice its base 64 still fits a checkpoint and a task.
pub(crate) const FILE_BYTES_MAX: u64 = 128 * 1024;

/// A root that cannot be written under.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Not absolute.
    #[error("{} is not absolute", .0.display())]
    Relative(PathBuf),
    /// Not there, or not to be read.
    #[error("{} cannot be opened; it has to be a folder this worker may use", path.display())]
    Open {
        /// The root.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why a file was not touched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("{} is under no root this worker may write under", .0.display())]
    Outside(PathBuf),
    #[error("{} goes through a link, or is no plain path", .0.display())]
    Crooked(PathBuf),
    #[error("{} is no regular file", .0.display())]
    NoFile(PathBuf),
    #[error("{} is there and is no symbolic link", .0.display())]
    NoLink(PathBuf),
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    #[error("{} was put there by somebody else meanwhile", .0.display())]
    Occupied(PathBuf),
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("{} holds more than {entries_max} entries or {bytes_max} bytes, too much to be put aside", path.display())]
    TooMuch {
        path: PathBuf,
        entries_max: u64,
        bytes_max: u64,
    },
    #[error("{} is on another file system than its root, and cannot be put aside whole", .0.display())]
    OtherSystem(PathBuf),
    #[error("its folder is not there")]
    NoFolder,
    #[error("{doing}: {source}")]
    System {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
}

impl PlaceError {
    /// As the failure of an attempt that has only looked.
    pub(crate) fn untouched(self) -> TaskError {
        let code = match &self {
            Self::Outside(_) => "outside-roots",
            Self::Crooked(_) => "not-plain",
            Self::NoFile(_) => "no-regular-file",
            Self::NoLink(_) => "no-link",
            Self::Missing(_) => "not-there",
            Self::Occupied(_) => "changed-by-somebody-else",
            Self::TooLarge(_) | Self::TooMuch { .. } => "too-large",
            Self::OtherSystem(_) => "other-file-system",
            Self::NoFolder => "no-folder",
            Self::System { .. } => {
                return TaskError::failed("file-system", self.to_string()).retryable();
            }
        };
        TaskError::failed(code, self.to_string())
    }

    /// As the end of an attempt that was changing something: a rename may have been made, and only its sync have failed.
    pub(crate) fn half_done(self) -> TaskError {
        match self {
            Self::Occupied(_) | Self::OtherSystem(_) | Self::Missing(_) => self.untouched(),
            _ => TaskError::unknown("file-system", self.to_string()),
        }
    }
}

/// What stands at `path` is neither what was there before nor what the step makes.
pub(crate) fn somebody_else(path: &str) -> TaskError {
    TaskError::failed(
        "changed-by-somebody-else",
        format!(
            "what stands at {path} is neither what was there before nor what this step makes: changed by somebody else"
        ),
    )
}

/// What becomes of a file that stands where another is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The other takes its place.
    Replaced,
    /// It stays, and the other is not put: of several that come at once one is first.
    Left,
}

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

/// What stands at a path. The owner is kept where a file is replaced, and never compared: a new file's is not known beforehand.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Absent,
    Present {
        content: Vec<u8>,
        mode: u32,
        owner: Option<Owner>,
    },
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absent, Self::Absent) => true,
            (
                Self::Present { content, mode, .. },
                Self::Present {
                    content: others,
                    mode: other_mode,
                    ..
                },
            ) => content == others && mode == other_mode,
            _ => false,
        }
    }
}

/// The roots, as they really are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roots(Vec<(PathBuf, PathBuf)>);

impl Roots {
    /// Looks at each root once: a root itself may be reached by links, what lies under it may not.
    pub(crate) fn new(roots: &[PathBuf]) -> Result<Self, RootError> {
        let real = |path: &PathBuf| {
            if !path.is_absolute() {
                return Err(RootError::Relative(path.clone()));
            }
            let open = |source| RootError::Open {
                path: path.clone(),
                source,
            };
            let real = path.canonicalize().map_err(open)?;
            openat(CWD, &real, FOLDER, Mode::empty()).map_err(|errno| open(errno.into()))?;
            Ok((path.clone(), real))
        };
        roots.iter().map(real).collect::<Result<_, _>>().map(Self)
    }

    /// The folder of `path`, opened link by link from its root, and the file's name in it.
    pub(crate) fn place(&self, path: &Path) -> Result<Place, PlaceError> {
        let below = self.0.iter().find_map(|(named, real)| {
            let rest = path
                .strip_prefix(named)
                .or_else(|_| path.strip_prefix(real));
            rest.ok().map(|rest| (real, rest))
        });
        let Some((root, rest)) = below else {
            return Err(PlaceError::Outside(path.to_owned()));
        };
        let crooked = || PlaceError::Crooked(path.to_owned());
        let mut names = Vec::new();
        for component in rest.components() {
            let Component::Normal(name) = component else {
                return Err(crooked());
            };
            names.push(name);
        }
        let name = names.pop().ok_or_else(crooked)?.to_owned();
        let mut folder = openat(CWD, root, FOLDER, Mode::empty()).map_err(|e| opening(e, path))?;
        for inner in names {
            folder = openat(&folder, inner, FOLDER, Mode::empty()).map_err(|e| opening(e, path))?;
        }
        Ok(Place {
            folder,
            name,
            path: path.to_owned(),
            root: root.clone(),
        })
    }
}

const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::RDONLY);

fn opening(errno: Errno, path: &Path) -> PlaceError {
    match errno {
        Errno::NOENT => PlaceError::NoFolder,
        Errno::LOOP | Errno::NOTDIR => PlaceError::Crooked(path.to_owned()),
        errno => system("its folder cannot be opened")(errno),
    }
}

fn system(doing: &'static str) -> impl Fn(Errno) -> PlaceError {
    move |errno| PlaceError::System {
        doing,
        source: errno.into(),
    }
}

fn in_std(doing: &'static str) -> impl Fn(io::Error) -> PlaceError {
    move |source| PlaceError::System { doing, source }
}

/// One file's place, whether there is a file or not.
#[derive(Debug)]
pub(crate) struct Place {
    folder: OwnedFd,
    name: std::ffi::OsString,
    path: PathBuf,
    root: PathBuf,
}

impl Place {
    /// Its path without a link on the way, for programs that take paths only. Between this and what they do, somebody who may write in
    /// its folder may put another in place.
    pub(crate) fn real_path(&self) -> Result<PathBuf, PlaceError> {
        let opened = format!("/proc/self/fd/{}", self.folder.as_raw_fd());
        let folder = std::fs::read_link(opened).map_err(in_std("its folder has no path"))?;
        Ok(folder.join(&self.name))
    }

    /// What stands there.
    pub(crate) fn look(&self) -> Result<Found, PlaceError> {
        // Without NONBLOCK, opening a pipe nobody writes to would hang.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = match openat(&self.folder, &self.name, flags, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(Found::Absent),
            Err(Errno::LOOP) => return Err(PlaceError::Crooked(self.path.clone())),
            Err(Errno::NXIO) => return Err(PlaceError::NoFile(self.path.clone())),
            Err(errno) => return Err(system("it cannot be opened")(errno)),
        };
        let about = fstat(&opened).map_err(system("it cannot be looked at"))?;
        if !FileType::from_raw_mode(about.st_mode).is_file() {
            return Err(PlaceError::NoFile(self.path.clone()));
        }
        let mut content = Vec::new();
        File::from(opened)
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut content)
            .map_err(in_std("it cannot be read"))?;
        if content.len() as u64 > FILE_BYTES_MAX {
            return Err(PlaceError::TooLarge(self.path.clone()));
        }
        Ok(Found::Present {
            content,
            mode: about.st_mode & 0o7777,
            owner: Some(Owner {
                user: about.st_uid,
                group: about.st_gid,
            }),
        })
    }

    /// Puts a whole new file there, durably: written beside it, synced, renamed over it, its folder synced. `mark` names the file beside
    /// it, so that what a killed run leaves is overwritten by the next.
    pub(crate) fn put(
        &self,
        content: &[u8],
        mode: u32,
        owner: Option<Owner>,
        mark: &str,
        standing: Standing,
    ) -> Result<(), PlaceError> {
        let beside = self.beside(mark)?;
        let put = self
            .put_beside(&beside, content, mode, owner)
            .and_then(|()| {
                let flags = match standing {
                    Standing::Replaced => RenameFlags::empty(),
                    Standing::Left => RenameFlags::NOREPLACE,
                };
                renameat_with(&self.folder, &beside, &self.folder, &self.name, flags).map_err(
                    |errno| match errno {
                        Errno::EXIST => PlaceError::Occupied(self.path.clone()),
                        errno => system("it cannot be renamed into place")(errno),
                    },
                )
            });
        if put.is_err() {
            // The first trouble is what counts.
            let _ = unlinkat(&self.folder, &beside, AtFlags::empty());
        }
        put?;
        self.sync()
    }

    /// A name beside it that is free: a leftover of a killed run, or a link somebody has put there, is not written through.
    fn beside(&self, mark: &str) -> Result<String, PlaceError> {
        let beside = format!(".baton-{mark}.part");
        match unlinkat(&self.folder, &beside, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(beside),
            Err(errno) => Err(system("a leftover cannot be removed")(errno)),
        }
    }

    fn put_beside(
        &self,
        beside: &str,
        content: &[u8],
        mode: u32,
        owner: Option<Owner>,
    ) -> Result<(), PlaceError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(&self.folder, beside, flags, Mode::RUSR | Mode::WUSR)
            .map_err(system("it cannot be created"))?;
        let mut file = File::from(opened);
        file.write_all(content)
            .map_err(in_std("it cannot be written"))?;
        if let Some(owner) = owner {
            own(&file, owner)?;
        }
        // Not left to the umask: the mode is part of what is written. After the owner, since a change of owner takes bits away.
        fchmod(&file, Mode::from_raw_mode(mode)).map_err(system("its mode cannot be set"))?;
        file.sync_all().map_err(in_std("it cannot be synced"))
    }

    /// Takes the file away, durably.
    pub(crate) fn remove(&self) -> Result<(), PlaceError> {
        match unlinkat(&self.folder, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => self.sync(),
            Err(errno) => Err(system("it cannot be removed")(errno)),
        }
    }

    fn sync(&self) -> Result<(), PlaceError> {
        fsync(&self.folder).map_err(system("its folder cannot be synced"))
    }
}

/// Gives a new file to `owner`, unless it is theirs already. A worker that may not do so must not replace their file by one of its own.
fn own(file: &File, owner: Owner) -> Result<(), PlaceError> {
    let about = fstat(file).map_err(system("it cannot be looked at"))?;
    let user = (about.st_uid != owner.user).then(|| Uid::from_raw(owner.user));
    let group = (about.st_gid != owner.group).then(|| Gid::from_raw(owner.group));
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    fchown(file, user, group).map_err(system("its owner cannot be kept"))
}
