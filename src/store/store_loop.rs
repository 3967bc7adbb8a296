//! The store's loop: gather the commands that wait, write them with one sync, tell state; heal after trouble.
//!
//! How something is written is not known here.

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never, select};

use crate::backoff::Backoff;
use crate::limits::{COUNT_INTERVAL, STORE_GROUP_BYTES_MAX, STORE_GROUP_MAX};
use crate::metrics::METRICS;
use crate::port::Port;
use crate::protocol::payload::StorageHealth;
use crate::store::{Store, StoreCommand, StoreEvent, StoreOp, disk};
use crate::threads;

/// Pauses before a folder in trouble is tried again.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// A change of used or free space that is worth a word to state.
const NOTABLE_BYTES: u64 = 1024 * 1024;

/// Starts the store thread. It ends when every sender of commands is gone. Events wait for room in state's
/// queue, commands do not wait for room in this one (see the head of `store`).
pub(crate) fn spawn(
    store: Store,
    commands: Receiver<StoreCommand>,
    events: Port<StoreEvent>,
) -> io::Result<JoinHandle<()>> {
    let next_count = Instant::now();
    threads::spawn_owner("store", move || {
        StoreLoop { store, events, told: None, next_count, is_counted: false, retry: None }.run(&commands);
    })
}

/// The store, and what the loop around it remembers.
struct StoreLoop {
    store: Store,
    events: Port<StoreEvent>,
    /// What state was told last.
    told: Option<StorageHealth>,
    /// When the next command lets the folder be counted: the agent and the sidecar write there, too.
    next_count: Instant,
    is_counted: bool,
    /// Only in trouble: when to try again, and the pauses after that.
    retry: Option<(Instant, Backoff)>,
}

fn retry_after(mut backoff: Backoff) -> (Instant, Backoff) {
    (Instant::now() + backoff.next_pause(), backoff)
}

impl StoreLoop {
    fn run(mut self, commands: &Receiver<StoreCommand>) {
        self.show(None);
        self.count();
        let counts = self.store.janitor.counts();
        loop {
            let retry = self.retry.as_ref().map_or_else(never, |(when, _)| at(*when));
            select! {
                recv(commands) -> first => {
                    let Ok(first) = first else { return };
                    self.commit(gather(first, commands));
                    if self.store.is_full() || self.next_count <= Instant::now() {
                        self.count();
                    }
                }
                recv(counts) -> _ => self.on_counted(),
                recv(retry) -> _ => self.try_again(),
            }
        }
    }

    fn count(&mut self) {
        self.next_count = Instant::now() + COUNT_INTERVAL;
        self.store.janitor.count();
    }

    fn on_counted(&mut self) {
        self.store.on_counted();
        if !std::mem::replace(&mut self.is_counted, true) {
            // The first count is news whatever it says.
            self.told = None;
        }
        self.show(None);
    }

    fn commit(&mut self, group: Vec<StoreCommand>) {
        let commands: Vec<&[StoreOp]> = group.iter().map(|command| command.ops.as_slice()).collect();
        let (results, failure) = match self.store.commit(&commands) {
            Ok(answers) => (answers.into_iter().map(|answer| self.result(answer)).collect(), None),
            Err(error) => {
                let result = self.result(Err(error));
                (vec![result.clone(); group.len()], result.err())
            }
        };
        for (command, result) in group.into_iter().zip(results) {
            let back = if result.is_ok() { Vec::new() } else { command.ops };
            let done = StoreEvent::Done { ticket: command.ticket, result, back };
            if !self.events.send(done) {
                return;
            }
        }
        self.show(failure);
    }

    fn result(&self, answer: io::Result<()>) -> Result<(), String> {
        answer.map_err(|error| sentence(&error, &self.store)).inspect_err(|text| log::error!("{text}"))
    }

    /// Logs what went wrong just now, or what the store could not do before, plans when to try again, and tells
    /// state.
    fn show(&mut self, failure: Option<String>) {
        let trouble = failure.or_else(|| self.store.trouble().map(|error| sentence(error, &self.store)));
        match &trouble {
            None => self.retry = None,
            Some(trouble) => {
                log::error!("{trouble}");
                self.retry.get_or_insert_with(|| retry_after(RETRY));
            }
        }
        self.tell_usage(trouble);
    }

    /// Tries to write to a folder in trouble, and does what is left to do.
    fn try_again(&mut self) {
        let probe = self.store.janitor.layout().root().join("probe");
        let probed = disk::replace(&probe, [0; 4096].as_slice());
        let cleared = disk::clear(&probe);
        let tried = probed.map(drop).and(cleared).and_then(|()| self.store.try_again());
        let trouble = tried.as_ref().err().or(self.store.trouble()).map(|error| sentence(error, &self.store));
        if trouble.is_none() {
            log::info!("the state folder can be written again");
            self.retry = None;
        } else {
            self.retry = Some(retry_after(self.retry.take().map_or(RETRY, |(_, backoff)| backoff)));
        }
        self.tell_usage(trouble);
    }

    fn tell_usage(&mut self, trouble: Option<String>) {
        let usage = StorageHealth {
            ok: trouble.is_none(),
            reason: trouble,
            used_bytes: self.store.janitor.used_bytes(),
            free_bytes: rustix::fs::statvfs(self.store.janitor.layout().root())
                .map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize)),
        };
        METRICS.storage_ok.set(u64::from(usage.ok));
        METRICS.storage_used_bytes.set(usage.used_bytes);
        let is_notable = self.told.as_ref().is_none_or(|told| {
            usage.reason != told.reason
                || usage.used_bytes.abs_diff(told.used_bytes) >= NOTABLE_BYTES
                || usage.free_bytes.abs_diff(told.free_bytes) >= NOTABLE_BYTES
        });
        if is_notable {
            self.told = Some(usage.clone());
            let _ = self.events.send(StoreEvent::Usage(usage));
        }
    }
}

/// A command, and those that wait behind it and can be made durable with it.
fn gather(first: StoreCommand, commands: &Receiver<StoreCommand>) -> Vec<StoreCommand> {
    let mut bytes = first.bytes();
    let mut group = vec![first];
    while group.len() < STORE_GROUP_MAX && bytes < STORE_GROUP_BYTES_MAX {
        let Ok(next) = commands.try_recv() else { break };
        bytes += next.bytes();
        group.push(next);
    }
    group
}

/// A sentence about what went wrong, and what to do about it.
fn sentence(error: &io::Error, store: &Store) -> String {
    let folder = store.janitor.layout().root().display();
    match error.kind() {
        io::ErrorKind::StorageFull if has_no_files_left(store) => {
            format!("the disk has no room for further files: remove some on the file system of `{folder}`")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("the disk is full: free some space on the file system of `{folder}`")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("the state folder `{folder}` cannot be written ({error}): check its owner and its mount")
        }
        _ => format!("the state folder `{folder}` cannot be written: {error}"),
    }
}

/// Whether the file system has no room for further files. Some file systems have no bound on them.
fn has_no_files_left(store: &Store) -> bool {
    rustix::fs::statvfs(store.janitor.layout().root())
        .is_ok_and(|space| space.f_files > 0 && space.f_favail == 0)
}
