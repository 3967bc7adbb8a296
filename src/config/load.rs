//! Reads the config file.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::file::Config;
use crate::config::secret::Secret;
use crate::config::unknown;
use crate::limits::{CONFIG_BYTES_MAX, TOKEN_FILE_BYTES_MAX};
use crate::plain_file;
use crate::protocol::parse::fold_integers;
use crate::protocol::schema::{SchemaError, check_config};

/// Why a file of the configuration cannot be used. The gateway does not start then (exit 2).
#[derive(Debug)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The file is larger than this many bytes.
    TooLarge(PathBuf, u64),
    /// The file is not JSON.
    NotJson(PathBuf, serde_json::Error),
    /// A value has a wrong type or is out of its bounds.
    Wrong(PathBuf, SchemaError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "`{}` cannot be read: {error}", path.display()),
            Self::TooLarge(path, bytes_max) => {
                write!(f, "`{}` is larger than {bytes_max} bytes: is it the right file?", path.display())
            }
            // With line and column; serde_json does not repeat what stands there.
            Self::NotJson(path, error) => write!(f, "`{}` is not JSON: {error}", path.display()),
            Self::Wrong(path, error) => write!(f, "`{}`: {error}", path.display()),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file at `path` and says what a person should know about it.
    ///
    /// A file that is not there is an empty one, unless it was asked for (`explicit`). Warnings
    /// are about keys that nothing reads and about others who may read a token in the file.
    pub(crate) fn load(path: &Path, explicit: bool) -> Result<(Self, Vec<String>), ConfigError> {
        let text = match read_bounded(path, CONFIG_BYTES_MAX) {
            Err(ConfigError::Unreadable(_, error))
                if !explicit && error.kind() == io::ErrorKind::NotFound =>
            {
                return Ok((Self::default(), Vec::new()));
            }
            text => text?,
        };
        let mut value: Value =
            serde_json::from_slice(&text).map_err(|error| ConfigError::NotJson(path.to_owned(), error))?;
        check_config(&value).map_err(|error| ConfigError::Wrong(path.to_owned(), error))?;
        let mut warnings = unknown::warnings(&value);
        fold_integers(&mut value);
        // Fails only where schema and type contradict each other; serde's words would hold values.
        let config: Self = serde_json::from_value(value).map_err(|_| {
            ConfigError::Wrong(
                path.to_owned(),
                SchemaError::new("", "a value that the schema allows could not be read"),
            )
        })?;
        if config.gateway.token.is_some() || config.telegram.bot_token.is_some() {
            warnings.extend(readable_by_others(path));
        }
        Ok((config, warnings))
    }
}

/// Reads a file that holds one token and nothing else, with a warning if others may read it too.
pub(crate) fn read_token(path: &Path) -> Result<(Secret, Option<String>), ConfigError> {
    let bytes = read_bounded(path, TOKEN_FILE_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        ConfigError::Unreadable(
            path.to_owned(),
            io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"),
        )
    })?;
    Ok((Secret::new(&text), readable_by_others(path)))
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |error| ConfigError::Unreadable(path.to_owned(), error);
    let bytes = plain_file::read_named(path, bytes_max).map_err(unreadable)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ConfigError::TooLarge(path.to_owned(), bytes_max));
    }
    Ok(bytes)
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
