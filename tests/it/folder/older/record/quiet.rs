//! Everything that comes to its end, and a pause.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{PLACE, Scene, slot};
use crate::folder::older::people::{
    CHATTY, CLUB, FORUM, FRIEND, MEMBER, OWNER, PARTY, PARTY_NOW, STRANGER, TOPIC,
};
use crate::harness::{PATIENCE, eventually};
use crate::whatsapp::lab;

impl Scene {
    pub(super) fn quiet_day(&mut self) {
        self.lets_people_in();
        // Slow, and it needs a conversation and nothing that runs.
        self.talk(OWNER, OWNER, "[[say Good morning.]]", "Good morning.");
        self.said(OWNER, "Water the plants.");
        self.asks("main", "[[say I shall remember.]]", "first-key");
        self.asks("web:other", "[[die 3]]", "failed-key");
        self.asks("web:other", "/think low", "directive-key");
        self.asks("web:gone", "[[say A secret.]]", "forgotten-key");
        self.people_write();
        self.group_moves();
        self.day_is_used_up();
        for request in [
            self.sends("telegram:8", "A word.", "sent-key"),
            self.sends("telegram:999", "A word.", "refused-key"),
            self.sends_file("telegram:8", "http://127.0.0.1:1/a.png", "invalid-key"),
        ] {
            self.client.answer(&request);
        }
        self.lab.text(lab::OWNER, "[[say Hello, owner.]]");
        self.lab.mock.said(&lab::lid(lab::OWNER), "Hello, owner.");
        self.client.ask("system-event", &json!({"text": "The lid was closed."}));
        self.client.ask("set-heartbeats", &json!({"enabled": true}));
        self.client.ask("set-channel", &json!({"channel": "telegram", "enabled": true}));
        self.pauses();
    }

    fn lets_people_in(&mut self) {
        for (channel, id, is_owner) in [
            ("telegram", OWNER.to_string(), true),
            ("telegram", MEMBER.to_string(), false),
            ("telegram", CHATTY.to_string(), false),
            ("telegram", PARTY.to_string(), false),
            ("whatsapp", format!("+{}", lab::STRANGER), false),
        ] {
            self.client.ask("channel-allow", &json!({"channel": channel, "id": id, "owner": is_owner}));
        }
    }

    fn people_write(&self) {
        self.talk(FRIEND, FRIEND, "/think high", "Thinking is high");
        self.talk(FRIEND, FRIEND, "[[say An old conversation.]]", "An old conversation.");
        self.talk(FRIEND, FRIEND, "/new", "A new conversation");
        let photo = self.photo("a");
        self.says(FRIEND, FRIEND, json!({"photo": photo, "caption": "[[images]] what is this?"}));
        self.said(FRIEND, "images=1");
        self.text(STRANGER, STRANGER, "Let me in.");
        self.text(CLUB, FRIEND, "Nobody in particular.");
        self.talk(CLUB, FRIEND, "@clawdis_bot [[say Hello, club.]]", "Hello, club.");
        let text = "@clawdis_bot [[say On topic.]]";
        let on_topic = json!({"text": text, "message_thread_id": TOPIC, "is_topic_message": true});
        self.says(FORUM, FRIEND, on_topic);
        self.said(FORUM, "On topic.");
        let garbled = json!({"message_id": "wrong", "from": {"id": 1, "first_name": "Ann"}, "text": "What?"});
        self.api.with(|world| world.push("message", garbled));
    }

    fn group_moves(&self) {
        self.talk(PARTY, MEMBER, "@clawdis_bot [[say Hello, party.]]", "Hello, party.");
        self.api.with(|world| {
            world.says(PARTY, MEMBER, json!({"migrate_to_chat_id": PARTY_NOW}));
            world.says(PARTY_NOW, MEMBER, json!({"migrate_from_chat_id": PARTY}));
            world.chat(PARTY).migrated_to = Some(PARTY_NOW);
        });
        self.talk(PARTY_NOW, MEMBER, "@clawdis_bot [[say Still here.]]", "Still here.");
    }

    fn day_is_used_up(&self) {
        for number in 0..10 {
            self.talk(CHATTY, CHATTY, &format!("[[say Number {number}.]]"), &format!("Number {number}."));
        }
        self.talk(CHATTY, CHATTY, "[[say One too many.]]", "That was all for today");
    }

    /// Nothing more happens then, but one message that cannot be sent yet.
    fn pauses(&mut self) {
        self.breaks(OWNER);
        self.client.ask("set-paused", &json!({"paused": true}));
        self.sends("telegram:7", "Paused.", "paused-key");
        slot("what cannot be sent", |name, value| {
            name.starts_with("outbox/") && value["key"] == "send/paused-key" && value["trying"] == false
        });
        // Writes the journal anew: what came before is not worth its bytes.
        self.client.ask("session-forget", &json!({"sessionKey": "web:gone"}));
        eventually("a journal that was written anew", PATIENCE, || {
            let text = fs::read_to_string(Path::new(PLACE).join("journal")).unwrap();
            (!text.contains("web:gone") && text.contains("forgotten-key")).then_some(())
        });
    }
}
