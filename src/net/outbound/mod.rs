//! The outbound thread: the only writer to clients after their handshake.
//!
//! Decides nothing but "too slow", and knows nothing of what the frames say. It never blocks on a client:
//! what the kernel does not take waits in that client's backlog, and the backlog has a bound. It sends to no
//! other thread, so nobody can deadlock with it.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use tungstenite::Bytes;

use crate::limits::{
    BACKLOG_DROPPABLE_TOTAL_BYTES_MAX, BACKLOG_TOTAL_BYTES_MAX, BROADCAST_SLICE,
    BROADCASTS_PENDING_BYTES_MAX, BROADCASTS_PENDING_MAX, CLOSE_FLUSH_TIMEOUT, GOODBYE_FLUSH_TIMEOUT,
    OUTBOUND_BYTES_MAX, OUTBOUND_DRAIN_MAX, OUTBOUND_INBOX, OUTBOUND_LARGE_BYTES, PING_UNANSWERED_TICKS_MAX,
};
use crate::metrics::METRICS;
use crate::net::ConnShared;
use crate::net::permits::{Permit, Permits};
use crate::protocol::ConnId;
use crate::protocol::event::Subscriptions;
use crate::protocol::frame::{Close, EventBody, ping};
use crate::threads;

mod client;
mod piece;

use client::Client;

/// What the outbound thread is asked to do.
#[derive(Debug)]
pub(crate) enum Outbound {
    /// A connection has passed its handshake: it gets frames, but no events yet.
    Attach { shared: Arc<ConnShared> },
    /// The first frame that a connection ever gets; from here on it gets the events that it subscribed to.
    Join { conn: ConnId, hello_ok: Bytes, subscriptions: Subscriptions },
    /// One whole frame, with its header, for one connection. It may not be left out.
    Frame { conn: ConnId, frame: Bytes },
    /// A page of records, as such a frame, and the permit with which it was made. `hold` is dropped when all of it
    /// is with the kernel, or nothing can reach the client any more: the connection's next page is made then.
    Page { conn: ConnId, frame: Bytes, hold: PageHold, made: Permit },
    /// An event for everybody who subscribed.
    Event { body: EventBody, loss: Loss },
    /// An event for one connection, if that subscribed. It may not be left out.
    EventTo { conn: ConnId, body: EventBody },
    /// A tick has passed: silent clients are pinged, dead ones dropped.
    Liveness,
    /// One connection ends, and its client is told why.
    Close { conn: ConnId, close: Close },
    /// All connections end, and all clients are told why.
    CloseAll { close: Close },
    /// The connection's thread is done: nothing more can reach the client.
    Detach { conn: ConnId },
}

/// Held while a page is under way. Whoever has the other end hears when it is dropped; nothing is ever sent.
pub(super) type PageHold = Sender<Infallible>;

impl Outbound {
    /// Bytes of the frame or event, which lie outside of the message itself; a page brings its own permit.
    fn bytes(&self) -> usize {
        match self {
            Self::Join { hello_ok: frame, .. } | Self::Frame { frame, .. } => frame.len(),
            Self::Event { body, .. } | Self::EventTo { body, .. } => body.tail.len(),
            _ => 0,
        }
    }
}

/// A message in the queue. Its permit is given back when `outbound` has taken the message in.
#[derive(Debug)]
pub(crate) struct Queued {
    message: Outbound,
    _permit: Option<Permit>,
}

/// The senders' end of the queue.
#[derive(Clone)]
pub(crate) struct OutboundSender {
    inbox: Sender<Queued>,
    large: Arc<Permits>,
}

/// Makes the queue. Sending waits for room, both in messages and in bytes: that is how state and the
/// connections are slowed down to what can be written. `outbound` sends to nobody and waits for no client, so
/// there always is room soon; if it ever waited for state, the two could stop each other for good.
pub(crate) fn queue() -> (OutboundSender, Receiver<Queued>) {
    let (inbox, receiver) = bounded(OUTBOUND_INBOX);
    (OutboundSender { inbox, large: Arc::new(Permits::new(OUTBOUND_BYTES_MAX)) }, receiver)
}

impl OutboundSender {
    /// Sends a message. `false`: `outbound` has ended.
    pub(crate) fn send(&self, message: Outbound) -> bool {
        let bytes = message.bytes();
        let permit = (bytes > OUTBOUND_LARGE_BYTES).then(|| self.large.take(bytes));
        self.inbox.send(Queued { message, _permit: permit }).is_ok()
    }
}

/// Who may miss an event when it reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nobody: whoever cannot take it is closed.
    Nobody,
    /// Anybody; the hole in `seq` tells.
    Anybody,
    /// Anybody but this connection.
    AnybodyBut(ConnId),
}

impl Loss {
    fn allowed_for(self, conn: ConnId) -> bool {
        match self {
            Loss::Nobody => false,
            Loss::Anybody => true,
            Loss::AnybodyBut(owner) => owner != conn,
        }
    }
}

/// Starts the outbound thread. It writes to `fanout_us` what the last event to everybody took, in
/// microseconds: state keeps presence deltas at a distance from it.
pub(crate) fn spawn(inbox: Receiver<Queued>, fanout_us: Arc<AtomicU64>) -> io::Result<JoinHandle<()>> {
    threads::spawn_owner("outbound", move || Writer { fanout_us, ..Writer::default() }.run(&inbox))
}

/// An event on its way to everybody: a cursor over the connections.
struct Broadcast {
    /// Rising; a client knows the last one that it was given.
    number: u64,
    body: EventBody,
    loss: Loss,
    /// The connections up to this one have been served.
    served: ConnId,
    started: Instant,
}

#[derive(Default)]
struct Writer {
    clients: BTreeMap<ConnId, Client>,
    broadcasts: VecDeque<Broadcast>,
    broadcasts_bytes: usize,
    broadcasts_made: u64,
    /// Connections with something new to write in this turn.
    touched: Vec<ConnId>,
    /// Connections that wait for room in the kernel, or linger after their close.
    timed: Vec<ConnId>,
    /// What all backlogs together take in memory.
    held_bytes: usize,
    fanout_us: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Queued>) {
        loop {
            match self.next(inbox) {
                Ok(queued) => {
                    self.handle(queued.message);
                    self.drain(inbox);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.flush_touched();
            self.serve_slice();
            self.flush_touched();
            self.run_timers(Instant::now());
            METRICS.backlog_bytes.set(self.held_bytes as u64);
        }
    }

    /// Waits for a message only when there is nothing else to do.
    fn next(&self, inbox: &Receiver<Queued>) -> Result<Queued, RecvTimeoutError> {
        if self.is_behind() {
            return Err(RecvTimeoutError::Timeout);
        }
        if !self.broadcasts.is_empty() {
            return inbox.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            });
        }
        let due = self.timed.iter().filter_map(|conn| self.clients.get(conn)?.due()).min();
        match due {
            Some(due) => inbox.recv_deadline(due),
            None => Ok(inbox.recv()?),
        }
    }

    fn drain(&mut self, inbox: &Receiver<Queued>) {
        for _ in 1..OUTBOUND_DRAIN_MAX {
            if self.is_behind() {
                return;
            }
            let Ok(queued) = inbox.try_recv() else { return };
            self.handle(queued.message);
        }
    }

    /// So many events wait to be fanned out that no more should come.
    fn is_behind(&self) -> bool {
        self.broadcasts.len() >= BROADCASTS_PENDING_MAX
            || self.broadcasts_bytes >= BROADCASTS_PENDING_BYTES_MAX
    }

    fn handle(&mut self, message: Outbound) {
        match message {
            Outbound::Attach { shared } => {
                self.clients.insert(shared.conn, Client::new(shared));
            }
            Outbound::Join { conn, hello_ok, subscriptions } => {
                let latest = self.broadcasts_made;
                self.change(conn, |client| client.join(hello_ok, subscriptions, latest));
                self.after_push(conn, true);
            }
            Outbound::Frame { conn, frame } => self.push_to(conn, |client| client.push_frame(frame, None)),
            Outbound::Page { conn, frame, hold, made } => {
                self.push_to(conn, |client| client.push_frame(frame, Some(hold)));
                drop(made);
            }
            Outbound::EventTo { conn, body } => self.push_to(conn, |client| client.push_event(&body, None)),
            Outbound::Event { body, loss } => {
                self.broadcasts_bytes += body.tail.len();
                self.broadcasts_made += 1;
                let number = self.broadcasts_made;
                let started = Instant::now();
                self.broadcasts.push_back(Broadcast { number, body, loss, served: 0, started });
            }
            Outbound::Liveness => self.check_liveness(),
            Outbound::Close { conn, close } => self.close(conn, &close),
            Outbound::CloseAll { close } => {
                // What was said before the goodbye still goes out before it.
                while !self.broadcasts.is_empty() {
                    self.serve_slice();
                }
                self.flush_touched();
                for conn in self.clients.keys().copied().collect::<Vec<_>>() {
                    self.close_within(conn, &close, GOODBYE_FLUSH_TIMEOUT);
                }
            }
            Outbound::Detach { conn } => {
                // The echo of the client's close came in the same turn as this.
                self.flush(conn, Instant::now());
                if let Some(client) = self.clients.remove(&conn) {
                    self.held_bytes -= client.held_bytes;
                }
            }
        }
    }

    /// Queues something for one client alone, behind its share of the pending broadcasts.
    fn push_to(&mut self, conn: ConnId, push: impl FnOnce(&mut Client) -> bool) {
        self.catch_up(conn);
        if let Some(fits) = self.change(conn, push) {
            self.after_push(conn, fits);
        }
    }

    /// Lets a client do something, and keeps the sum of all backlogs right.
    fn change<T>(&mut self, conn: ConnId, act: impl FnOnce(&mut Client) -> T) -> Option<T> {
        let client = self.clients.get_mut(&conn)?;
        let before = client.held_bytes;
        let done = act(client);
        self.held_bytes = self.held_bytes - before + client.held_bytes;
        Some(done)
    }

    fn after_push(&mut self, conn: ConnId, fits: bool) {
        self.touched.push(conn);
        if !fits {
            self.close_slow_consumer(conn);
        }
        self.shed_backlogs();
    }

    fn catch_up(&mut self, conn: ConnId) {
        let Some(client) = self.clients.get(&conn) else { return };
        let missing = self.broadcasts.partition_point(|broadcast| broadcast.number <= client.broadcast);
        for at in missing..self.broadcasts.len() {
            self.give_broadcast(conn, at);
        }
    }

    /// Queues the broadcast at that place among the pending ones for one client.
    fn give_broadcast(&mut self, conn: ConnId, at: usize) {
        let Some(broadcast) = self.broadcasts.get(at) else { return };
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let before = client.held_bytes;
        let room = BACKLOG_DROPPABLE_TOTAL_BYTES_MAX.saturating_sub(self.held_bytes);
        let room = broadcast.loss.allowed_for(conn).then_some(room);
        client.broadcast = broadcast.number;
        let fits = client.push_event(&broadcast.body, room);
        self.held_bytes = self.held_bytes - before + client.held_bytes;
        self.after_push(conn, fits);
    }

    /// Queues the oldest broadcast for the next few clients.
    fn serve_slice(&mut self) {
        let Some(&Broadcast { number, served, .. }) = self.broadcasts.front() else { return };
        let after = (Bound::Excluded(served), Bound::Unbounded);
        let slice: Vec<ConnId> =
            self.clients.range(after).map(|(conn, _)| *conn).take(BROADCAST_SLICE).collect();
        for conn in &slice {
            if self.clients.get(conn).is_some_and(|client| client.broadcast < number) {
                self.give_broadcast(*conn, 0);
            }
        }
        if let (Some(last), Some(broadcast)) = (slice.last(), self.broadcasts.front_mut()) {
            broadcast.served = *last;
        }
        if slice.len() < BROADCAST_SLICE {
            self.flush_touched();
            if let Some(done) = self.broadcasts.pop_front() {
                self.broadcasts_bytes -= done.body.tail.len();
                let took = u64::try_from(done.started.elapsed().as_micros()).unwrap_or(u64::MAX);
                METRICS.fanout_us.set(took);
                self.fanout_us.store(took, Ordering::Relaxed);
            }
        }
    }

    fn flush_touched(&mut self) {
        let now = Instant::now();
        for conn in std::mem::take(&mut self.touched) {
            self.flush(conn, now);
        }
    }

    fn flush(&mut self, conn: ConnId, now: Instant) {
        if self.change(conn, |client| client.flush(now)) == Some(true) {
            self.set_timer(conn);
        }
    }

    fn set_timer(&mut self, conn: ConnId) {
        if !self.timed.contains(&conn) {
            self.timed.push(conn);
        }
    }

    fn run_timers(&mut self, now: Instant) {
        for conn in std::mem::take(&mut self.timed) {
            let Some(client) = self.clients.get_mut(&conn) else { continue };
            match client.due() {
                Some(due) if due > now => self.timed.push(conn),
                Some(_) => self.flush(conn, now),
                None => {}
            }
        }
    }

    fn check_liveness(&mut self) {
        let conns: Vec<ConnId> = self.clients.keys().copied().collect();
        for conn in conns {
            match self.clients.get_mut(&conn).map_or(0, Client::count_silence) {
                1 => self.push_to(conn, |client| client.push_frame(ping(), None)),
                // The first of them asked for an answer.
                ticks if ticks > PING_UNANSWERED_TICKS_MAX => {
                    METRICS.silent_clients.up();
                    let close = Close::new(1008, "no answer to a ping for two tick intervals; reconnect");
                    log::warn!("conn {conn}: {}", close.reason);
                    self.close(conn, &close);
                }
                _ => {}
            }
        }
    }

    fn close(&mut self, conn: ConnId, close: &Close) {
        self.close_within(conn, close, CLOSE_FLUSH_TIMEOUT);
    }

    fn close_within(&mut self, conn: ConnId, close: &Close, patience: Duration) {
        if self.change(conn, |client| client.begin_close(close, Instant::now() + patience)).is_some() {
            self.touched.push(conn);
            self.set_timer(conn);
        }
    }

    fn close_slow_consumer(&mut self, conn: ConnId) {
        METRICS.slow_consumers.up();
        log::warn!("conn {conn}: slow consumer: its backlog is over the limit, closing");
        let close = Close::new(1008, "slow consumer: read faster, or subscribe to fewer events");
        self.close(conn, &close);
    }

    /// Over the bound of all backlogs together, the largest goes first. One that is being closed already
    /// loses what it was still to read.
    fn shed_backlogs(&mut self) {
        if self.held_bytes <= BACKLOG_TOTAL_BYTES_MAX {
            return;
        }
        // Some of it may just not have been written yet.
        self.flush_touched();
        while self.held_bytes > BACKLOG_TOTAL_BYTES_MAX {
            let largest = self.clients.iter().max_by_key(|(_, client)| client.held_bytes);
            let Some((conn, client)) = largest.filter(|(_, client)| client.held_bytes > 0) else { return };
            let conn = *conn;
            if client.is_closing() {
                self.change(conn, Client::shut);
            } else {
                self.close_slow_consumer(conn);
            }
        }
    }
}

#[cfg(test)]
mod tests;
