//! The gateway's own end, once it is under way.

use std::time::Instant;

/// Why and until when the gateway stops.
pub(crate) struct Stopping {
    pub(crate) reason: String,
    pub(crate) restart_expected: bool,
    /// Time to leave, also if a run has not reported its end.
    pub(crate) deadline: Instant,
}
