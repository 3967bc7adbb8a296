//! The methods but `getUpdates`: what they check and answer, in the real server's words.

use serde_json::{Map, Value, json};

use super::http::{Body, Upload};
use super::world::{BOT_ID, BOT_NAME, Sent, World, utf16};

/// `sendMessage` takes so many UTF-16 units, and a caption so many.
const TEXT_MAX: usize = 4_096;
const CAPTION_MAX: usize = 1_024;
const ENTITIES_MAX: usize = 100;
const DOWNLOAD_MAX: usize = 20 * 1024 * 1024;

/// Parameters of the methods that this server has: what is not among them is a mistake of ours.
const PARAMS: [(&str, &[&str]); 8] = [
    ("getme", &[]),
    ("getwebhookinfo", &[]),
    ("deletewebhook", &["drop_pending_updates"]),
    (
        "sendmessage",
        &[
            "chat_id",
            "text",
            "entities",
            "message_thread_id",
            "reply_parameters",
            "link_preview_options",
            "disable_notification",
        ],
    ),
    ("sendchataction", &["chat_id", "action", "message_thread_id"]),
    ("sendphoto", MEDIA_PARAMS),
    ("senddocument", MEDIA_PARAMS),
    ("getfile", &["file_id"]),
];
const MEDIA_PARAMS: &[&str] = &[
    "chat_id",
    "photo",
    "document",
    "caption",
    "caption_entities",
    "message_thread_id",
    "reply_parameters",
    "disable_notification",
    "disable_content_type_detection",
];

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) description: String,
    pub(super) parameters: Option<Value>,
}

impl Refusal {
    pub(super) fn new(code: u16, description: &str) -> Self {
        Self { code, description: description.to_owned(), parameters: None }
    }

    pub(super) fn body(&self) -> Value {
        let mut body = json!({"ok": false, "error_code": self.code, "description": self.description});
        if let Some(parameters) = &self.parameters {
            body["parameters"] = parameters.clone();
        }
        body
    }
}

fn bad(description: &str) -> Refusal {
    Refusal::new(400, &format!("Bad Request: {description}"))
}

/// Carries out a method; the name is in any case.
pub(super) fn call(world: &mut World, method: &str, body: &Body) -> Result<Value, Refusal> {
    let method = method.to_ascii_lowercase();
    let Some((_, known)) = PARAMS.iter().find(|(name, _)| *name == method) else {
        return Err(Refusal::new(404, "Not Found"));
    };
    for name in body.params.keys().filter(|name| !known.contains(&name.as_str())) {
        world.violations.push(format!("{method} has no parameter `{name}`"));
    }
    let params = &body.params;
    match method.as_str() {
        "getme" => Ok(json!({
            "id": BOT_ID, "is_bot": true, "first_name": "Clawdis", "username": BOT_NAME,
            "can_join_groups": true, "can_read_all_group_messages": world.can_read_all_group_messages,
            "supports_inline_queries": false, "can_connect_to_business": false, "has_main_web_app": false,
        })),
        "getwebhookinfo" => Ok(json!({
            "url": world.webhook, "has_custom_certificate": false,
            "pending_update_count": world.queue.len(),
        })),
        "deletewebhook" => {
            if params.get("drop_pending_updates") == Some(&json!(true)) {
                world.violation("deleteWebhook throws waiting updates away");
            }
            world.webhook.clear();
            Ok(json!(true))
        }
        "sendchataction" => {
            let (chat, _) = target(world, params)?;
            if params.get("action") != Some(&json!("typing")) {
                world.violation(format!("an action other than typing in {chat}"));
            }
            Ok(json!(true))
        }
        "getfile" => get_file(world, params),
        "sendmessage" => {
            let text = params.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
            if text.trim().is_empty() {
                world.violation("an empty text");
                return Err(bad("message text is empty"));
            }
            send(world, "sendMessage", params, (text, "entities", TEXT_MAX), None)
        }
        _ => {
            let kind = method.trim_start_matches("send");
            let text = params.get("caption").and_then(Value::as_str).unwrap_or_default().to_owned();
            let Some(upload) = body.files.get(kind).cloned() else {
                world.violation(format!("{method} without a file of its own"));
                return Err(bad("wrong remote file identifier specified: wrong string length"));
            };
            let name = if kind == "photo" { "sendPhoto" } else { "sendDocument" };
            send(world, name, params, (text, "caption_entities", CAPTION_MAX), Some(upload))
        }
    }
}

/// The chat and topic that a request is for.
fn target(world: &mut World, params: &Map<String, Value>) -> Result<(i64, Option<i64>), Refusal> {
    let id = match params.get("chat_id") {
        Some(Value::String(name)) if name.starts_with('@') => {
            let found = world.chats.iter().find(|(_, chat)| chat.username.as_deref() == Some(&name[1..]));
            found.map(|(id, _)| *id)
        }
        Some(Value::String(digits)) => digits.parse().ok(),
        Some(value) => value.as_i64(),
        None => return Err(bad("chat_id is empty")),
    };
    let Some((id, chat)) = id.and_then(|id| Some((id, world.chats.get(&id)?))) else {
        return Err(bad("chat not found"));
    };
    if chat.blocked {
        return Err(Refusal::new(403, "Forbidden: bot was blocked by the user"));
    }
    if let Some(to) = chat.migrated_to {
        let parameters = Some(json!({ "migrate_to_chat_id": to }));
        return Err(Refusal { parameters, ..bad("group chat was upgraded to a supergroup chat") });
    }
    let topic = params.get("message_thread_id").and_then(Value::as_i64);
    if let Some(topic) = topic.filter(|topic| !chat.topics.contains(topic)) {
        world.violation(format!("topic {topic} in chat {id}, which has none such"));
        return Err(bad("message thread not found"));
    }
    Ok((id, topic))
}

fn send(
    world: &mut World,
    method: &str,
    params: &Map<String, Value>,
    (text, entities_name, units_max): (String, &str, usize),
    upload: Option<Upload>,
) -> Result<Value, Refusal> {
    let (chat, topic) = target(world, params)?;
    let units = utf16(&text);
    if units > units_max {
        world.violation(format!("{units} UTF-16 units"));
        return Err(bad("message is too long"));
    }
    let entities = params.get(entities_name).and_then(Value::as_array).cloned().unwrap_or_default();
    if let Err(what) = check_entities(&text, &entities) {
        world.violation(format!("{what} in {text:?}"));
        return Err(bad("can't parse entities"));
    }
    let reply_to = reply_target(world, chat, params)?;
    let mut more = match &upload {
        None => json!({ "text": text }),
        Some(upload) => json!({ "caption": text, "document": {"file_name": upload.name} }),
    };
    more[entities_name] = json!(entities);
    if let Some(topic) = topic {
        more["message_thread_id"] = json!(topic);
    }
    let message = world.message(chat, Some(BOT_ID), more);
    let message_id = message["message_id"].as_i64().unwrap();
    let method = method.to_owned();
    world.sent.push(Sent { method, chat, message_id, topic, reply_to, text, entities, upload });
    Ok(message)
}

fn reply_target(world: &World, chat: i64, params: &Map<String, Value>) -> Result<Option<i64>, Refusal> {
    let Some(reply) = params.get("reply_parameters") else { return Ok(None) };
    let id = reply["message_id"].as_i64().ok_or_else(|| bad("can't parse reply parameters"))?;
    if world.chats[&chat].messages.contains_key(&id) {
        return Ok(Some(id));
    }
    if reply["allow_sending_without_reply"] == true {
        return Ok(None);
    }
    Err(bad("message to be replied not found"))
}

/// Entities lie in the text, cut no character and are not too many.
fn check_entities(text: &str, entities: &[Value]) -> Result<(), String> {
    if entities.len() > ENTITIES_MAX {
        return Err(format!("{} entities", entities.len()));
    }
    let units: Vec<u16> = text.encode_utf16().collect();
    for entity in entities {
        let number = |name: &str| entity[name].as_u64().and_then(|number| usize::try_from(number).ok());
        let (Some(start), Some(length)) = (number("offset"), number("length")) else {
            return Err(format!("no place of {entity}"));
        };
        let end = start + length;
        let cuts = |at: usize| units.get(at).is_some_and(|unit| (0xDC00..0xE000).contains(unit));
        if length == 0 || end > units.len() || cuts(start) || cuts(end) {
            return Err(format!("the place of {entity}"));
        }
        let kinds = [
            "bold",
            "italic",
            "underline",
            "strikethrough",
            "spoiler",
            "blockquote",
            "code",
            "pre",
            "text_link",
        ];
        if !kinds.contains(&entity["type"].as_str().unwrap_or_default()) {
            return Err(format!("the type of {entity}"));
        }
        if (entity["type"] == "text_link") != entity["url"].is_string() {
            return Err(format!("the address of {entity}"));
        }
    }
    Ok(())
}

fn get_file(world: &World, params: &Map<String, Value>) -> Result<Value, Refusal> {
    let id = params.get("file_id").and_then(Value::as_str).unwrap_or_default();
    let Some((path, bytes)) = world.files.get(id) else { return Err(bad("invalid file_id")) };
    if bytes.len() > DOWNLOAD_MAX {
        return Err(bad("file is too big"));
    }
    Ok(json!({
        "file_id": id, "file_unique_id": format!("u-{id}"), "file_size": bytes.len(), "file_path": path,
    }))
}
