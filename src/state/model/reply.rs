//! Where an answer goes besides the clients.

use crate::channels::ChannelCommand;
use crate::channels::message::{Inbound, Route};
use crate::state::Effect;
use crate::state::model::inbox::InboxId;

/// Where an answer goes. Fixed when the message is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) route: Route,
    /// The message that it answers, where that has to be said: among several people.
    pub(crate) to: Option<String>,
}

impl Reply {
    pub(crate) fn to(message: &Inbound) -> Self {
        Self { route: message.route.clone(), to: message.is_group.then(|| message.message_id.clone()) }
    }
}

/// What the end of a run owes to channels.
#[derive(Debug, Default)]
pub(crate) struct PendingReplies {
    /// One answer for each chat.
    pub(crate) replies: Vec<Reply>,
    /// Messages that are answered with it.
    pub(crate) inbox_ids: Vec<InboxId>,
    /// Somebody on a channel asked, and is told of failures too.
    pub(crate) by_person: bool,
}

pub(crate) fn typing(route: &Route, is_typing: bool) -> Effect {
    Effect::Channel(ChannelCommand::Typing { route: route.clone(), is_typing })
}
