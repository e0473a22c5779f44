//! Running other programs safely. Every automation that starts a process does it through [`Processes::run`], which promises:
//!
//! - **An argument vector, never a shell line.** The environment is cleared: a fixed `PATH`, `LANG`, `HOME` and `TMPDIR` in the run's own
//!   folder, and what the automation adds; variables that change what a program loads or runs (`LD_*`, `BASH_ENV`, `PYTHONPATH` …) are
//!   refused, from tasks `GIT_*` and the like as well.
//! - **An own folder** for each run (0700), its working directory unless another is named; taken away after success, kept for some hours
//!   after failure. What it is handed there (0600) nobody else reads; what it makes elsewhere is born under `processes.umask`, so that others
//!   may read it. An own session, standard input from `/dev/null` or from given bytes.
//! - **No more rights than it needs**: the capabilities of the worker are given up, but those an entry of the allow-list names, and
//!   set-user-id programs give none back (`no_new_privs`). A [`Sandbox`] shuts it in further; where the kernel has none, nothing is started.
//!   A program that is pinned ([`Pin`]) is not started when it is not what it was.
//! - **Limits** of time, output (head and tail are kept, dropped bytes are counted), memory, processes, open files, file size.
//! - **The whole tree ends, and its end is confirmed**, when the program ends, when the run is cancelled or its time is over, when the
//!   future is dropped, and when the worker itself is killed. Where it cannot be confirmed, the run says so ([`RunError::Alive`]), and the
//!   outcome of the attempt is *unknown*. A program that wants to leave a daemon behind cannot: that is what service managers are for.
//! - **Its result comes by file** (`BATON_RESULT`), never by scraping its output. What it printed is shown without control characters and
//!   with secrets masked ([`Masks`]).
//!
//! ```no_run
//! # async fn f(processes: &baton_fleet::process::Processes, context: &baton_worker::Context) -> Result<(), baton_worker::TaskError> {
//! use baton_fleet::process::{Changes, Run};
//! let run = Run::new("git").args(["rev-parse", "HEAD"]).dir("/srv/site").env("GIT_TERMINAL_PROMPT", "0");
//! let ended = processes.run(context, run).await.map_err(|error| error.into_task_error(Changes::Nothing))?;
//! if !ended.success() {
//!     return Err(baton_worker::TaskError::failed("git", ended.complaint("git rev-parse")));
//! }
//! let head = ended.stdout.text.trim();
//! # Ok(()) }
//! ```

mod capabilities;
pub(crate) mod cgroup;
mod containment;
mod ended;
mod folder;
mod kit;
pub mod launch;
mod limits;
mod options;
mod orphans;
mod output;
mod pins;
mod place;
mod run;
mod run_error;
mod sandbox;
pub(crate) mod tree;
mod umask;
mod user;

pub use baton_worker::Masks;
pub use capabilities::Capabilities;
pub use containment::Containment;
pub use ended::{Ended, Exit};
pub use folder::FolderError;
pub use kit::Processes;
pub use limits::Limits;
pub use options::{ContainmentWish, ProcessesConfig};
pub use orphans::OrphanError;
pub use output::Captured;
pub use pins::Pin;
pub(crate) use pins::hex;
pub use run::Run;
pub use run_error::{Changes, RunError};
pub use sandbox::{Sandbox, SandboxError, SandboxReach};
pub use umask::Umask;
pub use user::{User, UserError};
