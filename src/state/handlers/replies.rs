//! Shows the people who asked on a channel that their run is under way, and answers them when it ends.

use crate::channels::ChannelCommand;
use crate::channels::message::Route;
use crate::protocol::call::RunId;
use crate::protocol::payload::RunStatus;
use crate::state::model::outbox::Reply;
use crate::state::model::runs::{Origin, Run};
use crate::state::{Effect, State};

impl State {
    /// Puts the answer to a run and its coalesced runs into the outbox, for each chat that is owed one, and takes the
    /// questions out of the inbox. That goes on record with the run's end, so that a crash cannot part them.
    pub(crate) fn settle_replies(
        &mut self,
        run_id: &RunId,
        coalesced: &[RunId],
        session_key: &str,
        status: RunStatus,
        summary: &str,
    ) {
        let mut replies: Vec<Reply> = Vec::new();
        let mut questions = Vec::new();
        // Whether somebody on a channel asked, who is told of failures, too.
        let mut by_person = false;
        for run_id in std::iter::once(run_id).chain(coalesced) {
            let Some(run) = self.runs.get_mut(run_id) else { continue };
            if let Origin::Channel { inbox_ids, .. } = &mut run.origin {
                questions.append(inbox_ids);
                by_person |= run.reply.is_some();
            }
            let Some(reply) = self.take_reply(run_id) else { continue };
            if !replies.iter().any(|known| known.route == reply.route) {
                replies.push(reply);
            }
        }
        if self.stopping.is_some() && status != RunStatus::Ok {
            // They are asked again when the gateway is back.
            return;
        }
        for inbox_id in questions {
            self.inbox.finish(inbox_id, self.now.wall_ms, &mut self.writes);
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
        if status == RunStatus::Ok || by_person {
            for reply in &replies {
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
            self.take_reply(run_id);
        }
    }

    /// Takes the chat that a run's answer goes to. From now on nobody is shown there that somebody writes.
    fn take_reply(&mut self, run_id: &RunId) -> Option<Reply> {
        let run = self.runs.get_mut(run_id)?;
        let reply = run.reply.take()?;
        if std::mem::take(&mut run.shows_typing) {
            self.effects.push(typing(&reply.route, false));
        }
        Some(reply)
    }
}

fn typing(route: &Route, is_typing: bool) -> Effect {
    Effect::Channel(ChannelCommand::Typing { route: route.clone(), is_typing })
}
