//! The clients that are connected, what each said of itself, and who of them waits for an answer.

use std::collections::BTreeMap;

use crate::limits::PRESENCE_TEXT_BYTES_MAX;
use crate::protocol::ConnId;
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

/// A client's text on one line, without anything hidden, and cut to so many bytes of JSON.
pub(crate) fn clean(text: &str, bytes_max: usize) -> String {
    cut_encoded(&text::one_line(text), bytes_max).to_owned()
}

/// A client's id without anything hidden, and cut. Its blanks stay: whoever chose the id looks for it.
pub(crate) fn clean_id(id: &str) -> String {
    let shown: String = id.chars().filter(|c| !c.is_control() && !text::is_hidden(*c)).collect();
    cut_encoded(&shown, PRESENCE_TEXT_BYTES_MAX).to_owned()
}
