//! What the state thread does: one file per subject, each a part of `State`.
//!
//! A handler reads and changes the model, commits what that leaves in the write buffer, and leaves effects behind.
//! It declares no type that another one uses: those stand in `model`. Two files lead to the others:
//! `requests` what clients ask, `agent_events` what the agent thread reports.

mod access;
mod agent_events;
mod agent_requests;
mod asking;
mod clients;
mod deliveries;
mod directives;
mod forgetting;
mod health;
mod heartbeats;
mod intake;
mod logins;
mod replies;
mod requests;
mod runs;
mod sends;
mod switches;
