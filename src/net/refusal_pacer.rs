//! Paces the answers to wrong tokens over all connections. That spares the log and the processor; it
//! is no lock: the right token is answered at once, so that silence is an answer too, and nothing but
//! a token's length keeps somebody from guessing it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::REFUSAL_INTERVAL;

/// When the next refusal may leave, and how many wait for their turn.
pub(crate) struct RefusalPacer {
    waiting_max: usize,
    turns: Mutex<Turns>,
    stopped: Condvar,
}

#[derive(Default)]
struct Turns {
    next: Option<Instant>,
    waiting: usize,
    stopping: bool,
}

/// One refusal's turn; until this is dropped it counts among those that wait.
pub(super) struct Turn<'a> {
    refusals: &'a RefusalPacer,
    at: Instant,
}

impl RefusalPacer {
    /// At most so many wait.
    pub(super) fn new(waiting_max: usize) -> Self {
        Self { waiting_max, turns: Mutex::default(), stopped: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next turn. `None` if too many wait already: close without an answer.
    pub(super) fn take_turn(&self) -> Option<Turn<'_>> {
        let mut turns = self.lock();
        if turns.waiting >= self.waiting_max || turns.stopping {
            return None;
        }
        let now = Instant::now();
        let at = turns.next.map_or(now, |next| next.max(now));
        turns.next = Some(at + REFUSAL_INTERVAL);
        turns.waiting += 1;
        Some(Turn { refusals: self, at })
    }

    /// Lets everybody who waits go at once: the gateway stops.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.stopped.notify_all();
    }
}

impl Turn<'_> {
    /// Waits until it has come.
    pub(super) fn wait(&self) {
        let mut turns = self.refusals.lock();
        loop {
            let left = self.at.saturating_duration_since(Instant::now());
            if left == Duration::ZERO || turns.stopping {
                return;
            }
            let waited = self.refusals.stopped.wait_timeout(turns, left);
            turns = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.refusals.lock().waiting -= 1;
    }
}
