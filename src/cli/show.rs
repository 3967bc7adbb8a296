//! Any payload as text for people: facts in rows, lists in tables. It goes by the protocol's naming
//! (times end in `Ts`, durations in `Ms`, sizes in `Bytes`) and knows no payload but a chat and who was
//! refused, so that what another version says more or less is shown all the same.
//!
//! Everything goes through `text::one_line` or `text::printable`.

use serde_json::{Map, Value};

use crate::cli::terminal::{Output, Style};
use crate::clock::wall_ms;
use crate::protocol::cut;
use crate::text::{one_line, printable};

/// How much of a text one cell or fact shows.
const TEXT_BYTES_MAX: usize = 300;

/// What tables begin with, in this order; other columns follow.
const FIRST_COLUMNS: &[&str] = &["host", "name", "sessionKey", "channel", "mode", "version", "id"];

/// A payload of any kind: a row for each object in it, then a table for each list of objects. Messages are a
/// chat, and where there is nothing but facts they are one line.
pub(crate) fn payload(payload: &Value, output: &Output) -> String {
    if let Some(messages) = payload["messages"].as_array() {
        return chat(messages, &payload["before"], output);
    }
    if let Some(items) = payload.as_array() {
        return table(items);
    }
    let mut members = payload.as_object().into_iter().flat_map(Map::values);
    if payload.is_object() && !members.any(|of| of.is_object() || of.is_array()) {
        return facts(payload) + "\n";
    }
    let (mut rows, mut sections) = (Vec::new(), Vec::new());
    collect("gateway", payload, &mut rows, &mut sections, output);
    sections.insert(0, grid(&rows));
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

/// A chat, with the newest message at the bottom.
fn chat(messages: &[Value], before: &Value, output: &Output) -> String {
    let message = |message: &Value| {
        let head = ["role", "channel", "from", "ts"].map(|member| value(member, &message[member]));
        let head = output.styled(Style::Dim, &one_line(&head.join(" ")));
        let cut = if message["truncated"] == true { "\n[cut]" } else { "" };
        // Nothing that somebody wrote begins where the next message would.
        let said = printable(message["text"].as_str().unwrap_or_default());
        let said = said.trim_end().replace('\n', "\n  ");
        format!("{head}\n  {said}{cut}\n\n")
    };
    let older = before.as_str().map(|before| format!("[older: --before {}]\n\n", one_line(before)));
    older.into_iter().chain(messages.iter().rev().map(message)).collect()
}

/// The members of an object on one line.
pub(crate) fn facts(object: &Value) -> String {
    joined(object.as_object().into_iter().flatten())
}

/// What every part of the gateway is doing.
pub(crate) fn states(payload: &Value) -> String {
    let mut rows = Vec::new();
    collect("gateway", payload, &mut rows, &mut Vec::new(), &Output::default());
    rows.iter().map(|row| row[..2].join(" ")).collect::<Vec<_>>().join(", ")
}

fn joined<'a>(members: impl IntoIterator<Item = (&'a String, &'a Value)>) -> String {
    let fact = |(name, of): (&String, &Value)| match of {
        Value::Object(_) => format!("{} ({})", words(name), facts(of)),
        of => format!("{} {}", words(name), value(name, of)),
    };
    members.into_iter().map(fact).collect::<Vec<_>>().join(", ")
}

fn collect(name: &str, of: &Value, rows: &mut Vec<Vec<String>>, sections: &mut Vec<String>, output: &Output) {
    if let Value::Array(items) = of {
        if name == "warnings" {
            // Before all tables, or nobody would see them.
            sections.splice(0..0, warnings(items, output));
        } else if items.first().is_some_and(Value::is_object) {
            let title = output.styled(Style::Bold, &words(name));
            let table = if name == "refused" { table(&with_remedy(items)) } else { table(items) };
            sections.push(format!("{title}\n{table}"));
        }
        return;
    }
    let members = of.as_object().into_iter().flatten();
    let (nested, mut own): (Vec<_>, Vec<_>) = members.partition(|(_, of)| of.is_object() || of.is_array());
    if !own.is_empty() {
        let state = match (&of["state"], &of["ok"]) {
            (Value::Null, Value::Bool(ok)) => if *ok { "ok" } else { "not ok" }.to_owned(),
            (state, _) => value("state", state),
        };
        own.retain(|(name, _)| !matches!(name.as_str(), "state" | "ok" | "ts"));
        rows.push(vec![words(name), state, joined(own)]);
    }
    for (name, of) in nested {
        collect(name, of, rows, sections, output);
    }
}

/// The section of what a person should mend, a sentence each.
fn warnings(items: &[Value], output: &Output) -> Option<String> {
    let sentences = items.iter().filter_map(|item| item["message"].as_str());
    let lines: Vec<String> = sentences.map(|sentence| format!("- {}", one_line(sentence))).collect();
    let title = output.styled(Style::Bold, "warnings");
    (!lines.is_empty()).then(|| format!("{title}\n{}\n", lines.join("\n")))
}

/// Refused senders, each with the command that lets it in. An id that a shell would not take as one
/// plain word gets none: people paste what stands there.
fn with_remedy(senders: &[Value]) -> Vec<Value> {
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-_.:@".contains(c));
    let remedy = |mut sender: Value| {
        let [channel, id] = ["channel", "id"].map(|name| sender[name].as_str().unwrap_or_default());
        if sender.is_object() && is_plain(channel) && is_plain(id) {
            sender["letInWith"] = format!("clawdis allow {channel} {id}").into();
        }
        sender
    };
    senders.iter().cloned().map(remedy).collect()
}

/// A table with a row per object and a column per member that any of them has.
fn table(objects: &[Value]) -> String {
    let mut columns: Vec<&String> = objects.iter().filter_map(Value::as_object).flat_map(Map::keys).collect();
    columns.sort_by_key(|name| {
        let first = FIRST_COLUMNS.iter().position(|first| first == name);
        (first.unwrap_or(FIRST_COLUMNS.len()), *name)
    });
    columns.dedup();
    let mut rows = vec![columns.iter().map(|name| words(name).to_uppercase()).collect()];
    rows.extend(
        objects.iter().map(|object| columns.iter().map(|name| value(name, &object[name.as_str()])).collect()),
    );
    grid(&rows)
}

/// Rows with aligned columns; the last one is as long as it is.
fn grid(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let padded = |(cell, width): (&String, &usize)| format!("{cell:<width$}");
    let line = |row: &Vec<String>| row.iter().zip(&widths).map(padded).collect::<Vec<_>>().join("  ");
    rows.iter().flat_map(|row| [line(row).trim_end().to_owned(), "\n".to_owned()]).collect()
}

/// A member's name in words: `lastMessageTs` is `last message`.
fn words(name: &str) -> String {
    let name =
        ["Ts", "Ms", "Bytes", "Seconds"].iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
    let name = if name == "ts" { "since" } else { name };
    let mut words = String::new();
    for c in one_line(name).chars() {
        if c.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

/// The value of the member `name`.
fn value(name: &str, value: &Value) -> String {
    match (value, value.as_u64()) {
        (Value::Null, _) => String::new(),
        (Value::Bool(yes), _) => if *yes { "yes" } else { "no" }.to_owned(),
        (_, Some(ts)) if name == "ts" || name.ends_with("Ts") => {
            format!("{} ago", duration(wall_ms().saturating_sub(ts)))
        }
        (_, Some(ms)) if name.ends_with("Ms") => duration(ms),
        (_, Some(seconds)) if name.ends_with("Seconds") => duration(seconds.saturating_mul(1_000)),
        (_, Some(count)) if name.ends_with("Bytes") => bytes(count),
        (Value::String(text), _) => one_line(cut(text, TEXT_BYTES_MAX)),
        (Value::Array(items), _) => {
            items.iter().map(|item| self::value("", item)).collect::<Vec<_>>().join(", ")
        }
        (Value::Object(_), _) => facts(value),
        (other, _) => other.to_string(),
    }
}

/// A time span in the largest unit that says enough.
fn duration(ms: u64) -> String {
    match ms / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// A size in powers of 1,000.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} kB", count / 1_000),
        10_000_000..10_000_000_000 => format!("{} MB", count / 1_000_000),
        _ => format!("{} GB", count / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{bytes, duration, facts, payload};
    use crate::cli::terminal::Output;

    #[test]
    fn objects_are_rows_and_lists_are_tables() {
        let health = json!({
            "ok": false, "paused": true, "ts": 1,
            "channels": { "telegram": { "configured": false, "state": "off" } },
            "agent": { "state": "failing", "active": 1, "reason": "no \u{1b}[1m\npi" },
            "clientsList": [{ "connId": "c\u{1b}1", "name": "a" }, { "name": "längeres", "uptimeMs": 7_300_000 }],
        });
        assert_eq!(
            payload(&health, &Output::default()),
            "gateway   not ok   paused yes\n\
             agent     failing  active 1, reason no [1m pi\n\
             telegram  off      configured no\n\
             \n\
             clients list\n\
             NAME      CONN ID  UPTIME\n\
             a         c1\n\
             längeres           2 h\n"
        );
        assert_eq!(payload(&json!({ "paused": true }), &Output::default()), "paused yes\n");
    }

    #[test]
    fn warnings_are_a_sentence_each() {
        let status = json!({
            "warnings": [
                { "code": "no-token", "message": "no token\u{1b}[1m is set" },
                { "code": "later", "message": "x".repeat(900) },
            ],
            "host": "pi",
        });
        let shown = payload(&status, &Output::default());
        let long = "x".repeat(900);
        assert_eq!(shown, format!("gateway    host pi\n\nwarnings\n- no token[1m is set\n- {long}\n"));
        assert_eq!(
            payload(&json!({ "warnings": [], "host": "pi" }), &Output::default()),
            "gateway    host pi\n"
        );
    }

    #[test]
    fn refused_senders_come_with_what_lets_them_in() {
        let status = json!({ "refused": [
            { "channel": "telegram", "id": "-100", "name": "Ann", "count": 2 },
            { "channel": "whatsapp", "id": "1;reboot", "count": 1 },
        ] });
        assert_eq!(
            payload(&status, &Output::default()),
            "refused\n\
             NAME  CHANNEL   ID        COUNT  LET IN WITH\n\
             Ann   telegram  -100      2      clawdis allow telegram -100\n\
             \x20     whatsapp  1;reboot  1\n"
        );
    }

    #[test]
    fn a_chat_reads_downwards() {
        let history = json!({ "messages": [
            { "role": "assistant", "text": "two\x07\nlines\n", "truncated": true },
            { "role": "user", "from": "me", "channel": "telegram", "text": "one" },
        ] });
        assert_eq!(
            payload(&history, &Output::default()),
            "user telegram me\n  one\n\nassistant\n  two\n  lines\n[cut]\n\n"
        );
        assert_eq!(payload(&json!({ "messages": [] }), &Output::default()), "");
    }

    #[test]
    fn names_say_what_numbers_are() {
        let data = json!({ "freeBytes": 12_000, "lastInputSeconds": 61, "tags": ["a", "b"], "today": { "runs": 5 } });
        assert_eq!(facts(&data), "free 12 kB, last input 61 s, tags a, b, today (runs 5)");
        assert_eq!((duration(185_000), duration(90_000_000)), ("3 min".to_owned(), "25 h".to_owned()));
        assert_eq!((bytes(9_999), bytes(12_000_000_000)), ("9999 B".to_owned(), "12 GB".to_owned()));
    }
}
