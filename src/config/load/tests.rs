//! Config files as people write them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{drop_unknown, read_token, schema};
use crate::config::file::{Command, Commands, Config, Group, Sandbox};
use crate::limits::{CONFIG_BYTES_MAX, CONFIG_WARNINGS_MAX, PORT_DEFAULT, TICK_INTERVAL_MS_DEFAULT};
use crate::protocol::call::Thinking;

/// A file that goes away with the test.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str, text: &str, mode: u32) -> Self {
        let path = std::env::temp_dir().join(format!("clawdis-config-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Self(path)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn load(name: &str, text: &str) -> Result<(Config, Vec<String>), String> {
    let file = TestFile::new(name, text, 0o600);
    let shown = file.0.display().to_string();
    Config::load(&file.0, true).map_err(|error| error.to_string().replace(&shown, "F"))
}

fn error(name: &str, text: &str) -> String {
    load(name, text).err().unwrap()
}

#[test]
fn missing_file() {
    let path = PathBuf::from("/nonexistent/clawdis.json");
    let (config, warnings) = Config::load(&path, false).ok().unwrap();
    assert_eq!((config.gateway.port, warnings), (18_789, Vec::new()));
    let error = Config::load(&path, true).err().unwrap().to_string();
    assert!(error.starts_with("`/nonexistent/clawdis.json` cannot be read: No such file"), "{error}");
    let folder = Config::load(&std::env::temp_dir(), false).err().unwrap().to_string();
    assert!(folder.contains("cannot be read"), "{folder}");
}

#[test]
fn every_member_arrives() {
    let text = json!({
        "gateway": {"port": 1.0, "bind": ["::1"], "token": " t\n", "allowedHosts": ["h"], "allowedOrigins": ["o"], "mediaHosts": ["m"],
                    "minClient": "1.2.3", "maxClients": 9, "tickIntervalMs": 100},
        "owner": {"telegram": "1", "whatsapp": "+2"},
        "agent": {"command": ["p", "q"], "cwd": "/c", "env": {"A": "b"}, "passEnv": ["E"], "model": "m", "thinking": "high",
                  "timeoutSeconds": 1, "idleTimeoutSeconds": 2, "startTimeoutSeconds": 3, "warmSeconds": 4, "maxProcesses": 5,
                  "queue": 6, "idleMinutes": 7, "sandbox": "bwrap", "dailyRuns": 8, "dailyRunsPerPerson": 9},
        "heartbeat": {"everyMinutes": 5, "prompt": "p", "channel": "telegram", "to": "1"},
        "telegram": {"enabled": false, "botToken": "b", "botTokenFile": "f", "apiBase": "http://a", "allowFrom": ["1"],
                     "groups": {"-1": {"requireMention": false, "allowFrom": ["2"]}, "-2": {}}, "proxy": "x", "mediaMaxMb": 1, "maxAgeMinutes": 2},
        "whatsapp": {"enabled": true, "allowFrom": ["+1"], "groups": {"j": {"requireMention": false}}, "selfChat": true,
                     "readReceipts": false, "proxy": "x", "mediaMaxMb": 1, "maxAgeMinutes": 2,
                     "sidecar": {"node": "n", "args": ["a"], "env": {"A": "b"}}},
        "storage": {"retentionDays": 1, "maxMb": 16},
    });
    let (config, warnings) = load("whole", &text.to_string()).ok().unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    let Config { gateway, owner, agent, heartbeat, telegram, whatsapp, storage } = config;
    assert!(gateway.token.unwrap().matches("t"));
    assert_eq!(
        (gateway.port, gateway.bind, gateway.allowed_hosts),
        (1, vec!["::1".to_owned()], vec!["h".to_owned()])
    );
    assert_eq!((gateway.allowed_origins, gateway.min_client), (vec!["o".to_owned()], "1.2.3".to_owned()));
    assert_eq!(gateway.media_hosts, ["m"]);
    assert_eq!((gateway.max_clients, gateway.tick_interval_ms), (9, 100));
    assert_eq!((owner.telegram.as_deref(), owner.whatsapp.as_deref()), (Some("1"), Some("+2")));
    assert_eq!(agent.command, Some(Command::Argv(vec!["p".to_owned(), "q".to_owned()])));
    assert_eq!(
        (agent.cwd.as_deref(), agent.env["A"].as_str(), agent.pass_env),
        (Some("/c"), "b", vec!["E".to_owned()])
    );
    assert_eq!(
        (agent.model.as_deref(), agent.thinking, agent.sandbox),
        (Some("m"), Thinking::High, Sandbox::Bwrap)
    );
    assert_eq!((agent.timeout_seconds, agent.idle_timeout_seconds, agent.start_timeout_seconds), (1, 2, 3));
    assert_eq!((agent.warm_seconds, agent.max_processes, agent.queue, agent.idle_minutes), (4, 5, 6, 7));
    assert_eq!((agent.daily_runs, agent.daily_runs_per_person), (8, 9));
    assert_eq!(
        (heartbeat.every_minutes, heartbeat.prompt.as_deref(), heartbeat.to.as_deref()),
        (5, Some("p"), Some("1"))
    );
    assert!(heartbeat.channel.is_some());
    assert!(telegram.bot_token.unwrap().matches("b"));
    assert_eq!(
        (telegram.enabled, telegram.bot_token_file.as_deref(), telegram.api_base.as_str()),
        (Some(false), Some("f"), "http://a")
    );
    assert!(!telegram.groups["-1"].require_mention && telegram.groups["-2"].require_mention);
    assert_eq!((telegram.allow_from, telegram.proxy.as_deref()), (vec!["1".to_owned()], Some("x")));
    assert_eq!((telegram.media_max_mb, telegram.max_age_minutes), (1, 2));
    assert_eq!((whatsapp.enabled, whatsapp.self_chat, whatsapp.read_receipts), (true, true, false));
    assert!(!whatsapp.groups["j"].require_mention);
    assert_eq!(
        (whatsapp.sidecar.node.as_deref(), whatsapp.sidecar.args, whatsapp.sidecar.env["A"].as_str()),
        (Some("n"), vec!["a".to_owned()], "b")
    );
    assert_eq!((storage.retention_days, storage.max_mb), (1, 16));
}

#[test]
fn bad_files() {
    assert_eq!(
        error("comma", "{\n  \"gateway\": {},\n}"),
        "`F` is not JSON: trailing comma at line 3 column 1"
    );
    assert_eq!(error("empty", ""), "`F` is not JSON: EOF while parsing a value at line 1 column 0");
    assert_eq!(error("list", "[]"), "`F`: `/`: value is not of type \"object\"");
    assert_eq!(
        error("type", r#"{"gateway": {"port": "18789"}}"#),
        "`F`: `/gateway/port`: value is not of type \"integer\""
    );
    assert_eq!(
        error("secret", r#"{"gateway": {"token": ["s3cret"]}}"#),
        "`F`: `/gateway/token`: value is not of type \"string\""
    );
    let long = " ".repeat(usize::try_from(CONFIG_BYTES_MAX).unwrap() + 1);
    assert_eq!(error("long", &long), "`F` is larger than 1048576 bytes: is it the right file?");
    assert!(load("as-long-as-allowed", &long[3..].replacen(' ', "{}", 1)).is_ok());
}

fn unknown_keys(config: &Value) -> Vec<String> {
    let (schema, mut warnings) = (schema(), Vec::new());
    drop_unknown(&mut config.clone(), &schema, &schema, "", &mut warnings);
    warnings
}

#[test]
fn unknown_keys_warn() {
    let (_, warnings) = load("unknown", r#"{"agent": {"comand": "pi"}}"#).ok().unwrap();
    assert_eq!(warnings, ["unknown key `/agent/comand` is ignored; did you mean `command`?"]);
    // Also one that another section has, whatever stands behind it.
    for value in ["\"*\"", "null", "[15550001111]", "[\"15550001111\"]"] {
        let text = format!(r#"{{"whatsapp": {{"groups": {{"1@g.us": {{"allowFrom": {value}}}}}}}}}"#);
        let (config, warnings) = load("unknown-in-group", &text).ok().unwrap();
        assert_eq!(warnings, ["unknown key `/whatsapp/groups/1@g.us/allowFrom` is ignored"], "{value}");
        assert!(config.whatsapp.groups["1@g.us"].allow_from.is_empty());
    }
}

#[test]
fn tokens_that_others_may_read_warn() {
    let with_token = r#"{"gateway": {"token": "t"}}"#;
    for (text, mode, warns) in [
        (with_token, 0o600, false),
        (with_token, 0o640, true),
        (with_token, 0o604, true),
        ("{}", 0o644, false),
    ] {
        let file = TestFile::new(&format!("mode-{mode:o}"), text, mode);
        let (_, warnings) = Config::load(&file.0, true).ok().unwrap();
        let shown = file.0.display();
        let expected =
            format!("`{shown}` holds a token and other users may read it: run `chmod 600 '{shown}'`");
        assert_eq!(warnings, if warns { vec![expected] } else { Vec::new() }, "{mode:o}");
    }
}

#[test]
fn token_files() {
    let file = TestFile::new("token", "s3cret\n", 0o644);
    let (token, warning) = read_token(&file.0).ok().unwrap();
    assert!(token.matches("s3cret") && warning.unwrap().contains("chmod 600"));
    let file = TestFile::new("token-long", &"x".repeat(9_000), 0o600);
    assert!(read_token(&file.0).err().unwrap().to_string().contains("larger than 8192 bytes"));
    assert!(read_token(&PathBuf::from("/nonexistent")).err().unwrap().to_string().contains("cannot be read"));
}

#[test]
fn what_is_not_there_is_as_the_schema_says() {
    let (config, _) =
        load("defaults", r#"{"telegram": {"groups": {"-1": {}, "-2": {"commands": "all"}}}}"#).ok().unwrap();
    for config in [&config, &Config::default()] {
        let (gateway, agent) = (&config.gateway, &config.agent);
        assert_eq!((gateway.port, &*gateway.bind), (PORT_DEFAULT, &["127.0.0.1".to_owned()][..]));
        assert_eq!((gateway.max_clients, gateway.tick_interval_ms), (2_048, TICK_INTERVAL_MS_DEFAULT));
        assert!(gateway.token.is_none() && gateway.allowed_hosts.is_empty() && gateway.min_client == "0.0.0");
        assert_eq!((agent.sandbox, agent.thinking, agent.queue), (Sandbox::Auto, Thinking::Off, 32));
        assert_eq!((agent.timeout_seconds, agent.idle_timeout_seconds), (600, 180));
        assert!(agent.command.is_none() && agent.env.is_empty());
        assert_eq!(agent.hidden, ["~/.ssh", "~/.gnupg"]);
        assert!(config.telegram.enabled.is_none() && !config.whatsapp.enabled);
        assert!(config.whatsapp.read_receipts && !config.whatsapp.self_chat);
        assert_eq!((config.whatsapp.media_max_mb, config.telegram.max_age_minutes), (20, 1_440));
        assert_eq!((config.storage.retention_days, config.storage.max_mb), (90, 512));
        assert_eq!(config.heartbeat.every_minutes, 0);
    }
    for (group, commands) in [("-1", Commands::Asker), ("-2", Commands::All)] {
        let group = &config.telegram.groups[group];
        assert!(group.require_mention && group.allow_from.is_empty() && group.commands == commands);
        assert_eq!(group.require_mention, Group::default().require_mention);
    }
}

#[test]
fn the_most_processes_that_the_schema_allows_are_those_that_the_queues_are_made_for() {
    let schema: Value = serde_json::from_str(include_str!("../../../schemas/config.schema.json")).unwrap();
    let most = &schema["properties"]["agent"]["properties"]["maxProcesses"]["maximum"];
    assert_eq!(most, &json!(crate::limits::AGENT_PROCESSES_MAX));
}

#[test]
fn groups_have_the_careful_rule_unless_told() {
    assert_eq!(Group::default().commands, Commands::Asker);
    for (name, commands) in [("asker", Commands::Asker), ("owner", Commands::Owner), ("all", Commands::All)] {
        let text = json!({"whatsapp": {"groups": {"1@g.us": {"commands": name}}}}).to_string();
        let (config, _) = load(&format!("group-{name}"), &text).ok().unwrap();
        assert_eq!(config.whatsapp.groups["1@g.us"].commands, commands);
    }
}

#[test]
fn names_the_nearest_key() {
    let config = json!({
        "$schema": "x",
        "gatway": {},
        "gateway": {"prot": 1, "port": 1, "xyzzy": 1},
        "agent": {"env": {"ANY": "x"}, "timeout": 5, "timeoutSecond": 5},
        "telegram": {"groups": {"-100": {"requireMentions": false}}},
        "whatsapp": {"sidecar": {"nod": "/x", "env": {"ANY": "x"}}},
    });
    assert_eq!(
        unknown_keys(&config),
        [
            "unknown key `/agent/timeout` is ignored",
            "unknown key `/agent/timeoutSecond` is ignored; did you mean `timeoutSeconds`?",
            "unknown key `/gateway/prot` is ignored; did you mean `port`?",
            "unknown key `/gateway/xyzzy` is ignored",
            "unknown key `/gatway` is ignored; did you mean `gateway`?",
            "unknown key `/telegram/groups/-100/requireMentions` is ignored; did you mean `requireMention`?",
            "unknown key `/whatsapp/sidecar/nod` is ignored; did you mean `node`?",
        ]
    );
}

#[test]
fn warnings_are_bounded() {
    let config: serde_json::Map<_, _> = (0..1_000).map(|i| (format!("{i}"), json!(1))).collect();
    assert_eq!(unknown_keys(&config.into()).len(), CONFIG_WARNINGS_MAX);
}
