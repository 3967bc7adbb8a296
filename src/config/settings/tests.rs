//! Who wins, and what is refused.

use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{AgentCommand, Environment, Settings, check_agent_variables};
use crate::arguments::Invocation;
use crate::config::file::{Agent, Config, Sandbox};
use crate::config::flags::Flags;

fn resolve(line: &[&str], variables: &[(&str, &str)], config: Value) -> Result<Settings, String> {
    let Ok(Invocation::Run(flags)) = Flags::parse(line.iter().map(OsString::from).collect()) else {
        panic!("{line:?} is no good command line")
    };
    let config = Config::from(config);
    let folder = PathBuf::from("/s");
    Settings::resolve(flags, &environment(variables), (config, Vec::new()), folder.clone(), folder.join("c"))
        .map_err(|error| error.to_string())
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment(variables.iter().map(|(name, value)| (name.into(), value.into())).collect())
}

fn error(line: &[&str], variables: &[(&str, &str)], config: Value) -> String {
    resolve(line, variables, config).err().unwrap()
}

#[test]
fn flag_before_variable_before_config_before_default() {
    let port = |line: &[&str], variables: &[(&str, &str)], config| {
        resolve(line, variables, config).ok().unwrap().config.gateway.port
    };
    let config = || json!({"gateway": {"port": 3}});
    assert_eq!(port(&["--port", "1"], &[("CLAWDIS_GATEWAY_PORT", "2")], config()), 1);
    assert_eq!(port(&[], &[("CLAWDIS_GATEWAY_PORT", "2")], config()), 2);
    assert_eq!(port(&[], &[("CLAWDIS_GATEWAY_PORT", "")], config()), 3);
    assert_eq!(port(&[], &[], json!({})), 18_789);

    let agent = |line: &[&str], variables: &[(&str, &str)], config| {
        resolve(line, variables, config).ok().unwrap().agent_command
    };
    let argv = |program: &str| Some(AgentCommand::Argv(vec![program.to_owned()]));
    let config = || json!({"agent": {"command": ["c"]}});
    assert_eq!(agent(&["--agent", "[\"a\"]"], &[("CLAWDIS_AGENT", "pi")], config()), argv("a"));
    assert_eq!(agent(&[], &[("CLAWDIS_AGENT", "pi")], config()), argv("pi"));
    assert_eq!(agent(&[], &[], config()), argv("c"));
    assert_eq!(agent(&[], &[], json!({"agent": {"command": "builtin:echo"}})), Some(AgentCommand::Echo));
    assert_eq!(agent(&[], &[], json!({})), None);

    let token = |line: &[&str], variables: &[(&str, &str)]| {
        resolve(line, variables, json!({"gateway": {"token": "c"}}))
            .ok()
            .unwrap()
            .config
            .gateway
            .token
            .unwrap()
            .expose()
            .to_owned()
    };
    assert_eq!(token(&["--token", "a"], &[("CLAWDIS_GATEWAY_TOKEN", "b")]), "a");
    assert_eq!(token(&[], &[("CLAWDIS_GATEWAY_TOKEN", "b")]), "b");
    assert_eq!(token(&[], &[]), "c");
}

#[test]
fn the_rest_of_the_sources() {
    let settings = resolve(
        &["--max-clients", "7", "--tick-interval-ms", "200"],
        &[("TELEGRAM_BOT_TOKEN", "b"), ("CLAWDIS_TELEGRAM_API_BASE", "http://t")],
        json!({
            "gateway": {"maxClients": 8, "tickIntervalMs": 300, "allowedHosts": ["h"], "allowedOrigins": ["o"], "minClient": "1.0.0-rc.1"},
            "telegram": {"botToken": "c", "apiBase": "http://c"}, "owner": {"telegram": "1"}, "agent": {"queue": 9},
        }),
    )
    .ok()
    .unwrap();
    let Config { gateway, owner, agent, telegram, .. } = settings.config;
    assert_eq!((gateway.max_clients, gateway.tick_interval_ms), (7, 200));
    assert_eq!(
        (gateway.allowed_hosts, gateway.allowed_origins),
        (vec!["h".to_owned()], vec!["o".to_owned()])
    );
    assert_eq!((gateway.min_client.as_str(), agent.queue), ("1.0.0-rc.1", 9));
    assert!(telegram.bot_token.unwrap().matches("b"));
    assert_eq!((telegram.api_base.as_str(), owner.telegram.as_deref()), ("http://t", Some("1")));
    let settings =
        resolve(&[], &[], json!({"gateway": {"maxClients": 8, "tickIntervalMs": 300}})).ok().unwrap();
    let gateway = settings.config.gateway;
    assert_eq!((gateway.max_clients, gateway.tick_interval_ms), (8, 300));
    assert!(gateway.token.is_none());
}

#[test]
fn addresses() {
    let binds = |line: &[&str], config: Value| -> Vec<String> {
        resolve(line, &[], config).ok().unwrap().binds.iter().map(IpAddr::to_string).collect()
    };
    assert_eq!(binds(&[], json!({})), ["127.0.0.1"]);
    assert_eq!(binds(&[], json!({"gateway": {"bind": []}})), ["127.0.0.1"]);
    assert_eq!(binds(&[], json!({"gateway": {"bind": ["::1", "127.0.0.2", "::1"]}})), ["::1", "127.0.0.2"]);
    assert_eq!(binds(&["--bind", "127.0.0.3"], json!({"gateway": {"bind": ["::1"]}})), ["127.0.0.3"]);
    assert_eq!(binds(&["--bind", "0.0.0.0", "--token", "t"], json!({})), ["0.0.0.0"]);
    let open = |address: &str| {
        format!(
            "without a token everybody who reaches {address} could command this gateway: set one with `--token-file`, \
             or bind 127.0.0.1 and connect through an SSH tunnel"
        )
    };
    assert_eq!(error(&["--bind", "127.0.0.1", "--bind", "0.0.0.0"], &[], json!({})), open("0.0.0.0"));
    assert_eq!(error(&[], &[], json!({"gateway": {"bind": ["192.0.2.1"]}})), open("192.0.2.1"));
}

#[test]
fn refused() {
    let long = "x".repeat(1_025);
    for (line, variables, config, text) in [
        (
            &[][..],
            &[("CLAWDIS_GATEWAY_PORT", "x")][..],
            json!({}),
            "`CLAWDIS_GATEWAY_PORT` needs a number from 0 to 65535",
        ),
        (
            &[],
            &[("CLAWDIS_GATEWAY_TOKEN", " ")],
            json!({}),
            "the token of `CLAWDIS_GATEWAY_TOKEN` is empty: put one there or leave it out",
        ),
        (
            &["--token", ""],
            &[("CLAWDIS_GATEWAY_TOKEN", "t")],
            json!({}),
            "the token of `--token` is empty: put one there or leave it out",
        ),
        (
            &[],
            &[],
            json!({"gateway": {"token": " "}}),
            "the token of `gateway.token` is empty: put one there or leave it out",
        ),
        (
            &["--token", &long],
            &[],
            json!({}),
            "the token of `--token` is longer than the 1024 characters that clients can send",
        ),
        (
            &[],
            &[],
            json!({"gateway": {"bind": ["example.org"]}}),
            "`gateway.bind` needs an IP address such as 127.0.0.1 or ::1, without a port",
        ),
        (
            &[],
            &[],
            json!({"gateway": {"minClient": "1.0"}}),
            "`gateway.minClient` needs a version such as 1.2.0",
        ),
        (
            &[],
            &[],
            json!({"agent": {"env": {"LD_PRELOAD": "/h/clawdis/lib.so"}}}),
            "`agent.env` names `LD_PRELOAD`, which programs outside of the agent's sandbox would obey too: \
             set it in a script that is the agent's command",
        ),
        (
            &[],
            &[],
            json!({"gateway": {"minClient": "v1.0.0"}}),
            "`gateway.minClient` needs a version such as 1.2.0",
        ),
    ] {
        assert_eq!(error(line, variables, config), text, "{line:?} {variables:?}");
    }
}

#[test]
fn agents_that_are_none() {
    let expected = "needs `pi`, `builtin:echo` or a JSON array of texts (a program and its first arguments)";
    for spec in ["echo", "[]", "[\"\"]", "[\"a\\u0000\"]", "[1]", "{}"] {
        assert_eq!(error(&["--agent", spec], &[], json!({})), format!("`--agent` {expected}"), "{spec}");
    }
    assert_eq!(error(&[], &[("CLAWDIS_AGENT", "{}")], json!({})), format!("`CLAWDIS_AGENT` {expected}"));
    assert_eq!(
        error(&[], &[], json!({"agent": {"command": "claude"}})),
        format!("`agent.command` {expected}")
    );
}

fn read(line: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
    let Ok(Invocation::Run(flags)) = Flags::parse(line.iter().map(OsString::from).collect()) else {
        panic!("{line:?} is no good command line")
    };
    Settings::read(flags, &environment(variables)).map_err(|error| error.to_string())
}

#[test]
fn folders_and_files() {
    let home = std::env::temp_dir().join(format!("clawdis-settings-{}", std::process::id()));
    let state = home.join("state");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("clawdis.json"), r#"{"gateway": {"port": 5, "prot": 6}}"#).unwrap();
    fs::write(state.join("other.json"), r#"{"gateway": {"port": 6}}"#).unwrap();
    fs::write(state.join("token"), "s3cret\n").unwrap();
    fs::write(state.join("blank"), "\n").unwrap();
    let at = |name: &str| state.join(name).to_str().unwrap().to_owned();
    let (home_text, state_text) = (home.to_str().unwrap(), state.to_str().unwrap());

    let settings = read(&["--state-dir", state_text], &[("CLAWDIS_STATE_DIR", "/no")]).ok().unwrap();
    assert_eq!(
        (settings.config.gateway.port, settings.state_dir, settings.secret_files),
        (5, state.clone(), vec![state.join("clawdis.json")])
    );
    assert_eq!(settings.warnings, ["unknown key `/gateway/prot` is ignored; did you mean `port`?"]);

    let variables = [("CLAWDIS_STATE_DIR", state_text), ("CLAWDIS_CONFIG", &at("other.json"))];
    assert_eq!(read(&[], &variables).ok().unwrap().config.gateway.port, 6);
    assert_eq!(read(&["--config", &at("clawdis.json")], &variables).ok().unwrap().config.gateway.port, 5);
    assert!(read(&["--config", &at("none.json")], &variables).err().unwrap().contains("cannot be read"));

    let settings = read(&["--token-file", &at("token")], &variables).ok().unwrap();
    assert!(settings.config.gateway.token.unwrap().matches("s3cret"));
    let blank = read(&["--token-file", &at("blank")], &variables).err().unwrap();
    assert_eq!(blank, "the token of `--token-file` is empty: put one there or leave it out");
    assert!(read(&["--token-file", &at("none")], &variables).err().unwrap().contains("cannot be read"));

    let settings = read(&[], &[("HOME", home_text)]).ok().unwrap();
    assert_eq!(settings.state_dir, home.join(".clawdis"));
    assert!(read(&[], &[]).err().unwrap().contains("`HOME`"));
    let settings = read(&["--state-dir", "relative"], &[]).ok().unwrap();
    assert!(settings.state_dir.is_absolute() && settings.state_dir.ends_with(Path::new("relative")));
    fs::remove_dir_all(&home).unwrap();
}

#[test]
fn the_bots_token_is_read_from_its_file_unless_it_stands_elsewhere() {
    let folder = std::env::temp_dir().join(format!("clawdis-bot-token-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (file, config) = (folder.join("token"), folder.join("clawdis.json"));
    fs::write(&file, "1:file\n").unwrap();
    let token = |telegram: Value, variables: &[(&str, &str)]| {
        fs::write(&config, json!({ "telegram": telegram }).to_string()).unwrap();
        let line = ["--state-dir".into(), folder.clone().into_os_string()];
        let Ok(Invocation::Run(flags)) = Flags::parse(line.into()) else { panic!("a good command line") };
        let read = Settings::read(flags, &environment(variables));
        read.map(|settings| settings.config.telegram.bot_token.map(|token| token.expose().to_owned()))
            .map_err(|error| error.to_string())
    };
    let from_file = || json!({ "botTokenFile": file });
    assert_eq!(token(from_file(), &[]), Ok(Some("1:file".to_owned())));
    assert_eq!(token(from_file(), &[("TELEGRAM_BOT_TOKEN", "1:env")]), Ok(Some("1:env".to_owned())));
    let both = json!({ "botTokenFile": file, "botToken": "1:config" });
    assert_eq!(token(both, &[]), Ok(Some("1:config".to_owned())));
    assert_eq!(token(json!({}), &[]), Ok(None));
    fs::write(&file, "\n").unwrap();
    assert!(token(from_file(), &[]).unwrap_err().contains("telegram.botTokenFile"));
    fs::remove_file(&file).unwrap();
    assert!(token(from_file(), &[]).unwrap_err().contains("cannot be read"));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_would_be_obeyed_outside_of_the_sandbox_is_refused() {
    let obeyed = ["LD_PRELOAD", "LD_AUDIT", "GLIBC_TUNABLES", "LOCPATH", "LOCPATH=/x", "MALLOC_TRACE"];
    let harmless = ["OLD_PRELOAD", "LDFLAGS", "TMPDIR", "TZ", "LOCPATHS", "ld_preload", "PI_OFFLINE"];
    for (name, is_refused) in obeyed.map(|it| (it, true)).into_iter().chain(harmless.map(|it| (it, false))) {
        for sandbox in [Sandbox::Auto, Sandbox::Bwrap, Sandbox::None] {
            let mut given = Agent { sandbox, ..Config::default().agent };
            given.env.insert(name.to_owned(), "x".to_owned());
            let passed = Agent { sandbox, pass_env: vec![name.to_owned()], ..Config::default().agent };
            for (agent, key) in [(given, "`agent.env`"), (passed, "`agent.passEnv`")] {
                let refused = check_agent_variables(&agent).err().map(|error| error.to_string());
                let expected = is_refused && sandbox != Sandbox::None;
                assert_eq!(refused.is_some(), expected, "{name} {sandbox:?}");
                assert!(refused.is_none_or(|said| said.contains(key) && said.contains(name)), "{name}");
            }
        }
    }
}
