//! The verbs that are a little more than a question: `allow`, `call`, which sends any method, and `gateway`,
//! which becomes the daemon.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::args::stdin;
use crate::cli::connection::{NO_EVENTS, check_size};
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::show::facts;
use crate::cli::terminal::print;
use crate::limits::CLI_FOREVER;
use crate::text::one_line;

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

/// What a person should know before, and at the latest when, they let another in.
const MEANING: &str = "Whoever is let in commands a shell with your rights, within the sandbox's walls, and reads what it can read.";

/// The verb `allow`: asks the gateway to let somebody in.
pub(crate) fn allow(context: &Context, params: Value) -> Result<()> {
    let answer = context.ask("channel-allow", &params)?;
    if context.output.json {
        return context.output.write_json(&answer);
    }
    print(&told(answer))
}

fn told(mut answer: Value) -> String {
    let note = answer.as_object_mut().and_then(|members| members.remove("note"));
    let note = note.as_ref().and_then(Value::as_str).map(one_line);
    let is_let_in = answer["allowed"] == true && answer["owner"] == false;
    let meaning = is_let_in.then(|| MEANING.to_owned());
    let lines = [Some(facts(&answer)), meaning, note].into_iter().flatten();
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{MEANING, told};

    #[test]
    fn letting_somebody_in_says_what_it_means() {
        let answer = |allowed: bool, owner: bool| json!({ "channel": "telegram", "id": "7", "allowed": allowed, "owner": owner });
        let let_in = told(answer(true, false));
        assert!(let_in.starts_with("allowed yes, channel telegram, id 7, owner no\n"), "{let_in}");
        assert!(let_in.ends_with(&format!("\n{MEANING}\n")), "{let_in}");
        assert!(!told(answer(false, false)).contains(MEANING) && !told(answer(true, true)).contains(MEANING));
        let mut noted = answer(true, false);
        noted["note"] = json!("Nobody is\u{1b}[1m the owner yet.\u{202e}");
        assert!(told(noted).ends_with("\nNobody is[1m the owner yet.\n"));
    }
}
