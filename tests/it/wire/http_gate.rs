//! What reaches the daemon at all, and the plain HTTP beside the WebSocket.

use std::net::SocketAddr;

use serde_json::json;

use crate::harness::http::{self, Answer, exchange, metric};
use crate::harness::{Client, Gateway, PATIENCE, eventually};

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
    (403, "Host: 127.0.0.1:PORT\r\nCF-Ray: 1-AMS\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nX-Original-Forwarded-For: 127.0.0.1\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nTailscale-User-Login: a@example.org\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nVia: 1.1 nginx\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nX-Client-IP: 1.2.3.4\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nTrue-Client-IP: 1.2.3.4\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nCF-Connecting-IP: 1.2.3.4\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\ncdn-loop: cloudflare\r\n"),
    (403, "Host: 127.0.0.1:PORT\r\nvIa: \r\n"),
    (101, "Host: 127.0.0.1:PORT\r\nX-Via: me\r\n"),
    // A proxy that says nothing of itself looks like this.
    (101, "Host: 127.0.0.1:PORT\r\nPragma: no-cache\r\nAccept-Encoding: gzip\r\n"),
    (101, "Host: pi.local:8443\r\n"),
    (403, "Host: pi.local:8444\r\n"),
    (403, "Host: pi.local:PORT\r\n"),
    (403, "Host: pi.local\r\n"),
    (101, "Host: tls.local\r\n"),
    (101, "Host: tls.local:443\r\n"),
    (403, "Host: tls.local:80\r\n"),
    (101, "Host: [fd00::7]:PORT\r\n"),
    (101, "Host: [FD00:0::7]\r\n"),
    (403, "Host: [::ffff:127.0.0.1]:PORT\r\n"),
    (403, "Host: [::ffff:7f00:1]\r\n"),
    (403, "Host: [::1%25lo]:PORT\r\n"),
    (403, "Host: https://stray.example\r\n"),
    (403, "Host: *.example\r\n"),
    (403, "Host: a.example\r\n"),
];

#[test]
fn host_and_origin_decide_before_any_upgrade() {
    let gateway = Gateway::builder("gate")
        .config(json!({"gateway": {
            "allowedHosts": [
                "pi.example.ts.net", "pi.local:8443", "tls.local:443", "fd00::7",
                "https://stray.example", "*.example", "name:99999", "a b",
            ],
            "allowedOrigins": ["https://chat.example"],
        }}))
        .spawn();
    for (status, headers) in GATE {
        assert_eq!(upgrade_status(gateway.addr, headers), *status, "{headers:?}");
    }
    let mut client = gateway.client();
    let warnings = client.ask("status", &json!({}))["warnings"].take();
    let stray = warnings.as_array().unwrap().iter().find(|warning| warning["code"] == "hosts-entry");
    let message = stray.expect("a warning of the entries that name no host")["message"].as_str().unwrap();
    for entry in ["`https://stray.example`", "`*.example`", "`name:99999`", "`a b`"] {
        assert!(message.contains(entry), "no {entry} in {message}");
    }
    assert!(!message.contains("pi.local") && !message.contains("fd00"), "{message}");
    // None or two of them: not for us to choose.
    for headers in [
        "",
        "Host: 127.0.0.1\r\nHost: evil.example\r\n",
        "Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nOrigin: http://evil.example\r\n",
    ] {
        assert_eq!(upgrade_status(gateway.addr, headers), 400, "{headers:?}");
    }
    // Plain requests are judged alike.
    for (method, path) in
        [("GET", "/"), ("GET", "/healthz"), ("HEAD", "/readyz"), ("GET", "/metrics"), ("GET", "/x")]
    {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        assert_eq!(exchange(gateway.addr, &head).status, 403, "{method} {path}");
    }
    let answer = http::request(gateway.addr, "GET", "/metrics", "Origin: http://evil.example\r\n");
    assert_eq!(answer.status, 403);
    // What a client says about itself changes nothing: it never gets that far.
    assert!(metric(gateway.addr, "", "clawdis_refused_total{reason=\"origin\"}") >= 20);
}

#[test]
fn a_proxy_may_forward_once_a_token_is_set() {
    let gateway = Gateway::builder("proxy").token("a-token-for-proxies").spawn();
    for header in [
        "Forwarded: for=1.2.3.4\r\n",
        "X-Forwarded-For: 1.2.3.4\r\n",
        "Tailscale-User-Login: a\r\n",
        "Via: 1.1 nginx\r\n",
        "CF-Connecting-IP: 1.2.3.4\r\n",
    ] {
        assert_eq!(upgrade_status(gateway.addr, &format!("Host: localhost\r\n{header}")), 101, "{header}");
    }
    assert_eq!(upgrade_status(gateway.addr, "Host: evil.example\r\nX-Real-IP: 1.2.3.4\r\n"), 403);
}

#[test]
fn other_loopback_addresses_are_served_beside_the_usual_ones() {
    for bind in ["::1", "127.0.0.2"] {
        let gateway = Gateway::builder("loopbacks").arg("--bind").arg(bind).spawn();
        for ip in [bind, "127.0.0.1", "::1"] {
            let loopback = SocketAddr::new(ip.parse().unwrap(), gateway.addr.port());
            let mut client = Client::connect(loopback, &gateway.hello());
            let url = client.ask("status", &json!({}))["url"].take();
            assert_eq!(url, format!("ws://{}", gateway.addr), "{bind} {ip}");
            assert_eq!(http::request(loopback, "GET", "/healthz", "").status, 200, "{bind} {ip}");
        }
    }
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

/// The status of a plain request with this target and `Host`; `PORT` stands for the daemon's.
#[track_caller]
fn status_of(addr: SocketAddr, target: &str, host: &str) -> u16 {
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    exchange(addr, &head.replace("PORT", &addr.port().to_string())).status
}

#[test]
fn the_absolute_form_is_served_if_its_authority_is() {
    let gateway = Gateway::builder("absolute-form").spawn();
    for (status, target, host) in [
        (200, "http://127.0.0.1:PORT/healthz", "127.0.0.1:PORT"),
        (200, "HTTP://localhost:PORT/healthz?x", "127.0.0.1"),
        (200, "http://[::1]/healthz", "127.0.0.1:PORT"),
        (200, "http://127.0.0.1:PORT", "127.0.0.1:PORT"),
        (200, "http://127.0.0.1:PORT?x", "127.0.0.1:PORT"),
        (404, "http://127.0.0.1:PORT//healthz", "127.0.0.1:PORT"),
        (404, "http://127.0.0.1:PORT/nothing", "127.0.0.1:PORT"),
        (403, "http://evil.example/healthz", "127.0.0.1:PORT"),
        (403, "http://127.0.0.1:PORT/healthz", "evil.example"),
        (403, "http://127.0.0.1:PORT@evil.example/healthz", "127.0.0.1:PORT"),
        (403, "http://evil.example#127.0.0.1/healthz", "127.0.0.1:PORT"),
        (403, "http:///healthz", "127.0.0.1:PORT"),
        (200, "ws://localhost:PORT/healthz", "127.0.0.1:PORT"),
        (200, "ftp://127.0.0.1/healthz", "127.0.0.1:PORT"),
        (403, "ftp://evil.example/healthz", "127.0.0.1:PORT"),
        (404, "http:/healthz", "127.0.0.1:PORT"),
    ] {
        assert_eq!(status_of(gateway.addr, target, host), status, "{target} for {host}");
    }
    // An upgrade is judged alike, and the authority is what `Origin` is held against.
    for (status, target, more) in [
        (101, "http://localhost:PORT/", ""),
        (101, "wss://localhost:PORT/", ""),
        (403, "http://evil.example/", ""),
        (403, "ws://evil.example/", ""),
        (101, "http://localhost:PORT/", "Origin: http://localhost:PORT\r\n"),
        (403, "http://localhost:PORT/", "Origin: http://127.0.0.1:PORT\r\n"),
        (403, "http://evil.example/", "Origin: http://evil.example\r\n"),
    ] {
        let port = gateway.addr.port().to_string();
        let mut socket = crate::harness::raw::Raw::connect(gateway.addr);
        let head = socket.upgrade_head(&more.replace("PORT", &port));
        socket.write(head.replace("GET / ", &format!("GET {target} ").replace("PORT", &port)).as_bytes());
        let answer = socket.read_head();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target} {more}: {answer}");
    }
}

#[test]
fn addresses_that_the_gateway_was_told_to_bind_are_hosts() {
    // An address that is not there yet: it is waited for.
    let bound = Gateway::builder("bound-hosts").arg("--bind").arg("192.0.2.7").arg("--bind").arg("127.0.0.1");
    let gateway = bound.token("a-token-for-hosts").spawn();
    let loopback = SocketAddr::from(([127, 0, 0, 1], gateway.addr.port()));
    for (status, host) in [
        (200, "192.0.2.7:PORT"),
        (200, "192.0.2.7"),
        (200, "192.0.2.7:9999"),
        (200, "127.0.0.1:PORT"),
        (403, "192.0.2.8:PORT"),
        (403, "[::ffff:192.0.2.7]:PORT"),
        (403, "192.0.2.7.evil.example"),
        (403, "3221225991"),
    ] {
        assert_eq!(status_of(loopback, "/healthz", host), status, "{host}");
    }
    let wild = Gateway::builder("wild-hosts").arg("--bind").arg("0.0.0.0").token("a-token-for-hosts").spawn();
    let loopback = SocketAddr::from(([127, 0, 0, 1], wild.addr.port()));
    let lock = std::fs::read_to_string(wild.state_dir().join("gateway.lock")).unwrap();
    assert!(lock.contains(&format!("\"ws://{loopback}\"")), "{lock}");
    for (status, host) in [
        (200, "10.1.2.3:PORT"),
        (200, "[fd00::1]:PORT"),
        (200, "[::ffff:10.1.2.3]"),
        (403, "evil.example:PORT"),
        (403, "10.1.2.3.evil.example"),
        (403, "0x7f.1"),
        (403, "[fe80::1%25eth0]:PORT"),
    ] {
        assert_eq!(status_of(loopback, "/healthz", host), status, "{host}");
    }
}

#[test]
fn loopback_is_bound_beside_an_address_that_is_not_there_yet() {
    let gateway =
        Gateway::builder("not-there").arg("--bind").arg("192.0.2.7").token("a-token-not-there").spawn();
    assert_eq!(gateway.addr.ip().to_string(), "192.0.2.7");
    for ip in ["127.0.0.1", "::1"] {
        let loopback = SocketAddr::new(ip.parse().unwrap(), gateway.addr.port());
        let mut client = Client::connect(loopback, &gateway.hello());
        let url = client.ask("status", &json!({}))["url"].take();
        assert_eq!(url, format!("ws://127.0.0.1:{}", gateway.addr.port()));
    }
    let lock = std::fs::read_to_string(gateway.state_dir().join("gateway.lock")).unwrap();
    assert!(lock.contains(&format!("ws://127.0.0.1:{}", gateway.addr.port())), "{lock}");
    assert!(gateway.output.out().contains("192.0.2.7"), "{}", gateway.output.out());
}

#[test]
fn localhost_is_ours_on_both_loopbacks() {
    let gateway = Gateway::builder("both-loopbacks").spawn();
    let other = SocketAddr::new("::1".parse().unwrap(), gateway.addr.port());
    assert_eq!(gateway.addr.ip().to_string(), "127.0.0.1");
    let mut client = Client::connect(other, &gateway.hello());
    assert_eq!(client.ask("status", &json!({}))["warnings"], json!([]));
    let page = exchange(other, &format!("GET / HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", other.port()));
    assert_eq!(page.status, 200);
}

#[test]
fn another_programs_ipv6_port_is_a_warning() {
    let taken = std::net::TcpListener::bind("[::1]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let gateway = Gateway::builder("ipv6-taken").port(port).spawn();
    let warnings = gateway.client().ask("status", &json!({}))["warnings"].take();
    assert_eq!(warnings[0]["code"], "ipv6-taken", "{warnings}");
    assert!(warnings[0]["message"].as_str().unwrap().contains(&format!("[::1]:{port}")), "{warnings}");
    assert!(gateway.output.out().contains("WARN"), "{}", gateway.output.out());
    drop((taken, gateway));
    let only_v6 = Gateway::builder("only-v6").port(port).arg("--bind").arg("::1").spawn();
    let holder = format!("pid {}", only_v6.pid());
    Gateway::builder("ipv6-gateway").port(port).run_to_exit().expect(3, &[&holder]);
}

/// The flags with which `unshare` makes a network namespace here, and `nsenter` enters it.
fn network_namespace() -> (&'static str, &'static [&'static str]) {
    let ways: [(&str, &[&str]); 2] = [("-n", &["-n"]), ("-rn", &["-U", "-n", "--preserve-credentials"])];
    let works = |flags: &str| {
        let tried = std::process::Command::new("unshare").args([flags, "true"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let found = ways.into_iter().find(|(flags, _)| works(flags));
    found.expect("this test needs a network namespace, and `unshare` may make none here")
}

#[test]
fn an_address_that_comes_later_is_served_from_then_on() {
    let (flags, enter) = network_namespace();
    for address in ["192.0.2.7", "2001:db8::7"] {
        let token = "a-token-for-later";
        let gateway = Gateway::builder("comes-later")
            .wrapper(["unshare", flags, "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
            .arg("--bind")
            .arg(address)
            .token(token)
            .spawn();
        let inside = |argv: &[&str]| {
            let mut command = std::process::Command::new("nsenter");
            let entered = command.args(["-t", &gateway.pid().to_string()]).args(enter).args(argv);
            entered.env("CLAWDIS_GATEWAY_TOKEN", token).output().unwrap()
        };
        let (clawdis, url) = (env!("CARGO_BIN_EXE_clawdis"), format!("ws://{}", gateway.addr));
        let asked = || inside(&[clawdis, "--url", &url, "health", "--json"]);
        assert_eq!(asked().status.code(), Some(3), "before");
        let added = inside(&["ip", "addr", "add", address, "dev", "lo"]);
        assert!(added.status.success(), "{added:?}");
        // One of IPv6 is looked for in its network first.
        eventually("an answer on the address", PATIENCE, || asked().status.success().then_some(()));
    }
}

#[test]
fn a_host_without_ipv6_is_no_trouble() {
    let (flags, _) = network_namespace();
    let script = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6 && exec \"$@\"";
    let gateway = Gateway::builder("no-ipv6")
        .wrapper(["unshare", flags, "sh", "-c", script, "sh"])
        .agent_echo()
        .spawn();
    let started = eventually("the end of the start", PATIENCE, || {
        let said = gateway.output.out();
        said.contains("clawdis-gateway 0").then_some(said)
    });
    assert!(!started.contains("[::1]"), "{started}");
}
