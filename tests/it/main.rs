//! Process-level tests: each starts the real daemon and talks to it over real sockets.
//!
//! They know the protocol, the command line and nothing else: no module of the library but its
//! limits is used here, so a test fails only for what a client could notice.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests start the daemon and their own threads, which the library's wrappers are not for"
)]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::panic, reason = "a panic is how a test fails")]

#[allow(dead_code, unused_imports, reason = "each test binary uses its own part")]
#[path = "../telegram/botapi/mod.rs"]
mod botapi;
mod harness;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../whatsapp/lab.rs"]
mod lab;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../whatsapp/mock.rs"]
mod mock;
#[path = "../support/schemas.rs"]
mod schemas;

mod agent;
mod capacity;
mod events;
mod full_disk;
mod golden;
mod handshake;
mod hostile_folder;
mod http_gate;
mod http_heads;
mod idempotency;
mod leftovers;
mod lifecycle;
mod logins;
mod memory;
mod no_token;
mod older_folder;
mod pages;
mod places;
mod presence;
mod python;
mod real_pi;
mod requests;
mod sandbox;
mod sandbox_leftovers;
mod sessions;
mod slow_consumer;
mod toggles;
mod token;
mod token_file;
mod transport;
mod trouble;
mod walls;
mod worst_case;
