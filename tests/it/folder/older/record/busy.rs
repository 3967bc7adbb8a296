//! Everything that is under way when the gateway is killed.

use serde_json::json;

use super::{PNG, Scene, slot};
use crate::folder::older::people::{CLUB, FRIEND, MEMBER, NEWS, OWNER};
use crate::harness::{PATIENCE, eventually};
use crate::telegram::botapi::Fault;
use crate::whatsapp::lab;

impl Scene {
    pub(super) fn busy_day(&mut self) {
        self.client.ask("set-paused", &json!({"paused": false}));
        lab::in_state(&mut self.client, "ready");
        self.said(OWNER, "Paused.");
        self.agent_works();
        self.messages_are_half_over();
        self.messages_stand_in_line();
        self.messages_are_tried();
        self.pictures_do_not_come();
        self.session_is_being_forgotten();
    }

    /// Runs, and what waits behind them.
    fn agent_works(&mut self) {
        self.begins("main", "[[hold main]]", "running-key");
        self.client.ask("system-event", &json!({"text": "The lid was opened."}));
        self.client.ask("system-event", &json!({"text": "It is raining in."}));
        self.text(FRIEND, FRIEND, "[[hold friend]] [[say Late, but here.]]");
        self.lab.text(lab::FRIEND, "[[hold whatsapp]] [[say Late, too.]]");
        self.asked("[[hold", 3);
        self.text(FRIEND, FRIEND, "[[say And this.]]");
    }

    fn asked(&self, words: &str, count: usize) {
        eventually("the agent to be asked", PATIENCE, || {
            (self.lab.prompts_with(words) == count).then_some(())
        });
    }

    fn messages_are_half_over(&mut self) {
        let long = format!("**Long** [answer](https://example.org/): {}", "word ".repeat(830));
        self.api.with(|world| world.fail_in(FRIEND, "sendMessage", 1, Fault::ResetDone));
        self.breaks(FRIEND);
        self.sends("telegram:8", &long, "unknown-key");
        for (chat, to, key) in [(OWNER, "telegram:7", "parts-key"), (NEWS, "telegram:@news", "name-key")] {
            // These make the second half wait for the chat's turn.
            for number in 0..3 {
                self.sends(to, &format!("Short {number}."), &format!("{key}-{number}"));
            }
            self.sends(to, &long, key);
            self.said(chat, "Long answer");
            self.breaks(chat);
        }
        for (key, is_unknown) in [("unknown-key", true), ("parts-key", false), ("name-key", false)] {
            slot(key, |_, value| {
                let is_half_over = value["key"] == format!("send/{key}") && value["done"] == 1;
                is_half_over && (value["unknown"] == true) == is_unknown
            });
        }
    }

    fn messages_stand_in_line(&mut self) {
        self.breaks(MEMBER);
        self.sends("telegram:9", "Later.", "waiting-key");
        self.sends_file("telegram:9", "file:///srv/pictures/a.png", "media-key");
        self.sends("telegram:9", &"A very long line of words.\n".repeat(800), "file-key");
        slot("the file in line", |name, value| {
            name.ends_with("/parts") && value.to_string().contains("\"f\":")
        });
    }

    /// Nobody answers those who send them.
    fn messages_are_tried(&mut self) {
        self.lab.mock.set(&json!({"ack": "none"}));
        self.sends(&format!("+{}", lab::OWNER), "Not confirmed.", "whatsapp-key");
        self.api.with(|world| world.fail_in(CLUB, "sendMessage", 1, Fault::Hang));
        self.sends("telegram:-500", "Is it there?", "trying-key");
        self.text(CLUB, FRIEND, "@clawdis_bot [[say For the club.]]");
        for key in ["whatsapp-key", "trying-key"] {
            slot(key, |_, value| value["key"] == format!("send/{key}") && value["trying"] == true);
        }
        slot("the answer to the club", |_, value| {
            value["replyTo"].is_string() && value["route"]["chat"] == "-500"
        });
    }

    fn pictures_do_not_come(&mut self) {
        self.api.with(|world| world.fail("getFile", 100, Fault::Hang));
        let private = json!({"id": MEMBER, "type": "private"});
        let quoted = json!({"message_id": 1, "date": 1, "chat": private, "text": "What do you see?"});
        let origin = json!({"type": "hidden_user", "date": 1, "sender_user_name": "Ann"});
        let picture = json!({
            "photo": self.photo("b"), "caption": "[[images]] this", "media_group_id": "77",
            "reply_to_message": quoted, "forward_origin": origin,
        });
        self.says(MEMBER, MEMBER, picture);
        self.lab.mock.op("media-fail", json!({"count": 100}));
        let base64 = data_encoding::BASE64.encode(PNG);
        let picture = json!({"from": lab::STRANGER, "base64": base64, "mimetype": "image/png", "caption": "[[images]]"});
        self.lab.mock.op("send-media", picture);
        for channel in ["telegram", "whatsapp"] {
            slot("a picture", |name, value| {
                name.starts_with(&format!("inbox/{channel}/")) && value["w"]["m"]["media"].is_array()
            });
        }
    }

    /// Its agent does not let go of it.
    fn session_is_being_forgotten(&mut self) {
        self.begins("web:stuck", "[[deaf]] [[hold stuck]]", "stuck-key");
        self.asked("[[hold stuck]]", 1);
        self.client.send("session-forget", &json!({"sessionKey": "web:stuck"}));
        slot("the forgotten session", |name, _| name == "forget/web:stuck");
    }
}
