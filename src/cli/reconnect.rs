//! Back to a gateway that went away: pauses double up to a bound, and are scattered so that many
//! clients of one gateway do not come back at the same moment.

use std::time::{Duration, Instant};

use crate::cli::connection::{Client, Connection};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::limits::{CLI_RECONNECT_MAX_MS, CLI_RECONNECT_MIN_MS, ms};

/// Connects again, first after `pause` at least (within bounds); until `give_up`, a refusal or Ctrl-C.
pub(crate) fn reconnect(
    context: &Context,
    client: &Client,
    pause: Duration,
    give_up: Instant,
) -> Result<Connection> {
    let mut step_ms = CLI_RECONNECT_MIN_MS;
    let mut next = Instant::now() + scattered(step_ms).max(pause.min(ms(CLI_RECONNECT_MAX_MS)));
    loop {
        context.interrupt.sleep_until(next.min(give_up))?;
        match context.connect(client, context.deadline()) {
            Err(Failure::Unreachable(_) | Failure::Lost(_) | Failure::TimedOut(_))
                if Instant::now() < give_up => {}
            done => return done,
        }
        step_ms = (step_ms * 2).min(CLI_RECONNECT_MAX_MS);
        next = Instant::now() + scattered(step_ms);
    }
}

/// Between half and all of it.
fn scattered(step_ms: u64) -> Duration {
    // Without randomness all pauses are the longest of their step, which is safe.
    let scatter = getrandom::u32().map_or(0, |random| u64::from(random) % (step_ms / 2 + 1));
    ms(step_ms - scatter)
}

#[cfg(test)]
mod tests {
    use super::scattered;
    use crate::limits::ms;

    #[test]
    fn pauses_stay_in_the_upper_half_of_their_step() {
        for step_ms in [1_000, 2_000, 30_000] {
            assert!((ms(step_ms / 2)..=ms(step_ms)).contains(&scattered(step_ms)));
        }
    }
}
