//! Bounds the connections that are at something which takes memory and may take time, without letting
//! silent ones keep others out: those that have not said `hello`, and those whose large frame is coming.
//!
//! At the bound whoever comes waits for a place; if none comes free, a connection loses its own that has
//! had it for some time, or was silent for some. An honest client needs a few milliseconds for a
//! handshake, so a burst of them passes through, and a flood of silent peers delays nobody for long.

use std::collections::VecDeque;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{LARGE_COMING_GRACE, LARGE_COMING_MAX, LARGE_COMING_QUIET_MAX, UNAUTHENTICATED_GRACE};
use crate::metrics::{Cell, METRICS};
use crate::net::ConnShared;
use crate::protocol::ConnId;

/// The connections inside, oldest first.
pub struct Admission {
    waiting_max: usize,
    /// How long a place is anybody's own.
    grace: Duration,
    /// The same for whoever sends nothing meanwhile.
    quiet: Duration,
    gauge: Option<&'static Cell>,
    waiting: Mutex<VecDeque<Waiting>>,
    left: Condvar,
    lifted: AtomicBool,
}

struct Waiting {
    conn: ConnId,
    since: Instant,
    shared: Arc<ConnShared>,
    heard: u32,
    heard_at: Instant,
    /// What it came for is there: nobody waits for it any more but for us.
    has_arrived: bool,
}

impl Waiting {
    fn new(conn: ConnId, shared: &Arc<ConnShared>) -> Self {
        let (now, heard) = (Instant::now(), shared.heard.load(Ordering::Relaxed));
        Self { conn, since: now, shared: Arc::clone(shared), heard, heard_at: now, has_arrived: false }
    }

    fn evict(&self) {
        self.shared.evicted.store(true, Ordering::Relaxed);
        // Only the read side: its thread wakes up and can still say why.
        let _ = self.shared.stream.shutdown(Shutdown::Read);
    }
}

impl Admission {
    /// For those in their handshake, with room for so many.
    pub(super) fn to_handshakes(waiting_max: usize) -> Self {
        let grace = UNAUTHENTICATED_GRACE;
        Self::new(waiting_max, [grace, grace], Some(&METRICS.unauthenticated))
    }

    /// For those whose large frame is coming.
    pub(super) fn to_large_frames() -> Self {
        Self::new(LARGE_COMING_MAX, [LARGE_COMING_GRACE, LARGE_COMING_QUIET_MAX], None)
    }

    fn new(waiting_max: usize, [grace, quiet]: [Duration; 2], gauge: Option<&'static Cell>) -> Self {
        let (waiting, left, lifted) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        Self { waiting_max, grace, quiet, gauge, waiting, left, lifted }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        // The list is whole after any panic: every change to it is a single call.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, waiting or evicting somebody if there is none.
    pub(super) fn enter(&self, conn: ConnId, shared: &Arc<ConnShared>) {
        let mut waiting = self.lock();
        while waiting.len() >= self.waiting_max && !self.lifted.load(Ordering::Relaxed) {
            let now = Instant::now();
            let Some((place, due)) = self.first_due(&mut waiting, now) else {
                waiting = self.left.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some(left) = due.checked_duration_since(now).filter(|left| !left.is_zero()) {
                waiting = self.left.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
            } else if let Some(evicted) = waiting.remove(place) {
                METRICS.refused_capacity.up();
                evicted.evict();
            }
        }
        waiting.push_back(Waiting::new(conn, shared));
        self.show(&waiting);
    }

    /// Who loses the place first, and when, as it looks now.
    fn first_due(&self, waiting: &mut VecDeque<Waiting>, now: Instant) -> Option<(usize, Instant)> {
        let due = |entry: &mut Waiting| {
            let heard = entry.shared.heard.load(Ordering::Relaxed);
            if heard != entry.heard {
                (entry.heard, entry.heard_at) = (heard, now);
            }
            (entry.since + self.grace).min(entry.heard_at + self.quiet)
        };
        let places = waiting.iter_mut().enumerate().filter(|(_, entry)| !entry.has_arrived);
        places.map(|(place, entry)| (place, due(entry))).min_by_key(|(_, due)| *due)
    }

    /// What a connection came for is there. It keeps its place until it leaves.
    pub(super) fn arrived(&self, conn: ConnId) {
        if let Some(entry) = self.lock().iter_mut().find(|entry| entry.conn == conn) {
            entry.has_arrived = true;
        }
    }

    fn show(&self, waiting: &VecDeque<Waiting>) {
        if let Some(gauge) = self.gauge {
            gauge.set(waiting.len() as u64);
        }
    }

    /// Takes the place of the oldest connection if it has had it for long enough: more sockets than
    /// there may be are open. Called by the acceptor.
    pub(super) fn evict_oldest(&self) {
        let mut waiting = self.lock();
        let is_due = |oldest: &Waiting| oldest.since.elapsed() >= self.grace;
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

    /// Lets everybody in from now on: the gateway stops, and whoever waits should see that.
    pub(super) fn lift(&self) {
        // Under the lock, or one that is about to wait would miss it.
        let waiting = self.lock();
        self.lifted.store(true, Ordering::Relaxed);
        drop(waiting);
        self.left.notify_all();
    }

    /// Gives the place back, once what was awaited came or the connection ended. Twice does no harm.
    pub(super) fn leave(&self, conn: ConnId) {
        let mut waiting = self.lock();
        waiting.retain(|entry| entry.conn != conn);
        self.show(&waiting);
        drop(waiting);
        self.left.notify_one();
    }
}
/// A place inside, for as long as this lives.
pub(super) struct LeaveOnDrop<'a> {
    pub(super) conn: ConnId,
    pub(super) admission: &'a Admission,
}

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        self.admission.leave(self.conn);
    }
}
