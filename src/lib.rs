//! clawdis-gateway: one daemon that owns a person's messaging surfaces and runs their agent.
//!
//! # Map
//!
//! A client's bytes flow down: `net::conn` (one thread per socket) reads, validates and parses;
//! `state` (one thread) decides; `net::outbound` (one thread) writes. `store` makes things
//! durable, `agent` runs the agent's processes, `channels` owns the messaging surfaces.
//!
//! # Invariants
//!
//! - **State does no IO**, takes no lock and never sleeps: `State::handle(event, now)` returns
//!   effects and its thread carries them out. (It logs; a line that does not fit stdout is dropped.)
//! - **Blocking sends go down the flow only** (conn -> state -> outbound; channels, store -> state;
//!   `agent` waits for nobody). Upwards state uses `try_send`, and a full queue is an answer.
//! - **One thread writes to clients** after the handshake: `outbound`.
//! - **A record is durable before the ack that promises it** and before the side effect that it
//!   guards.
//! - **The agent's folder is reached by one module** (`store::agent_folder`), by descriptors, and whatever
//!   others can put into the state folder is counted and deleted by a thread on which nobody waits.
//! - **Protocol types live in `protocol`**; nobody else derives `Serialize` for a client.
//! - Every bound stands in [`limits`].

// In the order in which they are best read; the blank lines keep it.
pub mod limits;

pub mod protocol;

mod state;

pub mod net;

pub mod store;

pub mod agent;

pub mod channels;

pub mod daemon;

pub mod config;

pub mod cli;

mod arguments;
mod backoff;
pub mod child;
mod clock;
mod logging;
mod metrics;
mod nearest;
mod plain_file;
mod port;
mod text;
mod threads;
