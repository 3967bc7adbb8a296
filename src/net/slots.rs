//! Bounds the connections that are at something which takes memory and may take time, without letting
//! silent ones keep others out: those in their handshake, and those whose large frame is coming in.
//!
//! Where every slot is taken, whoever comes waits for one; if none comes free, a connection loses its slot
//! that has had it for some time, or was silent for some. An honest client needs a few milliseconds for a
//! handshake, so a burst of them passes through, and a flood of silent peers delays nobody for long. Knows
//! nothing of what a slot is taken for; how many handshakes there may be is for `Shares` to say.

use std::collections::VecDeque;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{
    DESCRIPTORS_FOR_SOCKETS_MIN, DESCRIPTORS_KEPT_BACK, DESCRIPTORS_PER_AGENT, LARGE_COMING_GRACE,
    LARGE_COMING_MAX, LARGE_COMING_QUIET_MAX, REFUSALS_WAITING_MAX, UNAUTHENTICATED_GRACE,
    UNAUTHENTICATED_MAX,
};
use crate::metrics::{Cell, METRICS};
use crate::net::ConnShared;
use crate::protocol::ConnId;
use crate::threads::lock;

/// So many slots, and the connections that have one.
#[derive(Default)]
pub(super) struct Slots {
    taken_max: usize,
    /// How long a slot is safe from others.
    grace: Duration,
    /// The same for the slot of a connection that sends nothing.
    quiet_max: Duration,
    gauge: Option<&'static Cell>,
    /// The slots that are taken, the oldest first.
    taken: Mutex<VecDeque<Taken>>,
    freed: Condvar,
    has_no_bound: AtomicBool,
}

/// A taken slot.
struct Taken {
    since: Instant,
    shared: Arc<ConnShared>,
    reads: u32,
    read_at: Instant,
    /// What the connection took the slot for is there: it waits for the gateway only.
    has_arrived: bool,
}

impl Taken {
    fn evict(&self) {
        self.shared.is_evicted.store(true, Ordering::Relaxed);
        // Only the read side: its thread wakes up and can still say why.
        let _ = self.shared.stream.shutdown(Shutdown::Read);
    }
}

impl Slots {
    /// So many slots for connections in their handshake.
    pub(super) fn for_handshakes(taken_max: usize) -> Self {
        Self {
            taken_max,
            grace: UNAUTHENTICATED_GRACE,
            quiet_max: UNAUTHENTICATED_GRACE,
            gauge: Some(&METRICS.unauthenticated),
            ..Self::default()
        }
    }

    /// Slots for connections whose large frame is coming in.
    pub(super) fn for_large_frames() -> Self {
        let (grace, quiet_max) = (LARGE_COMING_GRACE, LARGE_COMING_QUIET_MAX);
        Self { taken_max: LARGE_COMING_MAX, grace, quiet_max, ..Self::default() }
    }

    /// Takes a slot; waits, or evicts a connection, if there is none.
    pub(super) fn take(self: &Arc<Self>, shared: &Arc<ConnShared>) -> Slot {
        let mut taken = lock(&self.taken);
        while taken.len() >= self.taken_max && !self.has_no_bound.load(Ordering::Relaxed) {
            let now = Instant::now();
            let Some((place, due)) = self.first_due(&mut taken, now) else {
                taken = self.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if let Some(left) = due.checked_duration_since(now).filter(|left| !left.is_zero()) {
                taken = self.freed.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
            } else if let Some(evicted) = taken.remove(place) {
                METRICS.refused_capacity.up();
                evicted.evict();
            }
        }
        let (since, reads) = (Instant::now(), shared.reads.load(Ordering::Relaxed));
        let (conn, shared) = (shared.conn, Arc::clone(shared));
        taken.push_back(Taken { since, shared, reads, read_at: since, has_arrived: false });
        self.show(&taken);
        Slot { conn, slots: Arc::clone(self) }
    }

    /// Which connection loses its slot first, and when, as it looks now.
    fn first_due(&self, taken: &mut VecDeque<Taken>, now: Instant) -> Option<(usize, Instant)> {
        let due = |entry: &mut Taken| {
            let reads = entry.shared.reads.load(Ordering::Relaxed);
            if reads != entry.reads {
                (entry.reads, entry.read_at) = (reads, now);
            }
            (entry.since + self.grace).min(entry.read_at + self.quiet_max)
        };
        let candidates = taken.iter_mut().enumerate().filter(|(_, entry)| !entry.has_arrived);
        candidates.map(|(place, entry)| (place, due(entry))).min_by_key(|(_, due)| *due)
    }

    fn show(&self, taken: &VecDeque<Taken>) {
        if let Some(gauge) = self.gauge {
            gauge.set(taken.len() as u64);
        }
    }

    /// Evicts the oldest connection if it has had its slot for long enough: more sockets than there may be
    /// are open. Called by the acceptor.
    pub(super) fn evict_oldest(&self) {
        let mut taken = lock(&self.taken);
        let is_due = |oldest: &Taken| oldest.since.elapsed() >= self.grace;
        if taken.front().is_some_and(is_due) {
            METRICS.refused_capacity.up();
            taken.drain(..1).for_each(|oldest| oldest.evict());
        }
    }

    /// Evicts all connections. None may take a slot any more: the gateway stops, and silent peers would
    /// hold it up for as long as their handshake may take.
    pub(super) fn evict_all(&self) {
        lock(&self.taken).drain(..).for_each(|entry| entry.evict());
    }

    /// Gives everybody a slot from now on: the gateway stops, and whoever waits should see that.
    pub(super) fn lift_bound(&self) {
        // Under the lock, or one that is about to wait would miss it.
        let taken = lock(&self.taken);
        self.has_no_bound.store(true, Ordering::Relaxed);
        drop(taken);
        self.freed.notify_all();
    }
}

/// A connection's slot, given back when this is dropped.
pub(super) struct Slot {
    conn: ConnId,
    slots: Arc<Slots>,
}

impl Slot {
    /// What the slot was taken for is there: it is kept until it is given back, and nobody else gets it.
    pub(super) fn keep(&self) {
        if let Some(entry) = lock(&self.slots.taken).iter_mut().find(|entry| entry.shared.conn == self.conn) {
            entry.has_arrived = true;
        }
    }

    /// Gives the slot back. Twice does no harm, nor once it was lost.
    pub(super) fn give_back(&self) {
        let mut taken = lock(&self.slots.taken);
        taken.retain(|entry| entry.shared.conn != self.conn);
        self.slots.show(&taken);
        drop(taken);
        self.slots.freed.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// How many sockets there may be, of each kind and in all: the descriptors that the process may have are shared
/// out so that clients cannot take those that the store, the agent and the channels need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    /// Clients past their handshake.
    pub(super) clients: usize,
    /// Connections in their handshake.
    pub(super) handshakes: usize,
    /// Refusals of wrong tokens that wait for their turn.
    pub(super) refusals: usize,
    /// Accepted sockets in all; beyond it new ones wait in the kernel's queue.
    pub(super) sockets: usize,
}

impl Shares {
    /// Shares out `descriptors` (`None`: there is no bound) among so many clients and agents.
    pub(super) fn of(descriptors: Option<u64>, clients_max: usize, agents: usize) -> Self {
        let kept_back = DESCRIPTORS_KEPT_BACK + agents * DESCRIPTORS_PER_AGENT;
        let descriptors = descriptors.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
        let free = descriptors.saturating_sub(kept_back).max(DESCRIPTORS_FOR_SOCKETS_MIN);
        let handshakes = UNAUTHENTICATED_MAX.min(free / 8);
        let refusals = REFUSALS_WAITING_MAX.min(free / 8);
        // Twice: connections that have lost their handshake slot take a moment to end.
        let others = 2 * handshakes + refusals;
        let clients = clients_max.min(free - others);
        Self { clients, handshakes, refusals, sockets: clients + others }
    }
}

#[cfg(test)]
mod tests {
    use super::Shares;
    use crate::limits::{REFUSALS_WAITING_MAX, UNAUTHENTICATED_MAX};

    #[test]
    fn what_is_kept_back_is_no_clients() {
        let plenty = Shares::of(None, 2_048, 1);
        assert_eq!(plenty, Shares::of(Some(1 << 20), 2_048, 1));
        assert_eq!((plenty.clients, plenty.handshakes), (2_048, UNAUTHENTICATED_MAX));
        assert_eq!(plenty.refusals, REFUSALS_WAITING_MAX);
        for descriptors in [0, 20, 64, 256, 1_024, 4_096] {
            let shares = Shares::of(Some(descriptors), 2_048, 2);
            assert!(shares.clients > 0 && shares.handshakes > 0 && shares.refusals > 0, "{shares:?}");
            let left = usize::try_from(descriptors).unwrap().saturating_sub(shares.sockets);
            assert!(descriptors < 64 || left >= 36, "{shares:?}");
        }
        assert_eq!(Shares::of(Some(64), 3, 1).clients, 3);
    }
}
