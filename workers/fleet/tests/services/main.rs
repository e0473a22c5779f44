//! `service.start`, `service.stop` and `service.restart` with the real thing: services under a real runit, supervisor and systemd, their laws (do, undo and probe, each
//! twice; how it was found comes back; what somebody else did is left alone).
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod laws;
mod runit;
mod stage;
mod supervisor;
mod systemd;
