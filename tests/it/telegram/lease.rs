//! One gateway on a host polls a bot, whatever their state folders are; whoever else claims to is no reason
//! for silence.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Client, PATIENCE, eventually, params_agent, process};
use crate::telegram::botapi::{BOT_ID, BotApi};
use crate::telegram::lab::{FRIEND, Lab, OWNER, channel, in_state, setup};

/// The name of the mock's bot on this host.
fn name(api: &BotApi) -> String {
    let server = api.base().trim_start_matches("http://").to_owned();
    let account = format!("clawdis telegram {server} {BOT_ID}");
    format!("clawdis-gateway-{}", HEXLOWER.encode(&Sha256::digest(account)[..16]))
}

fn address(api: &BotApi) -> SocketAddr {
    SocketAddr::from_abstract_name(name(api)).unwrap()
}

/// Waits for a reason with these words.
#[track_caller]
fn reason(client: &mut Client, words: &str) -> Value {
    eventually(&format!("a reason with `{words}`"), Duration::from_secs(40), || {
        let facts = channel(client);
        facts["reason"].as_str().is_some_and(|reason| reason.contains(words)).then_some(facts)
    })
}

/// Another process that holds the bot's name, if it can be started: a Python program is any program.
fn squatter(api: &BotApi, before: &[String]) -> Child {
    let program = format!(
        "import socket, sys, time\ns = socket.socket(socket.AF_UNIX)\ns.bind('\\0{}')\ns.listen(9)\nprint('held', flush=True)\ntime.sleep(600)",
        name(api)
    );
    let mut argv = before.to_vec();
    // The system's own: one in root's home is nobody else's.
    argv.extend(["/usr/bin/python3", "-c", &program].map(str::to_owned));
    let mut child = Command::new(&argv[0]).args(&argv[1..]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    assert_eq!(line, "held\n");
    child
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_second_gateway_says_who_polls_and_takes_over_when_that_one_is_gone() {
    let mut first = Lab::start("lease-first");
    in_state(&mut first.gateway.client(), "ready");
    let second = setup("lease-second", &first.api).spawn();
    let mut client = second.client();
    let facts = in_state(&mut client, "conflict");
    let reason = facts["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("process {}", first.gateway.pid())), "{facts}");
    assert_eq!((&facts["linked"], &facts["self"]), (&json!(true), &json!("@clawdis_bot")), "{facts}");
    // What goes out is in nobody's way.
    client.ask("send", &json!({"to": FRIEND.to_string(), "message": "by the second", "idempotencyKey": "k"}));
    first.owner("[[say by the first]]");
    first.api.wait("the first one's answer", |world| {
        world.texts(OWNER).contains(&"by the first".to_owned()).then_some(())
    });
    in_state(&mut first.gateway.client(), "ready");
    assert!(second.prompts().is_empty(), "the second one has polled");
    first.gateway.sigkill();
    let begun = Instant::now();
    in_state(&mut client, "ready");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    first.owner("[[say by the second]]");
    first.api.wait("the second one's answer", |world| {
        world.texts(OWNER).contains(&"by the second".to_owned()).then_some(())
    });
    assert_eq!(second.prompts().len(), 1);
}

#[test]
fn a_channel_that_is_switched_off_frees_its_bot() {
    let lab = Lab::start("lease-off");
    let mut first = lab.gateway.client();
    in_state(&mut first, "ready");
    let second = setup("lease-off-second", &lab.api).spawn();
    let mut client = second.client();
    in_state(&mut client, "conflict");
    let switch = |client: &mut Client, enabled: bool| {
        client.ask("set-channel", &json!({"channel": "telegram", "enabled": enabled}));
    };
    switch(&mut first, false);
    in_state(&mut client, "ready");
    switch(&mut first, true);
    let facts = in_state(&mut first, "conflict");
    assert!(facts["reason"].as_str().unwrap().contains(&second.pid().to_string()), "{facts}");
    // Off and on again at once: its own thread may not have ended yet.
    for _ in 0..5 {
        switch(&mut client, false);
        switch(&mut client, true);
    }
    in_state(&mut client, "ready");
}

#[test]
fn a_program_of_this_user_is_believed_and_named() {
    let api = BotApi::start();
    let listener = UnixListener::bind_addr(&address(&api)).unwrap();
    let gateway = setup("lease-believed", &api).spawn();
    let mut client = gateway.client();
    let facts = in_state(&mut client, "conflict");
    assert!(
        facts["reason"].as_str().unwrap().contains(&format!("process {}", std::process::id())),
        "{facts}"
    );
    assert!(api.with(|world| world.calls("getUpdates").is_empty()));
    drop(listener);
    in_state(&mut client, "ready");
}

#[test]
fn nobody_who_cannot_be_a_gateway_stops_it() {
    let api = BotApi::start();
    // One that holds the name and does not listen.
    let mute = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .unwrap();
    rustix::net::bind(&mute, &SocketAddrUnix::new_abstract_name(name(&api).as_bytes()).unwrap()).unwrap();
    let gateway = setup("lease-mute", &api).spawn();
    let mut client = gateway.client();
    let facts = reason(&mut client, "cannot be told");
    assert_eq!(facts["state"], "ready", "{facts}");
    api.with(|world| {
        world.open(OWNER);
        world.text(OWNER, OWNER, "[[say all the same]]")
    });
    assert_eq!(api.answers(OWNER, 1), ["all the same"]);
    drop(mute);
    // It is claimed with one of the next polls.
    api.with(|world| world.text(OWNER, OWNER, "[[say and on]]"));
    api.answers(OWNER, 2);
    eventually("the name to be the gateway's", PATIENCE, || UnixStream::connect_addr(&address(&api)).ok());
    eventually("no reason", PATIENCE, || channel(&mut client)["reason"].is_null().then_some(()));
    drop(gateway);

    // One that lets nobody in.
    let full = UnixListener::bind_addr(&address(&api)).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let waiting = UnixStream::connect_addr(&address(&api)).unwrap();
    let gateway = setup("lease-full", &api).spawn();
    assert_eq!(reason(&mut gateway.client(), "cannot be told")["state"], "ready");
    drop((gateway, full, waiting));

    // A program of another user: only root can start one.
    if rustix::process::geteuid().is_root() {
        let other = squatter(&api, &process::ordinary_user());
        let gateway = setup("lease-other-user", &api).spawn();
        let facts = reason(&mut gateway.client(), "of user id");
        assert_eq!(facts["state"], "ready", "{facts}");
        assert!(facts["reason"].as_str().unwrap().contains(&other.id().to_string()), "{facts}");
        end(other);
    }
}

#[test]
fn the_agent_cannot_take_the_bot_from_its_gateway() {
    let lab = Lab::start("lease-agent");
    let mut client = lab.gateway.client();
    in_state(&mut client, "ready");
    let program = format!(
        "import socket,time\ns=socket.socket(socket.AF_UNIX)\nwhile 1:\n try: s.bind(chr(0)+\"{}\"); break\n except OSError: time.sleep(0.01)\ns.listen(9)\ntime.sleep(600)",
        name(&lab.api)
    );
    lab.agent_file("squat.py", &program);
    let file = lab.gateway.probe().join("squat.py");
    let order = format!("[[sh python3 {}]]", file.display());
    let run = client.run(&params_agent(&order, "squat"));
    let switch = |client: &mut Client, enabled: bool| {
        client.ask("set-channel", &json!({"channel": "telegram", "enabled": enabled}));
    };
    switch(&mut client, false);
    // The gateway's own listener may still answer for a moment after the switch.
    let gateway = lab.gateway.pid();
    eventually("the agent to hold the name", PATIENCE, || {
        let stream = UnixStream::connect_addr(&address(&lab.api)).ok()?;
        let holder = rustix::net::sockopt::socket_peercred(&stream).unwrap();
        (holder.pid.as_raw_nonzero().get().unsigned_abs() != gateway).then_some(())
    });
    switch(&mut client, true);
    let facts = reason(&mut client, "cannot be told");
    assert_eq!(facts["state"], "ready", "{facts}");
    client.ask("agent-cancel", &json!({"runId": run.id}));
}
