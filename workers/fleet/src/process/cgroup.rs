//! Control groups, version 2: one for each run, below the one the worker itself is in. `cgroup.kill` ends all members at once, and
//! `populated 0` proves that none is left: no fork, session or daemon gets out. Where a host keeps the controllers of memory and processes under
//! version 1, a run has a group there as well, for its limits alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    pub(crate) const fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Makes it; it must not be there.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Moves the calling process into it.
    pub(crate) fn join(&self) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), "0")
    }

    /// Kills all members, those that are being forked included.
    pub(crate) fn kill(&self) -> io::Result<()> {
        fs::write(self.0.join("cgroup.kill"), "1")
    }

    /// Whether it has members, in groups below it as well. One that cannot be asked counts as having some, one that is gone does not.
    pub(crate) fn is_populated(&self) -> bool {
        match fs::read_to_string(self.0.join("cgroup.events")) {
            Ok(text) => !text.lines().any(|line| line == "populated 0"),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Its members, without those of groups below it.
    pub(crate) fn members(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Takes it away, with the empty groups below it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)?.flatten() {
            if entry.path().is_dir() {
                Self(entry.path()).remove()?;
            }
        }
        fs::remove_dir(&self.0)
    }

    /// Sets one of its limits; false when there is no such controller here.
    pub(crate) fn set(&self, file: &str, value: u64) -> bool {
        let path = self.0.join(file);
        path.exists() && fs::write(path, value.to_string()).is_ok()
    }
}

/// The group this process is in, where a group for each run may be made; none when there is no version 2, or it may not be written.
pub(crate) fn own() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = place(&mounts, &groups)?;
    let probe = own.join(format!("baton-probe.{}", std::process::id()));
    let made = Cgroup::create(probe).ok()?;
    let can_kill = made.0.join("cgroup.kill").exists();
    made.remove().ok()?;
    // Without a controller in force below it, a group may hold processes beside groups. Where none can be given on, limits are those of
    // each process.
    if can_kill {
        let _ = fs::write(own.join("cgroup.subtree_control"), "+memory +pids");
    }
    can_kill.then_some(own)
}

/// What a group limits for a run as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    /// Memory.
    Memory,
    /// The number of processes.
    Processes,
}

impl Controller {
    /// The kernel's word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "pids",
        }
    }

    /// The file of its limit under version 2.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Memory => "memory.max",
            Self::Processes => "pids.max",
        }
    }

    /// The file of its limit under version 1.
    pub(crate) const fn file_of_version_1(self) -> &'static str {
        match self {
            Self::Memory => "memory.limit_in_bytes",
            Self::Processes => "pids.max",
        }
    }

    /// Where groups of version 1 may be made for it; none where it is not kept there, or may not be written.
    pub(crate) fn under_version_1(self) -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = place_of(&mounts, &groups, self.word())?;
        let probe = own.join(format!("baton-probe.{}", std::process::id()));
        let made = Cgroup::create(probe).ok()?;
        let limits = made.0.join(self.file_of_version_1()).exists();
        made.remove().ok()?;
        limits.then_some(own)
    }
}

/// The controllers that hold for the groups of runs below `base`.
pub(crate) fn given_on(base: &Path) -> String {
    fs::read_to_string(base.join("cgroup.subtree_control")).unwrap_or_default()
}

/// Where in the file system the group of `groups` lies.
fn place(mounts: &str, groups: &str) -> Option<PathBuf> {
    let within = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        if right.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = left.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let below = Path::new(within).strip_prefix(root).ok()?;
        Some(Path::new(at).join(below))
    })
}

/// Where in the file system the group of `groups` lies for a controller of version 1.
fn place_of(mounts: &str, groups: &str, controller: &str) -> Option<PathBuf> {
    let named = |list: &str| list.split(',').any(|one| one == controller);
    let within = groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        named(controllers).then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut of = right.split(' ');
        if of.next() != Some("cgroup") || !named(of.next_back()?) {
            return None;
        }
        let mut fields = left.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let below = Path::new(within).strip_prefix(root).ok()?;
        Some(Path::new(at).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_on_a_machine_of_one_and_of_both_versions() {
        let unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        let groups = "0::/system.slice/baton.service\n";
        assert_eq!(
            place(unified, groups),
            Some(PathBuf::from("/sys/fs/cgroup/system.slice/baton.service"))
        );
        let both = "31 30 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                    40 30 0:36 /box /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            place(both, "8:pids:/x\n0::/box/inner\n"),
            Some(PathBuf::from("/sys/fs/cgroup/unified/inner"))
        );
        assert_eq!(place(both, "8:pids:/x\n"), None);
        assert_eq!(place("", groups), None);
        assert_eq!(
            place_of(both, "8:pids:/x\n0::/y\n", "pids"),
            Some(PathBuf::from("/sys/fs/cgroup/pids/x"))
        );
        let shared = "9 3 0:9 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
        let at = place_of(shared, "3:cpu,cpuacct:/\n", "cpuacct");
        assert_eq!(at, Some(PathBuf::from("/cg/cpu,cpuacct/")));
        assert_eq!(place_of(both, "8:pids:/x\n", "memory"), None);
    }
}
