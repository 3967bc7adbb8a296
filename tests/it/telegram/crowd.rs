//! Many people at once: nobody reads what another was told.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::telegram::botapi::BotApi;
use crate::telegram::lab::{Lab, OWNER, without_agent};

const CHATS: i64 = 1_000;
const FIRST: i64 = 10_000;

#[test]
fn a_thousand_chats_at_once_get_each_their_own_answer() {
    let people: Vec<String> = (FIRST..FIRST + CHATS).map(|id| id.to_string()).collect();
    let lab = Lab::over(BotApi::start(), |api| {
        without_agent("crowd", api).agent_echo().config(json!({
            "owner": {"telegram": OWNER.to_string()},
            "telegram": {"allowFrom": people},
            "agent": {"maxProcesses": 8, "warmSeconds": 0, "dailyRuns": 100_000},
        }))
    });
    lab.api.with(|world| {
        for id in FIRST..FIRST + CHATS {
            world.text(id, id, &format!("I am number {id}."));
        }
    });
    lab.api.wait_within("an answer in every chat", Duration::from_secs(240), |world| {
        let mut told: BTreeMap<i64, bool> = BTreeMap::new();
        for sent in &world.sent {
            let own = sent.text.contains(&format!("number {}.", sent.chat));
            *told.entry(sent.chat).or_default() |= own;
        }
        (told.values().filter(|own| **own).count() >= people.len()).then_some(())
    });
    lab.api.with(|world| {
        for sent in &world.sent {
            let others = sent
                .text
                .match_indices("number ")
                .filter(|(at, _)| !sent.text[at + "number ".len()..].starts_with(&format!("{}.", sent.chat)));
            assert_eq!(others.count(), 0, "in chat {}: {:?}", sent.chat, sent.text);
        }
        for id in FIRST..FIRST + CHATS {
            let answers =
                world.texts(id).iter().filter(|text| text.contains(&format!("number {id}."))).count();
            assert_eq!(answers, 1, "answers in chat {id}: {:?}", world.texts(id));
        }
    });
}
