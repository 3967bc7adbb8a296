//! A TCP stream whose reads and writes end at an absolute deadline: a peer that sends one byte now
//! and then gets no more time than one that sends nothing.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::cli::interrupt::Interrupt;

/// See above. A read or write at its deadline fails with `WouldBlock`.
pub(crate) struct TimedStream {
    stream: TcpStream,
    interrupt: Interrupt,
    deadline: Instant,
}

impl TimedStream {
    /// Takes a connected stream.
    pub(crate) fn new(stream: TcpStream, interrupt: Interrupt, deadline: Instant) -> io::Result<Self> {
        // Requests are small and somebody waits for each.
        stream.set_nodelay(true)?;
        Ok(Self { stream, interrupt, deadline })
    }

    /// For every read and write from now on.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    fn remaining(&self) -> io::Result<Duration> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(remaining) }
    }
}

impl Read for TimedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(self.remaining()?))?;
            match self.stream.read(buffer) {
                // Being stopped and continued interrupts a read, too; only Ctrl-C concerns us.
                Err(error) if error.kind() == io::ErrorKind::Interrupted && !self.interrupt.seen() => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                done => return done,
            }
        }
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.stream.set_write_timeout(Some(self.remaining()?))?;
            match self.stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
