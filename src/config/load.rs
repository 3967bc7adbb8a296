//! Reads the config file, completed by the schema's defaults, and the files with tokens. Keys of the config that nothing reads are each a warning
//! with the nearest right name.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::SettingsError;
use crate::config::file::Config;
use crate::config::secret::Secret;
use crate::limits::{CONFIG_BYTES_MAX, CONFIG_WARNINGS_MAX, ERROR_MEMBER_BYTES_MAX, TOKEN_FILE_BYTES_MAX};
use crate::nearest::nearest;
use crate::plain_file;
use crate::protocol::cut;
use crate::protocol::parse::fold_integers;
use crate::protocol::schema::check_config;

impl Config {
    /// Reads the file at `path` and says what a person should know about it.
    ///
    /// A file that is not there is an empty one, unless it was asked for (`explicit`). Warnings
    /// are about keys that nothing reads and about others who may read a token in the file.
    pub(crate) fn load(path: &Path, explicit: bool) -> Result<(Self, Vec<String>), SettingsError> {
        let text = match plain_file::read_named(path, CONFIG_BYTES_MAX) {
            Err(error) if !explicit && error.kind() == ErrorKind::NotFound => {
                return Ok((Self::default(), Vec::new()));
            }
            read => checked(path, CONFIG_BYTES_MAX, read)?,
        };
        let shown = path.display();
        // With line and column; serde_json does not repeat what stands there.
        let mut value: Value = serde_json::from_slice(&text)
            .map_err(|error| SettingsError(format!("`{shown}` is not JSON: {error}")))?;
        check_config(&value).map_err(|error| SettingsError(format!("`{shown}`: {error}")))?;
        let schema = schema();
        let mut warnings = Vec::new();
        drop_unknown(&mut value, &schema, &schema, "", &mut warnings);
        fold_integers(&mut value);
        // Fails only where schema and type contradict each other; serde's words would hold values.
        let config = Self::complete(value, &schema).map_err(|_| {
            SettingsError(format!("`{shown}`: `/`: a value that the schema allows could not be read"))
        })?;
        if config.gateway.token.is_some() || config.telegram.bot_token.is_some() {
            warnings.extend(readable_by_others(path));
        }
        Ok((config, warnings))
    }

    /// Puts the schema's defaults in the place of what `value` does not have.
    fn complete(mut value: Value, schema: &Value) -> serde_json::Result<Self> {
        fill_defaults(&mut value, schema, schema);
        serde_json::from_value(value)
    }
}

/// Reads a file that holds one token and nothing else, with a warning if others may read it too.
pub(crate) fn read_token(path: &Path) -> Result<(Secret, Option<String>), SettingsError> {
    let bytes = checked(path, TOKEN_FILE_BYTES_MAX, plain_file::read_named(path, TOKEN_FILE_BYTES_MAX))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| SettingsError(format!("`{}` cannot be read: it is not UTF-8 text", path.display())))?;
    Ok((Secret::new(&text), readable_by_others(path)))
}

/// What was read of a file, unless that failed or was too much.
fn checked(path: &Path, bytes_max: u64, read: io::Result<Vec<u8>>) -> Result<Vec<u8>, SettingsError> {
    let shown = path.display();
    match read {
        Ok(bytes) if bytes.len() as u64 <= bytes_max => Ok(bytes),
        Ok(_) => {
            Err(SettingsError(format!("`{shown}` is larger than {bytes_max} bytes: is it the right file?")))
        }
        Err(error) => Err(SettingsError(format!("`{shown}` cannot be read: {error}"))),
    }
}

fn readable_by_others(path: &Path) -> Option<String> {
    const GROUP_AND_OTHERS: u32 = 0o077;
    let mode = fs::metadata(path).ok()?.permissions().mode();
    let path = path.display();
    (mode & GROUP_AND_OTHERS != 0)
        .then(|| format!("`{path}` holds a token and other users may read it: run `chmod 600 '{path}'`"))
}

impl Default for Config {
    /// The config of an empty file.
    fn default() -> Self {
        Self::complete(json!({}), &schema()).expect("the schema has a default for whatever needs one")
    }
}

/// The schema of the config.
fn schema() -> Value {
    serde_json::from_str(include_str!("../../schemas/config.schema.json")).expect("the schema is JSON")
}

/// The schema that `schema` refers to in this file. A reference to another file leads to no object.
fn target<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let pointer = schema["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

/// Puts the schema's defaults in the place of members that `value` does not have, and an object in the place of a
/// section.
fn fill_defaults(value: &mut Value, schema: &Value, root: &Value) {
    let Some(members) = value.as_object_mut() else { return };
    let schema = target(schema, root);
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        let default = schema.get("default").or_else(|| target(schema, root).get("default")).cloned();
        if let Some(default) = default.or_else(|| schema.get("properties").map(|_| json!({}))) {
            members.entry(key).or_insert(default);
        }
    }
    for (key, member) in members {
        fill_defaults(member, schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]), root);
    }
}

/// Takes the unknown keys out of the value at `path`, of which `schema` tells, with up to `CONFIG_WARNINGS_MAX`
/// warnings. Where that lists properties the keys are fixed; where it has `additionalProperties` they are the
/// person's own (variables, chat ids). Nobody has checked what stands behind an unknown key, so nobody reads it.
fn drop_unknown(value: &mut Value, schema: &Value, root: &Value, path: &str, warnings: &mut Vec<String>) {
    let Some(members) = value.as_object_mut() else { return };
    let schema = target(schema, root);
    let properties = schema["properties"].as_object();
    members.retain(|key, member| {
        let path = format!("{path}/{}", cut(key, ERROR_MEMBER_BYTES_MAX));
        let known = properties.and_then(|properties| properties.get(key));
        if let Some(schema) = known.or(schema.get("additionalProperties")) {
            drop_unknown(member, schema, root, &path, warnings);
            return true;
        }
        if warnings.len() < CONFIG_WARNINGS_MAX {
            let names = properties.into_iter().flat_map(Map::keys).map(String::as_str);
            let hint =
                nearest(key, names).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            warnings.push(format!("unknown key `{path}` is ignored{hint}"));
        }
        false
    });
}

#[cfg(test)]
impl From<Value> for Config {
    fn from(value: Value) -> Self {
        Self::complete(value, &schema()).unwrap()
    }
}

#[cfg(test)]
mod tests;
