//! What a person should mend in how the gateway is set up, as `status` lists it.

use serde::{Deserialize, Serialize};

named! {
    /// The kinds of warnings; `status` has at most one of each.
    WarningCode {
        /// The gateway can act, and whoever reaches its port commands it.
        NoToken = "no-token",
        /// The token is short enough to be guessed.
        ShortToken = "short-token",
        /// The token file cannot be used, so that the last good token stays in force.
        TokenFile = "token-file",
        /// Other users may read the token file.
        TokenReadable = "token-readable",
        /// Nobody named the owner; an older version's rule did.
        OwnerImplied = "owner-implied",
        /// The agent works in the person's home.
        CwdHome = "cwd-home",
        /// Nothing keeps the agent from the person's files.
        NoSandbox = "no-sandbox",
        /// Another program listens on the gateway's port of `[::1]`.
        Ipv6Taken = "ipv6-taken",
        /// Entries of `gateway.allowedHosts` name no host.
        HostsEntry = "hosts-entry",
    }
}

/// `status.warnings[]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The kind, for programs.
    pub code: WarningCode,
    /// One sentence for people: what is wrong, and what mends it.
    pub message: String,
}

impl Warning {
    /// A warning of that kind.
    pub fn new(code: WarningCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
