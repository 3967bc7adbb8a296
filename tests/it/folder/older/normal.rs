//! Takes out of answers what is different each time: the moment, the machine, and ids made of both.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Members about this machine, this process and its clients.
const DROPPED: [&str; 12] = [
    "clientsList",
    "commit",
    "connId",
    "freeBytes",
    "host",
    "pid",
    "position",
    "uptimeMs",
    "url",
    "usedBytes",
    "version",
    "warnings",
];
/// Texts that are longer are told by their length and digest.
const SHOWN_CHARS_MAX: usize = 700;

/// What is known of one life of a gateway.
pub(super) struct Normal {
    /// When it began. What is later is "now".
    pub(super) started_ts: u64,
    /// The same for people, such as `2026-11-29T22:04:28Z`.
    pub(super) started_at: String,
    /// Beginning of the ids that it makes.
    pub(super) boot_id: String,
    /// Where its things are.
    pub(super) folder: String,
}

impl Normal {
    /// Changes a value into what it is each time.
    pub(super) fn form(&self, value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.retain(|name, _| !DROPPED.contains(&name.as_str()));
                if members.get("ts").and_then(Value::as_u64).is_some_and(|ts| ts >= self.started_ts) {
                    // Of a record: its place depends on what was written before.
                    members.remove("id");
                }
                members.values_mut().for_each(|value| self.form(value));
            }
            Value::Array(values) => {
                for value in values.iter_mut() {
                    self.form(value);
                }
                // What happens in this life at the same time comes in any order.
                let is_now = |value: &Value| ["ts", "updatedTs"].iter().any(|ts| value[ts] == "(now)");
                let count = values.iter().take_while(|value| is_now(value)).count();
                values[..count].sort_by_key(Value::to_string);
            }
            Value::Number(number) if number.as_u64().is_some_and(|number| number >= self.started_ts) => {
                *value = json!("(now)");
            }
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }

    fn text(&self, text: &str) -> String {
        let text = self.without_times(&text.replace(&self.folder, "(folder)"));
        let mut pieces = text.split(&self.boot_id);
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            // Which of several ids it is depends on who was first.
            let rest = piece.strip_prefix('-').unwrap_or(piece);
            text.push_str("(boot)");
            text.push_str(rest.trim_start_matches(|digit: char| digit.is_ascii_digit()));
        }
        if text.chars().count() <= SHOWN_CHARS_MAX {
            return text;
        }
        let digest = HEXLOWER.encode(&Sha256::digest(&text)[..8]);
        let beginning: String = text.chars().take(80).collect();
        format!("{beginning}... ({} bytes, {digest})", text.len())
    }

    fn without_times(&self, text: &str) -> String {
        let is_time = |word: &str| {
            word.len() == self.started_at.len()
                && word
                    .bytes()
                    .zip(self.started_at.bytes())
                    .all(|(one, other)| one == other || one.is_ascii_digit() && other.is_ascii_digit())
        };
        let words = text.split_inclusive([' ', ']']).map(|word| {
            let (bare, end) = word.split_at(word.len() - usize::from(word.ends_with(']')));
            let is_now = is_time(bare) && *bare > *self.started_at;
            if is_now { format!("(now){end}") } else { word.to_owned() }
        });
        words.collect()
    }
}
