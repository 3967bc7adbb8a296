//! What others write, mutated: heads, frames, hellos, lines of the agent and of the sidecar, answers
//! of the Bot API, and the state folder that a backup brought back.
//!
//! Each target mutates samples of its own with a fixed seed, for some seconds, and holds what the
//! gateway does against what it promises: it lives, it answers others meanwhile, and it says why it
//! ends a connection, a run or itself. See [`campaign`] for the variables that change how.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests start the daemon and their own threads, which the library's wrappers are not for"
)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::panic, reason = "a panic is how a test fails")]
#![allow(
    clippy::print_stdout,
    reason = "what was tried, and with which seed, is for whoever reads a failure"
)]

mod bot_api;
#[allow(dead_code, unused_imports, reason = "each test binary uses its own part")]
#[path = "../telegram/botapi/mod.rs"]
mod botapi;
mod campaign;
mod frames;
mod golden;
#[allow(dead_code, unused_imports, reason = "each test binary uses its own part")]
#[path = "../it/harness/mod.rs"]
mod harness;
mod hello;
mod http_head;
mod json;
mod mutate;
mod pi_lines;
#[path = "../support/random.rs"]
mod random;
mod relay;
#[path = "../support/schemas.rs"]
mod schemas;
mod sidecar_lines;
mod state_folder;
mod watch;
