//! Back to a gateway that went away: pauses double up to a bound, and are scattered so that many
//! clients of one gateway do not come back at the same moment.

use std::time::{Duration, Instant};

use crate::backoff::jitter;
use crate::cli::connection::{Client, Connection};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::limits::{CLI_RECONNECT, CLI_RECONNECT_PAUSE_MAX};

/// Connects again, first after `pause` at least (within bounds); until `give_up`, a refusal or Ctrl-C.
pub(crate) fn reconnect(
    context: &Context,
    client: &Client,
    pause: Duration,
    give_up: Instant,
) -> Result<Connection> {
    let mut backoff = CLI_RECONNECT;
    let mut next = Instant::now() + scattered(backoff.next_pause()).max(pause.min(CLI_RECONNECT_PAUSE_MAX));
    loop {
        context.interrupt.sleep_until(next.min(give_up))?;
        match context.connect(client, context.deadline()) {
            Err(Failure::Unreachable(_) | Failure::Lost(_) | Failure::TimedOut(_))
                if Instant::now() < give_up => {}
            done => return done,
        }
        next = Instant::now() + scattered(backoff.next_pause());
    }
}

/// Between half and all of a pause.
fn scattered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - jitter(0.5))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::scattered;

    #[test]
    fn pauses_are_shortened_by_half_at_most() {
        for pause in [1, 2, 30].map(Duration::from_secs) {
            assert!((pause / 2..=pause).contains(&scattered(pause)));
        }
    }
}
