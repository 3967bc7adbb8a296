//! The agent's own session files: where they are, and whether Pi would throw one away.
//!
//! Pi silently overwrites a file whose beginning it cannot read, and glues its next record to a
//! torn last one. Both are prevented here, before a process starts on the file.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::clock::wall_ms;
use crate::limits::AGENT_SESSION_HEADER_BYTES_MAX;
use crate::store::{Layout, file_name};

/// A file that a process may be started on.
#[derive(Debug)]
pub(super) struct SessionFile {
    /// For `--session`. It need not exist.
    pub(super) path: PathBuf,
    /// Where a damaged one was put.
    pub(super) set_aside: Option<PathBuf>,
}

/// Finds the file of a conversation, makes its folder, and sets a damaged file aside.
pub(super) fn prepare(layout: &Layout, session_key: &str, session_id: &str) -> io::Result<SessionFile> {
    if !is_plain_name(session_id) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the session's id is no file name"));
    }
    let folder = layout.agent_sessions().join(file_name(session_key));
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    // One that was there already may come from a backup.
    fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    let path = folder.join(format!("{session_id}.jsonl"));
    let set_aside = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
        Ok(file) if has_header(&file)? => {
            end_last_line(&path)?;
            None
        }
        Ok(_) => {
            let aside = folder.join(format!("{session_id}.jsonl.damaged-{}", wall_ms()));
            fs::rename(&path, &aside)?;
            Some(aside)
        }
    };
    Ok(SessionFile { path, set_aside })
}

/// Removes every file of a session, for good.
pub(super) fn delete(layout: &Layout, session_key: &str) -> io::Result<()> {
    for parent in [layout.agent_sessions(), layout.media()] {
        match fs::remove_dir_all(parent.join(file_name(session_key))) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            // Also if there were none: a gateway that was killed may have removed them in memory only.
            _ => {}
        }
        match File::open(parent) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => opened?.sync_all()?,
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
fn end_last_line(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "{\"type\":\"session\",\"version\":3,\"id\":\"u\",\"cwd\":\"/\"}\n";

    struct Folder(Layout);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("clawdis-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(Layout::new(&path))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(self.0.root()).unwrap();
        }
    }

    #[test]
    fn a_new_file_gets_a_private_folder_that_no_key_escapes() {
        let root = Folder::new("session-new");
        for key in ["main", "../../etc", "group:telegram:-1:2", ""] {
            let file = prepare(&root.0, key, "abc-1").unwrap();
            let folder = file.path.parent().unwrap();
            assert_eq!(folder.parent().unwrap(), root.0.agent_sessions());
            assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
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
            assert_eq!(fs::read_to_string(file.set_aside.unwrap()).unwrap(), bytes);
        }
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
    fn deleting_takes_everything_and_may_be_repeated() {
        let root = Folder::new("session-delete");
        let path = prepare(&root.0, "main", "s").unwrap().path;
        fs::write(&path, "garbage").unwrap();
        let aside = prepare(&root.0, "main", "s").unwrap().set_aside.unwrap();
        fs::create_dir_all(root.0.media_of("main")).unwrap();
        delete(&root.0, "main").unwrap();
        delete(&root.0, "main").unwrap();
        assert!(!aside.exists() && !path.parent().unwrap().exists() && !root.0.media_of("main").exists());
    }
}
