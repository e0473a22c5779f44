//! The stages inside the tree: what joins the cgroup, takes its limits and becomes the program, and the first process of a PID namespace.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getppid, set_parent_process_death_signal,
    setrlimit, setsid, umask, wait,
};

use super::nanny::exit_of;
use super::status::{ENDED, LAUNCH_ERROR, write};
use super::{CODE_OF_LAUNCHER, LaunchSpec, STAGE_INIT, STAGE_PROGRAM, SUBCOMMAND};
use crate::process::Containment;
use crate::process::capabilities::give_up;
use crate::process::cgroup::Cgroup;

/// The first descriptor after input, output and errors.
const FIRST_OF_OTHERS: i32 = 3;

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
    let ours = Path::new("/proc/self/exe");
    let stage = stage(ours, STAGE_PROGRAM, spec, program);
    let child = match stage.and_then(|mut stage| stage.spawn()) {
        Ok(child) => child,
        Err(error) => return not_started(told(spec), &error),
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

/// The stage before the program in a PID namespace. Returns only when that failed.
pub(super) fn in_namespace(spec: &LaunchSpec, program: &[OsString]) -> i32 {
    // Opened before it gives up the rights to.
    let said = told(spec);
    not_started(said, &into(spec, program))
}

/// The file by which the worker is told why nothing was started; nobody else can be told.
fn told(spec: &LaunchSpec) -> io::Result<File> {
    let path = spec.control.join(LAUNCH_ERROR);
    File::options().append(true).open(path)
}

fn not_started(said: io::Result<File>, error: &io::Error) -> i32 {
    if let Ok(mut said) = said {
        let _ = write!(said, "{error}");
    }
    CODE_OF_LAUNCHER
}

fn confine(spec: &LaunchSpec) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(Pid::as_raw_pid) != Some(spec.parent) {
        return Err(io::Error::other("its launcher is gone"));
    }
    // Before anything is limited, and from inside: there is no moment in which it runs outside its cgroup.
    for cgroup in spec.cgroup.iter().chain(&spec.older_groups) {
        Cgroup::at(cgroup.clone()).join()?;
    }
    // Whatever the worker inherited without knowing ends here: a program has its input, its outputs, and no more.
    close_fds::set_fds_cloexec(FIRST_OF_OTHERS, &[]);
    setsid()?;
    umask(spec.umask.mode());
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

/// Gives up what it may not have, and becomes the program. Returns only when that failed.
fn into(spec: &LaunchSpec, program: &[OsString]) -> io::Error {
    match last_steps(spec, program) {
        // The file is held until this process is another.
        Ok((mut command, _held)) => io::Error::other(sentence(program, &command.exec())),
        Err(error) => error,
    }
}

/// In this order: what is looked at may lie where only the worker sees it, a sandbox is entered with its rights, and these go last.
fn last_steps(spec: &LaunchSpec, program: &[OsString]) -> io::Result<(Command, Option<File>)> {
    let (name, args) = program
        .split_first()
        .ok_or_else(|| io::Error::other("there is no program"))?;
    let pinned = match &spec.pin {
        Some(pin) => Some(pin.held().map_err(io::Error::other)?),
        None => None,
    };
    spec.sandbox
        .enter(&spec.own, Path::new(name))
        .map_err(io::Error::other)?;
    give_up(spec.capabilities, spec.user, spec.may_gain_privileges)?;
    let held = pinned.map(by_itself).transpose()?.flatten();
    let mut command = match &held {
        // The very file that was looked at, whatever lies at its path by now. Its descriptor closes when it is entered.
        Some(file) => Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())),
        None => Command::new(name),
    };
    command.arg0(name).args(args).current_dir(&spec.dir);
    Ok((command, held))
}

/// The file, unless it is a script: its interpreter opens that by its path, which only the worker's own look holds.
fn by_itself(mut file: File) -> io::Result<Option<File>> {
    let mut first = [0; 2];
    let read = file.read(&mut first)?;
    file.rewind()?;
    Ok((read < first.len() || first != *b"#!").then_some(file))
}

fn into_namespace(spec: &LaunchSpec, program: &[OsString]) -> io::Error {
    // By its path: where another program stands between, the link in /proc is that one's.
    let ours = std::env::current_exe();
    let stage = match ours.and_then(|ours| stage(&ours, STAGE_INIT, spec, program)) {
        Ok(stage) => stage,
        Err(error) => return error,
    };
    Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child=KILL", "--"])
        .arg(stage.get_program())
        .args(stage.get_args())
        .exec()
}

/// A stage of this same launcher.
fn stage(ours: &Path, name: &str, spec: &LaunchSpec, program: &[OsString]) -> io::Result<Command> {
    let mut stage = Command::new(ours);
    stage.args([SUBCOMMAND, name, &serde_json::to_string(spec)?]);
    stage.args(program);
    Ok(stage)
}

fn sentence(program: &[OsString], error: &io::Error) -> String {
    let name = program.first().cloned().unwrap_or_default();
    format!("{} cannot be started: {error}", name.display())
}
