//! Crash tests: whatever the moment at which the power goes or the daemon is killed, it keeps what
//! it has promised.
//!
//! `power_cut` records everything that a daemon does to its files and sockets (`scenario`,
//! `trace`), rebuilds its folder as power cuts at each moment could leave it (`disk`), and starts
//! the daemon on that to hold it (`verdict`) to what it had promised by then (`talk`, `facts`).
//! `kills` ends daemons at random moments under load.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests start the daemon and their own threads, which the library's wrappers are not for"
)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::panic, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "a seed, and what was tried, are for whoever reads a failure")]

#[allow(dead_code, unused_imports, reason = "each test binary uses its own part")]
#[path = "../it/harness/mod.rs"]
mod harness;
#[path = "../support/schemas.rs"]
mod schemas;

mod disk;
#[cfg(test)]
mod disk_tests;
mod facts;
mod kills;
mod power_cut;
#[path = "../support/random.rs"]
mod random;
mod scenario;
mod talk;
mod trace;
mod verdict;
