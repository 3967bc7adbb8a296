//! Paces the answers to wrong tokens over all connections, so that guessing is slow from anywhere,
//! loopback included, while someone with the right token never waits.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{REFUSAL_INTERVAL_MS, REFUSALS_WAITING_MAX, ms};

/// When the next refusal may leave, and how many wait for their turn.
#[derive(Default)]
pub struct Refusals {
    turns: Mutex<Turns>,
    stopped: Condvar,
}

#[derive(Default)]
struct Turns {
    next: Option<Instant>,
    waiting: usize,
    stopping: bool,
}

impl Refusals {
    /// Waits for this refusal's turn. `false` if too many wait already: close without an answer.
    pub(super) fn wait_turn(&self) -> bool {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.waiting >= REFUSALS_WAITING_MAX || turns.stopping {
            return false;
        }
        let now = Instant::now();
        let turn = turns.next.map_or(now, |next| next.max(now));
        turns.next = Some(turn + ms(REFUSAL_INTERVAL_MS));
        turns.waiting += 1;
        loop {
            let left = turn.saturating_duration_since(Instant::now());
            if left == Duration::ZERO || turns.stopping {
                turns.waiting -= 1;
                return true;
            }
            turns = self.stopped.wait_timeout(turns, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets everybody who waits go at once: the gateway stops.
    pub(super) fn stop(&self) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
        self.stopped.notify_all();
    }
}
