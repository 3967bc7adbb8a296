//! What the state thread does: one file per subject, each a part of `State`.
//!
//! A handler reads and changes the model and leaves effects behind.

pub(super) mod agent_requests;
pub(super) mod asking;
pub(super) mod channel_upkeep;
pub(super) mod clients;
pub(super) mod deliveries;
pub(super) mod directives;
pub(super) mod expiry;
pub(super) mod intake;
pub(super) mod logins;
pub(super) mod notices;
pub(super) mod question;
pub(super) mod replies;
pub(super) mod requests;
pub(super) mod sends;
pub(super) mod session_queues;
pub(super) mod stopping;
pub(super) mod switches;
