//! One test for each rule of the engine: the table of outcomes, operators, the pivot, evidence, holders that linger, before-images,
//! and the way back from every phase.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod children;
mod choices;
mod claims;
mod edits;
mod evidence;
mod fan;
mod groups;
mod handwork;
mod images;
mod items;
mod lingering;
mod numbers;
mod operators;
mod outcomes;
mod outputs;
mod pivot;
mod plan;
mod purged;
mod reservations;
mod stage;
mod undo_when;
mod unwinding;
mod upgrades;
mod waiting;
