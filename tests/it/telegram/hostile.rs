//! What an agent, or whoever talks it into something, does to pictures and files of other people.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, eventually};
use crate::telegram::lab::{Lab, OWNER};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82";

fn document(lab: &Lab, name: &str, mime_type: &str, bytes: &[u8]) -> Value {
    let id = lab.api.with(|world| world.file(&format!("documents/{name}"), bytes.to_vec()));
    json!({"file_id": id, "file_unique_id": "d", "file_name": name, "mime_type": mime_type, "file_size": bytes.len()})
}

/// Files of that name anywhere in a folder. Links are not followed.
fn find(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(find(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// Puts something else in the place of a picture.
type Plant = fn(&Path, &Path);

#[test]
fn a_picture_that_was_replaced_meanwhile_is_not_given_to_the_agent() {
    let lab = Lab::start("replaced");
    let state = lab.gateway.state_dir();
    fs::write(state.join("secret"), "swordfish").unwrap();
    let plants: [Plant; 4] = [
        |picture, secret| symlink(secret, picture).unwrap(),
        |picture, _| mkfifoat(CWD, picture, Mode::RWXU).unwrap(),
        |picture, _| fs::create_dir(picture).unwrap(),
        |picture, _| symlink("/dev/zero", picture).unwrap(),
    ];
    for (number, plant) in plants.into_iter().enumerate() {
        let name = format!("picture{number}.png");
        lab.owner(&format!("[[hold {number}]] [[say held]]"));
        eventually("the agent to be at work", PATIENCE, || {
            (lab.prompts_with(&format!("[[hold {number}]]")) == 1).then_some(())
        });
        let picture = document(&lab, &name, "image/png", PNG);
        let caption = format!("[[images]] number {number}");
        lab.api.with(|world| world.says(OWNER, OWNER, json!({"document": picture, "caption": caption})));
        let path = eventually("the picture to be there", PATIENCE, || {
            let path = find(&state, &name).pop()?;
            fs::read(&path).is_ok_and(|bytes| bytes == PNG).then_some(path)
        });
        fs::remove_file(&path).unwrap();
        plant(&path, &state.join("secret"));
        lab.gateway.release(&number.to_string());
        let answers = lab.api.answers(OWNER, 2 * number + 2);
        assert_eq!(answers.last().unwrap(), "images=0", "{answers:?}");
    }
}

#[test]
fn a_file_that_is_sent_does_not_follow_a_link_out_of_its_folder() {
    let lab = Lab::start("led-astray");
    let state = lab.gateway.state_dir();
    lab.sync();
    let theirs = state.join("whatsapp/login");
    fs::create_dir_all(&theirs).unwrap();
    // Where the session's files lie, and where an earlier version put them.
    let media = fs::read_dir(state.join("media")).into_iter().flatten().flatten().map(|entry| entry.path());
    let agent = fs::read_dir(state.join("agent")).unwrap().map(|entry| entry.unwrap().path().join("media"));
    let mut planted = 0;
    for folder in media.chain(agent) {
        let _ = fs::remove_dir(&folder);
        symlink(&theirs, &folder).unwrap();
        planted += 1;
    }
    assert!(planted > 0);
    let creds = document(&lab, "creds.json", "application/json", b"{}");
    let before = lab.api.with(|world| world.texts(OWNER).len());
    lab.api.with(|world| world.says(OWNER, OWNER, json!({"document": creds, "caption": "[[say taken]]"})));
    assert_eq!(lab.api.answers(OWNER, before + 1).last().unwrap(), "taken");
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
    let found = find(&state.join("media"), "creds.json");
    assert_eq!(fs::read(&found[0]).unwrap(), b"{}");
}
