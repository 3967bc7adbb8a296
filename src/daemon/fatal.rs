//! Why the daemon cannot start or go on: one sentence that says what to do, and an exit code.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::SettingsError;

/// Ends the process. `Display` is what the person reads.
pub(crate) enum Fatal {
    /// The command line or the configuration is wrong. A supervisor should not try again.
    Config(String),
    /// Another gateway serves this state folder.
    Held {
        folder: PathBuf,
        /// The holder in words.
        holder: String,
    },
    /// Another gateway listens on the address.
    PortHeld { address: SocketAddr, pid: u64 },
    /// Something else listens on the address, or it cannot be used.
    Bind { address: SocketAddr, source: io::Error },
    /// The state folder cannot be used.
    Folder { folder: PathBuf, source: io::Error },
    /// The system refused something else.
    System { what: &'static str, source: io::Error },
}

impl Fatal {
    /// Makes an error of the system fatal: it refused to do `what`.
    pub(crate) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }

    /// The exit code: 1 run time, 2 usage or configuration, 3 another gateway.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Fatal::Config(_) => 2,
            Fatal::Held { .. } | Fatal::PortHeld { .. } => 3,
            Fatal::Bind { .. } | Fatal::Folder { .. } | Fatal::System { .. } => 1,
        }
    }
}

impl From<SettingsError> for Fatal {
    fn from(SettingsError(sentence): SettingsError) -> Self {
        Self::Config(sentence)
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fatal::Config(text) => f.write_str(text),
            Fatal::Held { folder, holder } => write!(
                f,
                "another gateway ({holder}) serves `{}`: stop it first, or give this one its own --state-dir",
                folder.display()
            ),
            Fatal::PortHeld { address, pid } => write!(
                f,
                "another gateway (pid {pid}) listens on {address}: stop it first, or give this one another --port"
            ),
            Fatal::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "port {} on {} is taken by another program: end it, or give this gateway another --port",
                address.port(),
                address.ip()
            ),
            Fatal::Bind { address, source } => {
                write!(f, "cannot listen on {address}: {source}; check --bind and --port")
            }
            Fatal::Folder { folder, source } if source.kind() == io::ErrorKind::InvalidData => {
                write!(
                    f,
                    "the state folder `{}` cannot be used: {source}; move it elsewhere",
                    folder.display()
                )
            }
            Fatal::Folder { folder, source } => write!(
                f,
                "the state folder `{}` cannot be used: {source}; check its owner and space, or give another --state-dir",
                folder.display()
            ),
            Fatal::System { what, source } => write!(f, "cannot {what}: {source}"),
        }
    }
}
