//! What people on the channels are told: that somebody writes to them, what came of their run, that their message
//! waits; and the owner, what was missed or is used up.

use std::fmt::Write as _;

use crate::channels::ChannelCommand;
use crate::channels::delivery::Part;
use crate::channels::message::{Inbound, Route};
use crate::clock::utc;
use crate::limits::{ERROR_TEXT_BYTES_MAX, QUEUE_NOTICE_AFTER};
use crate::protocol::call::{Channel, RunId};
use crate::protocol::frame::cut_encoded;
use crate::protocol::payload::{Message, Role, RunStatus};
use crate::state::journal::Then;
use crate::state::model::access::Attribution;
use crate::state::model::inbox::Entry;
use crate::state::model::outbox::Reply;
use crate::state::model::prompt;
use crate::state::model::runs::{Origin, Run, RunPhase};
use crate::state::model::sessions::MAIN;
use crate::state::{Effect, State};
use crate::text;

/// Messages named in one report; the rest is counted.
const LISTED_MAX: usize = 10;

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
            let Some(run) = self.runs.by_id.get_mut(run_id) else { continue };
            questions.append(&mut run.inbox_ids);
            by_person |= run.origin == Origin::Channel && run.reply.is_some();
            let Some(reply) = self.take_reply(run_id) else { continue };
            if !replies.iter().any(|known| known.route == reply.route) {
                replies.push(reply);
            }
        }
        if self.stopping.is_some() && status != RunStatus::Ok {
            // They are asked again when the gateway is back.
            return;
        }
        self.inbox.finish(&questions, self.now.wall_ms, &mut self.writes);
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
        let Some(run) = self.runs.by_id.get_mut(run_id) else { return };
        let coalesced = run.coalesced.clone();
        for run_id in std::iter::once(run_id).chain(&coalesced) {
            let Some(run) = self.runs.by_id.get_mut(run_id) else { continue };
            if let (Origin::Channel, Some(reply)) = (run.origin, &run.reply) {
                self.effects.push(typing(&reply.route, true));
                run.typing_in = Some(reply.route.clone());
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
        let run = self.runs.by_id.get_mut(run_id)?;
        let reply = run.reply.take()?;
        if let Some(route) = run.typing_in.take() {
            self.effects.push(typing(&route, false));
        }
        Some(reply)
    }

    /// The owner's own chat, on the first channel that has one and is set up.
    fn owner_chat(&self) -> Option<Reply> {
        let mut channels = Channel::ALL.into_iter().filter(|channel| {
            self.health.channels.get(channel).is_some_and(|health| health.configured && health.enabled)
        });
        channels.find_map(|channel| {
            let chat = self.access.owner(channel)?.to_owned();
            Some(Reply { route: Route { channel, chat, topic: None }, to: None })
        })
    }

    /// Tells the owner something, in their chat and in the history of `main`.
    fn tell_owner(&mut self, text: &str) {
        // Makes the session if there is none yet.
        self.sessions.current(MAIN);
        let note = Message::new(Role::Note, text.to_owned(), self.now.wall_ms);
        self.sessions.append_to_current(MAIN, note, &mut self.writes);
        if let Some(reply) = self.owner_chat() {
            // No Markdown: people are quoted in it, and their words can make no link that shows something else.
            let part = Part::Text { text: text.to_owned(), entities: Vec::new() };
            self.post(&reply, MAIN, vec![part], None, None);
        }
    }

    /// Lists to the owner the messages that are too old to be answered.
    pub(crate) fn report_missed(&mut self, missed: &[Inbound]) {
        let mut text = match missed.len() {
            1 => "While I was away a message grew too old to be answered:".to_owned(),
            count => format!("While I was away {count} messages grew too old to be answered:"),
        };
        for message in missed.iter().take(LISTED_MAX) {
            let channel = message.route.channel;
            let mut who =
                prompt::label(message.name.as_deref(), &format!("{}:{}", channel.name(), message.from));
            if message.is_group {
                let _ = write!(who, " in the group {}", message.route.chat);
            }
            // On one line, or it could pass for several people's words.
            let said = text::one_line(&message.shown_text());
            let said = cut_encoded(&said, ERROR_TEXT_BYTES_MAX / 4);
            let _ = write!(text, "\n- {who}, {}: {said}", utc(message.ts / 1_000));
        }
        if missed.len() > LISTED_MAX {
            let _ = write!(text, "\n- and {} more", missed.len() - LISTED_MAX);
        }
        self.tell_owner(&text);
    }

    /// Tells the owner that today's runs are used up, by everybody or by one person.
    pub(crate) fn notice_budget(&mut self, attribution: &Attribution) {
        let text = format!(
            "Today's runs are used up for {} (agent.dailyRuns, agent.dailyRunsPerPerson); there are new ones at midnight UTC.",
            attribution.person
        );
        self.tell_owner(&text);
    }

    /// Tells people whose message has waited for a while that it is in line, once.
    pub(crate) fn tell_who_waits(&mut self) {
        let has_room = self.store_has_room();
        let mut waiting: Vec<(Reply, String)> = Vec::new();
        let runs = &self.runs;
        let in_line = |entry: &Entry| match &entry.run {
            None => entry.fetching == 0,
            Some(run_id) => runs.by_id.get(run_id).is_some_and(|run| {
                matches!(run.phase, RunPhase::Waiting | RunPhase::Counting | RunPhase::Held)
            }),
        };
        // Who sends several messages at once is told of the first of them.
        let told = self.inbox.waiting.values().filter(|entry| entry.tell_at.is_none() && in_line(entry));
        let mut told: Vec<Route> = told.map(|entry| entry.message.route.clone()).collect();
        for entry in self.inbox.waiting.values_mut() {
            if !entry.stored || entry.tell_at.is_none_or(|at| at > self.now.mono) {
                continue;
            }
            if has_room && in_line(entry) {
                entry.tell_at = None;
                let reply = Reply::to(&entry.message);
                if !told.contains(&reply.route) {
                    told.push(reply.route.clone());
                    waiting.push((reply, entry.attribution.session_key.clone()));
                }
            } else {
                entry.tell_at = Some(self.now.mono + QUEUE_NOTICE_AFTER);
            }
        }
        if waiting.is_empty() {
            return;
        }
        for (reply, session_key) in waiting {
            let line = "Your message is in line: I am busy with something else and answer when I am done.";
            self.post_text(&reply, line, &session_key, None);
        }
        self.commit(Then::Nothing);
    }
}

fn typing(route: &Route, is_typing: bool) -> Effect {
    Effect::Channel(ChannelCommand::Typing { route: route.clone(), is_typing })
}
