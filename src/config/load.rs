//! Reads the config file, and the files with tokens. Keys of the config that nothing reads are each a warning
//! with the nearest right name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Map, Value};

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
        if !explicit && path.try_exists().is_ok_and(|exists| !exists) {
            return Ok((Self::default(), Vec::new()));
        }
        let text = read(path, CONFIG_BYTES_MAX)?;
        let shown = path.display();
        // With line and column; serde_json does not repeat what stands there.
        let mut value: Value = serde_json::from_slice(&text)
            .map_err(|error| SettingsError(format!("`{shown}` is not JSON: {error}")))?;
        check_config(&value).map_err(|error| SettingsError(format!("`{shown}`: {error}")))?;
        let mut warnings = unknown_keys(&value);
        fold_integers(&mut value);
        // Fails only where schema and type contradict each other; serde's words would hold values.
        let config: Self = serde_json::from_value(value).map_err(|_| {
            SettingsError(format!("`{shown}`: `/`: a value that the schema allows could not be read"))
        })?;
        if config.gateway.token.is_some() || config.telegram.bot_token.is_some() {
            warnings.extend(readable_by_others(path));
        }
        Ok((config, warnings))
    }
}

/// Reads a file that holds one token and nothing else, with a warning if others may read it too.
pub(crate) fn read_token(path: &Path) -> Result<(Secret, Option<String>), SettingsError> {
    let bytes = read(path, TOKEN_FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| SettingsError(format!("`{}` cannot be read: it is not UTF-8 text", path.display())))?;
    Ok((Secret::new(&text), readable_by_others(path)))
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, SettingsError> {
    let shown = path.display();
    match plain_file::read_named(path, bytes_max) {
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

/// The schema of the config, parsed only when there is a file.
const SCHEMA: &str = include_str!("../../schemas/config.schema.json");

/// One warning per unknown key, at most `CONFIG_WARNINGS_MAX`.
fn unknown_keys(config: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Ok(root) = serde_json::from_str(SCHEMA) {
        find_unknown(config, &root, &root, "", &mut warnings);
    }
    warnings
}

/// Looks for unknown keys in the value at `path`, of which `schema` tells. Where that lists properties the keys are
/// fixed; where it has `additionalProperties` they are the person's own (variables, chat ids).
fn find_unknown(value: &Value, schema: &Value, root: &Value, path: &str, warnings: &mut Vec<String>) {
    let Some(members) = value.as_object() else { return };
    // A reference to another file leads to no object.
    let pointer = schema["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    let schema = pointer.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema);
    let properties = schema["properties"].as_object();
    for (key, member) in members {
        let path = format!("{path}/{}", cut(key, ERROR_MEMBER_BYTES_MAX));
        let known = properties.and_then(|properties| properties.get(key));
        if let Some(schema) = known.or(schema.get("additionalProperties")) {
            find_unknown(member, schema, root, &path, warnings);
        } else if warnings.len() < CONFIG_WARNINGS_MAX {
            let names = properties.into_iter().flat_map(Map::keys).map(String::as_str);
            let hint =
                nearest(key, names).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            warnings.push(format!("unknown key `{path}` is ignored{hint}"));
        }
    }
}

#[cfg(test)]
mod tests;
