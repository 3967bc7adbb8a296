//! Accounts that are being linked and unlinked, and who waits for that.

use std::collections::VecDeque;

use crate::channels::LoginMethod;
use crate::protocol::ConnId;
use crate::protocol::call::Channel;
use crate::protocol::error::WireError;

/// At most one of each is under way. Neither ends because its asker has gone; a login that its asker
/// has left makes way for the next.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    /// The last one is under way. Those before it have made way, and the channel is yet to end them:
    /// what it tells is about the first.
    pub(crate) asked: VecDeque<(UnderWay, LoginMethod)>,
    pub(crate) logout: Option<UnderWay>,
}

/// A command that the channel has not finished yet.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) channel: Channel,
    /// Who asked; it may be gone, and no other connection gets its number.
    pub(crate) conn: ConnId,
    /// Its request.
    pub(crate) id: String,
}

pub(crate) fn under_way(what: &str, other: &UnderWay) -> WireError {
    WireError::conflict(format!(
        "another {what} of {} is under way; it ends by itself within minutes, try again then",
        other.channel.name()
    ))
}
