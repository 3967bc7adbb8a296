//! The agent thread, driven as the state thread drives it, with real child processes.

mod demo;
mod harness;
