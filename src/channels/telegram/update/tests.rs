//! Updates in the shapes that the Bot API documents.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{BotAccount, parse};
use crate::channels::message::{Arrival, Inbound, MediaKind};

const MEDIA_MAX: u64 = 20 << 20;

fn parsed(update: &Value) -> Option<Arrival> {
    let bot = BotAccount { id: 42, username: "OurBot".to_owned(), can_read_all_group_messages: false };
    parse(&RawValue::from_string(update.to_string()).unwrap(), &bot, MEDIA_MAX)
}

fn update(message: Value) -> Value {
    json!({"update_id": 7, "message": message})
}

/// A message with these members besides the usual ones.
fn message(chat: Value, more: Value) -> Value {
    let mut message = json!({
        "message_id": 5, "date": 1_700_000_000, "chat": chat,
        "from": {"id": 123_456_789_012_i64, "is_bot": false, "first_name": "Ann", "last_name": "Lee", "username": "ann"},
    });
    let members = message.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    message
}

fn private(more: Value) -> Value {
    update(message(json!({"id": 123_456_789_012_i64, "type": "private", "first_name": "Ann"}), more))
}

fn group(more: Value) -> Value {
    update(message(json!({"id": -1_001_234_567_890_i64, "type": "supergroup", "title": "G"}), more))
}

fn inbound(update: &Value) -> Inbound {
    match parsed(update) {
        Some(Arrival::Message(inbound)) => *inbound,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_direct_message() {
    let message = inbound(&private(json!({"text": "hi 😀"})));
    assert_eq!(message.key, "42/7");
    assert_eq!((message.route.chat.as_str(), &message.route.topic), ("123456789012", &None));
    assert_eq!((message.from.as_str(), message.name.as_deref()), ("123456789012", Some("Ann Lee")));
    assert_eq!((message.message_id.as_str(), message.ts), ("5", 1_700_000_000_000));
    assert_eq!((message.text.as_str(), message.addressed, message.is_group), ("hi 😀", true, false));
}

#[test]
fn groups_and_who_is_called_there() {
    assert!(!inbound(&group(json!({"text": "hi"}))).addressed);
    let called = json!({"text": "@ourbot hi", "entities": [{"type": "mention", "offset": 0, "length": 7}]});
    let message = inbound(&group(called));
    assert_eq!((message.text.as_str(), message.addressed, message.is_group), ("hi", true, true));
    let caption = json!({
        "caption": "see @OurBot", "caption_entities": [{"type": "mention", "offset": 4, "length": 7}],
        "photo": [{"file_id": "p", "width": 1, "height": 1}],
    });
    let message = inbound(&group(caption));
    assert_eq!((message.text.as_str(), message.addressed), ("see", true));
    let command = |text: &str, length: usize| json!({"text": text, "entities": [{"type": "bot_command", "offset": 0, "length": length}]});
    let message = inbound(&group(command("/new@OurBot", 11)));
    assert_eq!((message.text.as_str(), message.addressed), ("/new", true));
    assert!(inbound(&group(command("/new", 4))).addressed);
    assert_eq!(parsed(&group(command("/new@OtherBot", 13))), None);
    assert_eq!(parsed(&private(command("/new@OtherBot", 13))), None);
    let bare = json!({"text": "@OurBot", "entities": [{"type": "mention", "offset": 0, "length": 7}]});
    assert!(inbound(&group(bare)).addressed, "a bare call is for us, too");
}

#[test]
fn replies_and_topics() {
    let reply = |from: i64| json!({"text": "yes", "reply_to_message": {"message_id": 4, "from": {"id": from, "is_bot": true}, "text": "Shall I?"}});
    let message = inbound(&group(reply(42)));
    assert_eq!((message.addressed, message.quoted.as_deref()), (true, Some("Shall I?")));
    assert!(!inbound(&group(reply(43))).addressed);
    let mut quoting = reply(42);
    quoting["quote"] = json!({"text": "Shall", "position": 0});
    assert_eq!(inbound(&group(quoting)).quoted.as_deref(), Some("Shall"));
    let long = json!({"text": "x", "reply_to_message": {"message_id": 4, "caption": "y".repeat(5_000)}});
    assert_eq!(inbound(&private(long)).quoted.map(|quoted| quoted.len()), Some(1_000));

    let in_topic = json!({
        "text": "hi", "is_topic_message": true, "message_thread_id": 3,
        "reply_to_message": {"message_id": 3, "from": {"id": 42, "is_bot": true}, "forum_topic_created": {"name": "T"}},
    });
    let message = inbound(&group(in_topic));
    assert_eq!((message.route.topic.as_deref(), message.addressed), (Some("3"), false));
    let chain = json!({"text": "hi", "message_thread_id": 3});
    assert_eq!(inbound(&group(chain)).route.topic, None, "a thread that is no topic");
}

#[test]
fn media() {
    let photo = json!({"photo": [
        {"file_id": "s", "width": 90, "height": 90, "file_size": 1_000},
        {"file_id": "l", "width": 900, "height": 900, "file_size": 90_000},
        {"file_id": "xl", "width": 9_000, "height": 9_000, "file_size": MEDIA_MAX + 1},
    ], "media_group_id": "album"});
    let message = inbound(&private(photo));
    let [picture] = message.media.as_slice() else { panic!("{:?}", message.media) };
    assert_eq!((picture.handle.as_str(), picture.kind, picture.bytes), ("l", MediaKind::Image, 90_000));
    assert_eq!((message.album.as_deref(), message.left_out), (Some("album"), None));

    let file = |size: u64| json!({"document": {"file_id": "d", "file_name": "../a.png", "mime_type": "image/png", "file_size": size}});
    let message = inbound(&private(file(5)));
    assert_eq!(
        (message.media[0].kind, message.media[0].name.as_deref()),
        (MediaKind::Image, Some("../a.png"))
    );
    let message = inbound(&private(file(30 << 20)));
    assert_eq!((message.media.len(), message.left_out.as_deref()), (0, Some("a file of 30 MB (20 at most)")));

    let gif = json!({"animation": {"file_id": "a", "mime_type": "video/mp4"}, "document": {"file_id": "a"}});
    assert_eq!(inbound(&private(gif)).media.len(), 1);
    let voice = json!({"voice": {"file_id": "v", "duration": 3}});
    assert_eq!(inbound(&private(voice)).media[0].mime_type, "audio/ogg");
    let sticker = json!({"sticker": {"file_id": "s", "emoji": "😀"}});
    assert_eq!(inbound(&private(sticker)).left_out.as_deref(), Some("a sticker"));
    let location = json!({"location": {"latitude": 52.52, "longitude": -13.4}});
    assert_eq!(inbound(&private(location)).shown_text(), "[a place] 52.520000, -13.400000");
    let contact = json!({"contact": {"phone_number": "+1555", "first_name": "Bob"}});
    assert_eq!(inbound(&private(contact)).shown_text(), "[a contact] Bob, +1555");
    let forwarded = json!({"text": "/new", "forward_origin": {"type": "user", "date": 1, "sender_user": {"id": 1, "is_bot": false, "first_name": "Eve"}}});
    let forwarded = inbound(&private(forwarded));
    assert_eq!(
        (forwarded.text.as_str(), forwarded.about.as_deref()),
        ("/new", Some("forwarded from \"Eve\" (telegram:1)"))
    );
}

#[test]
fn silence_for_what_nobody_asked() {
    let anonymous = json!({"text": "x", "sender_chat": {"id": -100, "type": "supergroup"}, "from": {"id": 1_087_968_824, "is_bot": true, "first_name": "Group"}});
    let edited = message(json!({"id": 1, "type": "private"}), json!({"text": "x"}));
    for update in [
        json!({"update_id": 1, "edited_message": edited}),
        json!({"update_id": 1, "channel_post": {"message_id": 1, "date": 1, "chat": {"id": -100, "type": "channel"}, "text": "x"}}),
        json!({"update_id": 1, "callback_query": {"id": "1"}}),
        json!({"update_id": 1, "my_chat_member": {}}),
        json!({"update_id": 1}),
        json!({"update_id": 1, "message": null}),
        group(anonymous),
        group(json!({"text": "x", "from": {"id": 9, "is_bot": true, "first_name": "Bot"}})),
        group(json!({"new_chat_members": [{"id": 9}]})),
        update(message(json!({"id": -100, "type": "channel"}), json!({"text": "x"}))),
    ] {
        assert_eq!(parsed(&update), None, "{update}");
    }
}

#[test]
fn chats_move() {
    let moved = update(message(json!({"id": -5, "type": "group"}), json!({"migrate_to_chat_id": -1_005})));
    let expected =
        Arrival::Migrated { key: "42/7".to_owned(), from: "-5".to_owned(), to: "-1005".to_owned() };
    assert_eq!(parsed(&moved), Some(expected));
}

#[test]
fn what_cannot_be_read_is_kept() {
    for update in [
        json!({"update_id": 7, "message": {"text": "no chat"}}),
        json!({"update_id": 7, "message": 5}),
        private(json!({"text": {"a": 1}})),
        private(json!({"text": "x".repeat(10_000), "photo": "no list"})),
    ] {
        let Some(Arrival::Garbled { key, raw, .. }) = parsed(&update) else { panic!("{update}") };
        assert_eq!(key, "42/7");
        assert!(!raw.is_empty() && raw.len() <= 2_048);
    }
    let Some(Arrival::Garbled { key, .. }) = parsed(&json!({"message": {}})) else {
        panic!("it has no number")
    };
    assert!(key.starts_with("42/without-id-"), "{key}");
}
