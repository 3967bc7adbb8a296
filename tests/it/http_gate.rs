//! What reaches the daemon at all, and the plain HTTP beside the WebSocket.

use std::net::SocketAddr;

use clawdis_gateway::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};
use serde_json::json;

use crate::harness::http::{self, Answer, exchange, metric};
use crate::harness::{Client, Gateway};

/// The status of an upgrade with these header lines. `PORT` stands for the daemon's.
#[track_caller]
fn upgrade_status(addr: SocketAddr, headers: &str) -> u16 {
    let headers = headers.replace("PORT", &addr.port().to_string());
    let mut socket = crate::harness::raw::Raw::connect(addr);
    socket.write(
        format!(
            "GET /any/path HTTP/1.1\r\n{headers}Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .as_bytes(),
    );
    let head = socket.read_head();
    if !head.starts_with("HTTP/1.1 101 ") {
        let answer = Answer::parse([head.into_bytes(), socket.read_to_end()].concat());
        assert!(answer.json()["error"].is_string(), "a refusal without a sentence: {answer:?}");
        return answer.status;
    }
    101
}

/// Header lines and the status that they get; `PORT` stands for the daemon's.
const GATE: &[(u16, &str)] = &[
    (101, "Host: 127.0.0.1:PORT\r\n"),
    (101, "Host: 127.0.0.1\r\n"),
    (101, "Host: 127.8.7.6:PORT\r\n"),
    (101, "Host: localhost:PORT\r\n"),
    (101, "Host: LocalHost:PORT\r\n"),
    (101, "Host: localhost:9999\r\n"),
    (101, "Host: [::1]:PORT\r\n"),
    (101, "Host: [::1]\r\n"),
    (101, "Host: pi.example.ts.net\r\n"),
    (101, "Host: PI.example.ts.net:443\r\n"),
    (403, "Host: evil.example\r\n"),
    (403, "Host: evil.example:PORT\r\n"),
    (403, "Host: localhost.evil.example:PORT\r\n"),
    (403, "Host: 127.0.0.1.evil.example\r\n"),
    (403, "Host: evil.pi.example.ts.net\r\n"),
    (403, "Host: 10.0.0.1:PORT\r\n"),
    (403, "Host: 0.0.0.0:PORT\r\n"),
    (403, "Host: [::]:PORT\r\n"),
    (403, "Host: [fe80::1]:PORT\r\n"),
    (403, "Host: 2130706433:PORT\r\n"),
    (101, "Host: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:PORT\r\n"),
    (101, "Host: localhost:PORT\r\nOrigin: http://localhost:PORT\r\n"),
    (101, "Host: [::1]:PORT\r\nOrigin: http://[::1]:PORT\r\n"),
    (101, "Host: 127.0.0.1:PORT\r\nOrigin: https://chat.example\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nOrigin: http://localhost:PORT\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:1\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nOrigin: http://127.0.0.1:PORT.evil.example\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nOrigin: https://chat.example.evil.example\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nOrigin: http://evil.example\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nOrigin: null\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nOrigin: file://\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nOrigin: \r\n"),
    (403, "Host: evil.example\r\nOrigin: http://evil.example\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nForwarded: for=1.2.3.4\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nX-Forwarded-For: 127.0.0.1\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nx-forwarded-proto: https\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nX-Forwarded-Anything: x\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nX-Real-IP: 127.0.0.1\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nTailscale-User-Login: a@example.org\r\n"),
];

#[test]
fn host_and_origin_decide_before_any_upgrade() {
    let gateway = Gateway::builder("gate")
        .config(json!({"gateway": {
            "allowedHosts": ["pi.example.ts.net"],
            "allowedOrigins": ["https://chat.example"],
        }}))
        .spawn();
    for (status, headers) in GATE {
        assert_eq!(upgrade_status(gateway.addr, headers), *status, "{headers:?}");
    }
    // None or two of them: not for us to choose.
    for headers in [
        "",
        "Host: 127.0.0.1\r\nHost: evil.example\r\n",
        "Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nOrigin: http://evil.example\r\n",
    ] {
        assert_eq!(upgrade_status(gateway.addr, headers), 400, "{headers:?}");
    }
    // Plain requests are judged alike.
    let answer = exchange(gateway.addr, "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(answer.status, 403);
    let answer = http::request(gateway.addr, "GET", "/metrics", "Origin: http://evil.example\r\n");
    assert_eq!(answer.status, 403);
    // What a client says about itself changes nothing: it never gets that far.
    assert!(metric(gateway.addr, "", "clawdis_refused_total{reason=\"origin\"}") >= 20);
}

#[test]
fn a_proxy_may_forward_once_a_token_is_set() {
    let gateway = Gateway::builder("proxy").token("proxy-token").spawn();
    for header in
        ["Forwarded: for=1.2.3.4\r\n", "X-Forwarded-For: 1.2.3.4\r\n", "Tailscale-User-Login: a\r\n"]
    {
        assert_eq!(upgrade_status(gateway.addr, &format!("Host: localhost\r\n{header}")), 101, "{header}");
    }
    assert_eq!(upgrade_status(gateway.addr, "Host: evil.example\r\nX-Real-IP: 1.2.3.4\r\n"), 403);
}

#[test]
fn ipv6_loopback_is_served() {
    let gateway = Gateway::builder("ipv6").arg("--bind").arg("::1").spawn();
    assert!(gateway.addr.is_ipv6(), "{}", gateway.addr);
    let mut client = Client::connect(gateway.addr, &gateway.hello());
    client.ask("health", &json!({}));
    assert_eq!(http::request(gateway.addr, "GET", "/healthz", "").status, 200);
}

#[test]
fn several_addresses_are_served() {
    let gateway =
        Gateway::builder("two-binds").arg("--bind").arg("127.0.0.1").arg("--bind").arg("127.0.0.2").spawn();
    let other = SocketAddr::from(([127, 0, 0, 2], gateway.addr.port()));
    let mut one = gateway.client();
    let mut two = Client::connect(other, &gateway.hello());
    assert_eq!(one.ask("status", &json!({}))["clients"], 2);
    two.ask("health", &json!({}));
}

#[test]
fn other_addresses_need_a_token() {
    for bind in ["0.0.0.0", "::"] {
        let exit = Gateway::builder("bind-all").arg("--bind").arg(bind).run_to_exit();
        exit.expect(2, &["token"]);
    }
    Gateway::builder("bind-nonsense")
        .arg("--bind")
        .arg("localhost.example")
        .run_to_exit()
        .expect(2, &["--bind"]);
    let gateway = Gateway::builder("bind-token").arg("--bind").arg("0.0.0.0").token("bind-token").spawn();
    let loopback = SocketAddr::from(([127, 0, 0, 1], gateway.addr.port()));
    Client::connect(loopback, &gateway.hello());
}

#[test]
fn health_ready_and_metrics_are_plain_http() {
    let gateway = Gateway::builder("plain-http").agent_echo().spawn();
    let health = http::request(gateway.addr, "GET", "/healthz", "");
    assert_eq!(health.status, 200);
    assert_eq!(health.json(), json!({"ok": true, "pid": gateway.pid()}));
    let ready = http::request(gateway.addr, "GET", "/readyz", "");
    assert_eq!((ready.status, &ready.json()["ok"]), (200, &json!(true)));
    let metrics = http::request(gateway.addr, "GET", "/metrics", "");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"), "{metrics:?}");
    for line in metrics.body.lines() {
        let sample = line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok());
        assert!(line.starts_with("# HELP ") || line.starts_with("# TYPE ") || sample, "{line:?}");
    }
    let _client = gateway.client();
    assert_eq!(metric(gateway.addr, "", "clawdis_clients"), 1);
    for path in ["/healthz?verbose=1", "/readyz?x"] {
        assert_eq!(http::request(gateway.addr, "GET", path, "").status, 200, "{path}");
    }
}

#[test]
fn head_has_no_body_and_other_methods_are_refused() {
    let gateway = Gateway::builder("http-methods").spawn();
    for path in ["/healthz", "/metrics", "/nothing"] {
        let get = http::request(gateway.addr, "GET", path, "");
        let head = http::request(gateway.addr, "HEAD", path, "");
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
        assert!(head.header("content-length").is_some(), "{head:?}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "BREW"] {
        let answer = http::request(gateway.addr, method, "/healthz", "");
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    let paths =
        ["/nothing", "/healthz/", "/../etc/passwd", "/%2e%2e/etc/passwd", "//healthz", "/Healthz", "*"];
    for path in paths {
        let answer = http::request(gateway.addr, "GET", path, "");
        assert!(answer.status == 404 || answer.status == 400, "{path}: {answer:?}");
    }
    assert_eq!(http::request(gateway.addr, "GET", "/nothing", "").status, 404);
}

#[test]
fn heads_that_are_no_heads() {
    let gateway = Gateway::builder("bad-heads").spawn();
    for head in [
        "hello\r\n\r\n",
        "GET /healthz\r\n\r\n",
        "GET /healthz HTTP/1.1\nHost 127.0.0.1\n\n",
        "GET /healthz SMTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n folded: x\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n",
    ] {
        assert_eq!(exchange(gateway.addr, head).status, 400, "{head:?}");
    }
    let padding = "x".repeat(HTTP_HEAD_BYTES_MAX);
    assert_eq!(http::request(gateway.addr, "GET", "/healthz", &format!("X: {padding}\r\n")).status, 431);
    let many = "X: y\r\n".repeat(HTTP_HEADERS_MAX + 1);
    assert_eq!(http::request(gateway.addr, "GET", "/healthz", &many).status, 431);
    let fine = "X: y\r\n".repeat(HTTP_HEADERS_MAX - 1);
    assert_eq!(http::request(gateway.addr, "GET", "/healthz", &fine).status, 200);
}

#[test]
fn upgrades_that_are_no_upgrades() {
    let gateway = Gateway::builder("bad-upgrades").spawn();
    let host = format!("Host: {}\r\n", gateway.addr);
    let rows = [
        (426, "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        (400, "Sec-WebSocket-Version: 13\r\n"),
    ];
    for (status, headers) in rows {
        let answer = exchange(
            gateway.addr,
            &format!("GET / HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n{headers}\r\n"),
        );
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        }
    }
    let answer = exchange(
        gateway.addr,
        &format!(
            "POST / HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ),
    );
    assert!(answer.status == 400 || answer.status == 405, "{answer:?}");
}
