//! What the state thread knows: plain data, and what may become of it.
//!
//! Nothing here names `State`, does IO or reads a clock.

pub(super) mod access;
pub(super) mod budget;
pub(super) mod channel_config;
pub(super) mod forgetting;
pub(super) mod group_context;
pub(super) mod health;
pub(super) mod heartbeats;
pub(super) mod inbox;
pub(super) mod keys;
pub(super) mod outbox;
pub(super) mod presence;
pub(super) mod prompt;
pub(super) mod recovery_bounds;
pub(super) mod runs;
pub(super) mod sessions;
pub(super) mod steps;
pub(super) mod system_notes;
pub(super) mod warnings;
