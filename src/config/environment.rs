//! The environment variables that the daemon reads, once, at its start.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::error::SettingsError;
use crate::config::secret::Secret;

/// The variable with the gateway's token.
pub(crate) const TOKEN: &str = "CLAWDIS_GATEWAY_TOKEN";
/// The variable with the id of the process that has started itself again, so that it does so once.
pub(crate) const STARTED_AGAIN: &str = "CLAWDIS_GATEWAY_STARTED_AGAIN";
pub(super) const PORT: &str = "CLAWDIS_GATEWAY_PORT";
pub(super) const AGENT: &str = "CLAWDIS_AGENT";
const CONFIG: &str = "CLAWDIS_CONFIG";
const STATE_DIR: &str = "CLAWDIS_STATE_DIR";
const TELEGRAM_TOKEN: &str = "TELEGRAM_BOT_TOKEN";
const TELEGRAM_API_BASE: &str = "CLAWDIS_TELEGRAM_API_BASE";
const HOME: &str = "HOME";

/// What the variables say. One that is set to nothing counts as not set, but for the gateway's token: there
/// it is a mistake that would let everybody in. (`RUST_LOG` is read by the logger.)
#[derive(Clone, Default)]
pub(crate) struct Environment {
    pub(crate) port: Option<String>,
    pub(crate) token: Option<Secret>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) agent: Option<String>,
    pub(crate) telegram_token: Option<Secret>,
    pub(crate) telegram_api_base: Option<String>,
    pub(crate) home: Option<PathBuf>,
}

impl Environment {
    /// Reads this process's environment.
    pub(crate) fn of_process() -> Result<Self, SettingsError> {
        Self::from_lookup(|name| env::var_os(name))
    }

    /// Reads each variable with `lookup`. Fails if one that must be text is not UTF-8.
    pub(crate) fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let text = |name: &'static str| -> Result<Option<String>, SettingsError> {
            let value = lookup(name).map(OsString::into_string).transpose();
            value.map_err(|_| SettingsError::Wrong { setting: name, expected: "UTF-8 text" })
        };
        let filled = |name| text(name).map(|value| value.filter(|value| !value.is_empty()));
        let path = |name| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Ok(Self {
            port: filled(PORT)?,
            token: text(TOKEN)?.map(|token| Secret::new(&token)),
            config: path(CONFIG),
            state_dir: path(STATE_DIR),
            agent: filled(AGENT)?,
            telegram_token: filled(TELEGRAM_TOKEN)?.map(|token| Secret::new(&token)),
            telegram_api_base: filled(TELEGRAM_API_BASE)?,
            home: path(HOME),
        })
    }
}
