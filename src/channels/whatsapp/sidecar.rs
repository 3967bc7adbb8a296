//! One running sidecar: its pipes, the requests that it has not answered, and its end.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crossbeam_channel::Sender;
use rustix::fs::FileType;
use serde_json::{Value, json};

use crate::channels::message::Fetch;
use crate::channels::whatsapp::files::UPLOAD;
use crate::channels::whatsapp::wire::{self, SidecarLine};
use crate::channels::whatsapp::{EventKind, WhatsappEvent, WhatsappSetup};
use crate::child::{Child, ChildSpec, Ending, guard};
use crate::limits::{CHILD_STOP_TIMEOUT, CHILD_TERM_WAIT, SIDECAR_BEAT_INTERVAL, SIDECAR_SILENCE_MAX};
use crate::store::folder_handle::FolderHandle;
use crate::store::{Layout, trash};

/// V8 settings that keep the sidecar small (measured: 74 MB where the defaults take 110).
const NODE_FLAGS: [&str; 4] =
    ["--max-semi-space-size=1", "--optimize-for-size", "--max-old-space-size=96", "--v8-pool-size=0"];

/// Number of a sidecar or installer: tells its lines from those of one before it.
pub(super) type Generation = u64;

/// A request to the sidecar, with what its answer is for.
pub(super) enum Request {
    Hello,
    Link,
    Logout,
    Send {
        id: String,
    },
    Fetch(Fetch),
    Beat,
    /// A request whose success changes nothing here, by its name in the protocol.
    Other(&'static str),
}

impl Request {
    /// The request's name in the protocol.
    fn op(&self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Link => "link",
            Self::Logout => "logout",
            Self::Send { .. } => "send",
            Self::Fetch(_) => "fetch",
            Self::Beat => "mem",
            Self::Other(op) => op,
        }
    }
}

/// A sidecar from its start until it is reaped.
pub(super) struct Sidecar {
    pub(super) generation: Generation,
    child: Child,
    /// Requests without an answer, by their numbers.
    pub(super) pending: HashMap<u64, Request>,
    last_number: u64,
    /// When its last line came.
    pub(super) last_line_at: Instant,
    next_beat: Instant,
    /// Whether it has answered `hello`.
    pub(super) is_greeted: bool,
    ending: Ending,
    /// Whether it is ended because it does not do what it should.
    is_given_up: bool,
}

impl Sidecar {
    /// Starts a sidecar and greets it.
    pub(super) fn start(
        setup: &WhatsappSetup,
        program: PathBuf,
        generation: Generation,
        to_loop: Sender<WhatsappEvent>,
        now: Instant,
    ) -> io::Result<Self> {
        let config = &setup.config;
        let node = config.sidecar.node.clone().unwrap_or_else(|| "node".to_owned());
        let mut argv: Vec<OsString> = vec![node.into()];
        argv.extend(NODE_FLAGS.map(OsString::from));
        argv.extend(config.sidecar.args.iter().map(OsString::from));
        argv.push(program.into());
        let temporary = setup.folder.join("tmp");
        make_folders(&setup.folder)?;
        let mut env = vec![
            ("UV_THREADPOOL_SIZE".to_owned(), "2".to_owned()),
            // Files pass through it on their way to WhatsApp: it is not to be a file system in memory.
            ("TMPDIR".to_owned(), temporary.to_string_lossy().into_owned()),
        ];
        env.extend(config.sidecar.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        let spec = ChildSpec {
            program: setup.own_exe.clone(),
            args: guard::args(argv),
            cwd: &setup.folder,
            env,
            pass_env: &[],
            name: "whatsapp",
        };
        let child = Child::start(&spec, move |stdout| {
            let on_line = |line: SidecarLine| {
                to_loop.send(WhatsappEvent(EventKind::Line(generation, Box::new(line)))).is_ok()
            };
            let fault = wire::read(stdout, on_line).err();
            let _ = to_loop.send(WhatsappEvent(EventKind::Closed(generation, fault)));
        })?;
        let next_beat = now + SIDECAR_BEAT_INTERVAL;
        let mut sidecar = Self {
            generation,
            child,
            pending: HashMap::new(),
            last_number: 0,
            last_line_at: now,
            next_beat,
            is_greeted: false,
            ending: Ending::No,
            is_given_up: false,
        };
        let mut hello = json!({
            "proto": wire::PROTOCOL,
            "authDir": setup.folder.join("login"),
            "mediaDir": setup.folder.join("media"),
            "mediaMaxBytes": setup.media_bytes_max(),
        });
        if let Some(proxy) = &config.proxy {
            hello["proxy"] = proxy.as_str().into();
        }
        sidecar.request(Request::Hello, hello, now);
        Ok(sidecar)
    }

    /// Sends a request.
    pub(super) fn request(&mut self, request: Request, members: Value, now: Instant) {
        self.last_number += 1;
        let line = wire::request(self.last_number, request.op(), members);
        self.pending.insert(self.last_number, request);
        self.child.stdin.write(&line, now);
    }

    /// Asks the sidecar to end in order.
    pub(super) fn end(&mut self, now: Instant) {
        if self.ending == Ending::No {
            self.ending = Ending::Asked { until: now + CHILD_TERM_WAIT };
            self.request(Request::Other("shutdown"), json!({}), now);
        }
    }

    /// Whether the sidecar is to end.
    pub(super) fn is_ending(&self) -> bool {
        self.ending != Ending::No
    }

    /// Whether the sidecar ends because it was asked to.
    pub(super) fn ends_in_order(&self) -> bool {
        self.is_ending() && !self.is_given_up
    }

    /// Ends the sidecar now, because it does not do what it should.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.is_given_up = true;
        self.ending.terminate(&mut self.child, CHILD_STOP_TIMEOUT, now);
    }

    /// Whether a sidecar whose output is closed has ended. If it takes too long it is ended.
    pub(super) fn is_gone(&mut self, now: Instant) -> bool {
        if self.child.exit().is_some() {
            return true;
        }
        match self.ending.until() {
            None => self.ending = Ending::Asked { until: now + CHILD_TERM_WAIT },
            Some(until) if until <= now => self.ending.escalate(&mut self.child, CHILD_STOP_TIMEOUT, now),
            Some(_) => {}
        }
        false
    }

    /// When [`Self::advance`] has something to do.
    pub(super) fn deadline(&self) -> Instant {
        let end = self.ending.until().unwrap_or(self.next_beat).min(self.last_line_at + SIDECAR_SILENCE_MAX);
        self.child.stdin.retry_at().map_or(end, |retry| retry.min(end))
    }

    /// Writes what waits, asks for a sign of life, and ends the sidecar if there is none. `Err` says why.
    pub(super) fn advance(&mut self, now: Instant) -> Result<(), String> {
        if self.child.stdin.retry_at().is_some_and(|at| at <= now) {
            self.child.stdin.flush(now);
        }
        if self.ending.until().is_some_and(|until| until <= now) {
            self.ending.escalate(&mut self.child, CHILD_STOP_TIMEOUT, now);
            return Ok(());
        }
        if self.child.stdin.is_overrun && !self.is_ending() {
            self.give_up(now);
            return Err("it does not read what it is sent".to_owned());
        }
        if self.last_line_at + SIDECAR_SILENCE_MAX <= now {
            self.last_line_at = now;
            self.give_up(now);
            return Err("it was silent for too long".to_owned());
        }
        if !self.is_ending() && self.next_beat <= now {
            self.next_beat = now + SIDECAR_BEAT_INTERVAL;
            self.request(Request::Beat, json!({}), now);
        }
        Ok(())
    }

    /// How the sidecar ended, for people; its last line of stderr says most.
    pub(super) fn last_words(&mut self) -> String {
        let line = self.child.stderr_lines().pop().unwrap_or_default();
        let status = self.child.exit().map(|status| format!("it ended ({status})"));
        let ended = status.unwrap_or_else(|| "it closed its output".to_owned());
        if line.is_empty() { ended } else { format!("{ended}: {line}") }
    }
}

/// Opens the sidecar's own folder, and makes it if it is not there. What is no folder in its place is set
/// aside: behind a link the login would lie wherever that leads.
pub(super) fn make_home(folder: &Path) -> io::Result<FolderHandle> {
    let state_dir = FolderHandle::open_root(folder.parent().unwrap_or(Path::new(".")))?;
    state_dir.make_folder(folder.file_name().unwrap_or_default())
}

/// Discards files on their way that an earlier gateway left behind.
pub(super) fn discard_leftovers(folder: &Path) -> io::Result<()> {
    let (true, Some(state_dir)) = (folder.symlink_metadata().is_ok(), folder.parent()) else { return Ok(()) };
    let (home, tmp) = (make_home(folder)?, Layout::new(state_dir).open_tmp()?);
    ["media", UPLOAD].into_iter().try_for_each(|name| trash::discard(&home, name.as_ref(), &tmp))
}

/// Makes the sidecar's folders. What is no file among its own is set aside: it would wait for a pipe for
/// ever, and follow a link wherever that leads.
fn make_folders(folder: &Path) -> io::Result<()> {
    let home = make_home(folder)?;
    home.make_folder("tmp".as_ref())?;
    let login = home.make_folder("login".as_ref())?;
    for name in login.names()? {
        let name = name?;
        let kind = FileType::from_raw_mode(login.look(&name)?.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::Directory) {
            let aside = login.set_aside(&name)?;
            log::error!("{name:?} in the folder of the WhatsApp login is no file: it is {aside:?} now");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::{discard_leftovers, make_folders};

    #[test]
    fn what_is_no_file_of_the_login_is_set_aside() {
        let root = std::env::temp_dir().join(format!("clawdis-login-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let (folder, theirs) = (root.join("whatsapp"), root.join("theirs"));
        fs::create_dir_all(&theirs).unwrap();
        make_folders(&folder).unwrap();
        fs::write(folder.join("login/journal"), "kept").unwrap();
        mkfifoat(CWD, folder.join("login/pipe"), Mode::RWXU).unwrap();
        symlink("/dev/zero", folder.join("login/link")).unwrap();
        fs::remove_dir(folder.join("tmp")).unwrap();
        symlink(&theirs, folder.join("tmp")).unwrap();
        make_folders(&folder).unwrap();
        assert_eq!(fs::read_to_string(folder.join("login/journal")).unwrap(), "kept");
        for name in ["login/pipe", "login/link"] {
            assert!(folder.join(name).symlink_metadata().is_err(), "{name}");
        }
        assert!(folder.join("tmp").symlink_metadata().unwrap().is_dir());
        // Nor is the folder of the login anything else than a folder.
        fs::rename(folder.join("login"), folder.join("kept")).unwrap();
        symlink(&theirs, folder.join("login")).unwrap();
        make_folders(&folder).unwrap();
        assert!(folder.join("login").symlink_metadata().unwrap().is_dir());
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn what_is_no_folder_in_the_place_of_the_logins_is_set_aside_and_not_followed() {
        let plants: [fn(&Path, &Path); 5] = [
            |folder, theirs| symlink(theirs, folder).unwrap(),
            |folder, _| mkfifoat(CWD, folder, Mode::RWXU).unwrap(),
            |folder, _| drop(UnixListener::bind(folder).unwrap()),
            |folder, _| fs::write(folder, "a file").unwrap(),
            |folder, _| {
                fs::create_dir(folder).unwrap();
                fs::set_permissions(folder, fs::Permissions::from_mode(0o0)).unwrap();
            },
        ];
        for (plant, is_start) in plants.into_iter().flat_map(|plant| [(plant, true), (plant, false)]) {
            let root = std::env::temp_dir().join(format!("clawdis-login-place-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            let (folder, theirs) = (root.join("whatsapp"), root.join("theirs"));
            fs::create_dir_all(&theirs).unwrap();
            fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();
            plant(&folder, &theirs);
            let was_folder = folder.symlink_metadata().unwrap().is_dir();
            // Whichever comes first.
            if is_start {
                discard_leftovers(&folder).unwrap();
            }
            make_folders(&folder).unwrap();
            let about = folder.symlink_metadata().unwrap();
            assert!(about.is_dir() && about.permissions().mode() & 0o777 == 0o700, "{about:?}");
            assert_eq!(theirs.metadata().unwrap().permissions().mode() & 0o777, 0o755);
            assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
            let _ = fs::remove_dir(root.join("tmp"));
            let names = fs::read_dir(&root).unwrap().count();
            assert_eq!(names, if was_folder { 2 } else { 3 }, "what lay there is kept beside it");
            fs::remove_dir_all(&root).unwrap();
        }
    }
}
