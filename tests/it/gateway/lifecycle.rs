//! Start, stop, being killed, being the only one.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Client, Gateway, PATIENCE, eventually, http, params_agent, process};

fn descendants(gateway: &Gateway) -> Vec<u32> {
    process::with_environment(&format!("PROBE_DIR={}", gateway.probe().display()))
}

#[test]
fn an_idle_gateway_has_exactly_these_threads() {
    let gateway = Gateway::builder("threads").agent_echo().spawn();
    gateway.client().goodbye();
    // The kernel cuts names at 15 bytes and calls the first thread like the program.
    let expected = ["accept", "agent", "channels", "clawdis-gateway", "outbound", "state", "store"];
    eventually("the idle set of threads", PATIENCE, || (gateway.threads() == expected).then_some(()));
    let _client = gateway.client();
    assert_eq!(gateway.threads().iter().filter(|name| name.starts_with("conn-")).count(), 1);
}

#[test]
fn a_second_gateway_gives_way_at_once_and_names_the_first() {
    let first = Gateway::builder("second").spawn();
    let pid = first.pid().to_string();
    // The same folder on another port.
    let exit = first.setup().run_to_exit();
    exit.expect(3, &[&pid]);
    assert!(exit.elapsed < Duration::from_secs(1), "{:?}", exit.elapsed);
    // The same port with another folder.
    let exit = Gateway::builder("second-port").port(first.addr.port()).run_to_exit();
    exit.expect(3, &[&pid, &first.addr.port().to_string()]);
    assert!(exit.elapsed < Duration::from_secs(1), "{:?}", exit.elapsed);
    // The first did not notice.
    first.client().ask("health", &json!({}));
    let lock = fs::read_dir(first.state_dir())
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    let url = format!("ws://{}", first.addr);
    assert!(
        lock.into_iter().any(|text| text.contains(&pid) && text.contains(&url)),
        "no lock file with pid and URL"
    );
}

#[test]
fn of_many_that_start_together_one_serves() {
    let setup = Gateway::builder("race");
    let starters: Vec<_> = (0..20)
        .map(|_| {
            let setup = setup.clone();
            thread::spawn(move || setup.try_spawn())
        })
        .collect();
    let mut serving = Vec::new();
    let mut gave_way = Vec::new();
    for starter in starters {
        match starter.join().unwrap() {
            Ok(gateway) => serving.push(gateway),
            Err(exit) => gave_way.push(exit),
        }
    }
    assert_eq!((serving.len(), gave_way.len()), (1, 19));
    for exit in gave_way {
        exit.expect(3, &[]);
    }
    serving[0].client().ask("health", &json!({}));
}

#[test]
fn a_port_taken_by_another_program_is_said_in_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let exit = Gateway::builder("port-taken").port(port).run_to_exit();
    exit.expect(1, &[&port.to_string(), "--port"]);
}

#[test]
fn after_kill_minus_nine_it_starts_again_at_once() {
    let mut gateway = Gateway::builder("kill-nine").agent_scripted().spawn();
    for round in 0..5 {
        let mut client = gateway.client();
        client.outcome(&params_agent(&format!("[[say {round}]]"), &format!("k{round}")));
        gateway.sigkill();
        let setup = gateway.setup();
        drop(gateway);
        gateway = setup.spawn();
        assert!(gateway.start_time < Duration::from_secs(1), "{:?}", gateway.start_time);
    }
    let list = gateway.client().ask("sessions-list", &json!({}));
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
}

#[test]
fn nothing_of_the_agent_outlives_a_killed_gateway() {
    let mut gateway = Gateway::builder("orphans").agent_scripted().spawn();
    let mut client = gateway.client();
    let run = client.run(&params_agent("[[deaf]] [[hold a]]", "k"));
    client.step_says(&run.id, "holding a");
    assert!(!descendants(&gateway).is_empty());
    gateway.sigkill();
    eventually("the end of every descendant", Duration::from_secs(2), || {
        descendants(&gateway).is_empty().then_some(())
    });
}

#[test]
fn sigterm_ends_everything_within_five_seconds() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut gateway = Gateway::builder("sigterm").agent_scripted().spawn();
        let mut client = gateway.client();
        let run = client.run(&params_agent("[[deaf]] [[hold a]]", "active"));
        client.step_says(&run.id, "holding a");
        let queued = client.run(&params_agent("[[say queued]]", "queued"));
        let started = Instant::now();
        process::signal(gateway.pid(), signal);
        client.event("shutdown", |_| true);
        let (code, reason) = client.end("the close").expect("a close frame");
        assert!(code == 1001 || code == 1012, "{code} {reason}");
        assert_eq!(gateway.wait_exit(Duration::from_secs(5)).code(), Some(0), "{signal:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(descendants(&gateway), Vec::<u32>::new());
        // Both were promised an outcome, and both have one.
        let setup = gateway.setup();
        drop(gateway);
        let gateway = setup.spawn();
        let mut client = gateway.client();
        for (message, key, run) in
            [("[[deaf]] [[hold a]]", "active", &run), ("[[say queued]]", "queued", &queued)]
        {
            let last = client.outcome(&params_agent(message, key));
            let known =
                last["payload"]["runId"] == run.id || last["error"]["details"]["outcome"] == "unknown";
            assert!(known, "{key}: {last}");
        }
    }
}

#[test]
fn no_new_work_while_stopping() {
    let mut gateway = Gateway::builder("stopping").agent_scripted().spawn();
    let mut client = gateway.client();
    let run = client.run(&params_agent("[[deaf]] [[hold a]]", "active"));
    client.step_says(&run.id, "holding a");
    gateway.sigterm();
    client.event("shutdown", |_| true);
    assert_eq!(gateway.wait_exit(Duration::from_secs(5)).code(), Some(0));
    assert!(TcpStream::connect(gateway.addr).is_err(), "it still accepted");
    assert_eq!(gateway.prompts().len(), 1);
}

#[test]
fn what_is_wrong_with_the_config_is_said_once() {
    let config = json!({"gateway": {"mediaFolders": ["pictures"]}});
    let mut gateway = Gateway::builder("said-once").config(config).spawn();
    gateway.sigterm();
    assert_eq!(gateway.wait_exit(Duration::from_secs(5)).code(), Some(0));
    // At the end the log says what it has only counted.
    gateway.output.wait_for("stopped", Duration::from_secs(5));
    let text = gateway.output.both();
    assert_eq!(text.matches("gateway.mediaFolders: `pictures` is left out").count(), 1, "{text}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut gateway = Gateway::builder("second-signal").agent_scripted().spawn();
    let mut client = gateway.client();
    let run = client.run(&params_agent("[[deaf]] [[hold a]]", "k"));
    client.step_says(&run.id, "holding a");
    gateway.sigterm();
    client.event("shutdown", |_| true);
    let started = Instant::now();
    gateway.sigterm();
    assert_eq!(gateway.wait_exit(Duration::from_secs(2)).code(), Some(0));
    assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
    eventually("the end of every descendant", Duration::from_secs(2), || {
        descendants(&gateway).is_empty().then_some(())
    });
}

#[test]
fn a_stalled_client_does_not_hold_up_the_end() {
    let mut gateway = Gateway::builder("stalled-end").spawn();
    let _never_reads = gateway.greeted();
    let _half_open = gateway.raw();
    let _no_hello = gateway.upgraded();
    gateway.sigterm();
    assert_eq!(gateway.wait_exit(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn peers_in_their_handshake_do_not_hold_up_the_end() {
    let mut gateway = Gateway::builder("handshake-end").spawn();
    let mut without_head = gateway.raw();
    without_head.write(b"GET / HT");
    let mut without_hello = gateway.upgraded();
    gateway.sigterm();
    assert_eq!(without_hello.json("hello-error")["reason"], "the gateway is stopping");
    without_hello.closed_with(1001);
    let answer = String::from_utf8(without_head.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(gateway.wait_exit(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn usage_errors_exit_with_two() {
    let rows: [(&[&str], &str); 11] = [
        (&["--no-such-flag"], "--no-such-flag"),
        (&["surplus"], "--help"),
        (&["--port", "none"], "--port"),
        (&["--port", "70000"], "--port"),
        (&["--tick-interval-ms", "soon"], "--tick-interval-ms"),
        (&["--tick-interval-ms", "0"], "--tick-interval-ms"),
        (&["--max-clients", "0"], "--max-clients"),
        (&["--log-format", "xml"], "--log-format"),
        (&["--agent", "[not json"], "--agent"),
        (&["--agent", "[]"], "--agent"),
        (&["--agent", "builtin:parrot"], "builtin"),
    ];
    for (args, word) in rows {
        let mut setup = Gateway::builder("usage");
        if args[0] == "--port" {
            // Two ports would be a usage error of their own.
            setup = setup.without_port();
        }
        for arg in args {
            setup = setup.arg(arg);
        }
        let exit = setup.run_to_exit();
        exit.expect(2, &[word]);
        assert!(exit.elapsed < Duration::from_secs(2), "{args:?}: {:?}", exit.elapsed);
    }
    let setup = Gateway::builder("usage-env").without_port().env("CLAWDIS_GATEWAY_PORT", "many");
    setup.run_to_exit().expect(2, &["CLAWDIS_GATEWAY_PORT"]);
}

#[test]
fn configuration_errors_exit_with_two_and_name_the_place() {
    let wrong = [
        (json!({"gateway": {"port": "18789"}}), "port"),
        (json!({"gateway": {"tickIntervalMs": -1}}), "tickIntervalMs"),
        (json!({"gateway": {"minClient": 1}}), "minClient"),
        (json!({"agent": {"thinking": "very"}}), "thinking"),
        (json!({"agent": {"env": {"A": 1}}}), "env"),
        (json!({"agent": {"command": 5}}), "command"),
        (json!({"storage": {"maxMb": "lots"}}), "maxMb"),
        (json!([]), "object"),
    ];
    for (config, word) in wrong {
        let setup = Gateway::builder("config-types");
        let file = setup.scratch().join("clawdis.json");
        fs::write(&file, config.to_string()).unwrap();
        let exit = setup.arg("--config").arg(file.to_str().unwrap()).run_to_exit();
        exit.expect(2, &[word, "clawdis.json"]);
    }
    let setup = Gateway::builder("config-syntax");
    let file = setup.scratch().join("clawdis.json");
    fs::write(&file, "{\"gateway\": {\n  port: 1 }").unwrap();
    setup.arg("--config").arg(file.to_str().unwrap()).run_to_exit().expect(2, &["line 2", "clawdis.json"]);
    let setup = Gateway::builder("config-missing").arg("--config").arg("/nonexistent/clawdis.json");
    setup.run_to_exit().expect(2, &["/nonexistent/clawdis.json"]);
}

#[test]
fn an_unknown_key_warns_with_the_nearest_name_and_serves() {
    let config = json!({"gateway": {"allowedHost": ["x"], "tickIntervalMs": 5000}, "agnet": {}});
    let gateway = Gateway::builder("config-typo").config(config).spawn();
    let line = gateway.output.wait_for("allowedHost", PATIENCE);
    assert!(line.contains("allowedHosts"), "{line}");
    let line = gateway.output.wait_for("agnet", PATIENCE);
    assert!(line.contains("agent"), "{line}");
    assert_eq!(gateway.client().hello["policy"]["tickIntervalMs"], 5000);
}

#[test]
fn the_config_in_the_state_folder_is_found() {
    let setup = Gateway::builder("config-default");
    fs::create_dir_all(setup.state_dir()).unwrap();
    fs::write(setup.state_dir().join("clawdis.json"), r#"{"gateway": {"tickIntervalMs": 4321}}"#).unwrap();
    let gateway = setup.spawn();
    assert_eq!(gateway.client().hello["policy"]["tickIntervalMs"], 4321);
    // A flag goes before the config.
    let setup = gateway.setup().arg("--tick-interval-ms").arg("1234");
    drop(gateway);
    assert_eq!(setup.spawn().client().hello["policy"]["tickIntervalMs"], 1234);
}

#[test]
fn help_and_version_go_to_stdout_and_exit_with_zero() {
    for flag in ["--help", "--version"] {
        let output = process::run(env!("CARGO_BIN_EXE_clawdis-gateway"), &[flag]);
        assert_eq!(output.status.code(), Some(0), "{flag}");
        let text = String::from_utf8(output.stdout).unwrap();
        let word = if flag == "--help" { "--state-dir" } else { env!("CARGO_PKG_VERSION") };
        assert!(text.contains(word), "{flag}: {text}");
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn no_core_dump_can_take_the_secrets_along() {
    let allow = "ulimit -S -c $(ulimit -H -c) && exec \"$@\"";
    let gateway = Gateway::builder("core").wrapper(["sh", "-c", allow, "sh"]).spawn();
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[test]
fn everything_in_the_state_folder_is_private() {
    let gateway = Gateway::builder("modes").agent_scripted().spawn();
    gateway.client().ask("set-heartbeats", &json!({"enabled": true}));
    gateway.client().outcome(&params_agent("[[say x]]", "k"));
    let below = |gateway: &Gateway| everything_below(&gateway.state_dir());
    let modes = |gateway: &Gateway| {
        let mode = |path: PathBuf| (fs::metadata(&path).unwrap().permissions().mode() & 0o777, path);
        below(gateway).into_iter().map(mode).filter(|(mode, _)| mode & 0o77 != 0).collect::<Vec<_>>()
    };
    assert!(below(&gateway).len() >= 5, "{:?}", below(&gateway));
    assert_eq!(modes(&gateway), []);

    // As a backup may bring them back.
    let setup = gateway.setup();
    let before = below(&gateway);
    drop(gateway);
    for path in before.into_iter().filter(|path| path.exists()) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let gateway = setup.spawn();
    gateway.client().outcome(&params_agent("[[say y]]", "l"));
    assert_eq!(modes(&gateway), []);
}

/// A folder, and all that is in it.
fn everything_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut at = 0;
    while let Some(path) = found.get(at) {
        if path.is_dir() {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
            found.extend(entries);
        }
        at += 1;
    }
    found
}

#[test]
fn logs_can_be_json_and_say_who_came_and_went() {
    let gateway = Gateway::builder("log-json").arg("--log-format").arg("json").spawn();
    let mut hello = gateway.hello();
    hello["client"]["name"] = json!("evil\nname \u{1b}[31m");
    Client::connect(gateway.addr, &hello).goodbye();
    gateway.output.wait_for("closed", PATIENCE);
    let text = gateway.output.out();
    let (first, rest) = text.split_once('\n').unwrap();
    assert!(first.starts_with("listening on ws://"), "in every format: {first}");
    for line in rest.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line:?}"));
        assert!(entry.is_object());
    }
    assert!(rest.contains("name"), "{rest}");
    let text = Gateway::builder("log-text").spawn();
    let mut hello = text.hello();
    hello["client"]["name"] = json!("evil\nERROR forged \u{1b}[31m");
    Client::connect(text.addr, &hello).goodbye();
    text.output.wait_for("closed", PATIENCE);
    assert!(!text.output.out().contains("\nERROR forged") && !text.output.out().contains('\u{1b}'));
}

#[test]
fn ready_turns_with_what_is_usable() {
    let gateway = Gateway::builder("ready").spawn();
    assert_eq!(http::request(gateway.addr, "GET", "/readyz", "").status, 200);
}

#[test]
fn a_hangup_is_an_orderly_end_unless_it_was_ignored_at_the_start() {
    // The tests themselves may run under `nohup`, and what it ignores is inherited.
    let mut gateway = Gateway::builder("hangup").wrapper(["env", "--default-signal=HUP"]).spawn();
    let mut client = gateway.client();
    process::signal(gateway.pid(), Signal::HUP);
    client.event("shutdown", |_| true);
    assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
    for (name, wrapper) in
        [("nohup", vec!["nohup"]), ("trapped", vec!["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"])]
    {
        let mut gateway = Gateway::builder(name).wrapper(wrapper).spawn();
        let mut client = gateway.client();
        process::signal(gateway.pid(), Signal::HUP);
        // The one after it ends the gateway, and says that it was that one.
        process::signal(gateway.pid(), Signal::INT);
        let shutdown = client.event("shutdown", |_| true);
        assert!(
            shutdown["payload"]["reason"].as_str().unwrap().contains("interrupted"),
            "{name}: {shutdown}"
        );
        assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0), "{name}");
    }
}

#[test]
fn settings_are_checked_without_a_start() {
    let check = |name: &str, config: Value| Gateway::builder(name).config(config).arg("--check-config");
    let setup = check("check", json!({"gateway": {"prot": 1, "allowedHosts": ["https://x.example"]}}));
    let exit = setup.clone().agent_echo().run_to_exit();
    exit.expect(0, &["/gateway/prot", "`https://x.example`", "no token", "ok"]);
    assert!(!setup.state_dir().exists(), "a check makes nothing");
    // One that serves does not hinder it.
    let serving = Gateway::builder("check-beside").spawn();
    serving.setup().arg("--check-config").run_to_exit().expect(0, &["ok"]);
    serving.client().ask("health", &json!({}));

    check("check-type", json!({"gateway": {"port": "many"}})).run_to_exit().expect(2, &["port"]);
    check("check-bind", json!({"gateway": {"bind": ["0.0.0.0"]}})).run_to_exit().expect(2, &["0.0.0.0"]);
    check("check-cwd", json!({"agent": {"cwd": "/nonexistent/folder"}}))
        .agent_echo()
        .run_to_exit()
        .expect(2, &["agent.cwd"]);
    check("check-flag", json!({})).arg("--prot").run_to_exit().expect(2, &["--port"]);
    check("check-token", json!({})).arg("--token-file").arg("/none").run_to_exit().expect(2, &["/none"]);
    check("check-agent", json!({})).arg("--agent").arg("[1]").run_to_exit().expect(2, &["--agent"]);
}
