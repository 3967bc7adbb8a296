//! Warnings: what a person should mend in how the gateway is set up, as `status` lists it.

use std::collections::BTreeMap;

use crate::protocol::warning::{Warning, WarningCode};

/// The warnings that hold now. A new one takes the place of the one before it of the same kind.
#[derive(Default)]
pub(crate) struct Warnings(pub(crate) BTreeMap<WarningCode, Warning>);

impl Warnings {
    /// The warnings that hold, in the order of their codes.
    pub(crate) fn list(&self) -> Vec<&Warning> {
        self.0.values().collect()
    }
}
