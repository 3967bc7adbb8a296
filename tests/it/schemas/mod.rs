//! The schemas themselves: complete, all in use, strict enough to catch a mistake, and described
//! in a reference that is not stale.

mod channels;
mod outbound;
mod reference;

use std::collections::BTreeSet;

use clawdis_gateway::protocol::event::EventKind;
use clawdis_gateway::protocol::method::Method;
use serde_json::Value;

use crate::harness::schemas;

/// Every file that must be there, and no other may.
fn expected_files() -> BTreeSet<String> {
    let frames =
        ["hello", "hello-ok", "hello-error", "req", "res", "event"].map(|kind| format!("frame-{kind}.json"));
    let methods = Method::ALL.iter().map(|method| method.name());
    let methods =
        methods.flat_map(|method| [format!("params-{method}.json"), format!("payload-{method}.json")]);
    let events = EventKind::ALL.iter().map(|event| format!("event-{}.json", event.name()));
    let others = ["common.json", "config.schema.json"].map(str::to_owned);
    frames.into_iter().chain(methods).chain(events).chain(others).collect()
}

#[test]
fn every_frame_method_and_event_has_its_files() {
    let files: BTreeSet<String> = schemas::read_all().into_keys().collect();
    assert_eq!(files, expected_files());
}

/// Calls `check` on every schema inside `value`, with its JSON pointer.
fn visit(value: &Value, pointer: &str, check: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            check(pointer, members);
            for (name, member) in members {
                visit(member, &format!("{pointer}/{name}"), check);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                visit(item, &format!("{pointer}/{i}"), check);
            }
        }
        _ => {}
    }
}

#[test]
fn every_shared_definition_is_used() {
    let all = schemas::read_all();
    let mut used = BTreeSet::new();
    for (file, schema) in &all {
        visit(schema, "", &mut |_, members| {
            if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                let target =
                    target.replacen("#/", &format!("{file}#/"), usize::from(target.starts_with('#')));
                used.insert(target);
            }
        });
    }
    for (file, schema) in &all {
        for name in schema.get("$defs").and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys)
        {
            assert!(used.remove(&format!("{file}#/$defs/{name}")), "nothing refers to {file}#/$defs/{name}");
        }
    }
    assert!(used.is_empty(), "references to nothing: {used:?}");
}

#[test]
fn everything_is_described() {
    for (file, schema) in schemas::read_all() {
        for member in ["$schema", "title", "description"] {
            assert!(schema[member].is_string(), "{file} has no {member}");
        }
        visit(&schema, "", &mut |pointer, members| {
            let names_members = pointer.ends_with("/properties") || pointer.ends_with("/$defs");
            let is_conditional = ["/if/", "/then/", "/oneOf/"].iter().any(|part| pointer.contains(part));
            if !names_members || is_conditional {
                return;
            }
            for (name, member) in members {
                // What a reference leads to is described there.
                let is_described = member["description"].is_string() || member["$ref"].is_string();
                assert!(is_described, "{file}#{pointer}/{name} has no description");
            }
        });
    }
}

/// Patterns and formats would link a regex engine into the daemon; an unbounded string or list
/// would let a client decide how much is kept.
#[test]
fn inbound_schemas_are_bounded_and_simple() {
    let all = schemas::read_all();
    for (file, schema) in &all {
        if schemas::is_outbound(file) || file == "common.json" {
            continue;
        }
        visit(schema, "", &mut |pointer, members| {
            for keyword in ["pattern", "patternProperties", "format"] {
                assert!(
                    !members.contains_key(keyword) || pointer.ends_with("/properties"),
                    "{file}#{pointer} has `{keyword}`"
                );
            }
            let bound = match members.get("type").and_then(Value::as_str) {
                Some("string") => "maxLength",
                Some("array") => "maxItems",
                Some("integer") => "maximum",
                _ => return,
            };
            // The editor's own member: the daemon does not keep it.
            let is_bounded = members.contains_key(bound) || pointer == "/properties/$schema";
            assert!(is_bounded, "{file}#{pointer} has no `{bound}`");
        });
    }
    for name in [
        "id",
        "methodName",
        "label",
        "sessionKey",
        "sessionId",
        "runId",
        "idempotencyKey",
        "address",
        "messageText",
        "cursor",
    ] {
        assert!(all["common.json"]["$defs"][name]["maxLength"].is_u64(), "{name} has no bound");
    }
}
