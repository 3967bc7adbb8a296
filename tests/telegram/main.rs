//! The Telegram surface from outside: the real daemon between a hostile Bot API server and clients.
//!
//! `botapi` is the server and `peer` its own tests; `gramlab` is a server that nobody here wrote.
//! `lab` puts server, daemon and people together for the others. Nothing here uses the library but
//! its limits.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests start the daemon and their own threads, which the library's wrappers are not for"
)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::panic, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "a seed, and what was tried, are for whoever reads a failure")]

mod access;
mod botapi;
mod crash;
mod crowd;
mod forgetting;
mod gramlab;
#[allow(dead_code, unused_imports, reason = "each test binary uses its own part")]
#[path = "../it/harness/mod.rs"]
mod harness;
mod hostile;
mod inbound;
mod lab;
mod lease;
mod media;
mod outbound;
mod peer;
mod people;
#[path = "../support/random.rs"]
mod random;
mod reach;
#[path = "../support/schemas.rs"]
mod schemas;
mod secrets;
mod sending;
mod starting;
mod tries;
mod trouble;
