//! The command line: help, versions, slips.

use std::time::Duration;

use crate::cli::process::Home;

#[test]
fn help_explains_every_verb() {
    let home = Home::new("help");
    let overview = home.clawdis(["--help"]).run().ok();
    let verbs = [
        "health",
        "status",
        "presence",
        "send",
        "agent",
        "cancel",
        "sessions",
        "history",
        "reset",
        "forget",
        "pause",
        "resume",
        "watch",
        "call",
        "gateway",
        "heartbeats",
        "channel",
        "allow",
        "login",
        "logout",
    ];
    for verb in verbs {
        assert!(overview.contains(&format!("\n  {verb}")), "{verb} is not in\n{overview}");
        let own = home.clawdis(["help", verb]).run().ok();
        assert!(own.contains(&format!("usage: clawdis {verb}")) && own.contains("\n  --token-file"), "{own}");
        if verb != "gateway" {
            assert_eq!(home.clawdis([verb, "--help"]).run().ok(), own);
            assert_eq!(home.clawdis(["--help", verb]).run().ok(), own);
        }
    }
    assert!(overview.lines().all(|line| line.chars().count() <= 100), "{overview}");
    assert!(!overview.contains('\x1b'));
}

#[test]
fn the_version_is_the_packages() {
    let home = Home::new("version");
    let version = home.clawdis(["--version"]).run().ok();
    assert!(version.starts_with(&format!("clawdis {}", env!("CARGO_PKG_VERSION"))), "{version}");
    assert_eq!(home.clawdis(["-V"]).run().ok(), version);
}

#[test]
fn slips_end_with_2_and_the_nearest_right_name() {
    let home = Home::new("slips");
    let cases: [(&[&str], &str); 26] = [
        (&[], "clawdis --help"),
        (&["statsu"], "did you mean `status`"),
        (&["frobnicate"], "clawdis --help"),
        (&["help", "agnet"], "did you mean `agent`"),
        (&["--jsno", "status"], "did you mean `--json`"),
        (&["status", "--tokn", "x"], "did you mean `--token`"),
        (&["agent", "--sesion", "a", "hello"], "did you mean `--session`"),
        (&["agent"], "there is no message"),
        (&["agent", "hello", "--to", "x"], "--deliver"),
        (&["agent", "hello", "--run-timeout", "soon"], "--run-timeout"),
        (&["send", "hello"], "`--to` is missing"),
        (&["status", "now"], "unexpected `now`"),
        (&["status", "--timeout", "0"], "seconds"),
        (&["status", "--timeout"], "needs a value"),
        (&["status", "--json", "--json"], "twice"),
        (&["heartbeats", "maybe"], "neither `on` nor `off`"),
        (&["channel", "telegram"], "needs on|off"),
        (&["forget"], "needs SESSION"),
        (&["allow", "telegram"], "needs ID"),
        (&["allow", "telegram", "7", "--onwer"], "did you mean `--owner`"),
        (&["login"], "needs CHANNEL"),
        (&["login", "whatsapp", "--phnoe", "+1"], "did you mean `--phone`"),
        (&["call", "health", "--params", "[1]"], "object"),
        (&["call", "health", "--params", "{"], "not JSON"),
        (&["history", "--limit", "many"], "whole number"),
        (&["--json", "gateway"], "clawdis gateway --help"),
    ];
    for (args, text) in cases {
        let done = home.clawdis(args).run();
        assert_eq!(done.stdout, "", "{args:?}");
        done.fails(2, &[text]);
    }
}

#[test]
fn secrets_are_not_repeated() {
    let home = Home::new("secrets");
    let cases: [&[&str]; 5] = [
        &["--tokn=hunter2", "status"],
        &["--url", "ws://hunter2@127.0.0.1", "status"],
        &["--url", "ws://127.0.0.1/?token=hunter2", "status"],
        &["--url=ws://127.0.0.1:1", "--token=hunter2", "status"],
        &["--token", "hunter2", "--json", "gateway"],
    ];
    for args in cases {
        let done = home.clawdis(args).run();
        assert!(matches!(done.code, Some(2 | 3)), "{done:#?}");
        assert!(!format!("{done:?}").contains("hunter2"), "{done:#?}");
    }
}

#[test]
fn nobody_home_ends_with_3_at_once_and_says_what_to_start() {
    let home = Home::new("down");
    for verb in ["status", "watch"] {
        let done = home.clawdis(["--url", "ws://127.0.0.1:1", verb]).run();
        done.fails(3, &["ws://127.0.0.1:1", "Connection refused", "clawdis gateway"]);
        assert!(done.took < Duration::from_secs(2), "{done:#?}");
    }
    home.clawdis(["--url", "ws://127.0.0.1:1", "agent", "hello"]).run().fails(3, &["clawdis gateway"]);
}

#[test]
fn a_message_beyond_the_frame_is_refused_before_connecting() {
    let home = Home::new("too-long");
    let url = ["--url", "ws://127.0.0.1:1"];
    home.clawdis(url.into_iter().chain(["agent", "-"]))
        .stdin(vec![b'a'; 600 * 1024])
        .run()
        .fails(2, &["512 KiB"]);
    // Below the limit as text, above it as JSON.
    home.clawdis(url.into_iter().chain(["agent", "-"]))
        .stdin(vec![b'"'; 300 * 1024])
        .run()
        .fails(2, &["512 KiB"]);
    home.clawdis(url.into_iter().chain(["agent"])).stdin([0xff, 0xfe]).run().fails(2, &["UTF-8"]);
    home.clawdis(url.into_iter().chain(["agent"])).stdin("\n").run().fails(2, &["no message"]);
}

#[test]
fn gateway_becomes_the_daemon_beside_this_program() {
    use std::os::unix::fs::PermissionsExt as _;

    let home = Home::new("exec");
    let clawdis = home.0.join("clawdis");
    std::fs::copy(env!("CARGO_BIN_EXE_clawdis"), &clawdis).unwrap();
    home.program(&clawdis, ["gateway"]).run().fails(1, &["clawdis-gateway", "beside this program"]);

    let script = "#!/bin/sh\nprintf '%s\\n' \"$@\" \"$CLAWDIS_STATE_DIR\"\nexit 7\n";
    let daemon = home.write("clawdis-gateway", script);
    std::fs::set_permissions(&daemon, std::fs::Permissions::from_mode(0o755)).unwrap();
    let args = ["gateway", "--agent", "a b", "--help", "--", "-x"];
    let done = home.program(&clawdis, args).env("CLAWDIS_STATE_DIR", "d").run();
    assert_eq!(done.code, Some(7), "{done:#?}");
    assert_eq!(done.stdout, "--agent\na b\n--help\n--\n-x\nd\n");
}
