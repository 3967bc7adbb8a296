//! Makes the state of a new gateway out of what its last life left in the journal.
//!
//! Each part of the model takes over its own slots; here is only which slot goes to which part, and what follows
//! from all of them together.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Now;
use crate::limits::EXPIRY_STEADY_TIME;
use crate::protocol::SERVER_VERSION;
use crate::protocol::payload::{Message, PresenceEntry, Role, Toggles};
use crate::state::model::budget::Today;
use crate::state::model::heartbeats::Heartbeats;
use crate::state::model::keys::KeyRecord;
use crate::state::model::slot::Slot;
use crate::state::model::{keys, recovery_bounds};
use crate::state::{
    Access, Forgetting, GroupContext, HealthBoard, Inbox, Journal, Keys, Logins, Outbox, Presence, Runs,
    Sessions, State, StateConfig, SystemNotes, WriteBuffer,
};
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
    let cursors = recovered.slots.iter().filter_map(|(name, value)| match Slot::from_name(name) {
        Some(Slot::Cursor(cursor)) => Some((cursor, value.clone())),
        _ => None,
    });
    cursors.collect()
}

fn has_work_folder(recovered: &Recovered) -> bool {
    recovered.slots.contains_key(&Slot::WorkFolder.to_string())
}

impl State {
    /// Makes the state out of what was recovered. Its first effects put on record what follows from it, such as which
    /// runs were interrupted.
    pub(crate) fn new(config: StateConfig, recovered: Recovered, now: Now) -> Self {
        let own = PresenceEntry {
            host: config.host.clone(),
            ip: config.ip.clone(),
            version: SERVER_VERSION.to_owned(),
            mode: "gateway".to_owned(),
            ts: now.wall_ms,
            reason: Some("self".to_owned()),
            instance_id: format!("gateway-{}", config.boot_id),
            ..PresenceEntry::default()
        };
        let mut state = Self {
            health: HealthBoard::new(config.agent_configured, &config.channels),
            warnings: BTreeMap::new(),
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
            toggles: Toggles { heartbeats: config.heartbeat.every_minutes > 0, ..Toggles::default() },
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
        state
    }

    /// The toggles that were recovered, for the channels' start.
    pub(crate) fn toggles(&self) -> &Toggles {
        &self.toggles
    }

    fn recover(&mut self, mut recovered: Recovered) {
        let is_thinned = recovery_bounds::apply_bounds(&mut recovered.slots);
        // Only where nothing is lost, and something there, does a slot that is missing tell anything.
        let is_whole = !recovered.is_damaged && !is_thinned && !recovered.slots.is_empty();
        if !keeps_home(&recovered) && !has_work_folder(&recovered) {
            self.writes.put(&Slot::WorkFolder, &true);
        }
        let mut keys = Vec::new();
        for (name, json) in &recovered.slots {
            let Some(slot) = Slot::from_name(name) else { continue };
            let is_toggles = slot == Slot::Toggles;
            if let Err(error) = self.recover_slot(slot, json, &mut keys) {
                log::error!("slot {name:?} of the journal is not understood and left out: {error}");
                if is_toggles {
                    log::error!(
                        "the gateway starts paused, for that may have said so; `clawdis resume` when you have looked"
                    );
                    self.toggles = Toggles { paused: true, ..Toggles::default() };
                }
            }
        }
        let interrupted = self.recover_keys(keys);
        if recovered.is_damaged {
            // That they are paused goes on record with the first commit, because the store drops the damaged lines
            // with it.
            self.put_toggles();
        }
        self.access.settle_owner(is_whole, &mut self.writes);
        self.warn_of_implied_owner();
        self.forget_more();
        self.resume_channels();
        if !interrupted.is_empty() {
            log::warn!("runs were interrupted when the gateway last stopped; their sessions say so");
        }
        for (key, record) in interrupted {
            let text = "interrupted: the gateway was stopped while this ran; it is not repeated".to_owned();
            let note = Message {
                run_id: Some(record.run_id.to_string()),
                idempotency_key: Some(keys::of_client(&key).to_owned()),
                ..Message::new(Role::Note, text, self.now.wall_ms)
            };
            self.sessions.append_to_current(&record.session_key, note, &mut self.writes);
        }
        self.commit_any();
    }

    /// Leads a slot to the part of the model that takes it over. The idempotency keys are gathered in `keys`: what
    /// becomes of one depends on the outbox.
    fn recover_slot(
        &mut self,
        slot: Slot,
        json: &str,
        keys: &mut Vec<(String, KeyRecord)>,
    ) -> Result<(), serde_json::Error> {
        match slot {
            Slot::Toggles => {
                let paused = self.toggles.paused;
                self.toggles = serde_json::from_str(json)?;
                self.toggles.paused |= paused;
            }
            Slot::Today => self.today = serde_json::from_str(json)?,
            Slot::SystemNote(number) => {
                let text = serde_json::from_str(json);
                // Also one that is not understood, so that its slot goes with the others.
                self.system_notes.recover(number, text.as_ref().cloned().unwrap_or_default());
                text?;
            }
            Slot::Heartbeat => self.heartbeats.recover(json),
            Slot::Forget(key) => self.forgetting.recover(key),
            Slot::Session(key) => self.sessions.recover(&key, serde_json::from_str(json)?),
            Slot::Key(key) => keys.push((key, serde_json::from_str(json)?)),
            Slot::Inbox(channel, key) => {
                self.inbox.recover(channel, key, json, self.now.mono, &mut self.writes)?;
            }
            Slot::Aside(channel, key) => self.inbox.aside.push_back((channel, key)),
            Slot::Delivery(id) => self.outbox.recover(id, json, self.now)?,
            Slot::DeliveryParts(id) => self.outbox.recover_parts(id, json)?,
            slot => self.access.recover(slot, json)?,
        }
        Ok(())
    }

    /// Takes over the idempotency keys, when the outbox is known. Returns those of runs that were interrupted.
    fn recover_keys(&mut self, keys: Vec<(String, KeyRecord)>) -> Vec<(String, KeyRecord)> {
        let mut interrupted = Vec::new();
        for (key, record) in keys {
            let goes_on = record.outcome.is_none() && self.outbox.with_key(&key).is_some();
            if let Some(record) = self.keys.recover(&key, record, goes_on, self.now, &mut self.writes) {
                interrupted.push((key, record));
            }
        }
        interrupted
    }
}
