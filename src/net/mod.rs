//! Sockets: who may connect, what they may send, how bytes get back to them.
//!
//! Knows frames and limits, but nothing of what a request means: that is `state`'s.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::file::Gateway;
use crate::limits::LARGE_FRAMES_MAX;
use crate::state::Event;
use crate::store::history::History;

pub mod acceptor;
pub mod admission;
mod conn;
mod gate;
mod handshake;
mod head;
mod http;
pub mod outbound;
mod pages;
mod refusals;
mod requests;
mod stream;

use admission::Admission;
use outbound::Outbound;
use refusals::Refusals;
use requests::Parsed;

/// Number of a connection, rising from 1. The wire shows it behind the boot's id.
pub type ConnId = u64;

/// Whether a stranger's bytes are the head of a request, for `tests/fuzz`: over sockets it would try
/// a thousandth as many.
#[doc(hidden)]
pub fn is_head(bytes: &[u8]) -> bool {
    matches!(head::Head::parse(bytes), Ok(Some(head)) if head.asks_for_websocket() || !head.path().is_empty())
}

/// What a frame that is no good request is told, for the same reason.
#[doc(hidden)]
pub fn objection(text: &str) -> Option<String> {
    match requests::parse(text) {
        Parsed::Call { .. } => None,
        Parsed::Refused { error, .. } | Parsed::Invalid { error, .. } => Some(error.message),
        Parsed::Unreadable(close) => Some(close.reason),
    }
}

/// What all connections share: settings and the ways out of a connection thread.
pub struct NetContext {
    /// What was configured.
    pub settings: Gateway,
    /// To the state thread.
    pub state: Sender<Event>,
    /// To the outbound thread.
    pub outbound: Sender<Outbound>,
    /// Reads pages of session records.
    pub history: History,
    /// Who may still be without a `hello`.
    pub admission: Admission,
    /// Paces the answers to wrong tokens.
    pub refusals: Refusals,
    /// Large requests inside.
    pub large_frames: LargeFrames,
    next_conn: AtomicU64,
    upgraded: AtomicUsize,
    stopping: AtomicBool,
}

impl NetContext {
    /// Shared by the acceptor and every connection.
    pub fn new(
        settings: Gateway,
        state: Sender<Event>,
        outbound: Sender<Outbound>,
        history: History,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            state,
            outbound,
            history,
            admission: Admission::default(),
            refusals: Refusals::default(),
            large_frames: LargeFrames::new(),
            next_conn: AtomicU64::new(1),
            upgraded: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        })
    }

    /// From now on nobody new is let in and waiting refusals end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.refusals.stop();
    }

    /// Ends the handshakes that are under way. Called once the acceptor has ended.
    pub fn end_handshakes(&self) {
        self.admission.evict_all();
    }

    /// Takes a client's place, or `None` if all are taken. The place is free again on drop.
    fn take_place(self: &Arc<Self>) -> Option<Place> {
        let taken = self.upgraded.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        (taken < self.settings.max_clients).then_some(place)
    }
}

/// A place among `max_clients`.
struct Place(Arc<NetContext>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.upgraded.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection's thread, `outbound` and `admission` share: one descriptor.
#[derive(Debug)]
pub struct ConnShared {
    /// The socket. Blocking; only `outbound` writes after the handshake, without blocking.
    pub stream: TcpStream,
    /// A close frame is on its way: whatever still comes in is thrown away.
    pub sealed: AtomicBool,
    /// The place was given to a newer connection, or the gateway stops, before `hello` came.
    pub evicted: AtomicBool,
    /// Counts what came in (it wraps): `outbound` compares it between ticks to find silent clients.
    pub heard: AtomicU32,
}

impl ConnShared {
    fn new(stream: TcpStream) -> Arc<Self> {
        Arc::new(Self {
            stream,
            sealed: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            heard: AtomicU32::new(0),
        })
    }
}

/// Tokens for large requests on their way through the state thread, so that a full inbox of the
/// largest frames never meets in memory. A crossbeam channel is the semaphore: giving a token back
/// never blocks, which is what the state thread needs.
pub struct LargeFrames {
    give: Sender<()>,
    take: Receiver<()>,
}

/// Held by a large request until state has taken it in.
#[derive(Debug)]
pub struct LargeFrame(Sender<()>);

impl LargeFrames {
    fn new() -> Self {
        let (give, take) = bounded(LARGE_FRAMES_MAX);
        for _ in 0..LARGE_FRAMES_MAX {
            // There is room for each: the channel was made for exactly these.
            let _ = give.try_send(());
        }
        Self { give, take }
    }

    /// Waits for a token.
    fn take(&self) -> LargeFrame {
        // Never disconnected: `give` lives beside it.
        let _ = self.take.recv();
        LargeFrame(self.give.clone())
    }
}

impl Drop for LargeFrame {
    fn drop(&mut self) {
        let _ = self.0.try_send(());
    }
}
