//! Folders of runs: one for each, of nobody else's; taken away after success, kept for some hours after failure, and never too many.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::user::User;

/// Folders of failed runs that are kept at most, whatever their age: a step that fails for ever does not fill a disk with folders.
const KEPT_MAX: usize = 200;
/// How often old folders are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// What the folders of runs are called.
const PREFIX: &str = "run-";

/// Why there is no folder for a run.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made.
    #[error("{} cannot be made or used: set processes.work_folder to a folder of the worker's own", path.display())]
    Made {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else may write there.
    #[error("{} belongs to somebody else, or others may write there: set processes.work_folder to a folder of the worker's own", .0.display())]
    NotOurs(PathBuf),
}

/// The folder below which runs get theirs.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    root: PathBuf,
    kept: Duration,
    swept: Arc<Mutex<Option<Instant>>>,
}

/// The folder of one run.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
}

impl Folders {
    pub(crate) fn new(root: Option<&Path>, kept_hours: u64) -> Self {
        let own = || {
            let uid = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("baton-{uid}"))
        };
        Self {
            root: root.map_or_else(own, Path::to_owned),
            kept: Duration::from_secs(kept_hours.saturating_mul(3600)),
            swept: Arc::default(),
        }
    }

    /// Makes the folder for a run: `work` for the program, `control` for the launcher.
    pub(crate) fn make(&self, name: &str, user: Option<User>) -> Result<RunFolder, FolderError> {
        self.ours()?;
        let path = self.root.join(format!("{PREFIX}{name}"));
        let folder = RunFolder { path };
        let made = || {
            make(&folder.path)?;
            make(&folder.work())?;
            make(&folder.control())?;
            if let Some(user) = user {
                // Through to its own folder, and no further.
                fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o711))?;
                fs::set_permissions(&self.root, fs::Permissions::from_mode(0o711))?;
                std::os::unix::fs::chown(folder.work(), Some(user.uid), Some(user.gid))?;
            }
            Ok(())
        };
        made().map_err(|source| FolderError::Made {
            path: folder.path.clone(),
            source,
        })?;
        Ok(folder)
    }

    /// Whether it is time to sweep again; says so once.
    pub(crate) fn is_sweep_due(&self) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let due = swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY);
        if due {
            *swept = Some(Instant::now());
        }
        due
    }

    /// Takes away what has been kept long enough, and the oldest beyond what is kept at most.
    pub(crate) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else {
            return;
        };
        let mut ours: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        ours.sort();
        let now = SystemTime::now();
        let too_many = ours.len().saturating_sub(KEPT_MAX);
        for (number, (at, path)) in ours.into_iter().enumerate() {
            let age = now.duration_since(at).unwrap_or_default();
            // What is too many is not taken away while it may still be in use.
            let extra = number < too_many && age > Duration::from_secs(3600);
            if (age > self.kept || extra)
                && let Err(error) = fs::remove_dir_all(&path)
            {
                tracing::debug!(path = %path.display(), %error, "the folder of an old run cannot be removed");
            }
        }
    }

    fn ours(&self) -> Result<(), FolderError> {
        let trouble = |source| FolderError::Made {
            path: self.root.clone(),
            source,
        };
        match make(&self.root) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(trouble(error)),
        }
        // Not through a link: in a folder all may write to, anybody may have put one there.
        let about = fs::symlink_metadata(&self.root).map_err(trouble)?;
        let own = rustix::process::geteuid().as_raw();
        if !about.is_dir() || about.uid() != own || about.mode() & 0o022 != 0 {
            return Err(FolderError::NotOurs(self.root.clone()));
        }
        Ok(())
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

impl RunFolder {
    /// For the program.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// For the launcher.
    pub(crate) fn control(&self) -> PathBuf {
        self.path.join("control")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it away; what cannot be is left to the next sweep.
    pub(crate) fn remove(self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the folder of a run cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_closed_to_others_and_a_foreign_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("runs");
        let folders = Folders::new(Some(&root), 1);
        let made = folders.make("a", None).unwrap();
        for path in [made.work(), made.control(), root.clone()] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700);
        }
        made.remove();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);

        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            folders.make("b", None),
            Err(FolderError::NotOurs(_))
        ));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let through = Folders::new(Some(&link), 1);
        assert!(matches!(
            through.make("c", None),
            Err(FolderError::NotOurs(_))
        ));
    }

    #[test]
    fn what_was_kept_long_enough_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("runs");
        let folders = Folders::new(Some(&root), 1);
        let old = folders.make("old", None).unwrap();
        folders.make("new", None).unwrap();
        make(&root.join("not-a-run")).unwrap();
        let then = SystemTime::now() - Duration::from_secs(2 * 3600);
        fs::File::open(old.path())
            .unwrap()
            .set_modified(then)
            .unwrap();
        folders.sweep();
        let mut left: Vec<String> = fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["not-a-run", "run-new"]);
    }
}
