//! The WhatsApp channel from outside: the real daemon with the real sidecar, against a mock of
//! WhatsApp's servers that speaks the real wire protocol.
//!
//! `mock` starts and drives those servers (`tests/mock-whatsapp`); `lab` puts servers, daemon and
//! people together for the others. Nothing here uses the library but its limits.

mod beat;
mod chats;
mod closing;
mod crash;
mod groups;
pub(crate) mod lab;
mod lease;
mod linking;
mod media;
mod mock;
mod sending;
mod trouble;
