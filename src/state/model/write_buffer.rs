//! The write buffer: what a turn puts on record, gathered where it is decided and written together.
//!
//! When they are written, and what waits for that, is known to [`journal`](crate::state::journal).

use serde::Serialize;

use crate::state::model::slot::{DeliveryId, Slot};
use crate::state::model::to_json;
use crate::store::StoreOp;
use crate::store::history::SessionRecord;

/// Writes and new deliveries that wait for the next commit. A turn that leaves some behind is a defect.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    /// The writes, in the order in which they came.
    pub(crate) ops: Vec<StoreOp>,
    /// The new deliveries, which may go once all of this is on record.
    pub(crate) deliveries: Vec<DeliveryId>,
}

impl WriteBuffer {
    /// Gives a slot a value.
    pub(crate) fn put(&mut self, slot: &Slot, value: &impl Serialize) {
        self.put_json(slot, to_json(value));
    }

    /// Gives a slot a value that is JSON text already.
    pub(crate) fn put_json(&mut self, slot: &Slot, value: String) {
        self.ops.push(StoreOp::Put { slot: slot.to_string(), value });
    }

    /// Removes a slot.
    pub(crate) fn delete(&mut self, slot: &Slot) {
        self.ops.push(StoreOp::Delete { slot: slot.to_string() });
    }

    /// Adds a record to a session's history.
    pub(crate) fn append(&mut self, session_key: &str, record: &SessionRecord) {
        self.ops.push(StoreOp::Append { session_key: session_key.to_owned(), record: to_json(record) });
    }

    /// Removes a session's history.
    pub(crate) fn forget_session(&mut self, session_key: &str) {
        self.ops.push(StoreOp::Forget { session_key: session_key.to_owned() });
    }

    /// Has the journal written anew, without what was deleted so far.
    pub(crate) fn compact(&mut self) {
        self.ops.push(StoreOp::Compact);
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.deliveries.is_empty()
    }
}
