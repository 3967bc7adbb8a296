//! Without a token: where the gateway says that it stands open, and the one that `scripts/start` makes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::gateway::Builder;
use crate::harness::{Client, Gateway, PATIENCE, hello, process};

/// The warning that no token is set, in what `status` says.
fn warning(gateway: &Gateway) -> Option<Value> {
    let warnings = gateway.client().ask("status", &json!({}))["warnings"].take();
    warnings.as_array().unwrap().iter().find(|warning| warning["code"] == "no-token").cloned()
}

#[test]
fn what_can_do_something_and_has_no_token_says_so() {
    let telegram = Gateway::builder("open-telegram")
        .env("TELEGRAM_BOT_TOKEN", "123456:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
        .env("CLAWDIS_TELEGRAM_API_BASE", "http://127.0.0.1:1");
    let open = [
        Gateway::builder("open-agent").agent_echo(),
        Gateway::builder("open-whatsapp").config(json!({"whatsapp": {"enabled": true}})),
        telegram,
    ];
    for setup in open {
        let gateway = setup.clone().spawn();
        let line = gateway.output.wait_for("no token", PATIENCE);
        assert!(line.contains("WARN") && line.contains("--token-file"), "{line}");
        let warning = warning(&gateway).expect(&line);
        assert!(line.ends_with(warning["message"].as_str().unwrap()), "{line}\n{warning}");
        drop(gateway);
        is_silent(setup.token("a-token-of-thirty-two-characters"));
    }
    is_silent(Gateway::builder("open-nothing"));
    is_silent(Gateway::builder("open-off").config(json!({"whatsapp": {"enabled": false}})));
}

/// Neither `status` nor the log has a word of it.
#[track_caller]
fn is_silent(setup: Builder) {
    let gateway = setup.spawn();
    assert_eq!(warning(&gateway), None);
    // A line behind those of the start.
    gateway.output.wait_for("connected", PATIENCE);
    assert!(!gateway.output.both().contains("no token"), "{}", gateway.output.both());
}

/// A gateway that `scripts/start` starts, with nothing to build and a umask that lets everybody read.
fn started_by_script(name: &str) -> Builder {
    let setup = Gateway::builder(name);
    let (release, tools) = (setup.scratch().join("target/release"), setup.scratch().join("tools"));
    fs::create_dir_all(&release).unwrap();
    fs::create_dir_all(&tools).unwrap();
    symlink(env!("CARGO_BIN_EXE_clawdis-gateway"), release.join("clawdis-gateway")).unwrap();
    let built_already = ["/bin/true", "/usr/bin/true"].into_iter().find(|path| Path::new(path).exists());
    symlink(built_already.unwrap(), tools.join("cargo")).unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let start = process::repository("scripts/start");
    // In the place of the program that stands behind it.
    let script = format!("umask 0; shift; exec '{}' \"$@\"", start.display());
    setup
        .wrapper(["sh", "-c", &script, "sh"])
        .env("PATH", &path)
        .env("CARGO_TARGET_DIR", release.parent().unwrap().to_str().unwrap())
}

#[test]
fn the_start_script_makes_a_token_once_that_nobody_else_reads() {
    let setup = started_by_script("script-token");
    let file = setup.state_dir().join("token");
    assert!(!setup.state_dir().exists(), "a fresh place");
    let gateway = setup.clone().spawn();
    let token = fs::read_to_string(&file).unwrap();
    assert!(token.len() >= 32 && token.bytes().all(|byte| byte.is_ascii_graphic()), "{} bytes", token.len());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&file), mode(&setup.state_dir())), (0o600, 0o700));
    assert!(Client::try_connect(gateway.addr, &hello()).is_err(), "without it");
    drop(gateway);

    let again = setup.clone().clients_say(&token).spawn();
    assert_eq!(fs::read_to_string(&file).unwrap(), token, "the same for good");
    assert_eq!(again.client().ask("status", &json!({}))["auth"], "token");
    assert_eq!(warning(&again), None);
    assert!(!again.output.both().contains(&token), "nobody is shown it");
    drop(again);
    // Each place has its own.
    let other = started_by_script("script-token-other");
    let other = other.spawn();
    assert_ne!(fs::read_to_string(other.state_dir().join("token")).unwrap(), token);
}

#[test]
fn the_start_script_makes_no_token_where_there_is_one() {
    let token = "a-token-of-thirty-two-characters";
    let given = started_by_script("script-given");
    let file = given.scratch().join("theirs");
    fs::write(&file, token).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let ways = [
        given.arg("--token-file").arg(file.to_str().unwrap()),
        started_by_script("script-environment").env("CLAWDIS_GATEWAY_TOKEN", token),
        started_by_script("script-config").config(json!({"gateway": {"token": token}})),
    ];
    for way in ways {
        let made = way.state_dir().join("token");
        let gateway = way.clients_say(token).spawn();
        gateway.client().ask("health", &json!({}));
        assert!(!made.exists(), "{}", made.display());
    }
}
