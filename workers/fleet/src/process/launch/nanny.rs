//! The stage outside the tree: waits for the program to end or for its worker to say stop (or to be gone), ends the whole tree, sees it
//! gone, and writes down how that went.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, pidfd_open, set_child_subreaper,
    setsid, wait,
};

use super::status::{ENDED, LAUNCH_ERROR, STATUS, Status, read, write};
use super::{CODE_OF_LAUNCHER, LaunchSpec, STAGE_INNER, SUBCOMMAND};
use crate::process::tree::Tree;
use crate::process::{Containment, Exit};

/// How long what the program left behind may take to end by itself: the last parts of a pipeline end a moment after it.
const LEFT_WAIT: Duration = Duration::from_millis(100);
/// How long one look at the dying tree waits for the next process to end. Only what ends without telling (in a cgroup) needs it.
const LOOK: Duration = Duration::from_millis(20);

/// Runs the whole of it; the code to end with.
pub(super) fn run(spec: &LaunchSpec, program: &[OsString]) -> i32 {
    match attend(spec, program) {
        Ok(status) => match write(&spec.control.join(STATUS), &status) {
            Ok(()) => 0,
            Err(_) => CODE_OF_LAUNCHER,
        },
        Err(error) => {
            // Nothing was started: what fails here fails before that.
            let _ = std::fs::write(spec.control.join(LAUNCH_ERROR), error.to_string());
            CODE_OF_LAUNCHER
        }
    }
}

fn attend(spec: &LaunchSpec, program: &[OsString]) -> io::Result<Status> {
    // Out of its worker's group and session: what is sent to those does not end the one who cleans up.
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    let child = start(spec, program)?;
    let mut tree = Tree::of(spec.containment, spec.cgroup.clone(), child);
    // Its pipes must close when the tree is gone, not when the nanny is.
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(see_to_its_end(spec, &mut tree))
}

fn start(spec: &LaunchSpec, program: &[OsString]) -> io::Result<Pid> {
    let inner = LaunchSpec {
        parent: getpid().as_raw_pid(),
        ..spec.clone()
    };
    let stdin = match &spec.stdin {
        Some(path) => Stdio::from(File::open(path)?),
        None => Stdio::null(),
    };
    let child = Command::new("/proc/self/exe")
        .arg0("baton-launch")
        .args([SUBCOMMAND, STAGE_INNER, &serde_json::to_string(&inner)?])
        .args(program)
        .stdin(stdin)
        .spawn()?;
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("the system gave a process no number"))
}

fn see_to_its_end(spec: &LaunchSpec, tree: &mut Tree) -> Status {
    let stopped = !program_ends(tree, true, None);
    if stopped {
        tree.signal_all(Signal::TERM);
        program_ends(tree, false, Some(Duration::from_millis(spec.term_grace_ms)));
    }
    let left_behind = if stopped { 0 } else { left_behind(tree) };
    let alive = end(tree, Duration::from_millis(spec.confirm_ms));
    let told = || read::<Exit>(&spec.control.join(ENDED));
    let exit = match spec.containment {
        Containment::PidNamespace => told().or(tree.exit),
        Containment::Cgroup | Containment::Subreaper | Containment::ProcessGroup => tree.exit,
    };
    Status {
        exit,
        stopped,
        left_behind,
        alive,
    }
}

/// Waits until the program has ended; false when its worker said stop, or the time was over, before.
fn program_ends(tree: &mut Tree, until_stop: bool, limit: Option<Duration>) -> bool {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let pidfd = pidfd_open(tree.program, PidfdFlags::empty()).ok();
    loop {
        reap(tree);
        if tree.exit.is_some() {
            return true;
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return false;
        }
        let stdin = rustix::stdio::stdin();
        let mut watched = Vec::new();
        if let Some(pidfd) = &pidfd {
            watched.push(PollFd::new(pidfd, PollFlags::IN));
        }
        if until_stop {
            watched.push(PollFd::new(&stdin, PollFlags::IN));
        }
        let seen = poll(&mut watched, left.map(timespec).as_ref());
        // The last one is the worker's pipe: anything on it, its end included, says stop.
        let told = watched
            .last()
            .is_some_and(|last| until_stop && !last.revents().is_empty());
        if told && seen.is_ok() {
            reap(tree);
            return tree.exit.is_some();
        }
    }
}

/// How many processes of the tree do not end by themselves a moment after the program.
fn left_behind(tree: &mut Tree) -> u32 {
    let deadline = Instant::now() + LEFT_WAIT;
    loop {
        let gone = reap(tree);
        let alive = tree.alive();
        let over = Instant::now() >= deadline;
        if (gone && !tree.has_members()) || alive.is_empty() || over {
            return u32::try_from(alive.len()).unwrap_or(u32::MAX);
        }
        await_one(&pidfds(&alive));
    }
}

/// Kills until the kernel says that nothing is left; else what is left when the time is over.
fn end(tree: &mut Tree, limit: Duration) -> Vec<i32> {
    let deadline = Instant::now() + limit;
    loop {
        // Only "no child is left", said to a subreaper, proves that the tree is gone; an empty list of what /proc shows does not.
        if reap(tree) && !tree.has_members() {
            return Vec::new();
        }
        tree.signal_all(Signal::STOP);
        tree.kill();
        let alive = tree.alive();
        if Instant::now() >= deadline {
            let all = alive.iter().map(|pid| pid.as_raw_pid()).collect::<Vec<_>>();
            // Nothing to be seen, and yet something is there: its number is not known, and it must not look like "gone".
            return if all.is_empty() { vec![0] } else { all };
        }
        await_one(&pidfds(&alive));
    }
}

/// Takes every child that has ended; true when there is no child at all any more.
fn reap(tree: &mut Tree) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if pid == tree.program && !status.stopped() {
                    tree.exit = exit_of(status);
                }
            }
            Ok(None) => return false,
            Err(Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

pub(super) fn exit_of(status: WaitStatus) -> Option<Exit> {
    status
        .exit_status()
        .map(Exit::Code)
        .or_else(|| status.terminating_signal().map(Exit::Signal))
}

fn pidfds(of: &[Pid]) -> Vec<OwnedFd> {
    of.iter()
        .filter_map(|pid| pidfd_open(*pid, PidfdFlags::empty()).ok())
        .collect()
}

/// Waits until one of them has ended, or for one look.
fn await_one(pidfds: &[OwnedFd]) {
    let mut watched: Vec<PollFd<'_>> = pidfds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
        .collect();
    // Whatever it says, the next look finds out.
    let _ = poll(&mut watched, Some(&timespec(LOOK)));
}

fn timespec(of: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(of.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: of.subsec_nanos().into(),
    }
}
