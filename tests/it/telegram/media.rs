//! Pictures and files that come in.

use std::fs;

use serde_json::{Value, json};

use crate::telegram::botapi::Fault;
use crate::telegram::lab::{FRIEND, Lab, OWNER};

/// A picture of one dot.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82";

fn photo(lab: &Lab, bytes: &[u8]) -> Value {
    let ids = ["small", "large"].map(|size| {
        let bytes = if size == "large" { bytes.to_vec() } else { b"not this one".to_vec() };
        lab.api.with(|world| world.file(&format!("photos/{size}_{}.png", world.next_update), bytes))
    });
    json!([
        {"file_id": ids[0], "file_unique_id": "a", "width": 90, "height": 90, "file_size": 12},
        {"file_id": ids[1], "file_unique_id": "b", "width": 800, "height": 800, "file_size": bytes.len()},
    ])
}

/// A file on the server, as a message has it.
pub(crate) fn document(lab: &Lab, name: &str, mime_type: &str, bytes: &[u8]) -> Value {
    let id =
        lab.api.with(|world| world.file(&format!("documents/file_{}", world.next_update), bytes.to_vec()));
    json!({"file_id": id, "file_unique_id": "d", "file_name": name, "mime_type": mime_type, "file_size": bytes.len()})
}

#[test]
fn a_photo_is_an_image_for_the_agent() {
    let lab = Lab::start("photo");
    let photo = photo(&lab, PNG);
    lab.api.with(|world| {
        world.says(OWNER, OWNER, json!({"photo": photo, "caption": "[[images]] what is this?"}))
    });
    assert_eq!(lab.api.answers(OWNER, 1), ["images=1"]);
    let files = lab.api.with(|world| world.calls("getFile").len());
    assert_eq!(files, 1, "the largest size and no other");
    let mut client = lab.gateway.client();
    let history = client.ask("session-history", &json!({"sessionKey": "main"}));
    assert!(history.to_string().contains("what is this?"), "{history}");
}

#[test]
fn an_album_is_one_question() {
    let lab = Lab::start("album");
    let photos: Vec<Value> = (0..3).map(|_| photo(&lab, PNG)).collect();
    lab.api.with(|world| {
        for (number, photo) in photos.into_iter().enumerate() {
            let mut more = json!({"photo": photo, "media_group_id": "77"});
            if number == 1 {
                more["caption"] = json!("[[images]] compare these");
            }
            world.says(OWNER, OWNER, more);
        }
    });
    assert_eq!(lab.api.answers(OWNER, 1), ["images=3"]);
    lab.sync();
    assert_eq!(lab.gateway.prompts().len(), 2);
    assert_eq!(lab.api.answers(OWNER, 2).len(), 2);
}

#[test]
fn a_document_is_a_path_for_the_agent() {
    let lab = Lab::start("document");
    let document = document(&lab, "../../etc/passwd\u{202e}.txt", "text/plain", b"the content");
    let caption = "[[say read]] summarise";
    lab.api.with(|world| world.says(OWNER, OWNER, json!({"document": document, "caption": caption})));
    assert_eq!(lab.api.answers(OWNER, 1), ["read"]);
    let prompts = lab.gateway.prompts();
    let mut paths = prompts[0]
        .split(|c: char| c.is_whitespace() || "`\"'()[]<>,".contains(c))
        .filter(|word| word.starts_with('/'));
    let path = paths.next_back().unwrap_or_else(|| panic!("no path in {prompts:?}"));
    assert_eq!(fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}")), b"the content");
    assert!(path.split('/').all(|part| part != ".." && part != "etc"), "{path}");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).unwrap());
    assert_eq!(mode & 0o77, 0, "others can read {path}");
}

#[test]
fn what_no_model_takes_for_a_picture_is_a_file() {
    // A provider refuses such a picture, and every later prompt of the conversation that has it.
    let lab = Lab::start("no-picture");
    let heic: &[u8] = b"\0\0\0\x20ftypheic\0\0\0\0";
    let files = [
        ("a.heic", "image/heic", heic),
        ("a.svg", "image/svg+xml", b"<svg/>"),
        ("a.png", "image/png", b"none"),
    ];
    for (number, (name, mime_type, bytes)) in files.into_iter().enumerate() {
        let document = document(&lab, name, mime_type, bytes);
        let more = json!({"document": document, "caption": format!("[[images]] {name}")});
        lab.api.with(|world| world.says(OWNER, OWNER, more));
        assert_eq!(lab.api.answers(OWNER, number + 1)[number], "images=0", "{name}");
        let prompts = lab.gateway.prompts();
        assert!(prompts.last().unwrap().contains(&format!("-{name}")), "{prompts:?}");
    }
}

#[test]
fn a_voice_message_alone_is_a_question() {
    let lab = Lab::start("voice");
    let mut voice = document(&lab, "", "audio/ogg", b"OggS and so on");
    voice.as_object_mut().unwrap().remove("file_name");
    lab.api.with(|world| world.says(OWNER, OWNER, json!({ "voice": voice })));
    lab.api.answers(OWNER, 1);
    let prompts = lab.gateway.prompts();
    let path = prompts[0].split(['[', ']', ' ']).find(|word| word.starts_with('/')).unwrap();
    assert_eq!(fs::read(path).unwrap(), b"OggS and so on", "{prompts:?}");
}

#[test]
fn trouble_on_the_way_is_not_the_senders() {
    let lab = Lab::start("picture-again");
    let photo = photo(&lab, PNG);
    let more = json!({"photo": photo, "caption": "[[images]] what is this?"});
    lab.api.with(|world| {
        world.fail("getFile", 1, Fault::Html(502));
        world.fail("file", 1, Fault::HalfDone);
        world.says(OWNER, OWNER, more.clone())
    });
    assert_eq!(lab.api.answers(OWNER, 1), ["images=1"]);

    lab.api.with(|world| {
        world.fail("file", usize::MAX, Fault::Error(500, "Internal Server Error"));
        world.says(OWNER, OWNER, more)
    });
    let texts = lab.api.wait("a line on the picture", |world| {
        let texts = world.texts(OWNER).join("\n");
        texts.contains("please send it again").then_some(texts)
    });
    assert!(!texts.contains("500") && !texts.contains("Internal"), "{texts}");
    let asked = lab.api.with(|world| world.calls("file").len());
    assert_eq!(asked, 2 + 3, "an end is made of it");
}

#[test]
fn what_cannot_be_taken_is_said_to_the_sender() {
    let lab = Lab::with("too-big", |setup| setup.config(json!({"telegram": {"mediaMaxMb": 1}})));
    // One that says that it is too big, and one that lies.
    let mut honest = document(&lab, "film.bin", "application/octet-stream", b"small");
    honest["file_size"] = json!(31 * 1024 * 1024);
    let mut liar = document(&lab, "zip.bin", "application/octet-stream", &vec![1; 1024 * 1024 + 1]);
    liar["file_size"] = json!(10);
    for (chat, document) in [(OWNER, honest), (FRIEND, liar)] {
        lab.api.with(|world| {
            world.says(chat, chat, json!({"document": document, "caption": "[[say without it]]"}))
        });
        let texts = lab.api.wait("a line on the size", |world| {
            let texts = world.texts(chat).join("\n");
            (texts.contains("MB") || texts.contains("too big") || texts.contains("larger")).then_some(texts)
        });
        assert!(!texts.contains("/tmp") && !texts.contains("http"), "{texts}");
    }
    let asked = lab.api.with(|world| world.calls("getFile").len());
    assert_eq!(asked, 1, "what is too big by its own word is not fetched");
    let before = lab.api.with(|world| world.texts(FRIEND).len());
    lab.api.with(|world| world.says(FRIEND, FRIEND, json!({"sticker": {"file_id": "s", "emoji": "👍"}})));
    lab.api.wait("a line on stickers", |world| (world.texts(FRIEND).len() > before).then_some(()));
}
