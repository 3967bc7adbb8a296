//! What goes on once something is durable.

use std::collections::HashMap;

use serde_json::Value;

use crate::limits::{STORE_INBOX, STORE_INBOX_BYTES_MAX, UNSAVED_BYTES_MAX, UNSAVED_OPS_MAX};
use crate::protocol::ConnId;
use crate::protocol::call::{Channel, RunId};
use crate::protocol::error::WireError;
use crate::state::State;
use crate::state::model::batch::Taken;
use crate::state::model::forgetting::Asker;
use crate::state::model::inbox::Number;
use crate::state::model::keys::Outcome;
use crate::state::model::outbox::LetterId;
use crate::store::{StoreCommand, StoreOp, Ticket};

/// Why the store was asked.
#[derive(Debug)]
pub(super) enum Pending {
    /// A run was put on record: it may be acknowledged and start.
    RunBegin { run_id: RunId, letters: Vec<LetterId> },
    /// That the prompt of a run is tried was put on record: it may go to the agent.
    Counted { run_id: RunId, numbers: Vec<Number> },
    /// A run's outcome was put on record: it may be told.
    RunEnd { run_id: RunId, outcome: Outcome, letters: Vec<LetterId> },
    /// What a surface handed over.
    Arrived { channel: Channel, taken: Taken },
    /// Messages to people, which may go then.
    Letters(Vec<LetterId>),
    /// The same for the message of a `send`.
    Send { letter: LetterId },
    /// The next part of a letter is about to be tried.
    Marked { letter: LetterId },
    /// Letters are over.
    LettersEnd(Vec<(LetterId, Option<Outcome>)>),
    /// A request whose answer is ready.
    Answer { conn: ConnId, id: String, payload: Value },
    /// A session is to be forgotten, and what the store has of it is gone.
    Forget { session_key: String, asker: Option<Asker> },
    /// A switch, which acts already.
    Switch { conn: ConnId, id: String, payload: Value },
    /// Nobody waits.
    Nothing,
}

/// What the store was asked and has not answered.
#[derive(Default)]
pub(super) struct PendingWrites {
    by_ticket: HashMap<Ticket, (Pending, usize)>,
    bytes: usize,
}

impl PendingWrites {
    /// Whether one more may be asked for.
    pub(super) fn has_room(&self) -> bool {
        self.by_ticket.len() < STORE_INBOX && self.bytes < STORE_INBOX_BYTES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_ticket.is_empty()
    }

    pub(super) fn insert(&mut self, command: &StoreCommand, pending: Pending) {
        self.bytes += command.bytes();
        self.by_ticket.insert(command.ticket, (pending, command.bytes()));
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let (pending, bytes) = self.by_ticket.remove(&ticket)?;
        self.bytes -= bytes;
        Some(pending)
    }
}

impl Pending {
    /// Whether what was to be written holds although it could not be: it has happened.
    fn holds_anyway(&self) -> bool {
        matches!(self, Self::RunEnd { .. } | Self::Letters(_) | Self::LettersEnd(_) | Self::Nothing)
    }
}

impl State {
    /// Keeps what could not be written for the next write. Records of sessions are left out: a session
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

    pub(super) fn stored(&mut self, ticket: Ticket, result: Result<(), String>, back: Vec<StoreOp>) {
        let pending = self.pending.remove(ticket);
        if pending.as_ref().is_some_and(Pending::holds_anyway) {
            self.save_later(back);
        }
        match pending {
            Some(Pending::RunBegin { run_id, letters }) => {
                if result.is_ok() {
                    self.letters_stored(&letters);
                } else {
                    self.drop_letters(&letters);
                }
                self.run_stored(&run_id, result);
            }
            Some(Pending::Counted { run_id, numbers }) => self.counted(&run_id, &numbers, result),
            // With a broken disk the answer is still worth more than silence; health says the rest.
            Some(Pending::RunEnd { run_id, outcome, letters }) => {
                self.letters_stored(&letters);
                self.run_end_stored(&run_id, outcome);
            }
            Some(Pending::Arrived { channel, taken }) => self.arrived_stored(channel, taken, result),
            Some(Pending::Letters(letters)) => self.letters_stored(&letters),
            Some(Pending::Send { letter }) => self.send_stored(letter, result),
            Some(Pending::Marked { letter }) => self.marked(letter, result),
            Some(Pending::LettersEnd(letters)) => self.letters_ended(letters),
            Some(Pending::Answer { conn, id, payload }) => match result {
                Ok(()) => self.answer(conn, &id, &payload),
                Err(trouble) => self.refuse(conn, &id, &WireError::unavailable(trouble)),
            },
            Some(Pending::Switch { conn, id, payload }) => match result {
                Ok(()) => self.answer(conn, &id, &payload),
                Err(trouble) => {
                    let text = format!("switched, but only until the next restart: {trouble}");
                    self.refuse(conn, &id, &WireError::unavailable(text));
                }
            },
            Some(Pending::Forget { session_key, asker }) => self.forget_stored(session_key, asker, result),
            Some(Pending::Nothing) | None => {}
        }
    }
}
