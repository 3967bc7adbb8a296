//! Makes runs of the messages in the inbox that are whole, in the order in which they came, or answers them
//! without one.
//!
//! Knows of the agent only whether it has room; when a run starts is up to `runs`.

use crate::channels::ChannelCommand;
use crate::channels::message::Inbound;
use crate::limits::{ASKED_MAX, SESSIONS_MAX, SESSIONS_RESERVE};
use crate::protocol::payload::{Message, Role};
use crate::state::journal::Then;
use crate::state::model::access::{Attribution, OWNER, Verdict};
use crate::state::model::inbox::{Entry, InboxId};
use crate::state::model::question::{Question, directive_of, left_out_line};
use crate::state::model::runs::{Origin, Run, RunPhase};
use crate::state::{Effect, State};

const INTERRUPTED: &str = "I was interrupted again and again while I worked on this, so I left it. Please ask once more if you still need it.";
const BUDGET_USED: &str =
    "That was all for today: the day's answers are used up. I am back after midnight (UTC).";

const NO_ROOM: &str =
    "I have no room for another conversation. Whoever runs me has to forget one first (`clawdis forget`).";

impl State {
    /// Asks the agent about the messages that are whole and have no run yet, as far as it has room.
    pub(crate) fn ask_waiting(&mut self) {
        if self.stopping.is_some() || self.inbox.hold_until.is_some() {
            return;
        }
        // What was said behind a directive waits for it: it may end all that was said before.
        let mut blocked = self.runs.sessions_with_directive();
        for inbox_id in self.inbox.ids(|entry| entry.run.is_none()) {
            let Some(entry) = self.inbox.waiting.get(&inbox_id).filter(|entry| entry.run.is_none()) else {
                continue;
            };
            if !self.store_has_room() {
                return;
            }
            let session_key = entry.attribution.session_key.clone();
            if entry.stored && directive_of(&entry.message).is_some() {
                // A directive goes past messages that wait: it may be there to stop them.
                self.ask(&[inbox_id]);
                blocked.insert(session_key);
                continue;
            }
            if blocked.contains(&session_key) {
                continue;
            }
            let is_full = self.agent_is_full_for(&entry.attribution);
            let pieces = self.inbox.pieces(inbox_id);
            let is_whole = |piece| self.inbox.waiting.get(piece).is_some_and(Entry::is_whole);
            if !is_full && pieces.iter().all(is_whole) {
                self.ask(&pieces);
            } else {
                blocked.insert(session_key);
            }
        }
    }

    /// Whether the agent has as many runs as it takes.
    pub(crate) fn agent_is_full(&self) -> bool {
        self.runs.places_taken(|_| true) >= self.config.agent.queue + self.config.agent.max_processes
    }

    /// Whether the agent takes no more runs of that person or session: others than the owner leave a place to the
    /// owner, and one person or session of theirs leaves half of all places to the rest.
    fn agent_is_full_for(&self, attribution: &Attribution) -> bool {
        if attribution.person == OWNER {
            return self.agent_is_full();
        }
        let places = self.config.agent.queue + self.config.agent.max_processes;
        let is_theirs = |run: &Run| {
            run.person != OWNER
                && (run.session_key == attribution.session_key || run.person == attribution.person)
        };
        self.runs.places_taken(|_| true) >= places.saturating_sub(1).max(1)
            || self.runs.places_taken(is_theirs) >= (places / 2).max(1)
    }

    /// Makes a run of a message, or answers it without one.
    fn ask(&mut self, inbox_ids: &[InboxId]) {
        let Some(entry) = inbox_ids.first().and_then(|inbox_id| self.inbox.waiting.get(inbox_id)) else {
            return;
        };
        let Verdict::Allowed(attribution) = self.access.verdict(&entry.message) else {
            // Its sender is not let in any more.
            self.inbox.finish(inbox_ids, self.now.wall_ms, &mut self.writes);
            return self.commit(Then::Nothing);
        };
        for inbox_id in inbox_ids {
            self.inbox.move_to(*inbox_id, &attribution);
        }
        let Some(question) =
            Question::new(inbox_ids, &self.inbox, &self.access, &self.group_context, self.now)
        else {
            return;
        };
        if question.directive.is_none() {
            if let Some(line) = self.refusal(&question) {
                self.decline(&question, Some(&line));
                return self.commit(Then::Nothing);
            }
            let Attribution { session_key, person } = &question.attribution;
            if self.today.wait_ms(person, &self.config.agent, self.now.wall_ms).is_some() {
                // They are told once a day; after that there is silence.
                let line = self.today.tell(person).then_some(BUDGET_USED);
                self.decline(&question, line);
                if person != OWNER && self.today.tell(OWNER) {
                    self.notice_budget(&question.attribution);
                }
                self.today.saw(person, session_key);
                self.put_today();
                return self.commit(Then::Nothing);
            }
        }
        self.begin_asking(question);
    }

    /// What a person is told whose question does not go to the agent, whatever the budget says; `None` if it may.
    fn refusal(&self, question: &Question) -> Option<String> {
        let line = if !question.has_content && question.left_out.is_empty() {
            "Yes? Write me what you need."
        } else if !question.has_content {
            return Some(left_out_line(&question.left_out));
        } else if question.asked >= ASKED_MAX {
            INTERRUPTED
        } else if self.toggles.paused {
            "I am paused and cannot answer now. Please ask again later."
        } else if !self.config.agent_configured {
            "There is nobody here to answer yet: no agent is set up."
        } else if !self.has_session_room(&question.attribution.session_key) {
            NO_ROOM
        } else {
            return None;
        };
        Some(line.to_owned())
    }

    /// Whether somebody may begin a session under that key, if there is none.
    fn has_session_room(&self, session_key: &str) -> bool {
        self.sessions.is_known(session_key) || self.sessions.len() < SESSIONS_MAX + SESSIONS_RESERVE
    }

    /// Answers without the agent: the message goes on record with what was said, if anything is.
    fn decline(&mut self, question: &Question, line: Option<&str>) {
        let key = &question.attribution.session_key;
        let has_room = self.has_session_room(key);
        let session_id = if has_room { self.sessions.current(key).id.clone() } else { String::new() };
        if !question.said {
            self.sessions.append(key, &session_id, question.message.clone(), &mut self.writes);
        }
        if let Some(line) = line {
            let note = Message::new(Role::Note, line.to_owned(), self.now.wall_ms);
            self.sessions.append(key, &session_id, note, &mut self.writes);
            self.post_text(&question.reply, line, key, None);
        }
        self.inbox.finish(&question.inbox_ids, self.now.wall_ms, &mut self.writes);
    }

    fn begin_asking(&mut self, question: Question) {
        let key = question.attribution.session_key.clone();
        let run_id = self.new_run_id();
        if !question.said {
            self.begin_anew_if_idle(&key);
        }
        let session_id = self.conversation_for(&key, question.directive);
        self.sessions.set_route(&key, &question.reply.route);
        if !question.said {
            let message = Message { run_id: Some(run_id.to_string()), ..question.message };
            self.sessions.append(&key, &session_id, message, &mut self.writes);
        }
        let was_interrupted = question.asked > 0;
        let has_place = question.directive.is_none() && self.has_place(&key, was_interrupted);
        for inbox_id in &question.inbox_ids {
            self.inbox.ask(*inbox_id, &run_id, has_place, &mut self.writes);
        }
        if has_place && was_interrupted {
            self.note_again(&key);
        }
        let person = question.attribution.person;
        if question.directive.is_none() {
            self.group_context.clear(&key);
        }
        if !question.left_out.is_empty() {
            let line = left_out_line(&question.left_out);
            self.post_text(&question.reply, &line, &key, None);
        }
        self.mark_seen(&question.inbox_ids);
        let run = Run {
            origin: Origin::Channel,
            inbox_ids: question.inbox_ids,
            was_interrupted,
            reply: Some(question.reply),
            directive: question.directive,
            prompt: question.prompt,
            image_files: question.images,
            has_place,
            ..self.new_run(&key, &session_id, &person)
        };
        self.begin_run(run_id, run);
    }

    /// Shows the senders on their channel that their messages were read; one who is not let in never sees it.
    fn mark_seen(&mut self, inbox_ids: &[InboxId]) {
        for inbox_id in inbox_ids {
            let Some(entry) = self.inbox.waiting.get(inbox_id) else { continue };
            let Inbound { route, message_id, from, .. } = entry.message.clone();
            self.effects.push(Effect::Channel(ChannelCommand::MarkRead { route, message_id, from }));
        }
    }

    /// After a change of who may write, or of the owner: takes messages that wait for the agent, and would be
    /// judged otherwise now, back into the inbox, where they are judged again.
    pub(crate) fn take_back_held(&mut self) {
        let is_judged_otherwise = |inbox_id: &InboxId| {
            let entry = self.inbox.waiting.get(inbox_id);
            entry.is_some_and(|entry| {
                self.access.verdict(&entry.message) != Verdict::Allowed(entry.attribution.clone())
            })
        };
        let held =
            self.runs.ids(|run| run.phase == RunPhase::Held && run.inbox_ids.iter().any(is_judged_otherwise));
        for run_id in held {
            let Some(run) = self.runs.by_id.get_mut(&run_id) else { continue };
            run.reply = None;
            for inbox_id in std::mem::take(&mut run.inbox_ids) {
                self.inbox.unask(inbox_id);
            }
            self.cancel(&run_id);
        }
    }
}
