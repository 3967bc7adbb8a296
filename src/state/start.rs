//! Makes the state of a new gateway out of what its last life left in the journal.
//!
//! Each part of the model takes over its own slots; here is only which slot goes to which part, and what follows
//! from all of them together.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::clock::Now;
use crate::limits::EXPIRY_STEADY_TIME;
use crate::protocol::SERVER_VERSION;
use crate::protocol::payload::{Message, PresenceEntry, Role, Toggles};
use crate::state::journal::Journal;
use crate::state::model::access::Access;
use crate::state::model::budget::Today;
use crate::state::model::forgetting::Forgetting;
use crate::state::model::group_context::GroupContext;
use crate::state::model::health::HealthBoard;
use crate::state::model::heartbeats::Heartbeats;
use crate::state::model::inbox::Inbox;
use crate::state::model::keys::{KeyRecord, Keys};
use crate::state::model::logins::Logins;
use crate::state::model::outbox::Outbox;
use crate::state::model::presence::Presence;
use crate::state::model::runs::Runs;
use crate::state::model::sessions::{Session, Sessions};
use crate::state::model::slot::Slot;
use crate::state::model::system_notes::SystemNotes;
use crate::state::model::warnings::Warnings;
use crate::state::model::write_buffer::WriteBuffer;
use crate::state::model::{keys, recovery_bounds};
use crate::state::{Effect, State, StateConfig};
use crate::store::Recovered;

/// Whether the state folder is older than the rule that agents work in a folder of their own, so that they go
/// on working in the home.
pub(crate) fn keeps_home(recovered: &Recovered) -> bool {
    // What a damaged journal does not say is no reason to give the agent more.
    let says_nothing = recovered.is_damaged || recovered.slots.is_empty();
    !says_nothing && !has_work_folder(recovered)
}

/// The cursors from which the channels go on, by their names.
pub(crate) fn cursors(recovered: &Recovered) -> BTreeMap<String, String> {
    let cursors = recovered.slots.iter().filter_map(|(name, value)| match name.parse() {
        Ok(Slot::Cursor(cursor)) => Some((cursor, value.clone())),
        _ => None,
    });
    cursors.collect()
}

fn has_work_folder(recovered: &Recovered) -> bool {
    recovered.slots.contains_key(&Slot::WorkFolder.to_string())
}

impl State {
    /// Starts from what was recovered. The effects put on record which runs were interrupted.
    pub(crate) fn new(config: StateConfig, recovered: Recovered, now: Now) -> (Self, Vec<Effect>) {
        let own = PresenceEntry {
            host: config.host.clone(),
            ip: config.ip.clone(),
            version: SERVER_VERSION.to_owned(),
            mode: "gateway".to_owned(),
            last_input_seconds: None,
            ts: now.wall_ms,
            reason: Some("self".to_owned()),
            tags: None,
            instance_id: format!("gateway-{}", config.boot_id),
        };
        let mut state = Self {
            health: HealthBoard::new(config.agent_configured, &config.channels),
            warnings: Warnings::default(),
            access: Access::new(config.channels.clone()),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            group_context: GroupContext::default(),
            channels_stale: true,
            channels_due: None,
            logins: Logins::default(),
            sessions: Sessions::new(&config.boot_id),
            started: now.mono,
            now,
            clients: BTreeMap::new(),
            token: 0,
            presence: Presence::new(own),
            toggles: Toggles { heartbeats: config.heartbeat.every.is_some(), ..Toggles::default() },
            keys: Keys::default(),
            runs: Runs::default(),
            system_notes: SystemNotes::default(),
            today: Today::default(),
            heartbeats: Heartbeats::new(config.heartbeat.clone()),
            forgetting: Forgetting::default(),
            expiry_due: now.mono + EXPIRY_STEADY_TIME,
            expiry_planned: now,
            writes: WriteBuffer::default(),
            journal: Journal::default(),
            channel_commands: 0,
            next_tick: None,
            fanout: Duration::ZERO,
            stopping: None,
            effects: Vec::new(),
            config,
        };
        for warning in std::mem::take(&mut state.config.warnings) {
            state.warn(warning);
        }
        if recovered.is_damaged {
            // What the damaged lines said may have been "paused".
            log::error!(
                "the gateway starts paused because its records were damaged; `clawdis resume` when you have looked"
            );
            state.toggles.paused = true;
        }
        state.recover(recovered);
        let enabled = state.toggles.heartbeats;
        state.heartbeats.resume(enabled, now);
        // So that `/readyz` tells the truth from the first connection on.
        state.settle_health();
        let effects = std::mem::take(&mut state.effects);
        (state, effects)
    }

    /// The toggles that were recovered, for the channels' start.
    pub(crate) fn toggles(&self) -> &Toggles {
        &self.toggles
    }

    fn recover(&mut self, mut recovered: Recovered) {
        let is_thinned = recovery_bounds::apply_bounds(&mut recovered.slots);
        let mut interrupted = Vec::new();
        // Only where nothing is lost, and something there, does a slot that is missing tell anything.
        let is_whole = !recovered.is_damaged && !is_thinned && !recovered.slots.is_empty();
        let sending = self.recover_channels(&recovered.slots);
        if !keeps_home(&recovered) && !has_work_folder(&recovered) {
            self.writes.put(&Slot::WorkFolder, &true);
        }
        for (name, json) in recovered.slots {
            match name.parse() {
                Ok(Slot::Toggles) => self.recover_toggles(&name, &json),
                Ok(Slot::Today) => self.today = parse(&name, &json).unwrap_or_default(),
                Ok(Slot::SystemNote(number)) => {
                    self.system_notes.recover(number, parse(&name, &json).unwrap_or_default());
                }
                Ok(Slot::Heartbeat) => self.heartbeats.recover(&json),
                Ok(Slot::Forget(key)) => self.forgetting.recover(&key),
                Ok(Slot::Session(key)) => {
                    if let Some(session) = parse::<Session>(&name, &json) {
                        self.sessions.recover(&key, session);
                    }
                }
                Ok(Slot::Key(key)) => {
                    let Some(record) = parse::<KeyRecord>(&name, &json) else { continue };
                    let goes_on = sending.contains(&key);
                    let writes = &mut self.writes;
                    if let Some(record) = self.keys.recover(&key, record, goes_on, self.now, writes) {
                        interrupted.push((key, record));
                    }
                }
                _ => {}
            }
        }
        if recovered.is_damaged {
            // In the first commit, because the store drops the damaged lines with it.
            self.put_toggles();
        }
        self.keys.recovered();
        self.access.settle_owner(is_whole, &mut self.writes);
        self.warn_of_implied_owner();
        self.forget_more();
        self.resume_channels();
        if !interrupted.is_empty() {
            log::warn!("runs were interrupted when the gateway last stopped; their sessions say so");
        }
        for (key, record) in interrupted {
            self.note_interruption(&key, &record);
        }
        self.commit_any();
    }

    fn recover_toggles(&mut self, name: &str, json: &str) {
        let paused = self.toggles.paused;
        self.toggles = parse(name, json).unwrap_or_else(|| {
            log::error!(
                "the gateway starts paused, for that may have said so; `clawdis resume` when you have looked"
            );
            Toggles { paused: true, ..Toggles::default() }
        });
        self.toggles.paused |= paused;
    }

    fn note_interruption(&mut self, key: &str, record: &KeyRecord) {
        let text = "interrupted: the gateway was stopped while this ran; it is not repeated".to_owned();
        let message = Message {
            run_id: Some(record.run_id.to_string()),
            idempotency_key: Some(keys::of_client(key).to_owned()),
            ..Message::new(Role::Note, text, self.now.wall_ms)
        };
        self.sessions.append_to_current(&record.session_key, message, &mut self.writes);
    }
}

fn parse<T: DeserializeOwned>(slot: &str, json: &str) -> Option<T> {
    serde_json::from_str(json)
        .map_err(|error| log::error!("slot {slot:?} of the journal is not understood and left out: {error}"))
        .ok()
}
