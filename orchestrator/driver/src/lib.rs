//! The driver: the one loop between the engine and the world. Loads, decides, commits once for many inputs, hands what follows to
//! the outlet, keeps the watermark and the timers. Knows neither broker nor SQL: it is written against two small traits, [`Store`] and
//! [`Outlet`], and the simulator drives this very code.
//!
//! The promise it keeps: nothing is handed to the outlet that is not in a committed row, and [`Driver::turn`] returns before anything
//! is acknowledged, so that whatever dies in between, what was taken in comes again or is in the store.

pub mod batch;
mod cache;
mod changed;
mod driver;
mod flight;
mod guard;
pub mod leases;
pub mod outlet;
mod owed;
mod recover;
mod registered;
pub mod reservations;
pub mod store;
mod turn;
mod unsent;
pub mod work;

pub use batch::{
    Batch, ColdRow, DeadLetterRow, LogRow, OwedRow, PurgeRow, Purged, ReservationChange, SagaRow,
    SnapshotRow, SubscriptionChange, SubscriptionRow, UnsentRow, WorkItemRow,
};
pub use changed::Changed;
pub use driver::{Driver, DriverError, Figures, Options};
pub use guard::{Panicked, guarded};
pub use leases::{LeaseTable, Suspicion};
pub use outlet::{Outgoing, Outlet, Sent, Ticket};
pub use owed::Owed;
pub use reservations::{Admission, ReservationRow, ReservationState, Reservations, Told};
pub use store::{
    CommitError, DefinitionRow, IN_DOUBT_ROWS, InDoubt, Loaded, Recovered, Store, StoreError,
    Unbroken,
};
pub use work::{Answer, Token, Work};
