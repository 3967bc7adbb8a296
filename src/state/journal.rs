//! Puts on record what a turn decided, and goes on with what had to wait for that.
//!
//! A handler changes the model, which leaves its writes in the turn's `WriteBuffer`; [`State::commit`] sends
//! them to the store as one command, all of it durable or nothing, and says what happens [`Then`]. This module
//! knows who goes on after a commit, and nothing of what the writes say.

use std::collections::HashMap;

use serde_json::Value;

use crate::limits::{STORE_INBOX, STORE_INBOX_BYTES_MAX, UNSAVED_BYTES_MAX, UNSAVED_OPS_MAX};
use crate::protocol::call::{Channel, RunId};
use crate::protocol::error::WireError;
use crate::protocol::payload::StorageHealth;
use crate::state::model::clients::Asker;
use crate::state::model::forgetting::PendingForget;
use crate::state::model::inbox::InboxId;
use crate::state::model::keys::Outcome;
use crate::state::model::slot::DeliveryId;
use crate::state::model::write_buffer::WriteBuffer;
use crate::state::{Effect, State};
use crate::store::{StoreCommand, StoreOp, Ticket};

/// What happens once a commit is durable.
#[derive(Debug)]
pub(super) enum Then {
    /// The run that was put on record is acknowledged and may start.
    BeginRun { run_id: RunId },
    /// It is on record that the run's prompt is tried: the prompt goes to the agent.
    HandOver { run_id: RunId, inbox_ids: Vec<InboxId> },
    /// The outcome of the run is told to whoever waits for it.
    EndRun { run_id: RunId, outcome: Outcome },
    /// The channel that handed over the batch of the messages with these keys goes on.
    Acknowledge { channel: Channel, keys: Vec<String> },
    /// The delivery of a `send` may go to its channel, as all new ones do; whoever asked waits for its end.
    Send,
    /// The next part of a delivery is marked as being tried: it goes to its channel.
    Attempt { delivery: DeliveryId },
    /// Whoever waits for the end of these deliveries is told.
    EndDeliveries(Vec<DeliveryId>),
    /// The request gets its answer, or an error that begins with `if_not`.
    Answer { asker: Asker, payload: Value, if_not: &'static str },
    /// The store has nothing of a session any more: the agent's files of it go, too.
    Forget { session_key: String, pending: Option<PendingForget> },
    /// Nobody waits for the commit.
    Nothing,
}

/// What the refusal says of a switch that acts and could not be put on record.
pub(super) const SWITCHED_FOR_NOW: &str = "switched, but only until the next restart: ";

impl Then {
    /// Whether what the commit says holds also where it could not be written, because it has happened.
    fn holds_anyway(&self) -> bool {
        matches!(self, Self::EndRun { .. } | Self::EndDeliveries(_) | Self::Nothing)
    }
}

/// A commit that the store has not answered.
struct Pending {
    then: Then,
    /// New deliveries, which may go once the commit is durable.
    deliveries: Vec<DeliveryId>,
    bytes: usize,
}

/// The commits that the store has not answered, and what it could not write.
#[derive(Default)]
pub(super) struct Journal {
    by_ticket: HashMap<Ticket, Pending>,
    bytes: usize,
    tickets: Ticket,
    /// Writes that failed and still hold: they go in front of the next commit.
    unsaved: Vec<StoreOp>,
}

impl Journal {
    pub(super) fn is_idle(&self) -> bool {
        self.by_ticket.is_empty()
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

    /// Sends the writes that this turn has gathered to the store; `then` happens when they are durable.
    pub(super) fn commit(&mut self, then: Then) {
        let WriteBuffer { ops, deliveries } = std::mem::take(&mut self.writes);
        let unsaved = std::mem::take(&mut self.journal.unsaved);
        let ops = unsaved.into_iter().chain(ops).collect();
        self.journal.tickets += 1;
        let command = StoreCommand { ticket: self.journal.tickets, ops };
        let bytes = command.bytes();
        self.journal.bytes += bytes;
        self.journal.by_ticket.insert(command.ticket, Pending { then, deliveries, bytes });
        self.effects.push(Effect::Store(command));
    }

    /// Sends the writes that this turn has gathered, if there are any; nobody waits for them.
    pub(super) fn commit_any(&mut self) {
        if !self.writes.is_empty() {
            self.commit(Then::Nothing);
        }
    }

    /// Sees at the end of a turn that no handler forgot to commit its writes.
    pub(super) fn flush_writes(&mut self) {
        debug_assert!(self.writes.is_empty(), "not committed: {:?}", self.writes);
        if !self.writes.is_empty() {
            log::error!("a turn ended with writes that nobody committed; they go now");
            self.commit(Then::Nothing);
        }
    }

    /// Handles the store's report on the disk: what could not be written is tried again when it has healed.
    pub(super) fn usage(&mut self, usage: StorageHealth) {
        let healed = usage.ok;
        self.health.storage = usage;
        self.health.touch();
        if healed && !self.journal.unsaved.is_empty() {
            self.commit(Then::Nothing);
        }
    }

    /// Handles the store's answer to a commit: all of it is durable, or nothing is.
    pub(super) fn committed(&mut self, ticket: Ticket, result: Result<(), String>, back: Vec<StoreOp>) {
        let Some(Pending { then, deliveries, bytes }) = self.journal.by_ticket.remove(&ticket) else {
            return;
        };
        self.journal.bytes -= bytes;
        // Messages that came in are shown before the deliveries that were made of them.
        if let Then::Acknowledge { channel, keys } = &then {
            self.batch_stored(*channel, keys, result.is_ok());
        }
        if then.holds_anyway() {
            self.journal.save_later(back);
            self.deliveries_stored(&deliveries, &Ok(()));
        } else {
            self.deliveries_stored(&deliveries, &result);
        }
        match then {
            Then::BeginRun { run_id } => self.run_stored(&run_id, result),
            Then::HandOver { run_id, inbox_ids } => self.try_stored(&run_id, &inbox_ids, result),
            // With a broken disk the answer is still worth more than silence; health says the rest.
            Then::EndRun { run_id, outcome } => self.run_end_stored(&run_id, &outcome),
            Then::Attempt { delivery } => self.mark_stored(delivery, result),
            Then::EndDeliveries(deliveries) => self.deliveries_ended(&deliveries),
            Then::Answer { asker, payload, if_not } => match result {
                Ok(()) => self.answer(&asker, &payload),
                Err(trouble) => self.refuse(&asker, &WireError::unavailable(format!("{if_not}{trouble}"))),
            },
            Then::Forget { session_key, pending } => match result {
                Ok(()) => self.forgetting.left.entry(session_key).or_default().extend(pending),
                Err(trouble) => {
                    if let Some(PendingForget { asker, .. }) = pending {
                        self.refuse(&asker, &WireError::unavailable(&trouble));
                    }
                }
            },
            Then::Acknowledge { .. } | Then::Send | Then::Nothing => {}
        }
    }
}
