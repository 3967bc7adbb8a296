//! The store's loop: gather what waits, one sync for all of it, answer; heal after trouble.

use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::limits::STORE_GROUP_MAX;
use crate::metrics::METRICS;
use crate::state::Event;
use crate::store::{Store, StoreCommand, StoreEvent, StoreOp, Usage, disk};
use crate::threads;

/// First pause before a folder in trouble is tried again; it doubles.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest of these pauses.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A change of used or free space that is worth a word to state.
const NOTABLE_BYTES: u64 = 1024 * 1024;

/// Starts the thread. It ends when every sender of commands is gone.
pub fn spawn(
    store: Store,
    commands: Receiver<StoreCommand>,
    events: Sender<Event>,
) -> io::Result<JoinHandle<()>> {
    let told = Usage::default();
    threads::spawn_owner("store", move || Keeper { store, events, told, retry: None }.run(&commands))
}

struct Keeper {
    store: Store,
    events: Sender<Event>,
    told: Usage,
    /// While in trouble: when to try again, and the pause after that.
    retry: Option<(Instant, Duration)>,
}

impl Keeper {
    fn run(mut self, commands: &Receiver<StoreCommand>) {
        let trouble = self.store.trouble().map(|error| sentence(error, &self.store));
        self.plan_retry(trouble.as_deref());
        self.tell_usage(trouble);
        loop {
            let received = match self.retry {
                Some((at, _)) => commands.recv_deadline(at),
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(first) => {
                    let mut group = vec![first];
                    group.extend(commands.try_iter().take(STORE_GROUP_MAX - 1));
                    self.commit(group);
                }
                Err(RecvTimeoutError::Timeout) => self.try_again(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn commit(&mut self, group: Vec<StoreCommand>) {
        let commands: Vec<&[StoreOp]> = group.iter().map(|command| command.ops.as_slice()).collect();
        let committed = self.store.commit(&commands);
        let trouble = committed.as_ref().err().or(self.store.trouble());
        let trouble = trouble.map(|error| sentence(error, &self.store));
        let results = match committed {
            Ok(answers) => answers.into_iter().map(|answer| self.result(answer)).collect(),
            Err(error) => vec![self.result(Err(error)); group.len()],
        };
        self.plan_retry(trouble.as_deref());
        for (command, result) in group.into_iter().zip(results) {
            let back = if result.is_ok() { Vec::new() } else { command.ops };
            let done = StoreEvent::Done { ticket: command.ticket, result, back };
            if self.events.send(Event::Store(done)).is_err() {
                return;
            }
        }
        self.tell_usage(trouble);
    }

    fn result(&self, answer: io::Result<()>) -> Result<(), String> {
        answer.map_err(|error| sentence(&error, &self.store)).inspect_err(|text| log::error!("{text}"))
    }

    fn plan_retry(&mut self, trouble: Option<&str>) {
        let Some(trouble) = trouble else { return self.retry = None };
        log::error!("{trouble}");
        self.retry.get_or_insert((Instant::now() + RETRY_MIN, RETRY_MIN));
    }

    /// Probes a folder in trouble with an empty commit's worth of writing, and does what is left.
    fn try_again(&mut self) {
        let probe = self.store.layout().root().join("probe");
        let probed = disk::replace(&probe, [0; 4096].as_slice());
        let cleared = disk::unlink(&probe);
        let tried = probed.and(cleared).and_then(|()| self.store.try_again());
        let trouble = tried.as_ref().err().or(self.store.trouble());
        let trouble = trouble.map(|error| sentence(error, &self.store));
        if trouble.is_none() {
            log::info!("the state folder can be written again");
            self.retry = None;
        } else {
            let pause = self.retry.map_or(RETRY_MIN, |(_, pause)| (pause * 2).min(RETRY_MAX));
            self.retry = Some((Instant::now() + pause, pause));
        }
        self.tell_usage(trouble);
    }

    fn tell_usage(&mut self, trouble: Option<String>) {
        let usage = Usage {
            trouble,
            used_bytes: self.store.used_bytes(),
            free_bytes: rustix::fs::statvfs(self.store.layout().root())
                .map_or(0, |space| space.f_bavail.saturating_mul(space.f_frsize)),
        };
        METRICS.storage_ok.set(u64::from(usage.trouble.is_none()));
        METRICS.storage_used_bytes.set(usage.used_bytes);
        let notable = usage.trouble != self.told.trouble
            || usage.used_bytes.abs_diff(self.told.used_bytes) >= NOTABLE_BYTES
            || usage.free_bytes.abs_diff(self.told.free_bytes) >= NOTABLE_BYTES;
        if notable {
            self.told = usage.clone();
            let _ = self.events.send(Event::Store(StoreEvent::Usage(usage)));
        }
    }
}

/// What went wrong, and what to do about it.
fn sentence(error: &io::Error, store: &Store) -> String {
    let folder = store.layout().root().display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("the disk is full: free some space on the file system of `{folder}`")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("the state folder `{folder}` cannot be written ({error}): check its owner and its mount")
        }
        _ => format!("the state folder `{folder}` cannot be written: {error}"),
    }
}
