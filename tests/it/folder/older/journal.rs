//! Reads a journal as the format is published, without the library: eight hex digits of CRC-32, a space and
//! JSON on each line.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// The slots that stand at the end of the journal of a state folder, by name.
pub(super) fn slots(state_dir: &Path) -> BTreeMap<String, Value> {
    let mut slots = BTreeMap::new();
    let text = fs::read_to_string(state_dir.join("journal")).unwrap_or_default();
    for line in text.lines() {
        // Whoever reads while the gateway writes may see half of the last line.
        let Some(line) = line.get(9..).and_then(|json| serde_json::from_str(json).ok()) else { continue };
        apply(&line, &mut slots);
    }
    slots
}

fn apply(line: &Value, slots: &mut BTreeMap<String, Value>) {
    if let Some(put) = line.get("put") {
        slots.insert(put["slot"].as_str().unwrap().to_owned(), put["value"].clone());
    }
    if let Some(slot) = line.get("del") {
        slots.remove(slot.as_str().unwrap());
    }
    for line in line.get("all").and_then(Value::as_array).into_iter().flatten() {
        apply(line, slots);
    }
}

/// Of what kind a slot is: its name without what tells it from others of that kind.
pub(super) fn kind(slot: &str, value: &Value) -> String {
    let mut parts = slot.split('/');
    let first = parts.next().unwrap();
    match (first, parts.next()) {
        ("allow", Some(rule)) if slot.matches('/').count() == 1 => format!("allow/{rule}"),
        ("key", Some(method)) => format!("key/{method}/"),
        ("allow" | "moved" | "aside" | "place", Some(channel)) => format!("{first}/{channel}/"),
        ("inbox", Some(channel)) => {
            let stage = if value.get("w").is_some() { "waiting" } else { "done" };
            format!("inbox/{channel}/ {stage}")
        }
        ("outbox", Some(_)) if slot.ends_with("/parts") => "outbox/N/parts".to_owned(),
        ("outbox", Some(_)) => "outbox/N".to_owned(),
        (_, Some(_)) => format!("{first}/"),
        (name, None) => name.to_owned(),
    }
}

/// A line of a journal.
pub(super) fn line(said: &Value) -> String {
    let json = said.to_string();
    let mut crc = flate2::Crc::new();
    crc.update(json.as_bytes());
    format!("{:08x} {json}\n", crc.sum())
}
