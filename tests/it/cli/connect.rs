//! Handshakes that fail, and gateways that misbehave.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::json;

use crate::cli::gateway::Gateway;
use crate::cli::process::Home;

#[test]
fn a_wrong_token_is_refused_and_not_shown() {
    let home = Home::new("wrong-token");
    let refuse = |peer: &mut crate::cli::gateway::Peer| {
        peer.read();
        peer.write(&json!({ "type": "hello-error", "reason": "unauthorized", "expectedProtocol": 1, "minClient": "0.0.0" }));
        peer.close(1008, "unauthorized");
    };
    let gateway = Gateway::once(refuse);
    let done = home.clawdis(["status", "--token", "hunter2", "--url", &gateway.url]).run();
    done.fails(4, &["unauthorized", "the token from --token"]);
    assert!(!done.stderr.contains("hunter2"));
    gateway.finish();

    let gateway = Gateway::once(refuse);
    home.clawdis(["status", "--url", &gateway.url]).run().fails(4, &["--token-file"]);
}

#[test]
fn protocols_that_do_not_meet_are_named() {
    let home = Home::new("protocols");
    let gateway = Gateway::once(|peer| {
        let hello = peer.read();
        assert_eq!((hello["minProtocol"].as_u64(), hello["maxProtocol"].as_u64()), (Some(1), Some(1)));
        peer.write(&json!({ "type": "hello-error", "reason": "no common protocol", "expectedProtocol": 2 }));
        peer.close(1002, "no common protocol");
    });
    home.clawdis(["status", "--url", &gateway.url]).run().fails(4, &["protocol 2", "update"]);
}

#[test]
fn http_answers_are_refusals() {
    let home = Home::new("http");
    let answer = |text: &'static str| {
        Gateway::raw(move |mut stream| {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
        })
    };
    let forbidden = "HTTP/1.1 403 Forbidden\r\nContent-Length: 19\r\n\r\nthis host is unknown";
    let gateway = answer(forbidden);
    home.clawdis(["status", "--url", &gateway.url]).run().fails(4, &["403", "this host is unknown"]);
    let gateway = answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    home.clawdis(["status", "--url", &gateway.url]).run().fails(4, &["not a clawdis gateway"]);
    let gateway = answer("SSH-2.0-OpenSSH_9.9\r\n");
    home.clawdis(["status", "--url", &gateway.url]).run().fails(4, &["not a clawdis gateway"]);
}

#[test]
fn a_gateway_that_hangs_up_is_unreachable() {
    let home = Home::new("hangs-up");
    let gateway = Gateway::raw(drop);
    home.clawdis(["status", "--url", &gateway.url]).run().fails(3, &[]);
    let gateway = Gateway::once(|peer| {
        peer.greet();
        peer.request("status");
    });
    home.clawdis(["status", "--url", &gateway.url]).run().fails(3, &["broke"]);
    let gateway = Gateway::once(|peer| {
        peer.greet();
        peer.request("status");
        peer.close(1008, "slow consumer");
    });
    home.clawdis(["status", "--url", &gateway.url]).run().fails(3, &["slow consumer"]);
}

#[test]
fn silence_ends_with_5_wherever_it_begins() {
    let home = Home::new("silence");
    let limit = |done: crate::cli::process::Done| {
        done.fails(5, &["--timeout"]);
        assert!(done.took < Duration::from_secs(5), "{done:#?}");
    };
    let gateway = Gateway::raw(|mut stream| while stream.read(&mut [0; 512]).is_ok_and(|count| count > 0) {});
    limit(home.clawdis(["status", "--timeout", "0.3", "--url", &gateway.url]).run());
    let gateway = Gateway::once(|peer| {
        peer.read();
        peer.gone();
    });
    limit(home.clawdis(["status", "--timeout", "0.3", "--url", &gateway.url]).run());
    let gateway = Gateway::once(|peer| {
        peer.greet();
        peer.gone();
    });
    limit(home.clawdis(["status", "--timeout", "0.3", "--url", &gateway.url]).run());
}

#[test]
fn dripping_bytes_buy_no_time() {
    let home = Home::new("drip");
    let gateway = Gateway::raw(|mut stream| {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
        for byte in head {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let done = home.clawdis(["status", "--timeout", "0.5", "--url", &gateway.url]).run();
    done.fails(5, &[]);
    assert!(done.took < Duration::from_secs(5), "{done:#?}");
}

#[test]
fn ctrl_c_ends_a_waiting_verb_with_130() {
    let home = Home::new("ctrl-c");
    let (sender, asked) = std::sync::mpsc::channel();
    let gateway = Gateway::once(move |peer| {
        peer.greet();
        peer.request("status");
        sender.send(()).unwrap();
        peer.gone();
    });
    let running = home.clawdis(["status", "--url", &gateway.url]).start();
    asked.recv_timeout(crate::cli::process::PATIENCE).unwrap();
    running.interrupt();
    assert_eq!(running.wait().code, Some(130));
}
