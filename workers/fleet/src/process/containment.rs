//! How the processes of one run are held together, so that none of them gets away: the best way this host offers.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::cgroup::{self, Controller};
use super::options::ContainmentWish;

/// How the processes of one run are held together, best first. Under every one of them the launcher is their subreaper and asks the kernel
/// whether any is left, so none of them ever says "gone" wrongly; they differ in what they can *reach* to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Containment {
    /// A control group (version 2) for each run: nothing gets out, and all are killed at once.
    Cgroup,
    /// A PID namespace for each run: when its first process ends, the kernel ends the rest.
    PidNamespace,
    /// Whatever loses its parent comes back to the launcher, which walks /proc until nothing is left.
    Subreaper,
    /// The process group alone. Best effort: what makes a session of its own is not reached, and then the outcome is unknown.
    ProcessGroup,
}

impl Containment {
    /// The word of the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::PidNamespace => "pid-namespace",
            Self::Subreaper => "subreaper",
            Self::ProcessGroup => "process-group",
        }
    }

    /// One honest sentence for the log.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Cgroup => {
                "a cgroup for each run: the whole tree is killed at once, and its end is confirmed"
            }
            Self::PidNamespace => {
                "a PID namespace for each run: the kernel ends the whole tree, and its end is confirmed"
            }
            Self::Subreaper => {
                "the launcher as subreaper: the tree is found in /proc and killed, and its end is confirmed"
            }
            Self::ProcessGroup => {
                "the process group alone, BEST EFFORT: what starts a session of its own survives a kill, and the outcome is then unknown"
            }
        }
    }
}

/// The way that was chosen, with the cgroup that runs are made under where it is that.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) containment: Containment,
    pub(crate) base: Option<PathBuf>,
    /// Where groups of version 1 are made, for what no group of version 2 limits here.
    pub(crate) older: Vec<(Controller, PathBuf)>,
}

impl Chosen {
    /// An honest sentence about the limits of memory and of the number of processes: for a run as a whole, or how much less.
    pub(crate) fn limits(&self) -> String {
        let given = self.given();
        let has =
            |wanted| is_given(&given, wanted) || self.older.iter().any(|(kept, _)| *kept == wanted);
        let memory = if has(Controller::Memory) {
            "memory is limited for a run as a whole"
        } else {
            "memory is limited for each process by itself (its address space)"
        };
        let processes = if has(Controller::Processes) {
            "the number of processes for a run as a whole"
        } else {
            "the number of processes by user, and NOT AT ALL for what runs as root"
        };
        format!("{memory}, {processes}")
    }

    fn given(&self) -> String {
        let given = self.base.as_deref().map(cgroup::given_on);
        given.unwrap_or_default()
    }

    /// With groups of version 1 for what is not limited otherwise.
    fn with_older(mut self) -> Self {
        let given = self.given();
        let wanted = [Controller::Memory, Controller::Processes];
        let missing = wanted.into_iter().filter(|one| !is_given(&given, *one));
        let found = missing.filter_map(|one| Some((one, one.under_version_1()?)));
        self.older = found.collect();
        self
    }
}

fn is_given(given: &str, controller: Controller) -> bool {
    given.split_whitespace().any(|one| one == controller.word())
}

/// The way wished for, or the best there is; none when the one wished for is not to be had.
pub(crate) fn choose(wish: ContainmentWish) -> Option<Chosen> {
    let cgroup = || {
        cgroup::own().map(|base| Chosen {
            containment: Containment::Cgroup,
            base: Some(base),
            older: Vec::new(),
        })
    };
    let plain = |containment| Chosen {
        containment,
        base: None,
        older: Vec::new(),
    };
    let namespace = || can_unshare().then(|| plain(Containment::PidNamespace));
    let subreaper = || can_walk().then(|| plain(Containment::Subreaper));
    let chosen = match wish {
        ContainmentWish::Auto => cgroup()
            .or_else(namespace)
            .or_else(subreaper)
            .or_else(|| Some(plain(Containment::ProcessGroup))),
        ContainmentWish::Cgroup => cgroup(),
        ContainmentWish::PidNamespace => namespace(),
        ContainmentWish::Subreaper => subreaper(),
        ContainmentWish::ProcessGroup => Some(plain(Containment::ProcessGroup)),
    };
    chosen.map(Chosen::with_older)
}

/// Whether a PID namespace can be made, found out by making one.
fn can_unshare() -> bool {
    Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child=KILL", "--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether /proc shows processes.
fn can_walk() -> bool {
    i32::try_from(std::process::id()).is_ok_and(|own| super::tree::stat_of(own).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a worker says of its limits is what the kernel gives on below its group, and no more: a group that was delegated, as systemd's
    /// `Delegate=` does, and holds the worker itself gives on nothing.
    #[test]
    fn only_what_the_group_gives_on_is_said_to_hold_for_a_run_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let said = |given: Option<&str>, older: &[Controller]| {
            if let Some(given) = given {
                std::fs::write(dir.path().join("cgroup.subtree_control"), given).unwrap();
            }
            let older = older.iter().map(|one| (*one, dir.path().to_owned()));
            let chosen = Chosen {
                containment: Containment::Cgroup,
                base: given.map(|_| dir.path().to_owned()),
                older: older.collect(),
            };
            let sentence = chosen.limits();
            let whole = |what: &str| sentence.contains(&format!("{what} for a run as a whole"));
            assert_eq!(
                sentence.contains("NOT AT ALL"),
                !whole("processes"),
                "{sentence}"
            );
            (whole("memory is limited"), whole("number of processes"))
        };
        assert_eq!(said(Some("memory pids\n"), &[]), (true, true));
        assert_eq!(said(Some("cpu pids\n"), &[]), (false, true));
        assert_eq!(said(Some("memory\n"), &[]), (true, false));
        assert_eq!(said(Some("\n"), &[]), (false, false));
        assert_eq!(
            said(Some("cpu memory_recursiveprot\n"), &[]),
            (false, false)
        );
        assert_eq!(said(None, &[]), (false, false));
        assert_eq!(said(None, &[Controller::Memory]), (true, false));
        assert_eq!(said(Some("\n"), &[Controller::Processes]), (false, true));
    }
}
