//! The switches that a person can throw.

use crate::protocol::call::Channel;

/// Slot that keeps the toggles.
pub(crate) const SLOT: &str = "toggles";

/// One switch and where to put it.
pub(crate) enum Switch {
    Heartbeats(bool),
    Channel(Channel, bool),
    Paused(bool),
}
