//! Many connections, driven by one thread: the machine's other core belongs to the server.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::Outcome;
use crate::wire::{self, CLOSE, Frame, Inbox, PING, PONG, UPGRADE};

/// Long enough for anything that works at all.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Phase {
    Upgrading,
    Greeting,
    Ready,
}

#[derive(Debug)]
struct Member {
    stream: TcpStream,
    inbox: Inbox,
    phase: Phase,
}

/// A set of connections and the one place that waits for them.
pub(crate) struct Fleet {
    addr: SocketAddr,
    hello: Vec<u8>,
    members: Vec<Member>,
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    chunk: Box<[u8]>,
}

impl Fleet {
    /// Connects `size` clients in one burst and returns when all of them have their `hello-ok`.
    pub(crate) fn connect(addr: SocketAddr, size: usize, caps: &[&str]) -> Outcome<Self> {
        let mut fleet = Self {
            addr,
            hello: wire::hello("bench-fleet", caps),
            members: Vec::with_capacity(size),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            ready: Vec::with_capacity(256),
            chunk: vec![0; 256 * 1024].into_boxed_slice(),
        };
        for index in 0..size {
            let member = fleet.open(index)?;
            fleet.members.push(member);
        }
        let mut greeted = 0;
        let deadline = Instant::now() + PATIENCE;
        while greeted < size {
            expect_before(deadline, "every `hello-ok`")?;
            greeted += fleet.pump(PATIENCE, |_, _| {})?.greeted;
        }
        Ok(fleet)
    }

    fn open(&mut self, index: usize) -> Outcome<Member> {
        // Blocking until the kernel has the connection in its backlog, which on loopback is now.
        let mut stream = TcpStream::connect(self.addr)?;
        stream.set_nodelay(true)?;
        stream.write_all(UPGRADE)?;
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN)?;
        Ok(Member { stream, inbox: Inbox::default(), phase: Phase::Upgrading })
    }

    /// Reads what has come, waiting at most `patience` for something, and shows each text frame and
    /// its member to `on_frame`.
    pub(crate) fn pump(
        &mut self,
        patience: Duration,
        mut on_frame: impl FnMut(usize, Frame<'_>),
    ) -> Outcome<Pumped> {
        let timeout = Timespec::try_from(patience)?;
        self.ready.clear();
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.ready), Some(&timeout))?;
        let mut pumped = Pumped { woken: self.ready.len(), greeted: 0 };
        for event in &self.ready {
            let index = usize::try_from(event.data.u64())?;
            let member = &mut self.members[index];
            let count = match member.stream.read(&mut self.chunk) {
                Ok(0) => return Err(format!("the server closed connection {index}").into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            member.inbox.push(&self.chunk[..count]);
            pumped.greeted += usize::from(member.digest(index, &self.hello, &mut on_frame)?);
        }
        Ok(pumped)
    }

    /// Reads until nothing has come for `quiet`.
    pub(crate) fn settle(&mut self, quiet: Duration) -> Outcome<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.pump(quiet, |_, _| {})?.woken > 0 {
            expect_before(deadline, "silence")?;
        }
        Ok(())
    }

    /// Waits until every member has got `count` frames that `wanted` accepts.
    pub(crate) fn await_all(
        &mut self,
        count: usize,
        mut wanted: impl FnMut(Frame<'_>) -> bool,
    ) -> Outcome<()> {
        let mut got = vec![0; self.members.len()];
        let mut done = 0;
        let deadline = Instant::now() + PATIENCE;
        while done < self.members.len() {
            expect_before(deadline, "a frame at every client")?;
            self.pump(PATIENCE, |index, frame| {
                if got[index] < count && wanted(frame) {
                    got[index] += 1;
                    done += usize::from(got[index] == count);
                }
            })?;
        }
        Ok(())
    }

    /// Every member asks again as soon as it is answered, with `depth` requests in flight each;
    /// answers per second.
    pub(crate) fn request_rate(&mut self, requests: &[Vec<u8>], time: Duration) -> Outcome<f64> {
        let all = requests.concat();
        for member in &mut self.members {
            member.stream.write_all(&all)?;
        }
        // Frames of one length: any run of them is a slice of the doubled whole.
        let (each, twice) = (requests[0].len(), [all.as_slice(), all.as_slice()].concat());
        let mut next = vec![0; self.members.len()];
        let mut answers = vec![0_usize; self.members.len()];
        let mut total = 0_usize;
        let start = Instant::now();
        while start.elapsed() < time {
            answers.fill(0);
            self.pump(PATIENCE, |index, frame| {
                answers[index] += usize::from(frame.is_answer());
            })?;
            for (index, count) in answers.iter().enumerate().filter(|(_, count)| **count > 0) {
                let from = next[index];
                self.members[index].stream.write_all(&twice[from * each..(from + count) * each])?;
                next[index] = (from + count) % requests.len();
                total += count;
            }
        }
        let rate = total as f64 / start.elapsed().as_secs_f64();
        self.settle(Duration::from_millis(50))?;
        Ok(rate)
    }

    /// Replaces each member by a new connection as soon as it is greeted; handshakes per second.
    pub(crate) fn handshake_rate(&mut self, time: Duration) -> Outcome<f64> {
        let (start, mut total) = (Instant::now(), 0);
        while start.elapsed() < time {
            for index in 0..self.members.len() {
                if self.members[index].phase == Phase::Ready {
                    // Closing the old one takes it out of the epoll set.
                    let member = self.open(index)?;
                    self.members[index] = member;
                }
            }
            total += self.pump(PATIENCE, |_, _| {})?.greeted;
        }
        let rate = total as f64 / start.elapsed().as_secs_f64();
        let deadline = Instant::now() + PATIENCE;
        while self.members.iter().any(|member| member.phase != Phase::Ready) {
            expect_before(deadline, "the last handshakes")?;
            self.pump(PATIENCE, |_, _| {})?;
        }
        Ok(rate)
    }
}

/// What one call of [`Fleet::pump`] met.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pumped {
    /// Connections with something to read.
    pub(crate) woken: usize,
    pub(crate) greeted: usize,
}

impl Member {
    /// Handles what was read; whether this completed the handshake.
    fn digest(
        &mut self,
        index: usize,
        hello: &[u8],
        on_frame: &mut impl FnMut(usize, Frame<'_>),
    ) -> Outcome<bool> {
        let mut greeted = false;
        if self.phase == Phase::Upgrading {
            match self.inbox.take_head() {
                Some(head) if head.starts_with("HTTP/1.1 101") => self.stream.write_all(hello)?,
                Some(head) => return Err(format!("no upgrade: {head}").into()),
                None => return Ok(false),
            }
            self.phase = Phase::Greeting;
        }
        while let Some(frame) = self.inbox.take_frame() {
            match frame.opcode {
                PING => {
                    let pong = wire::masked(PONG, frame.payload);
                    self.stream.write_all(&pong)?;
                }
                CLOSE => return Err(format!("closed: {}", String::from_utf8_lossy(frame.payload)).into()),
                _ if self.phase == Phase::Greeting => {
                    if !frame.contains("hello-ok") {
                        return Err(format!("no hello-ok: {}", String::from_utf8_lossy(frame.payload)).into());
                    }
                    self.phase = Phase::Ready;
                    greeted = true;
                }
                _ => on_frame(index, frame),
            }
        }
        Ok(greeted)
    }
}

/// Gives up at the deadline, naming what was awaited.
pub(crate) fn expect_before(deadline: Instant, what: &str) -> Outcome<()> {
    if Instant::now() < deadline { Ok(()) } else { Err(format!("waited in vain for {what}").into()) }
}
