//! Begins and ends the warnings that `status` shows of what a person should mend.

use crate::limits::WARNING_BYTES_MAX;
use crate::protocol::warning::{Warning, WarningCode};
use crate::state::State;
use crate::state::model::clients::clean;

impl State {
    /// From now on `status` shows this warning. The log has it once for as long as it stays the same.
    pub(crate) fn warn(&mut self, warning: Warning) {
        let warning = Warning { message: clean(&warning.message, WARNING_BYTES_MAX), ..warning };
        if self.warnings.0.get(&warning.code) != Some(&warning) {
            log::warn!("{}", warning.message);
            self.warnings.0.insert(warning.code, warning);
        }
    }

    /// Ends a warning: what it was about has been mended.
    pub(crate) fn end_warning(&mut self, code: WarningCode) {
        if let Some(warning) = self.warnings.0.remove(&code) {
            log::info!("no longer so: {}", warning.message);
        }
    }
}
