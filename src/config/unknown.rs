//! Keys of the config file that nothing reads: each a warning with the nearest right name.

use serde_json::{Map, Value};

use crate::limits::{CONFIG_WARNINGS_MAX, ERROR_MEMBER_BYTES_MAX};
use crate::nearest::nearest;
use crate::protocol::cut;

/// The schema of the config, parsed only when there is a file.
const SCHEMA: &str = include_str!("../../schemas/config.schema.json");

/// One warning per unknown key, at most `CONFIG_WARNINGS_MAX`.
pub(super) fn warnings(config: &Value) -> Vec<String> {
    let Ok(root) = serde_json::from_str::<Value>(SCHEMA) else { return Vec::new() };
    let mut walk = Walk { root: &root, warnings: Vec::new() };
    walk.visit(config, &root, "");
    walk.warnings
}

struct Walk<'a> {
    root: &'a Value,
    warnings: Vec<String>,
}

impl<'a> Walk<'a> {
    /// Looks for unknown keys. Where a schema lists properties the keys are fixed; where it has
    /// `additionalProperties` they are the person's own (variables, chat ids).
    fn visit(&mut self, value: &Value, schema: &'a Value, path: &str) {
        let Some(members) = value.as_object() else { return };
        let schema = self.resolve(schema);
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (key, member) in members {
            let shown = cut(key, ERROR_MEMBER_BYTES_MAX);
            let path = format!("{path}/{shown}");
            match (properties.and_then(|properties| properties.get(key)), others) {
                (Some(schema), _) | (None, Some(schema)) => self.visit(member, schema, &path),
                (None, None) => self.warn(&path, key, properties),
            }
        }
    }

    fn warn(&mut self, path: &str, key: &str, properties: Option<&Map<String, Value>>) {
        if self.warnings.len() >= CONFIG_WARNINGS_MAX {
            return;
        }
        let known = properties.into_iter().flat_map(Map::keys).map(String::as_str);
        let hint =
            nearest(key, known).map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
        self.warnings.push(format!("unknown key `{path}` is ignored{hint}"));
    }

    /// Follows a `$ref` within the file. The ones to other files lead to no objects.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        target.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::warnings;
    use crate::limits::CONFIG_WARNINGS_MAX;
    use serde_json::json;

    #[test]
    fn names_the_nearest_key() {
        let config = json!({
            "$schema": "x",
            "gatway": {},
            "gateway": {"prot": 1, "port": 1, "xyzzy": 1},
            "agent": {"env": {"ANY": "x"}, "timeout": 5, "timeoutSecond": 5},
            "telegram": {"groups": {"-100": {"requireMentions": false}}},
            "whatsapp": {"sidecar": {"nod": "/x", "env": {"ANY": "x"}}},
        });
        assert_eq!(
            warnings(&config),
            [
                "unknown key `/agent/timeout` is ignored",
                "unknown key `/agent/timeoutSecond` is ignored; did you mean `timeoutSeconds`?",
                "unknown key `/gateway/prot` is ignored; did you mean `port`?",
                "unknown key `/gateway/xyzzy` is ignored",
                "unknown key `/gatway` is ignored; did you mean `gateway`?",
                "unknown key `/telegram/groups/-100/requireMentions` is ignored; did you mean `requireMention`?",
                "unknown key `/whatsapp/sidecar/nod` is ignored; did you mean `node`?",
            ]
        );
    }

    #[test]
    fn warnings_are_bounded() {
        let config: serde_json::Map<_, _> = (0..1_000).map(|i| (format!("{i}"), json!(1))).collect();
        assert_eq!(warnings(&config.into()).len(), CONFIG_WARNINGS_MAX);
    }
}
