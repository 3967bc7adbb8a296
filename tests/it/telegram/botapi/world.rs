//! What the server knows: the bot, its chats, what waits for it and what it did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::faults::{Fault, Planned};
use super::http::Upload;

pub(crate) const BOT_ID: i64 = 4_242;
pub(crate) const BOT_NAME: &str = "clawdis_bot";
/// 35 characters behind the colon, as real ones have.
pub(crate) const TOKEN: &str = "4242:CanaryTokenThatMustNeverBeSeenAny_w";

/// A chat that the bot may write to.
#[derive(Debug, Default)]
pub(crate) struct Chat {
    /// `private`, `group` or `supergroup`.
    pub(crate) kind: &'static str,
    pub(crate) title: String,
    /// Of a public chat, without `@`.
    pub(crate) username: Option<String>,
    pub(crate) topics: BTreeSet<i64>,
    /// The person has blocked the bot.
    pub(crate) blocked: bool,
    pub(crate) migrated_to: Option<i64>,
    last_message: i64,
    pub(super) messages: BTreeMap<i64, Value>,
}

/// Something that the bot has put into a chat.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) chat: i64,
    pub(crate) message_id: i64,
    pub(crate) topic: Option<i64>,
    pub(crate) reply_to: Option<i64>,
    /// Text or caption.
    pub(crate) text: String,
    pub(crate) entities: Vec<Value>,
    /// The picture or document.
    pub(crate) upload: Option<Upload>,
}

/// A request as it came, whatever became of it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) at: Instant,
    /// As it was spelled; `file` for a download.
    pub(crate) method: String,
    pub(crate) params: Map<String, Value>,
    /// The fault that met it.
    pub(crate) fault: Option<Fault>,
}

impl Request {
    pub(crate) fn chat(&self) -> Option<i64> {
        chat_of(&self.params)
    }
}

/// The whole of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) token: String,
    pub(crate) can_read_all_group_messages: bool,
    /// First names of people; others are called `Person ID`.
    pub(crate) names: BTreeMap<i64, String>,
    pub(crate) chats: BTreeMap<i64, Chat>,
    pub(crate) webhook: String,
    /// Whether a poll waits for something to come.
    pub(crate) long_poll: bool,
    pub(crate) sent: Vec<Sent>,
    pub(crate) requests: Vec<Request>,
    /// Rules that the client broke.
    pub(crate) violations: Vec<String>,
    pub(super) queue: VecDeque<(i64, Value)>,
    /// The id that the next update gets.
    pub(crate) next_update: i64,
    pub(super) allowed_updates: Vec<String>,
    /// Number of the newest poll; an older one that still waits is in conflict.
    pub(super) poll: u64,
    pub(super) polls_waiting: usize,
    pub(super) files: BTreeMap<String, (String, Vec<u8>)>,
    pub(super) faults: Vec<Planned>,
    /// Before this moment nothing may be sent there; `None` is every chat.
    pub(super) waits: Vec<(Option<i64>, Instant)>,
    pub(super) stopping: bool,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            token: TOKEN.to_owned(),
            can_read_all_group_messages: false,
            names: BTreeMap::new(),
            chats: BTreeMap::new(),
            webhook: String::new(),
            long_poll: true,
            sent: Vec::new(),
            requests: Vec::new(),
            violations: Vec::new(),
            queue: VecDeque::new(),
            next_update: 70_001,
            allowed_updates: Vec::new(),
            poll: 0,
            polls_waiting: 0,
            files: BTreeMap::new(),
            faults: Vec::new(),
            waits: Vec::new(),
            stopping: false,
        }
    }

    // ---- what happens in chats ------------------------------------------------------------------

    /// The chat of that id; a positive one is made when somebody first writes there.
    pub(crate) fn chat(&mut self, id: i64) -> &mut Chat {
        let kind = if id > 0 { "private" } else { "group" };
        self.chats.entry(id).or_insert_with(|| Chat { kind, title: format!("Chat {id}"), ..Chat::default() })
    }

    /// Makes a chat in which nobody has written yet.
    pub(crate) fn open(&mut self, id: i64) {
        self.chat(id);
    }

    /// A supergroup with these topics.
    pub(crate) fn forum(&mut self, id: i64, topics: &[i64]) {
        let chat = self.chat(id);
        chat.kind = "supergroup";
        chat.topics = topics.iter().copied().collect();
    }

    /// Somebody writes; `more` are members of the message besides those that all have. Returns the
    /// message's id.
    pub(crate) fn says(&mut self, chat: i64, from: i64, more: Value) -> i64 {
        let message = self.message(chat, Some(from), more);
        let id = message["message_id"].as_i64().unwrap();
        self.push("message", message);
        id
    }

    /// The same with a text and nothing else.
    pub(crate) fn text(&mut self, chat: i64, from: i64, text: &str) -> i64 {
        self.says(chat, from, json!({ "text": text }))
    }

    /// Somebody changes what they wrote.
    pub(crate) fn edits(&mut self, chat: i64, message_id: i64, text: &str) {
        let mut message = self.chat(chat).messages[&message_id].clone();
        message["text"] = json!(text);
        message["edit_date"] = json!(now());
        self.push("edited_message", message);
    }

    /// Somebody takes a message back.
    pub(crate) fn delete(&mut self, chat: i64, message_id: i64) {
        self.chat(chat).messages.remove(&message_id);
    }

    /// A message of the server's making, kept in its chat.
    pub(super) fn message(&mut self, chat: i64, from: Option<i64>, more: Value) -> Value {
        let person = from.map(|id| self.person(id));
        let about = self.about(chat);
        let place = self.chat(chat);
        place.last_message += 1;
        let id = place.last_message;
        let mut message = json!({"message_id": id, "date": now(), "chat": about});
        if let Some(person) = person {
            message["from"] = person;
        }
        let Value::Object(more) = more else { panic!("members of a message are an object") };
        message.as_object_mut().unwrap().extend(more);
        for (text, entities) in [("text", "entities"), ("caption", "caption_entities")] {
            let Some(found) = message[text].as_str().map(marks) else { continue };
            if !found.is_empty() && message.get(entities).is_none() {
                message[entities] = json!(found);
            }
        }
        self.chat(chat).messages.insert(id, message.clone());
        message
    }

    fn person(&self, id: i64) -> Value {
        if id == BOT_ID {
            return json!({"id": id, "is_bot": true, "first_name": "Clawdis", "username": BOT_NAME});
        }
        let name = self.names.get(&id).cloned().unwrap_or_else(|| format!("Person {id}"));
        json!({"id": id, "is_bot": false, "first_name": name, "language_code": "en"})
    }

    fn about(&mut self, id: i64) -> Value {
        let names = self.names.get(&id).cloned();
        let chat = self.chat(id);
        let mut about = json!({"id": id, "type": chat.kind});
        if chat.kind == "private" {
            about["first_name"] = json!(names.unwrap_or_else(|| format!("Person {id}")));
        } else {
            about["title"] = json!(chat.title);
        }
        if !chat.topics.is_empty() {
            about["is_forum"] = json!(true);
        }
        if let Some(username) = &chat.username {
            about["username"] = json!(username);
        }
        about
    }

    /// A file that a message can refer to; returns its id.
    pub(crate) fn file(&mut self, path: &str, bytes: Vec<u8>) -> String {
        let id = format!("file-{}", self.files.len());
        self.files.insert(id.clone(), (path.to_owned(), bytes));
        id
    }

    // ---- updates --------------------------------------------------------------------------------

    /// Puts an update into the queue under the next id, which is returned.
    pub(crate) fn push(&mut self, kind: &str, body: Value) -> i64 {
        let id = self.next_update;
        self.next_update += 1;
        let asked = self.allowed_updates.is_empty() || self.allowed_updates.iter().any(|name| name == kind);
        if asked {
            self.queue.push_back((id, json!({"update_id": id, kind: body})));
        }
        id
    }

    /// Puts any JSON into the queue, at its end and under any id.
    pub(crate) fn push_raw(&mut self, id: i64, update: Value) {
        self.queue.push_back((id, update));
    }

    /// Updates that have not been confirmed.
    pub(crate) fn unconfirmed(&self) -> Vec<i64> {
        self.queue.iter().map(|(id, _)| *id).collect()
    }

    /// Forgets every update that waits.
    pub(crate) fn forget_queue(&mut self) {
        self.queue.clear();
    }

    /// The same with what they hold.
    pub(crate) fn waiting(&self) -> Vec<(i64, Value)> {
        self.queue.iter().cloned().collect()
    }

    /// Turns the queue around.
    pub(crate) fn reverse_queue(&mut self) {
        self.queue = std::mem::take(&mut self.queue).into_iter().rev().collect();
    }

    /// Gives every waiting update a second time.
    pub(crate) fn double_queue(&mut self) {
        let again = self.queue.clone();
        self.queue.extend(again);
    }

    // ---- faults ---------------------------------------------------------------------------------

    /// The next `count` requests of `method` (`*`: of any) fail like that.
    pub(crate) fn fail(&mut self, method: &str, count: usize, fault: Fault) {
        self.faults.push(Planned { method: method.to_owned(), chat: None, left: count, fault });
    }

    /// The same for requests about one chat.
    pub(crate) fn fail_in(&mut self, chat: i64, method: &str, count: usize, fault: Fault) {
        self.faults.push(Planned { method: method.to_owned(), chat: Some(chat), left: count, fault });
    }

    /// Everything works from now on.
    pub(crate) fn heal(&mut self) {
        self.faults.clear();
    }

    pub(super) fn take_fault(&mut self, method: &str, chat: Option<i64>) -> Option<Fault> {
        let planned = self.faults.iter_mut().find(|planned| planned.concerns(method, chat))?;
        planned.left = planned.left.saturating_sub(1);
        Some(planned.fault.clone())
    }

    /// Whether the next request of `method` fails before its body is read.
    pub(super) fn resets_unread(&mut self, method: &str) -> bool {
        let planned = self.faults.iter_mut().find(|planned| planned.concerns(method, None));
        let Some(planned) = planned.filter(|planned| matches!(planned.fault, Fault::ResetUnread)) else {
            return false;
        };
        planned.left -= 1;
        let (method, fault) = (method.to_owned(), Some(planned.fault.clone()));
        self.requests.push(Request { at: Instant::now(), method, params: Map::new(), fault });
        true
    }

    pub(super) fn violation(&mut self, text: impl Into<String>) {
        self.violations.push(text.into());
    }

    /// Notes that nothing may come for a while, and complains about what does.
    pub(super) fn must_wait(&mut self, chat: Option<i64>, seconds: u64) {
        self.waits.push((chat, Instant::now() + Duration::from_secs(seconds)));
    }

    // ---- looking back ---------------------------------------------------------------------------

    /// What the bot has put into a chat, in order.
    pub(crate) fn sent_to(&self, chat: i64) -> Vec<&Sent> {
        self.sent.iter().filter(|sent| sent.chat == chat).collect()
    }

    /// Texts of that.
    pub(crate) fn texts(&self, chat: i64) -> Vec<String> {
        self.sent_to(chat).iter().map(|sent| sent.text.clone()).collect()
    }

    /// Requests of one method.
    pub(crate) fn calls(&self, method: &str) -> Vec<&Request> {
        self.requests.iter().filter(|request| request.method.eq_ignore_ascii_case(method)).collect()
    }
}

/// The chat that a request names by its number, which may be written as a text.
pub(super) fn chat_of(params: &Map<String, Value>) -> Option<i64> {
    let chat = params.get("chat_id")?;
    chat.as_i64().or_else(|| chat.as_str()?.parse().ok())
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Length as Telegram counts it.
pub(crate) fn utf16(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The mentions and commands in a text, as the server marks them.
fn marks(text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut offset = 0;
    for word in text.split_inclusive([' ', '\n']) {
        let bare = word.trim_end_matches([' ', '\n', ',', '.', '!', '?', ':']);
        let kind = match bare.as_bytes() {
            [b'@', _, ..] => Some("mention"),
            [b'/', letter, ..] if letter.is_ascii_alphabetic() => Some("bot_command"),
            _ => None,
        };
        if let Some(kind) = kind {
            found.push(json!({"type": kind, "offset": offset, "length": utf16(bare)}));
        }
        offset += utf16(word);
    }
    found
}
