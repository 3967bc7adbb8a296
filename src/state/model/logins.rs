//! Logins and logouts: accounts that are being linked and unlinked, and who waits for that. Pure.

use std::collections::VecDeque;

use crate::channels::LoginMethod;
use crate::protocol::call::Channel;
use crate::protocol::error::WireError;
use crate::state::model::clients::Asker;

/// At most one login and one logout are under way. Neither ends because its asker has gone, but such a login makes
/// way for the next.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    /// Logins, oldest first. The last is under way; those before it have made way, and the channel has yet to end
    /// them: what it reports is about the first.
    pub(crate) asked: VecDeque<(UnderWay, LoginMethod)>,
    pub(crate) logout: Option<UnderWay>,
}

/// A login or logout that the channel has not finished yet.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) channel: Channel,
    pub(crate) asker: Asker,
}

pub(crate) fn under_way(what: &str, other: &UnderWay) -> WireError {
    WireError::conflict(format!(
        "another {what} of {} is under way; it ends by itself within minutes, try again then",
        other.channel.name()
    ))
}
