//! Sessions that are being forgotten: the store has removed their records, the agent thread has yet to remove its
//! files. Whoever asked is told when both are gone; a slot keeps the name of each such session, so that a gateway
//! that was stopped in between goes on with it. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::limits::{FORGETS_WAITING_MAX, FORGOTTEN_AT_ONCE_MAX};
use crate::state::model::clients::Asker;

/// A `session-forget` that is not answered yet, with the payload of its answer.
#[derive(Debug)]
pub(crate) struct PendingForget {
    pub(crate) asker: Asker,
    pub(crate) payload: Value,
}

/// Sessions that the agent thread is to forget, by key, each with the requests that are answered then.
#[derive(Default)]
pub(crate) struct Forgetting {
    /// Sessions whose files the agent thread is removing.
    pub(crate) under_way: BTreeMap<String, Vec<PendingForget>>,
    /// Sessions whose files it is to remove later; also one that is under way, if it was forgotten once more since.
    pub(crate) left: BTreeMap<String, Vec<PendingForget>>,
}

impl Forgetting {
    /// Whether whoever asks now would wait for too many others.
    pub(crate) fn is_full(&self) -> bool {
        let all = self.under_way.values().chain(self.left.values());
        all.map(|pending| pending.len().max(1)).sum::<usize>() >= FORGETS_WAITING_MAX
    }

    /// Takes over a session whose files the last life did not come to remove.
    pub(crate) fn recover(&mut self, key: String) {
        self.left.insert(key, Vec::new());
    }

    /// The session whose files the agent thread is to remove next, if it is at few. It is under way from now on.
    pub(crate) fn begin_next(&mut self) -> Option<String> {
        if self.under_way.len() >= FORGOTTEN_AT_ONCE_MAX {
            return None;
        }
        let key = self.left.keys().find(|key| !self.under_way.contains_key(*key))?.clone();
        let pending = self.left.remove(&key).unwrap_or_default();
        self.under_way.insert(key.clone(), pending);
        Some(key)
    }
}
