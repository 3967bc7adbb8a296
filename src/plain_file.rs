//! Opens plain files and nothing else.
//!
//! What lies in the place of a file may be a named pipe, on which `open` waits for ever, a device, or
//! a link that leads to somebody else's file. Here such a thing is an error that says what it is.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat, fstat, lstat, stat};

/// Opens a file of ours for reading: a link in its place is not followed.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_with(OFlags::NOFOLLOW, path).map_err(|error| named(lstat(path), error))
}

/// Opens a file that a person has named, for reading. It may be a link: many keep their secrets
/// behind one.
pub(crate) fn open_named(path: &Path) -> io::Result<File> {
    open_with(OFlags::empty(), path).map_err(|error| named(stat(path), error))
}

/// Reads a file that a person has named, at most one byte more than `bytes_max`.
pub(crate) fn read_named(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_named(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open_with(links: OFlags, path: &Path) -> io::Result<File> {
    // The kernel's flags are small numbers.
    let flags = i32::try_from((links | OFlags::NONBLOCK).bits()).unwrap_or_default();
    check(OpenOptions::new().read(true).custom_flags(flags).open(path)?)
}

/// Lets only a plain file pass.
pub(crate) fn check(file: File) -> io::Result<File> {
    match wrong(&fstat(&file)?) {
        None => Ok(file),
        Some(error) => Err(error),
    }
}

/// Some things cannot even be opened, and the system's words for it help nobody.
pub(crate) fn named<E>(found: Result<Stat, E>, error: io::Error) -> io::Error {
    found.ok().and_then(|found| wrong(&found)).unwrap_or(error)
}

/// What is wrong with something that lies in the place of a plain file.
fn wrong(found: &Stat) -> Option<io::Error> {
    let what = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => return None,
        FileType::Symlink => "a link",
        FileType::Directory => "a folder",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Some(io::Error::new(ErrorKind::InvalidData, format!("it is {what}, not a plain file")))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::{open, read_named};

    #[test]
    fn nothing_but_a_plain_file_is_opened_and_nothing_is_waited_for() {
        let folder = std::env::temp_dir().join(format!("clawdis-plain-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("folder")).unwrap();
        fs::write(folder.join("file"), "said").unwrap();
        mkfifoat(CWD, folder.join("pipe"), Mode::RWXU).unwrap();
        symlink("file", folder.join("link")).unwrap();
        symlink("/dev/zero", folder.join("zero")).unwrap();
        symlink("pipe", folder.join("to-pipe")).unwrap();
        let _listener = UnixListener::bind(folder.join("socket")).unwrap();
        for (name, own, named) in [
            ("file", "", ""),
            ("folder", "a folder", "a folder"),
            ("pipe", "a named pipe", "a named pipe"),
            ("socket", "a socket", "a socket"),
            ("link", "a link", ""),
            ("zero", "a link", "a device"),
            ("to-pipe", "a link", "a named pipe"),
        ] {
            let opened = open(&folder.join(name));
            let said = opened.err().map_or_else(String::new, |error| error.to_string());
            assert!(said.contains(own) && said.is_empty() == own.is_empty(), "{name}: {said}");
            let said = read_named(&folder.join(name), 100);
            let said = said.err().map_or_else(String::new, |error| error.to_string());
            assert!(said.contains(named) && said.is_empty() == named.is_empty(), "{name}: {said}");
        }
        assert_eq!(read_named(&folder.join("link"), 2).unwrap(), b"sai");
        fs::remove_dir_all(&folder).unwrap();
    }
}
