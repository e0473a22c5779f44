//! The engine: every decision Baton makes, and nothing else. Pure, synchronous, deterministic: time, ids and chance come in
//! as arguments; nothing here can do I/O, since nothing it depends on can.
//!
//! The way through: an [`Input`] about one saga comes in; [`decide()`] looks at the [`Definition`], the [`Catalogue`] and the
//! [`SagaState`] and answers with [`Record`]s; folding the records gives the next state; [`commands`] reads from the records
//! what has to leave the process once they are committed. Recovery folds the same records by the same function.

pub mod advance;
pub mod catalogue;
pub mod child;
pub mod command;
pub mod decide;
pub mod definition;
pub mod expr;
pub mod fan;
pub mod fold;
pub mod input;
pub mod invariants;
pub mod level;
pub mod masks;
mod names;
pub mod plan;
pub mod planted;
pub mod record;
pub mod reservation;
pub mod role;
mod scope;
pub mod state;
pub mod timer;
pub mod transition;
pub mod trigger;
mod types;
pub mod upgrade;
pub mod work_item;

pub use catalogue::{Catalogue, CatalogueError};
pub use command::{Command, commands, publishes};
pub use decide::{DecideError, Decision, Refusal, Rules, Verdict, decide, decide_between};
pub use definition::Definition;
pub use fold::{FoldError, fold, replay};
pub use input::{Approval, Input, Operator};
pub use level::{Feature, Level};
pub use record::{Entry, Record};
pub use reservation::{Reservation, ReservationKind, Want};
pub use role::Role;
pub use state::{SagaState, Status};
pub use timer::TimerKey;
pub use types::same_value;
pub use work_item::{Assignment, Choice, Whose, WorkItem, WorkItemKind};
