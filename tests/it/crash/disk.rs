//! A file system as its promises are, not as it mostly behaves: what was not synced may be lost.
//!
//! A file's bytes are durable once the file was synced, a name (made, moved or removed) once its
//! folder was. A power cut leaves, for each of the rest, the old or the new or something between.
//! Knows the calls of `trace` and nothing of what the files are for.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use crate::crash::trace::{Call, Handle};

/// What a power cut leaves of names or bytes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kept {
    Durable,
    /// Everything, in good luck or when only the process dies.
    All,
    /// The file's size, but zeros for its bytes.
    Zeros,
    /// The later half of the bytes behind zeros: pages are written in any order.
    LaterHalf,
    /// All but the last byte.
    AlmostAll,
    /// The earlier half.
    EarlierHalf,
    /// The first byte.
    OneByte,
}

/// One way for a power cut to go: names of the root, names elsewhere, bytes of files in the root,
/// bytes of files elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Cut {
    pub(crate) root_names: Kept,
    pub(crate) other_names: Kept,
    pub(crate) root_bytes: Kept,
    pub(crate) other_bytes: Kept,
}

/// Every way that is tried, the worst one first.
pub(crate) fn cuts() -> Vec<Cut> {
    use Kept::{All, AlmostAll, Durable, EarlierHalf, LaterHalf, OneByte, Zeros};
    let names = [(Durable, Durable), (All, All), (Durable, All), (All, Durable)];
    let bytes = [
        (Durable, Durable),
        (All, All),
        (All, Durable),
        (Durable, All),
        (Zeros, Zeros),
        (All, Zeros),
        (LaterHalf, LaterHalf),
        (EarlierHalf, EarlierHalf),
        (All, EarlierHalf),
        (AlmostAll, AlmostAll),
        (OneByte, OneByte),
    ];
    let pair = |(root_names, other_names)| {
        bytes.map(|(root_bytes, other_bytes)| Cut { root_names, other_names, root_bytes, other_bytes })
    };
    names.into_iter().flat_map(pair).collect()
}

/// A folder's content after a power cut: `None` is a folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Image(pub(crate) BTreeMap<String, Option<Vec<u8>>>);

impl Image {
    /// A number that tells images apart.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Makes it real.
    pub(crate) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for (path, content) in &self.0 {
            match content {
                None => fs::create_dir_all(folder.join(path)).unwrap(),
                Some(bytes) => fs::write(folder.join(path), bytes).unwrap(),
            }
        }
    }
}

#[derive(Debug)]
enum Node {
    Folder { now: BTreeMap<String, usize>, durable: BTreeMap<String, usize> },
    File { now: Vec<u8>, durable: Vec<u8>, unsynced: Vec<Change> },
}

#[derive(Debug)]
enum Change {
    Bytes { at: usize, bytes: Vec<u8> },
    Resize(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Resize(len) => content.resize(*len, 0),
            Self::Bytes { at, bytes } => {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

struct Opened {
    append: bool,
    position: usize,
}

/// A file system below one folder, which was there from the beginning.
pub(crate) struct Disk {
    base: String,
    nodes: Vec<Node>,
    opened: HashMap<Handle, Opened>,
}

impl Disk {
    /// Nothing but the folder `base`.
    pub(crate) fn new(base: &Path) -> Self {
        let root = Node::Folder { now: BTreeMap::new(), durable: BTreeMap::new() };
        Self { base: base.to_str().unwrap().to_owned(), nodes: vec![root], opened: HashMap::new() }
    }

    /// The folder it is below.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Whether the path is below the base, or the base itself.
    pub(crate) fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&self.base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Carries a call out. Those about other places are not for this disk.
    pub(crate) fn apply(&mut self, call: &Call) {
        match call {
            Call::Open { handle, .. } | Call::Seek { handle, .. } if !self.holds(&handle.path) => {}
            Call::Write { handle, .. } | Call::WriteAt { handle, .. } | Call::Resize { handle, .. }
                if !self.holds(&handle.path) => {}
            Call::Sync { path, .. } | Call::Remove { path } | Call::MakeFolder { path }
                if !self.holds(path) => {}
            Call::Rename { from, to } if !self.holds(from) && !self.holds(to) => {}
            Call::Sent { .. } | Call::Received { .. } => {}
            Call::Other { name, path } => {
                assert!(!self.holds(path), "`{name}` of `{path}`: teach it to the model of the disk");
            }
            Call::Open { handle, create, truncate, append } => {
                self.open(handle, *create, *truncate);
                self.opened.insert(handle.clone(), Opened { append: *append, position: 0 });
            }
            Call::Seek { handle, to } => {
                if let Some(opened) = self.opened.get_mut(handle) {
                    opened.position = usize::try_from(*to).unwrap();
                }
            }
            Call::Write { handle, bytes } => self.write(handle, bytes),
            Call::WriteAt { handle, bytes, at } => {
                let change = Change::Bytes { at: usize::try_from(*at).unwrap(), bytes: bytes.clone() };
                self.change(&handle.path, change);
            }
            Call::Resize { handle, len } => {
                self.change(&handle.path, Change::Resize(usize::try_from(*len).unwrap()));
            }
            Call::Sync { path, .. } => self.sync(path),
            Call::Rename { from, to } => {
                let node = self.names(from).0.remove(&name(from)).expect("what is renamed is there");
                self.names(to).0.insert(name(to), node);
            }
            Call::Remove { path } => {
                self.names(path).0.remove(&name(path)).expect("what is removed is there");
            }
            Call::MakeFolder { path } => {
                let node = self.add(Node::Folder { now: BTreeMap::new(), durable: BTreeMap::new() });
                self.names(path).0.insert(name(path), node);
            }
        }
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn find(&self, path: &str) -> Option<usize> {
        let rest = path.strip_prefix(&self.base)?;
        rest.split('/').filter(|part| !part.is_empty()).try_fold(0, |at, part| match &self.nodes[at] {
            Node::Folder { now, .. } => now.get(part).copied(),
            Node::File { .. } => None,
        })
    }

    /// The names beside `path`, now and durable.
    fn names(&mut self, path: &str) -> (&mut BTreeMap<String, usize>, &mut BTreeMap<String, usize>) {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let at = self.find(parent).unwrap_or_else(|| panic!("no folder `{parent}`"));
        match &mut self.nodes[at] {
            Node::Folder { now, durable } => (now, durable),
            Node::File { .. } => panic!("`{parent}` is a file"),
        }
    }

    fn open(&mut self, handle: &Handle, create: bool, truncate: bool) {
        match self.find(&handle.path) {
            None => {
                assert!(create, "`{}` was opened and is not there", handle.path);
                let (now, durable, unsynced) = (Vec::new(), Vec::new(), Vec::new());
                let node = self.add(Node::File { now, durable, unsynced });
                self.names(&handle.path).0.insert(name(&handle.path), node);
            }
            Some(_) if truncate => self.change(&handle.path, Change::Resize(0)),
            Some(_) => {}
        }
    }

    fn write(&mut self, handle: &Handle, bytes: &[u8]) {
        let len = match self.find(&handle.path).map(|at| &self.nodes[at]) {
            Some(Node::File { now, .. }) => now.len(),
            _ => panic!("`{}` was written and is no file", handle.path),
        };
        let opened = self.opened.get_mut(handle).expect("what is written is open");
        let at = if opened.append { len } else { opened.position };
        opened.position = at + bytes.len();
        self.change(&handle.path, Change::Bytes { at, bytes: bytes.to_vec() });
    }

    fn change(&mut self, path: &str, change: Change) {
        let at = self.find(path).unwrap_or_else(|| panic!("`{path}` was changed and is not there"));
        let Node::File { now, unsynced, .. } = &mut self.nodes[at] else { panic!("`{path}` is a folder") };
        change.apply(now);
        unsynced.push(change);
    }

    fn sync(&mut self, path: &str) {
        let at = self.find(path).unwrap_or_else(|| panic!("`{path}` was synced and is not there"));
        settle(&mut self.nodes[at]);
    }

    /// Time has passed, and the kernel has written everything by itself.
    pub(crate) fn settle(&mut self) {
        for node in &mut self.nodes {
            settle(node);
        }
    }

    /// What a power cut at this moment leaves of the folder `root`, which is empty if even its name
    /// is lost.
    pub(crate) fn cut(&self, root: &str, cut: Cut) -> Image {
        let mut image = Image::default();
        let Node::Folder { now, durable } = &self.nodes[0] else { return image };
        let names = if cut.root_names == Kept::Durable { durable } else { now };
        if let Some(at) = names.get(root) {
            self.collect(*at, "", cut, &mut image);
        }
        image
    }

    /// The same way to go, said of a moment at which some of it makes no difference.
    pub(crate) fn simplified(&self, root: &str, cut: Cut) -> Cut {
        let Node::Folder { now, durable } = &self.nodes[0] else { return cut };
        let mut dirty = Dirty { root_names: now != durable, ..Dirty::default() };
        if let Some(at) = now.get(root) {
            self.find_dirt(*at, true, &mut dirty);
        }
        let keep = |dirty: bool, kept: Kept| if dirty { kept } else { Kept::Durable };
        Cut {
            root_names: keep(dirty.root_names, cut.root_names),
            other_names: keep(dirty.other_names, cut.other_names),
            root_bytes: keep(dirty.root_bytes, cut.root_bytes),
            other_bytes: keep(dirty.other_bytes, cut.other_bytes),
        }
    }

    fn find_dirt(&self, at: usize, is_root: bool, dirty: &mut Dirty) {
        let Node::Folder { now, durable } = &self.nodes[at] else { return };
        let names = if is_root { &mut dirty.root_names } else { &mut dirty.other_names };
        *names |= now != durable;
        for node in now.values().chain(durable.values()) {
            match &self.nodes[*node] {
                Node::Folder { .. } => self.find_dirt(*node, false, dirty),
                Node::File { unsynced, .. } => {
                    let bytes = if is_root { &mut dirty.root_bytes } else { &mut dirty.other_bytes };
                    *bytes |= !unsynced.is_empty();
                }
            }
        }
    }

    fn collect(&self, at: usize, path: &str, cut: Cut, image: &mut Image) {
        let Node::Folder { now, durable } = &self.nodes[at] else { return };
        let (kept_names, kept_bytes) = if path.is_empty() {
            (cut.root_names, cut.root_bytes)
        } else {
            (cut.other_names, cut.other_bytes)
        };
        let names = if kept_names == Kept::Durable { durable } else { now };
        for (name, at) in names {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            if let Node::File { now, durable, unsynced } = &self.nodes[*at] {
                image.0.insert(path, Some(remains(now, durable, unsynced, kept_bytes)));
            } else {
                image.0.insert(path.clone(), None);
                self.collect(*at, &path, cut, image);
            }
        }
    }
}

fn settle(node: &mut Node) {
    match node {
        Node::Folder { now, durable } => durable.clone_from(now),
        Node::File { now, durable, unsynced } => {
            durable.clone_from(now);
            unsynced.clear();
        }
    }
}

/// Of what something is not durable.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "the four parts that a cut tells apart")]
struct Dirty {
    root_names: bool,
    other_names: bool,
    root_bytes: bool,
    other_bytes: bool,
}

fn name(path: &str) -> String {
    path.rsplit_once('/').map_or(path, |(_, name)| name).to_owned()
}

fn remains(now: &[u8], durable: &[u8], unsynced: &[Change], kept: Kept) -> Vec<u8> {
    match kept {
        Kept::Durable => return durable.to_vec(),
        Kept::All => return now.to_vec(),
        _ => {}
    }
    let total: usize = unsynced.iter().map(Change::bytes).sum();
    let lost = match kept {
        Kept::LaterHalf => 0..total / 2,
        Kept::EarlierHalf => total / 2..total,
        Kept::AlmostAll => total.saturating_sub(1)..total,
        Kept::OneByte => 1.min(total)..total,
        Kept::Durable | Kept::All | Kept::Zeros => 0..total,
    };
    // What is lost at the end was never written; elsewhere, and with `Zeros`, it reads as zeros.
    let shortens = !matches!(kept, Kept::Zeros | Kept::LaterHalf);
    let (mut content, mut done) = (durable.to_vec(), 0);
    for change in unsynced {
        let Change::Bytes { at, bytes } = change else {
            change.apply(&mut content);
            continue;
        };
        let keeps = |index: usize| !lost.contains(&(done + index));
        let mut left: Vec<u8> =
            bytes.iter().enumerate().map(|(index, byte)| if keeps(index) { *byte } else { 0 }).collect();
        if shortens {
            left.truncate((0..bytes.len()).take_while(|index| keeps(*index)).count());
        }
        if !left.is_empty() {
            Change::Bytes { at: *at, bytes: left }.apply(&mut content);
        }
        done += bytes.len();
    }
    content
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Self::Bytes { bytes, .. } => bytes.len(),
            Self::Resize(_) => 0,
        }
    }
}
