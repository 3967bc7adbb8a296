//! What `clawdis agent` asks for: its flags as parameters of the `agent` method.

use serde_json::{Value, json};

use crate::cli::args::Args;
use crate::cli::connection::check_size;
use crate::cli::exit::Failure;
use crate::cli::image;
use crate::cli::message::{message, random_key};
use crate::cli::sessions::MAIN;
use crate::cli::state::channel_name;
use crate::cli::terminal::line;
use crate::limits::ATTACHMENTS_MAX;
use crate::nearest::nearest;
use crate::protocol::call::Thinking;

const LEVELS: [Thinking; 6] =
    [Thinking::Off, Thinking::Minimal, Thinking::Low, Thinking::Medium, Thinking::High, Thinking::Xhigh];

/// A run to ask for.
pub(crate) struct AgentRequest {
    /// Parameters of `agent`, the key included. Sent again unchanged after a broken connection.
    pub(crate) params: Value,
    /// The idempotency key.
    pub(crate) key: String,
    /// The session it talks in.
    pub(crate) session: String,
    /// `--stream`
    pub(crate) stream: bool,
}

impl AgentRequest {
    /// Takes the verb's flags and texts.
    pub(crate) fn take(args: &mut Args) -> Result<Self, Failure> {
        let usage = args.usage();
        let stream = args.flag("--stream");
        let key = args.value::<String>("--key")?.map_or_else(random_key, Ok)?;
        let session = args.value::<String>("--session")?;
        let mut params = json!({ "idempotencyKey": key });
        for (flag, name) in [("--session-id", "sessionId"), ("--to", "to")] {
            if let Some(value) = args.value::<String>(flag)? {
                params[name] = json!(value);
            }
        }
        if let Some(session) = &session {
            params["sessionKey"] = json!(session);
        }
        if let Some(level) = args.value::<String>("--thinking")? {
            params["thinking"] = json!(thinking(&level)?);
        }
        if let Some(seconds) = args.value::<u64>("--run-timeout")? {
            params["timeout"] = json!(seconds);
        }
        if let Some(channel) = args.value::<String>("--channel")? {
            params["channel"] = json!(channel_name(&channel)?);
        }
        if args.flag("--deliver") {
            params["deliver"] = json!(true);
        } else if params.get("to").is_some() || params.get("channel").is_some() {
            return Err(Failure::Usage(
                "`--to` and `--channel` say where `--deliver` sends the answer: add it".to_owned(),
            ));
        }
        let images = args.paths("--image")?;
        if images.len() > ATTACHMENTS_MAX {
            return Err(Failure::Usage(format!("at most {ATTACHMENTS_MAX} images go with one message")));
        }
        let words = args.texts()?;
        if !images.is_empty() {
            params["attachments"] =
                images.iter().map(|path| image::attachment(path)).collect::<Result<Value, _>>()?;
        }
        params["message"] = json!(message(&words, usage)?);
        check_size("agent", &params)?;
        Ok(Self { params, key, session: session.unwrap_or_else(|| MAIN.to_owned()), stream })
    }
}

fn thinking(level: &str) -> Result<&'static str, Failure> {
    let names = LEVELS.map(Thinking::name);
    names.iter().copied().find(|name| *name == level).ok_or_else(|| {
        let hint = nearest(level, names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        Failure::Usage(format!(
            "`{}` is no thinking level; there are {}{hint}",
            line(level),
            names.join(", ")
        ))
    })
}
