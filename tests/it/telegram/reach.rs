//! What `mediaUrl` reaches: the web, and of this network, this machine and its files only what the
//! config names.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use serde_json::{Value, json};

use crate::harness::{Client, PATIENCE, eventually, process};
use crate::telegram::lab::{FRIEND, Lab, OWNER, in_state};

const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\npicture";

/// A web server inside: `/picture.png` is a picture, `/to?URL` leads to the URL.
struct Inside {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Inside {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                let mut head = [0; 4096];
                let bytes = stream.read(&mut head).unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..bytes]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default();
                let answer = path.strip_prefix("/to?").map_or_else(
                    || format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PICTURE.len()),
                    |url| format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n"),
                );
                let body = if path.starts_with("/to?") { &b""[..] } else { PICTURE };
                let _ = stream.write_all(&[answer.as_bytes(), body].concat());
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn client(lab: &Lab) -> Client {
    let mut client = lab.gateway.client();
    in_state(&mut client, "ready");
    client
}

fn media(url: &str) -> Value {
    // The URL is its own key: each is tried once.
    let key: String = url.chars().rev().take(200).collect();
    json!({"to": FRIEND.to_string(), "message": "", "mediaUrl": url, "idempotencyKey": key})
}

/// The host is refused with its name, the reason and the remedy.
#[track_caller]
fn refused(client: &mut Client, url: &str, host: &str) {
    let error = client.refused("send", &media(url));
    assert_eq!(error["code"], "INVALID_REQUEST", "{url}: {error}");
    let text = error["message"].as_str().unwrap();
    assert!(text.contains(host) && text.contains("gateway.mediaHosts"), "{url}: {error}");
    assert_eq!(error["retryable"], false, "{url}: {error}");
}

/// Hosts of this machine, of its network and of nobody, in many spellings.
fn inside_hosts() -> Vec<String> {
    let mut hosts: Vec<String> = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0",
        "localhost",
        "LocalHost",
        "[::1]",
        "[::]",
        // Not on the list that this was mended for.
        "0x7f.1",
        "127.0.65535",
        "0300.0250.1",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        // What wraps an address of this network.
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:7f00:1::1]",
        "[2002:c0a8:101::1]",
        "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
        // The special ranges.
        "10.1.2.3",
        "100.64.1.1",
        "100.127.255.254",
        "169.254.169.254",
        "172.31.9.9",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[64:ff9b:1::1]",
        "[100::1]",
        "[2001:db8::1]",
        "[fc00::1]",
        "[fd12::1]",
        "[fe80::1]",
        "[ff02::1]",
    ]
    .map(str::to_owned)
    .into();
    let own = String::from_utf8(process::run("uname", &["-n"]).stdout).unwrap().trim().to_owned();
    let inside = |found: SocketAddr| {
        found.ip().is_loopback() || matches!(found.ip(), std::net::IpAddr::V4(ip) if ip.is_private())
    };
    if (own.as_str(), 80).to_socket_addrs().is_ok_and(|mut found| found.all(inside)) {
        hosts.push(own);
    }
    hosts
}

#[test]
fn no_spelling_of_an_inside_address_is_asked() {
    let lab = Lab::start("reach-spelling");
    let mut client = client(&lab);
    let inside = Inside::start();
    let port = inside.address.port();
    for host in inside_hosts() {
        refused(&mut client, &format!("http://{host}:{port}/picture.png"), &host);
    }
    // What is refused does not depend on the port or the scheme.
    refused(&mut client, "https://127.1/metrics", "127.1");
    refused(&mut client, &format!("http://nobody@127.1:{port}/"), "127.1");
    assert_eq!(inside.asked(), 0, "it was connected to");
    assert_eq!(lab.api.with(|world| world.sent.len()), 0);
    assert!(!lab.gateway.output.both().contains("panicked"));
}

#[test]
fn the_config_names_what_may_be_reached_and_no_redirect_goes_further() {
    let inside = Inside::start();
    let other = Inside::start();
    let named = [format!("127.0.0.1:{}", inside.address.port()), "not/a host".to_owned()];
    let lab = Lab::with("reach-named", |setup| setup.config(json!({"gateway": {"mediaHosts": named}})));
    lab.gateway.output.wait_for("gateway.mediaHosts", PATIENCE);
    let mut client = client(&lab);
    let (base, elsewhere) = (format!("http://{}", inside.address), other.address);
    for url in [format!("{base}/picture.png"), format!("{base}/to?{base}/picture.png")] {
        assert!(client.ask("send", &media(&url))["messageId"].is_string(), "{url}");
    }
    let sent = lab.api.with(|world| world.sent.clone());
    assert!(sent.len() == 2 && sent.iter().all(|sent| sent.upload.as_ref().unwrap().bytes == PICTURE));
    for host in inside_hosts() {
        let host = if host == "127.0.0.1" { elsewhere.ip().to_string() } else { host };
        refused(&mut client, &format!("{base}/to?http://{host}:{}/picture.png", elsewhere.port()), &host);
    }
    // Another spelling of a host that is named is another host.
    refused(&mut client, &format!("http://127.1:{}/picture.png", inside.address.port()), "127.1");
    for url in [format!("{base}/to?file:///etc/passwd"), format!("{base}/to?ftp://127.0.0.1/")] {
        assert_eq!(client.refused("send", &media(&url))["code"], "INVALID_REQUEST", "{url}");
    }
    assert_eq!(other.asked(), 0, "it was connected to");
    assert_eq!(lab.api.with(|world| world.sent.len()), 2);
}

#[test]
fn what_was_refused_once_stays_refused_and_leaves_the_chat_open() {
    let mut lab = Lab::start("reach-after");
    let mut before = client(&lab);
    refused(&mut before, "http://127.1/", "127.1");
    refused(&mut before, "http://127.1/", "127.1");
    drop(before);
    lab.crash();
    let mut client = client(&lab);
    refused(&mut client, "http://127.1/", "127.1");
    let params = json!({"to": FRIEND.to_string(), "message": "and on", "idempotencyKey": "on"});
    client.ask("send", &params);
    assert_eq!(lab.api.answers(FRIEND, 1), ["and on"]);
}

#[test]
fn a_file_is_judged_by_where_it_lies_and_what_it_is() {
    let lab = Lab::with("reach-files", |setup| {
        let folder = setup.scratch().join("shared");
        fs::create_dir_all(&folder).unwrap();
        // A folder above everything is named, too.
        let folders = [folder, setup.scratch(), setup.state_dir()];
        setup.config(json!({"gateway": {"mediaFolders": folders}}))
    });
    let mut client = client(&lab);
    let folder = lab.gateway.setup().scratch().join("shared");
    let state = lab.gateway.state_dir();
    fs::write(folder.join("good.txt"), "good").unwrap();
    symlink(folder.join("good.txt"), folder.join("link-within")).unwrap();
    let journal =
        fs::read_dir(&state).unwrap().flatten().map(|entry| entry.path()).find(|path| path.is_file());
    let journal = journal.unwrap();
    symlink(&journal, folder.join("link-to-state")).unwrap();
    symlink(&state, folder.join("folder-of-state")).unwrap();
    symlink("/dev/zero", folder.join("zero")).unwrap();
    symlink("/proc/self/environ", folder.join("environ")).unwrap();
    symlink(folder.join("pipe"), folder.join("link-to-pipe")).unwrap();
    assert!(process::run("mkfifo", &[folder.join("pipe").to_str().unwrap()]).status.success());
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let name = |path: &Path| path.to_str().unwrap().to_owned();
    for path in [
        folder.join("pipe"),
        folder.join("link-to-pipe"),
        folder.join("zero"),
        folder.join("environ"),
        folder.join("socket"),
        folder.clone(),
        folder.join("link-to-state"),
        journal.clone(),
        folder.join("folder-of-state").join(journal.file_name().unwrap()),
    ] {
        let error = client.refused("send", &media(&name(&path)));
        assert_eq!(error["code"], "INVALID_REQUEST", "{}: {error}", path.display());
    }
    for path in [folder.join("good.txt"), folder.join("link-within")] {
        client.ask("send", &media(&name(&path)));
    }
    let sent = lab.api.with(|world| world.sent.clone());
    assert!(sent.len() == 2 && sent.iter().all(|sent| sent.upload.as_ref().unwrap().bytes == b"good"));
}

#[test]
fn a_bot_api_server_of_this_machine_hands_out_plain_files_only() {
    let lab = Lab::start("reach-local");
    let folder = lab.gateway.setup().scratch().join("server");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("good.pdf"), "%PDF-1.4 and so on").unwrap();
    assert!(process::run("mkfifo", &[folder.join("pipe").to_str().unwrap()]).status.success());
    symlink("/dev/zero", folder.join("zero")).unwrap();
    let send = |name: &str, words: &str| {
        let path = folder.join(name);
        let id = lab.api.with(|world| world.file(path.to_str().unwrap(), vec![0; 18]));
        let document = json!({"file_id": id, "file_unique_id": id, "file_name": "x.pdf", "mime_type": "application/pdf", "file_size": 18});
        lab.api.with(|world| world.says(OWNER, OWNER, json!({"document": document, "caption": words})));
    };
    for name in ["pipe", "zero", "good.pdf"] {
        send(name, &format!("[[say got {name}]]"));
        let answer = format!("got {name}");
        lab.api.wait(&answer, |world| world.texts(OWNER).contains(&answer).then_some(()));
    }
    eventually("the agent to be told of the one file", PATIENCE, || {
        (lab.prompts_with("is in the file") == 1).then_some(())
    });
}
