//! A counting semaphore over memory: whoever makes something large holds permits for its bytes, so that
//! large things wait for each other instead of meeting in memory.
//!
//! A crossbeam channel holds the free ones. Giving back never blocks, which is what the state thread
//! and `outbound` need: they give back what others wait for. Knows nothing of what is made.

use std::sync::Mutex;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::limits::PERMIT_BYTES;
use crate::threads::lock;

/// Permits for so many bytes, in units of `PERMIT_BYTES`.
pub(crate) struct Permits {
    give: Sender<()>,
    /// Locked while somebody collects several permits: two who each had half of what they need would wait
    /// for each other for ever.
    take: Mutex<Receiver<()>>,
    units: usize,
}

/// Permits that are held until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    give: Sender<()>,
    units: usize,
}

impl Permits {
    /// Permits for `bytes_max` bytes in all.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let units = bytes_max.div_ceil(PERMIT_BYTES);
        let (give, take) = bounded(units);
        for _ in 0..units {
            // There is room for each: the channel was made for exactly these.
            let _ = give.try_send(());
        }
        Self { give, take: Mutex::new(take), units }
    }

    /// Waits for permits for so many bytes; for all there are if it is more than that.
    pub(crate) fn take(&self, bytes: usize) -> Permit {
        let free = lock(&self.take);
        let mut permit = Permit { give: self.give.clone(), units: 0 };
        while permit.units < bytes.div_ceil(PERMIT_BYTES).min(self.units) {
            // Never disconnected: `give` lives beside it.
            let _ = free.recv();
            permit.units += 1;
        }
        permit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        for _ in 0..self.units {
            let _ = self.give.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Permits, lock};
    use crate::limits::PERMIT_BYTES;

    #[test]
    fn what_is_held_never_exceeds_the_bound_and_all_of_it_comes_back() {
        let permits = Arc::new(Permits::new(8 * PERMIT_BYTES));
        let held = Arc::new(AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (permits, held) = (Arc::clone(&permits), Arc::clone(&held));
                std::thread::Builder::new()
                    .spawn_scoped(scope, move || {
                        for round in 0..200 {
                            let units = 1 + (thread * 7 + round * 3) % 8;
                            let permit = permits.take(units * PERMIT_BYTES - 1);
                            assert!(held.fetch_add(units, Ordering::SeqCst) + units <= 8);
                            std::thread::yield_now();
                            held.fetch_sub(units, Ordering::SeqCst);
                            drop(permit);
                        }
                    })
                    .unwrap();
            }
        });
        let all = permits.take(usize::MAX);
        assert!(lock(&permits.take).is_empty());
        drop(all);
        assert_eq!(lock(&permits.take).len(), 8);
    }
}
