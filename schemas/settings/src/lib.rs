//! How every program of ours is configured: documented defaults, a file, the environment, flags, in that order; a key nobody knows is
//! refused with the nearest known one; what is in force can be shown, without its secrets. What can be configured each program says itself.

mod error;
pub mod instance;
mod layers;
mod misfit;
pub mod nearest;
mod show;

pub use config::Value;
pub use error::{ConfigError, told};
pub use layers::{Layers, Named, Program, environment};
