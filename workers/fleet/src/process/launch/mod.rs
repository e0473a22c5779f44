//! The launcher: `baton-worker launch …`, this same program run again between a worker and what it starts. Three small stages:
//!
//! - `nanny` stands outside whatever is started, in a session of its own, and outlives its worker: when the worker says so *or is gone*
//!   (its end of a pipe closes) it ends the whole tree, and it writes down how that went before it ends itself;
//! - `inner` is what the nanny starts: it joins the cgroup, takes its limits, gives up what it may not have, and becomes the program;
//! - `init` is the first process of a PID namespace, where that is how the tree is held together, and `program` what it starts.
//!
//! The nanny is a *subreaper*: whatever loses its parent below it becomes its child, `setsid` and double forks included. So "I have no
//! child left" is a proof by the kernel that the whole tree is gone, under every way of holding it together.

mod inner;
mod nanny;
mod spec;
mod status;

use std::ffi::OsString;

pub(crate) use spec::{LaunchSpec, STAGE_NANNY, SUBCOMMAND};
use spec::{STAGE_INIT, STAGE_INNER, STAGE_PROGRAM};
pub(crate) use status::{Status, read_launch_error, read_status};

/// What the launcher ends with when it could not do its own part; what it could not do stands in a file of the run's folder.
pub(crate) const CODE_OF_LAUNCHER: i32 = 125;

/// Runs a stage of the launcher when `args` (with the program's name first) ask for one; the code to end with. None when these are the
/// arguments of a worker.
#[must_use]
pub fn main(args: impl Iterator<Item = OsString>) -> Option<i32> {
    let mut args = args.skip(1);
    if args.next()? != SUBCOMMAND {
        return None;
    }
    let stage = args.next()?;
    let spec = args.next()?;
    let program: Vec<OsString> = args.collect();
    let spec = spec
        .to_str()
        .and_then(|text| serde_json::from_str(text).ok());
    let Some(spec) = spec else {
        return Some(CODE_OF_LAUNCHER);
    };
    Some(match stage.to_str() {
        Some(STAGE_NANNY) => nanny::run(&spec, &program),
        Some(STAGE_INNER) => inner::become_program(&spec, &program),
        Some(STAGE_INIT) => inner::init(&spec, &program),
        Some(STAGE_PROGRAM) => inner::in_namespace(&spec, &program),
        _ => CODE_OF_LAUNCHER,
    })
}
