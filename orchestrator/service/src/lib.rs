//! The orchestrator's process: the driver of one partition with everything around it. Takes in reports, dead letters and the fleet's
//! words, serves the API, and holds no decision of its own: those are the engine's.
//!
//! Guarantee: nothing is acknowledged before it is committed, nothing leaves before it is committed, and whatever fails for a while
//! (broker, store, disk) is said once, waited for, and gone on from.

mod access;
mod alerts;
mod api;
mod audit;
mod chain;
mod changes;
mod choices;
mod clock;
mod cluster;
pub mod config;
mod dead_letters;
mod decode;
mod fleet;
mod health;
mod hot;
mod http;
pub mod metrics;
mod planned;
mod replay;
mod retention;
mod service;
pub mod store;
mod together;
mod token;
mod topology;
mod triggers;
mod types;
mod usher;

use baton_engine::masks;

pub use api::openapi;
pub use hot::HotError;
pub use http::HttpError;
pub use service::{ServiceError, run};
pub use token::TokenError;
pub use triggers::hooks::HookError;
