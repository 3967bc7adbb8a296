//! Reads the config file.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::config::file::Config;
use crate::config::secret::Secret;
use crate::config::{SettingsError, unknown};
use crate::limits::{CONFIG_BYTES_MAX, TOKEN_FILE_BYTES_MAX};
use crate::plain_file;
use crate::protocol::parse::fold_integers;
use crate::protocol::schema::check_config;

impl Config {
    /// Reads the file at `path` and says what a person should know about it.
    ///
    /// A file that is not there is an empty one, unless it was asked for (`explicit`). Warnings
    /// are about keys that nothing reads and about others who may read a token in the file.
    pub(crate) fn load(path: &Path, explicit: bool) -> Result<(Self, Vec<String>), SettingsError> {
        let read = plain_file::read_named(path, CONFIG_BYTES_MAX);
        if !explicit && read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok((Self::default(), Vec::new()));
        }
        let text = within(path, CONFIG_BYTES_MAX, read)?;
        let shown = path.display();
        // With line and column; serde_json does not repeat what stands there.
        let mut value: Value = serde_json::from_slice(&text)
            .map_err(|error| SettingsError(format!("`{shown}` is not JSON: {error}")))?;
        check_config(&value).map_err(|error| SettingsError(format!("`{shown}`: {error}")))?;
        let mut warnings = unknown::warnings(&value);
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
    let bytes = within(path, TOKEN_FILE_BYTES_MAX, plain_file::read_named(path, TOKEN_FILE_BYTES_MAX))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| SettingsError(format!("`{}` cannot be read: it is not UTF-8 text", path.display())))?;
    Ok((Secret::new(&text), readable_by_others(path)))
}

/// What was read of a file that may have so many bytes.
fn within(path: &Path, bytes_max: u64, read: io::Result<Vec<u8>>) -> Result<Vec<u8>, SettingsError> {
    let path = path.display();
    match read {
        Ok(bytes) if bytes.len() as u64 <= bytes_max => Ok(bytes),
        Ok(_) => {
            let text = format!("`{path}` is larger than {bytes_max} bytes: is it the right file?");
            Err(SettingsError(text))
        }
        Err(error) => Err(SettingsError(format!("`{path}` cannot be read: {error}"))),
    }
}

fn readable_by_others(path: &Path) -> Option<String> {
    const GROUP_AND_OTHERS: u32 = 0o077;
    let mode = fs::metadata(path).ok()?.permissions().mode();
    let path = path.display();
    (mode & GROUP_AND_OTHERS != 0)
        .then(|| format!("`{path}` holds a token and other users may read it: run `chmod 600 '{path}'`"))
}

#[cfg(test)]
mod tests;
