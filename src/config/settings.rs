//! What is in force: flags before environment before config file before defaults.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{self, Path, PathBuf};

use crate::config::agent_env;
use crate::config::environment::{self, Environment};
use crate::config::error::SettingsError;
use crate::config::file::{Command, Config, Gateway, Telegram};
use crate::config::flags::{ADDRESS, Flags, address};
use crate::config::load::read_token;
use crate::config::secret::{Secret, SecretFault};
use crate::logging::LogFormat;
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
    pub(crate) log_format: LogFormat,
    pub(crate) verbosity: u8,
}

impl Settings {
    /// Reads the config and token files and puts everything together; with warnings for the log.
    pub(crate) fn read(flags: Flags, environment: Environment) -> Result<(Self, Vec<String>), SettingsError> {
        let state_dir = state_dir(&flags, &environment)?;
        let explicit = flags.config.clone().or_else(|| environment.config.clone());
        let config_path = absolute(explicit.clone().unwrap_or_else(|| state_dir.join("clawdis.json")));
        let (mut config, mut warnings) = Config::load(&config_path, explicit.is_some())?;
        let token_file = match &flags.token_file {
            Some(path) => {
                let (token, warning) = read_token(path)?;
                warnings.extend(warning);
                Some(token)
            }
            None => None,
        };
        read_bot_token(&mut config.telegram, &environment, &mut warnings)?;
        Self::resolve(flags, token_file, environment, config, state_dir, config_path)
            .map(|settings| (settings, warnings))
    }

    fn resolve(
        flags: Flags,
        file_token: Option<Secret>,
        environment: Environment,
        mut config: Config,
        state_dir: PathBuf,
        config_path: PathBuf,
    ) -> Result<Self, SettingsError> {
        let Config { gateway, agent, telegram, .. } = &mut config;
        gateway.token = token([
            ("--token", flags.token),
            ("--token-file", file_token),
            (environment::TOKEN, environment.token),
            ("gateway.token", gateway.token.take()),
        ])?;
        let agent_command = agent_command(flags.agent, environment.agent, agent.command.take())?;
        let token_file = flags.token_file.map(absolute);
        let bot_token_file = telegram.bot_token_file.as_ref().map(PathBuf::from).map(absolute);
        let secret_files = token_file.clone().into_iter().chain(bot_token_file);
        let secret_files = std::iter::once(config_path).chain(secret_files).collect();
        telegram.bot_token = environment.telegram_token.or(telegram.bot_token.take());
        if let Some(api_base) = environment.telegram_api_base {
            telegram.api_base = api_base;
        }
        gateway.port = port(flags.port, environment.port.as_deref(), gateway.port)?;
        let binds = binds(flags.bind, gateway)?;
        check_min_client(&gateway.min_client)?;
        agent_env::check(agent)?;
        gateway.max_clients = flags.max_clients.unwrap_or(gateway.max_clients);
        gateway.tick_interval_ms = flags.tick_interval_ms.unwrap_or(gateway.tick_interval_ms);
        let (log_format, verbosity) = (flags.log_format, flags.verbosity);
        Ok(Self { config, binds, token_file, state_dir, secret_files, agent_command, log_format, verbosity })
    }
}

/// A path that holds in every working directory: agents have others.
fn absolute(path: PathBuf) -> PathBuf {
    path::absolute(&path).unwrap_or(path)
}

fn state_dir(flags: &Flags, environment: &Environment) -> Result<PathBuf, SettingsError> {
    let named = flags.state_dir.clone().or_else(|| environment.state_dir.clone());
    let home = || environment.home.as_ref().map(|home| home.join(".clawdis"));
    named.or_else(home).map(absolute).ok_or(SettingsError::NoHome)
}

fn port(flag: Option<u16>, variable: Option<&str>, config: u16) -> Result<u16, SettingsError> {
    let wrong = SettingsError::Wrong { setting: environment::PORT, expected: "a number from 0 to 65535" };
    match (flag, variable) {
        (Some(port), _) => Ok(port),
        (None, Some(text)) => text.parse().map_err(|_| wrong),
        (None, None) => Ok(config),
    }
}

/// Reads the file with the bot's token, unless the token stands elsewhere.
fn read_bot_token(
    telegram: &mut Telegram,
    environment: &Environment,
    warnings: &mut Vec<String>,
) -> Result<(), SettingsError> {
    let file = telegram.bot_token_file.as_ref();
    let Some(path) = file.filter(|_| environment.telegram_token.is_none() && telegram.bot_token.is_none())
    else {
        return Ok(());
    };
    let (token, warning) = read_token(Path::new(path))?;
    warnings.extend(warning);
    if token.is_empty() {
        return Err(SettingsError::Token("telegram.botTokenFile", SecretFault::Empty));
    }
    telegram.bot_token = Some(token);
    Ok(())
}

/// The first setting that has one counts, and a blank one there is refused: it was meant to keep
/// people out.
fn token(candidates: [(&'static str, Option<Secret>); 4]) -> Result<Option<Secret>, SettingsError> {
    let Some((setting, token)) = candidates.into_iter().find_map(|(setting, token)| Some((setting, token?)))
    else {
        return Ok(None);
    };
    match token.fault() {
        Some(fault) => Err(SettingsError::Token(setting, fault)),
        None => Ok(Some(token)),
    }
}

fn binds(flags: Vec<IpAddr>, gateway: &Gateway) -> Result<Vec<IpAddr>, SettingsError> {
    let mut binds = flags;
    if binds.is_empty() {
        let wrong = SettingsError::Wrong { setting: "gateway.bind", expected: ADDRESS };
        let parsed: Option<Vec<IpAddr>> = gateway.bind.iter().map(|text| address(text)).collect();
        binds = parsed.ok_or(wrong)?;
    }
    if binds.is_empty() {
        binds.push(Ipv4Addr::LOCALHOST.into());
    }
    let mut unique = Vec::with_capacity(binds.len());
    for bind in binds {
        if gateway.token.is_none() && !bind.is_loopback() {
            return Err(SettingsError::OpenBind(bind));
        }
        if !unique.contains(&bind) {
            unique.push(bind);
        }
    }
    Ok(unique)
}

/// Refuses what is no version: it would let every client in, since only versions are compared.
fn check_min_client(text: &str) -> Result<(), SettingsError> {
    let wrong = SettingsError::Wrong { setting: "gateway.minClient", expected: "a version such as 1.2.0" };
    semver(text).map(|_| ()).ok_or(wrong)
}

fn agent_command(
    flag: Option<String>,
    variable: Option<String>,
    config: Option<Command>,
) -> Result<Option<AgentCommand>, SettingsError> {
    let (setting, command) = match (flag, variable, config) {
        (Some(spec), _, _) => ("--agent", spec_of(&spec)),
        (None, Some(spec), _) => (environment::AGENT, spec_of(&spec)),
        (None, None, Some(Command::Name(spec))) => ("agent.command", spec_of(&spec)),
        (None, None, Some(Command::Argv(argv))) => ("agent.command", argv_of(argv)),
        (None, None, None) => return Ok(None),
    };
    command.map(Some).ok_or(SettingsError::Wrong { setting, expected: SPEC })
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

#[cfg(test)]
mod tests;
