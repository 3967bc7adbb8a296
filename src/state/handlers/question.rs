//! A message with its pieces, files and surroundings, as it is asked.

use std::path::PathBuf;

use crate::channels::message::Inbound;
use crate::clock::Now;
use crate::config::file::Commands;
use crate::limits::ATTACHMENTS_MAX;
use crate::protocol::call::RunId;
use crate::protocol::payload::{Message, Role};
use crate::state::State;
use crate::state::handlers::directives;
use crate::state::handlers::directives::Directive;
use crate::state::handlers::intake::describe;
use crate::state::handlers::replies::Reply;
use crate::state::model::access::Place;
use crate::state::model::inbox::Entry;
use crate::state::model::inbox::Number;
use crate::state::model::prompt::Prompt;

/// A message with all its pieces.
pub(crate) struct Question {
    pub(crate) numbers: Vec<Number>,
    pub(crate) place: Place,
    pub(crate) reply: Reply,
    pub(crate) from: String,
    /// What the person wrote, as the history has it.
    pub(crate) text: String,
    /// What the model gets.
    pub(crate) prompt: Prompt,
    pub(crate) images: Vec<(String, PathBuf)>,
    /// What could not be taken, for the person.
    pub(crate) left_out: Vec<String>,
    /// There is something that the model can answer.
    pub(crate) has_content: bool,
    pub(crate) directive: Option<Directive>,
    /// Whose runs that may touch.
    pub(crate) commands: Commands,
    /// In how many lives its prompt was given to the agent.
    pub(crate) asked: u32,
    /// The history has it already.
    pub(crate) said: bool,
}

impl State {
    /// A message with all its pieces, as it is to be asked.
    pub(crate) fn question(&self, numbers: &[Number]) -> Option<Question> {
        let entries: Vec<&Entry> = numbers.iter().filter_map(|number| self.inbox.get(*number)).collect();
        let first = *entries.first()?;
        let message = &first.message;
        let shown: Vec<String> = entries.iter().map(|entry| entry.message.shown_text()).collect();
        let failed =
            entries.iter().flat_map(|entry| &entry.files).filter_map(|file| file.as_ref().err().cloned());
        let left_out =
            entries.iter().filter_map(|entry| entry.message.left_out.clone()).chain(failed).collect();
        let files: Vec<String> = entries
            .iter()
            .flat_map(|entry| &entry.files)
            .filter_map(|file| file.as_ref().ok())
            .map(|(media, file)| format!("{} is in the file {}", describe(media), file.path.display()))
            .collect();
        let directive = directive_of(message).filter(|_| numbers.len() == 1);
        let from = message.name.clone().unwrap_or_else(|| message.from.clone());
        let notices: Vec<String> = files.iter().map(|file| format!("[{file}]")).collect();
        let text = join(shown.iter().chain(&notices).map(String::as_str));
        Some(Question {
            numbers: numbers.to_vec(),
            place: first.place.clone(),
            reply: Reply::to(message),
            prompt: self.prompt_of(&entries, &files),
            from,
            has_content: !text.trim().is_empty() || message.quoted.is_some(),
            text,
            // The others are named in the prompt.
            images: entries.iter().flat_map(|entry| entry.image_files()).take(ATTACHMENTS_MAX).collect(),
            left_out,
            directive,
            commands: self.access.commands(message),
            asked: entries.iter().map(|entry| entry.asked).max().unwrap_or(0),
            said: first.said,
        })
    }

    /// What the model gets: in a group it has to know what was said before.
    fn prompt_of(&self, entries: &[&Entry], files: &[String]) -> Prompt {
        let mut prompt = Prompt::default();
        let Some(first) = entries.first() else { return prompt };
        let Inbound { name, ts, quoted, is_group, .. } = &first.message;
        if entries.iter().any(|entry| entry.asked > 0) {
            prompt.line(INTERRUPTED);
        }
        if *is_group {
            prompt.append(self.overheard.prompt(&first.place.session_key));
        }
        let (name, person) = (name.as_deref(), &first.place.person);
        if *is_group {
            prompt.speaker_in_group(name, person, *ts);
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
}

/// The line for the gateway that a message is, if it is one and nothing else.
pub(crate) fn directive_of(message: &Inbound) -> Option<Directive> {
    directives::parse(&message.text).filter(|_| message.media.is_empty() && message.about.is_none())
}

/// For the model, of what was interrupted.
const INTERRUPTED: &str = "This was being worked on when the gateway stopped. Something may have been done already: look before you do it again.";

impl Question {
    /// As the session's history has it.
    pub(crate) fn message(&self, run_id: Option<&RunId>, now: Now) -> Message {
        Message {
            channel: Some(self.reply.route.channel),
            from: Some(self.from.clone()),
            run_id: run_id.map(ToString::to_string),
            ..Message::new(Role::User, self.text.clone(), now.wall_ms)
        }
    }
}

fn join<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().filter(|text| !text.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// What a person is told of what could not be taken.
pub(crate) fn left_out_line(left_out: &[String]) -> String {
    format!("I could not take {}.", left_out.join(", "))
}
