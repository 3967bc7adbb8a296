//! `schemas/REFERENCE.md`: the schemas as a text for people.
//!
//! After a change to a schema: `UPDATE_REFERENCE=1 cargo test --test it schemas::`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use clawdis_gateway::protocol::event::EventKind;
use clawdis_gateway::protocol::method::Method;
use serde_json::Value;

use crate::harness::schemas::read_all;

const HEAD: &str = "\
# Protocol and configuration reference

Generated from the schemas in this folder; do not edit it. After a change to a schema:
`UPDATE_REFERENCE=1 cargo test --test it schemas::`. The tests fail while this file is stale.

Every frame is one JSON object in one text message of a WebSocket. Members that are not marked as
required may be absent, but never `null`. Clients must ignore members that they do not know: new
ones may come within a protocol version. `a.b` is the member `b` of the object `a`; `a[]` is each
entry of the list `a`.
";

#[test]
fn the_reference_is_not_stale() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas/REFERENCE.md");
    let text = Reference { schemas: read_all(), text: HEAD.to_owned() }.write();
    if env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "schemas/REFERENCE.md is stale: run `UPDATE_REFERENCE=1 cargo test --test it schemas::`"
    );
}

struct Reference {
    schemas: BTreeMap<String, Value>,
    text: String,
}

/// One line of a table.
struct Row {
    name: String,
    kind: String,
    required: bool,
    text: String,
}

impl Reference {
    fn write(mut self) -> String {
        self.heading(2, "Frames");
        for kind in ["hello", "hello-ok", "hello-error", "req", "res", "event"] {
            self.heading(3, &format!("`{kind}`"));
            self.section(&format!("frame-{kind}.json"), "");
        }
        self.heading(2, "Methods");
        for method in Method::ALL {
            self.heading(3, &format!("`{}`", method.name()));
            self.section(&format!("params-{}.json", method.name()), "**Parameters.** ");
            if method.has_side_effects() {
                self.paragraph("Members that it does not know are refused.");
            }
            self.section(&format!("payload-{}.json", method.name()), "**Answer.** ");
        }
        self.heading(2, "Events");
        for event in EventKind::ALL {
            self.heading(3, &format!("`{}`", event.name()));
            self.section(&format!("event-{}.json", event.name()), "");
        }
        self.heading(2, "Shared types");
        let shared = self.schemas["common.json"]["$defs"].clone();
        for definition in shared.as_object().unwrap().values().filter(|definition| is_type(definition)) {
            self.heading(3, definition["title"].as_str().unwrap());
            self.describe("common.json", definition, "");
        }
        self.heading(2, "Configuration");
        self.section("config.schema.json", "");
        self.text
    }

    fn heading(&mut self, level: usize, title: &str) {
        writeln!(self.text, "\n{} {title}", "#".repeat(level)).unwrap();
    }

    fn paragraph(&mut self, text: &str) {
        writeln!(self.text, "\n{text}").unwrap();
    }

    fn section(&mut self, file: &str, lead: &str) {
        let schema = self.schemas[file].clone();
        self.describe(file, &schema, lead);
    }

    /// A paragraph, the members, and what the schema defines for itself.
    fn describe(&mut self, file: &str, schema: &Value, lead: &str) {
        let text = schema["description"].as_str().unwrap();
        // A shared type that is described here needs no link to itself.
        let kind = if file == "common.json" { self.kind_here(file, schema) } else { self.kind(file, schema) };
        let whole = match kind {
            kind if kind == "object" || kind.is_empty() => String::new(),
            kind => format!(" ({kind})"),
        };
        self.paragraph(&format!("{lead}{text}{whole}"));
        let mut rows = Vec::new();
        self.rows(file, schema, "", &mut rows);
        self.table(&rows);
        let own = schema["$defs"].as_object().filter(|_| file != "config.schema.json");
        for definition in own.into_iter().flat_map(|definitions| definitions.values()) {
            self.describe(file, definition, &format!("*{}*: ", definition["title"].as_str().unwrap()));
        }
    }

    fn table(&mut self, rows: &[Row]) {
        if rows.is_empty() {
            return;
        }
        self.text.push_str("\n| member | type | |\n|---|---|---|\n");
        for Row { name, kind, required, text } in rows {
            let required = if *required { "Required. " } else { "" };
            writeln!(self.text, "| `{name}` | {kind} | {required}{text} |").unwrap();
        }
    }

    /// The members of an object or of a list's entries, those of nested objects included.
    fn rows(&self, file: &str, schema: &Value, path: &str, rows: &mut Vec<Row>) {
        if schema["items"]["properties"].is_object() {
            return self.rows(file, &schema["items"], &format!("{path}[]"), rows);
        }
        let dot = if path.is_empty() { "" } else { "." };
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let (_, target) = self.resolve(file, member);
            let described = [member, target].into_iter().find_map(|schema| schema["description"].as_str());
            let mut text = described.unwrap_or_default().to_owned();
            if let Some(default) = [member, target].into_iter().find_map(|schema| schema.get("default")) {
                write!(text, " Default `{default}`.").unwrap();
            }
            let path = format!("{path}{dot}{name}");
            let kind = self.kind(file, member);
            rows.push(Row { name: path.clone(), kind, required: required.contains(&name.as_str()), text });
            self.rows(file, member, &path, rows);
        }
        if let Some(entry) =
            schema.get("additionalProperties").filter(|entry| entry["properties"].is_object())
        {
            self.rows(file, entry, &format!("{path}.*"), rows);
        }
    }

    /// What a `$ref` leads to, and in which file that stands.
    fn resolve<'a>(&'a self, file: &'a str, schema: &'a Value) -> (&'a str, &'a Value) {
        let Some(target) = schema["$ref"].as_str() else { return (file, schema) };
        let (named, pointer) = target.split_once('#').unwrap();
        let file = if named.is_empty() { file } else { named };
        (file, self.schemas[file].pointer(pointer).unwrap())
    }

    /// Type and bounds in words.
    fn kind(&self, file: &str, schema: &Value) -> String {
        let (file, schema) = self.resolve(file, schema);
        if file == "common.json" && is_type(schema) {
            let title = schema["title"].as_str().unwrap();
            return format!("[{title}](#{})", title.to_lowercase().replace(' ', "-"));
        }
        self.kind_here(file, schema)
    }

    /// The same for a schema that is no reference.
    fn kind_here(&self, file: &str, schema: &Value) -> String {
        if let Some(constant) = schema.get("const") {
            return format!("`{constant}`");
        }
        if let Some(options) = schema["enum"].as_array() {
            let options: Vec<String> = options.iter().map(|option| format!("`{option}`")).collect();
            return options.join(", ");
        }
        match &schema["type"] {
            Value::String(kind) => self.kind_named(kind, file, schema),
            Value::Array(kinds) => {
                let kinds: Vec<String> = kinds
                    .iter()
                    .filter_map(Value::as_str)
                    .map(|kind| self.kind_named(kind, file, schema))
                    .collect();
                kinds.join(" or ")
            }
            _ => String::new(),
        }
    }

    fn kind_named(&self, kind: &str, file: &str, schema: &Value) -> String {
        match kind {
            "string" => format!("string{}", bounds(schema, "minLength", "maxLength", " characters")),
            "integer" => format!("integer{}", bounds(schema, "minimum", "maximum", "")),
            "array" => {
                let entries = self.kind(file, &schema["items"]);
                let of = if entries.is_empty() { String::new() } else { format!(" of {entries}") };
                format!("list{}{of}", bounds(schema, "minItems", "maxItems", " entries"))
            }
            "object" => match schema.get("additionalProperties").filter(|entry| entry.is_object()) {
                Some(entry) => format!("object with values of {}", self.kind(file, entry)),
                None => "object".to_owned(),
            },
            other => other.to_owned(),
        }
    }
}

/// Whether a shared definition is a type of its own in the reference rather than a bound text.
fn is_type(definition: &Value) -> bool {
    definition["title"].is_string()
}

/// `, 1 to 128 characters`; nothing where nothing is bounded.
fn bounds(schema: &Value, least: &str, most: &str, unit: &str) -> String {
    match (schema[least].as_i64().filter(|least| *least != 0 || unit.is_empty()), schema[most].as_i64()) {
        (Some(least), Some(most)) => format!(", {least} to {most}{unit}"),
        (Some(least), None) => {
            format!(", at least {least}{}", if least == 1 { unit.trim_end_matches('s') } else { unit })
        }
        (None, Some(most)) => format!(", at most {most}{unit}"),
        (None, None) => String::new(),
    }
}
