//! The stages inside the tree: what joins the cgroup, takes its limits and becomes the program, and the first process of a PID namespace.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getppid, set_parent_process_death_signal,
    setrlimit, setsid, umask, wait,
};

use super::nanny::exit_of;
use super::status::{ENDED, LAUNCH_ERROR, write};
use super::{CODE_OF_LAUNCHER, LaunchSpec, STAGE_INIT, SUBCOMMAND};
use crate::process::Containment;
use crate::process::cgroup::Cgroup;

/// Joins, limits, gives up, and becomes the program. Returns only when that failed.
pub(super) fn become_program(spec: &LaunchSpec, program: &[OsString]) -> i32 {
    let Ok(mut said) = File::create(spec.control.join(LAUNCH_ERROR)) else {
        return CODE_OF_LAUNCHER;
    };
    let error = match confine(spec) {
        Ok(()) => match spec.containment {
            Containment::PidNamespace => into_namespace(spec, program),
            Containment::Cgroup | Containment::Subreaper | Containment::ProcessGroup => {
                into(spec, program)
            }
        },
        Err(error) => error,
    };
    // Its worker reads this; nobody else can be told.
    let _ = write!(said, "{error}");
    CODE_OF_LAUNCHER
}

/// The first process of a PID namespace: starts the program, takes what loses its parent, and ends with the program; with it the kernel
/// ends everything in the namespace.
pub(super) fn init(spec: &LaunchSpec, program: &[OsString]) -> i32 {
    let Ok(mut said) = File::options()
        .append(true)
        .open(spec.control.join(LAUNCH_ERROR))
    else {
        return CODE_OF_LAUNCHER;
    };
    let child = match command(spec, program).spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = write!(said, "{}", sentence(program, &error));
            return CODE_OF_LAUNCHER;
        }
    };
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if u32::try_from(pid.as_raw_pid()) == Ok(child.id()) => {
                let exit = exit_of(status);
                return match write(&spec.control.join(ENDED), &exit) {
                    Ok(()) => 0,
                    Err(_) => CODE_OF_LAUNCHER,
                };
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return CODE_OF_LAUNCHER,
        }
    }
}

fn confine(spec: &LaunchSpec) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(Pid::as_raw_pid) != Some(spec.parent) {
        return Err(io::Error::other("its launcher is gone"));
    }
    // Before anything is limited, and from inside: there is no moment in which it runs outside its cgroup.
    if let Some(cgroup) = &spec.cgroup {
        Cgroup::at(cgroup.clone()).join()?;
    }
    setsid()?;
    umask(Mode::RWXG | Mode::RWXO);
    limit(spec)?;
    if !spec.may_gain_privileges {
        rustix::thread::set_no_new_privs(true)?;
    }
    Ok(())
}

fn limit(spec: &LaunchSpec) -> io::Result<()> {
    let limits = &spec.limits;
    let all = [
        (Resource::Core, Some(0)),
        (Resource::Nofile, limits.open_files),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Cpu, limits.cpu_s),
        (Resource::As, spec.address_space_bytes),
        (Resource::Nproc, spec.processes_of_user),
    ];
    for (resource, value) in all {
        if let Some(value) = value {
            let both = Rlimit {
                current: Some(value),
                maximum: Some(value),
            };
            setrlimit(resource, both)?;
        }
    }
    Ok(())
}

fn into(spec: &LaunchSpec, program: &[OsString]) -> io::Error {
    let error = command(spec, program).exec();
    io::Error::other(sentence(program, &error))
}

fn into_namespace(spec: &LaunchSpec, program: &[OsString]) -> io::Error {
    let ours = match std::env::current_exe() {
        Ok(ours) => ours,
        Err(error) => return error,
    };
    let text = match serde_json::to_string(spec) {
        Ok(text) => text,
        Err(error) => return error.into(),
    };
    Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child=KILL", "--"])
        .arg(ours)
        .args([SUBCOMMAND, STAGE_INIT, &text])
        .args(program)
        .exec()
}

fn command(spec: &LaunchSpec, program: &[OsString]) -> Command {
    let (name, args) = program
        .split_first()
        .map_or_else(|| (OsString::new(), &[][..]), |(n, a)| (n.clone(), a));
    let mut command = Command::new(name);
    command.args(args).current_dir(&spec.dir);
    if let Some(user) = spec.user {
        // Takes away all further groups as well.
        command.uid(user.uid).gid(user.gid);
    }
    command
}

fn sentence(program: &[OsString], error: &io::Error) -> String {
    let name = program.first().cloned().unwrap_or_default();
    format!("{} cannot be started: {error}", name.display())
}
