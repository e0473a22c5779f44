//! The worker over a real broker: the test itself plays the orchestrator (`stage`), the automations do what they are told (`scripts`).
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

mod claim;
mod ends;
mod late;
mod poison;
mod scripts;
mod stage;
mod together;
