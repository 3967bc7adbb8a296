//! Forgets sessions: what was said in them goes from memory, from the disk, and from the agent's files, in this
//! order.

use serde_json::json;

use crate::channels::ChannelCommand;
use crate::limits::FORGOTTEN_AT_ONCE_MAX;
use crate::protocol::call::Channel;
use crate::protocol::error::WireError;
use crate::state::journal::Then;
use crate::state::model::clients::Asker;
use crate::state::model::forgetting::{PendingForget, Removal};
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
        self.cancel_session(key);
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

    /// Forgets what is kept beside a session's records and names its person. That the person is let in stays: it
    /// is the owner's word.
    fn forget_person(&mut self, key: &str) {
        if let Some(person) = key.strip_prefix("dm:") {
            if self.today.forget(person) {
                self.put_today();
            }
        }
        if self.today.forget_group(key, |person| self.sessions.is_known(&format!("dm:{person}"))) {
            self.put_today();
        }
        for channel in Channel::ALL {
            let [direct, group] = ["dm", "group"].map(|kind| format!("{kind}:{}:", channel.name()));
            if let Some(id) = key.strip_prefix(&direct) {
                self.access.forget_refused(channel, id);
            }
            if let Some(chat) = key.strip_prefix(&group).and_then(|chat| chat.split(':').next()) {
                self.access.forget_refused_group(channel, chat);
            }
            if key == MAIN || key.starts_with(&direct) || key.starts_with(&group) {
                self.inbox.forget_aside(channel, &mut self.writes);
            }
        }
    }

    /// Handles the end of the commit that removes a session's records: all of them are gone, or none.
    pub(crate) fn forget_stored(
        &mut self,
        key: String,
        pending: Option<PendingForget>,
        result: Result<(), String>,
    ) {
        match (result, pending) {
            (Err(trouble), Some(pending)) => {
                self.refuse(&pending.asker, &WireError::unavailable(trouble));
            }
            (Err(_), None) => {}
            (Ok(()), pending) => match self.forgetting.under_way.get_mut(&key) {
                Some(removal) => removal.next.extend(pending),
                None => self.forgetting.left.entry(key).or_default().extend(pending),
            },
        }
    }

    /// Has the agent thread remove the files of more sessions, if it is at few and the store can take what follows.
    pub(crate) fn forget_more(&mut self) {
        while self.forgetting.under_way.len() < FORGOTTEN_AT_ONCE_MAX && self.store_has_room() {
            let Some((key, pending)) = self.forgetting.left.pop_first() else { return };
            self.forget_agent_files(key, pending);
        }
    }

    fn forget_agent_files(&mut self, key: String, now: Vec<PendingForget>) {
        self.end_session(&key, true);
        self.forgetting.under_way.insert(key, Removal { now, next: Vec::new() });
    }

    /// Handles the agent thread's report that a session's files are gone, or why they are not.
    pub(crate) fn agent_forgot(&mut self, key: String, result: Result<(), String>) {
        let Some(Removal { now, next }) = self.forgetting.under_way.remove(&key) else { return };
        for PendingForget { asker, payload } in now {
            match &result {
                Ok(()) => self.answer(&asker, &payload),
                Err(why) => {
                    let text = format!("its records are gone, but not the agent's files: {why}; try again");
                    self.refuse(&asker, &WireError::unavailable(text));
                }
            }
        }
        if !next.is_empty() {
            self.forget_agent_files(key, next);
        } else if result.is_ok() {
            // The slot's own name is the last thing that names the session.
            self.writes.delete(&Slot::Forget(key));
            self.writes.compact();
            self.commit(Then::Nothing);
        }
    }
}
