//! The token file while the gateway runs: a new token counts at once, a broken file opens no door.

use std::fs::{self, File, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use clawdis_gateway::limits::TOKEN_FILE_BYTES_MAX;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::harness::gateway::Builder;
use crate::harness::{Client, Gateway, PATIENCE, eventually, hello};

const OLD: &str = "the-old-token-of-this-gateway";
const NEW: &str = "the-new-token-of-this-gateway";

/// What somebody does to the file, with its name.
type Way = (&'static str, fn(&Path));

fn hello_with(token: &str) -> Value {
    let mut hello = hello();
    hello["auth"] = json!({ "token": token });
    hello
}

/// A gateway to be whose token stands in `DIR/token`, where DIR is a folder of the test's.
fn setup(name: &str) -> Builder {
    let setup = Gateway::builder(name).clients_say(OLD).arg("--tick-interval-ms").arg("400");
    let path = setup.scratch().join("token");
    write(&path, OLD);
    setup.arg("--token-file").arg(path.to_str().unwrap())
}

fn write(path: &Path, token: &str) {
    fs::write(path, format!("{token}\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn is_let_in(gateway: &Gateway, token: &str) -> bool {
    Client::try_connect(gateway.addr, &hello_with(token)).is_ok()
}

/// Codes of the warnings in `status`.
fn warnings(client: &mut Client) -> Vec<String> {
    let warnings = client.ask("status", &json!({}))["warnings"].take();
    let codes = warnings.as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap());
    codes.map(str::to_owned).collect()
}

fn rename_over(path: &Path) {
    let beside = path.with_extension("new");
    write(&beside, NEW);
    fs::rename(beside, path).unwrap();
}

#[test]
fn a_changed_token_file_counts_at_once_and_ends_what_the_old_one_opened() {
    let ways: [Way; 3] = [
        ("in-place", |path| write(path, NEW)),
        ("rename", rename_over),
        ("removed-and-made", |path| {
            fs::remove_file(path).unwrap();
            write(path, NEW);
        }),
    ];
    for (name, change) in ways {
        let gateway = setup(&format!("token-{name}")).spawn();
        let mut before = gateway.client();
        change(&gateway.setup().scratch().join("token"));
        let changed = Instant::now();
        let mut after = Client::connect(gateway.addr, &hello_with(NEW));
        assert!(!is_let_in(&gateway, OLD), "{name}: the old token is still taken");
        assert_eq!(before.closed_with(1008), "token changed", "{name}");
        assert!(changed.elapsed() < Duration::from_secs(3), "{name}: {:?}", changed.elapsed());
        after.ask("health", &json!({}));
        assert_eq!(warnings(&mut after), Vec::<String>::new(), "{name}");
    }
}

/// As Kubernetes mounts a secret: the file is a link into a folder that is a link, and that one is
/// swapped.
#[test]
fn a_swapped_link_is_a_changed_token_file() {
    let setup = Gateway::builder("token-swap").clients_say(OLD);
    let folder = setup.scratch();
    for (name, token) in [("one", OLD), ("two", NEW)] {
        fs::create_dir(folder.join(name)).unwrap();
        write(&folder.join(name).join("token"), token);
    }
    symlink("one", folder.join("..data")).unwrap();
    symlink("..data/token", folder.join("token")).unwrap();
    let path = folder.join("token");
    let gateway = setup.arg("--token-file").arg(path.to_str().unwrap()).spawn();
    let mut before = gateway.client();
    symlink("two", folder.join("..next")).unwrap();
    fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    assert!(is_let_in(&gateway, NEW) && !is_let_in(&gateway, OLD));
    assert_eq!(before.closed_with(1008), "token changed");
}

#[test]
fn a_change_is_noticed_within_a_tick_though_nobody_connects() {
    let gateway = setup("token-tick").spawn();
    let mut client = gateway.client();
    write(&gateway.setup().scratch().join("token"), NEW);
    let changed = Instant::now();
    assert_eq!(client.closed_with(1008), "token changed");
    assert!(changed.elapsed() < Duration::from_secs(3), "{:?}", changed.elapsed());
}

#[test]
fn a_change_is_noticed_within_a_tick_though_all_that_connect_are_silent() {
    // So few that there is room for three handshakes at a time.
    let limited = ["bash", "-c", "ulimit -n 64; exec \"$@\"", "bash"];
    let gateway = setup("token-silent").wrapper(limited).spawn();
    let mut client = gateway.client();
    let _silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(gateway.addr).unwrap()).collect();
    write(&gateway.setup().scratch().join("token"), NEW);
    let changed = Instant::now();
    assert_eq!(client.closed_with(1008), "token changed");
    assert!(changed.elapsed() < Duration::from_secs(3), "{:?}", changed.elapsed());
}

#[test]
fn the_same_token_written_again_ends_nothing() {
    let gateway = setup("token-again").spawn();
    let mut client = gateway.client();
    let path = gateway.setup().scratch().join("token");
    let beside = path.with_extension("new");
    write(&beside, OLD);
    fs::rename(beside, &path).unwrap();
    assert!(is_let_in(&gateway, OLD));
    write(&path, &format!("  {OLD}  "));
    for _ in 0..3 {
        assert!(is_let_in(&gateway, OLD));
        client.event("tick", |_| true);
    }
    client.ask("health", &json!({}));
}

#[test]
fn a_broken_token_file_keeps_the_last_good_token_in_force() {
    let gateway = setup("token-broken").spawn();
    let path = gateway.setup().scratch().join("token");
    let mut client = gateway.client();
    let ways: [Way; 15] = [
        ("missing", |_| {}),
        ("empty", |path| write(path, "")),
        ("blank", |path| write(path, " \t\n\n")),
        ("a folder", |path| fs::create_dir(path).unwrap()),
        ("a pipe", |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap()),
        ("a link to nowhere", |path| symlink("/nonexistent/token", path).unwrap()),
        ("a link to itself", |path| symlink(path, path).unwrap()),
        ("a device", |path| symlink("/dev/zero", path).unwrap()),
        ("a gigabyte", |path| File::create(path).unwrap().set_len(1 << 30).unwrap()),
        ("a hole that a power cut left", |path| write(path, &"\0".repeat(33))),
        ("two tokens", |path| write(path, &format!("{NEW}\n{OLD}"))),
        ("a mark of bytes before it", |path| write(path, &format!("\u{feff}{NEW}"))),
        ("nothing visible", |path| write(path, &"\u{200b}".repeat(20))),
        ("no text", |path| fs::write(path, [0xff; 40]).unwrap()),
        ("longer than a hello can say", |path| write(path, &"x".repeat(2_000))),
    ];
    for (name, breaks) in ways {
        fs::remove_file(&path).unwrap();
        breaks(&path);
        let started = Instant::now();
        assert!(is_let_in(&gateway, OLD), "{name}: the last good token is refused");
        assert!(!is_let_in(&gateway, ""), "{name}: the door is open");
        assert!(started.elapsed() < Duration::from_secs(5), "{name}: {:?}", started.elapsed());
        assert_eq!(warnings(&mut client), ["token-file"], "{name}");
        let _ = fs::remove_dir(&path).or_else(|_| fs::remove_file(&path));
        write(&path, OLD);
        assert!(is_let_in(&gateway, OLD), "{name}: mended");
        assert_eq!(warnings(&mut client), Vec::<String>::new(), "{name}: mended");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(is_let_in(&gateway, OLD));
    assert_eq!(warnings(&mut client), ["token-readable"]);
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert!(is_let_in(&gateway, OLD));
    assert_eq!(warnings(&mut client), Vec::<String>::new());
    // Broken, and then another one.
    write(&path, "");
    assert!(is_let_in(&gateway, OLD));
    write(&path, NEW);
    assert!(is_let_in(&gateway, NEW) && !is_let_in(&gateway, OLD));
    assert_eq!(client.closed_with(1008), "token changed");
}

#[test]
fn a_short_token_is_warned_of_from_the_start_and_when_it_comes_later() {
    let gateway = setup("token-short").spawn();
    let mut client = gateway.client();
    assert_eq!(warnings(&mut client), Vec::<String>::new());
    write(&gateway.setup().scratch().join("token"), "fifteen-letters");
    let mut client = Client::connect(gateway.addr, &hello_with("fifteen-letters"));
    assert_eq!(warnings(&mut client), ["short-token"]);
    write(&gateway.setup().scratch().join("token"), "sixteen-letters.");
    let mut client = Client::connect(gateway.addr, &hello_with("sixteen-letters."));
    assert_eq!(warnings(&mut client), Vec::<String>::new());

    let short = Gateway::builder("token-guessable").token("hunter2").spawn();
    assert_eq!(warnings(&mut short.client()), ["short-token"]);
    let said = eventually("the warning in the log", PATIENCE, || {
        Some(short.output.out()).filter(|said| said.contains("characters"))
    });
    assert!(said.matches("fewer than").count() == 1 && !said.contains("hunter"), "{said}");
}

/// Bytes that a process has read from files so far (sockets do not count).
fn bytes_read(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn wrong_tokens_do_not_make_the_gateway_read_its_token_file() {
    let gateway = setup("token-reads").spawn();
    let path = gateway.setup().scratch().join("token");
    // As large as it may be: what is read shows.
    let padded = format!("{OLD}{}", " ".repeat(usize::try_from(TOKEN_FILE_BYTES_MAX).unwrap() - OLD.len()));
    fs::write(&path, padded).unwrap();
    let refused = || {
        let mut socket = gateway.upgraded();
        socket.send(crate::harness::raw::TEXT, hello_with("a guess").to_string().as_bytes());
    };
    // A file that has only just been written may be written again without looking different.
    eventually("the file to be old enough to be trusted", PATIENCE, || {
        let before = bytes_read(gateway.pid());
        refused();
        gateway.client().ask("health", &json!({}));
        (bytes_read(gateway.pid()) - before < TOKEN_FILE_BYTES_MAX).then_some(())
    });
    let before = bytes_read(gateway.pid());
    (0..200).for_each(|_| refused());
    gateway.client().ask("health", &json!({}));
    let read = bytes_read(gateway.pid()) - before;
    assert!(read < 2 * TOKEN_FILE_BYTES_MAX, "{read} bytes for 200 wrong tokens");
    write(&path, NEW);
    assert!(is_let_in(&gateway, NEW));
}

#[test]
fn what_is_no_file_is_refused_at_the_start_and_waits_for_nobody() {
    for (name, flag) in [("token-fifo", "--token-file"), ("config-fifo", "--config")] {
        let setup = Gateway::builder(name);
        let path = setup.scratch().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for path in [path.to_str().unwrap(), "/dev/zero", "/"] {
            setup.clone().arg(flag).arg(path).run_to_exit().expect(2, &[path]);
        }
    }
}
