//! What is left after failures, seen through the files.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Recovered, Store};
use crate::limits::UNAPPLIED_RECORDS_MAX;
use crate::store::disk::{self, fault};
use crate::store::folder_handle::{DAMAGED, memory_folder};
use crate::store::session_files::SessionWrite;
use crate::store::{Janitor, Layout, StoreOp, folder};

mod growth;
mod hostile;
mod quota;

struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Self {
        let path = memory_folder().join(format!("clawdis-journal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        folder::make_private(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> (Store, Recovered) {
        Store::open(Janitor::new(Layout::new(&self.0), u64::MAX)).unwrap()
    }

    fn session(&self, key: &str) -> String {
        fs::read_to_string(Layout::new(&self.0).session(key)).unwrap()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Commits one command.
fn keep(store: &mut Store, ops: &[StoreOp]) {
    let answers = store.commit(&[ops]).unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

fn put(slot: &str, value: &str) -> StoreOp {
    StoreOp::Put { slot: slot.to_owned(), value: value.to_owned() }
}

fn append(key: &str, record: &str) -> StoreOp {
    StoreOp::Append { session_key: key.to_owned(), record: record.to_owned() }
}

#[test]
fn slots_and_records_come_back() {
    let temp = Temp::new("back");
    let (mut store, recovered) = temp.open();
    assert!(recovered.slots.is_empty() && !recovered.is_damaged);
    keep(&mut store, &[put("a", "1"), put("b", "2"), append("main", r#"{"x":1}"#)]);
    keep(&mut store, &[put("a", "3"), StoreOp::Delete { slot: "b".into() }]);
    drop(store);
    let (_, recovered) = temp.open();
    assert_eq!(recovered.slots.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "3".to_owned())]);
    assert_eq!(temp.session("main").lines().count(), 2);
}

#[test]
fn a_torn_tail_is_cut_and_a_lost_session_file_is_written_again() {
    let temp = Temp::new("torn");
    let (mut store, _) = temp.open();
    keep(&mut store, &[append("main", r#"{"x":1}"#), append("main", r#"{"x":2}"#)]);
    let whole = temp.session("main");
    drop(store);
    let layout = Layout::new(&temp.0);
    let mut journal = fs::read(layout.journal()).unwrap();
    journal.extend_from_slice(b"00000000 {\"put\"");
    fs::write(layout.journal(), &journal).unwrap();
    for cut in 0..whole.len() {
        fs::write(layout.session("main"), &whole[..cut]).unwrap();
        let (_, recovered) = temp.open();
        assert!(!recovered.is_damaged);
        assert_eq!(temp.session("main"), whole, "the session file was cut at {cut}");
        // Its later pages may reach the disk before its first one.
        fs::write(layout.session("main"), "\0".repeat(cut) + &whole[cut..]).unwrap();
        let (_, recovered) = temp.open();
        assert!(recovered.problems.is_empty(), "{:?}", recovered.problems);
        assert_eq!(temp.session("main"), whole, "the session file was empty up to {cut}");
    }
}

#[test]
fn damage_in_the_middle_is_reported_and_the_rest_used() {
    // The third change is the second name of the file; a file system that has none of these takes a copy.
    for failing in [0..0, 2..3] {
        let temp = Temp::new("damage");
        let (mut store, _) = temp.open();
        keep(&mut store, &[put("a", "1")]);
        keep(&mut store, &[put("b", "2")]);
        drop(store);
        let path = Layout::new(&temp.0).journal();
        let text = fs::read_to_string(&path).unwrap().replace("\"a\"", "\"z\"");
        fs::write(&path, &text).unwrap();
        fault::plan(failing);
        let (mut store, recovered) = temp.open();
        fault::over();
        assert!(recovered.is_damaged && recovered.problems.len() == 1);
        assert_eq!(recovered.slots.keys().collect::<Vec<_>>(), ["b"]);
        keep(&mut store, &[put("c", "3")]);
        let copies = disk::copies_of(&Layout::new(&temp.0).journal()).unwrap();
        assert_eq!(copies.iter().map(|copy| fs::read_to_string(copy).unwrap()).collect::<Vec<_>>(), [text]);
    }
}

#[test]
fn a_group_is_there_or_not_however_it_was_torn() {
    let temp = Temp::new("group");
    let (mut store, _) = temp.open();
    keep(&mut store, &[put("a", "1")]);
    let path = Layout::new(&temp.0).journal();
    let before = fs::read(&path).unwrap();
    keep(&mut store, &[append("main", r#"{"x":1}"#), put("a", "2"), put("b", "2")]);
    drop(store);
    let after = fs::read(&path).unwrap();
    let of = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let _ = fs::remove_file(Layout::new(&temp.0).session("main"));
        let (_, recovered) = temp.open();
        assert!(!recovered.is_damaged);
        let there = Layout::new(&temp.0).session("main").exists();
        (recovered.slots.into_values().collect::<Vec<_>>(), there)
    };
    for cut in before.len()..after.len() {
        assert_eq!(of(&after[..cut]), (vec!["1".to_owned()], false), "cut at {cut}");
        // The file's size may reach the disk before what is in it.
        let mut zeroed = after.clone();
        zeroed[before.len()..=cut].fill(0);
        assert_eq!(of(&zeroed), (vec!["1".to_owned()], false), "zeros up to {cut}");
    }
    assert_eq!(of(&after), (vec!["2".to_owned(), "2".to_owned()], true));
}

#[test]
fn what_follows_a_forget_in_its_group_is_kept() {
    let temp = Temp::new("forget-append");
    let (mut store, _) = temp.open();
    keep(&mut store, &[append("main", r#"{"x":"old"}"#)]);
    let forget = || StoreOp::Forget { session_key: "main".into() };
    keep(&mut store, &[append("main", r#"{"x":"older"}"#), forget(), append("main", r#"{"x":"new"}"#)]);
    let text = temp.session("main");
    assert!(text.contains("new") && !text.contains("old"), "{text}");
}

#[test]
fn a_forget_that_was_interrupted_is_finished_at_the_next_start() {
    let temp = Temp::new("forget-interrupted");
    let (mut store, _) = temp.open();
    keep(&mut store, &[append("secret", r#"{"text":"swordfish"}"#), put("keep", "7")]);
    let path = Layout::new(&temp.0).journal();
    let said = fs::read(&path).unwrap();
    drop(store);
    let mut journal = said;
    crate::store::checked_line::write_line(&mut journal, r#"{"forget":"secret"}"#);
    fs::write(&path, &journal).unwrap();
    let (_, recovered) = temp.open();
    assert_eq!(recovered.slots["keep"], "7");
    assert!(!fs::read_to_string(&path).unwrap().contains("swordfish"));
    assert!(!Layout::new(&temp.0).session("secret").exists());
}

#[test]
fn compaction_keeps_slots_and_forgets_what_was_said() {
    let temp = Temp::new("compact");
    let (mut store, _) = temp.open();
    keep(&mut store, &[append("secret", r#"{"text":"swordfish"}"#), put("keep", "7")]);
    keep(&mut store, &[StoreOp::Forget { session_key: "secret".into() }]);
    assert!(!fs::read_to_string(Layout::new(&temp.0).journal()).unwrap().contains("swordfish"));
    keep(&mut store, &[append("secret", r#"{"text":"new"}"#)]);
    drop(store);
    let (_, recovered) = temp.open();
    assert_eq!(recovered.slots["keep"], "7");
    assert_eq!(temp.session("secret").lines().count(), 2, "a header and the new record");
}

/// The values of the slots `0`, `1`, ... that are there.
fn numbers(recovered: &Recovered) -> Vec<usize> {
    recovered.slots.keys().filter_map(|slot| slot.parse().ok()).collect()
}

/// Does what a gateway does, while some changes of files fail. Returns the numbers of the commands
/// that were promised.
fn live(temp: &Temp, failing: std::ops::Range<usize>) -> Vec<usize> {
    fault::plan(failing);
    let mut promised = Vec::new();
    if let Ok((mut store, _)) = Store::open(Janitor::new(Layout::new(&temp.0), u64::MAX)) {
        for number in 0..6 {
            let mut ops = vec![put(&number.to_string(), "1")];
            match number {
                2 => ops.push(StoreOp::Forget { session_key: "a".into() }),
                4 => store.must_compact = true,
                _ => {}
            }
            ops.push(append("a", &format!("{{\"a\":{number}}}")));
            ops.push(append("b", &format!("{{\"b\":{number}}}")));
            if store.commit(&[&ops]).is_ok_and(|answers| answers[0].is_ok()) {
                promised.push(number);
            }
            if number == 3 {
                let _ = store.try_again();
            }
        }
    }
    promised
}

#[test]
fn whatever_fails_what_was_promised_is_there_and_nothing_half() {
    let clean = Temp::new("sweep-clean");
    assert_eq!(live(&clean, 0..0).len(), 6);
    let changes = fault::over();
    assert!(changes > 30, "{changes}");
    for first in 0..changes {
        for count in [1, 2, 3, usize::MAX - changes] {
            let temp = Temp::new("sweep");
            let promised = live(&temp, first..first + count);
            fault::over();
            let at = format!("changes {first}.. failed ({count})");
            let (store, recovered) = temp.open();
            assert!(store.trouble().is_none() && !recovered.is_damaged, "{at}: {:?}", recovered.problems);
            let there = numbers(&recovered);
            // The last one may be there although its writer was told that it is not sure.
            let only_there: Vec<_> = there.iter().filter(|number| !promised.contains(number)).collect();
            assert!(promised.iter().all(|number| there.contains(number)), "{at}: {promised:?} {there:?}");
            assert!(only_there.len() <= 1, "{at}: {promised:?} {there:?}");
            for key in ["a", "b"] {
                let path = Layout::new(&temp.0).session(key);
                let text = fs::read_to_string(&path).unwrap_or_default();
                let found: Vec<usize> =
                    (0..6).filter(|number| text.contains(&format!("{{\"{key}\":{number}}}"))).collect();
                let forgotten = |number: &usize| key == "a" && *number < 2 && there.contains(&2);
                let expected: Vec<_> = there.iter().filter(|number| !forgotten(number)).copied().collect();
                assert_eq!(found, expected, "{at}: session {key}\n{text}");
                assert_eq!(text.lines().count(), expected.len() + usize::from(!expected.is_empty()), "{at}");
            }
            let names = fs::read_dir(&temp.0).unwrap().map(|entry| entry.unwrap().file_name());
            let copies: Vec<_> = names.filter(|name| name.to_string_lossy().contains(DAMAGED)).collect();
            assert!(copies.is_empty(), "{at}: {copies:?}");
        }
    }
}

#[test]
fn nothing_is_promised_while_the_new_journal_may_lose_its_name() {
    let temp = Temp::new("name");
    let (mut store, _) = temp.open();
    keep(&mut store, &[put("a", "1")]);
    // A commit is a write and a sync; then a new journal is made, written, synced and renamed.
    store.must_compact = true;
    fault::plan(6..usize::MAX);
    keep(&mut store, &[put("a", "2")]);
    assert!(store.trouble().is_some());
    assert!(store.commit(&[&[put("a", "3")]]).is_err());
    assert!(store.try_again().is_err());
    fault::over();
    keep(&mut store, &[put("a", "4")]);
    store.try_again().unwrap();
    assert!(store.trouble().is_none());
    drop(store);
    assert_eq!(temp.open().1.slots["a"], "4");
}

#[test]
fn nothing_follows_a_torn_line() {
    let temp = Temp::new("follow");
    let (mut store, _) = temp.open();
    keep(&mut store, &[put("a", "1")]);
    fault::plan(0..3);
    assert!(store.commit(&[&[put("a", "2")]]).is_err(), "the write failed, and cutting it off, too");
    assert!(store.commit(&[&[put("a", "3")]]).is_err(), "it still cannot be cut off");
    keep(&mut store, &[put("a", "4")]);
    fault::over();
    drop(store);
    let (_, recovered) = temp.open();
    assert_eq!(recovered.slots["a"], "4");
    assert!(!recovered.is_damaged && recovered.problems.is_empty(), "{:?}", recovered.problems);
}

#[test]
fn a_journal_that_lost_its_name_is_still_the_one_that_is_compacted() {
    let temp = Temp::new("handle");
    let (mut store, _) = temp.open();
    keep(&mut store, &[put("a", "1")]);
    fs::remove_file(Layout::new(&temp.0).journal()).unwrap();
    store.must_compact = true;
    keep(&mut store, &[put("b", "2")]);
    drop(store);
    assert_eq!(temp.open().1.slots.len(), 2);
}

#[test]
fn damage_below_what_the_journal_holds_is_set_aside_and_nothing_is_lost() {
    type Damage = fn(&str) -> String;
    let cases: [(&str, Damage); 3] = [
        ("its beginning", |text| text.replacen("{\"v\"", "{\"w\"", 1)),
        ("an old record", |text| text.replace("old", "odd")),
        ("the end of the old records", |text| text[..text.find("\"new\"").unwrap() - 60].to_owned()),
    ];
    for (name, damage) in cases {
        let temp = Temp::new("below");
        let (mut store, _) = temp.open();
        keep(&mut store, &[append("main", &format!("{{\"x\":\"old{}\"}}", "-".repeat(50)))]);
        store.must_compact = true;
        keep(&mut store, &[put("a", "1")]);
        keep(&mut store, &[append("main", r#"{"x":"new"}"#)]);
        let end = store.sessions.end("main").unwrap();
        drop(store);
        let damaged = damage(&temp.session("main"));
        fs::write(Layout::new(&temp.0).session("main"), &damaged).unwrap();
        let (mut store, recovered) = temp.open();
        assert!(!recovered.is_damaged && recovered.problems.len() == 1, "{name}: {:?}", recovered.problems);
        assert!(temp.session("main").contains("new") && !temp.session("main").contains("old"), "{name}");
        assert_eq!(store.sessions.end("main").unwrap(), end, "{name}: names of records stay");
        let copies = disk::copies_of(&Layout::new(&temp.0).session("main")).unwrap();
        assert_eq!(fs::read_to_string(&copies[0]).unwrap(), damaged, "{name}");
        keep(&mut store, &[StoreOp::Forget { session_key: "main".into() }]);
        assert_eq!(fs::read_dir(Layout::new(&temp.0).sessions()).unwrap().count(), 0, "{name}");
    }
}

/// Puts a session's file there that a later version wrote.
fn make_newer(path: &Path) -> Vec<u8> {
    let mut newer = Vec::new();
    crate::store::checked_line::write_line(&mut newer, r#"{"v":2,"key":"main","base":0}"#);
    fs::write(path, &newer).unwrap();
    newer
}

#[test]
fn a_session_of_another_version_is_refused_alone_and_left_as_it_is() {
    let temp = Temp::new("version");
    let (mut store, _) = temp.open();
    keep(&mut store, &[append("main", r#"{"x":"old"}"#)]);
    drop(store);
    let path = Layout::new(&temp.0).session("main");
    let newer = make_newer(&path);
    let (mut store, recovered) = temp.open();
    assert!(recovered.problems.iter().any(|problem| problem.contains("format 2")), "{recovered:?}");
    assert!(store.trouble().is_some());
    store.must_compact = true;
    keep(&mut store, &[append("other", r#"{"x":"fine"}"#)]);
    assert_eq!(fs::read(&path).unwrap(), newer);
    drop(store);
    // Its record is still in the journal for the day when the file can be read.
    fs::remove_file(&path).unwrap();
    let (store, _) = temp.open();
    assert!(store.trouble().is_none() && temp.session("main").contains("old"));
}

#[test]
fn a_session_that_is_damaged_at_run_time_costs_neither_the_group_nor_its_records() {
    let temp = Temp::new("run-time");
    let (mut store, _) = temp.open();
    keep(&mut store, &[append("main", r#"{"x":"first"}"#)]);
    let path = Layout::new(&temp.0).session("main");
    fs::write(&path, "no header, whatever it is, and longer than one of this version\n").unwrap();
    make_newer(&Layout::new(&temp.0).session("odd"));
    let odd = [append("odd", "1")];
    let ops: [&[StoreOp]; 3] = [&[append("main", r#"{"x":"second"}"#)], &odd, &[put("a", "1")]];
    let answers = store.commit(&ops).unwrap();
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true], "{answers:?}");
    assert!(temp.session("main").contains("first") && temp.session("main").contains("second"));
    assert_eq!(disk::copies_of(&path).unwrap().len(), 1);
    drop(store);
    assert_eq!(temp.open().1.slots["a"], "1");
    assert_eq!(temp.session("main").lines().count(), 3);
}

#[test]
fn one_session_that_cannot_be_written_stops_neither_others_nor_compaction() {
    let temp = Temp::new("stuck");
    let (mut store, _) = temp.open();
    let path = Layout::new(&temp.0).session("bad");
    keep(&mut store, &[append("bad", r#"{"x":1}"#)]);
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    // The backlog is what it would be had the file been unwritable when the record came.
    let record = r#"{"x":1}"#.to_owned();
    store.unapplied.push("bad".to_owned(), SessionWrite::Append { offset: 0, record });
    make_newer(&path);
    store.must_compact = true;
    keep(&mut store, &[append("good", r#"{"x":2}"#), append("bad", r#"{"x":3}"#)]);
    assert!(store.trouble().is_some_and(|error| error.to_string().contains("session")));
    assert!(temp.session("good").contains("{\"x\":2}"));
    for n in 0..UNAPPLIED_RECORDS_MAX {
        let _ = store.commit(&[&[append("bad", &n.to_string())]]).unwrap();
    }
    assert!(store.commit(&[&[append("bad", "1")]]).unwrap()[0].is_err(), "the backlog is bounded");
    keep(&mut store, &[append("good", r#"{"x":4}"#)]);
    fs::remove_file(&path).unwrap();
    store.try_again().unwrap();
    assert!(store.trouble().is_none());
    let text = fs::read(&path).unwrap();
    assert!(text.starts_with(&whole) && text.len() > whole.len());
}

#[test]
fn a_session_that_cannot_be_removed_is_removed_later() {
    let temp = Temp::new("unlink");
    let (mut store, _) = temp.open();
    keep(&mut store, &[append("secret", r#"{"text":"swordfish"}"#)]);
    // After the commit's write and sync.
    fault::plan(2..4);
    keep(&mut store, &[StoreOp::Forget { session_key: "secret".into() }]);
    fault::over();
    assert!(store.trouble().is_some() && Layout::new(&temp.0).session("secret").exists());
    store.try_again().unwrap();
    assert!(store.trouble().is_none() && !Layout::new(&temp.0).session("secret").exists());
    assert!(!fs::read_to_string(Layout::new(&temp.0).journal()).unwrap().contains("swordfish"));
}

#[test]
fn a_journal_without_a_readable_line_is_damage_and_no_torn_write() {
    let temp = Temp::new("unreadable");
    let (mut store, _) = temp.open();
    keep(&mut store, &[put("a", "1")]);
    drop(store);
    let path = Layout::new(&temp.0).journal();
    let text = fs::read_to_string(&path).unwrap();
    for damaged in ["x".repeat(text.len()), text.replacen("{\"put\"", "{\"got\"", 1) + "torn"] {
        fs::write(&path, &damaged).unwrap();
        let (_, recovered) = temp.open();
        assert!(recovered.is_damaged, "{damaged}");
        let copies = disk::copies_of(&Layout::new(&temp.0).journal()).unwrap();
        assert!(copies.iter().any(|copy| fs::read_to_string(copy).unwrap() == damaged));
    }
}

#[test]
fn a_file_whose_sync_failed_is_written_again_before_the_journal_lets_go_of_its_records() {
    use std::os::unix::fs::MetadataExt;
    let temp = Temp::new("doubtful");
    let (mut store, _) = temp.open();
    keep(&mut store, &[append("main", r#"{"x":1}"#)]);
    let path = Layout::new(&temp.0).session("main");
    let before = fs::metadata(&path).unwrap().ino();
    store.must_compact = true;
    // The commit is a write and a sync; the first change of the compaction is the file's sync.
    fault::plan(2..3);
    keep(&mut store, &[put("a", "1")]);
    fault::over();
    assert!(store.trouble().is_some());
    let journal = || fs::read_to_string(Layout::new(&temp.0).journal()).unwrap();
    assert!(journal().contains("{\"x\":1}"), "only the journal has it for sure");
    store.try_again().unwrap();
    assert!(store.trouble().is_none() && !journal().contains("{\"x\":1}"));
    assert_ne!(fs::metadata(&path).unwrap().ino(), before, "pages that could not be written are clean");
    assert!(temp.session("main").contains("{\"x\":1}"));
}

#[test]
fn what_a_failed_write_left_of_a_record_is_no_record() {
    let temp = Temp::new("half");
    let (mut store, _) = temp.open();
    keep(&mut store, &[append("main", r#"{"x":1}"#)]);
    let path = Layout::new(&temp.0).session("main");
    let mut text = temp.session("main");
    text.push_str(&"0123456789abcdef".repeat(9));
    // The commit is a write and a sync, then the file is opened and written.
    fault::plan(3..4);
    keep(&mut store, &[append("main", r#"{"x":2}"#)]);
    fault::over();
    assert!(store.trouble().is_some());
    fs::write(&path, text).unwrap();
    store.try_again().unwrap();
    assert_eq!(temp.session("main").lines().count(), 3);
    assert!(temp.session("main").ends_with("{\"x\":2}\n"));
}
