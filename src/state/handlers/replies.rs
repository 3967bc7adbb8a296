//! Shows the people who asked on a channel that their run is under way, and answers them when it ends.

use crate::channels::ChannelCommand;
use crate::channels::message::Route;
use crate::protocol::call::RunId;
use crate::protocol::payload::RunStatus;
use crate::state::model::outbox::PendingReplies;
use crate::state::model::runs::{Origin, Run};
use crate::state::{Effect, State};

impl State {
    /// Takes what a run and its coalesced runs owe to chats. It goes on record with the answer, so that a crash
    /// cannot part them.
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

    /// Puts the answer into the outbox, for each chat, and takes the questions out of the inbox.
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

    /// Shows the people who asked for a run that somebody writes to them.
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

    /// Lets the runs for which `is_meant` holds answer no chat: whoever ends them with a directive is answered by
    /// that.
    pub(crate) fn mute_replies(&mut self, is_meant: impl Fn(&Run) -> bool) {
        for run_id in &self.runs.ids(is_meant) {
            let Some(run) = self.runs.get_mut(run_id) else { continue };
            let reply = run.reply.take();
            if let Some(reply) = reply.filter(|_| std::mem::take(&mut run.shows_typing)) {
                self.effects.push(typing(&reply.route, false));
            }
        }
    }
}

fn typing(route: &Route, is_typing: bool) -> Effect {
    Effect::Channel(ChannelCommand::Typing { route: route.clone(), is_typing })
}
