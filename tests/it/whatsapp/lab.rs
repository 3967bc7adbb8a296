//! What most tests here start with: the servers, a daemon that is linked to them, and who is who.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::harness::gateway::Builder;
use crate::harness::{Client, Gateway, PATIENCE, eventually, process};
use crate::whatsapp::mock::Mock;

/// The account that the gateway is linked to; the mock's own first one.
pub(crate) const SELF: &str = "+15550009999";
/// The person of `owner.whatsapp`.
pub(crate) const OWNER: &str = "15550002222";
/// Somebody in `whatsapp.allowFrom`.
pub(crate) const FRIEND: &str = "15550001111";
/// Nobody that the config knows.
pub(crate) const STRANGER: &str = "15550006666";
/// A group in `whatsapp.groups`, with everybody in it.
pub(crate) const CLUB: &str = "120363000000000001@g.us";

/// The chat by number.
pub(crate) fn pn(person: &str) -> String {
    format!("{person}@s.whatsapp.net")
}

/// The chat by the number's alias, as the mock gives them.
pub(crate) fn lid(person: &str) -> String {
    format!("2{person:0>14}@lid")
}

/// A daemon between its servers and its clients. It ends before the servers do.
pub(crate) struct Lab {
    pub(crate) gateway: Gateway,
    pub(crate) mock: Mock,
    /// In the environment of this lab's sidecars and of nothing else.
    mark: String,
}

/// A daemon to be, with the people above and without an agent.
fn setup(name: &str, mock: &Mock, mark: &str) -> Builder {
    let mut env = mock.environment();
    env["WHATSAPP_LAB"] = json!(mark);
    let preload = process::repository("tests/mock-whatsapp/trust-preload.mjs");
    Gateway::builder(name).token("a-token-for-whatsapp-labs").config(json!({
        "agent": {"maxProcesses": 3},
        "owner": {"whatsapp": format!("+{OWNER}")},
        "whatsapp": {
            "enabled": true,
            "allowFrom": [format!("+{FRIEND}")],
            "groups": {CLUB: {}},
            "readReceipts": true,
            "sidecar": {"args": ["--import", preload], "env": env},
        },
    }))
}

/// Puts the built sidecar where the gateway looks for it, wherever cargo has put the gateway.
fn install_sidecar(setup: &Builder) {
    let built = process::repository("scripts/whatsapp-sidecar/dist/sidecar.mjs");
    assert!(built.is_file(), "there is no sidecar: scripts/whatsapp-sidecar/install builds it");
    let folder = setup.state_dir().join("whatsapp/program/dist");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).unwrap();
    symlink(built, folder.join("sidecar.mjs")).unwrap();
}

impl Lab {
    /// Linked and ready.
    #[track_caller]
    pub(crate) fn start(name: &str) -> Self {
        Self::with(name, |setup| setup)
    }

    /// The same with something changed.
    #[track_caller]
    pub(crate) fn with(name: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
        let lab = Self::unlinked(name, change);
        lab.link();
        lab
    }

    /// Started, and linked to nothing.
    #[track_caller]
    pub(crate) fn unlinked(name: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
        Self::over(name, |setup| change(setup.agent_scripted()))
    }

    /// The same without the scripted agent.
    #[track_caller]
    pub(crate) fn over(name: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mock = Mock::start();
        let group = CLUB.trim_end_matches("@g.us");
        mock.op(
            "create-group",
            json!({"id": group, "subject": "Club", "members": [OWNER, FRIEND, STRANGER]}),
        );
        let setup = change(setup(name, &mock, &mark));
        install_sidecar(&setup);
        Self { gateway: setup.spawn(), mock, mark }
    }

    /// Links the account by QR and waits until messages flow.
    #[track_caller]
    pub(crate) fn link(&self) {
        let mut client = self.gateway.client();
        let login = begin_login(&mut client, &json!({"channel": "whatsapp"}));
        let qr = shown(&mut client, "qr");
        self.mock.op("scan-qr", json!({ "qr": qr }));
        let end = client.answer(&login);
        assert_eq!(end["payload"]["status"], "linked", "{end}");
        in_state(&mut client, "ready");
    }

    /// A person writes in their own chat; returns the message's id.
    #[track_caller]
    pub(crate) fn text(&self, from: &str, text: &str) -> String {
        self.says(json!({"from": from, "text": text}))
    }

    /// A person writes; returns the message's id.
    #[track_caller]
    pub(crate) fn says(&self, message: Value) -> String {
        self.mock.op("send-text", message)["id"].as_str().unwrap().to_owned()
    }

    /// Asks something as the owner and waits for the answer: everything before it has been seen.
    #[track_caller]
    pub(crate) fn sync(&self) {
        let mark = format!("sync {}", self.mock.seq());
        self.text(OWNER, &format!("[[say {mark}]]"));
        self.mock.said(&lid(OWNER), &mark);
    }

    /// Kills the daemon and starts it again on the same folder.
    #[track_caller]
    pub(crate) fn crash(&mut self) {
        self.gateway.sigkill();
        self.gateway = self.gateway.setup().spawn();
    }

    /// How often the agent was given a prompt with these words.
    pub(crate) fn prompts_with(&self, words: &str) -> usize {
        self.gateway.prompts().iter().map(|prompt| prompt.matches(words).count()).sum()
    }

    /// Processes of the sidecar: its guards and Node.
    pub(crate) fn processes(&self) -> Vec<u32> {
        process::with_environment(&format!("WHATSAPP_LAB={}", self.mark))
    }

    /// The sidecar itself, if it runs.
    pub(crate) fn sidecar(&self) -> Option<u32> {
        let is_node = |pid: &u32| {
            let program = fs::read_link(format!("/proc/{pid}/exe"));
            program.is_ok_and(|program| program.file_name().is_some_and(|name| name == "node"))
        };
        self.processes().into_iter().find(is_node)
    }

    /// Waits for the end of every process of the sidecar.
    #[track_caller]
    pub(crate) fn no_sidecar(&self) {
        eventually("the sidecar's end", PATIENCE, || self.processes().is_empty().then_some(()));
    }

    /// Runs our command-line client.
    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Our command-line client, to be started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let url = format!("ws://{}", self.gateway.addr);
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawdis"));
        command.env_clear().env("HOME", self.gateway.state_dir()).args(["--url", &url]).args(args);
        command.envs(self.gateway.token().map(|token| ("CLAWDIS_GATEWAY_TOKEN", token)));
        command
    }
}

/// Asks for a login and waits until it has begun; returns the request's id.
#[track_caller]
pub(crate) fn begin_login(client: &mut Client, params: &Value) -> String {
    let login = client.send("channel-login", params);
    let answer = client.answer(&login);
    assert_eq!(answer["payload"]["status"], "accepted", "{answer}");
    login
}

/// The next `qr` or `code` that a login shows.
#[track_caller]
pub(crate) fn shown(client: &mut Client, member: &str) -> String {
    let mut event = client.event("channel", |event| event["payload"][member].is_string());
    assert!(event["payload"]["ttlMs"].as_u64().unwrap() > 0, "{event}");
    event["payload"][member].take().as_str().unwrap().to_owned()
}

/// Facts about the channel now.
#[track_caller]
pub(crate) fn channel(client: &mut Client) -> Value {
    client.ask("health", &json!({}))["channels"]["whatsapp"].take()
}

/// Waits until the channel is in a state and returns the facts.
#[track_caller]
pub(crate) fn in_state(client: &mut Client, state: &str) -> Value {
    let mut last = Value::Null;
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < deadline {
        last = channel(client);
        if last["state"] == state {
            return last;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("waited {PATIENCE:?} in vain for whatsapp to be {state}; it is {last}");
}

/// Switches the channel.
#[track_caller]
pub(crate) fn switch(client: &mut Client, on: bool) {
    client.ask("set-channel", &json!({"channel": "whatsapp", "enabled": on}));
}
