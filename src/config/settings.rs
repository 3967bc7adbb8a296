//! What is in force: flags before environment before config file before defaults. The environment is read once,
//! at the start.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{self, Path, PathBuf};

use crate::config::SettingsError;
use crate::config::file::{Agent, Command, Config, Gateway, Sandbox, Telegram};
use crate::config::flags::{ADDRESS, Flags, PORT_NUMBER, address};
use crate::config::load::read_token;
use crate::config::secret::Secret;
use crate::protocol::semver;

const SPEC: &str = "`pi`, `builtin:echo` or a JSON array of texts (a program and its first arguments)";

/// The program that is run as the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AgentCommand {
    /// The demo inside this binary.
    Echo,
    /// A program and its first arguments; at least the program.
    Argv(Vec<String>),
}

/// Everything that is set. No `Debug`: it holds tokens.
pub(crate) struct Settings {
    /// The config, with what flags and environment say about the same things. What stands below counts
    /// instead of its `gateway.bind` and `agent.command`.
    pub(crate) config: Config,
    /// Addresses to listen on, at least one, no two equal.
    pub(crate) binds: Vec<IpAddr>,
    /// The file that the token came from, if it did; absolute.
    pub(crate) token_file: Option<PathBuf>,
    /// The state folder; absolute.
    pub(crate) state_dir: PathBuf,
    /// Files that the agent must not see, the config's own first; they need not exist.
    pub(crate) secret_files: Vec<PathBuf>,
    pub(crate) agent_command: Option<AgentCommand>,
    /// What a person should know about the files that were read, a sentence each.
    pub(crate) warnings: Vec<String>,
}

impl Settings {
    /// Reads the config and puts everything together.
    pub(crate) fn read(flags: Flags, environment: &Environment) -> Result<Self, SettingsError> {
        let state_dir = state_dir(&flags, environment)?;
        let explicit = flags.config.clone().or_else(|| environment.path(CONFIG));
        let config_path = absolute(explicit.clone().unwrap_or_else(|| state_dir.join("clawdis.json")));
        let loaded = Config::load(&config_path, explicit.is_some())?;
        Self::resolve(flags, environment, loaded, state_dir, config_path)
    }

    /// Reads the token files, and lets flags and environment count before the config, which comes with its
    /// warnings.
    fn resolve(
        flags: Flags,
        environment: &Environment,
        (mut config, mut warnings): (Config, Vec<String>),
        state_dir: PathBuf,
        config_path: PathBuf,
    ) -> Result<Self, SettingsError> {
        let Config { gateway, agent, telegram, .. } = &mut config;
        let file_token = flags.token_file.as_deref().map(|path| token_in(path, &mut warnings)).transpose()?;
        telegram.bot_token = bot_token(telegram, environment, &mut warnings)?;
        gateway.token = token([
            ("--token", flags.token),
            ("--token-file", file_token),
            (TOKEN, environment.text(TOKEN)?.as_deref().map(Secret::new)),
            ("gateway.token", gateway.token.take()),
        ])?;
        let agent_command = agent_command(flags.agent, environment.filled(AGENT)?, agent.command.take())?;
        let token_file = flags.token_file.map(absolute);
        let bot_token_file = telegram.bot_token_file.as_ref().map(PathBuf::from).map(absolute);
        let secret_files = [Some(config_path), token_file.clone(), bot_token_file];
        let secret_files = secret_files.into_iter().flatten().collect();
        if let Some(api_base) = environment.filled(TELEGRAM_API_BASE)? {
            telegram.api_base = api_base;
        }
        gateway.port = match (flags.port, environment.filled(PORT)?) {
            (Some(port), _) => port,
            (None, Some(text)) => text.parse().map_err(|_| SettingsError::wrong(PORT, PORT_NUMBER))?,
            (None, None) => gateway.port,
        };
        let binds = binds(flags.bind, gateway)?;
        // What is no version would let every client in, since only versions are compared.
        semver(&gateway.min_client)
            .ok_or_else(|| SettingsError::wrong("gateway.minClient", "a version such as 1.2.0"))?;
        check_agent_variables(agent)?;
        gateway.max_clients = flags.max_clients.unwrap_or(gateway.max_clients);
        gateway.tick_interval_ms = flags.tick_interval_ms.unwrap_or(gateway.tick_interval_ms);
        Ok(Self { config, binds, token_file, state_dir, secret_files, agent_command, warnings })
    }
}

/// A path that holds in every working directory: agents have others.
fn absolute(path: PathBuf) -> PathBuf {
    path::absolute(&path).unwrap_or(path)
}

fn state_dir(flags: &Flags, environment: &Environment) -> Result<PathBuf, SettingsError> {
    let named = flags.state_dir.clone().or_else(|| environment.path(STATE_DIR));
    let home = || environment.path(HOME).map(|home| home.join(".clawdis"));
    named.or_else(home).map(absolute).ok_or_else(|| {
        SettingsError("there is no `HOME` to keep state in: set it or give `--state-dir`".to_owned())
    })
}

/// The bot's token: the one in the environment, in the config, or in the file that the config names.
fn bot_token(
    telegram: &Telegram,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<Option<Secret>, SettingsError> {
    if let Some(token) = environment.filled(TELEGRAM_TOKEN)? {
        return Ok(Some(Secret::new(&token)));
    }
    let (None, Some(path)) = (&telegram.bot_token, &telegram.bot_token_file) else {
        return Ok(telegram.bot_token.clone());
    };
    let token = token_in(Path::new(path), warnings)?;
    if token.is_empty() { Err(empty_token("telegram.botTokenFile")) } else { Ok(Some(token)) }
}

fn token_in(path: &Path, warnings: &mut Vec<String>) -> Result<Secret, SettingsError> {
    let (token, warning) = read_token(path)?;
    warnings.extend(warning);
    Ok(token)
}

/// The first setting that has a token counts, and a blank one there is refused: it was meant to keep
/// people out.
fn token(candidates: [(&'static str, Option<Secret>); 4]) -> Result<Option<Secret>, SettingsError> {
    let Some((setting, token)) = candidates.into_iter().find_map(|(setting, token)| Some((setting, token?)))
    else {
        return Ok(None);
    };
    match token.fault() {
        Some(_) if token.is_empty() => Err(empty_token(setting)),
        Some(fault) => Err(SettingsError(format!("the token of `{setting}` {fault}"))),
        None => Ok(Some(token)),
    }
}

fn empty_token(setting: &str) -> SettingsError {
    SettingsError(format!("the token of `{setting}` is empty: put one there or leave it out"))
}

fn binds(flags: Vec<IpAddr>, gateway: &Gateway) -> Result<Vec<IpAddr>, SettingsError> {
    let mut binds = flags;
    if binds.is_empty() {
        let parsed: Option<Vec<IpAddr>> = gateway.bind.iter().map(|text| address(text)).collect();
        binds = parsed.ok_or_else(|| SettingsError::wrong("gateway.bind", ADDRESS))?;
    }
    if binds.is_empty() {
        binds.push(Ipv4Addr::LOCALHOST.into());
    }
    let mut unique = Vec::with_capacity(binds.len());
    for bind in binds {
        if gateway.token.is_none() && !bind.is_loopback() {
            return Err(SettingsError(format!(
                "without a token everybody who reaches {bind} could command this gateway: \
                 set one with `--token-file`, or bind 127.0.0.1 and connect through an SSH tunnel"
            )));
        }
        if !unique.contains(&bind) {
            unique.push(bind);
        }
    }
    Ok(unique)
}

fn agent_command(
    flag: Option<String>,
    variable: Option<String>,
    config: Option<Command>,
) -> Result<Option<AgentCommand>, SettingsError> {
    let (setting, command) = match (flag, variable, config) {
        (Some(spec), _, _) => ("--agent", spec_of(&spec)),
        (None, Some(spec), _) => (AGENT, spec_of(&spec)),
        (None, None, Some(Command::Name(spec))) => ("agent.command", spec_of(&spec)),
        (None, None, Some(Command::Argv(argv))) => ("agent.command", argv_of(argv)),
        (None, None, None) => return Ok(None),
    };
    command.map(Some).ok_or_else(|| SettingsError::wrong(setting, SPEC))
}

fn spec_of(spec: &str) -> Option<AgentCommand> {
    match spec.trim() {
        "pi" => argv_of(vec!["pi".to_owned()]),
        "builtin:echo" => Some(AgentCommand::Echo),
        array => argv_of(serde_json::from_str(array).ok()?),
    }
}

/// A command of a program and arguments. The operating system takes none with a NUL in it.
fn argv_of(argv: Vec<String>) -> Option<AgentCommand> {
    let good =
        argv.first().is_some_and(|program| !program.is_empty()) && argv.iter().all(|arg| !arg.contains('\0'));
    good.then_some(AgentCommand::Argv(argv))
}

/// Variables that glibc ignores where a program has more rights than its caller (`ld.so(8)`), but for
/// `TMPDIR`: each loads code, opens files or changes how memory is handed out.
const OBEYED: [&str; 11] = [
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "NIS_PATH",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "TZDIR",
];
/// Families of such variables; `DYLD_` is what `LD_` is on a Mac.
const OBEYED_BEGINNINGS: [&str; 3] = ["DYLD_", "LD_", "MALLOC_"];

/// Refuses variables that an agent may not be given while a sandbox is around it. The guard and bubblewrap have
/// the agent's environment, and stand outside of its walls: a library that lies where the agent writes would be
/// its way out.
fn check_agent_variables(agent: &Agent) -> Result<(), SettingsError> {
    let given = agent.env.keys().map(|name| ("agent.env", name));
    let passed = agent.pass_env.iter().map(|name| ("agent.passEnv", name));
    match given.chain(passed).find(|(_, name)| is_obeyed(name)) {
        Some((key, name)) if agent.sandbox != Sandbox::None => Err(SettingsError(format!(
            "`{key}` names `{name}`, which programs outside of the agent's sandbox would obey too: \
                 set it in a script that is the agent's command"
        ))),
        _ => Ok(()),
    }
}

fn is_obeyed(name: &str) -> bool {
    // Of `NAME=VALUE` in `agent.passEnv` the name counts.
    let name = name.split('=').next().unwrap_or_default();
    OBEYED.contains(&name) || OBEYED_BEGINNINGS.iter().any(|begin| name.starts_with(begin))
}

/// The variable with the gateway's token.
pub(crate) const TOKEN: &str = "CLAWDIS_GATEWAY_TOKEN";
/// The variable with the id of the process that has started itself again, so that it does so once.
pub(crate) const STARTED_AGAIN: &str = "CLAWDIS_GATEWAY_STARTED_AGAIN";
const PORT: &str = "CLAWDIS_GATEWAY_PORT";
const AGENT: &str = "CLAWDIS_AGENT";
const CONFIG: &str = "CLAWDIS_CONFIG";
const STATE_DIR: &str = "CLAWDIS_STATE_DIR";
const TELEGRAM_TOKEN: &str = "TELEGRAM_BOT_TOKEN";
const TELEGRAM_API_BASE: &str = "CLAWDIS_TELEGRAM_API_BASE";
const HOME: &str = "HOME";

/// The variables by their names. One that is set to nothing counts as not set, but for the gateway's token:
/// there it is a mistake that would let everybody in. (`RUST_LOG` is read by the logger.)
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// This process's environment. Of a variable that stands there twice the first counts, as for everybody else.
    pub(crate) fn of_process() -> Self {
        let mut variables = BTreeMap::new();
        for (name, value) in env::vars_os() {
            variables.entry(name).or_insert(value);
        }
        Self(variables)
    }

    /// A variable's text, even if that is empty. Fails if it is not UTF-8.
    fn text(&self, name: &str) -> Result<Option<String>, SettingsError> {
        let text = self.0.get(OsStr::new(name)).map(|value| value.to_str().map(str::to_owned));
        text.map(|text| text.ok_or_else(|| SettingsError::wrong(name, "UTF-8 text"))).transpose()
    }

    /// A variable's text, if there is any. Fails if it is not UTF-8.
    fn filled(&self, name: &str) -> Result<Option<String>, SettingsError> {
        self.text(name).map(|text| text.filter(|text| !text.is_empty()))
    }

    /// A variable that names a file or folder.
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.get(OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests;
