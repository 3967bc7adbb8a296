//! Plain HTTP on the same port: the web page, health for supervisors, numbers for Prometheus.
//!
//! One request per connection, answered on its thread. Knows nothing of the gateway's state but the metrics.

use std::io::{self, Read};
use std::net::Shutdown;
use std::time::Instant;

use serde_json::json;
use tungstenite::http::StatusCode;

use crate::limits::{CLOSE_FLUSH_TIMEOUT, HTTP_ANSWER_TIMEOUT, LINGER_BYTES_MAX, LINGER_TIME};
use crate::metrics::METRICS;
use crate::net::request_head::RequestHead;
use crate::net::response::Response;
use crate::net::stream::{read_until, write_until};
use crate::net::{ConnShared, NetContext, web_files};

/// A response that is not what was asked for: status, sentence, extra header.
#[derive(Debug)]
pub(super) struct HttpRefusal {
    pub(super) status: u16,
    pub(super) text: &'static str,
    header: Option<&'static str>,
}

/// What a client is told that finds no slot.
pub(super) const TOO_MANY_CLIENTS: &str =
    "too many clients are connected: close some, or raise --max-clients and the limit on open files";

impl HttpRefusal {
    pub(super) const TIMEOUT: Self = Self::new(408, "the request took longer than 3 seconds");
    pub(super) const TOO_LARGE: Self =
        Self::new(431, "the request's head is larger than 8 KiB or has more than 64 headers");
    pub(super) const UPGRADE_VERSION: Self =
        Self::new(426, "speak WebSocket version 13").with("Sec-WebSocket-Version: 13");
    pub(super) const FULL: Self = Self::new(503, TOO_MANY_CLIENTS).with("Retry-After: 5");
    pub(super) const EVICTED: Self =
        Self::new(503, "too many connections are in their handshake; try again").with("Retry-After: 1");
    pub(super) const STOPPING: Self = Self::new(503, "the gateway is stopping");
    const NOT_FOUND: Self = Self::new(404, "there is no such page; try /, /healthz, /readyz or /metrics");
    const METHOD: Self = Self::new(405, "only GET and HEAD are answered").with("Allow: GET, HEAD");
    const UNAUTHORIZED: Self = Self::new(401, "send the gateway's token as `Authorization: Bearer TOKEN`")
        .with("WWW-Authenticate: Bearer");

    pub(super) const fn new(status: u16, text: &'static str) -> Self {
        Self { status, text, header: None }
    }

    const fn with(self, header: &'static str) -> Self {
        Self { header: Some(header), ..self }
    }
}

impl From<&HttpRefusal> for Response {
    fn from(refusal: &HttpRefusal) -> Self {
        let mut answer = Self::fresh(refusal.status, JSON, format!("{}\n", json!({ "error": refusal.text })));
        if let Some(header) = refusal.header {
            answer.headers.push_str(header);
            answer.headers.push_str("\r\n");
        }
        answer
    }
}

/// Answers a request that asked for no WebSocket.
pub(super) fn serve(shared: &ConnShared, head: &RequestHead, context: &NetContext) {
    let answer = route(head, context).unwrap_or_else(|refusal| Response::from(&refusal));
    respond(shared, &answer, head.method != "HEAD");
}

/// Answers with a refusal and ends the connection.
pub(super) fn refuse(shared: &ConnShared, refusal: &HttpRefusal) {
    respond(shared, &Response::from(refusal), true);
}

const JSON: &str = "application/json";

fn route(head: &RequestHead, context: &NetContext) -> Result<Response, HttpRefusal> {
    if head.method != "GET" && head.method != "HEAD" {
        return Err(HttpRefusal::METHOD);
    }
    match head.path() {
        "/healthz" => {
            Ok(Response::fresh(200, JSON, format!("{}\n", json!({"ok": true, "pid": std::process::id()}))))
        }
        "/readyz" => {
            let ready = METRICS.ready.get() == 1;
            Ok(Response::fresh(if ready { 200 } else { 503 }, JSON, format!("{}\n", json!({ "ok": ready }))))
        }
        "/metrics" => {
            authorize(head, context)?;
            Ok(Response::fresh(200, "text/plain; version=0.0.4; charset=utf-8", METRICS.render()))
        }
        _ => web_files::find(head).ok_or(HttpRefusal::NOT_FOUND),
    }
}

fn authorize(head: &RequestHead, context: &NetContext) -> Result<(), HttpRefusal> {
    if !context.token.is_required() {
        return Ok(());
    }
    let Ok(Some(header)) = head.single("authorization") else { return Err(HttpRefusal::UNAUTHORIZED) };
    let given = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if given.is_some_and(|(_, given)| context.check_token(given.trim()).is_some()) {
        return Ok(());
    }
    METRICS.refused_token.up();
    if let Some(turn) = context.refusal_pacer.take_turn() {
        turn.wait();
    }
    Err(HttpRefusal::UNAUTHORIZED)
}

/// Headers of every response: nothing may guess its kind, frame it, load it from another site, learn where
/// a person came from, or share a process with it.
const GUARDS: &str = "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n\
    Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\n";

/// Longest body that goes out in one write with its head; a larger one is not copied behind it.
const SMALL_BODY_BYTES: usize = 4 * 1024;

fn respond(shared: &ConnShared, answer: &Response, with_body: bool) {
    let Response { status, kind, headers, body } = answer;
    let name =
        StatusCode::from_u16(*status).ok().and_then(|code| code.canonical_reason()).unwrap_or_default();
    // A 304 has no body, and says nothing about the length of the one that it stands for.
    let content = match status {
        304 => String::new(),
        _ => format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()),
    };
    let mut bytes =
        format!("HTTP/1.1 {status} {name}\r\n{content}Connection: close\r\n{headers}{GUARDS}\r\n")
            .into_bytes();
    let mut body: &[u8] = if with_body { body } else { b"" };
    if body.len() <= SMALL_BODY_BYTES {
        bytes.extend_from_slice(std::mem::take(&mut body));
    }
    let deadline = Instant::now() + HTTP_ANSWER_TIMEOUT;
    let written = write_until(shared, deadline, &bytes).and_then(|()| write_until(shared, deadline, body));
    if written.is_ok() {
        linger(shared);
    }
}

/// Half-closes and throws away what the peer still sends, within bounds: closing at once would
/// make the kernel reset the connection before the peer has read the answer.
pub(super) fn linger(shared: &ConnShared) {
    let deadline = Instant::now() + LINGER_TIME;
    if shared.stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let _ = throw_away(|scrap| read_until(shared, deadline, scrap));
}

/// Reads and throws away until the other side, or `outbound`, ends the connection.
pub(super) fn discard(shared: &ConnShared) -> io::Result<()> {
    // `outbound` shuts the socket when its own deadline passes; this one only covers its absence.
    shared.stream.set_read_timeout(Some(CLOSE_FLUSH_TIMEOUT + 2 * LINGER_TIME))?;
    throw_away(|scrap| (&shared.stream).read(scrap))
}

fn throw_away(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
    let mut scrap = [0; 1024];
    let mut left = LINGER_BYTES_MAX;
    loop {
        let count = read(&mut scrap)?;
        if count == 0 || count > left {
            return Ok(());
        }
        left -= count;
    }
}
