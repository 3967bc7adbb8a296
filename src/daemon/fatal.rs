//! Why the daemon cannot start or go on: one sentence that says what to do, and an exit code.

use std::io;
use std::path::Path;

use crate::config::SettingsError;

/// Ends the process.
pub(super) struct Fatal {
    /// What the person reads.
    pub(super) sentence: String,
    pub(super) exit_code: u8,
}

impl Fatal {
    /// The command line or the configuration is wrong. A supervisor should not try again.
    pub(super) fn config(sentence: String) -> Self {
        Self { sentence, exit_code: 2 }
    }

    /// Another gateway is in the way.
    pub(super) fn held(sentence: String) -> Self {
        Self { sentence, exit_code: 3 }
    }

    /// Something is in the way that may be gone when it is tried again.
    pub(super) fn failed(sentence: String) -> Self {
        Self { sentence, exit_code: 1 }
    }

    /// Makes an error of the system fatal: it refused to do `what`.
    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::failed(format!("cannot {what}: {error}"))
    }

    /// Makes an error of the state folder fatal.
    pub(super) fn folder(folder: &Path) -> impl Fn(io::Error) -> Self {
        move |error| {
            let advice = match error.kind() {
                io::ErrorKind::InvalidData => "move it elsewhere",
                _ => "check its owner and space, or give another --state-dir",
            };
            Self::failed(format!("the state folder `{}` cannot be used: {error}; {advice}", folder.display()))
        }
    }
}

impl From<SettingsError> for Fatal {
    fn from(SettingsError(sentence): SettingsError) -> Self {
        Self::config(sentence)
    }
}
