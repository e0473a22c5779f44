//! Running other programs safely. Every automation that starts a process does it through [`Processes::run`], which promises:
//!
//! - **An argument vector, never a shell line.** The environment is cleared: a fixed `PATH`, `LANG`, `HOME` and `TMPDIR` in the run's own
//!   folder, and what the automation adds; variables that change what a program loads or runs (`LD_*`, `BASH_ENV`, `PYTHONPATH` …) are
//!   refused, from tasks `GIT_*` and the like as well.
//! - **An own folder** for each run (0700), its working directory unless another is named; taken away after success, kept for some hours
//!   after failure. An own session, umask 077, standard input from `/dev/null` or from given bytes.
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
mod place;
mod run;
mod run_error;
pub(crate) mod tree;
mod user;

pub use baton_worker::Masks;
pub use containment::Containment;
pub use ended::{Ended, Exit};
pub use folder::FolderError;
pub use kit::Processes;
pub use limits::Limits;
pub use options::{ContainmentWish, ProcessesConfig};
pub use orphans::OrphanError;
pub use output::Captured;
pub use run::Run;
pub use run_error::{Changes, RunError};
pub use user::{User, UserError};
