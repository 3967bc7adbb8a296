//! Payloads as text for people. Reads plain JSON and skips what is not there: a gateway of another
//! version may say less or more. Everything goes through `terminal::line` or a table cell.

use serde_json::Value;

use crate::cli::humanise::{ago, bytes, duration, now_ms};
use crate::cli::table::{Cell, Table};
use crate::cli::terminal::{Output, Style, line, plain};

/// `health`: one row per part of the gateway.
pub(crate) fn health(health: &Value, output: &Output) -> String {
    let mut table = Table::new(&[]);
    let paused = if health["paused"] == true { "paused; `clawdis resume` lets runs start" } else { "" };
    table.row(["gateway".into(), ok_cell(health), paused.into()]);
    for (name, channel) in health["channels"].as_object().into_iter().flatten() {
        table.row(channel_row(name, channel));
    }
    let agent = &health["agent"];
    let count = |what: &str| agent[what].as_u64().map(|count| format!("{count} {what}"));
    let mut details: Vec<String> = ["active", "queued"].into_iter().filter_map(count).collect();
    push_detail(&mut details, agent["sandbox"].as_str().map(|sandbox| format!("sandbox {sandbox}")));
    push_detail(&mut details, agent["reason"].as_str().map(str::to_owned));
    if agent.is_object() {
        table.row(["agent".into(), state_cell(&agent["state"]), details.join(", ").into()]);
    }
    let storage = &health["storage"];
    let size =
        |name: &str, what: &str| storage[name].as_u64().map(|count| format!("{} {what}", bytes(count)));
    let details: Vec<String> =
        [size("usedBytes", "used"), size("freeBytes", "free"), owned(&storage["reason"])]
            .into_iter()
            .flatten()
            .collect();
    if storage.is_object() {
        table.row(["storage".into(), ok_cell(storage), details.join(", ").into()]);
    }
    table.render(output)
}

/// `health` in a few words: what every part is doing.
pub(crate) fn health_line(health: &Value) -> String {
    let mut words: Vec<String> = health["channels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, channel)| format!("{name} {}", string(&channel["state"])))
        .collect();
    words.push(format!("agent {}", string(&health["agent"]["state"])));
    if health["storage"]["ok"] == false {
        words.push(format!("storage failing ({})", string(&health["storage"]["reason"])));
    }
    words.join(", ")
}

/// `status`: health and what surrounds it.
pub(crate) fn status(status: &Value, output: &Output) -> String {
    let commit = status["commit"].as_str().map(|commit| format!(" ({commit})")).unwrap_or_default();
    let head = format!(
        "clawdis-gateway {}{commit} on {}, pid {}, up {}",
        string(&status["version"]),
        string(&status["host"]),
        status["pid"],
        duration(status["uptimeMs"].as_u64().unwrap_or(0)),
    );
    let mut text = format!("{}\n\n", output.styled(Style::Bold, &line(&head)));
    text.push_str(&health(&status["health"], output));
    let parts = [
        (status, "sessions", "sessions"),
        (status, "clients", "clients"),
        (&status["today"], "runs", "runs today"),
    ];
    let fact =
        |(of, name, what): (&Value, &str, &str)| of[name].as_u64().map(|count| format!("{what} {count}"));
    let mut facts: Vec<String> = parts.into_iter().filter_map(fact).collect();
    let toggles = &status["toggles"];
    push_detail(&mut facts, toggles["heartbeats"].as_bool().map(|on| format!("heartbeats {}", on_off(on))));
    for (name, on) in toggles["channels"].as_object().into_iter().flatten() {
        push_detail(&mut facts, on.as_bool().map(|on| format!("{name} switched {}", on_off(on))));
    }
    text.push_str(&["\n", &line(&facts.join(", ")), "\n"].concat());
    push_titled(&mut text, "runs today by person", &people(&status["today"]["runsByPerson"]), output);
    push_titled(&mut text, "refused senders", &refused(&status["refused"]), output);
    push_titled(&mut text, "clients", &clients(&status["clientsList"]), output);
    text
}

/// `system-presence`: one row per entry.
pub(crate) fn presence(entries: &Value, output: &Output) -> String {
    let now = now_ms();
    let mut table = Table::new(&["HOST", "MODE", "VERSION", "ADDRESS", "STATE", "SINCE", "INPUT", "ID"]);
    for entry in list(entries) {
        let gone = entry["reason"] == "disconnect";
        let reason = entry["reason"].as_str().unwrap_or("");
        table.row([
            cell(&entry["host"]),
            cell(&entry["mode"]),
            cell(&entry["version"]),
            cell(&entry["ip"]),
            if gone { Cell::styled("gone", Style::Dim) } else { reason.into() },
            when(&entry["ts"], now),
            entry["lastInputSeconds"]
                .as_u64()
                .map_or_else(String::new, |s| duration(s.saturating_mul(1_000)))
                .into(),
            cell(&entry["instanceId"]),
        ]);
    }
    table.render(output)
}

/// `sessions-list`: one row per session.
pub(crate) fn sessions(payload: &Value, output: &Output) -> String {
    let now = now_ms();
    let mut table = Table::new(&["SESSION", "MESSAGES", "LAST", "CHANNEL", "ID"]);
    for session in list(&payload["sessions"]) {
        table.row([
            cell(&session["sessionKey"]),
            session["messages"].to_string().into(),
            when(&session["updatedTs"], now),
            cell(&session["lastChannel"]),
            cell(&session["sessionId"]),
        ]);
    }
    table.render(output)
}

/// `session-history`: the newest message at the bottom, as in a chat.
pub(crate) fn history(payload: &Value, output: &Output) -> String {
    let now = now_ms();
    let mut text = String::new();
    for message in list(&payload["messages"]).iter().rev() {
        let mut head = string(&message["role"]).to_owned();
        for part in ["channel", "from"] {
            if let Some(part) = message[part].as_str() {
                head.push(' ');
                head.push_str(part);
            }
        }
        head.push_str(&message["ts"].as_u64().map_or_else(String::new, |ts| format!(", {}", ago(ts, now))));
        text.push_str(&output.styled(Style::Dim, &line(&head)));
        text.push('\n');
        text.push_str(plain(string(&message["text"])).trim_end());
        text.push_str(if message["truncated"] == true { "\n[cut]\n\n" } else { "\n\n" });
    }
    text
}

/// `on` or `off`.
pub(crate) fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// A string member, or nothing.
pub(crate) fn string(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// An array member, or nothing.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn channel_row(name: &str, channel: &Value) -> [Cell; 3] {
    let now = now_ms();
    let mut details = Vec::new();
    push_detail(&mut details, channel["self"].as_str().map(|own| format!("as {own}")));
    let facts = [("configured", "not set up"), ("enabled", "switched off"), ("linked", "not linked")];
    // One reason why it does not run is enough: the first explains the others.
    push_detail(
        &mut details,
        facts.iter().find(|(fact, _)| channel[fact] == false).map(|(_, text)| (*text).to_owned()),
    );
    push_detail(&mut details, owned(&channel["reason"]));
    push_detail(
        &mut details,
        channel["lastMessageTs"].as_u64().map(|ts| format!("last message {}", ago(ts, now))),
    );
    [name.into(), state_cell(&channel["state"]), details.join(", ").into()]
}

fn people(by_person: &Value) -> Table {
    let mut table = Table::new(&[]);
    for (person, runs) in by_person.as_object().into_iter().flatten() {
        table.row([person.into(), runs.to_string().into()]);
    }
    table
}

fn refused(senders: &Value) -> Table {
    let now = now_ms();
    let mut table = Table::new(&["CHANNEL", "ID", "NAME", "MESSAGES", "LAST"]);
    for sender in list(senders) {
        table.row([
            cell(&sender["channel"]),
            cell(&sender["id"]),
            cell(&sender["name"]),
            sender["count"].to_string().into(),
            when(&sender["lastTs"], now),
        ]);
    }
    table
}

fn clients(clients: &Value) -> Table {
    let now = now_ms();
    let mut table = Table::new(&["NAME", "VERSION", "MODE", "PLATFORM", "SINCE", "ID"]);
    for client in list(clients) {
        table.row([
            cell(&client["name"]),
            cell(&client["version"]),
            cell(&client["mode"]),
            cell(&client["platform"]),
            when(&client["sinceTs"], now),
            cell(&client["connId"]),
        ]);
    }
    table
}

fn push_titled(text: &mut String, title: &str, table: &Table, output: &Output) {
    if !table.is_empty() {
        text.push_str(&["\n", &output.styled(Style::Bold, title), "\n", &table.render(output)].concat());
    }
}

fn push_detail(details: &mut Vec<String>, detail: Option<String>) {
    details.extend(detail);
}

fn owned(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn cell(value: &Value) -> Cell {
    string(value).into()
}

fn when(ts: &Value, now: u64) -> Cell {
    ts.as_u64().map_or_else(String::new, |ts| ago(ts, now)).into()
}

fn ok_cell(part: &Value) -> Cell {
    if part["ok"] == true { Cell::styled("ok", Style::Green) } else { Cell::styled("not ok", Style::Red) }
}

fn state_cell(state: &Value) -> Cell {
    let state = string(state);
    let style = match state {
        "idle" | "busy" | "connected" | "linked" | "ok" | "ready" | "running" => Style::Green,
        "failing" | "error" | "unavailable" => Style::Red,
        "off" | "unconfigured" => Style::Dim,
        _ => Style::Yellow,
    };
    Cell::styled(state, style)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{health, history, presence, status};
    use crate::cli::terminal::Output;

    #[test]
    fn health_says_what_is_wrong_in_words() {
        let payload = json!({
            "ok": false, "paused": true,
            "channels": { "telegram": { "configured": false, "enabled": false, "state": "off" } },
            "agent": { "state": "failing", "active": 1, "queued": 2, "sandbox": "none", "reason": "no \u{1b}[1mpi" },
            "storage": { "ok": true, "usedBytes": 1_500_000, "freeBytes": 20 },
        });
        let text = health(&payload, &Output::piped());
        assert_eq!(
            text,
            "gateway   not ok   paused; `clawdis resume` lets runs start\n\
             telegram  off      not set up\n\
             agent     failing  1 active, 2 queued, sandbox none, no [1mpi\n\
             storage   ok       1.5 MB used, 20 B free\n"
        );
    }

    #[test]
    fn an_empty_payload_is_no_reason_to_fail() {
        let output = Output::piped();
        assert!(status(&json!({}), &output).starts_with("clawdis-gateway"));
        assert_eq!(presence(&json!({}), &output), "");
        assert_eq!(history(&json!({}), &output), "");
    }

    #[test]
    fn history_reads_downwards() {
        let payload = json!({ "messages": [
            { "role": "assistant", "text": "two\x07\nlines\n", "truncated": true },
            { "role": "user", "from": "me", "channel": "telegram", "text": "one" },
        ] });
        assert_eq!(
            history(&payload, &Output::piped()),
            "user telegram me\none\n\nassistant\ntwo\nlines\n[cut]\n\n"
        );
    }
}
