//! `baton-ledger BOOK PORT [ADDRESS]`: an independent ledger of effects, on loopback if not told otherwise, for tests, demo and bench. It stands for the
//! real systems Baton acts on, so it knows nothing of Baton.
//!
//! The HTTP contract; bodies are JSON:
//!
//! | request | answer |
//! |---|---|
//! | `POST /effects` with a call | 200 `{"changed": bool, "effect": Effect}` |
//! | `GET /effects/{key}`, percent-encoded | 200 `Effect`, also for a key never heard of: the probe |
//! | `GET /report` | 200 `{key: Effect}` |
//! | `GET /calls` | 200 every call in order |
//! | `POST /faults` with a fault, `DELETE /faults` | 200; the fault hits coming calls |
//! | `GET /healthz` | 200 |
//!
//! A call: `{"key", "direction": "do"|"undo", "saga", "step", "run", "value"}`; key and direction are required. `key`
//! names the effect and is the same for its `do` and its `undo`. Doing what stands and undoing what does not is recorded
//! and changes nothing. A call may ask for its own faults: `delay_ms` (before the effect), `delay_after_ms` (between
//! effect and answer), `fail` (500, no effect), `fail_after_effect` (500 after the effect), `drop_after_effect` (the
//! connection breaks after the effect). A fault has the same fields and `key_contains`, `direction`, `times` (0: for
//! ever); a fault that matches replaces what the call asks for.
//!
//! An `Effect`: `{"state": "never"|"applied"|"reverted", "done", "undone", "repeats", "done_after_undo", "value"}`.
//!
//! An answer is sent only after the call stands in the book, an append-only file of one JSON object a line. It is read
//! again at the next start; it is not synced, for the ledger outlives processes, not machines.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    const USAGE: &str = "usage: baton-ledger BOOK PORT [ADDRESS]";
    let mut args = std::env::args_os().skip(1);
    let book = PathBuf::from(args.next().context(USAGE)?);
    let port = args
        .next()
        .and_then(|port| port.to_str()?.parse().ok())
        .context(USAGE)?;
    let address = match args.next() {
        Some(address) => address
            .to_str()
            .and_then(|text| text.parse().ok())
            .context(USAGE)?,
        None => Ipv4Addr::LOCALHOST,
    };
    baton_harness::ledger::serve(&book, (address, port)).await
}
