//! What goes from the records of a full folder.

use std::fs;

use super::{Temp, append, keep, put};
use crate::store::{Janitor, Layout, Store, walk};

#[test]
fn in_a_full_folder_the_oldest_goes_first_and_names_of_records_stay() {
    let temp = Temp::new("full");
    let (mut store, _) = temp.open();
    let record = |n: u64| format!("{{\"n\":{n},\"x\":\"{}\"}}", "-".repeat(1_000));
    let hour = std::time::Duration::from_secs(3_600);
    for (age, key) in [(3, "oldest"), (2, "older"), (1, "newest")] {
        for n in 0..20 {
            keep(&mut store, &[append(key, &record(n))]);
        }
        let file = fs::File::open(Layout::new(&temp.0).session(key)).unwrap();
        file.set_modified(std::time::SystemTime::now() - age * hour).unwrap();
    }
    store.must_compact = true;
    keep(&mut store, &[put("a", "1")]);
    let ends = ["oldest", "older", "newest"].map(|key| store.sessions.end(key).unwrap());
    drop(store);
    let copy = temp.0.join("journal.damaged-1");
    fs::write(&copy, "x".repeat(1_000)).unwrap();
    // 62 KB of records are there, and folders: all of the first session's and some of the next one's go.
    let layout = Layout::new(&temp.0);
    let folders = walk::used_bytes(&layout.open().unwrap()) - 62_000;
    let (mut store, _) = Store::open(Janitor::new(layout.clone(), (36_000 + folders) * 10 / 9)).unwrap();
    store.janitor.work();
    store.on_counted();
    assert!(store.trouble().is_none() && !copy.exists());
    let used = store.janitor.used_bytes();
    store.janitor.work();
    assert_eq!((used, store.janitor.take_excess()), (store.janitor.used_bytes(), 0));
    assert!(used - folders <= 36_000 && used - folders > 34_000, "{used}");
    assert_eq!(ends, ["oldest", "older", "newest"].map(|key| store.sessions.end(key).unwrap()));
    let counts = ["oldest", "older", "newest"].map(|key| temp.session(key).lines().count() - 1);
    assert!(counts[0] == 0 && counts[1] > 5 && counts[1] < 20 && counts[2] == 20, "{counts:?}");
    assert!(temp.session("older").contains("\"n\":19,") && !temp.session("older").contains("\"n\":0,"));
    drop(store);
    // The agent's files may take it all; a part is the records' nevertheless.
    fs::write(temp.0.join("agent/large"), "x".repeat(100_000)).unwrap();
    let (mut store, _) = Store::open(Janitor::new(layout.clone(), 40_000)).unwrap();
    store.janitor.work();
    store.on_counted();
    let left = walk::used_bytes(&layout.open().unwrap().folder("sessions".as_ref()).unwrap());
    assert!(left > 9_000 && left < 11_500, "{left}");
    assert_eq!(temp.session("newest").lines().count() - 1, 9);
    assert!(store.trouble().is_none());
}
