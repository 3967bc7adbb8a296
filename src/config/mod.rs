//! What the person has set: the config file, the command line and the environment.
//!
//! `file` is the shape of the config file and `load` reads it, `flags` reads the daemon's command line, and
//! `settings` is what comes of both and of the environment. Knows nothing of threads or sockets.
//! `schemas/config.schema.json` describes the file.

pub mod file;
pub(crate) mod flags;
pub(crate) mod load;
pub(crate) mod secret;
pub(crate) mod settings;

use std::fmt;

/// Why the gateway does not start with this command line or these settings (exit 2): a sentence that says
/// what to mend.
pub(crate) struct SettingsError(pub(crate) String);

impl SettingsError {
    /// The flag, variable or key `setting` is not what is expected.
    fn wrong(setting: &str, expected: &str) -> Self {
        Self(format!("`{setting}` needs {expected}"))
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
