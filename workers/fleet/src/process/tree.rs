//! A tree of processes as the nanny sees it: everything below it in /proc, and everything in the run's cgroup.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, kill_process_group, pidfd_open, pidfd_send_signal,
};

use super::cgroup::Cgroup;
use super::{Containment, Exit};

/// Rounds of looking for what was forked meanwhile, before those that are known are dealt with.
const ROUNDS_MAX: usize = 50;

/// What was started, and everything that came of it.
pub(crate) struct Tree {
    containment: Containment,
    cgroup: Option<Cgroup>,
    /// The process started first.
    pub(crate) program: Pid,
    /// How it ended, once it has.
    pub(crate) exit: Option<Exit>,
}

impl Tree {
    pub(crate) fn of(containment: Containment, cgroup: Option<PathBuf>, program: Pid) -> Self {
        Self {
            containment,
            cgroup: cgroup.map(Cgroup::at),
            program,
            exit: None,
        }
    }

    /// Everything of it that lives, as far as it can be seen.
    pub(crate) fn alive(&self) -> Vec<Pid> {
        let mut all = match self.containment {
            Containment::ProcessGroup => members_of_group(self.program),
            Containment::Cgroup | Containment::PidNamespace | Containment::Subreaper => {
                descendants_of(getpid())
            }
        };
        if let Some(cgroup) = &self.cgroup {
            all.extend(cgroup.members());
        }
        all.into_iter().filter_map(Pid::from_raw).collect()
    }

    /// Whether its cgroup still has members. A cgroup nobody can ask may have some.
    pub(crate) fn has_members(&self) -> bool {
        self.cgroup
            .as_ref()
            .is_some_and(|cgroup| cgroup.is_populated())
    }

    /// Signals everything, what is forked meanwhile as well. Each is taken hold of before it is signalled, so that no number that was
    /// given to somebody else meanwhile is hit.
    pub(crate) fn signal_all(&self, signal: Signal) {
        if self.containment == Containment::ProcessGroup {
            let _ = kill_process_group(self.program, signal);
            return;
        }
        let mut done = BTreeSet::new();
        for _ in 0..ROUNDS_MAX {
            let fresh: Vec<Pid> = self
                .alive()
                .into_iter()
                .filter(|pid| done.insert(pid.as_raw_pid()))
                .collect();
            if fresh.is_empty() {
                return;
            }
            for pid in fresh {
                signal_one(pid, signal);
            }
        }
    }

    /// Kills everything, by the strongest means there is.
    pub(crate) fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            // What it does not reach, the walk does.
            let _ = cgroup.kill();
        }
        self.signal_all(Signal::KILL);
    }
}

/// Signals one process; one that has ended meanwhile is no trouble.
pub(crate) fn signal_one(pid: Pid, signal: Signal) {
    if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
        let _ = pidfd_send_signal(pidfd, signal);
    }
}

/// One line of /proc/PID/stat, as far as it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Its parent.
    pub(crate) parent: i32,
    /// Its process group.
    pub(crate) group: i32,
    /// Whether it has ended, and only its parent has not looked yet.
    pub(crate) ended: bool,
    /// When it began, in ticks since the system did: with the number, its identity.
    pub(crate) began: u64,
}

/// Reads one process; none when there is none.
pub(crate) fn stat_of(pid: i32) -> Option<Stat> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name stands in parentheses and may itself hold any character, so it is read from behind.
fn parse(line: &str) -> Option<Stat> {
    /// The start time is field 22; the state, the first after the name, is field 3.
    const BEGAN: usize = 22 - 3;
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        ended: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        began: fields.get(BEGAN)?.parse().ok()?,
    })
}

/// Whose a process is.
pub(crate) fn uid_of(pid: i32) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Some(std::fs::metadata(format!("/proc/{pid}")).ok()?.uid())
}

/// Every process number there is.
pub(crate) fn numbers() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn descendants_of(root: Pid) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let mut ended = BTreeSet::new();
    for pid in numbers() {
        if let Some(stat) = stat_of(pid) {
            children.entry(stat.parent).or_default().push(pid);
            if stat.ended {
                ended.insert(pid);
            }
        }
    }
    let mut found = BTreeSet::new();
    let mut open = vec![root.as_raw_pid()];
    while let Some(parent) = open.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found.retain(|pid| !ended.contains(pid));
    found
}

fn members_of_group(leader: Pid) -> BTreeSet<i32> {
    let of_group = |pid: &i32| {
        stat_of(*pid).is_some_and(|stat| stat.group == leader.as_raw_pid() && !stat.ended)
    };
    numbers().into_iter().filter(of_group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let line = "42 (a) Z (b c) S 7 9 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 6 7";
        let stat = parse(line).unwrap();
        assert_eq!((stat.parent, stat.group, stat.ended), (7, 9, false));
        assert_eq!(stat.began, 12345);
    }

    #[test]
    fn a_test_finds_itself_below_its_parent() {
        let own = getpid().as_raw_pid();
        let parent = stat_of(own).unwrap().parent;
        assert!(descendants_of(Pid::from_raw(parent).unwrap()).contains(&own));
    }
}
