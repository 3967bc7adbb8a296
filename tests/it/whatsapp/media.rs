//! Pictures and files, both ways.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, symlink};
use std::{fs, thread};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, eventually, process};
use crate::whatsapp::lab::{FRIEND, Lab, OWNER, lid, pn};

/// A picture of one dot.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82";

#[test]
fn a_picture_is_for_the_agent_and_for_nobody_else() {
    let lab = Lab::with("media-in", |setup| setup.config(json!({"whatsapp": {"mediaMaxMb": 1}})));
    let base64 = data_encoding::BASE64.encode(PNG);
    let picture = |more: Value| {
        let mut message = json!({"from": OWNER, "base64": base64, "mimetype": "image/png"});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        lab.mock.op("send-media", message)
    };
    picture(json!({"caption": "[[images]] what is this?"}));
    lab.mock.said(&lid(OWNER), "images=1");
    let prompt = lab.gateway.prompts().pop().unwrap();
    let path = prompt.split([' ', ']']).find(|word| word.starts_with('/')).unwrap();
    assert_eq!(fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}")), PNG);
    assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600, "{path}");
    assert!(path.starts_with(lab.gateway.state_dir().to_str().unwrap()), "{path}");
    // Shown once is shown to the agent as well, and what the server lost the phone uploads again.
    picture(json!({"caption": "[[images]] [[say unused]]", "viewOnce": true, "gone": true}));
    eventually("the agent to be asked about the picture that was gone", PATIENCE, || {
        (lab.prompts_with("is in the file") == 2).then_some(())
    });
    lab.mock.wait(&json!({"type": "media-renewal", "found": true}));
    lab.mock
        .op("send-media", json!({"from": FRIEND, "size": 1024 * 1024 + 1, "caption": "[[say without it]]"}));
    eventually("a line on what was too large", PATIENCE, || {
        lab.mock.texts(&lid(FRIEND)).iter().any(|text| text.contains("MB")).then_some(())
    });
    picture(json!({"from": FRIEND, "lost": true, "caption": "[[say nothing to see]]"}));
    eventually("a line on what was lost", PATIENCE, || {
        let texts = lab.mock.texts(&lid(FRIEND));
        (texts.iter().filter(|text| text.contains("could not take")).count() == 2).then_some(())
    });
}

/// A web server that has the picture.
fn web() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                PNG.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), PNG].concat());
        }
    });
    base
}

#[test]
fn pictures_are_sent_from_allowed_folders_and_from_the_web() {
    let lab = Lab::with("media-out", |setup| {
        let folder = setup.scratch().join("pictures");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("dot.png"), PNG).unwrap();
        fs::write(folder.join("notes.pdf"), b"%PDF-1.4 and so on").unwrap();
        setup.config(json!({"gateway": {"mediaFolders": [folder], "mediaHosts": ["127.0.0.1"]}}))
    });
    let folder = lab.gateway.setup().scratch().join("pictures");
    let mut client = lab.gateway.client();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let sources = [file("dot.png"), format!("{}/dot.png", web()), file("notes.pdf")];
    for (number, source) in sources.iter().enumerate() {
        let params = json!({"to": format!("+{FRIEND}"), "message": "look", "mediaUrl": source,
            "idempotencyKey": format!("k{number}")});
        let answer = client.ask("send", &params);
        assert_eq!(answer["toJid"], pn(FRIEND), "{answer}");
        let got = lab.mock.received(&lid(FRIEND)).pop().unwrap();
        assert_eq!(got["id"], answer["messageId"], "{got}");
        assert!(got["text"] == "look" && got["media"]["ok"] == true, "{got}");
        let (kind, bytes) = if number == 2 { ("document", 18) } else { ("image", PNG.len()) };
        assert!(got["kind"] == kind && got["media"]["size"] == bytes, "{got}");
    }
    let secret = lab.gateway.state_dir().join("config.json");
    for source in [secret.to_str().unwrap(), &file("../../etc/passwd")] {
        let params =
            json!({"to": format!("+{FRIEND}"), "message": "", "mediaUrl": source, "idempotencyKey": source});
        assert_eq!(client.refused("send", &params)["code"], "INVALID_REQUEST", "{source}");
    }
    let params = json!({"to": format!("+{FRIEND}"), "message": "", "mediaUrl": file("none.png"), "idempotencyKey": "none"});
    let error = client.refused("send", &params);
    assert!(error["message"].as_str().unwrap().contains("no such file"), "{error}");
}

#[test]
fn a_file_is_judged_by_where_it_lies_and_a_host_by_its_address() {
    let lab = Lab::with("media-judged", |setup| {
        let folder = setup.scratch().join("pictures");
        fs::create_dir_all(&folder).unwrap();
        let folders = [folder, setup.state_dir()];
        setup.config(json!({"gateway": {"mediaFolders": folders}}))
    });
    let folder = lab.gateway.setup().scratch().join("pictures");
    let state = lab.gateway.state_dir();
    fs::write(folder.join("dot.png"), PNG).unwrap();
    symlink(folder.join("dot.png"), folder.join("link.png")).unwrap();
    symlink("/dev/zero", folder.join("zero")).unwrap();
    symlink(&state, folder.join("state")).unwrap();
    assert!(process::run("mkfifo", &[folder.join("pipe").to_str().unwrap()]).status.success());
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let mut client = lab.gateway.client();
    let params = |source: &str| json!({"to": format!("+{FRIEND}"), "mediaUrl": source, "message": "", "idempotencyKey": source});
    let inside = web();
    for source in [
        file("pipe"),
        file("zero"),
        file("state/gateway.lock"),
        state.join("gateway.lock").to_str().unwrap().to_owned(),
        format!("{inside}/dot.png"),
        inside.replace("127.0.0.1", "127.1"),
        inside.replace("127.0.0.1", "[::ffff:7f00:1]"),
        "http://169.254.169.254/latest".to_owned(),
    ] {
        let error = client.refused("send", &params(&source));
        assert_eq!(error["code"], "INVALID_REQUEST", "{source}: {error}");
    }
    client.ask("send", &params(&file("link.png")));
    let got = lab.mock.received(&lid(FRIEND));
    assert!(got.len() == 1 && got[0]["media"]["size"] == PNG.len(), "{got:?}");
    // Nothing of it is left on its way.
    let left = fs::read_dir(state.join("whatsapp/upload")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}
