//! HTTP heads: a request that is no request, or that lies about who sends it.

use std::net::Shutdown;
use std::time::Instant;

use clawdis_gateway::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};
use clawdis_gateway::net;

use crate::fuzz::campaign::Campaign;
use crate::fuzz::mutate::Mutator;
use crate::fuzz::watch::{ROUND, Watch};
use crate::harness::Gateway;

const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    ": ",
    " ",
    "\t",
    "\0",
    ",",
    "GET ",
    "HEAD ",
    "POST ",
    "CONNECT ",
    "HTTP/1.0",
    "HTTP/1.1",
    "HTTP/2.0",
    "Host: 127.0.0.1\r\n",
    "Host: localhost:1\r\n",
    "Host: [::1]\r\n",
    "Host: [::1\r\n",
    "Host: evil.example\r\n",
    "Origin: http://evil.example\r\n",
    "Origin: null\r\n",
    "Upgrade: websocket\r\n",
    "Upgrade: h2c, WebSocket\r\n",
    "Connection: keep-alive, Upgrade\r\n",
    "Sec-WebSocket-Version: 13\r\n",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "Sec-WebSocket-Extensions: permessage-deflate\r\n",
    "Forwarded: for=1.2.3.4\r\n",
    "X-Forwarded-For: 1.2.3.4\r\n",
    "Via: 1.1 x\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "Authorization: Bearer x\r\n",
    "Accept-Encoding: gzip;q=0\r\n",
    "If-None-Match: *\r\n",
    "/healthz",
    "/readyz",
    "/metrics",
    "http://127.0.0.1/",
    "*",
    "//",
    "/../",
    "?",
    "#",
    "%00",
];
/// What the gateway may answer to a head.
const STATUSES: &[u16] = &[101, 200, 304, 400, 401, 403, 404, 405, 408, 426, 431, 503];

fn mutator() -> Mutator {
    let upgrade = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Origin: http://127.0.0.1\r\n\r\n";
    let page = "GET /?a=b HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nAccept-Encoding: gzip, br\r\n\
        If-None-Match: W/\"abc\"\r\nUser-Agent: fuzz\r\n\r\n";
    let plain = ["/healthz", "/readyz", "/metrics", "/nothing"]
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"));
    let many = format!("HEAD / HTTP/1.0\r\nHost: [::1]:80\r\n{}\r\n", "X-A: b\r\n".repeat(HTTP_HEADERS_MAX));
    let long = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {}\r\n\r\n", "y".repeat(HTTP_HEAD_BYTES_MAX));
    let all = [upgrade, page, &many, &long].into_iter().map(str::to_owned).chain(plain);
    Mutator::new(all.map(String::into_bytes).collect(), WORDS, 3 * HTTP_HEAD_BYTES_MAX)
}

#[test]
fn no_head_harms_the_gateway_or_keeps_others_waiting() {
    let Some(mut campaign) = Campaign::start("http_head") else { return };
    let heads = mutator();
    campaign.until(25);
    while let Some(mut random) = campaign.next() {
        let head = heads.mutated(&mut random);
        campaign.note(&head);
        net::is_head(&head);
    }
    while !campaign.is_over() {
        let mut watch = Watch::over(Gateway::builder("fuzz-head").spawn());
        campaign.not_beyond(ROUND);
        while let Some(mut random) = campaign.next() {
            let head = heads.mutated(&mut random);
            campaign.note(&head);
            ask(&watch.gateway, &head);
            if random.below(64) == 0 {
                watch.look();
            }
        }
        watch.end();
    }
}

/// Sends a head and nothing more, and holds the answer against what answers are.
fn ask(gateway: &Gateway, head: &[u8]) {
    let mut socket = gateway.raw();
    socket.try_write(head);
    // Whoever has not said all by now has given up.
    let _ = socket.stream().shutdown(Shutdown::Write);
    let begin = Instant::now();
    let answer = socket.read_to_end();
    if answer.is_empty() {
        return;
    }
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("half a head after {:?}: {answer:?}", begin.elapsed()));
    let said = std::str::from_utf8(&answer[..end]).expect("a head of ours is text");
    let status = said.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status: u16 = status.unwrap_or_else(|| panic!("no status: {said}"));
    assert!(STATUSES.contains(&status), "an answer that no page tells of: {said}");
    let length = said.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let body = answer.len() - end - 4;
    match status {
        // A close frame may follow: the peer has given up.
        101 => {}
        304 => assert_eq!((length, body), (None, 0), "{said}"),
        _ => {
            let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
            assert!(body == length || body == 0, "{body} bytes of {length}: {said}");
            assert!(said.contains("\r\nConnection: close"), "{said}");
        }
    }
}
