//! The one audited way of saying things over `RabbitMQ`: connect, declare, publish (confirmed), consume, park.
//!
//! The guarantees, each held by one module:
//! - [`Bus`]: two supervised connections, one for consuming and one for publishing, so that a blocked publisher never
//!   stops an acknowledgement; connected again by themselves; closed in order;
//! - [`Publisher`]: a verdict for every message, [`Sent`]; *confirmed* is only said when it was not returned either;
//! - [`Consumer`]: rebuilt on any end; an answer to a delivery never reaches another channel than its own;
//! - [`park()`]: what nobody can use is put aside whole, confirmed, before it is acknowledged.
//!
//! This is the only crate that uses lapin, and none of lapin's types appear in its interface, beside the cause in
//! [`BusError::Refused`].

mod backoff;
mod bus;
mod config;
mod connect;
mod consumer;
mod declare;
mod delivery;
mod error;
mod guard;
mod header;
mod lanes;
mod losses;
mod nesting;
mod park;
mod parts;
mod publisher;
mod raw;
mod state;
mod supervisor;

pub use bus::Bus;
pub use config::{BusConfig, TlsConfig};
pub use consumer::{ConsumeSpec, Consumer, ExclusiveQueue};
pub use declare::{DeclareReport, Named, QueueDepth};
pub use delivery::{AckTag, DELIVERY_LIMIT, Delivery, Lazy, Properties};
pub use error::{BusError, ParkError, Stale};
pub use header::{HeaderValue, Headers, version_header};
pub use losses::Losses;
pub use park::{is_the_brokers, park, park_and_ack};
pub use parts::{apart, is_several};
pub use publisher::{Outgoing, Publisher, Sent};
pub use raw::Raw;
pub use state::{BusState, Link};
