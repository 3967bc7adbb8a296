//! Who is listened to, and in which session.

use serde_json::json;

use crate::harness::Client;
use crate::telegram::botapi::{BOT_ID, BOT_NAME, BotApi};
use crate::telegram::lab::{CLUB, FORUM, FRIEND, Lab, OWNER, STRANGER, TOPICS, bare, history};

/// The session in which a text was said.
#[track_caller]
fn said_in(client: &mut Client, session: &str, text: &str) {
    history(client, session, text, |entry| {
        entry["role"] == "user" && entry["text"].as_str().unwrap().contains(text)
    });
}

#[test]
fn strangers_get_silence_and_are_listed() {
    let lab = Lab::start("strangers");
    lab.api.with(|world| world.names.insert(STRANGER, "Eve".to_owned()));
    lab.text(STRANGER, STRANGER, "/start");
    lab.text(STRANGER, STRANGER, "let me in");
    // A group that nobody listed, and a listed group that somebody left: `from` is what counts.
    lab.text(-999, STRANGER, &format!("@{BOT_NAME} hello"));
    // No person wrote this: an anonymous admin, a channel.
    lab.api.with(|world| {
        let admin = json!({"id": 1_087_968_824, "is_bot": true, "first_name": "Group"});
        let sender = json!({"id": -999, "type": "group", "title": "x"});
        let more = json!({"from": admin, "sender_chat": sender, "text": format!("@{BOT_NAME} hello")});
        world.says(-999, OWNER, more);
    });
    lab.sync();
    lab.api.with(|world| {
        for chat in [STRANGER, -999] {
            let requests: Vec<_> =
                world.requests.iter().filter(|request| request.chat() == Some(chat)).collect();
            assert!(requests.is_empty(), "{requests:?}");
        }
    });
    assert_eq!(lab.gateway.prompts().len(), 1, "the agent was started for the owner only");
    let mut client = lab.gateway.client();
    let refused = client.ask("status", &json!({}))["refused"].take();
    let id = STRANGER.to_string();
    let eve = refused.as_array().unwrap().iter().find(|entry| entry["id"] == id.as_str());
    let eve = eve.unwrap_or_else(|| panic!("Eve is not listed: {refused}"));
    assert!(eve["channel"] == "telegram" && eve["name"] == "Eve", "{eve}");
    assert!(eve["count"].as_u64().unwrap() >= 2 && eve["lastTs"].as_u64().unwrap() > 0, "{eve}");
}

#[test]
fn allow_lets_a_person_in_at_once_and_for_good() {
    let mut lab = Lab::start("allow");
    let id = STRANGER.to_string();
    lab.text(STRANGER, STRANGER, "[[say too early]]");
    lab.sync();
    let output = lab.cli(&["allow", "telegram", &id]);
    assert!(output.status.success(), "{output:?}");
    lab.text(STRANGER, STRANGER, "[[say welcome]]");
    assert_eq!(lab.api.answers(STRANGER, 1), ["welcome"]);
    said_in(&mut lab.gateway.client(), &format!("dm:telegram:{STRANGER}"), "welcome");
    lab.crash();
    lab.text(STRANGER, STRANGER, "[[say again]]");
    assert_eq!(lab.api.answers(STRANGER, 2)[1], "again");
    assert!(lab.cli(&["allow", "telegram", &id, "--remove"]).status.success());
    lab.text(STRANGER, STRANGER, "[[say gone]]");
    lab.sync();
    lab.crash();
    lab.text(STRANGER, STRANGER, "[[say still gone]]");
    lab.sync();
    assert_eq!(lab.api.answers(STRANGER, 2).len(), 2);
    assert_eq!(lab.prompts_with("too early") + lab.prompts_with("gone"), 0);
    let mut client = lab.gateway.client();
    for id in ["Eve", "@eve", ""] {
        let error = client.refused("channel-allow", &json!({"channel": "telegram", "id": id}));
        assert_eq!(error["code"], "INVALID_REQUEST", "{id}: {error}");
    }
}

#[test]
fn an_owner_made_by_allow_shares_the_main_session() {
    let mut lab = Lab::over(BotApi::start(), |api| bare("allow-owner", api));
    let mut client = lab.gateway.client();
    let answer = client.ask("channel-allow", &json!({"channel": "telegram", "id": "77", "owner": true}));
    assert!(answer["owner"] == true && answer["allowed"] == true, "{answer}");
    // The next one takes the place of the first.
    assert!(lab.cli(&["allow", "telegram", &OWNER.to_string(), "--owner"]).status.success());
    lab.owner("[[say mine]]");
    assert_eq!(lab.api.answers(OWNER, 1), ["mine"]);
    said_in(&mut lab.gateway.client(), "main", "mine");
    lab.crash();
    lab.owner("[[say still mine]]");
    said_in(&mut lab.gateway.client(), "main", "still mine");
}

#[test]
fn nobody_is_the_owner_by_being_the_only_one_let_in() {
    let mut lab = Lab::over(BotApi::start(), |api| {
        bare("only-one", api).config(json!({"telegram": {"allowFrom": [OWNER.to_string()]}}))
    });
    lab.owner("[[say alone]]");
    assert_eq!(lab.api.answers(OWNER, 1), ["alone"]);
    said_in(&mut lab.gateway.client(), &format!("dm:telegram:{OWNER}"), "alone");
    // Guests come and go, and one is left.
    let allow = |lab: &Lab, more: &[&str]| {
        let output = lab.cli(&[&["allow", "telegram"], more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let told = allow(&lab, &["222"]);
    assert!(
        told.contains("commands a shell") && told.contains("clawdis allow telegram 222 --owner"),
        "{told}"
    );
    allow(&lab, &[&STRANGER.to_string()]);
    allow(&lab, &["222", "--remove"]);
    lab.crash();
    lab.text(STRANGER, STRANGER, "/pause");
    assert!(lab.api.answers(STRANGER, 1)[0].contains("Only the owner"));
    lab.text(STRANGER, STRANGER, "[[say a guest]]");
    lab.api.answers(STRANGER, 2);
    said_in(&mut lab.gateway.client(), &format!("dm:telegram:{STRANGER}"), "a guest");
    // Owners are made by name.
    let told = allow(&lab, &[&OWNER.to_string(), "--owner"]);
    assert!(told.contains("owner yes") && !told.contains("Nobody is the owner"), "{told}");
    lab.owner("[[say mine]]");
    lab.api.answers(OWNER, 2);
    said_in(&mut lab.gateway.client(), "main", "mine");
}

#[test]
fn each_kind_of_chat_has_its_session() {
    let lab = Lab::start("sessions");
    let mention = format!("@{BOT_NAME}");
    lab.owner("[[say to owner]]");
    lab.text(FRIEND, FRIEND, "[[say to friend]]");
    lab.text(CLUB, FRIEND, &format!("{mention} [[say to club]]"));
    for topic in TOPICS {
        let text = format!("{mention} [[say to topic {topic}]]");
        let more = json!({"text": text, "message_thread_id": topic, "is_topic_message": true});
        lab.api.with(|world| world.says(FORUM, FRIEND, more));
    }
    // Outside of topics a thread id names a chain of replies and is not to be sent back.
    let more = json!({"text": format!("{mention} [[say to general]]"), "message_thread_id": 3});
    lab.api.with(|world| world.says(FORUM, FRIEND, more));
    assert_eq!(lab.api.answers(OWNER, 1), ["to owner"]);
    assert_eq!(lab.api.answers(FRIEND, 1), ["to friend"]);
    assert_eq!(lab.api.answers(CLUB, 1), ["to club"]);
    lab.api.answers(FORUM, 3);
    let mut topics: Vec<_> = lab
        .api
        .with(|world| world.sent_to(FORUM).iter().map(|sent| (sent.topic, sent.text.clone())).collect());
    topics.sort();
    let topic = |number: Option<i64>, name: &str| (number, format!("to {name}"));
    assert_eq!(topics, [topic(None, "general"), topic(Some(11), "topic 11"), topic(Some(12), "topic 12")]);
    let mut client = lab.gateway.client();
    for (session, text) in [
        ("main".to_owned(), "to owner"),
        (format!("dm:telegram:{FRIEND}"), "to friend"),
        (format!("group:telegram:{CLUB}"), "to club"),
        (format!("group:telegram:{FORUM}:11"), "to topic 11"),
        (format!("group:telegram:{FORUM}:12"), "to topic 12"),
        (format!("group:telegram:{FORUM}"), "to general"),
    ] {
        said_in(&mut client, &session, text);
    }
}

#[test]
fn in_groups_it_answers_when_it_is_addressed() {
    let lab = Lab::with("groups", |setup| {
        setup.config(json!({"telegram": {"groups": {
            "-501": {"requireMention": false, "allowFrom": ["*"]},
        }}}))
    });
    lab.api.with(|world| {
        world.open(-501);
        world.text(CLUB, FRIEND, "not addressed");
        world.text(CLUB, FRIEND, "/ask@other_bot for another");
        world.text(CLUB, FRIEND, "@clawdis_bots almost");
        world.text(CLUB, STRANGER, &format!("@{BOT_NAME} not allowed"));
        // An entity that lies outside of the text, and one that cuts a character.
        for (offset, length) in [(900, 5), (1, 1)] {
            let entity = json!([{"type": "mention", "offset": offset, "length": length}]);
            world.says(CLUB, FRIEND, json!({"text": "😀 outside", "entities": entity}));
        }
        world.text(CLUB, FRIEND, &format!("😀 @{} [[say by mention]]", BOT_NAME.to_uppercase()));
    });
    lab.api.answers(CLUB, 1);
    let answer = lab.api.with(|world| world.sent_to(CLUB)[0].message_id);
    let bot = json!({"id": BOT_ID, "is_bot": true, "first_name": "Clawdis"});
    lab.api.with(|world| {
        let reply = json!({"message_id": answer, "from": bot, "date": 1, "text": "by mention",
            "chat": {"id": CLUB, "type": "group", "title": "x"}});
        world.says(CLUB, FRIEND, json!({"text": "[[say by reply]]", "reply_to_message": reply}));
    });
    lab.api.answers(CLUB, 2);
    lab.text(CLUB, FRIEND, &format!("/ask@{BOT_NAME} [[say by command]]"));
    lab.api.answers(CLUB, 3);
    let mention = json!([{"type": "text_mention", "offset": 0, "length": 3, "user": bot}]);
    let more = json!({"text": "bot [[say by text mention]]", "entities": mention});
    lab.api.with(|world| world.says(CLUB, FRIEND, more));
    lab.api.answers(CLUB, 4);
    lab.text(-501, STRANGER, "[[say without a mention]]");
    assert_eq!(lab.api.answers(-501, 1), ["without a mention"]);
    lab.sync();
    let texts = lab.api.with(|world| world.texts(CLUB));
    assert_eq!(texts, ["by mention", "by reply", "by command", "by text mention"]);
    let prompts = lab.gateway.prompts().join("\n");
    assert!(
        !prompts.to_lowercase().contains("@clawdis_bot "),
        "the mention is no part of the question: {prompts}"
    );
}
