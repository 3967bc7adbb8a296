//! Lines that begin with a slash and are for the gateway, not for the model.

use crate::limits::ms;
use crate::protocol::call::RunId;
use crate::protocol::payload::{Role, RunStatus};
use crate::state::State;
use crate::state::model::directive::{Directive, HELP, LEVELS};
use crate::state::model::runs::{Ended, Run};
use crate::state::model::switch::Switch;
use crate::store::StoreOp;

impl State {
    /// Carries a directive out and answers it as a run would be, without the agent.
    pub(crate) fn obey(&mut self, run_id: &RunId, session_key: &str, directive: Directive) {
        let (text, ops) = match directive {
            Directive::New => {
                let dropped = self.end_before(run_id, None).1;
                let mut ops = Vec::new();
                // Where there is none, the next message begins one anyway.
                if self.sessions.is_known(session_key) {
                    ops = self.sessions.reset(session_key, self.now.wall_ms).1;
                }
                ops.extend(dropped);
                self.end_session(session_key, false);
                ("A new conversation begins.".to_owned(), ops)
            }
            Directive::Status => (self.describe(session_key, true), Vec::new()),
            Directive::BriefStatus => (self.describe(session_key, false), Vec::new()),
            Directive::Stop => self.stop_runs(run_id, None),
            Directive::StopOwn => {
                let person = self.runs.get(run_id).map(|run| run.person.clone());
                self.stop_runs(run_id, person.as_deref())
            }
            Directive::Pause => {
                let ops = self.flip_and_keep(&Switch::Paused(true));
                ("Everything is paused; /resume lets it run again.".to_owned(), ops)
            }
            Directive::Resume => {
                let ops = self.flip_and_keep(&Switch::Paused(false));
                ("The agent may run again.".to_owned(), ops)
            }
            Directive::OwnerOnly => ("Only the owner can do that.".to_owned(), Vec::new()),
            Directive::Think(None) => (LEVELS.to_owned(), Vec::new()),
            Directive::Think(Some(level)) => {
                let ops = self.sessions.set_thinking(session_key, level, self.now.wall_ms);
                (format!("Thinking is {} for this conversation.", level.name()), ops)
            }
            Directive::Help => (HELP.to_owned(), Vec::new()),
        };
        self.say(run_id, &text);
        let owed = self.owed_by(run_id, &[]);
        let ended = Ended::new(RunStatus::Ok, text, Some(Role::Note));
        let anew = directive == Directive::New;
        self.end_run(run_id, Ended { ops, anew, owed, ..ended });
    }

    /// Ends what was asked before, by everybody or by that person; the answer, and what to store.
    fn stop_runs(&mut self, run_id: &RunId, person: Option<&str>) -> (String, Vec<StoreOp>) {
        let (ended, dropped) = self.end_before(run_id, person);
        let text = match (ended, person) {
            (0, None) if dropped.is_empty() => "Nothing was running here.".to_owned(),
            (0, Some(_)) if dropped.is_empty() => "Nothing that you asked was running here.".to_owned(),
            (0 | 1, _) => "Stopped.".to_owned(),
            (count, _) => format!("Stopped; {count} messages were under way."),
        };
        (text, dropped)
    }

    /// Ends what was asked in the session before that run, and drops what waits to be asked; of one
    /// person only, if one is named. What was said behind it is not meant. Returns how many runs ended,
    /// and what to store.
    fn end_before(&mut self, run_id: &RunId, person: Option<&str>) -> (usize, Vec<StoreOp>) {
        let Some(run) = self.runs.get(run_id) else { return Default::default() };
        let (number, before, session_key) = (run.number, run.first_number(), run.session_key.clone());
        let meant = |run: &Run| {
            run.session_key == session_key
                && run.number < number
                && person.is_none_or(|person| run.person == person)
        };
        self.hush(meant);
        let mut dropped = self.drop_waiting(&session_key, before, person);
        let mut left = 0;
        if person.is_some() {
            let (count, ops) = self.leave_shared(meant);
            left = count;
            dropped.extend(ops);
        }
        (left + self.cancel_all(meant), dropped)
    }

    /// What a person wants to know in a chat.
    fn describe(&self, session_key: &str, whole: bool) -> String {
        let health = self.health.snapshot(self.now.wall_ms, &self.toggles, &self.runs);
        let thinking = self.sessions.thinking(session_key).unwrap_or(self.config.thinking);
        let mut text = format!(
            "The agent is {}: {} running, {} waiting. {} runs today. Thinking here: {}.",
            health.agent.state,
            health.agent.active,
            health.agent.queued,
            self.today.runs(),
            thinking.name(),
        );
        for reason in [health.agent.reason, health.storage.reason].into_iter().flatten().filter(|_| whole) {
            text.push('\n');
            text.push_str(&reason);
        }
        let up = ms(self.uptime_ms()).as_secs();
        text + &format!("\nUp for {} h {} min.", up / 3_600, up / 60 % 60)
    }

    /// Switches and says what to store; used where the answer is not the switch's own.
    fn flip_and_keep(&mut self, switch: &Switch) -> Vec<StoreOp> {
        self.flip(switch);
        vec![self.toggles_op()]
    }
}
