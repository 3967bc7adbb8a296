//! Names of the people who ask, as budgets and records have them.

/// Whoever speaks the protocol has the token, or is on this machine: the owner.
pub(crate) const OWNER: &str = "owner";
