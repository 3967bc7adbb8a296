//! Bounds the connections that have not said `hello`, without letting silent ones keep others out.
//!
//! At the bound the acceptor waits for a place; if none comes free, the oldest connection loses
//! its own once it has had `UNAUTHENTICATED_GRACE_MS`. An honest client needs a few milliseconds,
//! so a burst of them passes through, and a flood of silent peers delays nobody for long.

use std::collections::VecDeque;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::limits::{UNAUTHENTICATED_GRACE_MS, ms};
use crate::metrics::METRICS;
use crate::net::{ConnId, ConnShared};

/// The connections in their handshake, oldest first.
pub struct Admission {
    waiting_max: usize,
    waiting: Mutex<VecDeque<Waiting>>,
    left: Condvar,
}

struct Waiting {
    conn: ConnId,
    since: Instant,
    shared: Arc<ConnShared>,
}

impl Waiting {
    fn evict(&self) {
        self.shared.evicted.store(true, Ordering::Relaxed);
        // Only the read side: its thread wakes up and can still say why.
        let _ = self.shared.stream.shutdown(Shutdown::Read);
    }
}

impl Admission {
    /// With room for so many.
    pub(super) fn new(waiting_max: usize) -> Self {
        Self { waiting_max, waiting: Mutex::default(), left: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        // The list is whole after any panic: every change to it is a single call.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, waiting or evicting the oldest if there is none. Called by the acceptor.
    pub(super) fn enter(&self, conn: ConnId, shared: &Arc<ConnShared>) {
        let mut waiting = self.lock();
        while waiting.len() >= self.waiting_max {
            let age = waiting.front().map_or(ms(0), |oldest| oldest.since.elapsed());
            if let Some(left) = ms(UNAUTHENTICATED_GRACE_MS).checked_sub(age).filter(|left| !left.is_zero()) {
                waiting = self.left.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
            } else if let Some(oldest) = waiting.pop_front() {
                METRICS.refused_capacity.up();
                oldest.evict();
            }
        }
        waiting.push_back(Waiting { conn, since: Instant::now(), shared: Arc::clone(shared) });
        METRICS.unauthenticated.set(waiting.len() as u64);
    }

    /// Takes the place of the oldest connection if it has had it for long enough: more sockets than
    /// there may be are open. Called by the acceptor.
    pub(super) fn evict_oldest(&self) {
        let mut waiting = self.lock();
        let is_due = |oldest: &Waiting| oldest.since.elapsed() >= ms(UNAUTHENTICATED_GRACE_MS);
        if waiting.front().is_some_and(is_due) {
            METRICS.refused_capacity.up();
            waiting.drain(..1).for_each(|oldest| oldest.evict());
        }
    }

    /// Evicts them all. Nobody may enter any more: the gateway stops, and silent peers would hold
    /// it up for as long as their handshake may take.
    pub(super) fn evict_all(&self) {
        self.lock().drain(..).for_each(|waiting| waiting.evict());
    }

    /// Gives the place back, once `hello` came or the connection ended. Twice does no harm.
    pub(super) fn leave(&self, conn: ConnId) {
        let mut waiting = self.lock();
        waiting.retain(|entry| entry.conn != conn);
        METRICS.unauthenticated.set(waiting.len() as u64);
        drop(waiting);
        self.left.notify_one();
    }
}
