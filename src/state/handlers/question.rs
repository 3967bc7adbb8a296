//! Makes a question of a message: with the pieces of its album, its files, and what was said around it.

use crate::channels::message::Inbound;
use crate::limits::ATTACHMENTS_MAX;
use crate::state::State;
use crate::state::model::inbox::{Entry, InboxId, describe};
use crate::state::model::outbox::Reply;
use crate::state::model::prompt::Prompt;
use crate::state::model::question::{INTERRUPTED, Question, directive_of, join};

impl State {
    /// The question that a message with all its pieces makes.
    pub(crate) fn question(&self, inbox_ids: &[InboxId]) -> Option<Question> {
        let entries: Vec<&Entry> =
            inbox_ids.iter().filter_map(|inbox_id| self.inbox.get(*inbox_id)).collect();
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
        let directive = directive_of(message).filter(|_| inbox_ids.len() == 1);
        let from = message.name.clone().unwrap_or_else(|| message.from.clone());
        let notices: Vec<String> = files.iter().map(|file| format!("[{file}]")).collect();
        let text = join(shown.iter().chain(&notices).map(String::as_str));
        Some(Question {
            inbox_ids: inbox_ids.to_vec(),
            attribution: first.attribution.clone(),
            reply: Reply::to(message),
            prompt: self.prompt_of(&entries, &files),
            from,
            has_content: !text.trim().is_empty() || message.quoted.is_some(),
            text,
            // The prompt names the others by their files.
            images: entries.iter().flat_map(|entry| entry.image_files()).take(ATTACHMENTS_MAX).collect(),
            left_out,
            directive,
            commands: self.access.commands(message),
            asked: entries.iter().map(|entry| entry.asked).max().unwrap_or(0),
            said: first.said,
        })
    }

    /// The prompt for the model: in a group it has to know what was said before.
    fn prompt_of(&self, entries: &[&Entry], files: &[String]) -> Prompt {
        let mut prompt = Prompt::default();
        let Some(first) = entries.first() else { return prompt };
        let Inbound { name, ts, quoted, is_group, .. } = &first.message;
        if entries.iter().any(|entry| entry.asked > 0) {
            prompt.line(INTERRUPTED);
        }
        if *is_group {
            prompt.append(self.group_context.prompt(&first.attribution.session_key));
        }
        let (name, person) = (name.as_deref(), &first.attribution.person);
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
