//! The clients that are connected, and what each said of itself.

use std::collections::BTreeMap;

use crate::limits::PRESENCE_TEXT_BYTES_MAX;
use crate::protocol::ConnId;
use crate::protocol::frame::cut_encoded;
use crate::protocol::payload::ClientEntry;
use crate::text;

/// Kept of `locale` and `userAgent`: the 256 characters that the schema lets through.
pub(crate) const LONG_TEXT_BYTES_MAX: usize = 4 * 256;

/// Connections past their handshake.
pub(crate) type Clients = BTreeMap<ConnId, Client>;

/// One of them.
pub(crate) struct Client {
    /// What it said about itself, cut to what others may be shown.
    pub(crate) about: ClientEntry,
    /// Its own name for its installation, or its connection's.
    pub(crate) instance: String,
    /// Number of the token that it proved.
    pub(crate) token: u64,
}

/// On one line, without anything hidden, and cut to so many bytes of JSON.
pub(crate) fn clean(text: &str, bytes_max: usize) -> String {
    cut_encoded(&text::one_line(text), bytes_max).to_owned()
}

/// An id the same way, but for its blanks: whoever chose it looks for it.
pub(crate) fn clean_id(id: &str) -> String {
    let shown: String = id.chars().filter(|c| !c.is_control() && !text::is_hidden(*c)).collect();
    cut_encoded(&shown, PRESENCE_TEXT_BYTES_MAX).to_owned()
}
