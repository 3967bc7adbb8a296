//! Group context: what was said in groups without being addressed to the gateway. The model sees the last of it
//! with the next question there. Kept in memory only. Pure.

use std::collections::{BTreeMap, VecDeque};

use crate::channels::message::Inbound;
use crate::limits::{GROUP_CONTEXT_GROUPS_MAX, GROUP_CONTEXT_LINE_BYTES_MAX, GROUP_CONTEXT_LINES_MAX};
use crate::protocol::frame::cut_encoded;
use crate::state::model::access::Attribution;
use crate::state::model::prompt::{Prompt, label};
use crate::text;

/// The lines of each group that has any, by the key of its session.
#[derive(Default)]
pub(crate) struct GroupContext {
    by_session: BTreeMap<String, VecDeque<Line>>,
}

struct Line {
    name: Option<String>,
    /// The person who said it, `CHANNEL:ID`.
    person: String,
    /// What the line is, where it is not simply their words: a forwarded message, say.
    about: Option<String>,
    said: String,
}

impl GroupContext {
    /// Remembers what somebody said; beyond the bounds the oldest line goes, or a whole group.
    pub(crate) fn add(&mut self, attribution: Attribution, message: &Inbound) {
        let said = text::one_line(&message.text);
        if said.is_empty() {
            return;
        }
        let Attribution { session_key, person } = attribution;
        if !self.by_session.contains_key(&session_key) && self.by_session.len() >= GROUP_CONTEXT_GROUPS_MAX {
            self.by_session.pop_first();
        }
        let lines = self.by_session.entry(session_key).or_default();
        let said = cut_encoded(&said, GROUP_CONTEXT_LINE_BYTES_MAX).to_owned();
        lines.push_back(Line { name: message.name.clone(), person, about: message.about.clone(), said });
        if lines.len() > GROUP_CONTEXT_LINES_MAX {
            lines.pop_front();
        }
    }

    /// The context of a group's session, as the next prompt there begins.
    pub(crate) fn prompt(&self, session_key: &str) -> Prompt {
        let mut prompt = Prompt::default();
        let Some(lines) = self.by_session.get(session_key) else { return prompt };
        prompt.line("Said in this group before, not to you:");
        let mut last = None;
        for Line { name, person, about, said } in lines {
            if last.replace(person) != Some(person) {
                prompt.line(&label(name.as_deref(), person));
            }
            if let Some(about) = about {
                prompt.line(&format!("{about}:"));
            }
            prompt.person(said);
        }
        prompt
    }

    /// Forgets the context of a session: the model has seen it, or nobody may any more.
    pub(crate) fn clear(&mut self, session_key: &str) {
        self.by_session.remove(session_key);
    }
}
