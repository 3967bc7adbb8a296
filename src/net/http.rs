//! Plain HTTP on the same port: the web page, health for supervisors, numbers for Prometheus.
//!
//! One request per connection, answered on its thread. Knows nothing of the gateway's state but the metrics, and
//! nothing of what the web page does.

use std::borrow::Cow;
use std::io::Read;
use std::net::Shutdown;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tungstenite::http::StatusCode;

use crate::limits::{CLOSE_FLUSH_TIMEOUT, HTTP_ANSWER_TIMEOUT, LINGER_BYTES_MAX, LINGER_TIME};
use crate::metrics::METRICS;
use crate::net::refusal::HttpRefusal;
use crate::net::request_head::RequestHead;
use crate::net::stream::{read_until, write_until};
use crate::net::{ConnShared, NetContext};

/// A response, all of it.
struct Response {
    status: u16,
    kind: &'static str,
    /// Further header lines, each with its end.
    headers: String,
    body: Cow<'static, [u8]>,
}

impl Response {
    /// A response that is true now and must not be kept.
    fn fresh(status: u16, kind: &'static str, body: String) -> Self {
        let headers = "Cache-Control: no-store\r\n".to_owned();
        Self { status, kind, headers, body: body.into_bytes().into() }
    }

    fn json(status: u16, value: &Value) -> Self {
        Self::fresh(status, "application/json", format!("{value}\n"))
    }
}

impl From<&HttpRefusal> for Response {
    fn from(refusal: &HttpRefusal) -> Self {
        let mut answer = Self::json(refusal.status, &json!({ "error": refusal.text }));
        answer.headers.push_str(refusal.headers);
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

fn route(head: &RequestHead, context: &NetContext) -> Result<Response, HttpRefusal> {
    if head.method != "GET" && head.method != "HEAD" {
        return Err(HttpRefusal::METHOD);
    }
    match head.path() {
        "/healthz" => Ok(Response::json(200, &json!({"ok": true, "pid": std::process::id()}))),
        "/readyz" => {
            let ready = METRICS.ready.get() == 1;
            Ok(Response::json(if ready { 200 } else { 503 }, &json!({ "ok": ready })))
        }
        "/metrics" => {
            authorize(head, context)?;
            Ok(Response::fresh(200, "text/plain; version=0.0.4; charset=utf-8", METRICS.render()))
        }
        _ => page(head).ok_or(HttpRefusal::NOT_FOUND),
    }
}

fn authorize(head: &RequestHead, context: &NetContext) -> Result<(), HttpRefusal> {
    if !context.token.is_required {
        return Ok(());
    }
    let Ok(Some(header)) = head.single("authorization") else { return Err(HttpRefusal::UNAUTHORIZED) };
    let given = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if given.is_some_and(|(_, given)| context.token.check(given.trim()).is_some()) {
        return Ok(());
    }
    METRICS.refused_token.up();
    if let Some(turn) = context.refusal_pacer.take_turn() {
        turn.wait();
    }
    Err(HttpRefusal::UNAUTHORIZED)
}

/// A file of the web page, embedded in the binary. Everything but the page itself has a hash of the whole in its
/// path and never changes.
struct File {
    path: &'static str,
    kind: &'static str,
    gzip: &'static [u8],
}

// `VERSION` and `FILES`, made by src/webchat/embed.rs.
include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// The page asks for itself whenever it is opened; the rest is kept for a year, the longest that
/// caches go by.
const PAGE_CACHE: &str = "no-cache";
const FILE_CACHE: &str = "public, max-age=31536000, immutable";

/// Only own files, and no script or style that is not one; nothing may frame the page or make it
/// send a form elsewhere. `connect-src 'self'` is the gateway's own WebSocket, too. Scripts may
/// not turn text into HTML except through the sanitiser's policy.
const POLICY: &str = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify\r\n\
    Vary: Accept-Encoding\r\n";

/// The response to a request for one of the web page's files, or `None` if the path names none.
fn page(head: &RequestHead) -> Option<Response> {
    let (number, file) = FILES.iter().enumerate().find(|(_, file)| file.path == head.path())?;
    let cache = if file.path == "/" { PAGE_CACHE } else { FILE_CACHE };
    // Weak: the two encodings are one file.
    let mut headers = format!("Cache-Control: {cache}\r\nETag: W/\"{VERSION}\"\r\n{POLICY}");
    if head.single("if-none-match").ok().flatten().is_some_and(names_this) {
        return Some(Response { status: 304, kind: file.kind, headers, body: Cow::Borrowed(b"") });
    }
    if head.single("accept-encoding").ok().flatten().is_some_and(takes_gzip) {
        headers.push_str("Content-Encoding: gzip\r\n");
        return Some(Response { status: 200, kind: file.kind, headers, body: file.gzip.into() });
    }
    let plain = PLAIN.get(number)?.get_or_init(|| file.plain());
    Some(Response { status: 200, kind: file.kind, headers, body: plain.into() })
}

/// The files as they were written, once somebody has asked for them so: hundreds who ask and do not
/// read share them.
static PLAIN: [OnceLock<Vec<u8>>; FILES.len()] = [const { OnceLock::new() }; FILES.len()];

impl File {
    /// The file as it was written; at most as long as the longest one that was embedded.
    fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        // What the build script compressed cannot be damaged.
        let _ = GzDecoder::new(self.gzip).read_to_end(&mut plain);
        plain
    }
}

/// Whether `If-None-Match` names the version that is served.
fn names_this(tags: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.trim_matches('"') == VERSION
    })
}

/// Whether `Accept-Encoding` allows gzip by its name.
fn takes_gzip(codings: &str) -> bool {
    codings.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
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
    if shared.stream.shutdown(Shutdown::Write).is_ok() {
        throw_away(shared, LINGER_TIME);
    }
}

/// Throws away what comes until the other side, or `outbound`, ends the connection.
pub(super) fn discard(shared: &ConnShared) {
    // `outbound` shuts the socket when its own deadline passes; this one only covers its absence.
    throw_away(shared, CLOSE_FLUSH_TIMEOUT + 2 * LINGER_TIME);
}

fn throw_away(shared: &ConnShared, patience: Duration) {
    let deadline = Instant::now() + patience;
    let mut scrap = [0; 1024];
    let mut left = LINGER_BYTES_MAX;
    while let Ok(count @ 1..) = read_until(shared, deadline, &mut scrap) {
        if count > left {
            return;
        }
        left -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::{FILES, VERSION, names_this, takes_gzip};

    #[test]
    fn gzip_only_for_those_who_take_it() {
        for codings in ["gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8", "GZIP"] {
            assert!(takes_gzip(codings), "{codings}");
        }
        for codings in ["", "br", "identity", "gzip;q=0", "gzip; q=0.0", "xgzip"] {
            assert!(!takes_gzip(codings), "{codings}");
        }
    }

    #[test]
    fn etags_are_compared_weakly() {
        for tags in [format!("W/\"{VERSION}\""), format!("\"other\", \"{VERSION}\""), "*".to_owned()] {
            assert!(names_this(&tags), "{tags}");
        }
        assert!(!names_this("W/\"other\"") && !names_this(""));
    }

    #[test]
    fn the_page_and_what_it_loads_are_small() {
        let wire: usize = FILES.iter().map(|file| file.gzip.len()).sum();
        assert!(wire < 150 * 1024, "{wire} bytes over the wire");
        let page = FILES.iter().find(|file| file.path == "/").unwrap();
        assert!(String::from_utf8(page.plain()).unwrap().contains("</html>"));
    }
}
