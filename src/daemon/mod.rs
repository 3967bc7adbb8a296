//! The daemon: from its command line to a running gateway, and from its end to an exit code.
//!
//! Stands above everything but the binaries, and ties the threads together, which know nothing of each
//! other: `start` reads what was set, `gateway` starts the threads in order and stops them in
//! reverse, and `setup` and `agent_setup` say what each of them is to be, from the settings.

mod agent_setup;
mod fatal;
mod gateway;
mod listeners;
mod process;
mod setup;
mod start;

pub use start::main;
