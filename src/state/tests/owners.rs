//! Owners are made by name: letting people in or out makes nobody one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Bench;
use super::harness::{Harness, message, settings};
use crate::protocol::call::Channel;
use crate::state::StateConfig;
use crate::store::Recovered;

/// Nobody is named, and these people are let in by the config.
fn nobody_named(allowed: &[&str]) -> StateConfig {
    let mut config = settings();
    for channel in Channel::ALL {
        config.channels.by_channel.entry(channel).or_default().owner = None;
    }
    let telegram = config.channels.by_channel.get_mut(&Channel::Telegram).unwrap();
    telegram.allowed = allowed.iter().map(|id| (*id).to_owned()).collect();
    config
}

fn allow(harness: &mut Harness, id: &str, more: Value) -> Value {
    let mut params = json!({ "channel": "telegram", "id": id });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    harness.ask("channel-allow", params)["payload"].clone()
}

/// Where somebody's private chat goes.
fn session_of(harness: &mut Harness, key: &str, id: &str) -> String {
    harness.say(message(key, id, id, "hello"));
    let run = harness.run();
    harness.answer(&run, "hi");
    harness.deliveries();
    run.session_key
}

fn warnings(harness: &mut Harness) -> Vec<String> {
    let status = harness.ask("status", json!({}));
    let warnings = status["payload"]["warnings"].as_array().unwrap().iter();
    warnings.map(|warning| format!("{}: {}", warning["code"], warning["message"])).collect()
}

/// A folder from before the rule, with what `channel-allow` had stored in it.
fn old_folder(grants: &[(&str, &str)]) -> BTreeMap<String, String> {
    let grants = grants.iter().map(|(slot, value)| (format!("allow/{slot}"), (*value).to_owned()));
    grants.chain([("today".to_owned(), "{}".to_owned())]).collect()
}

#[test]
fn letting_people_in_or_out_makes_nobody_the_owner() {
    let mut harness = Harness::with(nobody_named(&[]));
    let first = allow(&mut harness, "222", json!({}));
    assert_eq!(first["owner"], false, "the first guest is a guest");
    assert!(first["note"].as_str().unwrap().contains("clawdis allow telegram 222 --owner"), "{first}");
    allow(&mut harness, "333", json!({}));
    let removed = allow(&mut harness, "222", json!({ "remove": true }));
    assert!(removed["note"].as_str().unwrap().contains("Nobody is the owner yet"), "{removed}");
    assert_eq!(session_of(&mut harness, "1", "333"), "dm:telegram:333");
    harness.say(message("2", "333", "333", "/pause"));
    assert_eq!(harness.deliveries(), [("333".to_owned(), "Only the owner can do that.".to_owned())]);
    harness.restart();
    assert_eq!(session_of(&mut harness, "3", "333"), "dm:telegram:333", "nor does a restart");
    assert_eq!(allow(&mut harness, "-100", json!({}))["owner"], false, "nor a group");
}

#[test]
fn an_id_that_is_none_is_refused_by_the_name_of_its_parameter() {
    let mut harness = Harness::with(nobody_named(&[]));
    let refused = harness.ask("channel-allow", json!({ "channel": "telegram", "id": "@durov" }));
    let error = &refused["error"];
    assert_eq!(
        (&error["code"], &error["retryable"]),
        (&json!("INVALID_REQUEST"), &json!(false)),
        "{refused}"
    );
    assert!(error["message"].as_str().unwrap().starts_with("`/params/id`: a Telegram name"), "{refused}");
}

#[test]
fn the_only_person_of_the_config_is_a_guest_until_named() {
    let mut harness = Harness::with(nobody_named(&["2"]));
    assert_eq!(session_of(&mut harness, "1", "2"), "dm:telegram:2");
    assert_eq!(warnings(&mut harness), Vec::<String>::new());
    let named = allow(&mut harness, "2", json!({ "owner": true }));
    assert_eq!((&named["owner"], &named["note"]), (&json!(true), &Value::Null));
    assert_eq!(session_of(&mut harness, "2", "2"), "main");
    harness.restart();
    assert_eq!(session_of(&mut harness, "3", "2"), "main");
}

#[test]
fn each_channel_has_its_owner() {
    let mut harness = Harness::with(nobody_named(&["5", "6"]));
    allow(&mut harness, "5", json!({ "owner": true }));
    let whatsapp = json!({ "channel": "whatsapp", "id": "+15550002222", "owner": true });
    assert_eq!(harness.ask("channel-allow", whatsapp)["payload"]["owner"], true);
    assert_eq!(session_of(&mut harness, "1", "5"), "main", "the second took nothing from the first");
    assert_eq!(allow(&mut harness, "6", json!({ "owner": true }))["owner"], true);
    assert_eq!(session_of(&mut harness, "2", "6"), "main");
    assert_eq!(session_of(&mut harness, "3", "5"), "dm:telegram:5", "one on each channel");
    allow(&mut harness, "6", json!({ "remove": true }));
    harness.restart();
    assert_eq!(session_of(&mut harness, "4", "5"), "dm:telegram:5", "nobody moves up");
}

#[test]
fn whom_the_config_names_counts_and_that_is_said() {
    let mut harness = Harness::new();
    let other = allow(&mut harness, "2", json!({ "owner": true }));
    assert_eq!(other["owner"], false);
    assert!(other["note"].as_str().unwrap().contains("`owner.telegram`"), "{other}");
    assert_eq!(session_of(&mut harness, "1", "1"), "main");
}

#[test]
fn an_old_folder_keeps_its_owner_and_asks_for_the_name() {
    for (allowed, grants) in [(vec![], vec![("telegram/2", "{}")]), (vec!["2"], vec![])] {
        let mut harness = Harness::on(nobody_named(&allowed), old_folder(&grants));
        let said = warnings(&mut harness);
        assert!(
            said.len() == 1
                && said[0].contains("owner-implied")
                && said[0].contains("clawdis allow telegram 2 --owner"),
            "{said:?}"
        );
        allow(&mut harness, "3", json!({}));
        harness.restart();
        assert_eq!(session_of(&mut harness, "1", "2"), "main", "whoever else is let in since");
        assert_eq!(session_of(&mut harness, "2", "3"), "dm:telegram:3");
        assert_eq!(warnings(&mut harness).len(), 1);
        allow(&mut harness, "3", json!({ "owner": true }));
        assert_eq!(warnings(&mut harness), Vec::<String>::new(), "somebody is named");
        harness.restart();
        assert_eq!(warnings(&mut harness), Vec::<String>::new());
        assert_eq!(session_of(&mut harness, "3", "3"), "main");
        assert_eq!(session_of(&mut harness, "4", "2"), "dm:telegram:2");
    }
}

#[test]
fn an_implied_owner_who_is_taken_out_is_nobody() {
    let mut harness = Harness::on(nobody_named(&[]), old_folder(&[("telegram/2", "{}")]));
    allow(&mut harness, "3", json!({}));
    allow(&mut harness, "2", json!({ "remove": true }));
    assert_eq!(warnings(&mut harness), Vec::<String>::new());
    allow(&mut harness, "2", json!({}));
    harness.restart();
    assert_eq!(session_of(&mut harness, "1", "2"), "dm:telegram:2");
    // The same by the config, which may also name somebody.
    let mut harness = Harness::on(nobody_named(&["2"]), old_folder(&[]));
    harness.restart_with(|config| {
        config.channels.by_channel.get_mut(&Channel::Telegram).unwrap().allowed = vec!["3".to_owned()];
    });
    assert_eq!(warnings(&mut harness), Vec::<String>::new());
    assert_eq!(session_of(&mut harness, "1", "3"), "dm:telegram:3");
    harness.restart_with(|config| {
        config.channels.by_channel.get_mut(&Channel::Telegram).unwrap().allowed = vec!["2".to_owned()];
    });
    assert_eq!(session_of(&mut harness, "2", "2"), "dm:telegram:2", "and does not come back");
}

#[test]
fn an_old_folder_with_a_doubt_implies_nobody() {
    let odd: [&[(&str, &str)]; 5] = [
        &[("telegram/2", "{}"), ("telegram/3", "{}")],
        &[("telegram/2", "{}"), ("whatsapp/+15550001111", "{}")],
        // An owner had been named, and was taken out.
        &[("telegram/2", "{}"), ("had-owner", "true")],
        // One of them may have been the owner.
        &[("telegram/2", "{}"), ("telegram/3", "{\"owner\":tr")],
        &[("telegram/2", "{}"), ("implied-owner", "[]")],
    ];
    for (index, grants) in odd.iter().enumerate() {
        let mut slots = old_folder(grants);
        if index == 4 {
            slots.insert("allow/owners-by-name".to_owned(), "true".to_owned());
        }
        let mut harness = Harness::on(nobody_named(&[]), slots);
        assert_eq!(warnings(&mut harness), Vec::<String>::new(), "{grants:?}");
        assert_eq!(session_of(&mut harness, "1", "2"), "dm:telegram:2", "{grants:?}");
    }
    // What a damaged journal does not say tells nothing.
    let slots = old_folder(&[("telegram/2", "{}")]);
    let damaged = Recovered { slots, is_damaged: true, ..Recovered::default() };
    let mut bench = Bench::with(nobody_named(&[]), damaged);
    bench.connect(1);
    bench.request(1, "s", "status", json!({}));
    assert_eq!(bench.answers().pop().unwrap().1["payload"]["warnings"], json!([]));
}

#[test]
fn a_named_owner_of_an_old_folder_stays_the_owner() {
    let slots =
        old_folder(&[("telegram/2", "{\"owner\":true}"), ("telegram/3", "{}"), ("had-owner", "true")]);
    let mut harness = Harness::on(nobody_named(&[]), slots);
    assert_eq!(warnings(&mut harness), Vec::<String>::new());
    assert_eq!(session_of(&mut harness, "1", "2"), "main");
    assert_eq!(session_of(&mut harness, "2", "3"), "dm:telegram:3");
}

#[test]
fn what_waits_over_a_restart_is_asked_where_its_sender_belongs_now() {
    let mut harness = Harness::new();
    harness.say(message("1", "1", "1", "the former owner asks"));
    assert_eq!(harness.run().session_key, "main");
    harness.restart_with(|config| {
        let telegram = config.channels.by_channel.get_mut(&Channel::Telegram).unwrap();
        (telegram.owner, telegram.allowed) = (Some("9".into()), vec!["1".into()]);
    });
    harness.keep();
    let run = harness.run();
    assert_eq!(run.session_key, "dm:telegram:1");
    assert!(run.prompt.contains("(telegram:1)") && !run.prompt.contains("(owner)"), "{}", run.prompt);
    let said = harness.said.iter().filter(|record| record.contains("the former owner asks")).count();
    assert_eq!(said, 2, "also on record there: {:?}", harness.said);
    harness.say(message("2", "1", "1", "/pause"));
    assert_eq!(harness.deliveries()[0].1, "Only the owner can do that.");
}

#[test]
fn what_is_held_is_judged_again_when_rights_change() {
    let mut harness = Harness::with(nobody_named(&["2", "5"]));
    allow(&mut harness, "5", json!({ "owner": true }));
    allow(&mut harness, "8", json!({}));
    harness.say(message("1", "2", "2", "busy"));
    let busy = harness.run();
    for (key, id) in [("2", "8"), ("3", "5"), ("4", "2")] {
        harness.say(message(key, id, id, &format!("of {id}")));
    }
    allow(&mut harness, "8", json!({ "remove": true }));
    allow(&mut harness, "6", json!({ "owner": true }));
    harness.keep();
    harness.answer(&busy, "done");
    assert_eq!(harness.deliveries(), [("2".to_owned(), "done".to_owned())], "nobody hears of an end");
    let mut asked = Vec::new();
    while let Some(run) = harness.bench.started_runs().pop() {
        harness.answer(&run, "hi");
        asked.push((run.session_key.clone(), run.prompt.clone()));
    }
    asked.sort();
    let expected = [("dm:telegram:2", "of 2"), ("dm:telegram:5", "of 5")];
    assert_eq!(asked, expected.map(|(session, prompt)| (session.to_owned(), prompt.to_owned())));
    assert_eq!(harness.deliveries().len(), 2);
    assert!(harness.bench.state.inbox.waiting.is_empty() && harness.bench.state.runs.by_id.is_empty());
}
