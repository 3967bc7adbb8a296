//! The daemon with gramlab as its server.

use std::time::Duration;

use serde_json::json;

use super::{Gramlab, alone};
use crate::harness::gateway::Builder;
use crate::harness::{Gateway, PATIENCE, eventually};
use crate::telegram::lab::in_state;

fn setup(name: &str) -> (Builder, Gramlab) {
    let setup = Gateway::builder(name).agent_scripted();
    let gramlab = Gramlab::start(&setup.scratch().join("world"));
    let setup = setup
        .env("TELEGRAM_BOT_TOKEN", gramlab.token())
        .env("CLAWDIS_TELEGRAM_API_BASE", gramlab.base())
        .config(json!({
            "owner": {"telegram": gramlab.facts["user"].to_string()},
            "telegram": {"groups": {gramlab.facts["group"].to_string(): {"requireMention": false}}},
        }));
    (setup, gramlab)
}

/// Waits for so many messages of the bot's.
#[track_caller]
fn answers(gramlab: &mut Gramlab, chat: &str, count: usize) -> Vec<String> {
    eventually(&format!("{count} messages in {chat}"), PATIENCE + Duration::from_secs(10), || {
        let texts = gramlab.answers(chat);
        (texts.len() >= count).then_some(texts)
    })
}

#[test]
fn it_talks_to_a_server_that_nobody_here_wrote() {
    alone("telegram::gramlab::daemon::it_talks_to_a_server_that_nobody_here_wrote", || {
        let (setup, mut gramlab) = setup("gramlab-talk");
        let gateway = setup.spawn();
        let mut client = gateway.client();
        in_state(&mut client, "ready");
        // It knows no typing, no replies, no previews to switch off: formatting by entities works.
        gramlab.say("private", "[[say with **looks** 🏳️‍🌈]]");
        assert_eq!(answers(&mut gramlab, "private", 1), ["with looks 🏳️‍🌈"]);
        gramlab.say("strange", "let me in");
        // It marks no mentions.
        gramlab.say("group", "[[say in the group]]");
        assert_eq!(answers(&mut gramlab, "group", 1), ["in the group"]);
        std::fs::write(gateway.probe().join("long"), "word 😀 ".repeat(1_200)).unwrap();
        gramlab.say("private", "[[file long]]");
        let parts = answers(&mut gramlab, "private", 3);
        assert!(parts[1..].iter().all(|part| part.encode_utf16().count() <= 4_096));
        client.ask(
            "send",
            &json!({"to": gramlab.facts["user"].to_string(), "message": "sent", "idempotencyKey": "k"}),
        );
        assert_eq!(gramlab.answers("private").last().unwrap(), "sent");
        assert!(gramlab.answers("strange").is_empty());
    });
}

#[test]
fn a_kill_loses_and_repeats_nothing_there() {
    alone("telegram::gramlab::daemon::a_kill_loses_and_repeats_nothing_there", || {
        let (setup, mut gramlab) = setup("gramlab-kill");
        let mut gateway = setup.spawn();
        gramlab.say("private", "[[hold on]] [[say once]]");
        eventually("the agent to have it", PATIENCE, || (!gateway.prompts().is_empty()).then_some(()));
        gateway.sigkill();
        gramlab.say("private", "[[say while away]]");
        gateway = gateway.setup().spawn();
        gateway.release("on");
        let text = eventually("both answers", PATIENCE, || {
            let text = gramlab.answers("private").join("\n");
            (text.contains("once") && text.contains("while away")).then_some(text)
        });
        assert_eq!(text.matches("once").count(), 1, "{text}");
        // Two on one token: one of them says so and gives way.
        let second = setup_again(&gramlab).spawn();
        let conflict = eventually("a conflict that is said", PATIENCE, || {
            [&gateway, &second].into_iter().find_map(|gateway| {
                let facts = crate::telegram::lab::channel(&mut gateway.client());
                (facts["state"] == "conflict").then_some(facts)
            })
        });
        assert!(conflict["reason"].is_string(), "{conflict}");
    });
}

fn setup_again(gramlab: &Gramlab) -> Builder {
    Gateway::builder("gramlab-second")
        .agent_echo()
        .env("TELEGRAM_BOT_TOKEN", gramlab.token())
        .env("CLAWDIS_TELEGRAM_API_BASE", gramlab.base())
}
