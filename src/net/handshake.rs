//! From an HTTP upgrade to an accepted `hello`, or to a `hello-error` and the end.
//!
//! Knows nothing of clients that passed: those are `conn`'s.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tungstenite::error::CapacityError;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket, http};

use crate::limits::{
    HELLO_BYTES_MAX, HELLO_VALUES_MAX, JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX, READ_BUFFER_BYTES,
};
use crate::metrics::METRICS;
use crate::net::http::linger;
use crate::net::refusal::{HttpRefusal, TOO_MANY_CLIENTS};
use crate::net::request_head::RequestHead;
use crate::net::slots::Slot;
use crate::net::stream::ClientStream;
use crate::net::{ConnShared, NetContext};
use crate::protocol::frame::{self, Close};
use crate::protocol::hello::{Hello, HelloError};
use crate::protocol::parse::parse_hello;
use crate::protocol::scan::Shape;
use crate::protocol::{SERVER_VERSION, VERSION, semver};

/// Answers the upgrade with 101 and puts a WebSocket on the socket.
pub(super) fn upgrade(
    shared: &Arc<ConnShared>,
    context: &Arc<NetContext>,
    head: RequestHead,
    deadline: Instant,
) -> Result<WebSocket<ClientStream>, HttpRefusal> {
    let request = as_request(&head).ok_or(HttpRefusal::new(400, "the upgrade request is malformed"))?;
    let response = create_response(&request).map_err(|error| match error {
        Error::Protocol(tungstenite::error::ProtocolError::MissingSecWebSocketVersionHeader) => {
            HttpRefusal::UPGRADE_VERSION
        }
        _ => {
            HttpRefusal::new(400, "the upgrade request is not a valid WebSocket handshake (RFC 6455, 4.2.1)")
        }
    })?;
    let mut answer = Vec::with_capacity(256);
    let written = write_response(&mut answer, &response);
    if written.is_err() || (&shared.stream).write_all(&answer).is_err() {
        return Err(HttpRefusal::new(400, "the connection broke"));
    }
    let stream = ClientStream::new(Arc::clone(shared), Arc::clone(context), deadline, &head.rest);
    // A stranger may make us hold a `hello`, not a whole request.
    Ok(WebSocket::from_partially_read(stream, head.rest, Role::Server, Some(config(HELLO_BYTES_MAX))))
}

/// The five sizes of a WebSocket, all by name: the defaults are 128 KiB of buffers and 64 MiB messages.
fn config(message_bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(PAYLOAD_BYTES_MAX)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
}

/// Frees the buffer of a long message, which the WebSocket library would keep for the next one. Called when
/// the message is gone.
pub(super) fn free_buffer(mut socket: WebSocket<ClientStream>) -> WebSocket<ClientStream> {
    if !socket.get_ref().is_behind_a_long_message() {
        return socket;
    }
    // A pong may wait in it.
    let _ = socket.flush();
    let mut stream = socket.into_inner();
    stream.forget_message();
    WebSocket::from_raw_socket(stream, Role::Server, Some(config(PAYLOAD_BYTES_MAX)))
}

fn as_request(head: &RequestHead) -> Option<Request> {
    let version = if head.http11 { http::Version::HTTP_11 } else { http::Version::HTTP_10 };
    let mut builder =
        http::Request::builder().method(head.method.as_str()).uri(&head.target).version(version);
    for (name, value) in &head.headers {
        builder = builder.header(name, value.as_slice());
    }
    builder.body(()).ok()
}

/// Why a connection did not pass its handshake.
pub(super) enum HandshakeError {
    /// The peer went away.
    Gone,
    /// The peer is told the reason in a `hello-error`, then in a close.
    Refused { reason: String, close: Close },
    /// The token is wrong, which is said in its turn among all wrong tokens.
    WrongToken,
}

impl HandshakeError {
    /// A refusal with the same reason in both.
    fn refused(code: u16, reason: impl Into<String>) -> Self {
        let close = Close::new(code, reason);
        Self::Refused { reason: close.reason.clone(), close }
    }

    fn hello(reason: impl Into<String>) -> Self {
        Self::refused(1008, reason)
    }

    /// The handshake slot was given to somebody newer.
    pub(super) fn evicted() -> Self {
        Self::hello("too many connections are in their handshake; try again")
    }

    /// The last client slot was taken while this handshake was under way.
    pub(super) fn full() -> Self {
        METRICS.refused_capacity.up();
        Self::refused(1013, TOO_MANY_CLIENTS)
    }
}

/// Waits for the first frame and checks it. Returns the client's `hello`, and the number of the token that it proved
/// to have.
pub(super) fn await_hello(
    socket: &mut WebSocket<ClientStream>,
    shared: &ConnShared,
    context: &NetContext,
) -> Result<(Hello, u64), HandshakeError> {
    loop {
        return match socket.read() {
            Ok(Message::Text(text)) => {
                let accepted = check_hello(&text, context)?;
                socket.set_config(|sizes| *sizes = config(PAYLOAD_BYTES_MAX));
                Ok(accepted)
            }
            Ok(Message::Binary(_)) => Err(HandshakeError::Refused {
                reason: "send `hello` as a text frame".to_owned(),
                close: Close::new(1003, "binary frames are not understood; send JSON as text"),
            }),
            Ok(Message::Close(_)) => {
                // The echo of its close.
                let _ = socket.flush();
                Err(HandshakeError::Gone)
            }
            Ok(_) => continue,
            Err(error) => Err(read_failed(&error, shared, context)),
        };
    }
}

fn read_failed(error: &Error, shared: &ConnShared, context: &NetContext) -> HandshakeError {
    if context.is_stopping.load(Ordering::Relaxed) {
        return HandshakeError::refused(1001, "the gateway is stopping");
    }
    if shared.is_evicted.load(Ordering::Relaxed) {
        return HandshakeError::evicted();
    }
    if let Error::Io(io) = error {
        return if io.kind() == std::io::ErrorKind::TimedOut {
            METRICS.refused_timeout.up();
            HandshakeError::hello("no `hello` within 3 seconds of connecting; send it first and at once")
        } else {
            HandshakeError::Gone
        };
    }
    if let Error::Capacity(CapacityError::MessageTooLong { size, .. }) = error {
        if *size <= PAYLOAD_BYTES_MAX {
            return HandshakeError::hello("the first frame must be a `hello`, and that has at most 32 KiB");
        }
    }
    close_for(error).map_or(HandshakeError::Gone, |close| HandshakeError::refused(close.code, close.reason))
}

/// The close that tells a peer what it did wrong on the WebSocket level. `None`: the peer is gone.
pub(super) fn close_for(error: &Error) -> Option<Close> {
    use tungstenite::error::ProtocolError::{HandshakeIncomplete, ResetWithoutClosingHandshake};
    match error {
        Error::Capacity(_) => Some(Close::new(1009, "the frame is larger than policy.maxPayload (512 KiB)")),
        Error::Utf8(_) => Some(Close::new(1007, "the text frame is not valid UTF-8")),
        Error::Protocol(ResetWithoutClosingHandshake | HandshakeIncomplete) => None,
        Error::Protocol(error) => Some(Close::new(1002, format!("WebSocket protocol error: {error}"))),
        _ => None,
    }
}

fn check_hello(text: &str, context: &NetContext) -> Result<(Hello, u64), HandshakeError> {
    let shape = Shape::of(text.as_bytes());
    if shape.depth <= JSON_DEPTH_MAX && shape.values > HELLO_VALUES_MAX {
        return Err(HandshakeError::hello(
            "the first frame must be a `hello`, and that has at most 200 JSON values",
        ));
    }
    let value = (shape.depth <= JSON_DEPTH_MAX).then(|| serde_json::from_str::<serde_json::Value>(text));
    let Some(Ok(value)) = value else {
        return Err(HandshakeError::hello("the first frame is not JSON; send a `hello` object first"));
    };
    if value.get("type").and_then(|kind| kind.as_str()) != Some("hello") {
        return Err(HandshakeError::hello("the first frame must be `hello`"));
    }
    let hello = parse_hello(value).map_err(|error| HandshakeError::hello(format!("bad `hello`: {error}")))?;
    let given = hello.auth.as_ref().and_then(|auth| auth.token.as_deref()).unwrap_or_default();
    let token = context.token.check(given).ok_or(HandshakeError::WrongToken)?;
    if hello.min_protocol > VERSION || hello.max_protocol < VERSION {
        let reason = format!(
            "no common protocol: this server speaks {VERSION}, the client {} to {}",
            hello.min_protocol, hello.max_protocol
        );
        return Err(HandshakeError::refused(1002, reason));
    }
    if is_older(&hello.client.version, &context.settings.min_client) {
        return Err(HandshakeError::hello("client too old"));
    }
    Ok((hello, token))
}

/// Whether `version` is semver and lower than `least`. Pre-releases are lower than their release.
fn is_older(version: &str, least: &str) -> bool {
    matches!((semver(version), semver(least)), (Some(version), Some(least)) if version < least)
}

/// Says why there is no handshake, then closes and lingers. Called on the connection's own thread, before anybody
/// else may write to it. A refusal holds the handshake slot, which a newer connection may take; one that waits
/// for its turn holds none.
pub(super) fn refuse(shared: &ConnShared, context: &NetContext, error: HandshakeError, slot: Slot) {
    let turn;
    let (reason, close) = match error {
        HandshakeError::Gone => return,
        HandshakeError::Refused { reason, close } => {
            METRICS.refused_hello.up();
            (Some(reason), close)
        }
        HandshakeError::WrongToken => {
            METRICS.refused_token.up();
            turn = context.refusal_pacer.take_turn();
            if let Some(turn) = &turn {
                slot.give_back();
                turn.wait();
                let close = Close::new(1008, "unauthorized: send the gateway's token in hello.auth.token");
                (Some("unauthorized".to_owned()), close)
            } else {
                (None, Close::new(1008, "unauthorized; too many refusals are waiting, try again later"))
            }
        }
    };
    let mut bytes = Vec::new();
    if let Some(reason) = &reason {
        let error =
            HelloError { reason, expected_protocol: VERSION, min_client: &context.settings.min_client };
        bytes.extend_from_slice(&frame::text(&error));
    }
    bytes.extend_from_slice(&close.frame());
    // Out of turn there is no time to wait for whether it was read.
    if (&shared.stream).write_all(&bytes).is_ok() && reason.is_some() {
        linger(shared);
    }
    let _ = shared.stream.shutdown(Shutdown::Both);
    log::info!("refused a connection: {} (this is version {SERVER_VERSION})", close.reason);
}

#[cfg(test)]
mod tests {
    use super::is_older;

    #[test]
    fn versions_compare_as_semver() {
        assert!(is_older("0.9.9", "1.0.0"));
        assert!(is_older("1.0.0-beta", "1.0.0"));
        assert!(is_older("1.9.0", "1.10.0"));
        assert!(!is_older("1.0.0", "1.0.0"));
        assert!(!is_older("1.0.0+build", "1.0.0"));
        assert!(!is_older("dev", "1.0.0"), "what is no semver is not compared");
        assert!(!is_older("1.0", "2.0.0"));
        assert!(!is_older("0.0.0", "0.0.0"));
    }
}
