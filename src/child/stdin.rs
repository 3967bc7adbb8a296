//! A child's stdin that never makes its writer wait: what the child has not read yet stays here, and a
//! child that reads none of it while more and more is written is given up.

use std::io::{self, ErrorKind, Write as _};
use std::process::ChildStdin;
use std::time::Instant;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::backoff::Backoff;
use crate::limits::{CHILD_UNREAD_BYTES_MAX, WRITE_RETRY};

/// The write end of the pipe and what waits for room in it.
#[derive(Debug)]
pub(crate) struct PatientStdin {
    // `None` once the child has closed its end; it is never closed from this side, because Pi
    // takes that for an order to drop everything.
    pipe: Option<ChildStdin>,
    pending: Vec<u8>,
    sent: usize,
    /// When to write again, and the pauses after that.
    retry: Option<(Instant, Backoff)>,
    /// Bytes that were written while others waited already.
    behind: usize,
    overrun: bool,
}

impl PatientStdin {
    /// Takes the pipe and makes this end of it non-blocking; the child's end has flags of its own.
    pub(super) fn new(pipe: ChildStdin) -> io::Result<Self> {
        fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
        Ok(Self { pipe: Some(pipe), pending: Vec::new(), sent: 0, retry: None, behind: 0, overrun: false })
    }

    /// Writes what there is room for and keeps the rest.
    pub(crate) fn write(&mut self, bytes: &[u8], now: Instant) {
        if self.pipe.is_none() {
            return;
        }
        if self.retry.is_some() {
            self.behind += bytes.len();
            if self.behind > CHILD_UNREAD_BYTES_MAX {
                self.pipe = None;
                self.overrun = true;
                return self.drop_pending();
            }
        }
        self.pending.extend_from_slice(bytes);
        if self.retry.is_none() {
            self.flush(now);
        }
    }

    /// Whether the child has left so much unread that nothing more can be written.
    pub(crate) fn is_overrun(&self) -> bool {
        self.overrun
    }

    /// When to call [`Self::flush`] again, if anything waits.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry.as_ref().map(|(at, _)| *at)
    }

    /// Writes what waits. A broken pipe is passed over: the child's end is noticed at its stdout.
    pub(crate) fn flush(&mut self, now: Instant) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut progress = false;
        while self.sent < self.pending.len() {
            match pipe.write(&self.pending[self.sent..]) {
                Ok(written) => {
                    self.sent += written;
                    progress = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let before = self.retry.take().filter(|_| !progress);
                    let mut backoff = before.map_or(WRITE_RETRY, |(_, backoff)| backoff);
                    self.retry = Some((now + backoff.next_pause(), backoff));
                    return;
                }
                Err(_) => {
                    self.pipe = None;
                    break;
                }
            }
        }
        self.drop_pending();
    }

    fn drop_pending(&mut self) {
        self.pending = Vec::new();
        self.sent = 0;
        self.behind = 0;
        self.retry = None;
    }
}
