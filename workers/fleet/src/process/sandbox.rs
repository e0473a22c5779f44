//! How far a program reaches, beside what its user may: the sandbox of one entry of the allow-list. Only the worker's configuration says so,
//! never a task; and where the kernel does not offer what is asked for, nothing is started.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope,
};
use serde::{Deserialize, Serialize};

/// What every program needs to be started at all: those that are not there are left out.
const SYSTEM: [&str; 21] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/etc/ssl",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];
/// What every program may write to.
const SINKS: [&str; 2] = ["/dev/null", "/dev/full"];
/// Files, with truncation, and TCP (Linux 6.7): less would not hold what the configuration promises.
const LEAST: ABI = ABI::V4;
/// What is taken as well where there is it: device controls, and scopes of signals and abstract sockets (Linux 6.12).
const MORE: ABI = ABI::V6;

/// The level of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// What its user may.
    #[default]
    None,
    /// Landlock: only these files and ports, beside the system's programs and libraries and the run's own folder.
    Landlock(SandboxReach),
}

/// What is reached in a sandbox of landlock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxReach {
    /// Folders and files that may be read, and run.
    pub read: Vec<PathBuf>,
    /// Folders and files that may be changed as well.
    pub write: Vec<PathBuf>,
    /// TCP ports that may be connected to.
    pub tcp_connect: Vec<u16>,
    /// TCP ports that may be listened at.
    pub tcp_bind: Vec<u16>,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel has none.
    #[error(
        "this kernel offers no landlock with files and TCP (Linux 6.7 or later, started with `landlock` among its security modules)"
    )]
    Absent(#[source] RulesetError),
    /// A path cannot be had.
    #[error("{} cannot be let into the sandbox: it has to be there", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: landlock::PathFdError,
    },
    /// The kernel refused.
    #[error("the sandbox cannot be entered: {0}")]
    Refused(RulesetError),
    /// The kernel took less than was asked for.
    #[error("the kernel enforces only a part of the sandbox")]
    InPart,
}

impl Sandbox {
    /// Whether this host offers it.
    ///
    /// # Errors
    /// [`SandboxError::Absent`] when it does not.
    pub fn offered(&self) -> Result<(), SandboxError> {
        match self {
            Self::None => Ok(()),
            Self::Landlock(_) => ruleset().map(drop).map_err(SandboxError::Absent),
        }
    }

    /// Whether `place` may be read from inside.
    #[must_use]
    pub fn reaches(&self, place: &Path) -> bool {
        match self {
            Self::None => true,
            Self::Landlock(reach) => {
                let mut all = reach.read.iter().chain(&reach.write);
                all.any(|path| place.starts_with(path))
            }
        }
    }

    /// Shuts the calling process in, for good, with all it will start. `own` is the folder of the run, `program` what will be run.
    pub(super) fn enter(&self, own: &Path, program: &Path) -> Result<(), SandboxError> {
        let Self::Landlock(reach) = self else {
            return Ok(());
        };
        let mut rules = ruleset().map_err(SandboxError::Absent)?;
        let read = AccessFs::from_read(LEAST);
        let all = AccessFs::from_all(MORE);
        for path in SYSTEM.iter().map(Path::new).filter(|path| path.exists()) {
            rules = beneath(rules, path, read)?;
        }
        for path in SINKS.iter().map(Path::new).filter(|path| path.exists()) {
            rules = beneath(rules, path, read | AccessFs::from_write(LEAST))?;
        }
        // One that is looked up by its name lies among those of the system.
        if program.is_absolute() {
            rules = beneath(rules, program, read)?;
        }
        rules = beneath(rules, own, all)?;
        for path in &reach.read {
            rules = beneath(rules, path, read)?;
        }
        for path in &reach.write {
            rules = beneath(rules, path, all)?;
        }
        let connect = reach
            .tcp_connect
            .iter()
            .map(|port| (port, AccessNet::ConnectTcp));
        let bind = reach.tcp_bind.iter().map(|port| (port, AccessNet::BindTcp));
        for (port, access) in connect.chain(bind) {
            let rule = NetPort::new(*port, access);
            rules = rules.add_rule(rule).map_err(SandboxError::Refused)?;
        }
        let entered = rules.restrict_self().map_err(SandboxError::Refused)?;
        // Of what is best effort above nothing counts as a part: the kernel was asked whether it has it.
        match entered.ruleset {
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
            RulesetStatus::NotEnforced => Err(SandboxError::InPart),
        }
    }
}

/// Everything is shut; without what is promised it fails.
fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))?
        .handle_access(AccessNet::from_all(LEAST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(MORE))?
        .scope(Scope::from_all(MORE))?
        .create()
}

fn beneath(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SandboxError> {
    let held = PathFd::new(path).map_err(|source| SandboxError::Path {
        path: path.to_owned(),
        source,
    })?;
    // Some rights are of folders alone.
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(MORE)
    };
    let rule = PathBeneath::new(held, access);
    rules.add_rule(rule).map_err(SandboxError::Refused)
}
