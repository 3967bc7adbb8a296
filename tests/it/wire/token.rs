//! The token: who gets in, how slowly the others are told, and where it must never appear.

use std::time::{Duration, Instant};
use std::{fs, thread};

use clawdis_gateway::limits::{REFUSAL_INTERVAL, REFUSALS_WAITING_MAX, ms};
use serde_json::{Value, json};

use crate::harness::raw::{Raw, TEXT};
use crate::harness::{Client, Gateway, hello, http, params_agent, process};

const TOKEN: &str = "correct-horse-battery-staple";

fn hello_with(token: &Value) -> Value {
    let mut hello = hello();
    hello["auth"] = json!({ "token": token });
    hello
}

#[test]
fn only_the_right_token_gets_in_and_refusals_come_one_at_a_time() {
    let gateway = Gateway::builder("token-pace").token(TOKEN).spawn();
    let started = Instant::now();
    let wrong = [
        hello(),
        hello_with(&json!("")),
        hello_with(&json!("correct-horse-battery-stapl")),
        hello_with(&json!(format!("{TOKEN} "))),
        hello_with(&json!("CORRECT-HORSE-BATTERY-STAPLE")),
        hello_with(&json!("x".repeat(1_000))),
    ];
    let guesses: Vec<_> = wrong
        .into_iter()
        .map(|hello| {
            let addr = gateway.addr;
            thread::spawn(move || {
                let Err(refused) = Client::try_connect(addr, &hello) else { panic!("accepted {hello}") };
                let (code, reason) = refused.close.unwrap();
                assert_eq!(code, 1008);
                assert!(reason.contains("token"), "{reason}");
                assert_eq!(refused.frame.unwrap()["reason"], "unauthorized");
                started.elapsed()
            })
        })
        .collect();
    // Somebody with the right token overtakes all of them.
    let mut client = gateway.client();
    client.ask("health", &json!({}));
    let mut times: Vec<Duration> = guesses.into_iter().map(|guess| guess.join().unwrap()).collect();
    times.sort();
    for (earlier, later) in times.iter().zip(&times[1..]) {
        let apart = later.saturating_sub(*earlier);
        // A little tolerance, because each time is taken at the other end of a socket.
        assert!(apart + ms(60) >= REFUSAL_INTERVAL, "refusals {apart:?} apart: {times:?}");
    }
    assert!(times[5] + ms(60) >= REFUSAL_INTERVAL * 5, "{times:?}");
}

#[test]
fn the_right_token_never_waits_and_waiting_refusals_are_bounded() {
    let gateway = Gateway::builder("token-flood").token(TOKEN).spawn();
    let wrong = hello_with(&json!("guess")).to_string();
    let flood = REFUSALS_WAITING_MAX + 24;
    let started = Instant::now();
    let mut guessers: Vec<Raw> = (0..flood)
        .map(|_| {
            let mut socket = gateway.upgraded();
            socket.send(TEXT, wrong.as_bytes());
            socket
        })
        .collect();
    // Those beyond the bound are closed at once, with a code and a reason but out of turn. Every
    // one that is refused later stays silent until its turn, so the early ends can be counted.
    let early = guessers.split_off(REFUSALS_WAITING_MAX + 4);
    let mut closed_at_once = 0;
    for mut socket in early {
        socket.closed_with(1008);
        closed_at_once += 1;
    }
    assert!(started.elapsed() < REFUSAL_INTERVAL * 8, "{:?}", started.elapsed());
    assert_eq!(closed_at_once, 20);
    let before = Instant::now();
    gateway.client().ask("health", &json!({}));
    assert!(before.elapsed() < REFUSAL_INTERVAL, "the right token waited {:?}", before.elapsed());
    assert!(gateway.fd_count() < 20 + flood, "{}", gateway.fd_count());
}

#[test]
fn a_token_is_judged_before_anything_else_is_told() {
    let gateway = Gateway::builder("token-first").token(TOKEN).spawn();
    let mut foreign = hello();
    foreign["minProtocol"] = json!(7);
    foreign["maxProtocol"] = json!(7);
    let Err(refused) = Client::try_connect(gateway.addr, &foreign) else { panic!("accepted") };
    assert_eq!(refused.frame.unwrap()["reason"], "unauthorized");
    // Never from a URL.
    let mut socket = gateway.raw();
    let head = socket.upgrade_head("").replace("GET / ", &format!("GET /?token={TOKEN} "));
    socket.write(head.as_bytes());
    assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
    socket.send(TEXT, hello().to_string().as_bytes());
    assert_eq!(socket.json("hello-error")["reason"], "unauthorized");
}

#[test]
fn a_token_may_come_from_four_places() {
    let file = Gateway::builder("token-file");
    let path = file.scratch().join("token");
    fs::write(&path, format!("{TOKEN}\n")).unwrap();
    let ways = [
        file.arg("--token-file").arg(path.to_str().unwrap()),
        Gateway::builder("token-env").env("CLAWDIS_GATEWAY_TOKEN", TOKEN),
        Gateway::builder("token-config").config(json!({"gateway": {"token": TOKEN}})),
        Gateway::builder("token-flag").arg("--token").arg(TOKEN),
    ];
    for way in ways {
        let gateway = way.clients_say(TOKEN).spawn();
        gateway.client().ask("health", &json!({}));
        assert!(Client::try_connect(gateway.addr, &hello()).is_err());
    }
    let missing = Gateway::builder("token-missing").arg("--token-file").arg("/nonexistent/token");
    missing.run_to_exit().expect(2, &["/nonexistent/token"]);
    let empty = Gateway::builder("token-empty");
    let path = empty.scratch().join("token");
    fs::write(&path, "\n").unwrap();
    empty.arg("--token-file").arg(path.to_str().unwrap()).run_to_exit().expect(2, &["token"]);
}

#[test]
fn metrics_are_behind_the_token_and_healthz_is_not() {
    let gateway = Gateway::builder("token-metrics").token(TOKEN).spawn();
    assert_eq!(http::request(gateway.addr, "GET", "/healthz", "").status, 200);
    for header in ["", "Authorization: Bearer wrong\r\n", &format!("Authorization: Basic {TOKEN}\r\n")] {
        let answer = http::request(gateway.addr, "GET", "/metrics", header);
        assert_eq!(answer.status, 401, "{header:?}");
        assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
    }
    assert_eq!(http::request(gateway.addr, "GET", &format!("/metrics?token={TOKEN}"), "").status, 401);
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    assert!(http::metric(gateway.addr, &right, "clawdis_refused_total{reason=\"token\"}") >= 1);
    // Where there is no token there is nothing to send.
    let open = Gateway::builder("no-token-metrics").spawn();
    assert_eq!(http::request(open.addr, "GET", "/metrics", "").status, 200);
}

/// As a script has it whose variable is not set.
#[test]
fn a_blank_token_opens_no_door() {
    for blank in ["", "  "] {
        let setup = Gateway::builder("blank-token").arg("--token").arg(blank);
        setup.run_to_exit().expect(2, &["`--token` is empty"]);
    }
}

#[test]
fn the_token_is_nowhere_to_be_found() {
    let secret = "s3cr3t-that-must-not-leak";
    let gateway = Gateway::builder("token-leaks")
        .agent_scripted()
        .arg("--token")
        .arg(secret)
        .arg("-v")
        .env("RUST_LOG", "trace")
        .clients_say(secret)
        .spawn();
    let argv = fs::read(format!("/proc/{}/cmdline", gateway.pid())).unwrap();
    let argv = String::from_utf8_lossy(&argv);
    assert!(!argv.contains(secret), "{argv}");
    assert!(argv.contains("--port"), "the other arguments are still there: {argv}");

    let mut client = gateway.client();
    let run = client.run(&params_agent("[[env]]", "k"));
    let environment = client.finish(&run)["payload"]["summary"].to_string();
    assert!(environment.contains("PROBE_DIR"), "{environment}");
    assert!(!environment.contains(secret) && !environment.contains("CLAWDIS_GATEWAY_TOKEN"), "{environment}");
    // The guard in front of the agent is a process of ours too.
    let folder = gateway.setup().scratch();
    let agents = process::with_environment(&format!("PROBE_DIR={}", folder.join("probe").display()));
    assert!(!agents.is_empty());
    for pid in agents {
        for file in ["cmdline", "environ"] {
            let found = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&found).contains(secret), "/proc/{pid}/{file}");
        }
    }
    // A guess that is nearly right, and requests that carry it where it does not belong.
    let near = format!("{secret}x");
    let Err(refused) = Client::try_connect(gateway.addr, &hello_with(&json!(near))) else {
        panic!("accepted")
    };
    assert!(!format!("{refused:?}").contains(secret));
    http::request(gateway.addr, "GET", "/metrics", &format!("Authorization: Bearer {near}\r\n"));
    let right = format!("Authorization: Bearer {secret}\r\n");
    let metrics = http::request(gateway.addr, "GET", "/metrics", &right);
    assert!(!metrics.body.contains(secret));
    for answer in [client.ask("status", &json!({})), client.ask("health", &json!({}))] {
        assert!(!answer.to_string().contains(secret));
    }
    assert!(!gateway.output.both().contains(secret), "in the log");
    for file in walk(&gateway.state_dir()) {
        let bytes = fs::read(&file).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains(secret), "{}", file.display());
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}
