//! When the server, the network or another program is the problem: said in `health`, borne with
//! patience, and over by itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::net::{AddressFamily, SocketType};
use serde_json::json;

use crate::telegram::botapi::{BotApi, Fault, World};
use crate::telegram::lab::{FRIEND, Lab, OWNER, in_state, mounted, setup};

fn polls(world: &World) -> usize {
    world.calls("getUpdates").len()
}

#[test]
fn another_poller_is_named_and_waited_for() {
    const TEXT: &str =
        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    let lab = Lab::start("conflict");
    let mut client = lab.gateway.client();
    in_state(&mut client, "ready");
    lab.api.with(|world| {
        world.fail("getUpdates", 2, Fault::Error(409, TEXT));
        world.text(OWNER, OWNER, "[[say ends the poll under way]]")
    });
    let facts = in_state(&mut client, "conflict");
    assert!(facts["reason"].as_str().unwrap().contains("another"), "{facts}");
    // What goes out is not in conflict with anybody.
    let params = json!({"to": FRIEND.to_string(), "message": "still here", "idempotencyKey": "k"});
    client.ask("send", &params);
    lab.text(FRIEND, FRIEND, "[[say back again]]");
    lab.api.wait_within("the answer once the other one is gone", Duration::from_secs(60), |world| {
        world.texts(FRIEND).contains(&"back again".to_owned()).then_some(())
    });
    in_state(&mut client, "ready");
    lab.api.with(|world| {
        let conflicts: Vec<Instant> = world
            .calls("getUpdates")
            .iter()
            .filter(|poll| poll.fault.is_some())
            .map(|poll| poll.at)
            .collect();
        assert_eq!(conflicts.len(), 2);
        let pause = conflicts[1] - conflicts[0];
        assert!(pause >= Duration::from_secs(3), "{pause:?} between two polls in conflict");
    });
}

#[test]
fn a_webhook_set_elsewhere_is_a_clear_state() {
    let lab = Lab::start("webhook");
    let mut client = lab.gateway.client();
    lab.api.with(|world| {
        world.webhook = "https://bots.example.org/hook".to_owned();
        world.text(OWNER, OWNER, "[[say ends the poll under way]]")
    });
    let facts = in_state(&mut client, "webhook");
    assert!(facts["reason"].as_str().unwrap().contains("webhook"), "{facts}");
    lab.api.with(|world| {
        assert!(world.calls("deleteWebhook").is_empty(), "somebody else's webhook was removed unasked");
        world.webhook.clear();
    });
    for enabled in [false, true] {
        client.ask("set-channel", &json!({"channel": "telegram", "enabled": enabled}));
    }
    in_state(&mut client, "ready");
    lab.sync();
}

#[test]
fn a_webhook_is_removed_where_the_config_says_so() {
    let api = BotApi::start();
    api.with(|world| world.webhook = "https://bots.example.org/hook".to_owned());
    let lab = Lab::over(api, |api| {
        setup("delete-webhook", api).config(json!({"telegram": {"deleteWebhook": true}}))
    });
    lab.sync();
    lab.api.with(|world| {
        assert!(world.webhook.is_empty());
        assert_eq!(world.calls("deleteWebhook").len(), 1);
    });
    in_state(&mut lab.gateway.client(), "ready");
}

#[test]
fn a_webhook_whose_removal_fails_is_removed_later() {
    let api = BotApi::start();
    api.with(|world| {
        world.webhook = "https://bots.example.org/hook".to_owned();
        world.fail("deleteWebhook", 1, Fault::Html(502));
    });
    let lab = Lab::over(api, |api| {
        setup("delete-webhook-later", api).config(json!({"telegram": {"deleteWebhook": true}}))
    });
    lab.sync();
    lab.api.with(|world| assert_eq!(world.calls("deleteWebhook").len(), 2));
    in_state(&mut lab.gateway.client(), "ready");
}

#[test]
fn a_server_that_goes_away_and_comes_back_loses_nothing() {
    let mut lab = Lab::start("gone");
    let mut client = lab.gateway.client();
    lab.sync();
    lab.owner("[[hold on]] [[say late answer]]");
    lab.api.confirmed();
    lab.api.down();
    in_state(&mut client, "unreachable");
    lab.gateway.release("on");
    lab.owner("[[say asked meanwhile]]");
    lab.api.up();
    let text = lab.api.wait("both answers", |world| {
        let text = world.texts(OWNER).join("\n");
        (text.contains("late answer") && text.contains("asked meanwhile")).then_some(text)
    });
    assert!(text.matches("late answer").count() == 1, "{text}");
    in_state(&mut client, "ready");
}

#[test]
fn nonsense_from_the_server_is_borne() {
    let lab = Lab::start("nonsense");
    let mut client = lab.gateway.client();
    let faults = [
        Fault::Html(502),
        Fault::Body("{\"result\":[]}".to_owned()),
        Fault::Body("garbage".to_owned()),
        Fault::Body("{\"ok\":true,\"result\":{}}".to_owned()),
        Fault::Body("{\"ok\":true,\"result\":[3]}".to_owned()),
        Fault::ResetUnread,
        Fault::ResetRead,
        Fault::HalfDone,
        Fault::RetryAfter(1),
    ];
    let count = faults.len();
    for (number, fault) in faults.into_iter().enumerate() {
        // The poll under way brings the first message, the next one meets the fault, and one behind
        // it brings the second.
        for (chat, part) in [(OWNER, "before"), (FRIEND, "behind")] {
            let mark = format!("{part} {number}");
            lab.api.with(|world| {
                if part == "before" {
                    world.fail("getUpdates", 1, fault.clone());
                }
                world.text(chat, chat, &format!("[[say {mark}]]"))
            });
            let met =
                |world: &World| world.calls("getUpdates").iter().filter(|poll| poll.fault.is_some()).count();
            lab.api.wait(&mark, |world| {
                let told = world.texts(chat).iter().any(|text| text.contains(&mark));
                (told && met(world) == number + 1).then_some(())
            });
        }
    }
    in_state(&mut client, "ready");
    let spent = lab.api.with(|world| polls(world));
    assert!(spent <= 6 * count, "{spent} polls for {count} faults");
    assert!(!lab.gateway.output.both().contains("panicked"));
}

#[test]
fn a_huge_answer_is_not_read_to_its_end() {
    let lab = Lab::start("huge");
    lab.sync();
    let before = lab.gateway.rss();
    lab.api.with(|world| {
        world.fail("getUpdates", 1, Fault::Huge(200 << 20));
        world.text(OWNER, OWNER, "[[say still small]]")
    });
    lab.api.wait("the answer", |world| world.texts(OWNER).contains(&"still small".to_owned()).then_some(()));
    lab.sync();
    let after = lab.gateway.rss();
    assert!(after < before + (64 << 20), "grew from {before} to {after} bytes");
}

#[test]
fn a_slow_answer_is_waited_for() {
    let lab = Lab::start("slow");
    lab.api.with(|world| {
        world.fail("getUpdates", 1, Fault::Slow(Duration::from_millis(2)));
        world.fail("sendMessage", 1, Fault::Slow(Duration::from_millis(2)));
        world.text(OWNER, OWNER, "[[say slowly]]")
    });
    assert_eq!(lab.api.answers(OWNER, 1), ["slowly"]);
    lab.sync();
    assert_eq!(lab.api.with(|world| world.texts(OWNER).len()), 2);
}

#[test]
fn a_server_without_long_polls_is_asked_once_a_second() {
    let lab = Lab::start("no-wait");
    lab.sync();
    lab.api.with(|world| world.long_poll = false);
    let (before, started) = (lab.api.with(|world| polls(world)), Instant::now());
    // What is measured is how much happens in a time.
    thread::sleep(Duration::from_secs(4));
    let rate = lab.api.with(|world| polls(world) - before);
    assert!(rate <= 6, "{rate} polls in {:?}", started.elapsed());
    lab.sync();
}

#[test]
fn a_poll_that_nobody_answers_is_given_up() {
    let lab = Lab::start("dead-line");
    lab.sync();
    lab.api.polled();
    // The poll under way brings this one; the next hangs, as on a line that is dead.
    lab.api.with(|world| {
        world.fail("getUpdates", 1, Fault::Hang);
        world.text(OWNER, OWNER, "[[say before]]");
    });
    let hanging = |world: &World| world.calls("getUpdates").last().is_some_and(|poll| poll.fault.is_some());
    lab.api.wait("the poll that hangs", |world| hanging(world).then_some(()));
    lab.owner("[[say after]]");
    lab.api.wait_within("the next poll's message", Duration::from_secs(75), |world| {
        world.texts(OWNER).contains(&"after".to_owned()).then_some(())
    });
    assert_eq!(lab.prompts_with("say before"), 1);
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let to = format!("http://{}/stolen", elsewhere.local_addr().unwrap());
    let lab = Lab::start("redirect");
    lab.api.with(|world| {
        for method in ["getUpdates", "sendMessage"] {
            world.fail(method, 1, Fault::Redirect(to.clone()));
        }
        world.text(OWNER, OWNER, "[[say first]]");
    });
    lab.text(FRIEND, FRIEND, "[[say second]]");
    lab.api.confirmed();
    lab.api.wait("a message", |world| (!world.sent.is_empty()).then_some(()));
    lab.sync();
    assert!(elsewhere.accept().is_err(), "it followed a redirect, with the token in the path");
}

#[test]
fn an_address_that_swallows_everything_is_passed_over() {
    let api = BotApi::start();
    // The same port of another address takes connections into a queue that is full: further ones
    // are not even refused, as in a network that drops them.
    let dead = SocketAddr::from(([127, 0, 0, 2], api.port()));
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &dead).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let queue: Vec<_> =
        (0..8).map_while(|_| TcpStream::connect_timeout(&dead, Duration::from_millis(200)).ok()).collect();
    assert!(queue.len() < 8, "the dead address answers");
    let base = format!("http://localhost:{}", api.port());
    let setup = setup("black-hole", &api).env("CLAWDIS_TELEGRAM_API_BASE", &base);
    let hosts = setup.scratch().join("hosts");
    fs::write(&hosts, "127.0.0.2 localhost\n127.0.0.1 localhost\n").unwrap();
    let gateway = mounted(setup, &format!("mount --bind {} /etc/hosts", hosts.display())).spawn();
    let started = Instant::now();
    api.with(|world| world.text(OWNER, OWNER, "[[say through]]"));
    assert_eq!(api.answers(OWNER, 1), ["through"]);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    in_state(&mut gateway.client(), "ready");
    // It remembers which address works.
    let started = Instant::now();
    for number in 2..5 {
        api.with(|world| world.text(OWNER, OWNER, &format!("[[say {number}]]")));
        api.answers(OWNER, number);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
