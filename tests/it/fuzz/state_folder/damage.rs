//! What a broken disk, a restored backup, an agent and somebody with a hex editor make of a folder.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, mkfifoat, openat};
use serde_json::Value;

use super::seed::{Entry, line, records};
use crate::fuzz::json;
use crate::fuzz::mutate::{Mutator, index, one_in, pick};
use crate::harness::random::Random;

/// Names that mean something somewhere in a state folder, and some that mean trouble.
const NAMES: &[&str] = &[
    "journal",
    "journal.new",
    "gateway.lock",
    "clawdis.json",
    "token",
    "agent",
    "sessions",
    "media",
    "tmp",
    "probe",
    "whatsapp",
    "whatsapp/upload",
    "login",
    "program",
    "gone-1",
    "tmp/gone-1",
    "x.log",
    "x.new",
    "x.jsonl",
    "notes",
    "journal.damaged-9",
    "x.log.damaged-9",
    ".damaged-",
    " ",
    "-rf",
    "..data",
    "\u{202e}gol.x",
    "a\nb",
];
/// Where links lead.
const TARGETS: &[&str] =
    &["/dev/zero", "/dev/null", "/dev/full", "/proc/self/mem", "/nowhere/at/all", ".", "..", "journal", "/"];
/// Lengths of sparse files.
const LENGTHS: &[u64] = &[0, 1, 4_096, 65 << 20, 300 << 20];
/// Deeper than a recursion in a thread of ours may go.
const DEPTH: usize = 2_500;

/// Everything that damage is done with.
pub(super) struct Damage {
    pub(super) entries: Vec<Entry>,
    values: Vec<Value>,
    bytes: Mutator,
}

impl Damage {
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let contents: Vec<Vec<u8>> = entries.iter().filter_map(|entry| entry.content.clone()).collect();
        let values = contents.iter().filter_map(|content| records(content)).flatten().collect();
        let words = [
            "{\"put\":",
            "{\"app\":",
            "{\"forget\":\"main\"}",
            "{\"all\":[",
            "\"offset\":",
            "\n",
            "00000000 ",
        ];
        Self { entries, values, bytes: Mutator::new(contents, &words, 1 << 20) }
    }

    /// The folder as it was recorded, with the records in its files changed. Returns what was changed.
    pub(super) fn lay(&self, folder: &Path, random: &mut Random) -> String {
        let mut done = String::new();
        fs::DirBuilder::new().mode(0o700).create(folder).unwrap();
        let rate = *pick(random, &[2, 8, 40]);
        for Entry { path, content } in &self.entries {
            let place = folder.join(path);
            let Some(content) = content else {
                fs::DirBuilder::new().mode(0o700).create(place).unwrap();
                continue;
            };
            let content = match records(content).filter(|records| !records.is_empty()) {
                Some(lines) if one_in(random, 2) => {
                    let text = self.change(&lines, rate, random);
                    done.extend(["=== ", &path.to_string_lossy(), "\n", &text, "\n"]);
                    text.into_bytes()
                }
                _ if one_in(random, 24) => {
                    done.extend(["=== bytes of ", &path.to_string_lossy(), "\n"]);
                    self.bytes.mutate(content.clone(), random)
                }
                _ => content.clone(),
            };
            fs::write(&place, content).unwrap();
            fs::set_permissions(place, fs::Permissions::from_mode(0o600)).unwrap();
        }
        done
    }

    /// Records with mistakes in them, but right checksums.
    fn change(&self, records: &[Value], rate: u64, random: &mut Random) -> String {
        let mut text = String::new();
        for (number, record) in records.iter().enumerate() {
            if number == 0 && !one_in(random, 24) {
                // A file of another format ends the start.
                text += &line(&record.to_string());
            } else if !one_in(random, rate) {
                text += &line(&record.to_string());
            } else if let Some(put) = record.get("put").filter(|_| !one_in(random, 4)) {
                let mut put = put.clone();
                put["value"] = json::changed(put["value"].take(), &self.values, random);
                text += &line(&format!("{{\"put\":{}}}", json::text(&put)));
            } else {
                text += &line(&json::mutated(record.clone(), &self.values, random));
            }
        }
        text
    }

    /// One thing of another kind in the place of a file or folder. Returns what was done.
    pub(super) fn strike(&self, folder: &Path, random: &mut Random) -> String {
        let below =
            if one_in(random, 3) { self.planted(random) } else { pick(random, &self.entries).path.clone() };
        let place = folder.join(&below);
        let kind = random.below(10);
        let struck = match kind {
            0 => remove(&place),
            1 => remove(&place).and_then(|()| fs::DirBuilder::new().mode(0o700).create(&place)),
            2 => remove(&place).and_then(|()| Ok(mkfifoat(CWD, &place, Mode::RUSR | Mode::WUSR)?)),
            3 => {
                let target = *pick(random, TARGETS);
                remove(&place).and_then(|()| symlink(target, &place))
            }
            4 => remove(&place).and_then(|()| UnixListener::bind(&place).map(drop)),
            5 => {
                let mode = *pick(random, &[0, 0o400, 0o777, 0o7777]);
                fs::set_permissions(&place, fs::Permissions::from_mode(mode))
            }
            6 => {
                let length = *pick(random, LENGTHS);
                let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&place);
                file.and_then(|file| file.set_len(length))
            }
            7 => dig(&place),
            8 => swap(&place, &folder.join(&pick(random, &self.entries).path)),
            _ => fs::write(&place, self.bytes.mutated(random)),
        };
        // Where an earlier blow has been, a later one may find nothing.
        format!("=== blow {kind} on {}: {struck:?}\n", below.display())
    }

    /// A place where nothing was.
    fn planted(&self, random: &mut Random) -> PathBuf {
        let entry = pick(random, &self.entries);
        let folder = match entry.content {
            None => entry.path.clone(),
            Some(_) => entry.path.parent().unwrap_or(Path::new("")).to_owned(),
        };
        folder.join(NAMES[index(random, NAMES.len())])
    }
}

fn remove(place: &Path) -> std::io::Result<()> {
    let Ok(about) = fs::symlink_metadata(place) else { return Ok(()) };
    if about.is_dir() { fs::remove_dir_all(place) } else { fs::remove_file(place) }
}

fn swap(one: &Path, other: &Path) -> std::io::Result<()> {
    let aside = one.with_extension("swapped");
    fs::rename(one, &aside)?;
    fs::rename(other, one).and_then(|()| fs::rename(&aside, other))
}

/// Folders in folders, far deeper than a path can say.
fn dig(place: &Path) -> std::io::Result<()> {
    remove(place)?;
    fs::DirBuilder::new().mode(0o700).create(place)?;
    let mut folder = openat(CWD, place, OFlags::DIRECTORY, Mode::empty())?;
    for _ in 0..DEPTH {
        mkdirat(&folder, "d", Mode::RWXU)?;
        folder = openat(&folder, "d", OFlags::DIRECTORY, Mode::empty())?;
    }
    Ok(())
}

/// Removes a folder whatever was done to it.
pub(super) fn clear(folder: &Path) {
    if fs::remove_dir_all(folder).is_ok() {
        return;
    }
    // Somebody who is not root may not even look into a folder that was closed.
    open_up(folder);
    fs::remove_dir_all(folder).unwrap();
}

fn open_up(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}
