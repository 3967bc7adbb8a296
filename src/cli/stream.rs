//! A TCP stream whose reads and writes end at an absolute deadline: a peer that sends one byte now
//! and then gets no more time than one that sends nothing.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A stream whose reads and writes fail with `WouldBlock` at its deadline.
pub(crate) struct TimedStream {
    pub(crate) stream: TcpStream,
    /// The deadline of every read and write from now on.
    pub(crate) deadline: Instant,
}

impl TimedStream {
    fn remaining(&self) -> io::Result<Option<Duration>> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(Some(remaining)) }
    }
}

/// Repeats a step that a signal interrupted, which did not end the process.
fn uninterrupted(mut step: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match step() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Read for TimedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| {
            self.stream.set_read_timeout(self.remaining()?)?;
            self.stream.read(buffer)
        })
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| {
            self.stream.set_write_timeout(self.remaining()?)?;
            self.stream.write(bytes)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
