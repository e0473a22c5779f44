//! The whole system for tests: a broker, the orchestrator, workers and an independent ledger, each its own process, started, killed and
//! questioned as operators and bad luck would.
//!
//! Guarantees: what a [`System`] starts ends with its test; every wait is on a condition with a deadline; what a test claims
//! about effects it reads in the ledger ([`oracle`]), never in what Baton says of itself. As this is test equipment, what cannot be done
//! panics with what was tried.

mod api;
mod chance;
mod cli;
pub mod mixed;
pub mod oracle;
pub mod poison;
pub mod sagas;
pub mod site;
mod system;
mod terminal;

pub use api::{Answer, Api};
pub use chance::Chance;
pub use cli::{Cli, Ran};
pub use system::{Setup, System};
pub use terminal::Terminal;

use std::time::Duration;

/// How long anything that should happen soon may take, on a machine that is building something on every core meanwhile.
pub const SOON: Duration = Duration::from_secs(120);
/// How long what waits for a lost worker's lease may take: lease, the grace to kill, a marker, and then what is done about it.
pub const AFTER_A_LEASE: Duration = Duration::from_secs(240);

/// What a process has resident now, and had at most, in kilobytes.
#[must_use]
pub fn memory_kb(pid: u32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
            .expect("the kernel says so")
    };
    (line("VmRSS:"), line("VmHWM:"))
}

/// Whether there is time for the long runs.
pub fn long() -> bool {
    std::env::var_os("BATON_LONG").is_some_and(|set| !set.is_empty() && set != "0")
}
