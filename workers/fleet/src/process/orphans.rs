//! What an earlier worker on this host left running when it was killed together with its launchers: found by the cgroups of its runs and by
//! the mark every process of a run carries in its environment, and ended before a task is taken.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cgroup::Cgroup;
use super::tree::{numbers, stat_of};

/// What the marks and cgroups of runs begin with.
const PREFIX: &str = "baton-run";
/// The variable that carries the mark.
pub(crate) const MARK: &str = "BATON_RUN";
/// How long orphans may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(10);
/// How long a group may be without members before the first enters it; far longer than it takes.
const ABOUT_TO_BE_ENTERED: Duration = Duration::from_secs(60);
/// One look at them.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// Something of an earlier worker cannot be ended.
#[derive(Debug, thiserror::Error)]
#[error(
    "processes of an earlier worker are still alive and cannot be ended ({what}): end them by hand, then start this worker again"
)]
pub struct OrphanError {
    what: String,
}

/// The mark of one run of this process: `baton-run.<pid namespace>.<pid>.<start time>.<run>`. It says whose the run is, so that the next
/// worker can see whether that one is still there.
pub(crate) fn mark(run: &str) -> String {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let began = stat_of(own).map_or(0, |stat| stat.began);
    format!("{PREFIX}.{}.{own}.{began}.{run}", namespace())
}

/// The number of this process's PID namespace: process numbers mean nothing in another.
fn namespace() -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self/ns/pid").map_or(0, |about| about.ino())
}

/// Whether the mark is of our kind, of our namespace, and of a worker that is not there any more.
fn is_orphaned(mark: &str) -> bool {
    let mut fields = mark.split('.');
    let ours = fields.next() == Some(PREFIX)
        && fields.next().and_then(|n| n.parse().ok()) == Some(namespace());
    let owner = fields.next().and_then(|n| n.parse::<i32>().ok());
    let began = fields.next().and_then(|n| n.parse::<u64>().ok());
    match (ours, owner, began) {
        (true, Some(owner), Some(began)) => {
            stat_of(owner).is_none_or(|stat| stat.ended || stat.began != began)
        }
        _ => false,
    }
}

/// Ends everything earlier workers left. How many processes and groups there were.
pub(crate) fn end_orphans(base: Option<&Path>) -> Result<usize, OrphanError> {
    let deadline = Instant::now() + GONE_LIMIT;
    // A launcher that still cleans up knows more than we do: it is let finish.
    let launchers: Vec<i32> = marked()
        .into_iter()
        .filter(|pid| is_launcher(*pid))
        .collect();
    await_gone(
        &launchers,
        deadline.checked_sub(GONE_LIMIT / 2).unwrap_or(deadline),
    );
    let mut ended = 0;
    loop {
        let groups = orphaned_groups(base);
        let processes = marked();
        if groups.is_empty() && processes.is_empty() {
            return Ok(ended);
        }
        if Instant::now() >= deadline {
            return Err(OrphanError {
                what: format!("processes {processes:?}, groups {groups:?}"),
            });
        }
        ended = ended.max(processes.len()).max(groups.len());
        for path in groups {
            let group = Cgroup::at(path);
            let _ = group.kill();
            if !group.is_populated() {
                let _ = group.remove();
            }
        }
        for pid in &processes {
            kill(*pid, is_orphaned);
        }
        let soon = Instant::now() + Duration::from_millis(50);
        await_gone(&processes, soon.min(deadline));
    }
}

/// Ends everything of one run of this worker whose launcher was killed; what is left in the end. Blocks, for a moment in all likelihood:
/// it is what happens when somebody kills what looks after others.
pub(crate) fn end_marked(group: Option<&Cgroup>, mark: &str) -> Vec<i32> {
    let deadline = Instant::now() + GONE_LIMIT / 2;
    loop {
        let mut left = with_mark(|found| found == mark);
        if let Some(group) = group {
            let _ = group.kill();
            left.extend(group.members());
        }
        let populated = group.is_some_and(Cgroup::is_populated);
        if left.is_empty() && !populated {
            return left;
        }
        if Instant::now() >= deadline {
            left.push(0);
            return left;
        }
        for pid in &left {
            kill(*pid, |found| found == mark);
        }
        await_gone(&left, Instant::now() + Duration::from_millis(50));
    }
}

/// Takes away the empty groups of earlier workers, which held nothing but limits.
pub(crate) fn forget_orphaned_groups(base: &Path) {
    for path in orphaned_groups(Some(base)) {
        // One that somebody uses all the same stays.
        let _ = Cgroup::at(path).remove();
    }
}

/// Takes away the groups of runs nobody waited for to the end: a worker that lives long would have more and more of them. One that is young may
/// be about to be entered.
pub(crate) fn forget_empty_groups(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    let ours = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    for entry in ours {
        let made = entry.metadata().and_then(|about| about.modified()).ok();
        let age = made.and_then(|made| made.elapsed().ok());
        let group = Cgroup::at(entry.path());
        let old = age.is_some_and(|age| age > ABOUT_TO_BE_ENTERED);
        if old && group.members().is_empty() && !group.is_populated() {
            // Somebody may have entered it this moment: then the kernel does not let it go.
            let _ = group.remove();
        }
    }
}

fn orphaned_groups(base: Option<&Path>) -> Vec<PathBuf> {
    let entries = base.and_then(|base| fs::read_dir(base).ok());
    entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| is_orphaned(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect()
}

/// Processes that carry the mark of a worker that is gone.
fn marked() -> Vec<i32> {
    with_mark(is_orphaned)
}

fn with_mark(wanted: impl Fn(&str) -> bool) -> Vec<i32> {
    let carries = |pid: &i32| has_mark(*pid, &wanted);
    numbers().into_iter().filter(carries).collect()
}

fn has_mark(pid: i32, wanted: impl Fn(&str) -> bool) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else {
        return false;
    };
    let mut variables = environment.split(|byte| *byte == 0);
    let mark = variables.find_map(|variable| {
        let text = std::str::from_utf8(variable).ok()?;
        text.strip_prefix(MARK)?.strip_prefix('=')
    });
    mark.is_some_and(wanted) && stat_of(pid).is_some_and(|stat| !stat.ended)
}

fn is_launcher(pid: i32) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = words.split(|byte| *byte == 0).skip(1);
    words.next() == Some(super::launch::SUBCOMMAND.as_bytes())
        && words.next() == Some(super::launch::STAGE_NANNY.as_bytes())
}

fn kill(pid: i32, wanted: impl Fn(&str) -> bool) {
    let Some(held) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
    else {
        return;
    };
    // Looked at again when it is held: its number may have been given to somebody else meanwhile.
    if has_mark(pid, wanted) {
        let _ = pidfd_send_signal(&held, Signal::KILL);
    }
}

fn await_gone(pids: &[i32], until: Instant) {
    let held: Vec<_> = pids
        .iter()
        .filter_map(|pid| pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok())
        .collect();
    loop {
        let mut watched: Vec<PollFd<'_>> = held
            .iter()
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        if watched.is_empty() {
            // Groups whose members cannot be seen: one look's time.
            let _ = poll(&mut watched, Some(&LOOK));
            return;
        }
        let _ = poll(&mut watched, Some(&LOOK));
        let all = watched.iter().all(|fd| !fd.revents().is_empty());
        if all || Instant::now() >= until {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_nobody_is_in_are_forgotten_but_young_ones() {
        let base = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = base.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::File::open(path).unwrap()
        };
        let then = std::time::SystemTime::now() - 2 * ABOUT_TO_BE_ENTERED;
        for name in [&mark("old"), "somebody-else"] {
            make(name).set_modified(then).unwrap();
        }
        make(&mark("young"));
        forget_empty_groups(base.path());
        let left = fs::read_dir(base.path()).unwrap().flatten();
        let mut left: Vec<_> = left
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [mark("young"), "somebody-else".to_owned()]);
    }

    #[test]
    fn only_what_belongs_to_a_worker_that_is_gone_is_an_orphan() {
        let own = mark("a");
        assert!(!is_orphaned(&own));
        let parts: Vec<&str> = own.split('.').collect();
        let with = |at: usize, value: &str| {
            let mut parts = parts.clone();
            parts[at] = value;
            parts.join(".")
        };
        assert!(
            is_orphaned(&with(3, "1")),
            "its number was given to somebody else"
        );
        assert!(is_orphaned(&with(2, "4194305")), "it is gone");
        assert!(
            !is_orphaned(&with(1, "1")),
            "another namespace is not ours to judge"
        );
        assert!(!is_orphaned("baton-run"));
        assert!(!is_orphaned("something.else"));
    }
}
