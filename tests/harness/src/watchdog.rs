//! Nothing outlives its test: one small shell holds the read end of a pipe whose write end only this process has. When
//! this process ends, in whatever way, the pipe closes and the shell kills every process group still entered.
//!
//! `Drop` is the usual way; this is for `kill -9`, time limits of the test runner, and aborts. The kernel's own
//! parent-death signal is no use here: it fires when the *thread* that started the child ends.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
live=' '
while read -r verb group; do
  case $verb in
    watch) live="$live$group " ;;
    leave) live="${live%% $group *} ${live#* $group }" ;;
  esac
done
for group in $live; do kill -KILL "-$group" 2>/dev/null; done
"#;

/// Has the process group `group` killed when this process ends.
pub(crate) fn watch(group: u32) {
    tell("watch", group);
}

/// Takes the group out again, once it has ended: its number may be given to somebody else.
pub(crate) fn leave(group: u32) {
    tell("leave", group);
}

fn tell(verb: &str, group: u32) {
    let mut shell = shell();
    if let Err(error) = writeln!(shell, "{verb} {group}") {
        panic!("cannot tell the watchdog to {verb} process group {group}: {error}");
    }
}

fn shell() -> MutexGuard<'static, ChildStdin> {
    static SHELL: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let shell = SHELL.get_or_init(|| {
        // a group of its own: whoever kills the test's group must not take the watchdog with it
        let started = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let stdin = started.map(|mut child| child.stdin.take());
        match stdin {
            Ok(Some(stdin)) => Mutex::new(stdin),
            other => panic!("cannot start the watchdog shell: {other:?}"),
        }
    });
    shell.lock().unwrap_or_else(PoisonError::into_inner)
}
