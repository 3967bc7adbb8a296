//! One connection, on a thread of its own: from the first byte to the last.
//!
//! Reads and checks; what a request means it does not know, but for pages of records, which it reads itself.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use tungstenite::{Message, Utf8Bytes, WebSocket};

use crate::limits::{
    INVALID_FRAMES_MAX, INVALID_FRAMES_WINDOW, LARGE_REQUEST_BYTES, PAGE_BUILT_BYTES, PAGE_STALL_TIME,
};
use crate::metrics::METRICS;
use crate::net::handshake::{self, HandshakeError};
use crate::net::http;
use crate::net::outbound::Outbound;
use crate::net::permits::Permit;
use crate::net::refusal::HttpRefusal;
use crate::net::request_head::RequestHead;
use crate::net::requests::{self, Rejected};
use crate::net::slots::Slot;
use crate::net::stream::ClientStream;
use crate::net::{ConnShared, NetContext, NetEvent, Opened, origin_check};
use crate::protocol::call::SessionHistoryParams;
use crate::protocol::frame::{self, Close};
use crate::protocol::hello::Hello;
use crate::protocol::method::Request;
use crate::store::history;

/// Longest write before `outbound` takes over: a peer may not read the answers in its own handshake.
const HANDSHAKE_WRITE: Duration = Duration::from_secs(1);

/// Serves one accepted socket until that is closed.
pub(super) fn serve(
    peer: SocketAddr,
    shared: &Arc<ConnShared>,
    deadline: Instant,
    context: &Arc<NetContext>,
    handshake_slot: Slot,
) {
    if shared.stream.set_write_timeout(Some(HANDSHAKE_WRITE)).is_err() {
        return;
    }
    let head = match RequestHead::read(shared, deadline) {
        Ok(head) => head,
        Err(_) if context.is_stopping.load(Ordering::Relaxed) => {
            return http::refuse(shared, &HttpRefusal::STOPPING);
        }
        Err(_) if shared.is_evicted.load(Ordering::Relaxed) => {
            return http::refuse(shared, &HttpRefusal::EVICTED);
        }
        Err(Some(refusal)) => {
            if refusal.status == HttpRefusal::TIMEOUT.status {
                METRICS.refused_timeout.up();
            }
            return http::refuse(shared, &refusal);
        }
        Err(None) => return,
    };
    if let Err(refusal) = origin_check::check(&head, context) {
        METRICS.refused_origin.up();
        // Without the port, so that a flood of refusals is one line that is counted.
        log::warn!("refused {} with {}: {}", peer.ip(), refusal.status, refusal.text);
        return http::refuse(shared, &refusal);
    }
    if !head.asks_for_websocket() {
        return http::serve(shared, &head, context);
    }
    if !context.has_client_slot() {
        METRICS.refused_capacity.up();
        return http::refuse(shared, &HttpRefusal::FULL);
    }
    let mut socket = match handshake::upgrade(shared, context, head, deadline) {
        Ok(socket) => socket,
        Err(refusal) => return http::refuse(shared, &refusal),
    };
    // A client's slot is taken by who has passed the handshake, and by nobody before.
    let accepted = handshake::await_hello(&mut socket, shared, context)
        .and_then(|accepted| Ok((accepted, context.take_client_slot().ok_or_else(HandshakeError::full)?)))
        .and_then(|accepted| {
            // Somebody newer may have taken its handshake slot just now. From here on nobody can.
            handshake_slot.give_back();
            if shared.is_evicted.load(Ordering::Relaxed) {
                Err(HandshakeError::evicted())
            } else {
                Ok(accepted)
            }
        });
    match accepted {
        Ok(((hello, token), _client_slot)) => {
            drop(handshake_slot);
            // For a moment after the start a snapshot could not say what sandbox the agents have. An error either
            // way: state knows, or that takes too long.
            let _ = context.sandbox_known.recv_deadline(context.sandbox_known_by);
            METRICS.clients.up();
            let invalid_frames = InvalidFrameBudget::new(Instant::now());
            let client = ClientConn { peer, shared, context, invalid_frames, last_page: None };
            client.run(socket, hello, token);
        }
        Err(error) => handshake::refuse(shared, context, error, handshake_slot),
    }
}

/// The connection of a client past its handshake. The other threads are told when it is over, also when its own
/// panics.
struct ClientConn<'a> {
    peer: SocketAddr,
    shared: &'a Arc<ConnShared>,
    context: &'a NetContext,
    invalid_frames: InvalidFrameBudget,
    /// The page that was sent last; it disconnects when all of that is with the kernel. One page at a time: whoever
    /// does not read its page gets no further one made.
    last_page: Option<Receiver<Infallible>>,
}

impl Drop for ClientConn<'_> {
    fn drop(&mut self) {
        METRICS.clients.down();
        let conn = self.shared.conn;
        let _ = self.context.state.send(NetEvent::Closed(conn));
        self.context.outbound.send(Outbound::Detach { conn });
    }
}

impl ClientConn<'_> {
    fn run(mut self, mut socket: WebSocket<ClientStream>, hello: Hello, token: u64) {
        let conn = self.shared.conn;
        if socket.get_mut().join().is_err() {
            return;
        }
        let client = &hello.client;
        log::info!(
            "conn {conn}: {:?} {:?} on {:?} as {:?} from {} connected (instance {:?}, locale {:?}, agent {:?})",
            client.name,
            client.version,
            client.platform,
            client.mode,
            self.peer,
            client.instance_id.as_deref().unwrap_or("-"),
            hello.locale.as_deref().unwrap_or("-"),
            hello.user_agent.as_deref().unwrap_or("-")
        );
        let attach = Outbound::Attach { shared: Arc::clone(self.shared) };
        let opened = Box::new(Opened { conn, ip: self.peer.ip(), hello, token });
        let attached = self.context.outbound.send(attach);
        let reason = if attached && self.context.state.send(NetEvent::Opened(opened)) {
            let reason = self.read_until_the_end(handshake::free_buffer(socket));
            reason.unwrap_or_else(|| "closed by the gateway".to_owned())
        } else {
            self.close(Close::new(1001, "the gateway is stopping"));
            "the gateway is stopping".to_owned()
        };
        log::info!("conn {conn}: closed: {reason}");
    }

    /// Reads requests until the connection ends. The reason, or `None` if the server began the close and has
    /// logged it.
    fn read_until_the_end(&mut self, mut socket: WebSocket<ClientStream>) -> Option<String> {
        loop {
            let message = socket.read();
            if self.shared.is_closing.load(Ordering::Acquire) {
                http::discard(self.shared);
                return None;
            }
            let close = match message {
                Ok(Message::Text(text)) => {
                    socket.get_ref().message_arrived();
                    let parsed = self.parse(text);
                    // State may be busy for a while: what was sent does not wait for it.
                    socket = handshake::free_buffer(socket);
                    match parsed {
                        Ok((id, request, built)) => self.execute(id, request, built),
                        Err(rejected) => self.reject(rejected),
                    }
                }
                Ok(Message::Binary(_)) => {
                    Some(Close::new(1003, "binary frames are not understood; send JSON as text"))
                }
                Ok(Message::Close(close)) => {
                    let _ = socket.flush();
                    return Some(close.map_or_else(
                        || "client said goodbye".to_owned(),
                        |close| format!("client said {} {:?}", close.code, close.reason.as_str()),
                    ));
                }
                Ok(_) => None,
                Err(_) if self.shared.is_evicted.load(Ordering::Relaxed) => {
                    Some(Close::new(1008, "a large frame took too long while others waited; connect again"))
                }
                Err(error) => match handshake::close_for(&error) {
                    Some(close) => Some(close),
                    None => return Some("the client went away".to_owned()),
                },
            };
            if let Some(close) = close {
                let reason = format!("{} {}", close.code, close.reason);
                self.close(close);
                return Some(reason);
            }
        }
    }

    fn close(&self, close: Close) {
        self.context.outbound.send(Outbound::Close { conn: self.shared.conn, close });
        http::discard(self.shared);
    }

    /// Reads one text frame: the request's id, the request, and a permit for what it became if that is large.
    fn parse(&self, text: Utf8Bytes) -> Result<(String, Request, Option<Box<Permit>>), Rejected> {
        let request = requests::read(&text)?;
        let bytes = request.built_bytes();
        let built = (bytes > LARGE_REQUEST_BYTES).then(|| Box::new(self.context.request_permits.take(bytes)));
        let (id, request) = request.build()?;
        METRICS.requests.up();
        Ok((id, request, built))
    }

    /// Answers the request or hands it to the state thread. `Some` ends the connection.
    fn execute(&mut self, id: String, request: Request, built: Option<Box<Permit>>) -> Option<Close> {
        let call = match request {
            Request::State(call) => call,
            Request::SessionHistory(params) => return self.send_page(&id, &params),
        };
        let request = NetEvent::Request { conn: self.shared.conn, id, call, built };
        // State only goes away when the process does.
        let is_taken = self.context.state.send(request);
        (!is_taken).then(|| Close::new(1001, "the gateway is stopping"))
    }

    /// Answers what is no request that can be carried out. `Some` ends the connection.
    fn reject(&mut self, rejected: Rejected) -> Option<Close> {
        let (id, error) = match rejected {
            Rejected::Refused { id, error } => (id, error),
            Rejected::Invalid { id, error } => {
                METRICS.invalid_frames.up();
                if !self.invalid_frames.spend(Instant::now()) {
                    let reason = "more than 20 invalid frames in 10 seconds; mend the client";
                    return Some(Close::new(1008, reason));
                }
                (id, error)
            }
            Rejected::Unreadable(close) => return Some(close),
        };
        self.context
            .outbound
            .send(Outbound::Frame { conn: self.shared.conn, frame: frame::res_error(&id, &error) });
        None
    }

    /// Answers with a page of records, which is made once the page before is with the kernel.
    fn send_page(&mut self, id: &str, params: &SessionHistoryParams) -> Option<Close> {
        if !self.is_last_page_taken() {
            METRICS.slow_consumers.up();
            log::warn!("conn {}: slow consumer: it asks for pages and reads none, closing", self.shared.conn);
            return Some(Close::new(1008, "slow consumer: read the answers before you ask for more"));
        }
        let made = self.context.page_permits.take(PAGE_BUILT_BYTES);
        if self.shared.is_closing.load(Ordering::Acquire) {
            // Nobody is there any more to read it.
            return None;
        }
        let frame = match history::page(&self.context.layout, params) {
            Ok(page) => frame::res_ok(id, &page),
            Err(error) => frame::res_error(id, &error),
        };
        let (hold, last_page) = bounded(0);
        self.last_page = Some(last_page);
        self.context.outbound.send(Outbound::Page { conn: self.shared.conn, frame, hold, made });
        None
    }

    /// Waits until the kernel has the page before, while it takes something of what was sent. `false`: it took
    /// nothing for long.
    fn is_last_page_taken(&self) -> bool {
        let Some(last_page) = &self.last_page else { return true };
        let (mut written, mut since) = (self.shared.writes.load(Ordering::Relaxed), Instant::now());
        while since.elapsed() < PAGE_STALL_TIME {
            if last_page.recv_timeout(PAGE_STALL_TIME / 10) == Err(RecvTimeoutError::Disconnected) {
                return true;
            }
            let now = self.shared.writes.load(Ordering::Relaxed);
            if now != written {
                (written, since) = (now, Instant::now());
            }
        }
        false
    }
}

/// Invalid frames that a client may send within a window.
struct InvalidFrameBudget {
    window_start: Instant,
    spent: usize,
}

impl InvalidFrameBudget {
    fn new(now: Instant) -> Self {
        Self { window_start: now, spent: 0 }
    }

    /// Counts one frame. `false`: it was one too many.
    fn spend(&mut self, now: Instant) -> bool {
        if now.duration_since(self.window_start) >= INVALID_FRAMES_WINDOW {
            *self = Self::new(now);
        }
        self.spent += 1;
        self.spent <= INVALID_FRAMES_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::InvalidFrameBudget;

    #[test]
    fn the_budget_refills_after_its_window() {
        let start = Instant::now();
        let mut budget = InvalidFrameBudget::new(start);
        assert!((0..20).all(|_| budget.spend(start)));
        assert!(!budget.spend(start + Duration::from_millis(9_999)));
        assert!(budget.spend(start + Duration::from_secs(10)));
    }
}
