//! The index of sessions: which conversation each key stands for now. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channels::message::Route;
use crate::limits::{PAGE_BYTES_MAX, SESSIONS_MAX, SESSIONS_PAGE_MAX, SESSIONS_RESERVE};
use crate::protocol::call::{Channel, SessionsListParams, Thinking};
use crate::protocol::payload::{Message, SessionEntry};
use crate::state::model::slot::Slot;
use crate::state::model::write_buffer::WriteBuffer;
use crate::state::model::{age, to_json};
use crate::store::history::SessionRecord;

/// Session of the owner's direct chats, of the web page and of the CLI.
pub(crate) const MAIN: &str = "main";

/// What is known of a session without reading its history; kept in a slot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: String,
    /// Number of messages of this conversation.
    #[serde(rename = "n")]
    pub(crate) messages: u64,
    #[serde(rename = "ts")]
    updated_ts: u64,
    #[serde(rename = "ch", default, skip_serializing_if = "Option::is_none")]
    last_channel: Option<Channel>,
    /// The chat from which the last message from a channel came.
    #[serde(rename = "rt", default, skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<Route>,
    /// The level that `/think` chose for this conversation.
    #[serde(rename = "th", default, skip_serializing_if = "Option::is_none")]
    pub(crate) thinking: Option<Thinking>,
    /// Whether there is no record of the session (yet, or any more), so that it is not listed.
    #[serde(skip)]
    unrecorded: bool,
}

#[derive(Default)]
pub(crate) struct Sessions {
    by_key: BTreeMap<String, Session>,
    /// Part of ids, so that none comes twice over restarts.
    boot_id: String,
    ids_made: u64,
}

impl Sessions {
    pub(crate) fn new(boot_id: &str) -> Self {
        Self { boot_id: boot_id.to_owned(), ..Self::default() }
    }

    pub(crate) fn recover(&mut self, key: &str, session: Session) {
        self.by_key.insert(key.to_owned(), session);
    }

    /// Number of sessions on record.
    pub(crate) fn len(&self) -> usize {
        self.by_key.values().filter(|session| !session.unrecorded).count()
    }

    /// The conversation under that key, made if there is none. Nothing is stored for it yet.
    pub(crate) fn current(&mut self, key: &str) -> &Session {
        if !self.by_key.contains_key(key) {
            if self.by_key.len() >= SESSIONS_MAX + SESSIONS_RESERVE {
                // Those without a record only hold ids for what may come next in sessions that were forgotten.
                self.by_key.retain(|_, session| !session.unrecorded);
            }
            let session = self.fresh(0);
            self.by_key.insert(key.to_owned(), session);
        }
        &self.by_key[key]
    }

    /// Whether the conversation under that key has been silent for so long, as far as the clock can tell.
    pub(crate) fn is_idle(&self, key: &str, idle: Duration, now_ts: u64) -> bool {
        let Some(session) = self.by_key.get(key).filter(|session| session.messages > 0) else { return false };
        age(session.updated_ts, now_ts).is_some_and(|silent| silent >= idle)
    }

    /// The conversation under that key, if there is one.
    pub(crate) fn get(&self, key: &str) -> Option<&Session> {
        self.by_key.get(key)
    }

    /// Whether somebody can mean that session: it has records, or is `main`.
    pub(crate) fn is_known(&self, key: &str) -> bool {
        key == MAIN || self.by_key.get(key).is_some_and(|session| !session.unrecorded)
    }

    fn fresh(&mut self, now_ts: u64) -> Session {
        self.ids_made += 1;
        Session {
            id: format!("s-{}-{}", self.boot_id, self.ids_made),
            updated_ts: now_ts,
            unrecorded: true,
            ..Session::default()
        }
    }

    /// Adds a message to a conversation. Nothing happens if the key stands for another one now.
    pub(crate) fn append(&mut self, key: &str, session_id: &str, message: Message, writes: &mut WriteBuffer) {
        let Some(session) = self.by_key.get_mut(key).filter(|session| session.id == session_id) else {
            return;
        };
        session.messages = session.messages.saturating_add(1);
        session.updated_ts = message.ts;
        session.unrecorded = false;
        if message.channel.is_some() {
            session.last_channel = message.channel;
        }
        let record = SessionRecord { session_id: session_id.to_owned(), message: Some(message) };
        writes.append(key, &record);
        put(key, session, writes);
    }

    /// Adds a message to the conversation that the key stands for now, if there is one.
    pub(crate) fn append_to_current(&mut self, key: &str, message: Message, writes: &mut WriteBuffer) {
        let Some(session_id) = self.get(key).map(|session| session.id.clone()) else { return };
        self.append(key, &session_id, message, writes);
    }

    /// Remembers the chat from which a message came; it goes on record with the message.
    pub(crate) fn set_route(&mut self, key: &str, route: &Route) {
        if let Some(session) = self.by_key.get_mut(key) {
            session.route = Some(route.clone());
        }
    }

    /// Begins a new conversation under the same key; returns its id.
    pub(crate) fn reset(&mut self, key: &str, now_ts: u64, writes: &mut WriteBuffer) -> String {
        let mut session = self.fresh(now_ts);
        session.route = self.by_key.get(key).and_then(|before| before.route.clone());
        session.unrecorded = false;
        let id = session.id.clone();
        let record = SessionRecord { session_id: id.clone(), message: None };
        writes.append(key, &record);
        put(key, &session, writes);
        self.by_key.insert(key.to_owned(), session);
        id
    }

    /// Removes every trace of a key but, in memory, the id of the conversation that may come next; returns that.
    pub(crate) fn forget(&mut self, key: &str, writes: &mut WriteBuffer) -> String {
        let session = self.fresh(0);
        let id = session.id.clone();
        if let Some(known) = self.by_key.get_mut(key) {
            *known = session;
        }
        writes.delete(&Slot::Session(key.to_owned()));
        writes.forget_session(key);
        id
    }

    /// Sessions that were not used for so long, as far as the clock can tell; at most `max` of them.
    pub(crate) fn unused_for(&self, kept: Duration, now_ts: u64, max: usize) -> Vec<String> {
        let is_old = |session: &Session| age(session.updated_ts, now_ts).is_some_and(|age| age > kept);
        let old = self.by_key.iter().filter(|(_, session)| !session.unrecorded && is_old(session));
        old.map(|(key, _)| key.clone()).take(max).collect()
    }

    /// Chooses the level for the conversation under that key, which is made if there is none.
    pub(crate) fn set_thinking(&mut self, key: &str, level: Thinking, now_ts: u64, writes: &mut WriteBuffer) {
        self.current(key);
        let Some(session) = self.by_key.get_mut(key) else { return };
        session.thinking = Some(level);
        session.updated_ts = now_ts;
        session.unrecorded = false;
        put(key, session, writes);
    }

    /// A page, newest first, and where the next one begins.
    pub(crate) fn page(
        &self,
        params: &SessionsListParams,
    ) -> Option<(Vec<SessionEntry<'_>>, Option<String>)> {
        let mut all: Vec<(&String, &Session)> =
            self.by_key.iter().filter(|(_, session)| !session.unrecorded).collect();
        all.sort_by_key(|(_, session)| std::cmp::Reverse(session.updated_ts));
        let start = match &params.before {
            None => 0,
            Some(key) => 1 + all.iter().position(|(listed, _)| *listed == key)?,
        };
        let limit = params.limit.unwrap_or(SESSIONS_PAGE_MAX).clamp(1, SESSIONS_PAGE_MAX);
        let (mut page, mut bytes) = (Vec::new(), 0);
        for (key, session) in all.iter().skip(start).take(limit) {
            let entry = SessionEntry {
                session_key: key,
                session_id: &session.id,
                updated_ts: session.updated_ts,
                messages: session.messages,
                last_channel: session.last_channel,
            };
            bytes += to_json(&entry).len() + 1;
            // One at least, or the next page would begin where this one did.
            if bytes > PAGE_BYTES_MAX && !page.is_empty() {
                break;
            }
            page.push(entry);
        }
        let more = start + page.len() < all.len();
        let before = page.last().filter(|_| more).map(|oldest| oldest.session_key.to_owned());
        Some((page, before))
    }
}

fn put(key: &str, session: &Session, writes: &mut WriteBuffer) {
    writes.put(&Slot::Session(key.to_owned()), session);
}

#[cfg(test)]
mod tests {
    use super::Sessions;
    use crate::limits::PAGE_BYTES_MAX;
    use crate::protocol::call::SessionsListParams;
    use crate::protocol::payload::{Message, Role};
    use crate::state::model::write_buffer::WriteBuffer;

    fn message(ts: u64) -> Message {
        Message::new(Role::User, "x".into(), ts)
    }

    fn keys(sessions: &Sessions, limit: usize, before: Option<&str>) -> (Vec<String>, Option<String>) {
        let params = SessionsListParams { limit: Some(limit), before: before.map(str::to_owned) };
        let (page, before) = sessions.page(&params).unwrap();
        (page.iter().map(|entry| entry.session_key.to_owned()).collect(), before)
    }

    #[test]
    fn lists_are_newest_first_and_paged() {
        let mut sessions = Sessions::new("b");
        for (key, ts) in [("a", 3), ("b", 1), ("c", 2)] {
            let id = sessions.current(key).id.clone();
            let mut writes = WriteBuffer::default();
            sessions.append(key, &id, message(ts), &mut writes);
            assert_eq!(writes.ops.len(), 2);
        }
        sessions.current("never used");
        assert_eq!(keys(&sessions, 2, None), (vec!["a".into(), "c".into()], Some("c".into())));
        assert_eq!(keys(&sessions, 2, Some("c")), (vec!["b".into()], None));
        let unknown = SessionsListParams { limit: None, before: Some("zzz".into()) };
        assert!(sessions.page(&unknown).is_none());
    }

    #[test]
    fn pages_end_before_they_are_larger_than_a_frame_and_go_on_behind() {
        let mut sessions = Sessions::new("b");
        for number in 0..400 {
            let key = format!("{number:04}{}", "\u{1}".repeat(1_000));
            let id = sessions.current(&key).id.clone();
            sessions.append(&key, &id, message(number), &mut WriteBuffer::default());
        }
        let (mut seen, mut before) = (0, None);
        loop {
            let params = SessionsListParams { limit: None, before };
            let (page, next) = sessions.page(&params).unwrap();
            assert!(serde_json::to_string(&page).unwrap().len() <= PAGE_BYTES_MAX);
            seen += page.len();
            before = next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, 400);
    }

    #[test]
    fn a_late_answer_does_not_reach_the_next_conversation() {
        let mut sessions = Sessions::new("b");
        let old = sessions.current("main").id.clone();
        let mut writes = WriteBuffer::default();
        let new = sessions.reset("main", 9, &mut writes);
        assert_ne!(old, new);
        assert_eq!(writes.ops.len(), 2);
        sessions.append("main", &old, message(10), &mut writes);
        assert_eq!(writes.ops.len(), 2, "nothing more");
        let after = sessions.forget("main", &mut writes);
        assert_ne!(after, new);
        assert_eq!(sessions.len(), 0);
        assert!(sessions.is_known("main") && !sessions.is_known("other"));
    }
}
