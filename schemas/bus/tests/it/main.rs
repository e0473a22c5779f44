//! The bus against a real broker: each promise of the crate is broken here on purpose by broker, network or neighbour.
//! One binary, so that it links once.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test, as tests do"
)]

mod addresses;
mod blocked;
mod declare;
mod killed;
mod naive;
mod overflow;
mod park;
mod rebuild;
mod support;
mod tls;
mod unroutable;
