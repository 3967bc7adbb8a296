//! The janitor thread: deletes what was discarded, counts what the state folder takes, and clears what nobody
//! works with any more when that is too much.
//!
//! The thread is there only while there is something to do. Nobody waits for it, and nothing depends on its
//! success: what it leaves is tried again with the next thing that it is woken for, and at the next start.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

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
    progress: Mutex<Progress>,
    counts: (Sender<()>, Receiver<()>),
}

/// What the janitor thread, the store and whoever has work for the thread share.
#[derive(Debug, Default)]
struct Progress {
    /// The thread is there.
    is_running: bool,
    /// There is something to do that the thread has not begun with.
    is_waiting: bool,
    /// Bytes in the folder: what was counted last, and what the store has written since.
    used_bytes: u64,
    /// Bytes that are too many, although everything was cleared that nobody works with.
    excess: u64,
}

impl Janitor {
    /// The janitor of a folder that may hold so many bytes.
    pub fn new(layout: Layout, max_bytes: u64) -> Self {
        Self(Arc::new(Shared { layout, max_bytes, progress: Mutex::default(), counts: bounded(1) }))
    }

    /// The paths in the folder.
    pub(crate) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// Has what was discarded deleted, and the folder counted and cleared if it holds too much. Waits for
    /// nothing.
    pub(crate) fn count(&self) {
        {
            let mut progress = self.progress();
            progress.is_waiting = true;
            if std::mem::replace(&mut progress.is_running, true) {
                return;
            }
        }
        let janitor = self.clone();
        if let Err(error) = threads::spawn_expendable("janitor", move || janitor.run()) {
            self.progress().is_running = false;
            log::warn!("the state folder cannot be tidied: {error}");
        }
    }

    /// A queue that has something whenever the folder was counted.
    pub(super) fn counts(&self) -> Receiver<()> {
        self.0.counts.1.clone()
    }

    /// Bytes in the state folder, as far as is known.
    pub(super) fn used_bytes(&self) -> u64 {
        self.progress().used_bytes
    }

    /// Told that the store has written so many bytes more.
    pub(super) fn add(&self, bytes: u64) {
        let mut progress = self.progress();
        progress.used_bytes = progress.used_bytes.saturating_add(bytes);
    }

    /// Told that the store has freed so many bytes.
    pub(super) fn subtract(&self, bytes: u64) {
        let mut progress = self.progress();
        progress.used_bytes = progress.used_bytes.saturating_sub(bytes);
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        threads::lock(&self.0.progress)
    }

    /// Bytes of records that are too many by the last count. The next call has none, before the next one.
    pub(super) fn take_excess(&self) -> u64 {
        std::mem::take(&mut self.progress().excess)
    }

    /// Bytes that the folder may hold.
    pub(super) fn max_bytes(&self) -> u64 {
        self.0.max_bytes
    }

    fn run(&self) {
        let _rest = RestOnPanic(self);
        while self.goes_on() {
            self.work();
        }
    }

    /// Whether there is something to do. If there is not, the thread counts as gone.
    fn goes_on(&self) -> bool {
        let mut progress = self.progress();
        progress.is_running = std::mem::take(&mut progress.is_waiting);
        progress.is_running
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
            self.progress().excess = used.saturating_sub(target);
        }
        let mut progress = self.progress();
        progress.used_bytes = counted(used, before, progress.used_bytes);
        Ok(())
    }
}

/// Bytes that are used, where so many were counted while the store went from `before` to `now`. What it has
/// written meanwhile is kept: better counted twice than not at all. What it has freed may be counted still.
fn counted(used: u64, before: u64, now: u64) -> u64 {
    used.saturating_add(now.saturating_sub(before))
}

/// A thread that panics leaves its work to the next one.
struct RestOnPanic<'a>(&'a Janitor);

impl Drop for RestOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.progress().is_running = false;
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
