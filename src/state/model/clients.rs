//! The clients that are connected, what each said of itself, and who of them waits for an answer. Pure.

use std::collections::{BTreeMap, VecDeque};

use crate::limits::{KEY_JOINERS_MAX, PRESENCE_TEXT_BYTES_MAX};
use crate::protocol::ConnId;
use crate::protocol::call::Channel;
use crate::protocol::error::WireError;
use crate::protocol::frame::cut_encoded;
use crate::protocol::payload::ClientEntry;
use crate::text;

/// Bytes kept of `locale` and `userAgent`: the schema lets 256 characters through.
pub(crate) const LONG_TEXT_BYTES_MAX: usize = 4 * 256;

/// Connections past their handshake.
pub(crate) type Clients = BTreeMap<ConnId, Client>;

/// A connected client.
pub(crate) struct Client {
    /// The client's words about itself, cut to what others may be shown.
    pub(crate) about: ClientEntry,
    /// The client's name for its installation (`instanceId`), or else its connection's id.
    pub(crate) instance: String,
    /// Number of the token that the client proved.
    pub(crate) token: u64,
}

/// A client's request that is owed an answer: the connection it came on, and its id there. The connection may be
/// gone by then, and no other one gets its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) conn: ConnId,
    pub(crate) id: String,
}

/// Adds a request to those that wait for the end of a run or message, `what`. There are only so many of them.
pub(crate) fn join(
    waiters: &mut Vec<Asker>,
    asker: &Asker,
    clients: &Clients,
    what: &str,
) -> Result<(), WireError> {
    // A client that has gone waits for nothing.
    waiters.retain(|waiter| clients.contains_key(&waiter.conn));
    if waiters.len() >= KEY_JOINERS_MAX {
        return Err(WireError::rate_limited(format!("too many callers wait for this {what}"), 5_000));
    }
    waiters.push(asker.clone());
    Ok(())
}

/// The logins and logouts that clients wait for. At most one of each is under way. Neither ends because its asker
/// has gone, but such a login makes way for the next.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    /// Logins, oldest first. The last is under way; those before it have made way, and the channel has yet to end
    /// them: what it reports is about the first. With each, the phone on which a code is typed, if one is.
    pub(crate) asked: VecDeque<(UnderWay, Option<String>)>,
    pub(crate) logout: Option<UnderWay>,
}

/// A login or logout that the channel has not finished yet.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) channel: Channel,
    pub(crate) asker: Asker,
}

/// The error for a login or logout, `what`, while another one is under way.
pub(crate) fn under_way(what: &str, other: &UnderWay) -> WireError {
    WireError::conflict(format!(
        "another {what} of {} is under way; it ends by itself within minutes, try again then",
        other.channel.name()
    ))
}

/// A client's text on one line, without anything hidden, and cut to so many bytes of JSON.
pub(crate) fn clean(text: &str, bytes_max: usize) -> String {
    cut_encoded(&text::one_line(text), bytes_max).to_owned()
}

/// A client's id without anything hidden, and cut. Its blanks stay: whoever chose the id looks for it.
pub(crate) fn clean_id(id: &str) -> String {
    let shown: String = id.chars().filter(|c| !c.is_control() && !text::is_hidden(*c)).collect();
    cut_encoded(&shown, PRESENCE_TEXT_BYTES_MAX).to_owned()
}
