//! What most tests here start with: the server, a daemon that polls it, and who is who.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::gateway::Builder;
use crate::harness::{Client, Gateway, PATIENCE, eventually, process};
use crate::telegram::botapi::{BotApi, TOKEN};

/// The person of `owner.telegram`.
pub(crate) const OWNER: i64 = 7;
/// Somebody in `telegram.allowFrom`.
pub(crate) const FRIEND: i64 = 8;
/// Nobody that the config knows.
pub(crate) const STRANGER: i64 = 66;
/// A group in `telegram.groups`.
pub(crate) const CLUB: i64 = -500;
/// A forum in it, with two topics.
pub(crate) const FORUM: i64 = -1_000_600;
pub(crate) const TOPICS: [i64; 2] = [11, 12];

/// A daemon between its server and its clients. It ends before the server looks back.
pub(crate) struct Lab {
    pub(crate) gateway: Gateway,
    pub(crate) api: BotApi,
}

/// A daemon to be, with the scripted agent and the token in the environment. It knows nobody.
pub(crate) fn bare(name: &str, api: &BotApi) -> Builder {
    without_agent(name, api).agent_scripted()
}

/// The same without an agent.
pub(crate) fn without_agent(name: &str, api: &BotApi) -> Builder {
    Gateway::builder(name)
        .token("a-token-for-telegram-labs")
        .env("TELEGRAM_BOT_TOKEN", TOKEN)
        .env("CLAWDIS_TELEGRAM_API_BASE", &api.base())
        .config(json!({"agent": {"maxProcesses": 3}}))
}

/// The same with the people above.
pub(crate) fn setup(name: &str, api: &BotApi) -> Builder {
    bare(name, api).config(json!({
        "owner": {"telegram": OWNER.to_string()},
        "telegram": {
            "allowFrom": [FRIEND.to_string()],
            "groups": {CLUB.to_string(): {}, FORUM.to_string(): {}},
        },
    }))
}

impl Lab {
    /// Polling, with the people above.
    #[track_caller]
    pub(crate) fn start(name: &str) -> Self {
        Self::with(name, |setup| setup)
    }

    /// The same with something changed.
    #[track_caller]
    pub(crate) fn with(name: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
        Self::over(BotApi::start(), |api| change(setup(name, api)))
    }

    /// On a server that has been prepared.
    #[track_caller]
    pub(crate) fn over(api: BotApi, setup: impl FnOnce(&BotApi) -> Builder) -> Self {
        api.with(|world| {
            world.forum(FORUM, &TOPICS);
            for chat in [OWNER, FRIEND, STRANGER, CLUB] {
                world.open(chat);
            }
        });
        let gateway = setup(&api).spawn();
        let lab = Self { gateway, api };
        lab.api.wait("the first poll", |world| (!world.calls("getUpdates").is_empty()).then_some(()));
        lab
    }

    /// A person writes; returns the message's id.
    pub(crate) fn text(&self, chat: i64, from: i64, text: &str) -> i64 {
        self.api.with(|world| world.text(chat, from, text))
    }

    /// The owner writes in their own chat.
    pub(crate) fn owner(&self, text: &str) -> i64 {
        self.text(OWNER, OWNER, text)
    }

    /// Asks something as the owner and waits for the answer: everything before it has been seen.
    #[track_caller]
    pub(crate) fn sync(&self) {
        let before = self.api.with(|world| world.texts(OWNER).len());
        self.owner(&format!("[[say sync {before}]]"));
        let mark = format!("sync {before}");
        self.api.wait("the owner's answer", |world| world.texts(OWNER).contains(&mark).then_some(()));
    }

    /// The same in an agent's own words.
    #[track_caller]
    pub(crate) fn sync_with(&self, question: &str, answer: &str) {
        self.owner(question);
        self.api.wait("the owner's answer", |world| {
            world.texts(OWNER).iter().any(|text| text == answer).then_some(())
        });
    }

    /// Kills the daemon and starts it again on the same folder.
    #[track_caller]
    pub(crate) fn crash(&mut self) {
        self.gateway.sigkill();
        self.gateway = self.gateway.setup().spawn();
    }

    /// Leaves a text for the agent's order `[[file NAME]]`.
    pub(crate) fn agent_file(&self, name: &str, text: &str) {
        fs::write(self.gateway.probe().join(name), text).unwrap();
    }

    /// How often the agent was given a prompt with these words.
    pub(crate) fn prompts_with(&self, words: &str) -> usize {
        self.gateway.prompts().iter().map(|prompt| prompt.matches(words).count()).sum()
    }

    /// Runs our command-line client.
    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        let url = format!("ws://{}", self.gateway.addr);
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawdis"));
        command.env_clear().env("HOME", self.gateway.state_dir()).args(["--url", &url]).args(args);
        command.envs(self.gateway.token().map(|token| ("CLAWDIS_GATEWAY_TOKEN", token)));
        command.output().unwrap()
    }
}

/// Facts about the channel now.
#[track_caller]
pub(crate) fn channel(client: &mut Client) -> Value {
    client.ask("health", &json!({}))["channels"]["telegram"].take()
}

/// Waits until the channel is in a state and returns the facts.
#[track_caller]
pub(crate) fn in_state(client: &mut Client, state: &str) -> Value {
    let mut last = Value::Null;
    let found = eventually(&format!("telegram to be {state}"), PATIENCE, || {
        last = channel(client);
        (last["state"] == state).then(|| last.clone())
    });
    assert_ne!(found["reason"], "", "{found}");
    found
}

/// Waits for the session to have an entry for which `wanted` says yes, and returns its history.
#[track_caller]
pub(crate) fn history(
    client: &mut Client,
    session: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Vec<Value> {
    eventually(&format!("{what} in the history of {session}"), PATIENCE, || {
        let page = client.ask("session-history", &json!({"sessionKey": session, "limit": 200}));
        let messages = page["messages"].as_array().unwrap().clone();
        messages.iter().any(&wanted).then_some(messages)
    })
}

/// A daemon that sees its files as `script` has mounted them.
pub(crate) fn mounted(setup: Builder, script: &str) -> Builder {
    let script = format!("{script} && exec \"$@\"");
    let mut wrapper = process::mount_namespace();
    wrapper.extend(["sh", "-c", &script, "sh"].map(str::to_owned));
    setup.wrapper(wrapper.iter().map(String::as_str))
}
