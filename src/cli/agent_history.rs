//! Finds the answer of a run whose key is too old to be sent again: in the session's history, which
//! carries run ids and keys.

use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::agent::{Ended, Run};
use crate::cli::agent_view::AgentView;
use crate::cli::connection::{Connection, Frame};
use crate::cli::exit::Failure;
use crate::cli::render::{list, string};
use crate::limits::{CLI_HISTORY_POLL_MS, HISTORY_PAGE_MAX, ms};

/// Looks until the answer is there, for as long as the gateway is at work.
pub(crate) fn find(
    run: &mut Run,
    connection: &mut Connection,
    view: &mut AgentView,
) -> Result<Ended, Failure> {
    view.remark("looking into the history for the answer")?;
    loop {
        // In this order: an agent that was idle before the history was read has written all of it.
        let health = connection.request("health", json!({}), run.answer_by())?;
        let params = json!({ "sessionKey": run.request.session, "limit": HISTORY_PAGE_MAX });
        let history = connection.request("session-history", params, run.answer_by())?;
        let trace = trace(list(&history["messages"]), run.id.as_deref(), &run.request.key);
        if let Some(run_id) = trace.run_id {
            run.id = Some(run_id);
        }
        if let Some(text) = trace.answer {
            let payload = json!({ "runId": run.id, "status": "ok", "summary": text });
            return Ok(Ended { payload, error: None });
        }
        let agent = &health["agent"];
        if agent["active"].as_u64().unwrap_or(0) + agent["queued"].as_u64().unwrap_or(0) == 0 {
            let text = if trace.asked {
                "it began, but there is no answer on record"
            } else {
                "there is no trace of it"
            };
            return Err(Failure::Local(format!(
                "the run was interrupted ({text} in session {}); see `clawdis history {0}` before asking again",
                run.request.session
            )));
        }
        wait(run, connection, view)?;
    }
}

/// Until the run's end is announced, or for a while.
fn wait(run: &mut Run, connection: &mut Connection, view: &mut AgentView) -> Result<(), Failure> {
    let until = Instant::now() + ms(CLI_HISTORY_POLL_MS);
    while Instant::now() < until {
        if let Some(Frame::Event(event)) = run.next(connection, run.deadline())? {
            if run.is_ours(&event) {
                view.event(&event)?;
                if event["payload"]["data"]["phase"] == "ended" {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// What a session's history says about a run.
#[derive(Debug, Default, PartialEq)]
struct Trace {
    /// The question is there.
    asked: bool,
    /// The run's id, if the history knows it.
    run_id: Option<String>,
    /// The final text.
    answer: Option<String>,
}

/// `messages` are newest first.
fn trace(messages: &[Value], run_id: Option<&str>, key: &str) -> Trace {
    let named = |message: &&Value| message["idempotencyKey"] == key;
    let run_id = run_id.map(str::to_owned).or_else(|| {
        messages.iter().filter(named).find_map(|message| message["runId"].as_str().map(str::to_owned))
    });
    let ours = |message: &&Value| {
        named(message) || (run_id.is_some() && message["runId"].as_str() == run_id.as_deref())
    };
    let of_role = |role: &str| messages.iter().filter(ours).find(|message| message["role"] == role);
    Trace {
        asked: of_role("user").is_some(),
        answer: of_role("assistant").map(|message| string(&message["text"]).to_owned()),
        run_id: run_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Trace, trace};

    fn history() -> Vec<Value> {
        vec![
            json!({ "role": "assistant", "text": "other", "runId": "r2" }),
            json!({ "role": "assistant", "text": "forty-two", "runId": "r1" }),
            json!({ "role": "assistant", "text": "let me see", "runId": "r1" }),
            json!({ "role": "user", "text": "what?", "runId": "r1", "idempotencyKey": "k1" }),
            json!({ "role": "user", "text": "and?", "runId": "r0", "idempotencyKey": "k0" }),
        ]
    }

    fn found(asked: bool, run_id: Option<&str>, answer: Option<&str>) -> Trace {
        Trace { asked, run_id: run_id.map(str::to_owned), answer: answer.map(str::to_owned) }
    }

    #[test]
    fn the_newest_answer_of_the_run_counts_by_id_or_by_key() {
        assert_eq!(trace(&history(), Some("r1"), "k1"), found(true, Some("r1"), Some("forty-two")));
        assert_eq!(trace(&history(), None, "k1"), found(true, Some("r1"), Some("forty-two")));
    }

    #[test]
    fn a_question_without_an_answer_and_no_trace_at_all_are_told_apart() {
        assert_eq!(trace(&history(), None, "k0"), found(true, Some("r0"), None));
        assert_eq!(trace(&history(), None, "k9"), found(false, None, None));
    }
}
