//! What a person should mend in how the gateway is set up, as `status` lists it.

use serde::Serialize;

/// The kinds of warnings, in the order in which `status` lists them; it has at most one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WarningCode {
    /// The gateway can act, and whoever reaches its port commands it.
    NoToken,
    /// The token is short enough to be guessed.
    ShortToken,
    /// The token file cannot be used, so that the last good token stays in force.
    TokenFile,
    /// Other users may read the token file.
    TokenReadable,
    /// Nobody named the owner; an older version's rule did.
    OwnerImplied,
    /// The agent works in the person's home.
    CwdHome,
    /// Nothing keeps the agent from the person's files.
    NoSandbox,
    /// Another program listens on the gateway's port of `[::1]`.
    Ipv6Taken,
    /// Entries of `gateway.allowedHosts` name no host.
    HostsEntry,
}

/// `status.warnings[]`: something that a person should mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Warning {
    pub(crate) code: WarningCode,
    /// One sentence for people: what is wrong, and what mends it.
    pub(crate) message: String,
}

impl Warning {
    pub(crate) fn new(code: WarningCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
