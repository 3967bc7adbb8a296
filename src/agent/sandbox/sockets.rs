//! Unix sockets of other programs. Whoever reaches one can talk to what is behind it, read-only
//! file system or not, and much of what is behind one starts programs: tmux, a container engine, the
//! person's service manager.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::limits::SANDBOX_SOCKET_LIST_BYTES_MAX;

/// The sockets in the file system that programs hold now, by their real paths. (Those without a file,
/// whose names begin with `@`, belong to the network and cannot be hidden.)
pub(super) fn held() -> BTreeSet<PathBuf> {
    let mut list = Vec::new();
    if let Ok(file) = File::open("/proc/net/unix") {
        let _ = file.take(SANDBOX_SOCKET_LIST_BYTES_MAX).read_to_end(&mut list);
    }
    list.split(|byte| *byte == b'\n').filter_map(path).filter_map(|path| real(Path::new(path))).collect()
}

/// The last column of a line of the kernel's list, if it is a path.
fn path(line: &[u8]) -> Option<&OsStr> {
    let mut rest = line;
    for _ in 0..7 {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ')?;
        rest = &rest[end + 1..];
    }
    rest.starts_with(b"/").then(|| OsStr::from_bytes(rest))
}

fn real(path: &Path) -> Option<PathBuf> {
    let path = path.parent()?.canonicalize().ok()?.join(path.file_name()?);
    fs::symlink_metadata(&path).ok()?.file_type().is_socket().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_are_paths() {
        let line = |end: &str| format!("0000000000000000: 00000002 00000000 00010000 0001 01    42{end}");
        let of = |end: &str| path(line(end).as_bytes()).map(OsStr::to_owned);
        assert_eq!(of(" /run/a b.sock"), Some("/run/a b.sock".into()));
        assert_eq!(of(" @/tmp/.X11-unix/X0"), None);
        assert_eq!(of(""), None);
        assert_eq!(path(b"Num       RefCount Protocol Flags    Type St Inode Path"), None);
    }

    #[test]
    fn a_socket_that_somebody_holds_is_found() {
        let folder = std::env::temp_dir().join(format!("clawdis-sockets-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.canonicalize().unwrap().join("a socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(held().contains(&path));
        drop(listener);
        assert!(!held().contains(&path), "nobody is behind it any more");
        fs::remove_dir_all(&folder).unwrap();
    }
}
