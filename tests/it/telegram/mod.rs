//! The Telegram channel from outside: the real daemon between a hostile Bot API server and clients.
//!
//! `botapi` is the server and `peer` its own tests; `gramlab` is a server that nobody here wrote.
//! `lab` puts server, daemon and people together for the others. Nothing here uses the library but
//! its limits.

mod access;
pub(crate) mod botapi;
mod crash;
mod crowd;
mod forgetting;
mod gramlab;
mod hostile;
mod inbound;
mod lab;
mod lease;
mod media;
mod outbound;
mod peer;
mod people;
mod reach;
mod secrets;
mod sending;
mod starting;
mod tries;
mod trouble;
