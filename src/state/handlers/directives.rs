//! Carries out directives: lines such as `/stop`, which are for the gateway and not for the model.
//!
//! Who may say which is decided before, where the message becomes a run (`asking`).

use serde_json::json;

use crate::limits::ms;
use crate::protocol::call::RunId;
use crate::protocol::event::AgentStream;
use crate::protocol::payload::{Role, RunStatus};
use crate::state::State;
use crate::state::model::directive::{Directive, HELP, LEVELS};
use crate::state::model::inbox::InboxId;
use crate::state::model::runs::Run;

impl State {
    /// Carries out the directive that a run is, and ends the run with the answer.
    pub(crate) fn execute_directive(&mut self, run_id: &RunId, session_key: &str, directive: Directive) {
        let text = match directive {
            Directive::New => {
                self.end_before(run_id, None);
                // Where there is no session, the next message begins one anyway.
                if self.sessions.is_known(session_key) {
                    let session_id = self.sessions.reset(session_key, self.now.wall_ms, &mut self.writes);
                    // The answer stands in the new conversation.
                    if let Some(run) = self.runs.by_id.get_mut(run_id) {
                        run.session_id = session_id;
                    }
                }
                self.end_session(session_key, false);
                "A new conversation begins.".to_owned()
            }
            Directive::Status => self.describe(session_key, true),
            Directive::BriefStatus => self.describe(session_key, false),
            Directive::Stop => self.stop_runs(run_id, None),
            Directive::StopOwn => {
                let person = self.runs.by_id.get(run_id).map(|run| run.person.clone());
                self.stop_runs(run_id, person.as_deref())
            }
            Directive::Pause => {
                self.pause(true);
                "Everything is paused; /resume lets it run again.".to_owned()
            }
            Directive::Resume => {
                self.pause(false);
                "The agent may run again.".to_owned()
            }
            Directive::OwnerOnly => "Only the owner can do that.".to_owned(),
            Directive::Think(None) => LEVELS.to_owned(),
            Directive::Think(Some(level)) => {
                self.sessions.set_thinking(session_key, level, self.now.wall_ms, &mut self.writes);
                format!("Thinking is {} for this conversation.", level.name())
            }
            Directive::Help => HELP.to_owned(),
        };
        // Clients see it as if it were the agent's answer.
        self.agent_step(run_id, AgentStream::Assistant, json!({ "delta": text }));
        self.end_run(run_id, RunStatus::Ok, &text, Some(Role::Note), &[]);
    }

    /// Carries out `/stop`: ends the runs that were asked before, by everybody or by that person; returns the answer.
    fn stop_runs(&mut self, run_id: &RunId, person: Option<&str>) -> String {
        let (ended, dropped) = self.end_before(run_id, person);
        match (ended, person) {
            (0, None) if dropped == 0 => "Nothing was running here.".to_owned(),
            (0, Some(_)) if dropped == 0 => "Nothing that you asked was running here.".to_owned(),
            (0 | 1, _) => "Stopped.".to_owned(),
            (count, _) => format!("Stopped; {count} messages were under way."),
        }
    }

    /// Ends the runs that were asked for in that run's session before it, and drops the messages that wait to be
    /// asked there; of one person only, if one is named. What was said behind the directive stays. Returns how many
    /// runs ended, and how many messages go unanswered.
    fn end_before(&mut self, run_id: &RunId, person: Option<&str>) -> (usize, usize) {
        let Some(run) = self.runs.by_id.get(run_id) else { return Default::default() };
        let (number, session_key) = (run.number, run.session_key.clone());
        let before = run.inbox_ids.iter().copied().min().unwrap_or(InboxId::MAX);
        let is_meant = |run: &Run| {
            run.session_key == session_key
                && run.number < number
                && person.is_none_or(|person| run.person == person)
        };
        self.mute_replies(is_meant);
        let mut unasked = self.inbox.ids(|entry| {
            entry.attribution.session_key == session_key
                && person.is_none_or(|person| entry.attribution.person == person)
                && entry.run.is_none()
                && entry.stored
        });
        unasked.retain(|inbox_id| *inbox_id < before);
        self.inbox.finish(&unasked, self.now.wall_ms, &mut self.writes);
        let (left, answered) = if person.is_some() { self.leave_shared(is_meant) } else { (0, 0) };
        (left + self.cancel_all(is_meant), unasked.len() + answered)
    }

    /// The answer to `/status`; with what is wrong, if `whole`.
    fn describe(&self, session_key: &str, whole: bool) -> String {
        let health = self.health.snapshot(self.now.wall_ms, &self.toggles, &self.runs);
        let mut text = format!(
            "The agent is {}: {} running, {} waiting. {} runs today. Thinking here: {}.",
            health.agent.state,
            health.agent.active,
            health.agent.queued,
            self.today.runs(),
            self.thinking(session_key).name(),
        );
        for reason in [health.agent.reason, health.storage.reason].into_iter().flatten().filter(|_| whole) {
            text.push('\n');
            text.push_str(&reason);
        }
        let up = ms(self.uptime_ms()).as_secs();
        text + &format!("\nUp for {} h {} min.", up / 3_600, up / 60 % 60)
    }
}
