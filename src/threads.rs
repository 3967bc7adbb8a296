//! Named threads (the only user of `thread::Builder`), and what a panic in one means for it and for the others.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, process};

use crate::limits::{CONN_STACK_BYTES, THREAD_STACK_BYTES};

/// Starts a thread whose loss the gateway cannot survive: a panic ends the process with exit code
/// 1, because a half-dead daemon is worse than a restarted one. Linux shows 15 bytes of `name`.
pub(crate) fn spawn_owner(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let owned = name.to_owned();
    Builder::new().name(name.to_owned()).stack_size(THREAD_STACK_BYTES).spawn(move || {
        let guard = AbortOnPanic(owned);
        body();
        std::mem::forget(guard);
    })
}

/// Starts a thread that may die alone: a panic costs what it served, which must notice through
/// its own drop guards.
pub(crate) fn spawn_expendable(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).stack_size(CONN_STACK_BYTES).spawn(body)
}

/// Locks what threads share, also after one has panicked while it held the lock: only for data that are whole after
/// each single change.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Joins within `deadline`; `false` if the thread was still running then. std has no timed join,
/// so this looks every few milliseconds, which only ever happens while stopping.
pub(crate) fn join_until(handle: JoinHandle<()>, deadline: Instant) -> bool {
    while !handle.is_finished() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    handle.join().is_ok()
}

struct AbortOnPanic(String);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        // Reached by unwinding only. The agents' guards and the sidecar end by themselves when
        // this process is gone.
        log::error!("thread `{}` panicked: the gateway ends so that its supervisor restarts it", self.0);
        process::exit(1);
    }
}
