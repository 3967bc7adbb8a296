//! The WhatsApp surface from outside: the real daemon with the real sidecar, against a mock of
//! WhatsApp's servers that speaks the real wire protocol.
//!
//! `mock` starts and drives those servers (`tests/mock-whatsapp`); `lab` puts servers, daemon and
//! people together for the others. Nothing here uses the library but its limits.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests start the daemon and their own threads, which the library's wrappers are not for"
)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::panic, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "a seed, and what was tried, are for whoever reads a failure")]

mod beat;
mod chats;
mod closing;
mod crash;
mod groups;
#[allow(dead_code, unused_imports, reason = "each test binary uses its own part")]
#[path = "../it/harness/mod.rs"]
mod harness;
mod lab;
mod lease;
mod linking;
mod media;
mod mock;
#[path = "../support/random.rs"]
mod random;
#[path = "../support/schemas.rs"]
mod schemas;
mod sending;
mod trouble;
