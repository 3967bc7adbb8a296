//! The stream under a connection's `WebSocket`.
//!
//! Until `hello` is accepted it reads against one absolute deadline and writes straight to the
//! socket. Afterwards it reads without a deadline, and what tungstenite writes on its own (pongs,
//! the echo of a close) goes through `outbound`, so that frames never interleave.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::limits::{LARGE_REQUEST_BYTES, READ_BUFFER_KEPT_BYTES, WRITE_SLICE_TIMEOUT};
use crate::net::ConnShared;
use crate::net::frame_tracker::Frames;
use crate::net::outbound::{Outbound, ToOutbound};
use crate::net::slots::Admission;
use crate::protocol::ConnId;

pub(super) struct ClientStream {
    shared: Arc<ConnShared>,
    phase: Phase,
    frames: Frames,
    /// Nothing behind the message under way has been read.
    is_alone: bool,
}

enum Phase {
    Handshake { deadline: Instant },
    Joined { conn: ConnId, outbound: ToOutbound, coming: Arc<Admission>, large: Option<Coming> },
}

/// A place among the large frames that are coming in.
struct Coming {
    conn: ConnId,
    among: Arc<Admission>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.among.leave(self.conn);
    }
}

impl ClientStream {
    /// `ahead` has been read already.
    pub(super) fn new(shared: Arc<ConnShared>, deadline: Instant, ahead: &[u8]) -> Self {
        let mut frames = Frames::default();
        frames.advance(ahead);
        Self { shared, phase: Phase::Handshake { deadline }, frames, is_alone: false }
    }

    pub(super) fn join(
        &mut self,
        conn: ConnId,
        outbound: ToOutbound,
        coming: &Arc<Admission>,
    ) -> io::Result<()> {
        self.shared.stream.set_read_timeout(None)?;
        self.phase = Phase::Joined { conn, outbound, coming: Arc::clone(coming), large: None };
        Ok(())
    }

    /// Whether the message that was read last was long, and nothing behind it has been read.
    pub(super) fn is_behind_a_long_message(&self) -> bool {
        self.is_alone && self.frames.message_bytes() == 0
    }

    /// All of the message under way has come.
    pub(super) fn message_arrived(&self) {
        if let Phase::Joined { large: Some(large), .. } = &self.phase {
            large.among.arrived(large.conn);
        }
    }

    /// Nothing of that message is left.
    pub(super) fn forget_message(&mut self) {
        self.is_alone = false;
        if let Phase::Joined { large, .. } = &mut self.phase {
            *large = None;
        }
    }
}

/// Reads against an absolute deadline, which a byte now and then does not extend.
pub(super) fn read_until(shared: &ConnShared, deadline: Instant, buffer: &mut [u8]) -> io::Result<usize> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    shared.stream.set_read_timeout(Some(left))?;
    match (&shared.stream).read(buffer) {
        // What a read timeout is called differs between systems.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
        result => result,
    }
}

/// Writes all of it against an absolute deadline, which a byte taken now and then does not extend.
pub(super) fn write_until(shared: &ConnShared, deadline: Instant, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        shared.stream.set_write_timeout(Some(left.min(WRITE_SLICE_TIMEOUT)))?;
        match (&shared.stream).write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            // Whoever has lost their place to somebody newer is not waited for.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if shared.evicted.load(Ordering::Relaxed) {
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
        let message_bytes = self.frames.message_bytes();
        let mut limit = buffer.len();
        if message_bytes > READ_BUFFER_KEPT_BYTES as u64 {
            self.is_alone = true;
            limit = limit.min(self.frames.wanted());
        }
        let buffer = &mut buffer[..limit];
        let count = match &mut self.phase {
            Phase::Handshake { deadline } => read_until(&self.shared, *deadline, buffer)?,
            Phase::Joined { conn, coming, large, .. } => {
                if message_bytes > LARGE_REQUEST_BYTES as u64 && large.is_none() {
                    coming.enter(*conn, &self.shared);
                    *large = Some(Coming { conn: *conn, among: Arc::clone(coming) });
                }
                let count = (&self.shared.stream).read(buffer)?;
                self.shared.heard.fetch_add(1, Ordering::Relaxed);
                count
            }
        };
        self.frames.advance(&buffer[..count]);
        Ok(count)
    }
}

impl Write for ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.phase {
            Phase::Handshake { .. } => (&self.shared.stream).write(bytes),
            Phase::Joined { conn, outbound, .. } => {
                // tungstenite hands over whole control frames here, and all of it is taken.
                let message = Outbound::Frame { conn: *conn, frame: bytes.to_vec().into() };
                if outbound.send(message) { Ok(bytes.len()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
