//! Starts the real daemon on what a power cut left, and holds it to what was promised before.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::{Value, json};

use crate::crash::disk::Image;
use crate::crash::facts::{Facts, Run, SWITCHES, Session, key_of};
use crate::crash::scenario;
use crate::harness::{Client, PATIENCE, gateway};

/// Whether every promise is kept; says which one is not.
pub(crate) fn judge(image: &Image, facts: &Facts) -> Result<(), String> {
    let setup = scenario::daemon("cut");
    let folder = setup.state_dir();
    image.write(&folder);
    let probe = setup.scratch().join("probe");
    let started = setup.try_spawn();
    let gateway = started.map_err(|exit| format!("it does not start ({:?}):\n{}", exit.code, exit.text))?;
    for (key, session) in &facts.sessions {
        if let Some(text) = session.forgotten.iter().find(|text| is_left(&folder, text)) {
            return Err(format!("{text:?} of the forgotten session {key:?} is still there"));
        }
        for text in session.earlier.iter().filter(|_| !session.is_changing()) {
            if !is_anywhere(&folder, text) {
                return Err(format!("{text:?} of {key:?} from before a reset is lost"));
            }
        }
    }
    let mut client = gateway.client();
    switches_stand(&mut client, facts)?;
    for (key, session) in facts.sessions.iter().filter(|(_, session)| !session.is_changing()) {
        session_stands(&mut client, key, session)?;
    }
    for run in facts.runs.values().filter(|run| run.is_bound()) {
        run_stands(&mut client, run, facts)?;
    }
    let log = gateway.output.both();
    if log.contains("damaged") || log.contains("panicked") {
        return Err(format!("it takes a power cut for damage:\n{log}"));
    }
    match gateway::prompts(&probe).first() {
        None => Ok(()),
        Some(prompt) => Err(format!("the agent was asked again: {prompt:?}")),
    }
}

fn switches_stand(client: &mut Client, facts: &Facts) -> Result<(), String> {
    let toggles = client.ask("status", &json!({}))["toggles"].take();
    for (method, _) in SWITCHES {
        let now = &toggles[method.trim_start_matches("set-")];
        let allowed = &facts.switches[method];
        if !allowed.contains(now) {
            return Err(format!("{method} is {now}, not one of {allowed:?}"));
        }
    }
    Ok(())
}

fn session_stands(client: &mut Client, key: &str, session: &Session) -> Result<(), String> {
    let page = client.ask("session-history", &json!({"sessionKey": key, "limit": 200}));
    let messages = page["messages"].as_array().unwrap();
    for (_, role, text) in &session.said {
        let same = |message: &&Value| message["role"] == role.as_str() && message["text"] == text.as_str();
        match messages.iter().filter(same).count() {
            1 => {}
            count => return Err(format!("{key:?} has {count} times {role} {text:?}: {page}")),
        }
    }
    let Some(id) = &session.id else { return Ok(()) };
    let list = client.ask("sessions-list", &json!({"limit": 200}));
    let listed = list["sessions"].as_array().unwrap().iter().find(|entry| entry["sessionKey"] == key);
    match listed {
        Some(entry) if entry["sessionId"] == id.as_str() => Ok(()),
        other => Err(format!("{key:?} was reset to {id} and is {other:?}")),
    }
}

fn run_stands(client: &mut Client, run: &Run, facts: &Facts) -> Result<(), String> {
    let request = client.send("agent", &run.params);
    let answer = client.answer(&request);
    let key = key_of(&run.params);
    let unknown = answer["error"]["details"]["outcome"] == "unknown";
    let ended = answer["payload"]["runId"].is_string() && answer["payload"]["status"] != "accepted";
    if !unknown && !ended {
        return Err(format!("key {key} was acted on before, and now: {answer}"));
    }
    let Some(last) = &run.last else { return Ok(()) };
    let session = &facts.sessions[&run.session];
    let forgotten = session.forgotten.iter().any(|text| text == run.message())
        || (session.is_changing() && answer["payload"]["summary"] == "(forgotten)");
    let told = |frame: &Value| {
        let mut told = [frame["ok"].clone(), frame["payload"].clone(), frame["error"]["details"].clone()];
        if forgotten {
            told[1]["summary"] = json!("(forgotten)");
        }
        told
    };
    if told(&answer) == told(last) {
        return Ok(());
    }
    Err(format!("key {key} had been answered {last}, and now: {answer}"))
}

/// Whether a text stays in the folder: what was discarded is deleted by and by.
fn is_left(folder: &Path, text: &str) -> bool {
    let (discarded, deadline) = (folder.join("tmp"), Instant::now() + PATIENCE);
    while is_anywhere(&discarded, text) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    is_anywhere(folder, text)
}

/// Whether a text is in any file of the folder. One that goes meanwhile is none.
fn is_anywhere(folder: &Path, text: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return is_anywhere(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}
