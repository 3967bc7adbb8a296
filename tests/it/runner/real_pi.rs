//! The real Pi, with a mock of its model's provider: what only it can prove.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clawdis_gateway::agent::{AgentConfig, RunStep, ToolPhase};
use clawdis_gateway::protocol::call::Thinking;
use clawdis_gateway::protocol::payload::RunStatus::{Cancelled, Error, Ok};
use serde_json::{Value, json};

use crate::runner::harness::{Rig, test_file, wait_until};

/// The smallest picture there is.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// The provider, ended with its test.
struct Provider(Child, u64);

impl Provider {
    fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the library starts agents only")]
        let mut command = Command::new("node");
        command.args([&test_file("mock-llm/server.mjs"), "--port", "0", "--max-seconds", "300"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("`node` is installed");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = serde_json::from_str::<Value>(&line).unwrap()["port"].as_u64().unwrap();
        Self(child, port)
    }

    /// An agent thread whose agent is Pi with this provider.
    fn rig(&self, model: &str) -> Rig {
        let pi = test_file("pi/node_modules/.bin/pi");
        assert!(Path::new(&pi).exists(), "{pi} is missing: run scripts/test, which installs it");
        let port = self.1;
        Rig::new(&[&pi], |config| configure(config, port, model))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn configure(config: &mut AgentConfig, port: u64, model: &str) {
    let folder = config.cwd.join("pi");
    fs::create_dir(&folder).unwrap();
    let models = json!({ "providers": { "mock": {
        "baseUrl": format!("http://127.0.0.1:{port}/v1"), "api": "openai-completions", "apiKey": "x",
        "models": [
            { "id": "mock-1", "input": ["text", "image"] },
            { "id": "mock-think", "reasoning": true },
            { "id": "mock-tiny", "contextWindow": 4_000, "maxTokens": 1_000 },
        ],
    } } });
    fs::write(folder.join("models.json"), models.to_string()).unwrap();
    let settings =
        json!({ "compaction": { "enabled": true, "reserveTokens": 500, "keepRecentTokens": 100 } });
    fs::write(folder.join("settings.json"), settings.to_string()).unwrap();
    config.env.insert("PI_CODING_AGENT_DIR".into(), folder.to_str().unwrap().into());
    config.model = Some(format!("mock/{model}"));
}

#[test]
fn a_provider_that_is_busy_for_a_while_gives_one_answer() {
    let provider = Provider::start();
    // Its client library asks three times before Pi itself begins to retry.
    let finished = provider.rig("mock-1").ask("[[fail 3 529]] patience");
    assert_eq!((finished.status, &*finished.summary), (Ok, "You said: patience"));
    assert_eq!(finished.count(|step| matches!(step, RunStep::Retrying(_))), 1, "{finished:?}");
    assert_eq!(finished.count(|step| *step == RunStep::Reset), 1);
    assert_eq!(finished.shown(), finished.summary);
}

#[test]
fn a_cancel_in_a_tool_ends_what_the_tool_started_and_keeps_the_process() {
    let provider = Provider::start();
    let mut rig = provider.rig("mock-1");
    let file = rig.folder.path().join("pid");
    let order = format!("[[bash setsid sh -c 'echo $$ > {}; exec sleep 600' & wait]]", file.display());
    let run = rig.send(&order, |_| {});
    rig.until(&run, "the tool", |step| matches!(step, RunStep::Tool(call) if call.phase == ToolPhase::Start));
    let pid = || fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse::<u32>().ok());
    wait_until("what the tool started", Duration::from_secs(10), || pid().is_some());
    rig.cancel(&run);
    assert_eq!(rig.finish(&run).status, Cancelled);
    assert_eq!(rig.ask("[[text still here]]").summary, "still here");
    rig.shut_down();
    assert!(!Path::new("/proc").join(pid().unwrap().to_string()).exists(), "the tool's process is left");
}

#[test]
fn whatever_a_person_writes_is_text() {
    let provider = Provider::start();
    let mut rig = provider.rig("mock-1");
    for text in ["/new", "/skill:x", "@/etc/passwd", "--help", "null", "!touch here", "{\"type\":\"abort\"}"]
    {
        assert_eq!(rig.ask(text).summary.trim_start_matches("You said:").trim(), text);
    }
    assert!(!rig.folder.path().join("here").exists());
    let recalled = rig.ask("[[recall]]").summary;
    assert!(recalled.starts_with("users=8 "), "one conversation: {recalled}");
}

#[test]
fn pictures_and_levels_reach_the_model() {
    let provider = Provider::start();
    let mut rig = provider.rig("mock-1");
    let run = rig.send("[[images]]", |spec| spec.images = vec![("image/png".into(), PNG.into())]);
    let seen = rig.finish(&run).summary;
    assert!(seen.starts_with("images=1 image/png:"), "{seen}");

    let mut rig = provider.rig("mock-think");
    let run = rig.send("[[think Hm.]] well", |spec| spec.thinking = Thinking::High);
    let finished = rig.finish(&run);
    assert_eq!(finished.shown(), "You said: well");
    assert!(finished.count(|step| matches!(step, RunStep::Thinking(_))) > 0, "{finished:?}");
}

#[test]
fn a_full_context_is_compacted_and_asked_again() {
    let provider = Provider::start();
    let mut rig = provider.rig("mock-tiny");
    assert_eq!(rig.ask("[[words 300]] [[chunk 2000]]").status, Ok);
    let finished = rig.ask("[[overflow]] please");
    assert_eq!(finished.status, Error);
    assert!(finished.summary.contains("prompt is too long"), "{finished:?}");
    assert_eq!(finished.count(|step| *step == RunStep::Compacting), 1, "{finished:?}");
    // A prompt during a compaction would be lost.
    assert_eq!(rig.ask("[[text not lost]]").summary, "not lost");
}
