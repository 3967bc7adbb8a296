//! Keeps the agent out of the state folder and the config, with bubblewrap where it works.
//!
//! File modes do not help against a process of our own user. In the sandbox the agent sees the
//! machine as it is, but the state folder is empty except for its own session's folder and, to be read,
//! what people sent in the session; the config and the files of tokens are empty, and no process outside of it can be seen (or traced, or asked for
//! its environment).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child;
use crate::config::file::Sandbox as Wanted;

/// How long bubblewrap may take to show that it works here.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to be hidden from the agent.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// `agent.sandbox`.
    pub wanted: Wanted,
    /// Hidden, but for the session's own folder.
    pub state_dir: PathBuf,
    /// Hidden if they lie elsewhere and exist: the config, and whatever holds a token.
    pub files: Vec<PathBuf>,
}

/// What was decided at the start.
pub(super) enum Sandbox {
    /// Agents start in it; the program to use.
    Bwrap(PathBuf),
    /// Agents start without; why.
    None(&'static str),
    /// No agent starts: it was demanded and is not there.
    Missing(&'static str),
}

const SWITCHED_OFF: &str = "agent.sandbox is none: the agent can read and change the gateway's files";
const NOT_INSTALLED: &str = "bubblewrap is not installed: the agent can read and change the gateway's files; install it (apt-get install bubblewrap)";
const DOES_NOT_WORK: &str = "bubblewrap does not work here: the agent can read and change the gateway's files; allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)";

impl Sandbox {
    /// Looks for bubblewrap and tries it.
    pub(super) fn decide(config: &SandboxConfig) -> Self {
        if config.wanted == Wanted::None {
            return Self::None(SWITCHED_OFF);
        }
        let why = match find("bwrap") {
            None => NOT_INSTALLED,
            Some(program) if works(&program, config) => return Self::Bwrap(program),
            Some(_) => DOES_NOT_WORK,
        };
        if config.wanted == Wanted::Bwrap { Self::Missing(why) } else { Self::None(why) }
    }

    /// The name in `health`, and the sentence about it.
    pub(super) fn describe(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Bwrap(_) => ("bwrap", None),
            Self::None(why) | Self::Missing(why) => ("none", Some(why)),
        }
    }

    /// The agent's argv inside of the sandbox. Of the state folder only these two folders are there, and
    /// only the first can be written.
    pub(super) fn wrap(
        &self,
        config: &SandboxConfig,
        session_folder: &Path,
        media_folder: &Path,
        agent: Vec<OsString>,
    ) -> Vec<OsString> {
        let Self::Bwrap(program) = self else { return agent };
        let mut argv = vec![program.into()];
        argv.extend(walls(config));
        for (bind, folder) in [("--bind", session_folder), ("--ro-bind", media_folder)] {
            let folder: OsString = real(folder).into();
            argv.extend([bind.into(), folder.clone(), folder]);
        }
        argv.push("--".into());
        argv.extend(agent);
        argv
    }
}

/// Everything but the state folder and the config, and none of our processes.
fn walls(config: &SandboxConfig) -> Vec<OsString> {
    let mut walls: Vec<OsString> =
        ["--die-with-parent", "--unshare-pid", "--dev-bind", "/", "/", "--proc", "/proc"]
            .map(OsString::from)
            .to_vec();
    let state_dir = real(&config.state_dir);
    let files = config.files.iter().map(|file| real(file));
    for file in files.filter(|file| file.is_file() && !file.starts_with(&state_dir)) {
        walls.extend(["--ro-bind".into(), "/dev/null".into(), file.into()]);
    }
    walls.extend(["--tmpfs".into(), state_dir.into()]);
    walls
}

/// Where a path leads: a wall in front of a link would leave open what is behind it, and bubblewrap
/// does not start then.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn works(program: &Path, config: &SandboxConfig) -> bool {
    let mut args = walls(config);
    args.extend(["--", "true"].map(OsString::from));
    child::succeeds(program, &args, PATIENCE)
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}
