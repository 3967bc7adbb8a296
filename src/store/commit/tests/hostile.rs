//! Files that nobody of ours has written.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::{Temp, append, keep, put};
use crate::limits::{RECORD_BYTES_MAX, SESSION_KEY_CHARS_MAX};
use crate::store::checked_line::write_line;
use crate::store::{Layout, StoreOp, disk, trash, walk};

#[test]
fn what_is_no_file_in_the_place_of_a_sessions_is_set_aside_and_forgotten_with_it() {
    let plants: [fn(&Path); 4] = [
        |path| mkfifoat(CWD, path, Mode::RWXU).unwrap(),
        |path| symlink("/dev/zero", path).unwrap(),
        |path| fs::create_dir_all(path.join("a/b")).unwrap(),
        |path| fs::create_dir(path).unwrap(),
    ];
    for plant in plants {
        let temp = Temp::new("plants");
        let layout = Layout::new(&temp.0);
        let (mut store, _) = temp.open();
        keep(&mut store, &[append("main", r#"{"x":"first"}"#)]);
        let path = layout.session("main");
        let replant = || {
            fs::remove_file(&path).unwrap();
            plant(&path);
        };
        replant();
        keep(&mut store, &[append("main", r#"{"x":"second"}"#)]);
        assert!(store.trouble().is_none() && temp.session("main").contains("second"));
        drop(store);
        replant();
        let (mut store, _) = temp.open();
        assert!(store.trouble().is_none() && temp.session("main").contains("second"));
        replant();
        keep(&mut store, &[StoreOp::Forget { session_key: "main".into() }]);
        assert!(store.trouble().is_none(), "{:?}", store.trouble());
        assert_eq!(fs::read_dir(layout.sessions()).unwrap().count(), 0);
        let tmp = layout.open_tmp().unwrap();
        trash::clear(&tmp).unwrap();
        assert_eq!(tmp.names().unwrap().count(), 0);
    }
}

#[test]
fn numbers_that_nobody_can_reckon_with_are_damage() {
    for (name, is_session) in [("offset", false), ("base", true)] {
        let temp = Temp::new(name);
        let layout = Layout::new(&temp.0);
        let (mut store, _) = temp.open();
        keep(&mut store, &[put("a", "1"), append("main", r#"{"x":"first"}"#)]);
        drop(store);
        let mut text = Vec::new();
        let path = if is_session {
            write_line(&mut text, &format!(r#"{{"v":1,"key":"main","base":{}}}"#, u64::MAX - 5));
            text.extend(vec![b'x'; 100]);
            layout.session("main")
        } else {
            text = fs::read(layout.journal()).unwrap();
            let line = format!(r#"{{"app":{{"key":"main","offset":{},"record":1}}}}"#, u64::MAX - 5);
            write_line(&mut text, &line);
            write_line(&mut text, &format!("{{\"all\":[{line}]}}"));
            layout.journal()
        };
        fs::write(path, text).unwrap();
        let (mut store, recovered) = temp.open();
        assert_eq!(recovered.slots["a"], "1");
        assert!(recovered.is_damaged != is_session, "{name}");
        keep(&mut store, &[append("main", r#"{"x":"second"}"#)]);
        assert!(store.trouble().is_none() && temp.session("main").contains("second"), "{name}");
    }
}

#[test]
fn what_could_not_be_read_back_is_refused_alone() {
    let temp = Temp::new("large");
    let (mut store, _) = temp.open();
    let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    let (fits, long) = (long(RECORD_BYTES_MAX - 100), long(RECORD_BYTES_MAX));
    let record = [append("main", &fits)];
    let ops: [&[StoreOp]; 4] = [&[put("a", "1")], &[append("main", &long)], &[put("b", &long)], &record];
    let answers = store.commit(&ops).unwrap();
    assert_eq!(
        answers.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, false, false, true],
        "{answers:?}"
    );
    drop(store);
    let (store, recovered) = temp.open();
    assert!(store.trouble().is_none() && !recovered.is_damaged && recovered.slots.len() == 1);
    assert!(temp.session("main").contains(&fits));
}

#[test]
fn a_key_whose_file_could_not_be_opened_again_is_damage_and_no_record_has_one() {
    let temp = Temp::new("key");
    let layout = Layout::new(&temp.0);
    let (mut store, _) = temp.open();
    // The longest that there are, with what takes most in a file.
    let longest = "\u{1}".repeat(SESSION_KEY_CHARS_MAX);
    keep(&mut store, &[put("a", "1"), append(&longest, r#"{"x":"first"}"#)]);
    let too_long = "k".repeat(SESSION_KEY_CHARS_MAX + 1);
    assert!(store.commit(&[&[append(&too_long, "1")]]).unwrap()[0].is_err());
    drop(store);
    let mut text = fs::read(layout.journal()).unwrap();
    write_line(&mut text, &format!(r#"{{"app":{{"key":"{}","offset":0,"record":1}}}}"#, "k".repeat(5_000)));
    write_line(&mut text, r#"{"put":{"slot":"b","value":2}}"#);
    fs::write(layout.journal(), text).unwrap();
    let (mut store, recovered) = temp.open();
    assert!(recovered.is_damaged && recovered.slots["b"] == "2");
    keep(&mut store, &[append(&longest, r#"{"x":"second"}"#)]);
    drop(store);
    let (store, recovered) = temp.open();
    assert!(store.trouble().is_none() && recovered.problems.is_empty(), "{:?}", recovered.problems);
    assert!(temp.session(&longest).contains("first") && temp.session(&longest).contains("second"));
    assert_eq!(fs::read_dir(layout.sessions()).unwrap().count(), 1);
}

/// Puts a hole behind a file that takes an hour to read.
fn make_endless(path: &Path) {
    fs::File::options().write(true).open(path).unwrap().set_len(1 << 40).unwrap();
}

#[test]
fn a_sessions_file_without_end_costs_nothing_that_was_whole_before() {
    let temp = Temp::new("endless");
    let layout = Layout::new(&temp.0);
    let path = layout.session("main");
    let (mut store, _) = temp.open();
    keep(&mut store, &[append("main", r#"{"x":"first"}"#), append("main", r#"{"x":"second"}"#)]);
    drop(store);
    // The journal goes on where the damage begins.
    make_endless(&path);
    let (mut store, recovered) = temp.open();
    assert!(store.trouble().is_none() && recovered.problems.is_empty(), "{:?}", recovered.problems);
    assert_eq!(temp.session("main").lines().count(), 3);
    // It goes on behind it.
    store.must_compact = true;
    keep(&mut store, &[put("a", "1")]);
    let mut text = fs::read(&path).unwrap();
    make_endless(&path);
    keep(&mut store, &[append("main", r#"{"x":"third"}"#)]);
    drop(store);
    let (store, recovered) = temp.open();
    assert!(store.trouble().is_none() && recovered.problems.len() == 1, "{:?}", recovered.problems);
    assert!(temp.session("main").contains("third") && temp.session("main").lines().count() == 2);
    let copies = disk::copies_of(&path).unwrap();
    let file = fs::File::open(&copies[0]).unwrap();
    file.read_exact_at(&mut text, 0).unwrap();
    assert!(copies.len() == 1 && String::from_utf8(text).unwrap().contains("second"));
    assert!(file.metadata().unwrap().len() > 1 << 40, "all of it is kept, also the hole");
    assert!(walk::used_bytes(&layout.open().unwrap()) < 1 << 20);
}

#[test]
fn a_journal_without_end_is_set_aside_and_what_is_whole_before_used() {
    for is_behind in [true, false] {
        let temp = Temp::new("endless-journal");
        let path = Layout::new(&temp.0).journal();
        let (mut store, _) = temp.open();
        keep(&mut store, &[put("a", "1"), append("main", r#"{"x":"first"}"#)]);
        drop(store);
        make_endless(&path);
        if is_behind {
            let mut line = b"\n".to_vec();
            write_line(&mut line, r#"{"put":{"slot":"a","value":2}}"#);
            fs::File::options().append(true).open(&path).unwrap().write_all(&line).unwrap();
        }
        let (mut store, recovered) = temp.open();
        assert!(recovered.is_damaged && recovered.slots["a"] == "1" && store.trouble().is_none());
        assert!(path.metadata().unwrap().len() < 1_000);
        keep(&mut store, &[put("b", "1")]);
        drop(store);
        let copies = disk::copies_of(&path).unwrap();
        assert!(copies.len() == 1 && copies[0].metadata().unwrap().len() >= 1 << 40);
        let (_, recovered) = temp.open();
        assert!(!recovered.is_damaged && recovered.slots.len() == 2);
        assert_eq!(temp.session("main").lines().count(), 2);
    }
}
