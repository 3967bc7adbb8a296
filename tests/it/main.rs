//! Tests from outside: each starts the real daemon or command line and talks to it over real sockets.
//!
//! They know the protocol, the command line and nothing else: no module of the library but its limits is used
//! here, so a test fails only for what a client could notice. Three look further: `runner` drives the agent
//! thread as the state thread does, `schemas` compares the published schemas with the code, and `fuzz` opens
//! the store on damaged folders.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests start the daemon and their own threads, which the library's wrappers are not for"
)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::panic, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "a seed, and what was tried, are for whoever reads a failure")]

mod agent;
mod cli;
mod crash;
mod folder;
mod fuzz;
mod gateway;
mod harness;
mod runner;
mod schemas;
mod telegram;
mod whatsapp;
mod wire;
