//! The agent thread, driven as the state thread drives it, with real child processes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod demo;
mod guard;
mod harness;
mod hostile;
mod real_pi;
mod replay;
