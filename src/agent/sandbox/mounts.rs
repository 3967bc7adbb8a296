//! What is where in the sandbox, as bubblewrap's arguments.
//!
//! Everything is laid over a read-only view of the machine, folders before what lies in them, so
//! that the order of the config does not matter and what is nearest to a file counts for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::agent::AgentConfig;
use crate::agent::sandbox::{Folders, SandboxConfig, refusal, sockets};
use crate::limits::SANDBOX_SOCKETS_MAX;

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
/// Folders with other programs' sockets and temporary files in them.
const EMPTY: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/var/run"];
/// They may be links into `/run`, and without them there are no names.
const NAMES: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"];
/// NixOS and Guix have the whole system behind it.
const SYSTEM: &str = "/run/current-system";

/// What stands at a place in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A folder of its own that goes with it.
    Empty,
    /// A file with nothing in it.
    Blank,
    /// What is there outside, to be read.
    Shown,
    /// What is there outside.
    Writable,
    /// A link to there.
    Link(PathBuf),
}

type Places = BTreeMap<PathBuf, Place>;

/// The arguments before the agent's argv. Fails with a sentence.
pub(super) fn walls(config: &AgentConfig, session: Folders<'_>) -> Result<Vec<OsString>, String> {
    let cwd = given("its working folder", &config.cwd, config)?;
    let mut walls = base();
    for (path, place) in places(config, &cwd, session)? {
        let path = OsString::from(path);
        match place {
            Place::Empty => walls.extend(["--tmpfs".into(), path]),
            Place::Blank => walls.extend(["--ro-bind".into(), "/dev/null".into(), path]),
            Place::Shown => walls.extend(["--ro-bind".into(), path.clone(), path]),
            // A device that is bound in any other way cannot be opened.
            Place::Writable if Path::new(&path).starts_with("/dev") => {
                walls.extend(["--dev-bind".into(), path.clone(), path]);
            }
            Place::Writable => walls.extend(["--bind".into(), path.clone(), path]),
            Place::Link(target) => walls.extend(["--symlink".into(), target.into(), path]),
        }
    }
    if !config.env.contains_key("TMPDIR") {
        walls.extend(["--setenv", "TMPDIR", "/tmp"].map(OsString::from));
    }
    walls.extend(["--chdir".into(), cwd.into()]);
    Ok(walls)
}

/// What every sandbox has, whatever the agent is given.
pub(super) fn base() -> Vec<OsString> {
    let mut base: Vec<OsString> = ALWAYS.map(OsString::from).to_vec();
    if geteuid().is_root() {
        // Settings of the whole machine are root's to change there, without any capability.
        base.extend(["--remount-ro", "/proc"].map(OsString::from));
    }
    base
}

fn places(config: &AgentConfig, cwd: &Path, session: Folders<'_>) -> Result<Places, String> {
    let sandbox = &config.sandbox;
    let mut places = emptied();
    places.insert(real(&config.own_exe), Place::Shown);
    places.insert(cwd.to_owned(), Place::Writable);
    for path in sandbox.writable.iter().filter(|path| may_exist(path)) {
        places.insert(given("what it may write", path, config)?, Place::Writable);
    }
    for socket in reachable_sockets(&places, sandbox) {
        places.insert(socket, Place::Blank);
    }
    for path in sandbox.hidden.iter().map(|path| real(path)).filter(|path| may_exist(path)) {
        let place = if path.is_dir() { Place::Empty } else { Place::Blank };
        places.insert(path, place);
    }
    let state_dir = real(config.janitor.layout().root());
    for file in sandbox.files.iter().map(|file| real(file)) {
        if may_exist(&file) && !file.starts_with(&state_dir) {
            places.insert(file, Place::Blank);
        }
    }
    places.insert(state_dir, Place::Empty);
    // As it is: whoever looks where it leads finds what an agent without walls has put there.
    places.insert(session.own.to_owned(), Place::Writable);
    places.insert(real(session.media), Place::Shown);
    pin(&mut places);
    Ok(places)
}

/// Without other programs' sockets and temporary files, but with what the network's names need.
fn emptied() -> Places {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let folders = EMPTY.into_iter().map(PathBuf::from).chain(runtime).map(|path| real(&path));
    let mut places: Places = folders
        .filter(|path| path.is_dir() && path.parent().is_some())
        .map(|path| (path, Place::Empty))
        .collect();
    for file in NAMES.iter().filter_map(|file| Path::new(file).canonicalize().ok()) {
        if nearest(&places, &file).is_some() {
            places.insert(file, Place::Shown);
        }
    }
    if let Ok(target) = Path::new(SYSTEM).read_link() {
        places.insert(SYSTEM.into(), Place::Link(target));
    }
    places
}

/// Sockets that would still be there. One in a folder that was given to the agent is part of what
/// was given, unless that is the person's whole home.
fn reachable_sockets(places: &Places, sandbox: &SandboxConfig) -> Vec<PathBuf> {
    let home = sandbox.home.as_deref().map(real);
    let is_home = |path: &Path| home.as_deref().is_some_and(|home| home.starts_with(path));
    let is_reachable = |socket: &PathBuf| match nearest(places, socket) {
        None => true,
        Some((path, Place::Writable)) => is_home(path),
        Some(_) => false,
    };
    sockets::held().into_iter().filter(is_reachable).take(SANDBOX_SOCKETS_MAX).collect()
}

/// Keeps the folders between one that can be written and what is special below it from being renamed:
/// whoever moves them away puts something of his own where we, or a next sandbox, look for it.
fn pin(places: &mut Places) {
    let mut pins = Vec::new();
    for path in places.keys() {
        let above = path.ancestors().skip(1);
        let between: Vec<&Path> = above.take_while(|folder| !places.contains_key(*folder)).collect();
        let top = between.last().unwrap_or(&path.as_path()).parent();
        if top.and_then(|top| places.get(top)) == Some(&Place::Writable) {
            pins.extend(between.into_iter().map(Path::to_owned));
        }
    }
    places.extend(pins.into_iter().map(|folder| (folder, Place::Writable)));
}

/// What counts for a path: the nearest special place above it, or itself.
fn nearest<'a>(places: &'a Places, path: &Path) -> Option<(&'a Path, &'a Place)> {
    path.ancestors()
        .find_map(|folder| places.get_key_value(folder))
        .map(|(path, place)| (path.as_path(), place))
}

/// Where something leads that the agent is given. It was looked at when the gateway started, and may
/// have become a link since.
fn given(what: &str, path: &Path, config: &AgentConfig) -> Result<PathBuf, String> {
    let real = path.canonicalize().map_err(|error| format!("{what} `{}`: {error}", path.display()))?;
    match refusal(&real, config.janitor.layout().root()) {
        Some(why) => Err(format!("{what} `{}` {why}", path.display())),
        None => Ok(real),
    }
}

/// Not being able to look is no reason to leave something open; bubblewrap fails then.
fn may_exist(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// Where a path leads: a wall in front of a link would leave open what is behind it, and bubblewrap
/// does not start then.
pub(super) fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
