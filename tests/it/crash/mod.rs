//! Crash tests: whatever the moment at which the power goes or the daemon is killed, it keeps what
//! it has promised.
//!
//! `power_cut` records everything that a daemon does to its files and sockets (`scenario`,
//! `trace`), rebuilds its folder as power cuts at each moment could leave it (`disk`), and starts
//! the daemon on that to hold it (`verdict`) to what it had promised by then (`talk`, `facts`).
//! `kills` ends daemons at random moments under load.

mod disk;
#[cfg(test)]
mod disk_tests;
mod facts;
mod kills;
mod power_cut;
mod scenario;
mod talk;
mod trace;
mod verdict;
