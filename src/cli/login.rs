//! `login` and `logout`: an account is linked to a channel while a person holds the phone.
//!
//! Without `--timeout` nothing but the gateway or Ctrl-C ends the wait for that person; a connection
//! that dies is noticed by its silence. Ctrl-C ends this program only, not the login.

use std::env;
use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::connection::{Client, Connection, NO_EVENTS, no_answer, outcome};
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::linking::LinkingView;
use crate::cli::qr::QrStyle;
use crate::cli::show::facts;
use crate::cli::terminal::{is_utf8, print};
use crate::limits::{CLI_FOREVER, CLI_SEND_TIMEOUT};
use crate::text::one_line;

const LOGIN: Client<'static> = Client { caps: &["event:channel"], instance_id: "clawdis-login" };

/// What may still happen without us when the wait ends early.
const ADVICE: &str =
    "; a login that has begun goes on until its code runs out or another is begun: `clawdis health` tells";

/// The verb `login`: links an account and shows how far that is.
pub(crate) fn login(context: &Context, mut params: Value) -> Result<()> {
    if params.get("phone").is_some() {
        params["method"] = json!("code");
    }
    let until = Instant::now() + context.timeout.unwrap_or(CLI_FOREVER);
    let mut connection = context.connect(&LOGIN, context.deadline())?;
    let end = follow(context, &mut connection, &params, until);
    connection.close();
    let end = end.map_err(|failure| failure.with_advice(ADVICE))?;
    let payload = &end["payload"];
    if context.output.json && payload.is_object() {
        context.output.write_json(payload)?;
    } else if end["ok"] == true {
        let account =
            payload["self"].as_str().map_or_else(String::new, |account| format!(" as {}", one_line(account)));
        print(&format!("linked{account}\n"))?;
    }
    outcome(end).map(drop)
}

/// The verb `logout`: unlinks an account and waits until it is.
pub(crate) fn logout(context: &Context, params: Value) -> Result<()> {
    let deadline = Instant::now() + context.timeout.unwrap_or(CLI_SEND_TIMEOUT);
    let mut connection = context.connect(&NO_EVENTS, deadline)?;
    let id = connection.send("channel-logout", &params, deadline)?;
    let mut payload = connection.answer(&id, deadline)?;
    if payload["status"] == "accepted" {
        payload = connection.answer(&id, deadline)?;
    }
    connection.close();
    context.show(&payload)
}

/// Asks for the login and shows how far it is; the last answer, as a frame.
fn follow(context: &Context, connection: &mut Connection, params: &Value, until: Instant) -> Result<Value> {
    let output = &context.output;
    let style = QrStyle { blocks: is_utf8(|name| env::var(name).ok()), escapes: output.escapes };
    let mut view = LinkingView::new(style);
    let mut by = until.min(context.deadline());
    let id = connection.send("channel-login", params, by)?;
    loop {
        let now = Instant::now();
        if now >= by {
            return Err(no_answer());
        }
        print(&view.tick(output.size(), now))?;
        let Some(frame) = connection.receive(view.next_tick(now).unwrap_or(by).min(by))? else { continue };
        if frame["type"] == "res" && frame["id"] == id {
            if frame["payload"]["status"] != "accepted" {
                return Ok(frame);
            }
            by = until;
        } else if frame["event"] == "channel" && output.json {
            output.write_json(&frame)?;
        } else if frame["event"] == "channel" {
            print(&view.event(&frame["payload"], output.size(), Instant::now()))?;
        } else if frame["event"] == "shutdown" {
            output.remark(&format!("the gateway stops: {}", facts(&frame["payload"])));
        }
    }
}
