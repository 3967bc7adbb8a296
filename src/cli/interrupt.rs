//! Ctrl-C: ends the process with 130 at once, or sets a flag while a verb holds it back to tidy up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use signal_hook::consts::SIGINT;
use signal_hook::flag;

use crate::cli::failure::{Failure, Result};
use crate::limits::CLI_SIGNAL_SLICE;

/// The handler of SIGINT.
pub(crate) struct Interrupt {
    ends_at_once: Arc<AtomicBool>,
    seen: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes SIGINT over; from now on it ends the process with 130.
    pub(crate) fn install() -> io::Result<Self> {
        let interrupt =
            Self { ends_at_once: Arc::new(AtomicBool::new(true)), seen: Arc::new(AtomicBool::new(false)) };
        // In this order: the first signal while held must only set the flags, the second end us.
        flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&interrupt.ends_at_once))?;
        flag::register(SIGINT, Arc::clone(&interrupt.ends_at_once))?;
        flag::register(SIGINT, Arc::clone(&interrupt.seen))?;
        Ok(interrupt)
    }

    /// From now on the first Ctrl-C only makes [`Interrupt::is_pressed`] true; a second one ends the
    /// process.
    pub(crate) fn hold(&self) {
        self.ends_at_once.store(false, Ordering::SeqCst);
    }

    /// Whether Ctrl-C was pressed while held.
    pub(crate) fn is_pressed(&self) -> bool {
        self.seen.load(Ordering::SeqCst)
    }

    /// Sleeps until then, or until Ctrl-C.
    pub(crate) fn sleep_until(&self, until: Instant) -> Result<()> {
        while !self.is_pressed() {
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(());
            }
            thread::sleep(rest.min(CLI_SIGNAL_SLICE));
        }
        Err(Failure::Interrupted("interrupted while there was no connection".to_owned()))
    }
}
