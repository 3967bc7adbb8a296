//! Puts on record what a turn decided, and goes on with what had to wait for that.
//!
//! A handler changes the model, which leaves its writes in the turn's [`WriteBuffer`]; [`State::commit`] sends
//! them to the store as one command, all of it durable or nothing, and says what happens [`Then`].

use std::collections::HashMap;

use serde_json::Value;

use crate::limits::{STORE_INBOX, STORE_INBOX_BYTES_MAX, UNSAVED_BYTES_MAX, UNSAVED_OPS_MAX};
use crate::protocol::ConnId;
use crate::protocol::call::{Channel, RunId};
use crate::protocol::error::WireError;
use crate::state::model::batch::AcceptedBatch;
use crate::state::model::forgetting::Asker;
use crate::state::model::inbox::InboxId;
use crate::state::model::keys::Outcome;
use crate::state::model::outbox::DeliveryId;
use crate::state::{Effect, State};
use crate::store::{StoreCommand, StoreOp, Ticket, Usage};

/// What happens once a commit is durable.
#[derive(Debug)]
pub(super) enum Then {
    /// The run that was put on record is acknowledged and may start.
    BeginRun { run_id: RunId },
    /// The run, of which it is on record that its prompt is tried, goes to the agent.
    HandOver { run_id: RunId, inbox_ids: Vec<InboxId> },
    /// The outcome of the run is told.
    EndRun { run_id: RunId, outcome: Outcome },
    /// The channel that handed over this batch goes on.
    Acknowledge { channel: Channel, accepted: AcceptedBatch },
    /// The message of a `send` may go.
    Send { delivery: DeliveryId },
    /// The next part of a delivery, which is marked as being tried, goes to its channel.
    Attempt { delivery: DeliveryId },
    /// Whoever waits for the end of these deliveries is told.
    EndDeliveries(Vec<(DeliveryId, Option<Outcome>)>),
    /// The request gets its answer.
    Answer { conn: ConnId, id: String, payload: Value },
    /// The agent's files of a session go, of which the store has nothing any more.
    Forget { session_key: String, asker: Option<Asker> },
    /// Whoever threw a switch, which acts already, gets the answer.
    Switched { conn: ConnId, id: String, payload: Value },
    /// Nobody waits for it.
    Nothing,
}

impl Then {
    /// Whether what was to be written holds although it could not be: it has happened.
    fn holds_anyway(&self) -> bool {
        matches!(self, Self::EndRun { .. } | Self::EndDeliveries(_) | Self::Nothing)
    }
}

/// A commit that the store has not answered.
struct Pending {
    then: Then,
    /// New deliveries, which may go then.
    deliveries: Vec<DeliveryId>,
    bytes: usize,
}

/// What the store was asked and has not answered, and what it could not do.
#[derive(Default)]
pub(super) struct Journal {
    by_ticket: HashMap<Ticket, Pending>,
    bytes: usize,
    tickets: Ticket,
    /// What could not be put on record and still holds: it goes in front of the next commit.
    unsaved: Vec<StoreOp>,
}

impl Journal {
    pub(super) fn is_idle(&self) -> bool {
        self.by_ticket.is_empty()
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.by_ticket.remove(&ticket)?;
        self.bytes -= pending.bytes;
        Some(pending)
    }

    /// Keeps what could not be written for the next commit. Records of sessions are left out: a session
    /// whose file is damaged would take every other write with it.
    fn save_later(&mut self, back: Vec<StoreOp>) {
        let slots = back.into_iter().filter(|op| matches!(op, StoreOp::Put { .. } | StoreOp::Delete { .. }));
        self.unsaved.extend(slots);
        let mut excess = self.unsaved.len().saturating_sub(UNSAVED_OPS_MAX);
        let mut bytes: usize = self.unsaved[excess..].iter().map(StoreOp::bytes).sum();
        while bytes > UNSAVED_BYTES_MAX {
            bytes -= self.unsaved[excess].bytes();
            excess += 1;
        }
        self.unsaved.drain(..excess);
    }
}

impl State {
    /// Whether the store can take one more commit; asked before anything is promised.
    pub(super) fn store_has_room(&self) -> bool {
        self.journal.by_ticket.len() < STORE_INBOX && self.journal.bytes < STORE_INBOX_BYTES_MAX
    }

    /// Sends what this turn has gathered to the store; `then` happens when it is durable.
    pub(super) fn commit(&mut self, then: Then) {
        let (mut ops, deliveries) = self.writes.take();
        if !self.journal.unsaved.is_empty() {
            self.journal.unsaved.append(&mut ops);
            ops = std::mem::take(&mut self.journal.unsaved);
        }
        self.journal.tickets += 1;
        let command = StoreCommand { ticket: self.journal.tickets, ops };
        let bytes = command.bytes();
        self.journal.bytes += bytes;
        self.journal.by_ticket.insert(command.ticket, Pending { then, deliveries, bytes });
        self.effects.push(Effect::Store(command));
    }

    /// The same if there is anything to write, and nobody waits for it.
    pub(super) fn commit_any(&mut self) {
        if !self.writes.is_empty() {
            self.commit(Then::Nothing);
        }
    }

    /// At the end of a turn nothing may be left to write: somebody forgot to commit it.
    pub(super) fn flush_writes(&mut self) {
        debug_assert!(self.writes.is_empty(), "not committed: {:?}", self.writes);
        if !self.writes.is_empty() {
            log::error!("a turn ended with writes that nobody committed; they go now");
            self.commit(Then::Nothing);
        }
    }

    /// The folder's condition has changed.
    pub(super) fn usage(&mut self, usage: Usage) {
        let healed = usage.trouble.is_none();
        self.health.set_storage(usage);
        if healed && !self.journal.unsaved.is_empty() {
            self.commit(Then::Nothing);
        }
    }

    /// A commit is durable, or none of it is.
    pub(super) fn committed(&mut self, ticket: Ticket, result: Result<(), String>, back: Vec<StoreOp>) {
        let Some(Pending { then, deliveries, .. }) = self.journal.remove(ticket) else { return };
        let holds = result.is_ok() || then.holds_anyway();
        if then.holds_anyway() {
            self.journal.save_later(back);
        }
        // What came in is shown before what is said of it.
        if let Then::Acknowledge { channel, accepted } = then {
            self.batch_stored(channel, accepted, result);
            return self.deliveries_stored(&deliveries, holds);
        }
        self.deliveries_stored(&deliveries, holds);
        self.go_on(then, result);
    }

    fn go_on(&mut self, then: Then, result: Result<(), String>) {
        match then {
            Then::BeginRun { run_id } => self.run_stored(&run_id, result),
            Then::HandOver { run_id, inbox_ids } => self.try_stored(&run_id, &inbox_ids, result),
            // With a broken disk the answer is still worth more than silence; health says the rest.
            Then::EndRun { run_id, outcome } => self.run_end_stored(&run_id, outcome),
            Then::Send { delivery } => self.send_stored(delivery, result),
            Then::Attempt { delivery } => self.mark_stored(delivery, result),
            Then::EndDeliveries(deliveries) => self.deliveries_ended(deliveries),
            Then::Answer { conn, id, payload } => match result {
                Ok(()) => self.answer(conn, &id, &payload),
                Err(trouble) => self.refuse(conn, &id, &WireError::unavailable(trouble)),
            },
            Then::Switched { conn, id, payload } => match result {
                Ok(()) => self.answer(conn, &id, &payload),
                Err(trouble) => {
                    let text = format!("switched, but only until the next restart: {trouble}");
                    self.refuse(conn, &id, &WireError::unavailable(text));
                }
            },
            Then::Forget { session_key, asker } => self.forget_stored(session_key, asker, result),
            Then::Acknowledge { .. } | Then::Nothing => {}
        }
    }
}
