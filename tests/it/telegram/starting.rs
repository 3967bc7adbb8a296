//! How the channel is switched on and off, and what `health` says of it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use serde_json::json;

use crate::harness::Gateway;
use crate::harness::gateway::Builder;
use crate::telegram::botapi::{BOT_NAME, BotApi, Fault, TOKEN, World};
use crate::telegram::lab::{Lab, OWNER, channel, in_state, setup};

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A daemon that has all of it from its config.
fn by_config(name: &str, token: impl FnOnce(&Builder) -> serde_json::Value) -> Builder {
    let setup = Gateway::builder(name).agent_scripted();
    private(&setup.scratch().join("config.json"), "");
    let members = token(&setup);
    setup.config(json!({"owner": {"telegram": OWNER.to_string()}, "telegram": members}))
}

#[test]
fn each_way_to_give_the_token_switches_it_on() {
    let api = BotApi::start();
    let base = api.base();
    let ways = [
        setup("token-env", &api),
        setup("sub-path", &api).env("CLAWDIS_TELEGRAM_API_BASE", &format!("{base}/proxied/api/")),
        by_config("token-config", |_| json!({"botToken": TOKEN, "apiBase": base})),
        by_config("token-file", |setup| {
            let file = setup.scratch().join("bot-token");
            private(&file, &format!("{TOKEN}\n"));
            json!({"botTokenFile": file, "apiBase": format!("{base}/")})
        }),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let gateway = way.spawn();
        let facts = in_state(&mut gateway.client(), "ready");
        assert_eq!(facts["configured"], true, "{facts}");
        assert!(facts["self"].as_str().is_some_and(|own| own.contains(BOT_NAME)), "{facts}");
        api.with(|world| world.text(OWNER, OWNER, &format!("[[say way {number}]]")));
        assert_eq!(api.answers(OWNER, number + 1)[number], format!("way {number}"));
        api.confirmed();
    }
}

#[test]
fn without_a_token_nothing_is_asked_of_anybody() {
    let api = BotApi::start();
    let gateway =
        Gateway::builder("no-token").agent_echo().env("CLAWDIS_TELEGRAM_API_BASE", &api.base()).spawn();
    let mut client = gateway.client();
    let facts = channel(&mut client);
    assert!(facts["configured"] == false && facts["state"] == "off", "{facts}");
    let params = json!({"to": "telegram:7", "message": "hi", "idempotencyKey": "k"});
    assert_eq!(client.refused("send", &params)["code"], "UNAVAILABLE");
    assert!(api.with(|world| world.requests.is_empty()));
}

#[test]
fn a_wrong_token_is_a_state_and_no_storm() {
    for (name, fault) in [("revoked", (401, "Unauthorized")), ("malformed", (404, "Not Found"))] {
        let api = BotApi::start();
        api.with(|world| world.fail("*", usize::MAX, Fault::Error(fault.0, fault.1)));
        let gateway = setup(name, &api).spawn();
        let mut client = gateway.client();
        let facts = in_state(&mut client, "unauthorized");
        let reason = facts["reason"].as_str().unwrap();
        assert!(reason.contains("token") && !reason.contains("Canary"), "{reason}");
        let params = json!({"to": "telegram:7", "message": "hi", "idempotencyKey": "k"});
        let error = client.refused("send", &params);
        assert!(["UNAVAILABLE", "NOT_LINKED"].contains(&error["code"].as_str().unwrap()), "{error}");
        // What is measured is how much happens in a time.
        let before = api.with(|world| world.requests.len());
        thread::sleep(Duration::from_secs(3));
        let more = api.with(|world| world.requests.len()) - before;
        assert!(more <= 1, "{more} requests in 3 s with a wrong token");
        // The person gives the bot a new token, or it was a mistake of the server.
        api.with(World::heal);
        for enabled in [false, true] {
            client.ask("set-channel", &json!({"channel": "telegram", "enabled": enabled}));
        }
        in_state(&mut client, "ready");
        api.with(|world| world.text(OWNER, OWNER, "[[say back]]"));
        assert_eq!(api.answers(OWNER, 1), ["back"]);
    }
}

#[test]
fn off_stops_and_on_goes_on_where_it_was() {
    let lab = Lab::start("off-on");
    let mut client = lab.gateway.client();
    lab.sync();
    client.ask("set-channel", &json!({"channel": "telegram", "enabled": false}));
    in_state(&mut client, "off");
    let params = json!({"to": "telegram:7", "message": "hi", "idempotencyKey": "k"});
    assert_eq!(client.refused("send", &params)["code"], "UNAVAILABLE");
    // The poll that was under way may still bring this; it must not count.
    lab.owner("[[say while off]]");
    let polls = lab.api.with(|world| world.calls("getUpdates").len());
    thread::sleep(Duration::from_secs(1));
    lab.api.with(|world| {
        assert_eq!(world.calls("getUpdates").len(), polls, "it polls although it is off");
        assert_eq!(world.unconfirmed().len(), 1, "it took a message although it is off");
        assert_eq!(world.texts(OWNER).len(), 1);
    });
    client.ask("set-channel", &json!({"channel": "telegram", "enabled": true}));
    in_state(&mut client, "ready");
    assert_eq!(lab.api.answers(OWNER, 2)[1], "while off");
    lab.sync();
    assert_eq!(lab.prompts_with("while off"), 1);
}

#[test]
fn health_tells_connection_poll_and_message_apart() {
    let mut lab = Lab::start("facts");
    let mut client = lab.gateway.client();
    let facts = in_state(&mut client, "ready");
    assert!(facts["configured"] == true && facts["enabled"] == true, "{facts}");
    let frame = facts["lastFrameTs"].as_u64().expect("the time of the last answer to a poll");
    assert!(facts["lastMessageTs"].is_null(), "{facts}");
    lab.sync();
    let later = channel(&mut client);
    assert!(
        later["lastMessageTs"].as_u64().unwrap() > 0 && later["lastFrameTs"].as_u64().unwrap() >= frame,
        "{later}"
    );
    lab.api.down();
    let gone = in_state(&mut client, "unreachable");
    let message = |facts: &serde_json::Value| facts["lastMessageTs"].as_u64();
    assert!(gone["reason"].is_string() && message(&gone) >= message(&later), "{gone}");
    client.event("health", |event| {
        event["payload"]["health"]["channels"]["telegram"]["state"] == "unreachable"
    });
    lab.api.up();
    in_state(&mut client, "ready");
    client.event("health", |event| event["payload"]["health"]["channels"]["telegram"]["state"] == "ready");
}
