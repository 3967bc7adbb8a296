//! The model of the disk, held against what is known of disks.

use std::path::Path;

use crate::crash::disk::{Cut, Disk, Image, Kept};
use crate::crash::trace::{Call, Handle};

const fn alike(names: Kept, bytes: Kept) -> Cut {
    Cut { root_names: names, other_names: names, root_bytes: bytes, other_bytes: bytes }
}

const WORST: Cut = alike(Kept::Durable, Kept::Durable);
const BEST: Cut = alike(Kept::All, Kept::All);

struct Bench(Disk);

impl Bench {
    /// A durable, empty folder `s`.
    fn new() -> Self {
        let mut bench = Self(Disk::new(Path::new("/b")));
        bench.0.apply(&Call::MakeFolder { path: "/b/s".to_owned() });
        bench.sync("/b");
        bench
    }

    fn sync(&mut self, path: &str) {
        self.0.apply(&Call::Sync { path: path.to_owned(), data_only: false });
    }

    fn append(&mut self, path: &str, text: &str) {
        let handle = Handle { fd: 3, path: path.to_owned() };
        self.0.apply(&Call::Open { handle: handle.clone(), create: true, truncate: false, append: true });
        self.0.apply(&Call::Write { handle, bytes: text.as_bytes().to_vec() });
    }

    fn left(&self, cut: Cut) -> Vec<(String, String)> {
        let Image(files) = self.0.cut("s", cut);
        let files = files.into_iter().filter_map(|(path, content)| Some((path, content?)));
        files.map(|(path, content)| (path, String::from_utf8(content).unwrap())).collect()
    }
}

fn files(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn bytes_need_a_sync_of_the_file_and_names_one_of_the_folder() {
    let mut bench = Bench::new();
    bench.append("/b/s/f", "one");
    assert_eq!(bench.left(WORST), []);
    assert_eq!(bench.left(alike(Kept::All, Kept::Durable)), files(&[("f", "")]));
    assert_eq!(bench.left(BEST), files(&[("f", "one")]));
    bench.sync("/b/s/f");
    assert_eq!(bench.left(WORST), []);
    bench.sync("/b/s");
    assert_eq!(bench.left(WORST), files(&[("f", "one")]));
    bench.append("/b/s/f", "two");
    assert_eq!(bench.left(WORST), files(&[("f", "one")]));
}

#[test]
fn torn_writes_leave_a_part() {
    let mut bench = Bench::new();
    bench.append("/b/s/f", "0");
    bench.sync("/b/s/f");
    bench.append("/b/s/f", "12");
    bench.append("/b/s/f", "3456");
    let left = |kept| bench.left(alike(Kept::All, kept))[0].1.clone();
    assert_eq!(left(Kept::EarlierHalf), "0123");
    assert_eq!(left(Kept::AlmostAll), "012345");
    assert_eq!(left(Kept::OneByte), "01");
    assert_eq!(left(Kept::Zeros), "0\0\0\0\0\0\0");
    assert_eq!(left(Kept::LaterHalf), "0\0\0\x00456");
}

#[test]
fn a_rename_without_its_folders_sync_is_undone() {
    let mut bench = Bench::new();
    bench.append("/b/s/f", "old");
    bench.sync("/b/s/f");
    bench.sync("/b/s");
    bench.append("/b/s/f.new", "new");
    bench.0.apply(&Call::Rename { from: "/b/s/f.new".to_owned(), to: "/b/s/f".to_owned() });
    assert_eq!(bench.left(WORST), files(&[("f", "old")]));
    assert_eq!(bench.left(alike(Kept::All, Kept::Durable)), files(&[("f", "")]));
    bench.sync("/b/s/f");
    bench.sync("/b/s");
    assert_eq!(bench.left(WORST), files(&[("f", "new")]));
    bench.0.apply(&Call::Remove { path: "/b/s/f".to_owned() });
    assert_eq!(bench.left(WORST), files(&[("f", "new")]));
    assert_eq!(bench.left(BEST), []);
}

#[test]
fn writes_go_where_their_file_stands() {
    let mut bench = Bench::new();
    bench.append("/b/s/f", "abcdef");
    let handle = Handle { fd: 4, path: "/b/s/f".to_owned() };
    bench.0.apply(&Call::Open { handle: handle.clone(), create: true, truncate: false, append: false });
    bench.0.apply(&Call::Seek { handle: handle.clone(), to: 2 });
    for bytes in [b"C".to_vec(), b"D".to_vec()] {
        bench.0.apply(&Call::Write { handle: handle.clone(), bytes });
    }
    bench.0.apply(&Call::Resize { handle: handle.clone(), len: 5 });
    bench.0.apply(&Call::WriteAt { handle, bytes: b"A".to_vec(), at: 0 });
    assert_eq!(bench.left(BEST), files(&[("f", "AbCDe")]));
}

#[test]
fn a_folder_whose_name_was_never_synced_is_lost_with_all_in_it() {
    let mut disk = Disk::new(Path::new("/b"));
    disk.apply(&Call::MakeFolder { path: "/b/s".to_owned() });
    let mut bench = Bench(disk);
    bench.append("/b/s/f", "one");
    bench.sync("/b/s/f");
    bench.sync("/b/s");
    assert_eq!(bench.left(WORST), []);
    bench.sync("/b");
    assert_eq!(bench.left(WORST), files(&[("f", "one")]));
}
