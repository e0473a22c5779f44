//! This process among others on one database: which partitions it drives, and how what belongs to another reaches it.
//!
//! ```text
//! API, triggers ─▶ router ─▶ seat of the partition here ─▶ its hot loop
//!                        └─▶ peers ─▶ baton.peers ─▶ the owner's router ─▶ its hot loop ─▶ the answer back
//! members ─▶ (database: who is there) ─▶ takes and gives up seats; whoever has partition 0 leads: triggers, schedules, dead letters
//! ```
//!
//! Guarantee: a partition is driven by whoever holds its row in the database and by nobody else, since every commit names its epoch. Everything else
//! here only says when to take one and where to send what: sent to the wrong member it is not taken, sent twice it is the same by its id.

mod asking;
mod learning;
mod members;
mod peers;
mod refresh;
mod router;
mod seat;
mod words;

pub(crate) use members::{Home, Members, Uses as MembersUses};
pub(crate) use peers::{Peers, listen};
pub(crate) use router::{NotTaken, Router};
pub(crate) use seat::{Seats, Uses as SeatsUses};
