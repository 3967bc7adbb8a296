//! The stream under a connection's `WebSocket`.
//!
//! Until `hello` is accepted it reads against one absolute deadline and writes straight to the
//! socket. Afterwards it reads without a deadline, and what tungstenite writes on its own (pongs,
//! the echo of a close) goes through `outbound`, so that frames never interleave. A large message takes a slot
//! while it comes in.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::limits::{LARGE_REQUEST_BYTES, READ_BUFFER_KEPT_BYTES, WRITE_SLICE_TIMEOUT};
use crate::net::frame_tracker::FrameTracker;
use crate::net::outbound::Outbound;
use crate::net::slots::Slot;
use crate::net::{ConnShared, NetContext};

/// A client's socket, as its `WebSocket` reads and writes it.
pub(super) struct ClientStream {
    shared: Arc<ConnShared>,
    context: Arc<NetContext>,
    /// When the handshake must be over; `None` once it is.
    deadline: Option<Instant>,
    /// Held while a large frame is coming in, and until it has been dealt with.
    slot: Option<Slot>,
    frames: FrameTracker,
    /// Nothing behind the message that is coming in has been read.
    is_alone: bool,
}

impl ClientStream {
    /// A stream for the handshake. The bytes of `ahead` have been read already.
    pub(super) fn new(
        shared: Arc<ConnShared>,
        context: Arc<NetContext>,
        deadline: Instant,
        ahead: &[u8],
    ) -> Self {
        let mut frames = FrameTracker::default();
        frames.advance(ahead);
        Self { shared, context, deadline: Some(deadline), slot: None, frames, is_alone: false }
    }

    /// From here on there is no deadline, and `outbound` writes.
    pub(super) fn join(&mut self) -> io::Result<()> {
        self.deadline = None;
        self.shared.stream.set_read_timeout(None)
    }

    /// Whether the message that was read last was long, and nothing behind it has been read.
    pub(super) fn is_behind_a_long_message(&self) -> bool {
        self.is_alone && self.frames.message_bytes == 0
    }

    /// Told that all of the message has come: its slot is not taken by others any more.
    pub(super) fn message_arrived(&self) {
        if let Some(slot) = &self.slot {
            slot.keep();
        }
    }

    /// Told that nothing of the last message is left: its slot is free.
    pub(super) fn forget_message(&mut self) {
        self.is_alone = false;
        self.slot = None;
    }
}

fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Reads against an absolute deadline, which a byte now and then does not extend.
pub(super) fn read_until(shared: &ConnShared, deadline: Instant, buffer: &mut [u8]) -> io::Result<usize> {
    shared.stream.set_read_timeout(Some(time_left(deadline)?))?;
    match (&shared.stream).read(buffer) {
        // What a read timeout is called differs between systems.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
        result => result,
    }
}

/// Writes all of `bytes` against an absolute deadline, which a byte taken now and then does not extend.
pub(super) fn write_until(shared: &ConnShared, deadline: Instant, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        shared.stream.set_write_timeout(Some(time_left(deadline)?.min(WRITE_SLICE_TIMEOUT)))?;
        match (&shared.stream).write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            // Whoever has lost their slot to somebody newer is not waited for.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if shared.is_evicted.load(Ordering::Relaxed) {
                    return Err(error);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Read for ClientStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let message_bytes = self.frames.message_bytes;
        let mut limit = buffer.len();
        if message_bytes > READ_BUFFER_KEPT_BYTES as u64 {
            self.is_alone = true;
            limit = limit.min(self.frames.wanted());
        }
        let buffer = &mut buffer[..limit];
        let count = if let Some(deadline) = self.deadline {
            read_until(&self.shared, deadline, buffer)?
        } else {
            if message_bytes > LARGE_REQUEST_BYTES as u64 && self.slot.is_none() {
                self.slot = Some(self.context.large_frame_slots.take(&self.shared));
            }
            let count = (&self.shared.stream).read(buffer)?;
            self.shared.reads.fetch_add(1, Ordering::Relaxed);
            count
        };
        self.frames.advance(&buffer[..count]);
        Ok(count)
    }
}

impl Write for ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.deadline.is_some() {
            return (&self.shared.stream).write(bytes);
        }
        // tungstenite hands over whole control frames here, and all of it is taken.
        let message = Outbound::Frame { conn: self.shared.conn, frame: bytes.to_vec().into() };
        if self.context.outbound.send(message) {
            Ok(bytes.len())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
