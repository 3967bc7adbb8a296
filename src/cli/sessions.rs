//! Verbs about sessions: list, history, reset, forget.

use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::args::Args;
use crate::cli::exit::Failure;
use crate::cli::render::{self, string};
use crate::cli::terminal::line;
use crate::limits::HISTORY_PAGE_MAX;

/// Where the person's own chats go.
pub(crate) const MAIN: &str = "main";

/// `sessions`
pub(crate) fn list(mut context: Context) -> Result<(), Failure> {
    let params = page(&mut context.args)?;
    context.args.named(&[], 0)?;
    let payload = context.ask("sessions-list", &params)?;
    if context.output.json {
        return context.output.write_json(&payload);
    }
    let text = render::sessions(&payload, &context.output);
    if text.is_empty() {
        context.output.remark("no sessions yet; `clawdis agent \"hello\"` starts one");
    }
    context.output.write(&text)?;
    context.hint_at_older(&payload, "sessions");
    Ok(())
}

/// `history`
pub(crate) fn history(mut context: Context) -> Result<(), Failure> {
    let mut params = page(&mut context.args)?;
    let session = context.session(0)?;
    params["sessionKey"] = json!(session);
    let payload = context.ask("session-history", &params)?;
    if context.output.json {
        return context.output.write_json(&payload);
    }
    let text = render::history(&payload, &context.output);
    if text.is_empty() {
        context.output.remark(&format!("nothing on record in session {session}"));
    }
    context.output.write(&text)?;
    context.hint_at_older(&payload, &format!("history {session}"));
    Ok(())
}

/// `reset`
pub(crate) fn reset(mut context: Context) -> Result<(), Failure> {
    let session = context.session(0)?;
    let payload = context.ask("session-reset", &json!({ "sessionKey": session }))?;
    context.report(&payload, |payload| {
        format!("session {} starts anew as {}", string(&payload["sessionKey"]), string(&payload["sessionId"]))
    })
}

/// `forget`
pub(crate) fn forget(mut context: Context) -> Result<(), Failure> {
    let session = context.session(1)?;
    let payload = context.ask("session-forget", &json!({ "sessionKey": session }))?;
    context.report(&payload, |payload| format!("session {} is forgotten", string(&payload["sessionKey"])))
}

impl Context {
    /// The session that is named, `main` unless it must be.
    fn session(&mut self, required: usize) -> Result<String, Failure> {
        let texts = self.args.named(&["SESSION"], required)?;
        Ok(texts.into_iter().next().unwrap_or_else(|| MAIN.to_owned()))
    }

    fn hint_at_older(&self, payload: &Value, verb: &str) {
        if let Some(before) = payload["before"].as_str() {
            self.output.remark(&format!("older: clawdis {} --before {}", line(verb), line(before)));
        }
    }
}

fn page(args: &mut Args) -> Result<Value, Failure> {
    let mut params = json!({});
    if let Some(limit) = args.value::<usize>("--limit")? {
        if limit == 0 || limit > HISTORY_PAGE_MAX {
            return Err(Failure::Usage(format!("`--limit` takes 1 to {HISTORY_PAGE_MAX}")));
        }
        params["limit"] = json!(limit);
    }
    if let Some(before) = args.value::<String>("--before")? {
        params["before"] = json!(before);
    }
    Ok(params)
}
