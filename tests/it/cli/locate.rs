//! Finding the gateway and its token.

use std::cell::RefCell;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use serde_json::json;

use crate::cli::gateway::Gateway;
use crate::cli::process::{Done, Home};

/// Serves one `status` call and returns how it went; `token` is what the client must show.
fn visited(home: &Home, token: Option<&'static str>, args: &dyn Fn(&Gateway) -> Vec<String>) -> Done {
    let gateway = Gateway::once(move |peer| {
        let hello = peer.greet();
        assert_eq!(hello["auth"]["token"].as_str(), token);
        let request = peer.request("status");
        peer.answer(&request, &json!({ "host": "found" }));
        peer.gone();
    });
    let args = args(&gateway);
    let done = home.clawdis(args).run();
    if done.code == Some(0) {
        gateway.finish();
    }
    done
}

fn config(gateway: &Gateway, token: &str) -> String {
    json!({ "gateway": { "port": gateway.port, "bind": ["0.0.0.0"], "token": token } }).to_string()
}

fn lock(gateway: &Gateway) -> String {
    json!({ "pid": 123, "url": gateway.url }).to_string()
}

/// A lock file as a running gateway has it, for as long as what is returned lives.
fn held_lock(home: &Home, text: impl AsRef<str>) -> File {
    let file =
        File::options().read(true).write(true).open(home.write(".clawdis/gateway.lock", text.as_ref()));
    let file = file.unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    file
}

#[test]
fn the_config_tells_port_and_token() {
    let home = Home::new("config");
    let done = visited(&home, Some("from-config"), &|gateway| {
        home.write(".clawdis/clawdis.json", config(gateway, "from-config"));
        vec!["status".to_owned()]
    });
    assert!(done.ok().contains("found"));
}

#[test]
fn the_lock_file_goes_before_the_config() {
    let home = Home::new("lock");
    home.write(".clawdis/clawdis.json", r#"{"gateway":{"port":1,"token":"from-config"}}"#);
    let held = RefCell::new(None);
    let done = visited(&home, Some("from-config"), &|gateway| {
        held.replace(Some(held_lock(&home, lock(gateway))));
        vec!["status".to_owned()]
    });
    done.ok();
}

/// Somebody else may sit on the port of a gateway that has died, and must not be shown its token.
#[test]
fn a_lock_that_nobody_holds_says_where_no_gateway_is() {
    let home = Home::new("stale-lock");
    home.write(".clawdis/token", "of-the-dead-gateway");
    let trap = Gateway::raw(|_| panic!("somebody called where the gateway has died"));
    home.write(".clawdis/gateway.lock", lock(&trap));
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    home.write(".clawdis/clawdis.json", json!({ "gateway": { "port": nowhere } }).to_string());
    home.clawdis(["status"]).run().fails(3, &[&nowhere.to_string(), "gateway.lock"]);

    // Nor to whoever sits on the port that the config names.
    let done = visited(&home, None, &|gateway| {
        home.write(".clawdis/clawdis.json", config(gateway, "of-the-config"));
        vec!["status".to_owned()]
    });
    done.ok();
    // Not even one that was named, for a gateway that nobody sees.
    let done = visited(&home, None, &|gateway| {
        home.write(".clawdis/clawdis.json", config(gateway, "of-the-config"));
        ["status", "--token", "named"].map(str::to_owned).to_vec()
    });
    done.ok();
    // Where somebody names the address it is another matter, unless it is the dead one's.
    let done = visited(&home, Some("named"), &|gateway| {
        home.write(".clawdis/gateway.lock", lock(gateway));
        ["status", "--token", "named", &format!("--url={}", gateway.url)].map(str::to_owned).to_vec()
    });
    done.ok();
    let done = visited(&home, None, &|gateway| {
        home.write(".clawdis/gateway.lock", lock(gateway));
        vec!["status".to_owned(), format!("--url={}", gateway.url)]
    });
    done.ok();
    home.write(".clawdis/gateway.lock", lock(&trap));
    let done = visited(&home, Some("of-the-config"), &|gateway| {
        vec!["status".to_owned(), format!("--url={}", gateway.url)]
    });
    done.ok();
}

/// Nor does a token that was copied here say whose gateway answers at the end of a tunnel.
#[test]
fn a_token_beside_which_no_gateway_has_run_is_shown_to_a_named_address_only() {
    let home = Home::new("no-lock");
    home.write(".clawdis/token", "copied-here");
    let done = visited(&home, None, &|gateway| {
        home.write(".clawdis/clawdis.json", json!({ "gateway": { "port": gateway.port } }).to_string());
        vec!["status".to_owned()]
    });
    done.ok();
    let done = visited(&home, Some("copied-here"), &|gateway| {
        vec!["status".to_owned(), format!("--url={}", gateway.url)]
    });
    done.ok();
}

/// A gateway that is just starting holds its lock before it listens.
#[test]
fn a_held_lock_that_names_no_address_shows_the_token_to_nobody() {
    for text in ["", "{", "{\"pid\":1}", "{\"pid\":1,\"url\":\"ws://192.0.2.9:1\"}"] {
        let home = Home::new("starting-lock");
        home.write(".clawdis/token", "of-the-starting-gateway");
        let _held = held_lock(&home, text);
        let done = visited(&home, None, &|gateway| {
            home.write(".clawdis/clawdis.json", json!({ "gateway": { "port": gateway.port } }).to_string());
            vec!["status".to_owned()]
        });
        done.ok();
    }
}

/// What stands in the place of a lock file must not stop the command.
#[test]
fn a_lock_file_that_is_none_is_passed_over() {
    for (name, make) in [
        (
            "pipe",
            (|path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap()) as fn(&Path),
        ),
        ("folder", |path| fs::create_dir(path).unwrap()),
        ("device", |path| symlink("/dev/zero", path).unwrap()),
    ] {
        let home = Home::new(&format!("lock-{name}"));
        home.write(".clawdis/other", "");
        make(&home.0.join(".clawdis/gateway.lock"));
        let done = visited(&home, None, &|gateway| {
            home.write(".clawdis/clawdis.json", json!({ "gateway": { "port": gateway.port } }).to_string());
            vec!["status".to_owned()]
        });
        done.ok();
    }
}

#[test]
fn localhost_is_the_gateways_own_loopback() {
    let home = Home::new("localhost");
    let done = visited(&home, None, &|gateway| {
        ["status".to_owned(), format!("--url=ws://LocalHost:{}", gateway.port)].to_vec()
    });
    done.ok();
}

#[test]
fn a_broken_lock_file_says_nothing() {
    let home = Home::new("broken-lock");
    home.write(".clawdis/gateway.lock", "{\"pid\":");
    let done = visited(&home, None, &|gateway| {
        home.write(".clawdis/clawdis.json", json!({ "gateway": { "port": gateway.port } }).to_string());
        vec!["status".to_owned()]
    });
    done.ok();
}

#[test]
fn the_environment_goes_before_the_lock_file_and_a_flag_before_both() {
    let home = Home::new("environment");
    home.write(".clawdis/gateway.lock", r#"{"pid":1,"url":"ws://127.0.0.1:1"}"#);
    home.write(".clawdis/token", "from-state-dir\n");
    let gateway = Gateway::once(|peer| {
        assert_eq!(peer.greet()["auth"]["token"], "from-environment");
        let request = peer.request("pause-is-not-asked-for");
        peer.answer(&request, &json!({}));
    });
    let done = home
        .clawdis(["call", "pause-is-not-asked-for"])
        .env("CLAWDIS_GATEWAY_URL", &gateway.url)
        .env("CLAWDIS_GATEWAY_TOKEN", "from-environment")
        .run();
    done.ok();
    gateway.finish();

    let done = visited(&home, Some("from-flag"), &|gateway| {
        ["--token", "from-flag", "status", "--url", &gateway.url].map(str::to_owned).to_vec()
    });
    done.ok();
}

#[test]
fn token_files_are_found_and_trimmed() {
    let home = Home::new("token-file");
    home.write(".clawdis/token", "from-state-dir\n");
    let url = |gateway: &Gateway| vec!["status".to_owned(), format!("--url={}", gateway.url)];
    visited(&home, Some("from-state-dir"), &url).ok();

    let named = home.write("named", "  from-named-file \n");
    let with_file = |gateway: &Gateway| {
        let mut args = url(gateway);
        args.push(format!("--token-file={}", named.display()));
        args
    };
    visited(&home, Some("from-named-file"), &with_file).ok();

    // The daemon takes the blanks off the same variable.
    let typed = |gateway: &Gateway| [url(gateway), vec!["--token".to_owned(), " typed ".to_owned()]].concat();
    visited(&home, Some("typed"), &typed).ok();

    home.write("empty", "\n");
    home.clawdis(["status", "--token-file", "empty"]).run().fails(2, &["empty"]);
    home.clawdis(["status", "--token-file", "missing"]).run().fails(2, &["missing"]);
}

#[test]
fn a_token_found_here_is_not_sent_elsewhere() {
    let home = Home::new("elsewhere");
    home.write(".clawdis/token", "local-secret");
    // Not loopback by its looks, though it leads here.
    let gateway = Gateway::once(|peer| assert!(peer.greet().get("auth").is_none()));
    let named = format!("ws://0.0.0.0:{}", gateway.port);
    home.clawdis(["status", "--url", &named, "--timeout", "5"]).run().fails(3, &[]);
    gateway.finish();
}

#[test]
fn only_loopback_unless_told_otherwise() {
    let home = Home::new("loopback");
    home.write(".clawdis/gateway.lock", r#"{"pid":1,"url":"ws://192.0.2.1:18789"}"#);
    home.write(".clawdis/clawdis.json", r#"{"gateway":{"bind":["192.0.2.1"],"port":9}}"#);
    home.clawdis(["status"]).run().fails(2, &["192.0.2.1", "--url ws://192.0.2.1:9"]);
    home.clawdis(["status", "--url", "wss://pi.local"]).run().fails(2, &["SSH tunnel"]);
}

#[test]
fn a_config_that_cannot_be_read_is_named() {
    let home = Home::new("bad-config");
    home.write(".clawdis/clawdis.json", "{ port: 1 }");
    home.clawdis(["status"]).run().fails(2, &["clawdis.json", "line 1"]);
    let named = home.clawdis(["status"]).env("CLAWDIS_CONFIG", "nowhere.json");
    named.run().fails(2, &["nowhere.json"]);
}

/// A command of a person waits for no pipe that somebody has put into the state folder. One that they name
/// themselves may well be the output of a program.
#[test]
fn what_is_no_file_in_the_state_folder_is_named_and_not_waited_for() {
    let home = Home::new("odd-files");
    for name in ["token", "clawdis.json"] {
        let path = home.write(&format!(".clawdis/{name}"), "");
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        // The token is looked at only for an address that it may be shown to.
        let url: &[&str] = if name == "token" { &["--url", "ws://127.0.0.1:9"] } else { &[] };
        let status = || home.clawdis([&["status"], url].concat());
        status().run().fails(2, &[path.to_str().unwrap(), "a named pipe"]);
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        status().run().fails(2, &[path.to_str().unwrap(), "a device"]);
        fs::remove_file(&path).unwrap();
    }
    let pipe = home.write("pipe", "");
    fs::remove_file(&pipe).unwrap();
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let writer = pipe.clone();
    let writer = thread::Builder::new().spawn(move || fs::write(writer, "from-a-program\n")).unwrap();
    let done = visited(&home, Some("from-a-program"), &|gateway| {
        home.write(".clawdis/clawdis.json", config(gateway, "another"));
        vec!["status".to_owned(), "--token-file".to_owned(), pipe.to_str().unwrap().to_owned()]
    });
    done.ok();
    writer.join().unwrap().unwrap();
}
