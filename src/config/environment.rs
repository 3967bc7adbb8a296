//! The environment variables that the daemon reads, once, at its start.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::config::SettingsError;

/// The variable with the gateway's token.
pub(crate) const TOKEN: &str = "CLAWDIS_GATEWAY_TOKEN";
/// The variable with the id of the process that has started itself again, so that it does so once.
pub(crate) const STARTED_AGAIN: &str = "CLAWDIS_GATEWAY_STARTED_AGAIN";
pub(super) const PORT: &str = "CLAWDIS_GATEWAY_PORT";
pub(super) const AGENT: &str = "CLAWDIS_AGENT";
pub(super) const CONFIG: &str = "CLAWDIS_CONFIG";
pub(super) const STATE_DIR: &str = "CLAWDIS_STATE_DIR";
pub(super) const TELEGRAM_TOKEN: &str = "TELEGRAM_BOT_TOKEN";
pub(super) const TELEGRAM_API_BASE: &str = "CLAWDIS_TELEGRAM_API_BASE";
pub(super) const HOME: &str = "HOME";

/// The variables by their names. One that is set to nothing counts as not set, but for the gateway's token:
/// there it is a mistake that would let everybody in. (`RUST_LOG` is read by the logger.)
pub(crate) struct Environment(pub(super) BTreeMap<OsString, OsString>);

impl Environment {
    /// This process's environment.
    pub(crate) fn of_process() -> Self {
        Self(env::vars_os().collect())
    }

    /// A variable's text, even if that is empty. Fails if it is not UTF-8.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, SettingsError> {
        let text = self.0.get(OsStr::new(name)).map(|value| value.to_str().map(str::to_owned));
        text.map(|text| text.ok_or_else(|| SettingsError::wrong(name, "UTF-8 text"))).transpose()
    }

    /// A variable's text, if there is any. Fails if it is not UTF-8.
    pub(super) fn filled(&self, name: &str) -> Result<Option<String>, SettingsError> {
        self.text(name).map(|text| text.filter(|text| !text.is_empty()))
    }

    /// A variable that names a file or folder.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }
}
