//! The janitor thread: deletes what was discarded, counts what the state folder takes, and clears what nobody
//! works with any more when that is too much.
//!
//! The thread is there only while there is something to do. Nobody waits for it, and nothing depends on its
//! success: what it leaves is tried again with the next thing that it is woken for, and at the next start.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::SeqCst};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::limits::STORAGE_SLACK_SHARE;
use crate::store::{Layout, quota, trash, walk};
use crate::threads;

/// Gives the janitor thread its work. Clones mean the same thread.
#[derive(Debug, Clone)]
pub struct Janitor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    layout: Layout,
    /// Bytes that the folder may hold.
    max_bytes: u64,
    /// The bits `RUNNING` and `WAITING`.
    work: AtomicU8,
    /// Bytes in the folder: what was counted last, and what the store has written since.
    used_bytes: AtomicU64,
    /// Bytes that are too many, although everything was cleared that nobody works with.
    excess: AtomicU64,
    counts: (Sender<()>, Receiver<()>),
}

/// Bit: the thread is there.
const RUNNING: u8 = 1;
/// Bit: there is something to do that the thread has not begun with.
const WAITING: u8 = 2;

impl Janitor {
    /// The janitor of a folder that may hold so many bytes.
    pub fn new(layout: Layout, max_bytes: u64) -> Self {
        Self(Arc::new(Shared {
            layout,
            max_bytes,
            work: AtomicU8::new(0),
            used_bytes: AtomicU64::new(0),
            excess: AtomicU64::new(0),
            counts: bounded(1),
        }))
    }

    /// The paths in the folder.
    pub(crate) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Has what was discarded deleted, and the folder counted and cleared if it holds too much. Waits for
    /// nothing.
    pub(crate) fn count(&self) {
        if self.0.work.fetch_or(RUNNING | WAITING, SeqCst) & RUNNING != 0 {
            return;
        }
        let janitor = self.clone();
        if let Err(error) = threads::spawn_expendable("janitor", move || janitor.run()) {
            self.0.work.store(0, SeqCst);
            log::warn!("the state folder cannot be tidied: {error}");
        }
    }

    /// A queue that has something whenever the folder was counted.
    pub(super) fn counts(&self) -> Receiver<()> {
        self.0.counts.1.clone()
    }

    /// Bytes in the state folder, as far as is known.
    pub(super) fn used_bytes(&self) -> u64 {
        self.0.used_bytes.load(SeqCst)
    }

    /// Told that the store has written so many bytes more.
    pub(super) fn add(&self, bytes: u64) {
        self.update(|used| used.saturating_add(bytes));
    }

    /// Told that the store has freed so many bytes.
    pub(super) fn subtract(&self, bytes: u64) {
        self.update(|used| used.saturating_sub(bytes));
    }

    fn update(&self, change: impl Fn(u64) -> u64) {
        // It always gives a value, so it cannot fail.
        let _ = self.0.used_bytes.fetch_update(SeqCst, SeqCst, |used| Some(change(used)));
    }

    /// Bytes of records that are too many by the last count. The next call has none, before the next one.
    pub(super) fn take_excess(&self) -> u64 {
        self.0.excess.swap(0, SeqCst)
    }

    /// Bytes that the folder may hold.
    pub(super) fn max_bytes(&self) -> u64 {
        self.0.max_bytes
    }

    fn run(&self) {
        let _rest = RestOnPanic(&self.0.work);
        loop {
            if self.0.work.swap(RUNNING, SeqCst) & WAITING != 0 {
                self.work();
            } else if self.0.work.compare_exchange(RUNNING, 0, SeqCst, SeqCst).is_ok() {
                return;
            }
        }
    }

    /// Does the janitor's work on this thread.
    pub(super) fn work(&self) {
        if let Err(error) = self.delete_discarded().and_then(|()| self.count_and_clear()) {
            log::warn!("the state folder cannot be tidied: {error}");
        }
        let _ = self.0.counts.0.try_send(());
    }

    fn delete_discarded(&self) -> io::Result<()> {
        if let Err(error) = trash::clear(&self.0.layout.open_tmp()?) {
            log::warn!("something in `tmp` of the state folder cannot be deleted: {error}");
        }
        Ok(())
    }

    fn count_and_clear(&self) -> io::Result<()> {
        let shared = &self.0;
        let root = shared.layout.open()?;
        let before = self.used_bytes();
        let mut used = walk::used_bytes(&root);
        if used > shared.max_bytes {
            // A little more, so that this is not to be done again at once.
            let target = shared.max_bytes - shared.max_bytes / STORAGE_SLACK_SHARE;
            let freed = quota::make_room(&root, &shared.layout.open_tmp()?, used - target)?;
            self.delete_discarded()?;
            used = used.saturating_sub(freed);
            shared.excess.store(used.saturating_sub(target), SeqCst);
        }
        self.update(|now| counted(used, before, now));
        Ok(())
    }
}

/// Bytes that are used, where so many were counted while the store went from `before` to `now`. What it has
/// written meanwhile is kept: better counted twice than not at all. What it has freed may be counted still.
fn counted(used: u64, before: u64, now: u64) -> u64 {
    used.saturating_add(now.saturating_sub(before))
}

/// A thread that panics leaves its work to the next one.
struct RestOnPanic<'a>(&'a AtomicU8);

impl Drop for RestOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(0, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Janitor, counted};
    use crate::store::Layout;

    #[test]
    fn no_count_goes_below_nothing() {
        assert_eq!(counted(500, 100, 130), 530);
        assert_eq!(counted(5, 100, 40), 5, "the journal was written anew while the folder was counted");
        assert_eq!(counted(u64::MAX, 0, 1), u64::MAX);
        let janitor = Janitor::new(Layout::new(Path::new("/nowhere")), 1_000);
        janitor.add(10);
        janitor.subtract(11);
        assert_eq!(janitor.used_bytes(), 0);
    }
}
