//! A message with its pieces, files and surroundings, as it is asked.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::clock::utc;
use crate::limits::ATTACHMENTS_MAX;
use crate::protocol::call::RunId;
use crate::protocol::payload::{Message, Role};
use crate::state::directives::{self, Directive};
use crate::state::surfaces::access::Place;
use crate::state::surfaces::inbox::{Entry, Number};
use crate::state::surfaces::intake::describe;
use crate::state::surfaces::replies::Reply;
use crate::state::{Now, State};

/// A message with all its pieces.
pub(super) struct Question {
    pub(super) numbers: Vec<Number>,
    pub(super) place: Place,
    pub(super) reply: Reply,
    pub(super) from: String,
    /// What the person wrote, as the history has it.
    pub(super) text: String,
    /// What the model gets.
    pub(super) prompt: String,
    pub(super) images: Vec<(String, PathBuf)>,
    /// What could not be taken, for the person.
    pub(super) left_out: Vec<String>,
    /// There is something that the model can answer.
    pub(super) has_content: bool,
    pub(super) directive: Option<Directive>,
    pub(super) asked: u32,
}

impl State {
    /// A message with all its pieces, as it is to be asked.
    pub(super) fn question(&self, numbers: &[Number]) -> Option<Question> {
        let entries: Vec<&Entry> = numbers.iter().filter_map(|number| self.inbox.get(*number)).collect();
        let first = *entries.first()?;
        let message = &first.message;
        let text = join(entries.iter().map(|entry| entry.message.text.as_str()));
        let failed =
            entries.iter().flat_map(|entry| &entry.files).filter_map(|file| file.as_ref().err().cloned());
        let left_out =
            entries.iter().filter_map(|entry| entry.message.left_out.clone()).chain(failed).collect();
        let files: Vec<String> = entries
            .iter()
            .flat_map(|entry| &entry.files)
            .filter_map(|file| file.as_ref().ok())
            .map(|(media, file)| format!("[{} is in the file {}]", describe(media), file.path.display()))
            .collect();
        let directive =
            directives::parse(&message.text).filter(|_| numbers.len() == 1 && message.media.is_empty());
        let from = message.name.clone().unwrap_or_else(|| message.from.clone());
        let said = join([text.as_str()].into_iter().chain(files.iter().map(String::as_str)));
        Some(Question {
            numbers: numbers.to_vec(),
            place: first.place.clone(),
            reply: Reply::to(message),
            prompt: prompt(first, &from, &said, self.overheard.lines(&first.place.session_key)),
            from,
            has_content: !said.trim().is_empty() || message.quoted.is_some(),
            text: said,
            // The others are named in the prompt.
            images: entries.iter().flat_map(|entry| entry.image_files()).take(ATTACHMENTS_MAX).collect(),
            left_out,
            directive,
            asked: first.asked,
        })
    }
}

impl Question {
    /// As the session's history has it.
    pub(super) fn message(&self, run_id: Option<&RunId>, now: Now) -> Message {
        Message {
            channel: Some(self.reply.route.channel),
            from: Some(self.from.clone()),
            run_id: run_id.map(ToString::to_string),
            ..Message::new(Role::User, self.text.clone(), now.wall_ms)
        }
    }
}

/// What the model gets: in a group it has to know who speaks, and what was said before.
fn prompt(entry: &Entry, from: &str, said: &str, overheard: String) -> String {
    let mut prompt = String::new();
    if entry.asked > 0 {
        prompt.push_str(
            "[This was being worked on when the gateway stopped. Something may have been done already: look before you do it again.]\n\n",
        );
    }
    if entry.message.is_group {
        prompt.push_str(&overheard);
        let id = &entry.place.person;
        let _ = writeln!(prompt, "[{from} ({id}), {}]", utc(entry.message.ts / 1_000));
    }
    if let Some(quoted) = &entry.message.quoted {
        for line in quoted.lines() {
            prompt.push_str("> ");
            prompt.push_str(line);
            prompt.push('\n');
        }
        prompt.push('\n');
    }
    prompt + said
}

fn join<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().filter(|text| !text.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// What a person is told of what could not be taken.
pub(super) fn left_out_line(left_out: &[String]) -> String {
    format!("I could not take {}.", left_out.join(", "))
}
