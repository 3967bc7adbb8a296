//! Forgets sessions, because a client asks or because nobody has used them: what was said in them goes from memory,
//! from the disk, and from the agent's files, in this order.

use std::time::Duration;

use serde_json::json;

use crate::channels::ChannelCommand;
use crate::limits::{
    EXPIRY_INTERVAL, EXPIRY_LEAP_MS, EXPIRY_PAUSE, EXPIRY_SESSIONS_MAX, EXPIRY_STEADY_TIME, SANE_CLOCK_MS, ms,
};
use crate::protocol::call::Channel;
use crate::protocol::error::WireError;
use crate::protocol::event::MessageStatus;
use crate::state::journal::Then;
use crate::state::model::clients::Asker;
use crate::state::model::forgetting::PendingForget;
use crate::state::model::sessions::MAIN;
use crate::state::model::slot::Slot;
use crate::state::{Effect, State};

impl State {
    pub(crate) fn session_forget(&mut self, asker: &Asker, key: &str) -> Result<(), WireError> {
        self.require_store()?;
        if self.forgetting.is_full() {
            return Err(WireError::rate_limited("many sessions are being forgotten; try again", 1_000));
        }
        let session_id = self.forget_session(key);
        let payload = json!({ "sessionKey": key, "sessionId": session_id });
        let pending = Some(PendingForget { asker: asker.clone(), payload });
        self.commit(Then::Forget { session_key: key.to_owned(), pending });
        Ok(())
    }

    /// Forgets a session in memory, and gathers the writes that forget it on disk. Returns the id of the conversation
    /// that may come next under its key.
    pub(crate) fn forget_session(&mut self, key: &str) -> String {
        // Nobody is told of the ends of its runs: what became of such a message would be noted in the session again.
        self.mute_replies(|run| run.session_key == key);
        self.cancel_all(|run| run.session_key == key);
        // First, because it may need a commit of its own: the session's records go all at once with the next.
        self.forget_in_channels(key);
        let session_id = self.sessions.forget(key, &mut self.writes);
        self.forget_person(key);
        self.writes.put(&Slot::Forget(key.to_owned()), &true);
        self.keys.forget_session(key, &mut self.writes);
        if key == MAIN {
            self.system_notes.take(&mut self.writes);
        }
        self.effects.push(Effect::Channel(ChannelCommand::Tidy));
        session_id
    }

    /// Drops what waits to be answered or sent in a session that is forgotten.
    fn forget_in_channels(&mut self, session_key: &str) {
        self.group_context.clear(session_key);
        let messages = self.inbox.ids(|entry| entry.stored && entry.attribution.session_key == session_key);
        self.inbox.finish(&messages, self.now.wall_ms, &mut self.writes);
        let mut ended = Vec::new();
        for id in self.outbox.forget(session_key) {
            if self.outbox.by_id.get(&id).is_some_and(|delivery| delivery.head.key.is_some()) {
                // A client waits for the outcome.
                self.put_end(id, MessageStatus::Failed, Some("its session was forgotten"));
                ended.push(id);
            } else {
                self.outbox.end(id, &mut self.writes);
                self.outbox.by_id.remove(&id);
            }
        }
        if !ended.is_empty() {
            // One command for all: there may be more of them than the store has room for.
            self.commit(Then::EndDeliveries(ended));
        }
    }

    /// Forgets what is kept beside a session's records and names its person. That the person is let in stays: it
    /// is the owner's word.
    fn forget_person(&mut self, key: &str) {
        let is_known = |person: &str| self.sessions.is_known(&format!("dm:{person}"));
        let was_counted = key.strip_prefix("dm:").is_some_and(|person| self.today.forget(person));
        if self.today.forget_group(key, is_known) || was_counted {
            self.put_today();
        }
        for channel in Channel::ALL {
            let [direct, group] = ["dm", "group"].map(|kind| format!("{kind}:{}:", channel.name()));
            if let Some(id) = key.strip_prefix(&direct) {
                self.access.forget_refused(channel, id);
            }
            if let Some(chat) = key.strip_prefix(&group).and_then(|chat| chat.split(':').next()) {
                self.access.forget_refused(channel, chat);
            }
            if key == MAIN || key.starts_with(&direct) || key.starts_with(&group) {
                self.inbox.forget_aside(channel, &mut self.writes);
            }
        }
    }

    /// Has the agent thread remove the files of more sessions, if it is at few and the store can take what follows.
    pub(crate) fn forget_more(&mut self) {
        while self.store_has_room() {
            let Some(key) = self.forgetting.begin_next() else { return };
            self.end_session(&key, true);
        }
    }

    /// Handles the agent thread's report that a session's files are gone, or why they are not.
    pub(crate) fn agent_forgot(&mut self, key: String, result: Result<(), String>) {
        let Some(pending) = self.forgetting.under_way.remove(&key) else { return };
        for PendingForget { asker, payload } in pending {
            match &result {
                Ok(()) => self.answer(&asker, &payload),
                Err(why) => {
                    let text = format!("its records are gone, but not the agent's files: {why}; try again");
                    self.refuse(&asker, &WireError::unavailable(text));
                }
            }
        }
        if result.is_ok() && !self.forgetting.left.contains_key(&key) {
            // The slot's own name is the last thing that names the session.
            self.writes.delete(&Slot::Forget(key));
            self.writes.compact();
            self.commit(Then::Nothing);
        }
    }

    /// Forgets the sessions that nobody has used for as long as the config says (`storage.retentionDays`). Looks for
    /// them from time to time, in a turn that there is anyway.
    pub(crate) fn expire_sessions(&mut self) {
        if self.now.mono < self.expiry_due || self.now.wall_ms < SANE_CLOCK_MS || self.stopping.is_some() {
            return;
        }
        if !self.is_clock_steady() {
            return self.plan_expiry(EXPIRY_STEADY_TIME);
        }
        let keys = self.sessions.unused_for(self.config.expiry, self.now.wall_ms, EXPIRY_SESSIONS_MAX);
        let is_all = keys.len() < EXPIRY_SESSIONS_MAX;
        self.plan_expiry(if is_all { EXPIRY_INTERVAL } else { EXPIRY_PAUSE });
        for key in keys {
            if !self.store_has_room() || self.forgetting.is_full() {
                return;
            }
            log::info!("a session was not used for longer than records are kept: it is forgotten");
            self.forget_session(&key);
            self.commit(Then::Forget { session_key: key, pending: None });
        }
    }

    fn plan_expiry(&mut self, pause: Duration) {
        self.expiry_due = self.now.mono + pause;
        self.expiry_planned = self.now;
    }

    /// Whether the wall clock has gone as evenly as the monotonic one since the look was planned. By a wrong clock
    /// all sessions may seem old, and what was forgotten does not come back when it is set right.
    fn is_clock_steady(&self) -> bool {
        let since = self.now.mono.saturating_duration_since(self.expiry_planned.mono);
        let expected = ms(self.expiry_planned.wall_ms) + since;
        ms(self.now.wall_ms).abs_diff(expected) < ms(EXPIRY_LEAP_MS)
    }
}
