//! Sessions that are being forgotten: the store has removed their records, the agent thread has yet to remove its
//! files. Whoever asked is told when both are gone; a slot keeps the name of each such session, so that a gateway
//! that was stopped in between goes on with it. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::limits::FORGETS_WAITING_MAX;
use crate::state::model::clients::Asker;

/// A `session-forget` that is not answered yet, with the payload of its answer.
#[derive(Debug)]
pub(crate) struct PendingForget {
    pub(crate) asker: Asker,
    pub(crate) payload: Value,
}

/// Sessions that the agent thread is to forget.
#[derive(Default)]
pub(crate) struct Forgetting {
    /// Sessions, by key, whose files the agent thread is removing.
    pub(crate) under_way: BTreeMap<String, Removal>,
    /// Sessions whose files the agent thread is to remove when it has done others, with who is told then.
    pub(crate) left: BTreeMap<String, Vec<PendingForget>>,
}

/// The removal of a session's files that the agent thread is at.
#[derive(Default)]
pub(crate) struct Removal {
    /// Requests that are answered when it is done.
    pub(crate) now: Vec<PendingForget>,
    /// Requests that came when the agent thread was at it: it has to remove the files once more.
    pub(crate) next: Vec<PendingForget>,
}

impl Forgetting {
    /// Whether whoever asks now would wait for too many others.
    pub(crate) fn is_full(&self) -> bool {
        let under_way =
            self.under_way.values().map(|removal| (removal.now.len() + removal.next.len()).max(1));
        let left = self.left.values().map(|pending| pending.len().max(1));
        under_way.chain(left).sum::<usize>() >= FORGETS_WAITING_MAX
    }

    /// Takes over a session whose files the last life did not come to remove.
    pub(crate) fn recover(&mut self, key: &str) {
        self.left.insert(key.to_owned(), Vec::new());
    }

    /// Sessions that this life knows it has to forget.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.under_way.len() + self.left.len()
    }
}
