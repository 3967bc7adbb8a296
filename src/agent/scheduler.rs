//! Decides which run goes into which process, and which process has to go. Pure.
//!
//! One queue over all sessions, first come first served; one run at a time per session; at most
//! `max` processes, of which those without a run stay warm for a while. A process belongs to one
//! conversation at one thinking level, and a session's file to at most one process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::agent::RunSpec;
use crate::protocol::call::{RunId, Thinking};

/// Id of a process, unique for as long as the gateway lives.
pub(super) type ProcessId = u64;

/// An action that the agent thread has to execute next.
pub(super) enum Action {
    /// Start this process and give it the run.
    Start(ProcessId, Box<RunSpec>),
    /// Give this warm process the run.
    Assign(ProcessId, Box<RunSpec>),
    /// End this process, which has no run.
    End(ProcessId),
    /// Nobody uses the files of this session any more: delete them.
    Delete(String),
}

/// The queue and the processes.
pub(super) struct Scheduler {
    max: usize,
    warm: Duration,
    queue: VecDeque<QueuedRun>,
    slots: Vec<Slot>,
    /// Sessions to end, and whether to delete their files then. Their runs wait for it.
    ending: BTreeMap<String, bool>,
    next_id: ProcessId,
}

struct QueuedRun {
    run: Box<RunSpec>,
    /// The position in the queue that clients were last told.
    told_position: usize,
}

struct Slot {
    id: ProcessId,
    session_key: String,
    session_id: String,
    thinking: Thinking,
    phase: SlotPhase,
}

#[derive(Debug, PartialEq, Eq)]
enum SlotPhase {
    Busy(RunId),
    Idle { since: Instant },
    Ending,
}

impl Scheduler {
    /// A scheduler of `max` processes (at least one), each kept for `warm` after its last run.
    pub(super) fn new(max: usize, warm: Duration) -> Self {
        let (queue, slots, ending) = (VecDeque::new(), Vec::new(), BTreeMap::new());
        Self { max: max.max(1), warm, queue, slots, ending, next_id: 1 }
    }

    /// Puts a run at the end of the queue.
    pub(super) fn enqueue(&mut self, run: Box<RunSpec>) {
        self.queue.push_back(QueuedRun { run, told_position: 0 });
    }

    /// Takes a run out of the queue, if it is there.
    pub(super) fn dequeue(&mut self, run_id: &RunId) -> Option<Box<RunSpec>> {
        let at = self.queue.iter().position(|waiting| waiting.run.run_id == *run_id)?;
        self.queue.remove(at).map(|waiting| waiting.run)
    }

    /// Takes all runs out of the queue.
    pub(super) fn dequeue_all(&mut self) -> impl Iterator<Item = Box<RunSpec>> {
        std::mem::take(&mut self.queue).into_iter().map(|waiting| waiting.run)
    }

    /// The process that has the run.
    pub(super) fn process_of(&self, run_id: &RunId) -> Option<ProcessId> {
        self.slots.iter().find(|slot| slot.phase == SlotPhase::Busy(run_id.clone())).map(|slot| slot.id)
    }

    /// Notes that the conversation under this key is over; with `delete` its files go, too.
    pub(super) fn end_session(&mut self, session_key: String, delete: bool) {
        *self.ending.entry(session_key).or_default() |= delete;
    }

    /// Notes that a process has done its run and can take another.
    pub(super) fn idle(&mut self, id: ProcessId, now: Instant) {
        self.set_phase(id, SlotPhase::Idle { since: now });
    }

    /// Notes that a process is being ended. Its session and its slot are taken until [`Self::gone`].
    pub(super) fn ending(&mut self, id: ProcessId) {
        self.set_phase(id, SlotPhase::Ending);
    }

    /// Notes that a process does not exist any more.
    pub(super) fn gone(&mut self, id: ProcessId) {
        self.slots.retain(|slot| slot.id != id);
    }

    /// When the next warm process is to be ended.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|slot| self.expires(slot)).min()
    }

    /// Decides everything that can be decided now. The actions are executed at once, in order.
    pub(super) fn plan(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        self.end_sessions(&mut actions);
        self.end_expired(now, &mut actions);
        self.place_runs(&mut actions);
        actions
    }

    /// The runs whose position in the queue is another than clients were told.
    pub(super) fn changed_positions(&mut self) -> Vec<(RunId, usize)> {
        let mut moved = Vec::new();
        for (index, waiting) in self.queue.iter_mut().enumerate() {
            if waiting.told_position != index + 1 {
                waiting.told_position = index + 1;
                moved.push((waiting.run.run_id.clone(), waiting.told_position));
            }
        }
        moved
    }

    fn end_sessions(&mut self, actions: &mut Vec<Action>) {
        for slot in self.slots.iter_mut().filter(|slot| self.ending.contains_key(&slot.session_key)) {
            if matches!(slot.phase, SlotPhase::Idle { .. }) {
                slot.phase = SlotPhase::Ending;
                actions.push(Action::End(slot.id));
            }
        }
        let slots = &self.slots;
        self.ending.retain(|key, delete| {
            let in_use = slots.iter().any(|slot| slot.session_key == *key);
            if !in_use && *delete {
                actions.push(Action::Delete(key.clone()));
            }
            in_use
        });
    }

    fn end_expired(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let expired = |slot: &Slot| self.expires(slot).is_some_and(|at| at <= now);
        let ids: Vec<_> = self.slots.iter().filter(|slot| expired(slot)).map(|slot| slot.id).collect();
        for id in ids {
            self.end_slot(id, actions);
        }
    }

    fn place_runs(&mut self, actions: &mut Vec<Action>) {
        // Places that an ending process leaves to an earlier run are not a later one's.
        let mut leaving = self.slots.iter().filter(|slot| slot.phase == SlotPhase::Ending).count();
        let mut seen = BTreeSet::new();
        for queued in std::mem::take(&mut self.queue) {
            let run = &queued.run;
            let is_first = seen.insert(run.session_key.clone());
            let may_start = is_first && !self.ending.contains_key(&run.session_key);
            match self.slots.iter().find(|slot| slot.session_key == run.session_key) {
                _ if !may_start => {}
                None if self.slots.len() < self.max => {
                    self.start(queued.run, actions);
                    continue;
                }
                None if leaving > 0 => leaving -= 1,
                None => {
                    if let Some(id) = self.least_recently_used() {
                        self.end_slot(id, actions);
                    }
                }
                Some(Slot { phase: SlotPhase::Busy(_) | SlotPhase::Ending, .. }) => {}
                Some(slot) if slot.session_id == run.session_id && slot.thinking == run.thinking => {
                    let id = slot.id;
                    self.set_phase(id, SlotPhase::Busy(run.run_id.clone()));
                    actions.push(Action::Assign(id, queued.run));
                    continue;
                }
                // Of another conversation or level: the run waits until this process is gone.
                Some(slot) => self.end_slot(slot.id, actions),
            }
            self.queue.push_back(queued);
        }
    }

    fn start(&mut self, run: Box<RunSpec>, actions: &mut Vec<Action>) {
        let id = self.next_id;
        self.next_id += 1;
        self.slots.push(Slot {
            id,
            session_key: run.session_key.clone(),
            session_id: run.session_id.clone(),
            thinking: run.thinking,
            phase: SlotPhase::Busy(run.run_id.clone()),
        });
        actions.push(Action::Start(id, run));
    }

    fn end_slot(&mut self, id: ProcessId, actions: &mut Vec<Action>) {
        self.set_phase(id, SlotPhase::Ending);
        actions.push(Action::End(id));
    }

    fn set_phase(&mut self, id: ProcessId, phase: SlotPhase) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) {
            slot.phase = phase;
        }
    }

    fn least_recently_used(&self) -> Option<ProcessId> {
        let idle = self.slots.iter().filter_map(|slot| match slot.phase {
            SlotPhase::Idle { since } => Some((since, slot.id)),
            SlotPhase::Busy(_) | SlotPhase::Ending => None,
        });
        idle.min().map(|(_, id)| id)
    }

    fn expires(&self, slot: &Slot) -> Option<Instant> {
        match slot.phase {
            SlotPhase::Idle { since } => Some(since + self.warm),
            SlotPhase::Busy(_) | SlotPhase::Ending => None,
        }
    }
}

#[cfg(test)]
mod tests;
