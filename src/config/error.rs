//! Why the settings cannot be used.

use std::fmt;
use std::net::IpAddr;

use crate::config::load::ConfigError;
use crate::config::secret::SecretFault;

/// Why the gateway does not start with these settings (exit 2).
#[derive(Debug)]
pub(crate) enum SettingsError {
    /// This setting is not what is expected.
    Wrong {
        /// The flag, variable or key.
        setting: &'static str,
        expected: &'static str,
    },
    /// The token of this setting is none that clients could show.
    Token(&'static str, SecretFault),
    /// Others reach this address, and there is no token to keep them out.
    OpenBind(IpAddr),
    /// A variable of the agent's that programs outside of its sandbox would obey.
    Obeyed {
        /// The key that names it.
        key: &'static str,
        name: String,
    },
    /// There is neither a state folder nor a home to have one in.
    NoHome,
    /// A file of the configuration cannot be used.
    File(ConfigError),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong { setting, expected } => write!(f, "`{setting}` needs {expected}"),
            Self::Token(setting, SecretFault::Empty) => {
                write!(f, "the token of `{setting}` is empty: put one there or leave it out")
            }
            Self::Token(setting, fault) => write!(f, "the token of `{setting}` {fault}"),
            Self::OpenBind(address) => write!(
                f,
                "without a token everybody who reaches {address} could command this gateway: \
                 set one with `--token-file`, or bind 127.0.0.1 and connect through an SSH tunnel"
            ),
            Self::Obeyed { key, name } => write!(
                f,
                "`{key}` names `{name}`, which programs outside of the agent's sandbox would obey too: \
                 set it in a script that is the agent's command"
            ),
            Self::NoHome => write!(f, "there is no `HOME` to keep state in: set it or give `--state-dir`"),
            Self::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SettingsError {}

impl From<ConfigError> for SettingsError {
    fn from(error: ConfigError) -> Self {
        Self::File(error)
    }
}
