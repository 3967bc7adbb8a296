//! Waiting for a condition, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything that should happen at once may take before a test gives up on it. Generous:
/// it only costs time when a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Looks again and again until there is something, or fails naming what was awaited.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
