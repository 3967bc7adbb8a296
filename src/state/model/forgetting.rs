//! Sessions that are being forgotten: the store has removed their records, the agent thread has yet to remove its
//! files. Whoever asked is told when both are gone; a slot keeps the name of each such session, so that a gateway
//! that was stopped in between goes on with it. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::limits::FORGETS_WAITING_MAX;
use crate::protocol::ConnId;

/// Who asked, and the answer.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) conn: ConnId,
    pub(crate) id: String,
    pub(crate) payload: Value,
}

/// Sessions that the agent thread is to forget.
#[derive(Default)]
pub(crate) struct Forgetting {
    pub(crate) by_key: BTreeMap<String, Asked>,
    /// What the agent thread is asked when it has done others, with who is told then.
    pub(crate) left: BTreeMap<String, Vec<Asker>>,
}

#[derive(Default)]
pub(crate) struct Asked {
    /// Are told when the agent thread has done it.
    pub(crate) now: Vec<Asker>,
    /// Asked when the agent thread was at it already: it has to do it once more.
    pub(crate) next: Vec<Asker>,
}

impl Forgetting {
    /// Whether whoever asks now would wait for too many others.
    pub(crate) fn is_full(&self) -> bool {
        let asked = self.by_key.values().map(|asked| (asked.now.len() + asked.next.len()).max(1));
        let left = self.left.values().map(|askers| askers.len().max(1));
        asked.chain(left).sum::<usize>() >= FORGETS_WAITING_MAX
    }

    /// Takes over a session whose files the last life did not come to remove.
    pub(crate) fn recover(&mut self, key: &str) {
        self.left.insert(key.to_owned(), Vec::new());
    }

    /// Sessions that this life knows it has to forget.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_key.len() + self.left.len()
    }
}
