//! The git automations with real repositories and the real program: one exact commit, whole or not at all; do, undo and probe, each twice;
//! nothing of somebody else's is touched; no address and no folder that is not allowed; over every way git speaks.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod checkout;
mod https;
mod push;
mod server;
mod ssh;
mod stage;
#[path = "../../src/automations/tls_testing.rs"]
mod tls;
