//! The switches that a person can throw.

use crate::protocol::call::Channel;

/// One switch and where to put it.
pub(crate) enum Switch {
    Heartbeats(bool),
    Channel(Channel, bool),
    Paused(bool),
}
