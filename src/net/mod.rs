//! Sockets: who may connect, what they may send, how bytes get back to them.
//!
//! Knows frames and limits, but nothing of what a request means: that is `state`'s.

use std::convert::Infallible;
use std::net::{IpAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::config::file::Gateway;
use crate::limits::{BUILT_BYTES_MAX, PAGES_BYTES_MAX, SANDBOX_HELLO_WAIT};
use crate::port::Port;
use crate::store::history::History;

pub mod acceptor;
mod conn;
mod event;
mod frame_tracker;
mod handshake;
pub mod hosts;
mod http;
mod origin_check;
pub mod outbound;
pub mod permits;
mod refusal_pacer;
mod request_head;
mod requests;
mod response;
pub mod shares;
pub mod slots;
mod stream;
pub mod token;
mod web_files;

pub use event::{NetEvent, Opened};

use hosts::Hosts;
use outbound::ToOutbound;
use permits::Permits;
use refusal_pacer::Refusals;
use requests::{RawRequest, Rejected};
use shares::Shares;
use slots::Admission;
use token::Token;

/// Whether a stranger's bytes are the head of a request, for `tests/fuzz`: over sockets it would try
/// a thousandth as many.
#[doc(hidden)]
pub fn is_head(bytes: &[u8]) -> bool {
    matches!(request_head::Head::parse(bytes), Ok(Some(head)) if head.asks_for_websocket() || !head.path().is_empty())
}

/// What a frame that is no good request is told, for the same reason.
#[doc(hidden)]
pub fn objection(text: &str) -> Option<String> {
    match requests::read(text).and_then(RawRequest::build).err()? {
        Rejected::Refused { error, .. } | Rejected::Invalid { error, .. } => Some(error.message),
        Rejected::Unreadable(close) => Some(close.reason),
    }
}

/// What the sockets' side of the gateway is started with. No `Debug`: there may be a token.
pub struct NetConfig {
    /// What was configured.
    pub(crate) settings: Gateway,
    /// The addresses that it was told to bind.
    pub bound: Vec<IpAddr>,
    /// Where the token came from, if that is a file.
    pub token_file: Option<PathBuf>,
    /// How many sockets there may be.
    pub shares: Shares,
}

/// What all connections share: settings and the ways out of a connection thread.
pub struct NetContext {
    /// What was configured, without the token.
    settings: Gateway,
    /// The token in force.
    token: Token,
    /// The names by which clients may come.
    hosts: Hosts,
    /// How many of them may.
    shares: Shares,
    /// To the state thread.
    pub state: Port<NetEvent>,
    /// To the outbound thread.
    pub outbound: ToOutbound,
    /// Reads pages of session records.
    pub history: History,
    /// Who may still be without a `hello`.
    pub admission: Admission,
    /// Whose large frame may come in.
    pub coming: Arc<Admission>,
    /// Paces the answers to wrong tokens.
    pub refusals: Refusals,
    /// For what large requests become, until state has taken them in.
    pub built: Permits,
    /// For pages of records while they are made, until `outbound` has taken them in.
    pub pages: Permits,
    /// Closed once state knows what is around the agents.
    agent_tried: Receiver<Infallible>,
    /// Nobody waits for that beyond this.
    agent_tried_by: Instant,
    next_conn: AtomicU64,
    /// Places of clients that are taken.
    places: AtomicUsize,
    /// Sockets that are open.
    sockets: Arc<AtomicUsize>,
    stopping: AtomicBool,
}

impl NetContext {
    /// Shared by the acceptor and every connection.
    pub fn new(
        config: NetConfig,
        state: Port<NetEvent>,
        outbound: ToOutbound,
        history: History,
        agent_tried: Receiver<Infallible>,
    ) -> Arc<Self> {
        let NetConfig { mut settings, bound, token_file, shares } = config;
        Arc::new(Self {
            token: Token::new(settings.token.take(), token_file),
            hosts: Hosts::new(&settings.allowed_hosts, bound),
            shares,
            settings,
            state,
            outbound,
            history,
            admission: Admission::to_handshakes(shares.handshakes),
            coming: Arc::new(Admission::to_large_frames()),
            refusals: Refusals::new(shares.refusals),
            built: Permits::new(BUILT_BYTES_MAX),
            pages: Permits::new(PAGES_BYTES_MAX),
            agent_tried,
            agent_tried_by: Instant::now() + SANDBOX_HELLO_WAIT,
            next_conn: AtomicU64::new(1),
            places: AtomicUsize::new(0),
            sockets: Arc::default(),
            stopping: AtomicBool::new(false),
        })
    }

    /// Waits, for a moment after the start, until a snapshot can say what is around the agents.
    fn await_agent(&self) {
        // An error either way: it was closed, or that takes too long.
        let _ = self.agent_tried.recv_deadline(self.agent_tried_by);
    }

    /// From now on nobody new is let in and waiting refusals end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.refusals.stop();
        self.coming.lift();
    }

    /// Ends the handshakes that are under way. Called once the acceptor has ended.
    pub fn end_handshakes(&self) {
        self.admission.evict_all();
    }

    /// The number of the token in force if `given` is it.
    fn prove(&self, given: &str) -> Option<u64> {
        self.token.prove(given, &self.state)
    }

    /// Looks whether the token has changed.
    fn look_at_token(&self) {
        self.token.look(&self.state);
    }

    /// Whether one more client would find a place now.
    fn has_place(&self) -> bool {
        self.places.load(Ordering::Relaxed) < self.shares.clients
    }

    /// Takes a client's place, or `None` if all are taken. The place is free again on drop.
    fn take_place(self: &Arc<Self>) -> Option<Place> {
        let taken = self.places.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        (taken < self.shares.clients).then_some(place)
    }
}

/// A client's place.
struct Place(Arc<NetContext>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection's thread, `outbound` and `admission` share: one descriptor.
#[derive(Debug)]
pub struct ConnShared {
    /// The socket. Blocking; only `outbound` writes after the handshake, without blocking.
    pub stream: TcpStream,
    /// A close frame is on its way: whatever still comes in is thrown away.
    pub sealed: AtomicBool,
    /// The place was given to another connection, or the gateway stops, before `hello` or the rest of a
    /// large frame came.
    pub evicted: AtomicBool,
    /// Counts what came in (it wraps): `outbound` compares it between ticks to find silent clients.
    pub heard: AtomicU32,
    /// Counts what the kernel took for the peer (it wraps): whoever waits for that sees that it goes on.
    pub written: AtomicU32,
    /// Sockets that are open, this one among them.
    open: Arc<AtomicUsize>,
}

impl ConnShared {
    fn new(stream: TcpStream, open: &Arc<AtomicUsize>) -> Arc<Self> {
        open.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            stream,
            open: Arc::clone(open),
            sealed: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            heard: AtomicU32::new(0),
            written: AtomicU32::new(0),
        })
    }
}

impl Drop for ConnShared {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
