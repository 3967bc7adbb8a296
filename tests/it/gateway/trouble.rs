//! When the machine is the problem: each has its sentence, and the gateway lives on where it can.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::gateway::Stdout;
use crate::harness::{Client, Gateway, PATIENCE, eventually, http, params_agent, process};

#[test]
fn a_state_folder_that_is_none_is_said() {
    // The tests may run as root, for whom no folder is unwritable: a file stands in its place.
    let setup = Gateway::builder("no-folder");
    fs::write(setup.state_dir(), "in the way").unwrap();
    let path = setup.state_dir();
    let exit = setup.run_to_exit();
    assert!(matches!(exit.code, Some(1 | 2)), "{:?}", exit.code);
    exit.expect(exit.code.unwrap(), &[path.to_str().unwrap()]);
    assert!(exit.elapsed < Duration::from_secs(2));
    // A place below it cannot be made either.
    let setup = Gateway::builder("below-file");
    let file = setup.scratch().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("state");
    let exit = setup.in_state_dir(&below).run_to_exit();
    exit.expect(exit.code.unwrap(), &[below.to_str().unwrap()]);
}

#[test]
fn a_state_folder_open_to_others_is_closed() {
    let setup = Gateway::builder("open-folder");
    fs::create_dir_all(setup.state_dir()).unwrap();
    fs::set_permissions(setup.state_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    match setup.try_spawn() {
        Ok(gateway) => {
            let mode = fs::metadata(gateway.state_dir()).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o700);
        }
        Err(exit) => exit.expect(2, &["0700"]),
    }
}

#[test]
fn without_descriptors_it_says_so_and_recovers() {
    let gateway = Gateway::builder("descriptors").wrapper(["prlimit", "--nofile=48:48"]).spawn();
    let mut first = gateway.client();
    let mut crowd = Vec::new();
    let line = eventually("the sentence on descriptors", PATIENCE, || {
        crowd.push(std::net::TcpStream::connect(gateway.addr).unwrap());
        let log = gateway.output.both();
        log.lines().find(|line| line.contains("open files")).map(str::to_owned)
    });
    assert!(line.contains("accept"), "{line}");
    // Who is connected is served.
    first.ask("health", &json!({}));
    drop(crowd);
    let mut late = eventually("a new client once there are descriptors again", PATIENCE, || {
        Client::try_connect(gateway.addr, &gateway.hello()).ok()
    });
    late.ask("health", &json!({}));
    // It does not spin meanwhile, and repeats itself sparsely.
    let lines = gateway.output.both().lines().filter(|line| line.contains("open files")).count();
    assert!(lines < 20, "{lines} lines");
}

#[test]
fn a_clock_that_was_never_set_is_said_and_does_not_stop_it() {
    let setup = Gateway::builder("clock-unset")
        .agent_echo()
        .env("LD_PRELOAD", &process::faketime())
        .env("FAKETIME", "@1970-01-02 00:00:00")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let gateway = setup.spawn();
    gateway.output.wait_for("clock", PATIENCE);
    let mut client = gateway.client();
    let params = params_agent("what time is it", "k");
    let last = client.outcome(&params);
    assert_eq!(last["ok"], true, "{last}");
    // The record and its key hold, and they do once the clock has been set: the jump of decades
    // does not make them old.
    assert_eq!(client.outcome(&params)["payload"], last["payload"]);
    let setup = gateway.setup().env("FAKETIME", "+0s");
    drop(client);
    drop(gateway);
    let gateway = setup.spawn();
    let mut client = gateway.client();
    assert_eq!(client.outcome(&params)["payload"], last["payload"]);
    let sessions = client.ask("sessions-list", &json!({}));
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 1, "{sessions}");
}

/// Five minutes pass within seconds, on every clock that the daemon has.
#[test]
fn after_five_minutes_the_gone_are_unlisted_and_keys_are_free() {
    let gateway = Gateway::builder("five-minutes")
        .agent_scripted()
        .env("LD_PRELOAD", &process::faketime())
        .env("FAKETIME", "+0 x40")
        .config(json!({"agent": {"warmSeconds": 3600, "startTimeoutSeconds": 600}}))
        .spawn();
    // A handshake has a fortieth of its three seconds here, so it may take a few attempts.
    let connect = |name: &str| {
        let mut hello = gateway.hello();
        hello["client"]["instanceId"] = json!(name);
        eventually("a handshake in time", PATIENCE, || Client::try_connect(gateway.addr, &hello).ok())
    };
    let mut watcher = connect("watcher");
    let params = params_agent("[[say once]]", "k");
    let first = watcher.outcome(&params);
    assert_eq!(watcher.outcome(&params)["payload"], first["payload"]);
    connect("visitor").goodbye();
    let listed = |watcher: &mut Client| {
        let entries = watcher.ask("system-presence", &json!({})).to_string();
        (entries.contains("visitor"), entries.contains("watcher"))
    };
    assert_eq!(listed(&mut watcher), (true, true));
    let left = Instant::now();
    eventually("the visitor to be forgotten", PATIENCE, || {
        (listed(&mut watcher) == (false, true)).then_some(())
    });
    assert!(left.elapsed() > Duration::from_secs(6), "{:?} for five minutes", left.elapsed());
    watcher.event("presence", |event| event["payload"]["removed"].to_string().contains("visitor"));
    let again = eventually("the key to be free", PATIENCE, || {
        let again = watcher.outcome(&params);
        (again["payload"]["runId"] != first["payload"]["runId"]).then_some(again)
    });
    assert_eq!(again["ok"], true);
    assert_eq!(gateway.prompts().len(), 2);
}

#[test]
fn a_clock_set_back_loses_nothing() {
    let ahead = Gateway::builder("clock-back")
        .agent_echo()
        .env("LD_PRELOAD", &process::faketime())
        .env("FAKETIME", "+400d")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let gateway = ahead.spawn();
    let params = params_agent("from the future", "k");
    let last = gateway.client().outcome(&params);
    let setup = gateway.setup().env("FAKETIME", "+0s");
    drop(gateway);
    let gateway = setup.spawn();
    let mut client = gateway.client();
    assert_eq!(client.outcome(&params)["payload"]["runId"], last["payload"]["runId"]);
    let page = client.ask("session-history", &json!({"sessionKey": "main"}));
    assert!(!page["messages"].as_array().unwrap().is_empty());
}

#[test]
fn a_standard_output_that_nobody_takes_stops_nothing() {
    for mode in [Stdout::Closed, Stdout::Blocked] {
        let mut gateway = Gateway::builder("stdout").stdout(mode).arg("-v").spawn();
        let mut client = gateway.client();
        // Each connection logs lines with a name of its own: more than a pipe holds.
        for number in 0..400 {
            gateway.client_as(&format!("{number}-{}", "n".repeat(110))).goodbye();
        }
        let started = Instant::now();
        client.expects_holes();
        client.ask("health", &json!({}));
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert!(gateway.is_running());
        gateway.sigterm();
        assert_eq!(gateway.wait_exit(Duration::from_secs(5)).code(), Some(0));
    }
}

#[test]
fn repeated_lines_are_counted_not_repeated() {
    let gateway = Gateway::builder("log-repeats").spawn();
    for _ in 0..300 {
        let answer = http::exchange(gateway.addr, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        assert_eq!(answer.status, 403);
    }
    gateway.client().goodbye();
    gateway.output.wait_for("closed", PATIENCE);
    let lines = gateway.output.both().lines().filter(|line| line.contains("403")).count();
    assert!((1..100).contains(&lines), "{lines} lines for 300 refusals");
    assert_eq!(http::metric(gateway.addr, "", "clawdis_refused_total{reason=\"origin\"}"), 300);
}

#[test]
fn damaged_records_are_set_aside_or_refused_but_never_ignored() {
    let gateway = Gateway::builder("damage").agent_echo().spawn();
    gateway.client().outcome(&params_agent("remember", "k"));
    gateway.client().ask("set-paused", &json!({"paused": true}));
    let setup = gateway.setup();
    let state = gateway.state_dir();
    drop(gateway);
    let mut damaged = 0;
    let mut folders = vec![state];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut bytes = fs::read(&path).unwrap();
            // In the middle: a torn tail is another matter and is cut off.
            if bytes.len() > 64 && !path.ends_with("lock") {
                let middle = bytes.len() / 3;
                bytes[middle] ^= 0x20;
                fs::write(&path, bytes).unwrap();
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0);
    match setup.try_spawn() {
        Err(exit) => {
            assert_ne!(exit.code, Some(0));
            assert!(!exit.text.contains("panicked"), "{}", exit.text);
        }
        Ok(gateway) => {
            gateway.output.wait_for("damaged", PATIENCE);
            gateway.client().ask("health", &json!({}));
        }
    }
}

#[test]
fn a_journal_that_is_gone_while_sessions_are_there_is_no_fresh_install() {
    let gateway = Gateway::builder("journal-gone").agent_echo().spawn();
    gateway.client().outcome(&params_agent("remember", "k"));
    let setup = gateway.setup();
    let journal = gateway.state_dir().join("journal");
    drop(gateway);
    let whole = fs::read(&journal).unwrap();
    let first_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for left in [None, Some(0), Some(first_line / 2), Some(first_line)] {
        fs::remove_file(&journal).unwrap();
        if let Some(left) = left {
            fs::write(&journal, &whole[..left]).unwrap();
        }
        let gateway = setup.clone().spawn();
        gateway.output.wait_for("the journal is empty", PATIENCE);
        let health = gateway.client().ask("health", &json!({}));
        assert_eq!(health["paused"], true, "{left:?}: what it said may have been `paused`");
        drop(gateway);
        let gateway = setup.clone().spawn();
        assert_eq!(
            gateway.client().ask("health", &json!({}))["paused"],
            true,
            "{left:?}: until somebody looked"
        );
    }
}

#[test]
fn a_torn_last_record_is_cut_off_and_reported() {
    let mut gateway = Gateway::builder("torn").agent_echo().spawn();
    let params = params_agent("keep this", "k");
    let last = gateway.client().outcome(&params);
    gateway.sigkill();
    let setup = gateway.setup();
    let journals: Vec<PathBuf> = fs::read_dir(gateway.state_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file() && path.to_string_lossy().contains("journal"))
        .collect();
    assert!(!journals.is_empty(), "no journal in {}", gateway.state_dir().display());
    for journal in journals {
        let mut bytes = fs::read(&journal).unwrap();
        bytes.extend_from_slice(b"half a rec");
        fs::write(&journal, bytes).unwrap();
    }
    drop(gateway);
    let gateway = setup.spawn();
    assert_eq!(gateway.client().outcome(&params)["payload"], last["payload"]);
    gateway.output.wait_for("cut", PATIENCE);
}

#[test]
fn memory_stays_bounded_under_hostile_frames() {
    let gateway = Gateway::builder("hostile-memory").spawn();
    gateway.client().goodbye();
    let before = gateway.rss();
    let big = vec![b'['; 512 * 1024];
    for _ in 0..40 {
        let mut socket = gateway.greeted();
        socket.send(crate::harness::raw::TEXT, &big);
        socket.closed_with(1007);
    }
    assert!(gateway.rss() < before + 16 * 1024 * 1024, "{before} to {}", gateway.rss());
    assert!(process::fd_count(gateway.pid()) < 40);
}

/// Each connection's number is another, so that no two of their lines are alike.
#[test]
fn connections_cannot_fill_the_log() {
    let mut gateway = Gateway::builder("log-flood").token("a-token-for-the-log").spawn();
    for _ in 0..400 {
        gateway.client();
    }
    let lines = |word: &str| gateway.output.out().lines().filter(|line| line.contains(word)).count();
    eventually("the last of them to be gone", PATIENCE, || {
        (gateway.client().ask("status", &json!({}))["clients"] == 1).then_some(())
    });
    assert!(lines("connected") <= 100 && lines("closed") <= 100, "{}", gateway.output.out());
    // Other kinds of lines are not crowded out, and what was left out is counted.
    gateway.sigterm();
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
    let said = gateway.output.out();
    assert!(said.contains("the gateway is stopping"), "{said}");
    assert!(said.lines().any(|line| line.contains("more lines like")), "{said}");
}
