//! What was said in groups without being addressed to us: the model sees the last of it. Kept in
//! memory only. Pure.

use std::collections::{BTreeMap, VecDeque};

use crate::channels::message::Inbound;
use crate::limits::{OVERHEARD_GROUPS_MAX, OVERHEARD_LINE_BYTES_MAX, OVERHEARD_LINES_MAX};
use crate::protocol::frame::cut_encoded;

#[derive(Default)]
pub(crate) struct Overheard {
    by_session: BTreeMap<String, VecDeque<String>>,
}

impl Overheard {
    /// Remembers what somebody said.
    pub(crate) fn add(&mut self, session_key: &str, message: &Inbound) {
        if message.text.trim().is_empty() {
            return;
        }
        if !self.by_session.contains_key(session_key) && self.by_session.len() >= OVERHEARD_GROUPS_MAX {
            self.by_session.pop_first();
        }
        let lines = self.by_session.entry(session_key.to_owned()).or_default();
        let name = message.name.as_deref().unwrap_or(&message.from);
        // In one line, or it could pass for several people's words.
        let said: Vec<&str> = message.text.split_whitespace().collect();
        lines.push_back(format!("{name}: {}", cut_encoded(&said.join(" "), OVERHEARD_LINE_BYTES_MAX)));
        if lines.len() > OVERHEARD_LINES_MAX {
            lines.pop_front();
        }
    }

    /// What was said in that session since it was last asked about, for a prompt.
    pub(crate) fn lines(&self, session_key: &str) -> String {
        let Some(lines) = self.by_session.get(session_key) else { return String::new() };
        let mut text = String::from("[Said in this group before:\n");
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        text + "]\n\n"
    }

    /// The model has seen it, or nobody may any more.
    pub(crate) fn clear(&mut self, session_key: &str) {
        self.by_session.remove(session_key);
    }
}
