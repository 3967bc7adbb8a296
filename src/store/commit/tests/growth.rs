//! How long the journal gets, and how much of it is held at a time.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::{Temp, append, keep, put};
use crate::limits::{JOURNAL_BYTES_MAX, JOURNAL_PART_BYTES};
use crate::store::checked_line::write_line;
use crate::store::{Layout, StoreOp};

/// JSON of so many bytes.
fn json(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[test]
fn a_journal_grows_no_longer_over_many_lives_than_in_one() {
    let temp = Temp::new("lives");
    let path = Layout::new(&temp.0).journal();
    for life in 0..8 {
        let (mut store, recovered) = temp.open();
        assert_eq!(recovered.slots.len(), usize::from(life > 0));
        for _ in 0..6 {
            keep(&mut store, &[append("main", &json(500_000)), put("a", "1")]);
        }
        let len = fs::metadata(&path).unwrap().len();
        assert!(len < 2 * JOURNAL_BYTES_MAX, "{len} bytes in life {life}");
    }
    let (store, _) = temp.open();
    assert!(store.journal.good_bytes <= JOURNAL_BYTES_MAX && store.trouble().is_none());
    assert_eq!(temp.session("main").lines().count(), 1 + 8 * 6);
}

#[test]
fn a_journal_of_things_that_all_stand_is_not_written_anew_at_each_start() {
    let temp = Temp::new("standing");
    let (mut store, _) = temp.open();
    for n in 0..3 * JOURNAL_BYTES_MAX / 1_000_000 {
        keep(&mut store, &[put(&n.to_string(), &json(1_000_000))]);
    }
    drop(store);
    let about = || fs::metadata(Layout::new(&temp.0).journal()).unwrap();
    let before = about();
    let (store, recovered) = temp.open();
    assert!(store.trouble().is_none() && recovered.slots.len() as u64 == 3 * JOURNAL_BYTES_MAX / 1_000_000);
    assert_eq!((about().ino(), about().len()), (before.ino(), before.len()));
}

/// A journal with more than is held at a time, in which a session begins, is forgotten and begins again.
fn long_journal(temp: &Temp) -> Vec<u8> {
    let (mut store, _) = temp.open();
    store.compact_at_bytes = u64::MAX;
    for n in 0..4 * JOURNAL_PART_BYTES / 100_000 {
        keep(&mut store, &[append("main", &json(100_000)), append("other", &n.to_string())]);
    }
    let mut text = fs::read(Layout::new(&temp.0).journal()).unwrap();
    write_line(&mut text, r#"{"forget":"other"}"#);
    write_line(&mut text, r#"{"app":{"key":"other","offset":0,"record":"again"}}"#);
    text
}

#[test]
fn sessions_that_lack_all_of_a_long_journal_get_it_in_parts() {
    let temp = Temp::new("parts");
    let text = long_journal(&temp);
    let layout = Layout::new(&temp.0);
    let whole = temp.session("main");
    for cut in [0, 1, 50_000, 100_100, whole.len() / 2, whole.len() - 1] {
        fs::write(layout.journal(), &text).unwrap();
        fs::write(layout.session("main"), &whole[..cut]).unwrap();
        fs::write(layout.session("other"), "").unwrap();
        let (store, recovered) = temp.open();
        assert!(store.trouble().is_none() && recovered.problems.is_empty(), "{:?}", recovered.problems);
        assert!(temp.session("main") == whole, "cut at {cut}");
        assert!(temp.session("other").ends_with("\"again\"\n") && temp.session("other").lines().count() == 2);
        assert!(store.journal.good_bytes < 1_000);
    }
}

#[test]
fn places_that_cannot_be_in_a_long_journal_cost_one_copy_of_the_session() {
    let temp = Temp::new("places");
    let mut text = long_journal(&temp);
    for n in 1..4 * JOURNAL_PART_BYTES / 100_000 {
        let offset = 1_000_000_000 * n;
        write_line(
            &mut text,
            &format!(r#"{{"app":{{"key":"main","offset":{offset},"record":{}}}}}"#, json(100_000)),
        );
    }
    let layout = Layout::new(&temp.0);
    fs::write(layout.journal(), &text).unwrap();
    let (mut store, recovered) = temp.open();
    assert!(store.trouble().is_none() && !recovered.is_damaged);
    assert_eq!(fs::read_dir(layout.sessions()).unwrap().count(), 3, "two sessions and a copy");
    keep(&mut store, &[append("main", "7"), StoreOp::Compact]);
    assert!(temp.session("main").ends_with(" 7\n"));
}
