//! `call`, which sends any method, and `gateway`, which becomes the daemon.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::connection::NO_EVENTS;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::frame::check_size;
use crate::cli::message::stdin;
use crate::limits::CLI_FOREVER;

/// The verb `call`: prints every answer, which for `agent` are two.
pub(crate) fn call(context: &Context, typed: Value) -> Result<()> {
    let method = typed["method"].as_str().unwrap_or_default();
    let params = match typed["params"].as_str() {
        None => json!({}),
        Some("-") => object(&stdin()?)?,
        Some(text) => object(text)?,
    };
    check_size(method, &params)?;
    let deadline = context.deadline();
    let mut connection = context.connect(&NO_EVENTS, deadline)?;
    let id = connection.send(method, &params, deadline)?;
    let payload = connection.answer(&id, deadline)?;
    context.output.write_json(&payload)?;
    if payload["status"] == "accepted" {
        let end = if context.timeout.is_some() { deadline } else { Instant::now() + CLI_FOREVER };
        context.output.write_json(&connection.answer(&id, end)?)?;
    }
    connection.close();
    Ok(())
}

fn object(text: &str) -> Result<Value> {
    match serde_json::from_str(text) {
        Ok(params @ Value::Object(_)) => Ok(params),
        Ok(_) => Err(Failure::Usage("`--params` must be a JSON object, such as '{\"limit\":1}'".to_owned())),
        Err(error) => Err(Failure::Usage(format!("`--params` is not JSON: {error}"))),
    }
}

/// The verb `gateway`: replaces this process by the `clawdis-gateway` beside it; comes back only if that fails.
#[expect(
    clippy::disallowed_methods,
    reason = "this process becomes the daemon, which scrubs its children itself"
)]
pub(crate) fn gateway(context: &Context, typed: Value) -> Result<()> {
    if !context.args.flags.is_empty() {
        let text = "flags of the gateway go after it; `clawdis gateway --help` lists them";
        return Err(Failure::Usage(text.to_owned()));
    }
    let this = env::current_exe()
        .map_err(|error| Failure::Failed(format!("cannot tell where this program is: {error}")))?;
    let daemon = this.with_file_name("clawdis-gateway");
    let args = typed["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let error = Command::new(&daemon).args(args).exec();
    Err(Failure::Failed(format!("cannot run {}: {error}; it belongs beside this program", daemon.display())))
}
