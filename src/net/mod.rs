//! Sockets: who may connect, what they may send, how bytes get back to them.
//!
//! A thread accepts connections (`acceptor`). Each connection has a thread of its own (`conn`), which reads
//! and checks the head of an HTTP request (`request_head`, `origin_check`), answers it (`http`) or makes a
//! WebSocket of it (`handshake`, `stream`), and from then on reads requests (`requests`). One thread writes
//! to all clients (`outbound`).
//!
//! Knows frames and limits, but nothing of what a request means: that is `state`'s, which hears of requests
//! by `NetEvent`s.
//!
//! # Who waits for whom
//!
//! A connection's thread waits for room in the queue into `state` and in the one into `outbound`, and so its
//! client waits, too. State waits for room in the queue into `outbound`, and `outbound` waits for nobody: there
//! is no circle. What is large takes permits besides (`permits`), so that it waits for other large things
//! instead of meeting them in memory; state and `outbound` give them back.

use std::convert::Infallible;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::config::file::Gateway;
use crate::config::settings::Settings;
use crate::limits::{BUILT_BYTES_MAX, PAGES_BYTES_MAX, SANDBOX_HELLO_WAIT, ms};
use crate::port::Port;
use crate::protocol::ConnId;
use crate::protocol::hello::Hello;
use crate::protocol::method::Call;
use crate::protocol::warning::WarningCode;
use crate::store::Layout;

pub(crate) mod acceptor;
mod conn;
mod frame_tracker;
mod handshake;
mod http;
pub(crate) mod origin_check;
pub(crate) mod outbound;
mod permits;
mod refusal;
mod request_head;
mod requests;
mod slots;
mod stream;
pub(crate) mod token;

use origin_check::Hosts;
use outbound::OutboundSender;
use permits::{Permit, Permits};
use request_head::RequestHead;
use requests::{RawRequest, Rejected};
use slots::{Shares, Slots};
use token::{RefusalPacer, Token};

/// Whether a stranger's bytes are the head of a request, for `tests/it/fuzz`: over sockets it would try
/// a thousandth as many.
#[doc(hidden)]
pub fn is_head(bytes: &[u8]) -> bool {
    let head = RequestHead::parse(bytes);
    matches!(head, Ok(Some(head)) if head.asks_for_websocket() || !head.path().is_empty())
}

/// What a frame that is no good request is told, for the same reason.
#[doc(hidden)]
pub fn objection(text: &str) -> Option<String> {
    match requests::read(text).and_then(RawRequest::build).err()? {
        Rejected::Refused { error, .. } | Rejected::Invalid { error, .. } => Some(error.message),
        Rejected::Unreadable(close) => Some(close.reason),
    }
}

/// What connections and the token's file tell the state thread.
pub(crate) enum NetEvent {
    /// A client passed its handshake.
    Opened(Box<Opened>),
    /// A client asks for something.
    Request {
        /// The client's connection.
        conn: ConnId,
        /// The id that the answer bears.
        id: String,
        /// The validated request.
        call: Call,
        /// Room for what a large request became; given back when state has taken it in.
        built: Option<Box<Permit>>,
    },
    /// The client of this connection is gone.
    Closed(ConnId),
    /// What a person should mend, by its code; or that it has been mended, or never was wrong.
    Warning(WarningCode, Option<String>),
    /// Another token is in force. Its number is higher than those of the tokens before it.
    TokenChanged(u64),
}

/// A client past its handshake.
pub(crate) struct Opened {
    /// The client's connection.
    pub(crate) conn: ConnId,
    /// The address that the client connected from.
    pub(crate) ip: IpAddr,
    /// What the client said of itself.
    pub(crate) hello: Hello,
    /// Number of the token that the client proved.
    pub(crate) token: u64,
}

/// What all connections share: settings, what bounds them, and the ways out of a connection's thread.
pub(crate) struct NetContext {
    /// What was configured, without the token.
    settings: Gateway,
    /// The token in force.
    token: Token,
    /// The names by which clients may come.
    hosts: Hosts,
    /// How many clients and other connections there may be.
    shares: Shares,
    /// To the state thread.
    state: Port<NetEvent>,
    /// To the outbound thread.
    outbound: OutboundSender,
    /// Where the session records are, of which clients ask for pages.
    layout: Layout,
    /// For connections in their handshake.
    handshake_slots: Arc<Slots>,
    /// For connections whose large frame is coming in.
    large_frame_slots: Arc<Slots>,
    /// Spaces out the answers to wrong tokens.
    refusal_pacer: RefusalPacer,
    /// For what large requests become, until state has taken them in.
    request_permits: Permits,
    /// For pages of records while they are made, until `outbound` has taken them in.
    page_permits: Permits,
    /// Closed once state knows what sandbox the agents have.
    sandbox_known: Receiver<Infallible>,
    /// Nobody waits for that any longer.
    sandbox_known_by: Instant,
    next_conn: AtomicU64,
    /// Clients past their handshake, or about to be.
    client_slots_taken: AtomicUsize,
    open_sockets: Arc<AtomicUsize>,
    is_stopping: AtomicBool,
}

impl NetContext {
    /// What the acceptor and every connection share. The process may have so many `descriptors` (`None`: any
    /// number).
    pub(crate) fn new(
        settings: &Settings,
        descriptors: Option<u64>,
        state: Port<NetEvent>,
        outbound: OutboundSender,
        layout: Layout,
        sandbox_known: Receiver<Infallible>,
    ) -> Arc<Self> {
        let mut gateway = settings.config.gateway.clone();
        let shares = Shares::of(descriptors, gateway.max_clients, settings.config.agent.max_processes);
        if shares.clients < gateway.max_clients {
            log::warn!(
                "the limit on open files ({}) has room for {} clients at a time, not for {}; more are not accepted: \
                 raise it (`ulimit -n`, LimitNOFILE= in a unit), or set --max-clients",
                descriptors.unwrap_or_default(),
                shares.clients,
                gateway.max_clients
            );
        }
        Arc::new(Self {
            token: Token::new(
                gateway.token.take(),
                settings.token_file.clone(),
                state.clone(),
                ms(gateway.tick_interval_ms),
            ),
            hosts: Hosts::new(&gateway.allowed_hosts, settings.binds.clone()),
            shares,
            settings: gateway,
            state,
            outbound,
            layout,
            handshake_slots: Arc::new(Slots::for_handshakes(shares.handshakes)),
            large_frame_slots: Arc::new(Slots::for_large_frames()),
            refusal_pacer: RefusalPacer::new(shares.refusals),
            request_permits: Permits::new(BUILT_BYTES_MAX),
            page_permits: Permits::new(PAGES_BYTES_MAX),
            sandbox_known,
            sandbox_known_by: Instant::now() + SANDBOX_HELLO_WAIT,
            next_conn: AtomicU64::new(1),
            client_slots_taken: AtomicUsize::new(0),
            open_sockets: Arc::default(),
            is_stopping: AtomicBool::new(false),
        })
    }

    /// From now on no new client is let in, and refusals that wait end.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.refusal_pacer.stop();
        self.large_frame_slots.lift_bound();
    }

    /// Ends the handshakes that are under way. Called once the acceptor has ended.
    pub(crate) fn end_handshakes(&self) {
        self.handshake_slots.evict_all();
    }

    /// Whether one more client would find a slot now.
    fn has_client_slot(&self) -> bool {
        self.client_slots_taken.load(Ordering::Relaxed) < self.shares.clients
    }

    /// Takes a client's slot, or `None` if all are taken.
    fn take_client_slot(self: &Arc<Self>) -> Option<ClientSlot> {
        let taken = self.client_slots_taken.fetch_add(1, Ordering::Relaxed);
        let slot = ClientSlot(Arc::clone(self));
        (taken < self.shares.clients).then_some(slot)
    }
}

/// The slot of a client past its handshake, free again when this is dropped.
struct ClientSlot(Arc<NetContext>);

impl Drop for ClientSlot {
    fn drop(&mut self) {
        self.0.client_slots_taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the connection's thread, `outbound` and `slots` share of one connection: one descriptor.
#[derive(Debug)]
pub(crate) struct ConnShared {
    conn: ConnId,
    /// The socket. Blocking; only `outbound` writes after the handshake, without blocking.
    stream: TcpStream,
    /// A close frame is on its way: whatever still comes in is thrown away.
    is_closing: AtomicBool,
    /// The connection's slot was given to another one, or the gateway stops, before `hello` or the rest of a
    /// large frame came.
    is_evicted: AtomicBool,
    /// Counts what came in (it wraps): `outbound` compares it between ticks to find silent clients.
    reads: AtomicU32,
    /// Counts what the kernel took for the peer (it wraps): whoever waits for that sees that it goes on.
    writes: AtomicU32,
    /// Open sockets of all connections.
    open_sockets: Arc<AtomicUsize>,
}

impl ConnShared {
    fn new(conn: ConnId, stream: TcpStream, open_sockets: &Arc<AtomicUsize>) -> Arc<Self> {
        open_sockets.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            conn,
            stream,
            open_sockets: Arc::clone(open_sockets),
            is_closing: AtomicBool::new(false),
            is_evicted: AtomicBool::new(false),
            reads: AtomicU32::new(0),
            writes: AtomicU32::new(0),
        })
    }
}

impl Drop for ConnShared {
    fn drop(&mut self) {
        self.open_sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
