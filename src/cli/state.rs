//! Verbs that show or switch the gateway's state.

use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::exit::Failure;
use crate::cli::render::{self, on_off, string};
use crate::cli::terminal::{Output, line};
use crate::protocol::call::Channel;

/// `status`
pub(crate) fn status(context: Context) -> Result<(), Failure> {
    show(context, "status", &json!({}), render::status)
}

/// `health`
pub(crate) fn health(mut context: Context) -> Result<(), Failure> {
    let params = if context.args.flag("--probe") { json!({ "probe": true }) } else { json!({}) };
    show(context, "health", &params, render::health)
}

/// `presence`
pub(crate) fn presence(context: Context) -> Result<(), Failure> {
    show(context, "system-presence", &json!({}), render::presence)
}

/// `cancel`
pub(crate) fn cancel(mut context: Context) -> Result<(), Failure> {
    let run = context.args.named(&["RUN"], 1)?.remove(0);
    let payload = context.ask("agent-cancel", &json!({ "runId": run }))?;
    context.report(&payload, |payload| format!("run {} is cancelled", string(&payload["runId"])))
}

/// `pause`
pub(crate) fn pause(context: Context) -> Result<(), Failure> {
    set_paused(context, true)
}

/// `resume`
pub(crate) fn resume(context: Context) -> Result<(), Failure> {
    set_paused(context, false)
}

/// `heartbeats`
pub(crate) fn heartbeats(mut context: Context) -> Result<(), Failure> {
    let texts = context.args.named(&["on or off"], 1)?;
    let payload = context.ask("set-heartbeats", &json!({ "enabled": switch(&texts[0])? }))?;
    context.report(&payload, |payload| format!("heartbeats are {}", on_off(payload["enabled"] == true)))
}

/// `channel`
pub(crate) fn channel(mut context: Context) -> Result<(), Failure> {
    let texts = context.args.named(&["NAME", "on or off"], 2)?;
    let channel = channel_name(&texts[0])?;
    let payload =
        context.ask("set-channel", &json!({ "channel": channel, "enabled": switch(&texts[1])? }))?;
    context.report(&payload, |payload| {
        format!("{} is switched {}", string(&payload["channel"]), on_off(payload["enabled"] == true))
    })
}

/// A channel's name as the protocol knows it.
pub(crate) fn channel_name(name: &str) -> Result<&'static str, Failure> {
    let known = Channel::ALL.iter().map(|channel| channel.name()).find(|known| *known == name);
    known.ok_or_else(|| {
        let names: Vec<&str> = Channel::ALL.iter().map(|channel| channel.name()).collect();
        Failure::Usage(format!("`{}` is no channel; there are {}", line(name), names.join(" and ")))
    })
}

impl Context {
    /// The payload with `--json`, a sentence otherwise.
    pub(crate) fn report(&self, payload: &Value, sentence: impl Fn(&Value) -> String) -> Result<(), Failure> {
        if self.output.json {
            self.output.write_json(payload)
        } else {
            self.output.write(&(line(&sentence(payload)) + "\n"))
        }
    }
}

fn show(
    mut context: Context,
    method: &str,
    params: &Value,
    render: fn(&Value, &Output) -> String,
) -> Result<(), Failure> {
    context.args.named(&[], 0)?;
    let payload = context.ask(method, params)?;
    if context.output.json {
        context.output.write_json(&payload)
    } else {
        context.output.write(&render(&payload, &context.output))
    }
}

fn set_paused(mut context: Context, paused: bool) -> Result<(), Failure> {
    context.args.named(&[], 0)?;
    let payload = context.ask("set-paused", &json!({ "paused": paused }))?;
    context.report(&payload, |payload| {
        let text = if payload["paused"] == true {
            "paused: no run starts until `clawdis resume`"
        } else {
            "resumed: runs start again"
        };
        text.to_owned()
    })
}

fn switch(word: &str) -> Result<bool, Failure> {
    match word {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(Failure::Usage(format!("`{}` is neither `on` nor `off`", line(word)))),
    }
}
