//! The real Pi behind the gateway, with a mock of its model's provider.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::client::text_of;
use crate::harness::{Gateway, params_agent, process};

/// Pi's program, or a failure that says how to get it.
fn pi() -> PathBuf {
    let pi = process::repository("tests/pi/node_modules/.bin/pi");
    assert!(
        pi.exists(),
        "{} is missing: run scripts/test, which installs tests/pi with `npm ci`",
        pi.display()
    );
    pi
}

/// The provider, ended with the test.
struct Provider {
    child: Child,
    port: u64,
}

impl Provider {
    fn start() -> Self {
        let mut child = Command::new("node")
            .arg(process::repository("tests/mock-llm/server.mjs"))
            .args(["--port", "0", "--max-seconds", "300"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`node` is installed");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = serde_json::from_str::<Value>(&line).unwrap()["port"].as_u64().unwrap();
        Self { child, port }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gateway(provider: &Provider) -> Gateway {
    let setup = Gateway::builder("real-pi");
    let folder = setup.scratch().join("pi");
    fs::create_dir(&folder).unwrap();
    let models = json!({"providers": {"mock": {
        "baseUrl": format!("http://127.0.0.1:{}/v1", provider.port),
        "api": "openai-completions",
        "apiKey": "x",
        "models": [{"id": "mock-1", "input": ["text", "image"]}, {"id": "mock-think", "reasoning": true}],
    }}});
    fs::write(folder.join("models.json"), models.to_string()).unwrap();
    let agent = json!({
        "model": "mock/mock-1",
        "env": {"PI_CODING_AGENT_DIR": folder, "PI_OFFLINE": "1", "PI_TELEMETRY": "0", "NO_COLOR": "1"},
        "cwd": setup.scratch(),
    });
    let command = json!([pi()]).to_string();
    setup.config(json!({ "agent": agent })).arg("--agent").arg(&command).spawn()
}

#[test]
fn the_real_pi_answers_calls_tools_and_remembers() {
    let provider = Provider::start();
    let gateway = gateway(&provider);
    let mut client = gateway.client();

    let run = client.run(&params_agent("[[text The answer is 42.]]", "1"));
    let last = client.finish(&run);
    assert_eq!(last["payload"]["summary"], "The answer is 42.", "{last}");
    assert_eq!(text_of(&client.steps(&run.id)), "The answer is 42.");

    let run = client.run(&params_agent("[[bash echo from-the-tool]]", "2"));
    let last = client.finish(&run);
    assert!(last["payload"]["summary"].as_str().unwrap().ends_with("Tool said: from-the-tool"), "{last}");
    let steps = client.steps(&run.id);
    let tool: Vec<&Value> =
        steps.iter().filter(|step| step["stream"] == "tool").map(|step| &step["data"]).collect();
    assert_eq!((&tool[0]["phase"], &tool[0]["name"]), (&json!("start"), &json!("bash")), "{tool:#?}");
    assert_eq!(tool[0]["args"]["command"], "echo from-the-tool");
    let end = tool.iter().find(|step| step["phase"] == "end").unwrap();
    assert!(end["result"].as_str().unwrap().contains("from-the-tool"), "{end}");
    assert_ne!(end["isError"], true);

    // One conversation per session, which a restart does not end.
    let gateway = gateway.restart();
    let mut client = gateway.client();
    let recall = client.outcome(&params_agent("[[recall]]", "3"));
    let text = recall["payload"]["summary"].as_str().unwrap();
    assert!(text.starts_with("users=3 ") && text.contains("[[text The answer is 42.]]"), "{text}");
    client.ask("session-reset", &json!({"sessionKey": "main"}));
    let recall = client.outcome(&params_agent("[[recall]]", "4"));
    assert!(recall["payload"]["summary"].as_str().unwrap().starts_with("users=1 "), "{recall}");
}

#[test]
fn the_command_line_prints_what_the_real_pi_says() {
    let provider = Provider::start();
    let gateway = gateway(&provider);
    let url = format!("ws://{}", gateway.addr);
    let run = |message: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_clawdis"))
            .args(["--url", &url, "agent", message])
            .env_clear()
            .env("HOME", gateway.setup().scratch())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run("[[text Hello from the model.]]").contains("Hello from the model."));
    assert!(run("[[bash echo from-the-tool]]").contains("Tool said: from-the-tool"));
}

#[test]
fn a_provider_that_refuses_is_an_error_that_says_so() {
    let provider = Provider::start();
    let gateway = gateway(&provider);
    let mut client = gateway.client();
    let last = client.outcome(&params_agent("[[status 401]]", "1"));
    assert_eq!((&last["ok"], &last["payload"]["status"]), (&json!(false), &json!("error")), "{last}");
    assert!(last["error"]["message"].as_str().unwrap().contains("401"), "{last}");
    // A hanging provider is ended by cancelling, and the next run works.
    let run = client.run(&params_agent("[[hang]]", "2"));
    client.step(&run.id, "its start", |step| step["data"]["phase"] == "started");
    client.ask("agent-cancel", &json!({"runId": run.id}));
    assert_eq!(client.finish(&run)["payload"]["status"], "cancelled");
    assert_eq!(client.outcome(&params_agent("[[text fine]]", "3"))["payload"]["summary"], "fine");
}
