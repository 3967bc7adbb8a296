//! What a run's end means for the people who asked on a channel.

use crate::protocol::call::RunId;
use crate::protocol::payload::RunStatus;
use crate::state::State;
use crate::state::model::reply::{PendingReplies, typing};
use crate::state::model::runs::{Origin, Run};

impl State {
    /// What a run and those that ride along owe together: it goes on record with the answer, so that
    /// a crash cannot part them.
    pub(crate) fn take_pending_replies(&mut self, run_id: &RunId, coalesced: &[RunId]) -> PendingReplies {
        let mut pending = PendingReplies::default();
        for run_id in std::iter::once(run_id).chain(coalesced) {
            let Some(run) = self.runs.get_mut(run_id) else { continue };
            if let Origin::Channel { inbox_ids, .. } = &mut run.origin {
                pending.inbox_ids.append(inbox_ids);
                pending.by_person |= run.reply.is_some();
            }
            if let Some(reply) = run.reply.take() {
                if std::mem::take(&mut run.shows_typing) {
                    self.effects.push(typing(&reply.route, false));
                }
                if !pending.replies.iter().any(|known| known.route == reply.route) {
                    pending.replies.push(reply);
                }
            }
        }
        pending
    }

    /// Puts the answers into the outbox and the questions out of the inbox.
    pub(crate) fn settle_replies(
        &mut self,
        pending: PendingReplies,
        run_id: &RunId,
        session_key: &str,
        status: RunStatus,
        summary: &str,
    ) {
        if self.stopping.is_some() && status != RunStatus::Ok {
            // They are asked again when the gateway is back.
            return;
        }
        for inbox_id in &pending.inbox_ids {
            self.inbox.finish(*inbox_id, self.now.wall_ms, &mut self.writes);
        }
        let text = match status {
            RunStatus::Ok if summary.trim().is_empty() => "(The answer is empty.)",
            RunStatus::Ok => summary,
            RunStatus::Error => {
                "Sorry, I could not answer that: something went wrong here. Please try again."
            }
            RunStatus::Timeout => {
                "Sorry, that took too long, so I stopped working on it. Please try again, perhaps in smaller steps."
            }
            RunStatus::Cancelled => "This was stopped.",
        };
        if status == RunStatus::Ok || pending.by_person {
            for reply in &pending.replies {
                self.post_text(reply, text, session_key, Some(run_id));
            }
        }
    }

    /// The agent has begun: the people who wait for it see that somebody writes.
    pub(crate) fn show_typing(&mut self, run_id: &RunId) {
        let Some(run) = self.runs.get_mut(run_id) else { return };
        let coalesced = run.coalesced.clone();
        for run_id in std::iter::once(run_id).chain(&coalesced) {
            let Some(run) = self.runs.get_mut(run_id) else { continue };
            if let (Origin::Channel { .. }, Some(reply)) = (&run.origin, &run.reply) {
                let effect = typing(&reply.route, true);
                run.shows_typing = true;
                self.effects.push(effect);
            }
        }
    }

    /// What somebody says ends runs, so nobody has to be told of their end.
    pub(crate) fn mute_replies(&mut self, meant: impl Fn(&Run) -> bool) {
        let meant = self.runs.iter().filter(|(_, run)| meant(run));
        let meant: Vec<RunId> = meant.map(|(id, _)| RunId::clone(id)).collect();
        for run_id in &meant {
            let Some(run) = self.runs.get_mut(run_id) else { continue };
            let reply = run.reply.take();
            if let Some(reply) = reply.filter(|_| std::mem::take(&mut run.shows_typing)) {
                self.effects.push(typing(&reply.route, false));
            }
        }
    }
}
