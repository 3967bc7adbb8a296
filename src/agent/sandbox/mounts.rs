//! The mounts of the sandbox, as bubblewrap's arguments.
//!
//! All are laid over a read-only view of the machine, folders before what lies in them, so
//! that the order of the config does not matter and what is nearest to a file counts for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::agent::AgentConfig;
use crate::agent::sandbox::{SessionFolders, refusal};
use crate::limits::{SANDBOX_SOCKET_LIST_BYTES_MAX, SANDBOX_SOCKETS_MAX};

const ALWAYS: [&str; 15] = [
    // It ends with its guard.
    "--die-with-parent",
    // It cannot type into a terminal that the gateway was started from.
    "--new-session",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    // Also root's: with them it could take down every wall.
    "--cap-drop",
    "ALL",
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
];
/// Folders that are emptied: other programs' sockets and temporary files lie in them.
const EMPTIED: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/var/run"];
/// Files that name resolution needs; they may be links into `/run`.
const NAMES: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"];
/// Link behind which NixOS and Guix have the whole system.
const SYSTEM: &str = "/run/current-system";

/// What is mounted at a path of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mount {
    /// An empty folder, which goes with the sandbox.
    EmptyFolder,
    /// An empty file.
    EmptyFile,
    /// What is there outside of it, to be read.
    ReadOnly,
    /// What is there outside of it, to be written.
    Writable,
    /// A link to that path.
    Link(PathBuf),
}

type Mounts = BTreeMap<PathBuf, Mount>;

/// The arguments of bubblewrap before the agent's argv. Fails with a sentence.
pub(super) fn arguments(config: &AgentConfig, session: SessionFolders<'_>) -> Result<Vec<OsString>, String> {
    let cwd = given("its working folder", &config.cwd, config)?;
    let mut args = base_arguments();
    for (path, mount) in mounts(config, &cwd, session)? {
        let path = OsString::from(path);
        match mount {
            Mount::EmptyFolder => args.extend(["--tmpfs".into(), path]),
            Mount::EmptyFile => args.extend(["--ro-bind".into(), "/dev/null".into(), path]),
            Mount::ReadOnly => args.extend(["--ro-bind".into(), path.clone(), path]),
            // A device that is bound in any other way cannot be opened.
            Mount::Writable if Path::new(&path).starts_with("/dev") => {
                args.extend(["--dev-bind".into(), path.clone(), path]);
            }
            Mount::Writable => args.extend(["--bind".into(), path.clone(), path]),
            Mount::Link(target) => args.extend(["--symlink".into(), target.into(), path]),
        }
    }
    if !config.env.contains_key("TMPDIR") {
        args.extend(["--setenv", "TMPDIR", "/tmp"].map(OsString::from));
    }
    args.extend(["--chdir".into(), cwd.into()]);
    Ok(args)
}

/// The arguments of every sandbox, whatever the agent is given.
pub(super) fn base_arguments() -> Vec<OsString> {
    let mut base: Vec<OsString> = ALWAYS.map(OsString::from).to_vec();
    if geteuid().is_root() {
        // Settings of the whole machine are root's to change there, without any capability.
        base.extend(["--remount-ro", "/proc"].map(OsString::from));
    }
    base
}

fn mounts(config: &AgentConfig, cwd: &Path, session: SessionFolders<'_>) -> Result<Mounts, String> {
    let mut mounts = emptied();
    mounts.insert(real(&config.own_exe), Mount::ReadOnly);
    mounts.insert(cwd.to_owned(), Mount::Writable);
    for path in config.writable.iter().filter(|path| may_exist(path)) {
        mounts.insert(given("what it may write", path, config)?, Mount::Writable);
    }
    for socket in reachable_sockets(&mounts, config.home.as_deref()) {
        mounts.insert(socket, Mount::EmptyFile);
    }
    for path in config.hidden.iter().map(|path| real(path)).filter(|path| may_exist(path)) {
        let mount = if path.is_dir() { Mount::EmptyFolder } else { Mount::EmptyFile };
        mounts.insert(path, mount);
    }
    let state_dir = real(config.janitor.layout().root());
    for file in config.secret_files.iter().map(|file| real(file)) {
        if may_exist(&file) && !file.starts_with(&state_dir) {
            mounts.insert(file, Mount::EmptyFile);
        }
    }
    mounts.insert(state_dir, Mount::EmptyFolder);
    // As it is: whoever looks where it leads finds what an agent without walls has put there.
    mounts.insert(session.own.to_owned(), Mount::Writable);
    mounts.insert(real(session.media), Mount::ReadOnly);
    pin(&mut mounts);
    Ok(mounts)
}

/// The mounts that hide other programs' sockets and temporary files, but show what name resolution needs.
fn emptied() -> Mounts {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let folders = EMPTIED.into_iter().map(PathBuf::from).chain(runtime).map(|path| real(&path));
    let mut mounts: Mounts = folders
        .filter(|path| path.is_dir() && path.parent().is_some())
        .map(|path| (path, Mount::EmptyFolder))
        .collect();
    for file in NAMES.iter().filter_map(|file| Path::new(file).canonicalize().ok()) {
        if nearest(&mounts, &file).is_some() {
            mounts.insert(file, Mount::ReadOnly);
        }
    }
    if let Ok(target) = Path::new(SYSTEM).read_link() {
        mounts.insert(SYSTEM.into(), Mount::Link(target));
    }
    mounts
}

/// The sockets that would still be reachable. One in a folder that was given to the agent is part of what
/// was given, unless that is the person's whole home.
fn reachable_sockets(mounts: &Mounts, home: Option<&Path>) -> Vec<PathBuf> {
    let home = home.map(real);
    let is_home = |path: &Path| home.as_deref().is_some_and(|home| home.starts_with(path));
    let is_reachable = |socket: &PathBuf| match nearest(mounts, socket) {
        None => true,
        Some((path, Mount::Writable)) => is_home(path),
        Some(_) => false,
    };
    held_sockets().into_iter().filter(is_reachable).take(SANDBOX_SOCKETS_MAX).collect()
}

/// Keeps the folders between one that can be written and what is special below it from being renamed:
/// whoever moves them away puts something of his own where we, or a next sandbox, look for it.
fn pin(mounts: &mut Mounts) {
    let mut pins = Vec::new();
    for path in mounts.keys() {
        let above = path.ancestors().skip(1);
        let between: Vec<&Path> = above.take_while(|folder| !mounts.contains_key(*folder)).collect();
        let top = between.last().unwrap_or(&path.as_path()).parent();
        if top.and_then(|top| mounts.get(top)) == Some(&Mount::Writable) {
            pins.extend(between.into_iter().map(Path::to_owned));
        }
    }
    mounts.extend(pins.into_iter().map(|folder| (folder, Mount::Writable)));
}

/// The mount that counts for a path: the nearest one above it, or its own.
fn nearest<'a>(mounts: &'a Mounts, path: &Path) -> Option<(&'a Path, &'a Mount)> {
    path.ancestors()
        .find_map(|folder| mounts.get_key_value(folder))
        .map(|(path, mount)| (path.as_path(), mount))
}

/// The real path of something that the agent is given. It was looked at when the gateway started, and may
/// have become a link since.
fn given(what: &str, path: &Path, config: &AgentConfig) -> Result<PathBuf, String> {
    let real = path.canonicalize().map_err(|error| format!("{what} `{}`: {error}", path.display()))?;
    match refusal(&real, config.janitor.layout().root()) {
        Some(why) => Err(format!("{what} `{}` {why}", path.display())),
        None => Ok(real),
    }
}

/// Whether there is something. Not being able to look is no reason to leave it open; bubblewrap fails then.
fn may_exist(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// The real path: a mount over a link would leave open what is behind it, and bubblewrap
/// does not start then.
pub(super) fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The Unix sockets in the file system that programs hold now, by their real paths. Whoever reaches one can talk
/// to what is behind it, read-only file system or not, and much of what is behind one starts programs: tmux, a
/// container engine, the person's service manager. (Those without a file,
/// whose names begin with `@`, belong to the network and cannot be hidden.)
fn held_sockets() -> BTreeSet<PathBuf> {
    let mut list = Vec::new();
    if let Ok(file) = File::open("/proc/net/unix") {
        let _ = file.take(SANDBOX_SOCKET_LIST_BYTES_MAX).read_to_end(&mut list);
    }
    list.split(|byte| *byte == b'\n')
        .filter_map(socket_path)
        .filter_map(|path| real_socket(Path::new(path)))
        .collect()
}

/// The last column of a line of the kernel's list, if it is a path.
fn socket_path(line: &[u8]) -> Option<&OsStr> {
    let mut rest = line;
    for _ in 0..7 {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ')?;
        rest = &rest[end + 1..];
    }
    rest.starts_with(b"/").then(|| OsStr::from_bytes(rest))
}

fn real_socket(path: &Path) -> Option<PathBuf> {
    let path = path.parent()?.canonicalize().ok()?.join(path.file_name()?);
    fs::symlink_metadata(&path).ok()?.file_type().is_socket().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_are_paths() {
        let line = |end: &str| format!("0000000000000000: 00000002 00000000 00010000 0001 01    42{end}");
        let of = |end: &str| socket_path(line(end).as_bytes()).map(OsStr::to_owned);
        assert_eq!(of(" /run/a b.sock"), Some("/run/a b.sock".into()));
        assert_eq!(of(" @/tmp/.X11-unix/X0"), None);
        assert_eq!(of(""), None);
        assert_eq!(socket_path(b"Num       RefCount Protocol Flags    Type St Inode Path"), None);
    }

    #[test]
    fn a_socket_that_somebody_holds_is_found() {
        let folder = std::env::temp_dir().join(format!("clawdis-sockets-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.canonicalize().unwrap().join("a socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(held_sockets().contains(&path));
        drop(listener);
        assert!(!held_sockets().contains(&path), "nobody is behind it any more");
        fs::remove_dir_all(&folder).unwrap();
    }
}
