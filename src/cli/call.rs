//! `call` (any method) and `send`.

use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::connection::check_size;
use crate::cli::exit::Failure;
use crate::cli::message::{message, random_key, stdin};
use crate::cli::render::string;
use crate::cli::state::channel_name;
use crate::cli::{Context, NO_EVENTS, ONE_SHOT_ID};
use crate::limits::{CLI_SEND_TIMEOUT_MS, ms};
use crate::nearest::nearest;
use crate::protocol::call::Method;

/// Longer than any run of the agent may take: for answers without a time limit of ours.
pub(crate) const PATIENCE_MS: u64 = 7 * 24 * 3_600_000;

/// `call`
pub(crate) fn call(mut context: Context) -> Result<(), Failure> {
    let params = context.args.value::<String>("--params")?;
    let method = context.args.named(&["METHOD"], 1)?.remove(0);
    let params = match params.as_deref() {
        None => json!({}),
        Some("-") => parse_params(&stdin()?)?,
        Some(params) => parse_params(params)?,
    };
    check_size(&method, &params)?;
    let deadline = Instant::now() + context.timeout();
    let mut connection = context.connect(&[NO_EVENTS], ONE_SHOT_ID, deadline)?;
    let asked = connection.send(&method, &params, deadline)?;
    let payload = connection.answer(&asked, deadline).map_err(|failure| suggest(failure, &method))?;
    context.output.write_json(&payload)?;
    if payload["status"] == "accepted" {
        let deadline = context.common.timeout.map_or_else(|| Instant::now() + ms(PATIENCE_MS), |_| deadline);
        context.output.write_json(&connection.answer(&asked, deadline)?)?;
    }
    connection.close();
    Ok(())
}

/// `send`
pub(crate) fn send(mut context: Context) -> Result<(), Failure> {
    let usage = context.args.usage();
    let args = &mut context.args;
    let to = args
        .value::<String>("--to")?
        .ok_or_else(|| Failure::Usage(format!("`--to` is missing; usage: clawdis {usage}")))?;
    let key = args.value::<String>("--key")?.map_or_else(random_key, Ok)?;
    let mut params = json!({ "to": to, "idempotencyKey": key });
    if let Some(channel) = args.value::<String>("--channel")? {
        params["channel"] = json!(channel_name(&channel)?);
    }
    if let Some(url) = args.value::<String>("--media")? {
        params["mediaUrl"] = json!(url);
    }
    params["message"] = json!(message(&context.args.texts()?, usage)?);
    check_size("send", &params)?;
    let deadline = Instant::now() + context.common.timeout.unwrap_or(ms(CLI_SEND_TIMEOUT_MS));
    let payload = send_once(&context, &params, deadline).map_err(|failure| repeatable(failure, &key))?;
    context.report(&payload, |payload| {
        let whom = payload["chatId"].as_str().or(payload["toJid"].as_str()).unwrap_or(&to);
        format!(
            "sent to {whom} on {} as message {}",
            string(&payload["channel"]),
            string(&payload["messageId"])
        )
    })
}

/// Sends, and once more with the same key if the connection breaks before the answer.
fn send_once(context: &Context, params: &Value, deadline: Instant) -> Result<Value, Failure> {
    let attempt = || {
        let mut connection = context.connect(&[NO_EVENTS], ONE_SHOT_ID, deadline)?;
        let answer = connection.request("send", params, deadline);
        connection.close();
        answer
    };
    match attempt() {
        Err(Failure::Lost(why)) => {
            context.output.remark(&format!("{why}; trying again"));
            attempt().map_err(|failure| match failure {
                Failure::Unreachable(why) => Failure::Lost(why),
                failure => failure,
            })
        }
        done => done,
    }
}

/// Nobody knows whether the message went out: the same key finds out without doubling it.
fn repeatable(failure: Failure, key: &str) -> Failure {
    let advice = format!(
        "whether it was sent is unknown; the same command with `--key {key}` within 4 minutes is safe"
    );
    match failure {
        Failure::TimedOut(_) => Failure::TimedOut(format!("no answer in time; {advice}")),
        Failure::Lost(why) => Failure::Lost(format!("{why}; {advice}")),
        failure => failure,
    }
}

fn parse_params(text: &str) -> Result<Value, Failure> {
    match serde_json::from_str(text) {
        Ok(params @ Value::Object(_)) => Ok(params),
        Ok(_) => Err(Failure::Usage("`--params` must be a JSON object, such as '{\"limit\":1}'".to_owned())),
        Err(error) => Err(Failure::Usage(format!("`--params` is not JSON: {error}"))),
    }
}

fn suggest(failure: Failure, method: &str) -> Failure {
    match failure {
        Failure::Answered(mut error) if error.code == "UNKNOWN_METHOD" => {
            let near = nearest(method, Method::ALL.iter().map(|method| method.name()))
                .filter(|near| *near != method);
            if let Some(near) = near {
                error.message = format!("{}; did you mean `{near}`?", error.message);
            }
            Failure::Answered(error)
        }
        failure => failure,
    }
}
