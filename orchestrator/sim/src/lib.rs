//! The simulator: a whole small world in one thread under one seed. The real driver and the real engine, around them models of the
//! broker, the store, the workers and the operators, in virtual time that jumps to the next event. One partition, or several that are shared out over several
//! orchestrators.
//!
//! The driver's futures are polled by hand, so that one can be dropped between any two awaits: that is a crash. After every event the
//! [`oracle`] holds what has happened against the promise: every saga ends completed, compensated, or parked with a named task. The
//! [`ledger`] is what has really happened to the world, the [`mod@reference`] what a naive reading of the scripts allows to happen.
//! The simulator decides nothing that Baton decides; it only breaks things. [`fault`] plants faults, to show that it can see.

pub mod act;
pub mod broker;
pub mod chaos;
pub mod disk;
pub mod event;
pub mod fault;
pub mod generate;
mod grouped;
pub mod hearing;
pub mod heart;
pub mod host;
mod items;
mod kin;
pub mod ledger;
pub mod mood;
pub mod operators;
pub mod oracle;
pub mod outside;
pub mod plan;
pub mod post;
mod reasons;
pub mod reference;
mod reserve;
pub mod rng;
pub mod run;
mod seats;
pub mod sending;
pub mod sweep;
pub mod trace;
pub mod turn;
pub mod worker;
pub mod world;
mod zombie;

pub use fault::Fault;
pub use grouped::grouped;
pub use kin::family;
pub use world::{Broken, Report, Setup, simulate};
