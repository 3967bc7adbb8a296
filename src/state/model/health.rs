//! Health: what is well and what is not, put together from what the other threads report. Pure.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::protocol::call::Channel;
use crate::protocol::payload::{AgentHealth, ChannelHealth, Health, StorageHealth, Toggles};
use crate::state::model::access::ChannelsConfig;
use crate::state::model::runs::Runs;

pub(crate) struct HealthBoard {
    pub(crate) channels: BTreeMap<Channel, ChannelHealth>,
    agent_configured: bool,
    /// The sandbox that agents run in, and why there is none where it is `none`.
    pub(crate) sandbox: (&'static str, Option<String>),
    /// Why agent processes cannot be started.
    pub(crate) agent_trouble: Option<String>,
    pub(crate) storage: StorageHealth,
    pub(crate) version: u64,
    /// The health that clients were last told, without counts and times.
    told: Option<Health>,
    /// Something may have changed since `told`.
    pub(crate) stale: bool,
    /// The answer to `health`, as of one millisecond: pollers get the same text.
    pub(crate) encoded: Option<(u64, Box<RawValue>)>,
}

const UNCONFIGURED: &str =
    "no agent is configured: start with --agent pi, or set agent.command in the config";
const UNTRIED: &str = "bubblewrap is still being tried; no agent starts before that is done";

impl HealthBoard {
    pub(crate) fn new(agent_configured: bool, config: &ChannelsConfig) -> Self {
        // That holds until the channels thread has said what it knows.
        let unknown = |channel| {
            let configured = config.by_channel.get(&channel).is_some_and(|it| it.configured);
            let health = ChannelHealth { configured, state: "off".to_owned(), ..ChannelHealth::default() };
            (channel, health)
        };
        Self {
            channels: Channel::ALL.map(unknown).into(),
            agent_configured,
            sandbox: ("none", agent_configured.then(|| UNTRIED.to_owned())),
            agent_trouble: None,
            storage: StorageHealth { ok: true, reason: None, used_bytes: 0, free_bytes: 0 },
            version: 1,
            told: None,
            stale: true,
            encoded: None,
        }
    }

    /// Notes that a message came in or went out. What else is known of a channel it reports itself.
    pub(crate) fn saw_message(&mut self, channel: Channel, now_ts: u64) {
        if let Some(health) = self.channels.get_mut(&channel) {
            health.last_message_ts = Some(now_ts);
            self.encoded = None;
        }
    }

    /// Takes over what a channel reports of itself; the time of its last message is known only here.
    pub(crate) fn set_channel(&mut self, channel: Channel, mut health: ChannelHealth) {
        health.last_message_ts = self.channels.get(&channel).and_then(|before| before.last_message_ts);
        self.channels.insert(channel, health);
        self.touch();
    }

    /// Notes that something that health is made of may have changed.
    pub(crate) fn touch(&mut self) {
        self.stale = true;
        self.encoded = None;
    }

    /// The whole health, as of now.
    pub(crate) fn snapshot(&self, wall_ms: u64, toggles: &Toggles, runs: &Runs) -> Health {
        let agent = self.agent(toggles, runs);
        let channels_ok = self
            .channels
            .values()
            .all(|channel| !channel.configured || !channel.enabled || channel.state == "ready");
        Health {
            ok: self.storage.ok && channels_ok && self.agent_trouble.is_none(),
            ts: wall_ms,
            channels: self.channels.clone(),
            agent,
            storage: self.storage.clone(),
            paused: toggles.paused,
        }
    }

    fn agent(&self, toggles: &Toggles, runs: &Runs) -> AgentHealth {
        let (state, reason) = if !self.agent_configured {
            ("unconfigured", Some(UNCONFIGURED.to_owned()))
        } else if toggles.paused {
            ("paused", Some("everything is paused; `clawdis resume` lets the agent run again".to_owned()))
        } else if let Some(trouble) = &self.agent_trouble {
            ("failing", Some(trouble.clone()))
        } else if runs.active() > 0 {
            ("busy", None)
        } else {
            ("idle", None)
        };
        AgentHealth {
            configured: self.agent_configured,
            state: state.to_owned(),
            reason,
            active: runs.active(),
            queued: runs.waiting(),
            sandbox: self.sandbox.0.to_owned(),
            sandbox_reason: self.sandbox.1.clone(),
        }
    }

    /// Whether something became well or unwell since this was last asked.
    pub(crate) fn changed(&mut self, health: &Health) -> bool {
        // Counts and times move all the time; only a change of state is worth an event.
        let mut bare = health.clone();
        bare.ts = 0;
        (bare.agent.active, bare.agent.queued) = (0, 0);
        (bare.storage.used_bytes, bare.storage.free_bytes) = (0, 0);
        for channel in bare.channels.values_mut() {
            (channel.last_frame_ts, channel.last_message_ts) = (None, None);
        }
        if self.told.as_ref() == Some(&bare) {
            return false;
        }
        let first = self.told.replace(bare).is_none();
        if !first {
            self.version += 1;
        }
        !first
    }
}
