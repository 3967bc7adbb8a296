//! The agent's own folder: where its session files lie, and whether Pi would throw one away.
//!
//! **The agent writes in here whatever it likes**, and whoever talks it into something does: links that lead
//! to the gateway's token, pipes that nobody ever writes to, ten thousand folders in one another. So this
//! is the only module that touches the folder (`tests/tidy` holds the others to that), and it does so one
//! name at a time through descriptors. The paths that it hands out are for an agent's command line.
//!
//! Pi silently overwrites a file whose beginning it cannot read, and glues its next record to a torn
//! last one. Both are prevented here, before a process starts on the file.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::OFlags;
use serde::Deserialize;

use crate::limits::{AGENT_SESSION_HEADER_BYTES_MAX, ASIDE_LOOKED_MAX};
use crate::store::folder_handle::{FolderHandle, is_aside};
use crate::store::layout::MEDIA;
use crate::store::old_files::{OldFile, OldestFiles};
use crate::store::{Layout, file_name, trash};

/// The folder's name in the state folder.
const AGENT: &str = "agent";
/// Name of the folder in which an earlier version put what people sent to the agent.
const MEDIA_BEFORE: &str = "media";

/// A file that a process may be started on.
#[derive(Debug)]
pub(crate) struct AgentSessionFile {
    /// The file's path, for `--session`. It need not exist.
    pub(crate) path: PathBuf,
    /// The folder that the file is in.
    pub(crate) folder: PathBuf,
    /// Name of the damaged file that had its place, if there was one.
    pub(crate) set_aside: Option<OsString>,
}

/// The folder's path, behind all links, for the walls around an agent.
pub(crate) fn path(layout: &Layout) -> io::Result<PathBuf> {
    Ok(layout.real_root()?.join(AGENT))
}

/// Opens the agent's folder, and makes it if it is not there.
pub(super) fn open(layout: &Layout) -> io::Result<FolderHandle> {
    layout.open()?.make_folder(AGENT.as_ref())
}

/// Finds the file of a conversation, makes its folder, and sets a damaged file aside. Whatever lies in the
/// place of the file, nothing here waits for it.
pub(crate) fn prepare(layout: &Layout, session_key: &str, session_id: &str) -> io::Result<AgentSessionFile> {
    if !is_plain_name(session_id) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the session's id is no file name"));
    }
    // Keys hold chat ids and whatever a client sends; their digests are safe file names.
    let key = file_name(session_key);
    let opened = open(layout)?.make_folder(key.as_ref())?;
    let name = format!("{session_id}.jsonl");
    let is_whole = match opened.file(name.as_ref(), OFlags::RDWR) {
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::PermissionDenied) => false,
        file => mend(&file?)?,
    };
    let set_aside = if is_whole { None } else { Some(opened.set_aside(name.as_ref())?) };
    let folder = path(layout)?.join(key);
    Ok(AgentSessionFile { path: folder.join(name), folder, set_aside })
}

/// Whether a file begins like one of Pi's. Its last line is ended then.
fn mend(file: &File) -> io::Result<bool> {
    let is_whole = has_header(file)?;
    if is_whole {
        end_last_line(file)?;
    }
    Ok(is_whole)
}

/// Takes every file of a session out of view, for good: the agent's own, those that people sent in it, and
/// what lay in the place of either.
pub(crate) fn forget(layout: &Layout, session_key: &str) -> io::Result<()> {
    let root = layout.open()?;
    let tmp = layout.open_tmp()?;
    let key = file_name(session_key);
    for name in [AGENT, MEDIA] {
        let folder = root.make_folder(name.as_ref())?;
        trash::discard(&folder, key.as_ref(), &tmp)?;
        // An agent without walls makes as many names as it likes: nobody waits for all of them.
        for name in folder.names()?.take(ASIDE_LOOKED_MAX) {
            let name = name?;
            if is_aside(&name, key.as_ref()) {
                trash::discard(&folder, &name, &tmp)?;
            }
        }
        // Also if there was nothing: a gateway that was killed may have moved it in memory only.
        folder.sync()?;
    }
    Ok(())
}

/// Whether the agent has anything of the session whose folder has that name.
pub(super) fn knows(root: &FolderHandle, key: &OsStr) -> bool {
    root.folder(AGENT.as_ref()).is_ok_and(|agent| agent.look(key).is_ok())
}

/// Finds the files of conversations that are over, and whatever else nobody works with any more. What is no
/// plain file is passed over.
pub(super) fn find_leftovers(root: &FolderHandle, found: &mut OldestFiles) -> io::Result<()> {
    let agent = root.make_folder(AGENT.as_ref())?;
    found.add_copies_in(&agent, &[AGENT.as_ref()]);
    for key in agent.names()? {
        let key = key?;
        let Ok(folder) = agent.folder(&key) else { continue };
        let mut newest: Option<OldFile> = None;
        found.add_files_in(&folder, &[AGENT.as_ref(), &key], |file| {
            if !file.has_ending(".jsonl") {
                return Some(file);
            }
            // The newest conversation goes on.
            match &mut newest {
                Some(newest) if *newest > file => Some(file),
                newest => newest.replace(file),
            }
        });
        if let Ok(media) = folder.folder(MEDIA_BEFORE.as_ref()) {
            found.add_files_in(&media, &[AGENT.as_ref(), &key, MEDIA_BEFORE.as_ref()], Some);
        }
    }
    Ok(())
}

fn is_plain_name(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !id.is_empty() && id.len() <= 128 && id.bytes().all(plain)
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

fn has_header(file: &File) -> io::Result<bool> {
    let mut line = Vec::new();
    BufReader::new(file.take(AGENT_SESSION_HEADER_BYTES_MAX)).read_until(b'\n', &mut line)?;
    let header: Result<Header<'_>, _> = serde_json::from_slice(&line);
    Ok(header.is_ok_and(|header| header.kind == "session" && !header.id.is_empty()))
}

/// A power cut may have torn the last record. With its line ended, Pi skips it alone.
fn end_last_line(file: &File) -> io::Result<()> {
    let len = u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or_default();
    let mut last = [0];
    file.read_exact_at(&mut last, len.saturating_sub(1))?;
    if last == *b"\n" { Ok(()) } else { file.write_all_at(b"\n", len) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::{forget, prepare};
    use crate::store::folder_handle::memory_folder;
    use crate::store::{Layout, file_name, trash};

    const HEADER: &str = "{\"type\":\"session\",\"version\":3,\"id\":\"u\",\"cwd\":\"/\"}\n";

    struct Folder(Layout);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = memory_folder().join(format!("clawdis-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(Layout::new(&path))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.root());
        }
    }

    #[test]
    fn a_new_file_gets_a_private_folder_that_no_key_escapes() {
        let root = Folder::new("session-new");
        for key in ["main", "../../etc", "group:telegram:-1:2", ""] {
            let file = prepare(&root.0, key, "abc-1").unwrap();
            assert_eq!(file.path.parent().unwrap(), file.folder);
            assert_eq!(file.folder.parent().unwrap(), root.0.root().join("agent"));
            assert_eq!(fs::metadata(&file.folder).unwrap().permissions().mode() & 0o777, 0o700);
            assert!(!file.path.exists() && file.set_aside.is_none());
        }
        for id in ["", "..", "a/b", "a.jsonl", "a\0", &"x".repeat(129)] {
            assert!(prepare(&root.0, "main", id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_damaged_file_is_set_aside_with_all_it_holds() {
        let root = Folder::new("session-damaged");
        for bytes in
            ["garbage", "", "\0\0\0\0", "null\n", "{\"type\":\"session\"}\n", "{\"type\":\"message\"}\n"]
        {
            let path = prepare(&root.0, "main", "s").unwrap().path;
            fs::write(&path, bytes).unwrap();
            let file = prepare(&root.0, "main", "s").unwrap();
            assert!(!path.exists());
            let aside = file.folder.join(file.set_aside.unwrap());
            assert_eq!(fs::read_to_string(aside).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_no_file_is_set_aside_and_never_waited_for_or_followed() {
        let root = Folder::new("session-odd");
        let secret = root.0.root().join("token");
        fs::write(&secret, HEADER.trim_end()).unwrap();
        let path = prepare(&root.0, "main", "s").unwrap().path;
        let plants: [fn(&std::path::Path, &std::path::Path); 5] = [
            |path, _| mkfifoat(CWD, path, Mode::RWXU).unwrap(),
            |path, secret| symlink(secret, path).unwrap(),
            |path, _| symlink("nothing", path).unwrap(),
            |path, _| fs::create_dir_all(path.join("deeper")).unwrap(),
            |path, _| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        ];
        for plant in plants {
            plant(&path, &secret);
            assert!(prepare(&root.0, "main", "s").unwrap().set_aside.is_some());
            assert!(path.symlink_metadata().is_err());
        }
        assert_eq!(fs::read_to_string(&secret).unwrap(), HEADER.trim_end(), "no line was ended in it");
        // The same for the folder itself, and for that of all sessions.
        for (planted, moved) in [(path.parent().unwrap(), "its-own"), (&root.0.root().join("agent"), "all")] {
            fs::rename(planted, root.0.root().join(moved)).unwrap();
            symlink(root.0.root(), planted).unwrap();
            let file = prepare(&root.0, "main", "s").unwrap();
            assert!(file.folder.symlink_metadata().unwrap().is_dir() && !file.path.exists());
        }
        assert_eq!(fs::read_to_string(&secret).unwrap(), HEADER.trim_end());
    }

    #[test]
    fn a_whole_file_stays_and_a_torn_one_only_gets_its_line_ended() {
        let root = Folder::new("session-whole");
        let path = prepare(&root.0, "main", "s").unwrap().path;
        for (before, after) in [
            (HEADER.to_owned(), HEADER.to_owned()),
            (format!("{HEADER}{{\"type\":\"mess"), format!("{HEADER}{{\"type\":\"mess\n")),
        ] {
            fs::write(&path, before).unwrap();
            assert!(prepare(&root.0, "main", "s").unwrap().set_aside.is_none());
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn forgetting_takes_everything_out_of_view_and_may_be_repeated() {
        let root = Folder::new("session-delete");
        let file = prepare(&root.0, "main", "s").unwrap();
        fs::write(&file.path, "garbage").unwrap();
        fs::create_dir_all(root.0.media_of("main").join("odd")).unwrap();
        let other = prepare(&root.0, "other", "s").unwrap();
        forget(&root.0, "main").unwrap();
        forget(&root.0, "main").unwrap();
        assert!(!file.folder.exists() && !root.0.media_of("main").exists() && other.folder.exists());
        let tmp = root.0.open_tmp().unwrap();
        assert_eq!(tmp.names().unwrap().count(), 2);
        trash::clear(&tmp).unwrap();
        assert_eq!(tmp.names().unwrap().count(), 0);
    }

    #[test]
    fn what_lay_in_the_place_of_a_sessions_folders_is_forgotten_with_it() {
        let root = Folder::new("session-aside");
        let other = prepare(&root.0, "other", "s").unwrap().folder;
        let folders = [other.with_file_name(file_name("main")), root.0.media_of("main")];
        let [agent, media] = &folders;
        fs::create_dir_all(media.parent().unwrap()).unwrap();
        let parts = || folders.iter().map(|folder| fs::read_dir(folder.parent().unwrap()).unwrap().count());
        for _ in 0..2 {
            fs::write(agent, "swordfish").unwrap();
            fs::write(media, "swordfish").unwrap();
            prepare(&root.0, "main", "s").unwrap();
            crate::store::media::folder(media).unwrap().create_new("sent".as_ref()).unwrap();
            fs::remove_dir_all(agent).and(fs::remove_dir_all(media)).unwrap();
        }
        assert_eq!(parts().collect::<Vec<_>>(), [3, 2], "what was set aside, and the other session");
        forget(&root.0, "main").unwrap();
        assert_eq!(parts().collect::<Vec<_>>(), [1, 0]);
        assert!(other.exists());
    }
}
