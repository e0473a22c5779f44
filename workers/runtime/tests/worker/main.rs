//! The worker over a real broker: the test itself plays the orchestrator (`stage`), the automations do what they are told (`scripts`).

mod claim;
mod ends;
mod late;
mod scripts;
mod stage;
