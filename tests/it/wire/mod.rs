//! What is said over sockets: HTTP, the handshake, frames, and who may say it.

mod events;
mod golden;
mod handshake;
mod http_gate;
mod http_heads;
mod no_token;
mod pages;
mod places;
mod presence;
mod python;
mod requests;
mod slow_consumer;
mod token;
mod token_file;
mod transport;
