//! Pauses between attempts: doubling, bounded, and scattered so that many clients of one gateway do
//! not come back at the same moment.

use std::time::Duration;

use crate::limits::{CLI_RECONNECT_MAX_MS, CLI_RECONNECT_MIN_MS};

/// The pauses of one series of attempts.
pub(crate) struct Backoff {
    next_ms: u64,
}

impl Backoff {
    /// Before the first attempt.
    pub(crate) fn new() -> Self {
        Self { next_ms: CLI_RECONNECT_MIN_MS }
    }

    /// The pause before the next attempt: between half and all of 1, 2, 4, ... 30 s.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.next_ms;
        self.next_ms = (whole * 2).min(CLI_RECONNECT_MAX_MS);
        // Without randomness all pauses are the longest of their step, which is safe.
        let scatter = getrandom::u32().map_or(0, |random| u64::from(random) % (whole / 2 + 1));
        Duration::from_millis(whole - scatter)
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;

    #[test]
    fn pauses_double_up_to_the_bound_and_stay_in_their_half() {
        let mut backoff = Backoff::new();
        for whole in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            let pause = u64::try_from(backoff.pause().as_millis()).unwrap();
            assert!((whole / 2..=whole).contains(&pause), "{pause} for {whole}");
        }
    }
}
