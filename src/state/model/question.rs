//! A question: a message on a channel with the pieces of its album, its files, and what was said around it, as a run
//! asks it. Pure.

use std::path::PathBuf;

use crate::channels::message::Inbound;
use crate::clock::Now;
use crate::config::file::Commands;
use crate::limits::ATTACHMENTS_MAX;
use crate::protocol::payload::{Message, Role};
use crate::state::model::access::{Access, Attribution, OWNER};
use crate::state::model::directive;
use crate::state::model::directive::Directive;
use crate::state::model::group_context::GroupContext;
use crate::state::model::inbox::{Entry, Inbox, InboxId, describe};
use crate::state::model::outbox::Reply;
use crate::state::model::prompt::{Prompt, label_at};

/// A message with all its pieces, ready to be asked.
pub(crate) struct Question {
    pub(crate) inbox_ids: Vec<InboxId>,
    pub(crate) attribution: Attribution,
    pub(crate) reply: Reply,
    /// What the person wrote, as the session's history has it.
    pub(crate) message: Message,
    /// The prompt for the model.
    pub(crate) prompt: Prompt,
    pub(crate) images: Vec<(String, PathBuf)>,
    /// Names of the files that could not be taken, for the person.
    pub(crate) left_out: Vec<String>,
    /// Whether there is something in it that the model can answer.
    pub(crate) has_content: bool,
    /// The directive that the question is, if any, as far as its person may say it.
    pub(crate) directive: Option<Directive>,
    /// In how many lives of the gateway its prompt was given to the agent.
    pub(crate) asked: u32,
    /// Whether the history has the message from an earlier life.
    pub(crate) said: bool,
}

/// The directive that a message is, if it is one and nothing else.
pub(crate) fn directive_of(message: &Inbound) -> Option<Directive> {
    directive::parse(&message.text).filter(|_| message.media.is_empty() && message.about.is_none())
}

/// Tells the model of a message that the gateway did not live through once.
const INTERRUPTED: &str = "This was being worked on when the gateway stopped. Something may have been done already: look before you do it again.";

impl Question {
    /// The question that a message makes, of which these are all pieces. `None` if they are gone from the inbox.
    pub(crate) fn new(
        inbox_ids: &[InboxId],
        inbox: &Inbox,
        access: &Access,
        group_context: &GroupContext,
        now: Now,
    ) -> Option<Self> {
        let entries: Vec<&Entry> =
            inbox_ids.iter().filter_map(|inbox_id| inbox.waiting.get(inbox_id)).collect();
        let first = *entries.first()?;
        let message = &first.message;
        let mut left_out: Vec<String> =
            entries.iter().filter_map(|entry| entry.message.left_out.clone()).collect();
        let mut files = Vec::new();
        for file in entries.iter().flat_map(|entry| &entry.files) {
            match file {
                Ok((media, file)) => {
                    files.push(format!("{} is in the file {}", describe(media), file.path.display()));
                }
                Err(why) => left_out.push(why.clone()),
            }
        }
        let shown = entries.iter().map(|entry| entry.message.shown_text());
        let notices = files.iter().map(|file| format!("[{file}]"));
        let texts: Vec<String> = shown.chain(notices).filter(|text| !text.trim().is_empty()).collect();
        let directive = directive_of(message).filter(|_| inbox_ids.len() == 1);
        let commands = access.commands(message);
        Some(Self {
            inbox_ids: inbox_ids.to_vec(),
            attribution: first.attribution.clone(),
            reply: Reply::to(message),
            prompt: prompt_of(&entries, &files, group_context),
            has_content: !texts.is_empty() || message.quoted.is_some(),
            message: Message {
                channel: Some(message.route.channel),
                from: Some(message.name.clone().unwrap_or_else(|| message.from.clone())),
                ..Message::new(Role::User, texts.join("\n"), now.wall_ms)
            },
            // The prompt names the others by their files.
            images: entries.iter().flat_map(|entry| entry.image_files()).take(ATTACHMENTS_MAX).collect(),
            left_out,
            directive: directive.map(|it| for_person(it, &first.attribution.person, commands)),
            asked: entries.iter().map(|entry| entry.asked).max().unwrap_or(0),
            said: first.said,
        })
    }
}

/// The prompt for the model: in a group it has to know what was said before.
fn prompt_of(entries: &[&Entry], files: &[String], group_context: &GroupContext) -> Prompt {
    let mut prompt = Prompt::default();
    let Some(first) = entries.first() else { return prompt };
    let Inbound { name, ts, quoted, is_group, .. } = &first.message;
    if entries.iter().any(|entry| entry.asked > 0) {
        prompt.line(INTERRUPTED);
    }
    let (name, person) = (name.as_deref(), &first.attribution.person);
    if *is_group {
        prompt.append(group_context.prompt(&first.attribution.session_key));
        // Among several people it is always said who speaks.
        prompt.line(&label_at(name, person, *ts));
    } else {
        prompt.speaker(name, person, *ts);
    }
    if let Some(quoted) = quoted {
        prompt.line("in answer to:");
        prompt.person(quoted);
        prompt.line("and says:");
    }
    for entry in entries {
        if let Some(about) = &entry.message.about {
            prompt.line(&format!("{about}:"));
        }
        prompt.person(&entry.message.text);
    }
    for file in files {
        prompt.line(file);
    }
    prompt
}

/// The line that tells a person of the files that could not be taken.
pub(crate) fn left_out_line(left_out: &[String]) -> String {
    format!("I could not take {}.", left_out.join(", "))
}

/// What a directive comes to when that person says it, in a chat where `commands` says how much the directives of
/// others than the owner may touch.
fn for_person(directive: Directive, person: &str, commands: Commands) -> Directive {
    match (directive, commands) {
        _ if person == OWNER => directive,
        // What is wrong with the machine is nobody else's business.
        (Directive::Status, _) => Directive::BriefStatus,
        (Directive::Stop, Commands::Asker) => Directive::StopOwn,
        // A new conversation, or another thinking level, would be one for everybody in the chat.
        (Directive::Pause | Directive::Resume, _)
        | (Directive::New | Directive::Think(_), Commands::Asker)
        | (Directive::New | Directive::Think(_) | Directive::Stop, Commands::Owner) => Directive::OwnerOnly,
        (directive, _) => directive,
    }
}
