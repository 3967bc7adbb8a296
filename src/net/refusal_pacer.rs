//! Spaces out the answers to wrong tokens over all connections. That spares the log and the processor; it
//! keeps nobody from guessing: the right token is answered at once, so that silence is an answer too, and only
//! the length of a token protects it.

use std::sync::{Condvar, Mutex};
use std::time::Instant;

use crate::limits::REFUSAL_INTERVAL;
use crate::threads::lock;

/// Gives each refusal its turn, and bounds how many wait for theirs.
pub(crate) struct RefusalPacer {
    waiting_max: usize,
    turns: Mutex<Turns>,
    stopped: Condvar,
}

#[derive(Default)]
struct Turns {
    next: Option<Instant>,
    waiting: usize,
    is_stopping: bool,
}

/// One refusal's turn; until this is dropped it counts among those that wait.
pub(super) struct Turn<'a> {
    refusals: &'a RefusalPacer,
    at: Instant,
}

impl RefusalPacer {
    /// A pacer with which at most so many refusals wait.
    pub(super) fn new(waiting_max: usize) -> Self {
        Self { waiting_max, turns: Mutex::default(), stopped: Condvar::new() }
    }

    /// Takes the next turn. `None` if too many wait already: close without an answer.
    pub(super) fn take_turn(&self) -> Option<Turn<'_>> {
        let mut turns = lock(&self.turns);
        if turns.waiting >= self.waiting_max || turns.is_stopping {
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
        lock(&self.turns).is_stopping = true;
        self.stopped.notify_all();
    }
}

impl Turn<'_> {
    /// Waits until the turn has come, or the gateway stops.
    pub(super) fn wait(&self) {
        let left = self.at.saturating_duration_since(Instant::now());
        let goes_on = |turns: &mut Turns| !turns.is_stopping;
        drop(self.refusals.stopped.wait_timeout_while(lock(&self.refusals.turns), left, goes_on));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.refusals.turns).waiting -= 1;
    }
}
