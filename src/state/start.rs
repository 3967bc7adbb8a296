//! What the gateway's last life left behind becomes the state of this one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::clock::Now;
use crate::limits::EXPIRY_STEADY_TIME;
use crate::protocol::SERVER_VERSION;
use crate::protocol::payload::{Message, PresenceEntry, Role, Toggles};
use crate::state::journal::{Pending, PendingWrites};
use crate::state::model::access::Access;
use crate::state::model::budget::Today;
use crate::state::model::forgetting::Forgetting;
use crate::state::model::group_context::Overheard;
use crate::state::model::health::HealthBoard;
use crate::state::model::heartbeats::Heartbeats;
use crate::state::model::inbox::Inbox;
use crate::state::model::keys::{KeyRecord, Keys};
use crate::state::model::logins::Logins;
use crate::state::model::outbox::Outbox;
use crate::state::model::presence::Presence;
use crate::state::model::runs::Runs;
use crate::state::model::sessions::{Session, Sessions};
use crate::state::model::system_notes::{self, Notes};
use crate::state::model::warnings::Warnings;
use crate::state::model::{budget, forgetting, heartbeats, keys, recovery_bounds, sessions, switch};
use crate::state::{Effect, State, StateConfig};
use crate::store::{Recovered, StoreOp};

/// Slot of every state folder since agents have a working folder of their own.
const WORK_FOLDER_SLOT: &str = "work-folder";

/// Whether the state folder is from before that, so that the agent goes on working in the home.
pub(crate) fn keeps_home(recovered: &Recovered) -> bool {
    // What a damaged journal does not say is no reason to give the agent more.
    let says_nothing = recovered.damaged || recovered.slots.is_empty();
    !says_nothing && !recovered.slots.contains_key(WORK_FOLDER_SLOT)
}

impl State {
    /// Starts from what was recovered. The effects store what is known about interrupted runs.
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
            health: HealthBoard::new(&config),
            warnings: Warnings::default(),
            access: Access::new(config.surfaces.clone()),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            overheard: Overheard::default(),
            surfaces_stale: true,
            surfaces_due: None,
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
            notes: Notes::default(),
            today: Today::default(),
            heartbeats: Heartbeats::new(config.heartbeat.clone()),
            forgetting: Forgetting::default(),
            expiry_due: now.mono + EXPIRY_STEADY_TIME,
            expiry_planned: now,
            pending: PendingWrites::default(),
            unsaved: Vec::new(),
            tickets: 0,
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
        if recovered.damaged {
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

    /// The toggles as they were recovered.
    pub(crate) fn toggles(&self) -> &Toggles {
        &self.toggles
    }

    fn recover(&mut self, mut recovered: Recovered) {
        let is_thinned = recovery_bounds::thin(&mut recovered.slots);
        let mut ops = Vec::new();
        let mut interrupted = Vec::new();
        // Nothing lost, and something there: else what a folder does not say tells nothing.
        let is_whole = !recovered.damaged && !is_thinned && !recovered.slots.is_empty();
        let sending = self.recover_surfaces(&recovered.slots);
        if !keeps_home(&recovered) && !recovered.slots.contains_key(WORK_FOLDER_SLOT) {
            ops.push(StoreOp::Put { slot: WORK_FOLDER_SLOT.to_owned(), value: "true".to_owned() });
        }
        for (slot, json) in recovered.slots {
            if slot == switch::SLOT {
                let paused = self.toggles.paused;
                self.toggles = parse(&slot, &json).unwrap_or_else(|| {
                    log::error!("the gateway starts paused, for that may have said so; `clawdis resume` when you have looked");
                    Toggles { paused: true, ..Toggles::default() }
                });
                self.toggles.paused |= paused;
            } else if slot == budget::SLOT {
                self.today = parse(&slot, &json).unwrap_or_default();
            } else if let Some(number) =
                slot.strip_prefix(system_notes::SLOT_PREFIX).and_then(|text| text.parse().ok())
            {
                self.notes.recover(number, parse(&slot, &json).unwrap_or_default());
            } else if slot == heartbeats::SLOT {
                self.heartbeats.recover(&json);
            } else if let Some(key) = slot.strip_prefix(forgetting::SLOT_PREFIX) {
                self.forgetting.recover(key);
            } else if let Some(key) = slot.strip_prefix(sessions::SLOT_PREFIX) {
                if let Some(session) = parse::<Session>(&slot, &json) {
                    self.sessions.recover(key, session);
                }
            } else if let Some(key) = slot.strip_prefix(keys::SLOT_PREFIX) {
                let Some(record) = parse::<KeyRecord>(&slot, &json) else { continue };
                let goes_on = sending.contains(key);
                if let Some(record) = self.keys.recover(key, record, goes_on, self.now.mono, self.now.wall_ms)
                {
                    ops.push(keys::put(key, &record));
                    interrupted.push((key.to_owned(), record));
                }
            }
        }
        self.keys.recovered();
        self.forget_more();
        ops.extend(self.access.settle_owner(is_whole));
        self.warn_of_implied_owner();
        self.go_on_with_surfaces();
        if !interrupted.is_empty() {
            log::warn!("runs were interrupted when the gateway last stopped; their sessions say so");
        }
        for (key, record) in interrupted {
            ops.extend(self.note_interruption(&key, &record));
        }
        if recovered.damaged {
            // The store drops the damaged lines with the first thing that it is given.
            ops.push(self.toggles_op());
        }
        if !ops.is_empty() {
            self.store(ops, Pending::Nothing);
        }
    }

    fn note_interruption(&mut self, key: &str, record: &KeyRecord) -> Vec<StoreOp> {
        let text = "interrupted: the gateway was stopped while this ran; it is not repeated".to_owned();
        let message = Message {
            run_id: Some(record.run_id.to_string()),
            idempotency_key: Some(keys::of_client(key).to_owned()),
            ..Message::new(Role::Note, text, self.now.wall_ms)
        };
        self.sessions.append_to_current(&record.session_key, message)
    }
}

fn parse<T: DeserializeOwned>(slot: &str, json: &str) -> Option<T> {
    serde_json::from_str(json)
        .map_err(|error| log::error!("slot {slot:?} of the journal is not understood and left out: {error}"))
        .ok()
}
