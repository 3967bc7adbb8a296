//! What a person should mend in how the gateway is set up: the one list of it, for `status` and the log.

use std::collections::BTreeMap;

use crate::limits::WARNING_BYTES_MAX;
use crate::protocol::warning::{Warning, WarningCode};
use crate::state::State;
use crate::state::handlers::clients::clean;

/// The warnings that hold now. A new one takes the place of the one before it of the same kind.
#[derive(Default)]
pub(crate) struct Warnings(BTreeMap<WarningCode, Warning>);

impl Warnings {
    /// The warnings that hold, each kind at its place.
    pub(crate) fn list(&self) -> Vec<&Warning> {
        self.0.values().collect()
    }
}

impl State {
    /// From now on `status` shows this warning. The log has it once for as long as it stays the same.
    pub(crate) fn warn(&mut self, warning: Warning) {
        let warning = Warning { message: clean(&warning.message, WARNING_BYTES_MAX), ..warning };
        if self.warnings.0.get(&warning.code) != Some(&warning) {
            log::warn!("{}", warning.message);
            self.warnings.0.insert(warning.code, warning);
        }
    }

    /// What that warning was about has been mended.
    pub(crate) fn end_warning(&mut self, code: WarningCode) {
        if let Some(warning) = self.warnings.0.remove(&code) {
            log::info!("no longer so: {}", warning.message);
        }
    }
}
