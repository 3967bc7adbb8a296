//! Events that wait for room in state's queue, so that a slow state thread never stalls an agent.
//!
//! While they wait, text that follows text of the same run is appended to it and a tool's newer
//! output replaces the older, so that what waits grows with the answer and not with its pieces.

use std::collections::VecDeque;

use crate::agent::{AgentEvent, RunStep, ToolPhase};
use crate::limits::{AGENT_PENDING_BYTES_MAX, DELTA_BYTES_MAX};
use crate::protocol::call::RunId;
use crate::protocol::cut;

/// How far back a mergeable event is looked for: runs side by side interleave no further.
const LOOK_BACK: usize = 16;
/// What an event weighs besides its texts.
const EVENT_BYTES: usize = 128;

/// A queue of events, with what they weigh.
#[derive(Debug, Default)]
pub(super) struct PendingEvents {
    events: VecDeque<AgentEvent>,
    bytes: usize,
}

impl PendingEvents {
    /// Adds an event at the end, or a step into the one that it continues.
    pub(super) fn push(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Step { run_id, step: RunStep::Text(text) } => {
                self.delta(&run_id, &text, RunStep::Text);
            }
            AgentEvent::Step { run_id, step: RunStep::Thinking(text) } => {
                self.delta(&run_id, &text, RunStep::Thinking);
            }
            event => self.add(event),
        }
    }

    fn add(&mut self, mut event: AgentEvent) {
        if let AgentEvent::Step { run_id, step } = &mut event {
            let last = last_step(&mut self.events, run_id);
            if let Some(last) = last.filter(|last| is_newer_output(last, step)) {
                let before = step_bytes(last);
                std::mem::swap(last, step);
                self.bytes = self.bytes + step_bytes(last) - before;
                return;
            }
        }
        self.bytes += event_bytes(&event);
        self.events.push_back(event);
    }

    /// Whether no event waits.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether so much waits that nothing more should be read from the agents.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= AGENT_PENDING_BYTES_MAX
    }

    /// Takes the oldest event.
    pub(super) fn pop(&mut self) -> Option<AgentEvent> {
        let event = self.events.pop_front()?;
        self.bytes -= event_bytes(&event);
        Some(event)
    }

    fn delta(&mut self, run_id: &RunId, text: &str, wrap: fn(String) -> RunStep) {
        let mut rest = text;
        if let Some(last) = last_step(&mut self.events, run_id) {
            let same_kind = std::mem::discriminant(last) == std::mem::discriminant(&wrap(String::new()));
            if let (true, RunStep::Text(waiting) | RunStep::Thinking(waiting)) = (same_kind, last) {
                let taken = cut(rest, DELTA_BYTES_MAX - waiting.len());
                waiting.push_str(taken);
                self.bytes += taken.len();
                rest = &rest[taken.len()..];
            }
        }
        while !rest.is_empty() {
            let piece = cut(rest, DELTA_BYTES_MAX);
            self.add(AgentEvent::Step { run_id: run_id.clone(), step: wrap(piece.to_owned()) });
            rest = &rest[piece.len()..];
        }
    }
}

/// The run's latest event, if that is a step and not far back.
fn last_step<'a>(events: &'a mut VecDeque<AgentEvent>, run_id: &RunId) -> Option<&'a mut RunStep> {
    events.iter_mut().rev().take(LOOK_BACK).find_map(|event| match event {
        AgentEvent::Step { run_id: other, step } if other == run_id => Some(step),
        _ => None,
    })
}

/// Whether `next` repeats the output of `last` with more of it.
fn is_newer_output(last: &RunStep, next: &RunStep) -> bool {
    match (last, next) {
        (RunStep::Tool(last), RunStep::Tool(next)) => {
            (last.phase, next.phase) == (ToolPhase::Update, ToolPhase::Update) && last.call_id == next.call_id
        }
        _ => false,
    }
}

fn event_bytes(event: &AgentEvent) -> usize {
    match event {
        AgentEvent::Step { step, .. } => EVENT_BYTES + step_bytes(step),
        AgentEvent::Ended { summary, .. } => EVENT_BYTES + summary.len(),
        AgentEvent::Sandbox { .. } | AgentEvent::Forgotten { .. } => EVENT_BYTES,
        AgentEvent::Trouble(reason) => EVENT_BYTES + reason.as_ref().map_or(0, String::len),
    }
}

fn step_bytes(step: &RunStep) -> usize {
    match step {
        RunStep::Text(text) | RunStep::Thinking(text) | RunStep::Error(text) | RunStep::Retrying(text) => {
            text.len()
        }
        RunStep::Tool(tool) => tool.call_id.len() + tool.name.len() + tool.text.len(),
        RunStep::Queued(_) | RunStep::Started | RunStep::Compacting | RunStep::Reset => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::ToolStep;

    fn drained(mut pending_events: PendingEvents) -> Vec<AgentEvent> {
        let events = std::iter::from_fn(|| pending_events.pop()).collect();
        assert_eq!(pending_events.bytes, 0, "every byte is accounted for");
        events
    }

    fn step(run_id: &str, step: RunStep) -> AgentEvent {
        AgentEvent::Step { run_id: run_id.into(), step }
    }

    fn text(run_id: &str, text: &str) -> AgentEvent {
        step(run_id, RunStep::Text(text.into()))
    }

    #[test]
    fn waiting_text_merges_per_run_but_never_across_another_step() {
        let mut pending_events = PendingEvents::default();
        for (run, piece) in [("a", "1"), ("b", "x"), ("a", "2"), ("b", "y")] {
            pending_events.push(text(run, piece));
        }
        pending_events.push(step("a", RunStep::Reset));
        pending_events.push(text("a", "3"));
        pending_events.push(step("a", RunStep::Thinking("t".into())));
        pending_events.push(text("a", "4"));
        let reset = step("a", RunStep::Reset);
        let thinking = step("a", RunStep::Thinking("t".into()));
        assert_eq!(
            drained(pending_events),
            [text("a", "12"), text("b", "xy"), reset, text("a", "3"), thinking, text("a", "4")]
        );
    }

    #[test]
    fn pieces_stay_below_their_bound_and_characters_whole() {
        let mut pending_events = PendingEvents::default();
        let all = "añ🦀".repeat(DELTA_BYTES_MAX / 3);
        pending_events.push(step("a", RunStep::Text("!".into())));
        pending_events.push(step("a", RunStep::Text(all.clone())));
        let mut joined = String::new();
        for event in drained(pending_events) {
            let AgentEvent::Step { step: RunStep::Text(piece), .. } = event else { panic!("{event:?}") };
            assert!(piece.len() <= DELTA_BYTES_MAX);
            joined.push_str(&piece);
        }
        assert_eq!(joined, format!("!{all}"));
    }

    #[test]
    fn newer_tool_output_replaces_older() {
        let update = |output: &str| {
            let (call_id, name, text) = ("c".into(), "bash".into(), output.into());
            RunStep::Tool(ToolStep { call_id, name, text, truncated: false, phase: ToolPhase::Update })
        };
        let mut pending_events = PendingEvents::default();
        pending_events.push(step("a", update("one")));
        pending_events.push(step("a", update("one two")));
        assert_eq!(drained(pending_events), [step("a", update("one two"))]);
    }

    #[test]
    fn it_says_when_it_is_full() {
        let mut pending_events = PendingEvents::default();
        while !pending_events.is_full() {
            pending_events.push(step("a", RunStep::Text("x".repeat(DELTA_BYTES_MAX))));
        }
        assert!(pending_events.bytes < AGENT_PENDING_BYTES_MAX + 2 * DELTA_BYTES_MAX);
    }
}
