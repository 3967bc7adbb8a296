//! Replies: where answers go besides the clients. Pure.

use crate::channels::message::{Inbound, Route};
use crate::state::model::inbox::InboxId;

/// The chat that an answer goes to; fixed when the message is taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) route: Route,
    /// The message that is answered, where that has to be said: among several people.
    pub(crate) to: Option<String>,
}

impl Reply {
    pub(crate) fn to(message: &Inbound) -> Self {
        Self { route: message.route.clone(), to: message.is_group.then(|| message.message_id.clone()) }
    }
}

/// What is owed to chats when a run ends.
#[derive(Debug, Default)]
pub(crate) struct PendingReplies {
    /// Where the answer goes, once for each chat.
    pub(crate) replies: Vec<Reply>,
    /// Messages that are answered with the run.
    pub(crate) inbox_ids: Vec<InboxId>,
    /// Whether somebody on a channel asked, who is told of failures, too.
    pub(crate) by_person: bool,
}
