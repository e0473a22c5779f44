//! The process as its users meet it: the real binary, a real broker, the fleet's own worker, the tool at the command line.

mod away;
mod bad_input;
mod ends;
mod runs;
mod stage;
