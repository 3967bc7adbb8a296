//! Keeps the agent to what it was given, with bubblewrap where it works.
//!
//! File modes do not help against a process of our own user. In the sandbox the agent sees the
//! machine read-only but for its working folder and what else it was given (`mounts`); the state
//! folder is empty except for its own session's folder, the config and the files of tokens are
//! empty, and no process outside of it can be seen (or traced, or asked for its environment).

mod mounts;

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::agent::AgentConfig;
use crate::child::{self, AttemptError};
use crate::config::file::Sandbox as Wanted;
use crate::limits::SANDBOX_TRIAL_TIMEOUT;
use crate::store::agent_folder;

/// The folders below the state folder that an agent is given.
pub(super) struct SessionFolders<'a> {
    /// Its own files, which it writes.
    pub(super) own: &'a Path,
    /// What people sent to its session.
    pub(super) media: &'a Path,
}

/// The sandbox, as it was found when it was last tried. Only where bubblewrap does not work at all do agents
/// start without it: whatever else is in the way may be an agent's own doing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sandbox {
    /// Agents start in bubblewrap, by that program.
    Bwrap(PathBuf),
    /// Agents start without a sandbox, for that reason.
    None(String),
    /// No agent starts, for that reason: the sandbox was demanded and is not there, or a folder is in the
    /// way.
    Missing(String),
}

const SWITCHED_OFF: &str =
    "agent.sandbox is none: the agent has all your rights and can change the gateway's files";
const OPEN: &str =
    "meanwhile the agent runs without a sandbox, has all your rights and can change the gateway's files";
const CLOSED: &str = "meanwhile no agent starts, since agent.sandbox demands it";
const BARRED: &str = "meanwhile no agent starts";

impl Sandbox {
    /// Looks for bubblewrap and tries it with the mounts of a real run.
    pub(super) fn decide(config: &AgentConfig) -> Self {
        let wanted = config.sandbox;
        if wanted == Wanted::None {
            return Self::None(SWITCHED_OFF.to_owned());
        }
        let lacking = |why: String| match wanted {
            Wanted::Bwrap => Self::Missing(format!("{why}; {CLOSED}")),
            _ => Self::None(format!("{why}; {OPEN}")),
        };
        let program = match find_program() {
            Ok(program) => program,
            Err(why) => return lacking(why),
        };
        let layout = config.janitor.layout();
        let args = agent_folder::path(layout)
            .map_err(|error| error.to_string())
            .and_then(|own| mounts::arguments(config, SessionFolders { own: &own, media: &layout.media() }));
        let why = match args.map(|args| attempt(&program, args, config)) {
            Ok(Ok(())) => return Self::Bwrap(program),
            Ok(Err(AttemptError::Busy(words))) => return Self::busy(&words),
            Ok(Err(AttemptError::Failed(words))) => format!("`{words}`"),
            Err(why) => why,
        };
        match attempt(&program, mounts::base_arguments(), config) {
            Ok(()) => Self::Missing(format!(
                "the agent's folders cannot be laid out in its sandbox: {why}; {BARRED}"
            )),
            Err(AttemptError::Busy(words)) => Self::busy(&words),
            Err(AttemptError::Failed(words)) => lacking(format!("bubblewrap does not work here: `{words}`")),
        }
    }

    /// A machine that is busy is no reason to do without a sandbox.
    fn busy(words: &str) -> Self {
        Self::Missing(format!(
            "bubblewrap could not be tried: `{words}`; it is tried again before the next run, and {BARRED}"
        ))
    }

    /// Whether another look may come to something else: what was missing may have been installed or
    /// allowed since, or the machine was too busy.
    pub(super) fn may_change(&self, config: &AgentConfig) -> bool {
        !matches!(self, Self::Bwrap(_)) && config.sandbox != Wanted::None
    }

    /// Its name in `health`, and the sentence about it.
    pub(super) fn describe(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Bwrap(_) => ("bwrap", None),
            Self::None(why) | Self::Missing(why) => ("none", Some(why.clone())),
        }
    }

    /// The agent's argv inside of the sandbox. Fails with a sentence.
    pub(super) fn wrap(
        &self,
        config: &AgentConfig,
        session: SessionFolders<'_>,
        agent: Vec<OsString>,
    ) -> io::Result<Vec<OsString>> {
        match self {
            Self::Bwrap(program) => {
                let mut argv = vec![program.into()];
                argv.extend(mounts::arguments(config, session).map_err(io::Error::other)?);
                argv.push("--".into());
                argv.extend(agent);
                Ok(argv)
            }
            Self::None(_) => Ok(agent),
            Self::Missing(why) => Err(io::Error::other(why.clone())),
        }
    }
}

/// Tries bubblewrap around a program of our own, which is there in any case and ends at once.
fn attempt(program: &Path, mut args: Vec<OsString>, config: &AgentConfig) -> Result<(), AttemptError> {
    args.extend(["--".into(), config.own_exe.clone().into(), "--version".into()]);
    child::attempt(program, &args, SANDBOX_TRIAL_TIMEOUT)
}

/// Folders that show the kernel, not files: nothing in them is given.
const KERNEL: [&str; 2] = ["/proc", "/sys"];
/// Folders that are not given whole; a device that somebody names is.
const SHARED: [&str; 2] = ["/dev", "/dev/shm"];

/// Why an agent cannot be given a folder, whose real path this is.
pub(crate) fn refusal(path: &Path, state_dir: &Path) -> Option<&'static str> {
    if path.parent().is_none() {
        Some("is the whole machine")
    } else if KERNEL.iter().any(|folder| path.starts_with(folder))
        || SHARED.iter().any(|folder| path == Path::new(folder))
    {
        Some("is the machine's devices, processes or settings, of which the sandbox has its own")
    } else if path.starts_with(mounts::real(state_dir)) {
        Some("is in the gateway's state folder, which is hidden from the agent")
    } else {
        None
    }
}

/// What the first line on stderr of an agent that never answered says, if it is bubblewrap's.
pub(super) fn explain(line: &str) -> Option<String> {
    let words = line.strip_prefix("bwrap: ")?;
    let Some((program, why)) = words.strip_prefix("execvp ").and_then(|words| words.split_once(": ")) else {
        return Some(format!("the agent's sandbox cannot be made: {line}"));
    };
    Some(format!(
        "the agent cannot be started: `{program}`: {why}; install it or give its whole path (of /tmp, /run and what is hidden nothing is there in the sandbox)"
    ))
}

const NAME: &str = "bwrap";
/// Where programs of the system are: Debian and its kin, NixOS (the wrappers come first there), Guix.
const FOLDERS: [&str; 6] = [
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/run/wrappers/bin",
    "/run/current-system/sw/bin",
    "/run/current-system/profile/bin",
];

/// The first bubblewrap that only root can change, or a sentence. It is looked for only where the system's own
/// programs are: `PATH` may begin with folders that the agent can write (`~/.local/bin`), and what is found here
/// runs outside of the sandbox.
fn find_program() -> Result<PathBuf, String> {
    let found = FOLDERS.iter().filter_map(|folder| Path::new(folder).join(NAME).canonicalize().ok());
    let found: Vec<PathBuf> = found.collect();
    match (found.iter().find(|program| is_roots(program)), found.first()) {
        (Some(program), _) => Ok(program.clone()),
        (None, Some(program)) => {
            Err(format!("bubblewrap is not used because others than root can change `{}`", program.display()))
        }
        (None, None) => Err(
            "bubblewrap is not installed in a folder of the system; install it (apt-get install bubblewrap)"
                .to_owned(),
        ),
    }
}

/// Whether the file and each folder above it is root's alone to change. In a sticky folder nobody
/// else can replace what is root's.
fn is_roots(program: &Path) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    program.ancestors().all(|path| {
        fs::metadata(path).is_ok_and(|metadata| {
            let mode = metadata.mode();
            metadata.uid() == 0 && (mode & OTHERS_WRITE == 0 || metadata.is_dir() && mode & STICKY != 0)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::{explain, refusal, *};

    #[test]
    fn the_machine_its_kernel_and_the_state_folder_are_given_to_no_agent() {
        let state_dir = Path::new("/h/.clawdis");
        for (path, why) in [
            ("/", "whole machine"),
            ("/dev", "devices"),
            ("/dev/shm", "devices"),
            ("/proc", "processes"),
            ("/proc/sys/kernel", "processes"),
            ("/sys/fs/cgroup", "settings"),
            ("/h/.clawdis/sessions", "state folder"),
        ] {
            assert!(refusal(Path::new(path), state_dir).is_some_and(|said| said.contains(why)), "{path}");
        }
        for path in ["/dev/shm/work", "/dev/ttyUSB0", "/devices", "/h", "/h/proc"] {
            assert_eq!(refusal(Path::new(path), state_dir), None, "{path}");
        }
    }

    #[test]
    fn bubblewrap_s_own_words_are_kept() {
        let line = "bwrap: Can't find source path /x: Permission denied";
        assert_eq!(explain(line).unwrap(), format!("the agent's sandbox cannot be made: {line}"));
        let line = "bwrap: execvp pi: No such file or directory";
        assert!(explain(line).unwrap().starts_with("the agent cannot be started: `pi`: No such file"));
        assert_eq!(explain("Error: no API key"), None);
    }

    #[test]
    fn a_program_that_others_can_change_is_not_taken() {
        assert!(is_roots(&Path::new("/bin/sh").canonicalize().unwrap()));
        let folder = std::env::temp_dir().join(format!("clawdis-program-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join(NAME);
        for (file, around) in [(0o775, 0o755), (0o757, 0o755), (0o755, 0o777), (0o755, 0o775)] {
            fs::write(&program, "").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(file)).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(around)).unwrap();
            assert!(!is_roots(&program), "{file:o} in {around:o}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
