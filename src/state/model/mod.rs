//! What the state thread knows: plain data, and what may become of it.
//!
//! Nothing here names `State`, does IO or reads a clock.

pub(super) mod access;
pub(super) mod batch;
pub(super) mod budget;
pub(super) mod channel_config;
pub(super) mod clients;
pub(super) mod directive;
pub(super) mod forgetting;
pub(super) mod group_context;
pub(super) mod health;
pub(super) mod heartbeats;
pub(super) mod inbox;
pub(super) mod keys;
pub(super) mod logins;
pub(super) mod outbox;
pub(super) mod person;
pub(super) mod presence;
pub(super) mod prompt;
pub(super) mod question;
pub(super) mod recovery_bounds;
pub(super) mod reply;
pub(super) mod runs;
pub(super) mod session_queues;
pub(super) mod sessions;
pub(super) mod slot;
pub(super) mod steps;
pub(super) mod stopping;
pub(super) mod switch;
pub(super) mod system_notes;
pub(super) mod warnings;
pub(super) mod write_buffer;

/// JSON text of one of our own types. That one could not be written is a defect: better to start again from
/// what is on record than to put something else there.
pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our own types become JSON")
}
