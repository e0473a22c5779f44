//! The fleet: the automations we ship, one file each, and the process that serves them. The program is `baton-worker`.

pub mod automations;
pub mod config;
pub mod http;
pub mod process;
pub mod program;
pub mod secrets;
