//! What a run's end means for the people who asked on a surface.

use crate::channels::ChannelCommand;
use crate::channels::message::{Inbound, Route};
use crate::protocol::call::RunId;
use crate::protocol::payload::RunStatus;
use crate::state::handlers::deliveries::Posted;
use crate::state::model::inbox::Number;
use crate::state::model::runs::Origin;
use crate::state::model::runs::Run;
use crate::state::{Effect, State};

/// Where an answer goes. Fixed when the message is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) route: Route,
    /// The message that it answers, where that has to be said: among several people.
    pub(crate) to: Option<String>,
}

impl Reply {
    pub(crate) fn to(message: &Inbound) -> Self {
        Self { route: message.route.clone(), to: message.is_group.then(|| message.message_id.clone()) }
    }
}

/// What the end of a run owes to surfaces.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    /// One answer for each chat.
    replies: Vec<Reply>,
    /// Messages that are answered with it.
    numbers: Vec<Number>,
    /// Somebody on a surface asked, and is told of failures too.
    by_person: bool,
}

impl State {
    /// What a run and those that ride along owe together: it goes on record with the answer, so that
    /// a crash cannot part them.
    pub(crate) fn owed_by(&mut self, run_id: &RunId, riders: &[RunId]) -> Owed {
        let mut owed = Owed::default();
        for run_id in std::iter::once(run_id).chain(riders) {
            let Some(run) = self.runs.get_mut(run_id) else { continue };
            if let Origin::Surface { numbers, .. } = &mut run.origin {
                owed.numbers.append(numbers);
                owed.by_person |= run.reply.is_some();
            }
            if let Some(reply) = run.reply.take() {
                if std::mem::take(&mut run.shows_typing) {
                    self.effects.push(typing(&reply.route, false));
                }
                if !owed.replies.iter().any(|known| known.route == reply.route) {
                    owed.replies.push(reply);
                }
            }
        }
        owed
    }

    /// Puts the answers into the outbox and the questions out of the inbox.
    pub(crate) fn settle_owed(
        &mut self,
        owed: Owed,
        run_id: &RunId,
        session_key: &str,
        status: RunStatus,
        summary: &str,
    ) -> Posted {
        let mut posted = Posted::default();
        if self.stopping.is_some() && status != RunStatus::Ok {
            // They are asked again when the gateway is back.
            return posted;
        }
        for number in &owed.numbers {
            posted.ops.extend(self.inbox.finish(*number, self.now.wall_ms));
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
        if status == RunStatus::Ok || owed.by_person {
            for reply in &owed.replies {
                self.post_text(&mut posted, reply, text, session_key, Some(run_id));
            }
        }
        posted
    }

    /// The agent has begun: the people who wait for it see that somebody writes.
    pub(crate) fn show_typing(&mut self, run_id: &RunId) {
        let Some(run) = self.runs.get_mut(run_id) else { return };
        let riders = run.riders.clone();
        for run_id in std::iter::once(run_id).chain(&riders) {
            let Some(run) = self.runs.get_mut(run_id) else { continue };
            if let (Origin::Surface { .. }, Some(reply)) = (&run.origin, &run.reply) {
                let effect = typing(&reply.route, true);
                run.shows_typing = true;
                self.effects.push(effect);
            }
        }
    }

    /// What somebody says ends runs, so nobody has to be told of their end.
    pub(crate) fn hush(&mut self, meant: impl Fn(&Run) -> bool) {
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

fn typing(route: &Route, on: bool) -> Effect {
    Effect::Channel(ChannelCommand::Typing { route: route.clone(), on })
}
