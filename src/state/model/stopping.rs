//! The end that is under way.

use std::time::Instant;

/// Set once the gateway is to stop.
pub(crate) struct Stopping {
    pub(crate) reason: String,
    pub(crate) restart_expected: bool,
    /// When to leave even if a run has not reported its end.
    pub(crate) deadline: Instant,
}
