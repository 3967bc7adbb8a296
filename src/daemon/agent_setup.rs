//! What the agent thread is told: the command, and the folders that the agent gets.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use crate::agent::AgentConfig;
use crate::agent::demo::DEMO_AGENT;
use crate::agent::sandbox::refusal;
use crate::config::file::{Agent, Sandbox};
use crate::config::settings::{AgentCommand, Settings};
use crate::daemon::fatal::Fatal;
use crate::protocol::warning::{Warning, WarningCode};
use crate::store::Janitor;

/// The agent's working folder where none is named, in the person's home.
const WORK_FOLDER: &str = "clawdis";
/// Where Pi keeps its settings, sign-ins and programs, in the person's home.
const PI_FOLDER: &str = ".pi";
/// The variable that names another folder for them.
const PI_FOLDER_VARIABLE: &str = "PI_CODING_AGENT_DIR";
const HOME_IS_OPEN: &str = "the agent's working folder is your home: it can change everything there, \
    also what you run and what starts by itself; set agent.cwd to a folder of its own, such as \"~/clawdis\"";

/// The agent's settings, with a warning. `keeps_home` says that it works in the home unless told otherwise.
pub(super) fn setup(
    settings: &Settings,
    janitor: &Janitor,
    own_exe: &Path,
    keeps_home: bool,
) -> Result<(AgentConfig, Option<Warning>), Fatal> {
    let agent = &settings.config.agent;
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let folders = Folders { agent, state_dir: &settings.state_dir, home: home.as_deref() };
    let command = command(settings, own_exe)?;
    let is_configured = command.is_some();
    let cwd = if is_configured { folders.cwd(keeps_home)? } else { PathBuf::from("/") };
    let is_home = |cwd: &Path| {
        home.as_deref().and_then(|home| home.canonicalize().ok()).is_some_and(|home| home.starts_with(cwd))
    };
    let warning = (is_configured && is_home(&cwd)).then(|| Warning::new(WarningCode::CwdHome, HOME_IS_OPEN));
    let config = AgentConfig {
        command,
        own_exe: own_exe.to_owned(),
        cwd,
        env: agent.env.clone(),
        pass_env: agent.pass_env.clone(),
        model: agent.model.clone(),
        janitor: janitor.clone(),
        sandbox: agent.sandbox,
        secret_files: settings.secret_files.clone(),
        hidden: folders.hidden()?,
        writable: folders.writable()?,
        home,
        idle_timeout: Duration::from_secs(agent.idle_timeout_seconds),
        start_timeout: Duration::from_secs(agent.start_timeout_seconds),
        warm: Duration::from_secs(agent.warm_seconds),
        processes_max: agent.max_processes,
    };
    Ok((config, warning))
}

fn command(settings: &Settings, own_exe: &Path) -> Result<Option<Vec<String>>, Fatal> {
    match &settings.agent_command {
        None => Ok(None),
        Some(AgentCommand::Argv(argv)) => Ok(Some(argv.clone())),
        Some(AgentCommand::Echo) => {
            let unsayable =
                || Fatal::config("`builtin:echo` needs a gateway whose path is valid UTF-8".to_owned());
            let own = own_exe.to_str().ok_or_else(unsayable)?.to_owned();
            Ok(Some(vec![own, DEMO_AGENT.to_owned()]))
        }
    }
}

/// What the config says about folders, and what it is judged by.
struct Folders<'a> {
    agent: &'a Agent,
    state_dir: &'a Path,
    home: Option<&'a Path>,
}

impl Folders<'_> {
    /// The working folder's real path; the default one need not be there.
    fn cwd(&self, keeps_home: bool) -> Result<PathBuf, Fatal> {
        const KEY: &str = "agent.cwd";
        let cwd = match (&self.agent.cwd, self.home) {
            (Some(named), _) => self.expand(KEY, named)?,
            (None, Some(home)) if keeps_home => home.to_owned(),
            (None, Some(home)) => home.join(WORK_FOLDER),
            (None, None) => {
                return Err(Fatal::config(format!(
                    "{KEY}: there is no `HOME` to have a working folder in; name one"
                )));
            }
        };
        // Agents run in other working directories.
        let cwd = path::absolute(&cwd).unwrap_or(cwd);
        let real = cwd.canonicalize().ok().filter(|real| real.is_dir());
        let is_default = self.agent.cwd.is_none() && !keeps_home;
        let Some(real) = real.or_else(|| (is_default && !cwd.exists()).then(|| cwd.clone())) else {
            let cwd = cwd.display();
            return Err(Fatal::config(format!("{KEY}: `{cwd}` is not a folder; make it or name another")));
        };
        self.check(KEY, &cwd, &real)?;
        Ok(real)
    }

    /// The agent's own folders and `agent.writable`. What is not there may come later.
    fn writable(&self) -> Result<Vec<PathBuf>, Fatal> {
        const KEY: &str = "agent.writable";
        let mut folders: Vec<PathBuf> = self.own();
        for text in &self.agent.writable {
            let folder = self.absolute(KEY, text)?;
            match folder.canonicalize() {
                Ok(real) => self.check(KEY, &folder, &real)?,
                Err(error) => {
                    log::warn!("{KEY}: `{}`: {error}; it counts once it is there", folder.display());
                }
            }
            folders.push(folder);
        }
        Ok(folders)
    }

    /// The folders of `agent.hidden`. Without a home there is nothing in it to hide.
    fn hidden(&self) -> Result<Vec<PathBuf>, Fatal> {
        let in_home = |text: &&String| text.starts_with("~/") || *text == "~";
        let names = self.agent.hidden.iter().filter(|text| self.home.is_some() || !in_home(text));
        names.map(|text| self.absolute("agent.hidden", text)).collect()
    }

    /// Where Pi keeps its things, by the environment that the agent gets.
    fn own(&self) -> Vec<PathBuf> {
        let variable = |name: &str| {
            let own = self.agent.env.get(name).map(OsString::from);
            own.or_else(|| std::env::var_os(name)).filter(|value| !value.is_empty())
        };
        let home = variable("HOME").map(|home| PathBuf::from(home).join(PI_FOLDER));
        let named = variable(PI_FOLDER_VARIABLE).map(PathBuf::from);
        let named = named.map(|path| match (path.strip_prefix("~"), self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path,
        });
        home.into_iter().chain(named).filter(|folder| folder.is_absolute()).collect()
    }

    fn check(&self, key: &str, named: &Path, real: &Path) -> Result<(), Fatal> {
        match refusal(real, self.state_dir) {
            Some(why) if self.agent.sandbox != Sandbox::None => {
                Err(Fatal::config(format!("{key}: `{}` {why}; name another", named.display())))
            }
            _ => Ok(()),
        }
    }

    fn absolute(&self, key: &str, text: &str) -> Result<PathBuf, Fatal> {
        let path = self.expand(key, text)?;
        if path.is_absolute() {
            return Ok(path);
        }
        Err(Fatal::config(format!("{key}: `{text}` needs to begin with `/` or `~/`")))
    }

    /// Puts the person's home in the place of `~`.
    fn expand(&self, key: &str, text: &str) -> Result<PathBuf, Fatal> {
        match (Path::new(text).strip_prefix("~"), self.home) {
            (Err(_), _) => Ok(PathBuf::from(text)),
            (Ok(rest), Some(home)) => Ok(home.join(rest)),
            (Ok(_), None) => Err(Fatal::config(format!("{key}: `{text}` needs a `HOME`"))),
        }
    }
}

/// Makes the default working folder, for the agent alone: what it makes there is as private as what is
/// said to it.
pub(super) fn make_work_folder(config: &AgentConfig) -> Result<(), Fatal> {
    if config.command.is_none() || config.cwd.is_dir() {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).create(&config.cwd).map_err(|error| {
        let folder = config.cwd.display();
        Fatal::config(format!("agent.cwd: `{folder}` cannot be made ({error}); name a folder that is there"))
    })
}
