//! What a server and the network before it do wrong, scripted per method and count.

use std::time::Duration;

/// One way to fail.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// A refusal in the Bot API's own words.
    Error(u16, &'static str),
    /// 429 with `retry_after` in seconds. Who comes back earlier breaks a rule.
    RetryAfter(u64),
    /// The page of a proxy in between.
    Html(u16),
    /// 200 with this body.
    Body(String),
    /// These bytes instead of an answer, and the end of the connection.
    Bytes(Vec<u8>),
    /// 200 with a body of this many bytes that never becomes JSON.
    Huge(usize),
    /// To another place.
    Redirect(String),
    /// No answer for as long as the client waits.
    Hang,
    /// The right answer, a byte at a time with this pause before each.
    Slow(Duration),
    /// The connection is reset before the body was read.
    ResetUnread,
    /// The connection is reset when the request was read and nothing was done.
    ResetRead,
    /// The request is carried out and the connection reset: the client cannot know.
    ResetDone,
    /// The request is carried out and half of the answer sent.
    HalfDone,
}

/// A fault that waits for its requests.
#[derive(Debug)]
pub(super) struct Planned {
    /// Method, `file` for downloads, or `*`.
    pub(super) method: String,
    /// Only for requests about this chat.
    pub(super) chat: Option<i64>,
    pub(super) left: usize,
    pub(super) fault: Fault,
}

impl Planned {
    pub(super) fn concerns(&self, method: &str, chat: Option<i64>) -> bool {
        self.left > 0
            && (self.method == "*" || self.method.eq_ignore_ascii_case(method))
            && (self.chat.is_none() || self.chat == chat)
    }
}
