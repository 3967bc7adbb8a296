//! One gateway on a host has a session of an account, whatever their state folders are.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Client, PATIENCE, eventually};
use crate::whatsapp::lab::{FRIEND, Lab, SELF, begin_login, in_state, lid, shown, switch};
use crate::whatsapp::mock::Mock;

/// The name of our account at this mock, on this host.
fn address(mock: &Mock) -> SocketAddr {
    let account = format!("clawdis whatsapp {} {SELF}", mock.host());
    SocketAddr::from_abstract_name(format!(
        "clawdis-gateway-{}",
        HEXLOWER.encode(&Sha256::digest(account)[..16])
    ))
    .unwrap()
}

#[track_caller]
fn waits_for(client: &mut Client, pid: u32) -> Value {
    let other = format!("process {pid}");
    eventually("the session to wait for the other gateway's", PATIENCE, || {
        let facts = in_state(client, "closed");
        facts["reason"].as_str().unwrap().contains(&other).then_some(facts)
    })
}

#[test]
fn a_second_gateway_with_the_same_login_waits_for_the_first_one() {
    let lab = Lab::start("lease");
    let setup = lab.gateway.setup();
    let copy = setup.scratch().join("copy");
    // A copied state folder: the same login, and a lock of its own.
    let copied = crate::harness::process::run(
        "cp",
        &["-a", setup.state_dir().to_str().unwrap(), copy.to_str().unwrap()],
    );
    assert!(copied.status.success(), "{copied:?}");
    std::fs::remove_file(copy.join("whatsapp/login/lock")).unwrap();
    let logins = || lab.mock.events("login").len();
    let before = logins();
    let second = setup.in_state_dir(&copy).spawn();
    let mut client = second.client();
    waits_for(&mut client, lab.gateway.pid());
    assert_eq!(logins(), before, "the second one has begun a session");
    lab.text(FRIEND, "[[say by the first]]");
    lab.mock.said(&lid(FRIEND), "by the first");
    in_state(&mut lab.gateway.client(), "ready");
    // Switched off, the first one has no session any more.
    switch(&mut lab.gateway.client(), false);
    in_state(&mut client, "ready");
    switch(&mut lab.gateway.client(), true);
    waits_for(&mut lab.gateway.client(), second.pid());
    drop(second);
    in_state(&mut lab.gateway.client(), "ready");
}

#[test]
fn a_second_link_of_the_same_account_is_not_used_beside_the_first_one() {
    let lab = Lab::start("lease-linked");
    let copy = lab.gateway.setup().scratch().join("second");
    let program = copy.join("whatsapp/program/dist");
    std::fs::create_dir_all(&program).unwrap();
    let built = lab.gateway.state_dir().join("whatsapp/program/dist/sidecar.mjs").canonicalize().unwrap();
    std::os::unix::fs::symlink(built, program.join("sidecar.mjs")).unwrap();
    let second = lab.gateway.setup().in_state_dir(&copy).spawn();
    let mut client = second.client();
    let login = begin_login(&mut client, &json!({"channel": "whatsapp"}));
    let qr = shown(&mut client, "qr");
    lab.mock.op("scan-qr", json!({ "qr": qr }));
    let end = client.answer(&login);
    assert_eq!(end["ok"], false, "{end}");
    assert!(end["error"]["message"].as_str().unwrap().contains("another gateway on this host"), "{end}");
    waits_for(&mut client, lab.gateway.pid());
    // Unlinking it needs no session beside the other one's.
    client.ask("channel-logout", &json!({"channel": "whatsapp"}));
    in_state(&mut client, "unlinked");
    lab.sync();
}

#[test]
fn what_does_not_listen_stops_no_session() {
    let mut lab = Lab::start("lease-mute");
    lab.gateway.sigkill();
    eventually("the account to be free", PATIENCE, || {
        UnixStream::connect_addr(&address(&lab.mock)).is_err().then_some(())
    });
    let full = UnixListener::bind_addr(&address(&lab.mock)).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let _waiting = UnixStream::connect_addr(&address(&lab.mock)).unwrap();
    lab.gateway = lab.gateway.setup().spawn();
    let facts = in_state(&mut lab.gateway.client(), "ready");
    assert!(facts["reason"].as_str().unwrap().contains("cannot be told"), "{facts}");
    lab.sync();
    // A program of this user is believed.
    drop(full);
    lab.gateway.sigkill();
    let _believed = UnixListener::bind_addr(&address(&lab.mock)).unwrap();
    lab.gateway = lab.gateway.setup().spawn();
    waits_for(&mut lab.gateway.client(), std::process::id());
}
