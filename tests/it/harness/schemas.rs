//! What the server sends, held against the files in `schemas/` at run time.
//!
//! The published schemas are open, so that a client outlives new members. Here they are closed:
//! a member that no schema describes is a mistake of ours.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use jsonschema::{Registry, Validator};
use serde_json::Value;

const BASE: &str = "json-schema:///schemas/";
const COMMON: &str = "common.json";
/// Of a frame in a failure's text; the rest is cut.
const SHOWN_CHARS_MAX: usize = 2_000;

/// By file name without its ending, closed.
static VALIDATORS: LazyLock<BTreeMap<String, Validator>> = LazyLock::new(|| {
    let closed: BTreeMap<String, Value> = read_all()
        .into_iter()
        .map(|(file, mut schema)| {
            close(&mut schema);
            (file, schema)
        })
        .collect();
    let registry =
        Registry::new().add(format!("{BASE}{COMMON}"), closed[COMMON].clone()).unwrap().prepare().unwrap();
    let outbound = closed.iter().filter(|(file, _)| is_outbound(file));
    outbound
        .map(|(file, schema)| {
            let options =
                jsonschema::options().with_base_uri(format!("{BASE}{file}")).with_registry(&registry);
            let validator =
                options.build(schema).unwrap_or_else(|error| panic!("schemas/{file} is no schema: {error}"));
            (file.trim_end_matches(".json").to_owned(), validator)
        })
        .collect()
});

/// Every file in `schemas/`, by name.
pub(crate) fn read_all() -> BTreeMap<String, Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let mut schemas = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let file = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let schema = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("schemas/{file} is not JSON: {error}"));
            schemas.insert(file, schema);
        }
    }
    schemas
}

/// Whether a file describes something that the server sends.
pub(crate) fn is_outbound(file: &str) -> bool {
    let frames = ["frame-hello-ok.json", "frame-hello-error.json", "frame-res.json", "frame-event.json"];
    frames.contains(&file) || file.starts_with("payload-") || file.starts_with("event-")
}

/// Forbids members that an object's schema does not list.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let lists_members = members.get("type").is_some_and(|kind| kind == "object")
                && members.contains_key("properties");
            if lists_members && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Panics unless `frame` is a frame that the server may send: its envelope, an event's payload by
/// its name, and an answer's payload as that of at least one method (see [`assert_answer`]).
#[track_caller]
pub(crate) fn assert_outbound(frame: &Value) {
    let kind = frame["type"].as_str().unwrap_or_default();
    assert!(
        matches!(kind, "hello-ok" | "hello-error" | "res" | "event"),
        "no frame of a server: {}",
        shown(frame)
    );
    assert_valid(&format!("frame-{kind}"), frame, frame);
    match kind {
        "event" => {
            assert_valid(&format!("event-{}", frame["event"].as_str().unwrap()), &frame["payload"], frame);
        }
        "res" => {
            let fits_some = |payload| {
                VALIDATORS
                    .iter()
                    .any(|(name, validator)| name.starts_with("payload-") && validator.is_valid(payload))
            };
            if let Some(payload) = frame.get("payload") {
                assert!(fits_some(payload), "no method answers with this payload: {}", shown(frame));
            }
        }
        _ => {}
    }
}

/// Panics unless `frame` is an answer of `method`. Only what is answered twice can have a payload
/// beside an error, and has `ok` exactly if it was accepted or ended well.
#[track_caller]
pub(crate) fn assert_answer(method: &str, frame: &Value) {
    assert_valid("frame-res", frame, frame);
    let ok = frame["ok"] == true;
    let Some(payload) = frame.get("payload") else { return };
    assert_valid(&format!("payload-{method}"), payload, frame);
    if matches!(method, "agent" | "channel-login") {
        let good = ["accepted", "ok", "linked"].iter().any(|good| payload["status"] == *good);
        assert_eq!(ok, good, "`ok` and `status` contradict each other: {}", shown(frame));
    } else {
        assert!(ok, "a payload beside an error: {}", shown(frame));
    }
}

#[track_caller]
fn assert_valid(schema: &str, value: &Value, frame: &Value) {
    let validator = VALIDATORS.get(schema).unwrap_or_else(|| panic!("schemas/{schema}.json is missing"));
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("`{}`: {}", error.instance_path(), error.masked()))
        .collect();
    assert!(errors.is_empty(), "not as in schemas/{schema}.json: {}\n{}", errors.join("; "), shown(frame));
}

fn shown(frame: &Value) -> String {
    frame.to_string().chars().take(SHOWN_CHARS_MAX).collect()
}
