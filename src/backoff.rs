//! Pauses between attempts, each twice as long as the one before. Pure, but for the randomness of jitter.

use std::time::Duration;

/// The pauses of one series of failures. A series begins with a copy of one of those in `limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Pauses that begin with `min` and double up to `max`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { next: min, max }
    }

    /// The pause before the next attempt.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.max);
        pause
    }
}

/// A random share of a pause, from nothing up to `share_max`: those who lost the same server at the same
/// moment should not all come back at the same moment.
pub(crate) fn jitter(share_max: f64) -> f64 {
    // Without randomness there is no jitter, which is no harm for one.
    getrandom::u32().map_or(0.0, |random| share_max * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, jitter};

    #[test]
    fn pauses_double_up_to_the_bound() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let pauses: Vec<u64> = (0..8).map(|_| backoff.next_pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let shares: Vec<f64> = (0..1_000).map(|_| jitter(0.25)).collect();
        assert!(shares.iter().all(|share| (0.0..=0.25).contains(share)));
        assert!(shares.iter().any(|share| *share > 0.2) && shares.iter().any(|share| *share < 0.05));
    }
}
