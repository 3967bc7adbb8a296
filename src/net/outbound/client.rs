//! One client as `outbound` sees it: a queue of frames, what the kernel has taken of them, and
//! the number of its next event.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tungstenite::Bytes;

use crate::backoff::Backoff;
use crate::limits::{BACKLOG_BYTES_MAX, BACKLOG_DROPPABLE_BYTES_MAX, LINGER_TIME, WRITE_RETRY};
use crate::metrics::METRICS;
use crate::net::ConnShared;
use crate::net::outbound::PageHold;
use crate::net::outbound::piece::{Piece, put};
use crate::protocol::event::Subscriptions;
use crate::protocol::frame::{Close, EventBody};

/// Frames gathered into one write: two slices each, well below the kernel's 1,024.
const GATHER_MAX: usize = 64;

/// A client's socket, and what waits for it.
pub(super) struct Client {
    shared: Arc<ConnShared>,
    subscriptions: Option<Subscriptions>,
    /// The last number given to an event meant for this connection.
    seq: u64,
    /// The last broadcast that this client was given, or did not want.
    pub(super) broadcast: u64,
    queue: VecDeque<Piece>,
    /// Of the first piece, what the kernel has taken already.
    sent_bytes: usize,
    /// Bytes that the kernel has not taken yet.
    pub(super) backlog_bytes: usize,
    /// Bytes that the queue takes in memory: a piece of which one byte waits is all there.
    pub(super) held_bytes: usize,
    /// When to write again, and the pauses after that.
    retry: Option<(Instant, Backoff)>,
    /// While the connection ends: when the socket is shut, whatever is left then.
    shut_by: Option<Instant>,
    /// The close frame went out, and the peer's last bytes are read.
    is_half_closed: bool,
    /// What the connection's count of reads was at the last tick.
    heard: u32,
    /// Ticks since anything came in.
    silent_ticks: u32,
}

impl Client {
    pub(super) fn new(shared: Arc<ConnShared>) -> Self {
        let heard = shared.reads.load(Ordering::Relaxed);
        Self {
            shared,
            subscriptions: None,
            seq: 0,
            broadcast: 0,
            queue: VecDeque::new(),
            sent_bytes: 0,
            backlog_bytes: 0,
            held_bytes: 0,
            retry: None,
            shut_by: None,
            is_half_closed: false,
            heard,
            silent_ticks: 0,
        }
    }

    /// Puts `hello_ok` before everything that waits, and from now on gives it events: those after
    /// the broadcast with that number.
    pub(super) fn join(&mut self, hello_ok: Bytes, subscriptions: Subscriptions, latest_broadcast: u64) {
        self.subscriptions = Some(subscriptions);
        self.broadcast = latest_broadcast;
        if !self.is_closing() {
            let piece = Piece::frame(hello_ok, None);
            self.backlog_bytes += piece.len();
            self.held_bytes += piece.held_bytes();
            self.queue.push_front(piece);
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.shared.is_closing.load(Ordering::Relaxed)
    }

    /// When the client has to be flushed again, whatever comes meanwhile.
    pub(super) fn due(&self) -> Option<Instant> {
        let retry = self.retry.as_ref().map(|(at, _)| *at);
        self.shut_by.into_iter().chain(retry).min()
    }

    /// Queues a frame that may not be left out; with a `hold` if it is a page. `false` if the backlog is too large for
    /// it.
    pub(super) fn push_frame(&mut self, frame: Bytes, hold: Option<PageHold>) -> bool {
        self.push(Piece::frame(frame, hold), BACKLOG_BYTES_MAX, usize::MAX)
    }

    /// Queues an event if it is meant for this client. With `room` it may be left out, and is if it takes
    /// more by itself; the block that it goes into may grow by more, or not at all. `false` if the backlog is too large for it and it may not be left out.
    pub(super) fn push_event(&mut self, body: &EventBody, room: Option<usize>) -> bool {
        if !self.subscriptions.is_some_and(|wanted| wanted.has(body.kind)) || self.is_closing() {
            return true;
        }
        self.seq += 1;
        let piece = Piece::event(body.head(self.seq), body.tail.clone());
        let fits = match room {
            Some(room) => self.push(piece, BACKLOG_DROPPABLE_BYTES_MAX, room),
            None => self.push(piece, BACKLOG_BYTES_MAX, usize::MAX),
        };
        if fits {
            return true;
        }
        METRICS.dropped_events.up();
        room.is_some()
    }

    /// Queues a piece if it fits into so many bytes of backlog and takes no more memory than `room` by itself.
    fn push(&mut self, piece: Piece, backlog_max: usize, room: usize) -> bool {
        if self.is_closing() {
            return true;
        }
        let (bytes, held) = (piece.len(), piece.held_bytes());
        // What is empty takes its first piece whatever the others hold: the kernel may take it at once.
        let has_room = |client: &Self| {
            client.backlog_bytes + bytes <= backlog_max && (held <= room || client.queue.is_empty())
        };
        if !has_room(self) {
            // It may keep up perfectly and only have been sent much within one turn.
            self.write();
        }
        if !has_room(self) {
            return false;
        }
        self.backlog_bytes += bytes;
        self.held_bytes += put(&mut self.queue, piece);
        true
    }

    /// Ends the write side: the frame in progress is finished, the rest is dropped, the close
    /// frame is the last one. After the deadline the socket is shut whatever is left.
    pub(super) fn begin_close(&mut self, close: &Close, deadline: Instant) {
        if self.is_closing() {
            return;
        }
        // What the peer keeps up with (an answer before the close, say) it still gets.
        self.write();
        if self.subscriptions.is_none() {
            // Nothing comes before `hello-ok`, and that will not come any more.
            self.subscriptions = Some(Subscriptions::from_caps(&[]));
        }
        self.queue.truncate(usize::from(self.sent_bytes > 0));
        if let Some(under_way) = self.queue.front_mut() {
            under_way.end_with_the_frame_at(self.sent_bytes);
        }
        self.queue.push_back(Piece::frame(close.frame(), None));
        self.backlog_bytes = self.queue.iter().map(Piece::len).sum::<usize>() - self.sent_bytes;
        self.held_bytes = self.queue.iter().map(Piece::held_bytes).sum();
        self.shut_by = Some(deadline);
        self.shared.is_closing.store(true, Ordering::Release);
    }

    /// Writes what the kernel takes. Half-closes behind a close frame. Whether something is left to be done when the
    /// client is due.
    pub(super) fn flush(&mut self, now: Instant) -> bool {
        if self.shut_by.is_some_and(|deadline| now >= deadline) {
            self.shut();
            return false;
        }
        let before = self.backlog_bytes;
        self.write();
        if self.subscriptions.is_none() {
            return false;
        }
        if self.backlog_bytes > 0 {
            let stalled = self.retry.take().filter(|_| self.backlog_bytes == before);
            let mut backoff = stalled.map_or(WRITE_RETRY, |(_, backoff)| backoff);
            self.retry = Some((now + backoff.next_pause(), backoff));
            return true;
        }
        self.retry = None;
        if self.shut_by.is_some() && !self.is_half_closed {
            let _ = self.shared.stream.shutdown(Shutdown::Write);
            self.is_half_closed = true;
            self.shut_by = Some(now + LINGER_TIME);
        }
        self.shut_by.is_some()
    }

    fn write(&mut self) {
        // `hello-ok` is the first frame, whatever was answered before it.
        let joined = self.subscriptions.is_some();
        while joined && !self.queue.is_empty() {
            match self.send() {
                Ok(count) => self.consume(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The peer is gone: its thread will see that too, and say so.
                Err(_) => return self.shut(),
            }
        }
        if self.queue.capacity() > GATHER_MAX {
            self.queue = VecDeque::new();
        }
    }

    fn send(&self) -> Result<usize, Errno> {
        let mut slices: [IoSlice<'_>; 2 * GATHER_MAX] = std::array::from_fn(|_| IoSlice::new(&[]));
        let mut count = 0;
        let mut skip = self.sent_bytes;
        for piece in self.queue.iter().take(GATHER_MAX) {
            for bytes in piece.slices() {
                let rest = bytes.get(skip..).unwrap_or_default();
                skip -= bytes.len() - rest.len();
                if !rest.is_empty() {
                    slices[count] = IoSlice::new(rest);
                    count += 1;
                }
            }
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(self.shared.stream.as_fd(), &slices[..count], &mut SendAncillaryBuffer::default(), flags)
    }

    fn consume(&mut self, count: usize) {
        self.shared.writes.fetch_add(1, Ordering::Relaxed);
        self.backlog_bytes -= count;
        self.sent_bytes += count;
        while let Some(piece) = self.queue.front().filter(|piece| piece.len() <= self.sent_bytes) {
            self.sent_bytes -= piece.len();
            self.held_bytes -= piece.held_bytes();
            self.queue.pop_front();
        }
    }

    /// Ends both sides at once, whatever the peer was still to read.
    pub(super) fn shut(&mut self) {
        let _ = self.shared.stream.shutdown(Shutdown::Both);
        self.queue = VecDeque::new();
        self.sent_bytes = 0;
        self.backlog_bytes = 0;
        self.held_bytes = 0;
        self.retry = None;
        self.shut_by = None;
        self.shared.is_closing.store(true, Ordering::Release);
    }

    /// How many ticks nothing came in, this one among them. Called at each.
    pub(super) fn count_silence(&mut self) -> u32 {
        let heard = self.shared.reads.load(Ordering::Relaxed);
        if heard != self.heard || self.is_closing() {
            self.heard = heard;
            self.silent_ticks = 0;
        } else {
            self.silent_ticks += 1;
        }
        self.silent_ticks
    }
}
