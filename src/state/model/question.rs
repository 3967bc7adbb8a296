//! A question: a message on a channel with the pieces of its album, as a run asks it. Pure.

use std::path::PathBuf;

use crate::channels::message::Inbound;
use crate::clock::Now;
use crate::config::file::Commands;
use crate::protocol::call::RunId;
use crate::protocol::payload::{Message, Role};
use crate::state::model::access::Attribution;
use crate::state::model::directive;
use crate::state::model::directive::Directive;
use crate::state::model::inbox::InboxId;
use crate::state::model::outbox::Reply;
use crate::state::model::prompt::Prompt;

/// A message with all its pieces, ready to be asked.
pub(crate) struct Question {
    pub(crate) inbox_ids: Vec<InboxId>,
    pub(crate) attribution: Attribution,
    pub(crate) reply: Reply,
    pub(crate) from: String,
    /// What the person wrote, as the history has it.
    pub(crate) text: String,
    /// The prompt for the model.
    pub(crate) prompt: Prompt,
    pub(crate) images: Vec<(String, PathBuf)>,
    /// Names of the files that could not be taken, for the person.
    pub(crate) left_out: Vec<String>,
    /// Whether there is something that the model can answer.
    pub(crate) has_content: bool,
    pub(crate) directive: Option<Directive>,
    /// How much directives of others than the owner may touch in this chat.
    pub(crate) commands: Commands,
    /// In how many lives of the gateway its prompt was given to the agent.
    pub(crate) asked: u32,
    /// Whether the history has it from an earlier life.
    pub(crate) said: bool,
}

/// The line for the gateway that a message is, if it is one and nothing else.
pub(crate) fn directive_of(message: &Inbound) -> Option<Directive> {
    directive::parse(&message.text).filter(|_| message.media.is_empty() && message.about.is_none())
}

/// Tells the model of a message that the gateway did not live through once.
pub(crate) const INTERRUPTED: &str = "This was being worked on when the gateway stopped. Something may have been done already: look before you do it again.";

impl Question {
    /// The message of the session's history that this question is.
    pub(crate) fn message(&self, run_id: Option<&RunId>, now: Now) -> Message {
        Message {
            channel: Some(self.reply.route.channel),
            from: Some(self.from.clone()),
            run_id: run_id.map(ToString::to_string),
            ..Message::new(Role::User, self.text.clone(), now.wall_ms)
        }
    }
}

pub(crate) fn join<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().filter(|text| !text.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// The line that tells a person of the files that could not be taken.
pub(crate) fn left_out_line(left_out: &[String]) -> String {
    format!("I could not take {}.", left_out.join(", "))
}
