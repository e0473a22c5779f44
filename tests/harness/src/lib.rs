//! Real parts for tests: a private RabbitMQ, a private PostgreSQL, a relay that cuts connections, our own processes to be killed, and an
//! independent ledger of effects.
//!
//! Guarantees: nothing here touches a system service or listens beyond loopback; whatever a test starts is ended with
//! it, also when the test panics or is itself killed (`watchdog.rs`); every wait has a deadline and says what it waited
//! for. As this is test equipment, what cannot be done panics with what was tried, instead of returning an error.
//!
//! | part | for |
//! |---|---|
//! | [`Broker`] | a RabbitMQ node: shared by all tests, or the test's own to kill and restart |
//! | [`Vhost`] | a fresh virtual host on it, gone at the end of the test |
//! | [`Postgres`] | a PostgreSQL server: shared by all tests, or the test's own to kill and restart |
//! | [`Database`] | a fresh database on it, gone at the end of the test |
//! | [`Proxy`] | a TCP relay between client and broker that can cut, hold and delay |
//! | [`Process`] | one of our binaries: started, stopped, killed, its log read |
//! | [`Net`] | several hosts on this machine, whose links can be cut |
//! | [`Ledger`] | the outside world, which remembers what was done to it |
//! | [`await_until`] | a condition with a deadline in place of a sleep |
//! | [`is_supervised`] | whether runit looks after a service |
//! | [`not_tested`] | what this host does not let a test try, said loudly |

pub mod binaries;
pub mod broker;
pub mod ledger;
mod net;
mod ports;
pub mod postgres;
mod process;
mod proxy;
mod runit;
pub mod shared;
mod untested;
mod vhost;
mod wait;
mod watchdog;

pub use broker::{Broker, Management, Minority, Options, SHARED_ENV};
pub use ledger::Ledger;
pub use net::{Host, Net, Place};
pub use postgres::{Database, Postgres};
pub use process::{Launch, Process};
pub use proxy::{Direction, Proxy};
pub use runit::is_supervised;
pub use untested::{NOT_TESTED_ENV, not_tested};
pub use vhost::{Message, Queue, Vhost};
pub use wait::{await_some, await_until};

/// The user every private broker has; it may do everything, from loopback only.
pub const USER: &str = "guest";
/// The password of [`USER`].
pub const PASSWORD: &str = "guest";
