//! The process as its users meet it: the real binary, a real broker, the fleet's own worker, the tool at the command line.

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be done in a test ends the test"
)]

mod access;
mod away;
mod bad_input;
mod ends;
mod live;
mod page;
mod runs;
mod stage;
