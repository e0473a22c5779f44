//! Where one run takes place: its folder, its cgroup, its mark.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use baton_worker::Context;

use super::cgroup::{Cgroup, Controller};
use super::containment::{Chosen, Containment};
use super::ended::Ended;
use super::folder::{Folders, RunFolder};
use super::limits::Limits;
use super::orphans::{end_marked, mark};
use super::run::Run;
use super::run_error::RunError;
use super::tree::{numbers, uid_of};

/// The file of a run's folder that `BATON_RESULT` names.
pub(super) const RESULT: &str = "result.json";

/// Where one run takes place.
pub(super) struct Place {
    pub(super) folder: RunFolder,
    pub(super) mark: String,
    pub(super) containment: Containment,
    cgroup: Option<Cgroup>,
    older: Vec<(Controller, Cgroup)>,
}

impl Place {
    /// Makes it, with what is put into it.
    pub(super) fn make(
        folders: &Folders,
        chosen: &Chosen,
        context: &Context,
        run: &Run,
    ) -> Result<Self, RunError> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let of = context.of();
        let name = format!(
            "{}-{}-{}-{}-{}",
            of.saga,
            of.step,
            of.direction,
            of.attempt,
            id.get(..8).unwrap_or(&id)
        );
        let mut place = Self {
            folder: folders.make(&name, run.user)?,
            mark: mark(&id),
            containment: chosen.containment,
            cgroup: None,
            older: Vec::new(),
        };
        match place.fill(chosen, run) {
            Ok(()) => Ok(place),
            Err(error) => {
                place.forget_group();
                place.folder.remove();
                Err(RunError::NotStarted(format!(
                    "the folder or the cgroup of {} cannot be made: {error}",
                    run.name()
                )))
            }
        }
    }

    fn fill(&mut self, chosen: &Chosen, run: &Run) -> io::Result<()> {
        if let Some(bytes) = &run.stdin {
            write_closed(&self.stdin(), bytes)?;
        }
        for (name, content) in &run.files {
            let path = self.folder.work().join(name);
            write_closed(&path, content)?;
            if let Some(user) = run.user {
                std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid))?;
            }
        }
        if let Some(base) = &chosen.base {
            self.cgroup = Some(Cgroup::create(base.join(&self.mark))?);
        }
        for (controller, base) in &chosen.older {
            let made = Cgroup::create(base.join(&self.mark))?;
            self.older.push((*controller, made));
        }
        Ok(())
    }

    /// The file the standard input is read from.
    pub(super) fn stdin(&self) -> PathBuf {
        self.folder.control().join("stdin")
    }

    /// Where its cgroup lies, if it has one.
    pub(super) fn cgroup_path(&self) -> Option<PathBuf> {
        self.cgroup.as_ref().map(|group| group.path().to_owned())
    }

    /// Where its groups of version 1 lie.
    pub(super) fn older_paths(&self) -> Vec<PathBuf> {
        let all = self.older.iter();
        all.map(|(_, group)| group.path().to_owned()).collect()
    }

    /// Sets what the cgroup can keep; the limits of memory and processes that each process has to be given itself.
    pub(super) fn limit(&self, run: &Run) -> (Option<u64>, Option<u64>) {
        let by_group = |controller: Controller, value: Option<u64>| {
            let Some(value) = value else { return false };
            let newer = self.cgroup.iter().map(|group| (group, controller.file()));
            let older = self.older.iter().filter(|(kept, _)| *kept == controller);
            let older = older.map(|(_, group)| (group, controller.file_of_version_1()));
            newer
                .chain(older)
                .any(|(group, file)| group.set(file, value))
        };
        let Limits {
            memory_bytes,
            processes,
            ..
        } = run.limits;
        let address_space = memory_bytes.filter(|_| !by_group(Controller::Memory, memory_bytes));
        let of_user = processes
            .filter(|_| !by_group(Controller::Processes, processes))
            .map(|processes| {
                let own = rustix::process::geteuid().as_raw();
                processes + processes_of(run.user.map_or(own, |user| user.uid))
            });
        (address_space, of_user)
    }

    /// The launcher is gone and has not said how it went: somebody killed it. What it looked after is ended here.
    pub(super) fn after_a_lost_launcher(&self, program: String) -> RunError {
        let left = end_marked(self.cgroup.as_ref(), &self.mark);
        if left.is_empty() {
            RunError::Lost {
                program,
                why: "its launcher was killed".to_owned(),
            }
        } else {
            RunError::alive(program, &left)
        }
    }

    /// Takes all of it away.
    pub(super) async fn discard(self) {
        self.forget_group();
        // Large trees take their time. That it panics would only mean that the folder stays until the next sweep.
        let _ = tokio::task::spawn_blocking(|| self.folder.remove()).await;
    }

    /// Takes the folder away or leaves it, as the outcome wants it.
    pub(super) async fn leave(
        self,
        outcome: Result<Ended, RunError>,
        keep_failed: bool,
    ) -> Result<Ended, RunError> {
        let keep = match &outcome {
            Ok(ended) => !ended.success() && keep_failed,
            // What is still alive may still want it.
            Err(RunError::Alive { .. }) => true,
            Err(error) => !error.nothing_ran() && keep_failed,
        };
        if !keep {
            self.discard().await;
            return outcome;
        }
        self.forget_group();
        outcome.map(|ended| Ended {
            kept: Some(self.folder.path().to_owned()),
            ..ended
        })
    }

    /// One with members stays, and is found by the next worker.
    fn forget_group(&self) {
        let older = self.older.iter().map(|(_, group)| group);
        for group in self.cgroup.iter().chain(older) {
            if let Err(error) = group.remove() {
                tracing::debug!(%error, path = %group.path().display(), "the cgroup of a run cannot be removed");
            }
        }
    }
}

fn write_closed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

/// How many processes a user has now.
fn processes_of(uid: u32) -> u64 {
    let of_user = numbers()
        .into_iter()
        .filter(|pid| uid_of(*pid) == Some(uid));
    of_user.count() as u64
}
