//! Heads of HTTP as they should not be, and what comes behind one: nothing that two readers could read
//! as two things is served, and a connection has one answer.

use clawdis_gateway::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

use crate::harness::Gateway;
use crate::harness::http::{self, exchange};

/// What is no request. `HOST` stands for a good line with its end.
const NO_HEADS: &[&str] = &[
    "hello\r\n\r\n",
    "GET /healthz\r\n\r\n",
    "GET /healthz SMTP/1.1\r\nHOST\r\n",
    "GET /healthz HTTP/1.1 \r\nHOST\r\n",
    "GET /healthz http/1.1\r\nHOST\r\n",
    "GET /healthz HTTP/1.2\r\nHOST\r\n",
    "GET  /healthz HTTP/1.1\r\nHOST\r\n",
    "GET\t/healthz HTTP/1.1\r\nHOST\r\n",
    // As a client of HTTP/2 begins.
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHOST folded: x\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHOSTno colon\r\n\r\n",
    "GET /healthz HTTP/1.1\nHOSTno colon\n\n",
    "GET /healthz HTTP/1.1\r\nHOST: no name\r\n\r\n",
    // What others cut off, pass over or take for a line's end.
    "GET /heal\0thz HTTP/1.1\r\nHOST\r\n",
    "GET /healthz HTTP/1.1\r\nHOSTX: a\0b\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\0.evil.example\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\0\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHOSTOri\0gin: http://evil.example\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHOSTX: a\u{1b}b\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHOSTX: a\rb\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHOSTX: a\r\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\rX: y\r\n\r\n",
    "GET /healthz HTTP/1.1\rHost: 127.0.0.1\r\r",
    // A name that one reader knows and another does not.
    "GET /healthz HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost\t: 127.0.0.1\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHOSTHost : evil.example\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHOSTOrigin : http://evil.example\r\n\r\n",
    "GET /healthz HTTP/1.1\r\n Host: 127.0.0.1\r\n\r\n",
];

#[test]
fn heads_that_are_no_heads() {
    let gateway = Gateway::builder("bad-heads").spawn();
    let host = format!("Host: {}\r\n", gateway.addr);
    for head in NO_HEADS {
        let answer = exchange(gateway.addr, &head.replace("HOST", &host));
        assert_eq!(answer.status, 400, "{head:?}");
        assert_eq!(answer.json()["error"], "this is not an HTTP/1.1 request", "{head:?}");
    }
    let padding = "x".repeat(HTTP_HEAD_BYTES_MAX);
    assert_eq!(http::request(gateway.addr, "GET", "/healthz", &format!("X: {padding}\r\n")).status, 431);
    let many = "X: y\r\n".repeat(HTTP_HEADERS_MAX + 1);
    assert_eq!(http::request(gateway.addr, "GET", "/healthz", &many).status, 431);
    let fine = "X: y\r\n".repeat(HTTP_HEADERS_MAX - 1);
    assert_eq!(http::request(gateway.addr, "GET", "/healthz", &fine).status, 200);
}

/// RFC 9112, 2.2, lets a recipient take a lone line feed for the end of a line. Then it is one for
/// every rule.
#[test]
fn what_a_lone_line_feed_ends_is_a_line_like_others() {
    let gateway = Gateway::builder("line-feeds").spawn();
    let host = format!("Host: {}", gateway.addr);
    for (status, head) in [
        (200, format!("GET /healthz HTTP/1.1\n{host}\n\n")),
        (200, format!("GET /healthz HTTP/1.1\r\n{host}\n\r\n")),
        (400, format!("GET /healthz HTTP/1.1\n{host}\nHost: evil.example\n\n")),
        (403, format!("GET /healthz HTTP/1.1\r\n{host}\nOrigin: http://evil.example\r\n\r\n")),
        (403, format!("GET /healthz HTTP/1.1\n{host}\nVia: 1.1 nginx\n\n")),
    ] {
        assert_eq!(exchange(gateway.addr, &head).status, status, "{head:?}");
    }
}

#[test]
fn a_host_with_a_user_in_it_is_nobodys() {
    let gateway = Gateway::builder("user-in-host").spawn();
    let addr = gateway.addr;
    for host in [
        format!("me@{addr}"),
        format!("me:secret@{addr}"),
        format!("@{addr}"),
        format!("{addr}@evil.example"),
    ] {
        let answer = exchange(addr, &format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status, 403, "{host}");
    }
}

/// Whatever stands behind a head, or says how much does: it is no second request, and no other protocol.
#[test]
fn a_connection_has_one_answer_and_ends() {
    let gateway = Gateway::builder("one-answer").spawn();
    let host = format!("Host: {}\r\n", gateway.addr);
    let next = format!("GET /metrics HTTP/1.1\r\n{host}\r\n");
    for (more, behind) in [
        ("", String::new()),
        ("", next.clone()),
        ("Connection: keep-alive\r\n", next.clone()),
        ("Content-Length: 5\r\n", "hello".to_owned()),
        ("Content-Length: 0\r\n", next.clone()),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!".to_owned()),
        ("Content-Length: 1000\r\n", next.clone()),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("Transfer-Encoding: chunked\r\n", format!("0\r\n\r\n{next}")),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", format!("0\r\n\r\n{next}")),
        ("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello".to_owned()),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        ),
    ] {
        // It ends while the client still holds its side open.
        let answer = exchange(gateway.addr, &format!("GET /healthz HTTP/1.1\r\n{host}{more}\r\n{behind}"));
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{more:?} {behind:?}");
        let length = answer.header("content-length").map(|length| length.parse().unwrap());
        assert_eq!(length, Some(answer.body.len()), "behind {more:?} {behind:?}: {answer:?}");
        assert_eq!(answer.json()["ok"], true, "{more:?} {behind:?}");
    }
}
