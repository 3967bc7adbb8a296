//! What the daemon has promised by some moment, and what may therefore never be undone.
//!
//! Built from what went over the sockets; knows the protocol's promises and no file.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::crash::talk::Said;

/// A run somebody asked for.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) params: Value,
    pub(crate) session: String,
    /// The run's id, once it was acknowledged.
    pub(crate) acked: Option<String>,
    /// The last answer that somebody was sent.
    pub(crate) last: Option<Value>,
    /// Its prompt was given to the agent.
    pub(crate) prompted: bool,
    /// Number of the request.
    number: u64,
}

impl Run {
    /// Whether the daemon may not act on this key as if it were new.
    pub(crate) fn is_bound(&self) -> bool {
        self.acked.is_some() || self.last.is_some() || self.prompted
    }

    /// Whether the agent had its say.
    pub(crate) fn was_answered(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last["ok"] == true)
    }

    pub(crate) fn message(&self) -> &str {
        self.params["message"].as_str().unwrap()
    }
}

/// A session as clients were told of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Session {
    /// Messages of the conversation in order: number of the request, role and text.
    pub(crate) said: Vec<(u64, String, String)>,
    /// Messages of conversations before a reset.
    pub(crate) earlier: Vec<String>,
    /// Said before the session was forgotten: nothing of it may be anywhere.
    pub(crate) forgotten: Vec<String>,
    /// Its conversation, if a reset told.
    pub(crate) id: Option<String>,
    /// Resets and forgets that were asked for and not answered, with their numbers.
    changing: BTreeMap<String, u64>,
}

impl Session {
    /// Whether a request that has not been answered may have changed it.
    pub(crate) fn is_changing(&self) -> bool {
        !self.changing.is_empty()
    }
}

/// Everything that was promised.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) runs: BTreeMap<String, Run>,
    pub(crate) sessions: BTreeMap<String, Session>,
    /// Values that each switch may have: the last one acknowledged, and those asked for since.
    pub(crate) switches: BTreeMap<String, Vec<Value>>,
    /// Requests so far.
    requests: u64,
    /// Requests without a last answer.
    asked: BTreeMap<String, (String, Value)>,
}

/// The switches that the tests turn: method and member of its params.
pub(crate) const SWITCHES: [(&str, &str); 2] = [("set-heartbeats", "enabled"), ("set-paused", "paused")];

impl Facts {
    /// Of a daemon that has promised nothing.
    pub(crate) fn new() -> Self {
        let switches = SWITCHES.map(|(method, _)| (method.to_owned(), vec![json!(false)]));
        Self { switches: switches.into(), ..Self::default() }
    }

    /// The agent was given a prompt that stands for these keys.
    pub(crate) fn prompted(&mut self, keys: &[String]) {
        for key in keys {
            self.runs.get_mut(key).expect("a prompt stands for what was asked").prompted = true;
        }
    }

    /// Takes in what was asked or answered.
    pub(crate) fn hear(&mut self, said: Said) {
        match said {
            Said::Asked { id, method, params } => {
                self.asked(&id, &method, &params);
                self.asked.insert(id, (method, params));
            }
            Said::Answered { id, frame } => {
                let Some((method, params)) = self.asked.get(&id).cloned() else { return };
                let last = self.answered(&id, &method, &params, &frame);
                if last {
                    self.asked.remove(&id);
                }
            }
        }
    }

    fn asked(&mut self, id: &str, method: &str, params: &Value) {
        self.requests += 1;
        match method {
            "agent" => {
                let run = Run {
                    params: params.clone(),
                    session: session_of(params),
                    acked: None,
                    last: None,
                    prompted: false,
                    number: self.requests,
                };
                self.runs.entry(key_of(params)).or_insert(run);
            }
            "session-reset" | "session-forget" => {
                let session = self.sessions.entry(session_of(params)).or_default();
                session.changing.insert(id.to_owned(), self.requests);
            }
            _ => {
                if let Some((_, member)) = SWITCHES.iter().find(|(name, _)| *name == method) {
                    self.switches.get_mut(method).unwrap().push(params[member].clone());
                }
            }
        }
    }

    /// Whether this was the last answer to that request.
    fn answered(&mut self, id: &str, method: &str, params: &Value, frame: &Value) -> bool {
        match method {
            "agent" => return self.agent_answered(params, frame),
            "session-reset" | "session-forget" => {
                let session = self.sessions.entry(session_of(params)).or_default();
                let number = session.changing.remove(id).unwrap();
                if frame["ok"] != true {
                    return true;
                }
                // What was asked later is of the next conversation, even if it was answered sooner.
                let (before, after) =
                    std::mem::take(&mut session.said).into_iter().partition(|(asked, ..)| *asked < number);
                session.said = after;
                let before: Vec<(u64, String, String)> = before;
                let said = before.into_iter().map(|(_, _, text)| text);
                if method == "session-reset" {
                    session.earlier.extend(said);
                    session.id = frame["payload"]["sessionId"].as_str().map(str::to_owned);
                } else {
                    session.forgotten.extend(said);
                    session.forgotten.append(&mut session.earlier);
                    session.id = None;
                }
            }
            _ => {
                if let Some((_, member)) = SWITCHES.iter().find(|(name, _)| *name == method) {
                    self.switches.insert(method.to_owned(), vec![params[member].clone()]);
                }
            }
        }
        true
    }

    fn agent_answered(&mut self, params: &Value, frame: &Value) -> bool {
        let run = self.runs.get_mut(&key_of(params)).unwrap();
        let session = self.sessions.entry(run.session.clone()).or_default();
        let payload = &frame["payload"];
        let unknown = frame["error"]["details"]["outcome"] == "unknown";
        if !payload["runId"].is_string() && !unknown {
            // Refused: nothing is promised and the key is free.
            return true;
        }
        let first = run.acked.is_none() && run.last.is_none();
        if first && !unknown {
            session.said.push((run.number, "user".to_owned(), run.message().to_owned()));
        }
        if payload["status"] == "accepted" {
            run.acked = payload["runId"].as_str().map(str::to_owned);
            return false;
        }
        // Riders of a burst share their answer; the history has it once.
        if frame["ok"] == true && run.last.is_none() {
            let answer = payload["summary"].as_str().unwrap();
            if !session.said.iter().any(|(_, role, text)| role == "assistant" && text == answer) {
                session.said.push((run.number, "assistant".to_owned(), answer.to_owned()));
            }
        }
        run.last = Some(frame.clone());
        true
    }
}

pub(crate) fn key_of(params: &Value) -> String {
    params["idempotencyKey"].as_str().unwrap().to_owned()
}

fn session_of(params: &Value) -> String {
    params["sessionKey"].as_str().unwrap_or("main").to_owned()
}

/// The keys that a prompt stands for.
pub(crate) fn keys_in(prompt: &str) -> Vec<String> {
    let named = prompt.split("[[key ").skip(1);
    named.filter_map(|rest| rest.split_once("]]")).map(|(key, _)| key.to_owned()).collect()
}
