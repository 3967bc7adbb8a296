//! What the agent's tools can reach: everything of the machine, nothing of the gateway.

use std::fs;

use serde_json::json;

use crate::harness::{Client, Gateway, PATIENCE, eventually, params_agent};

/// What a shell of the agent says.
fn shell(client: &mut Client, command: &str, key: &str) -> String {
    let last = client.outcome(&params_agent(&format!("[[sh {command}]]"), key));
    last["payload"]["summary"].as_str().unwrap_or_else(|| panic!("{last}")).to_owned()
}

fn wait_for_sandbox(client: &mut Client, kind: &str) {
    eventually("health says what is around the agent", PATIENCE, || {
        (client.ask("health", &json!({}))["agent"]["sandbox"] == kind).then_some(())
    });
}

#[test]
fn the_agent_reaches_neither_the_state_folder_nor_the_config_nor_our_processes() {
    let setup =
        Gateway::builder("sandbox").agent_scripted().config(json!({ "agent": { "sandbox": "bwrap" } }));
    let gateway = setup.spawn();
    let state = gateway.state_dir();
    fs::write(state.join("canary"), "swordfish").unwrap();
    let mut client = gateway.client();
    wait_for_sandbox(&mut client, "bwrap");
    let state = state.display();
    assert!(!shell(&mut client, &format!("cat {state}/canary"), "1").contains("swordfish"));
    assert!(
        !shell(&mut client, &format!("grep -r swordfish {state}; ls {state}/.."), "2").contains("swordfish:")
    );
    assert_eq!(
        shell(&mut client, &format!("ls {state}"), "3"),
        "agent",
        "its own session's folder and nothing else"
    );
    shell(&mut client, &format!("echo '{{}}' > {state}/clawdis.json; rm -rf {state}/journal"), "4");
    assert!(gateway.state_dir().join("journal").exists(), "what it writes there is not there");
    let environ = shell(&mut client, &format!("tr '\\0' ' ' < /proc/{}/environ", gateway.pid()), "5");
    assert!(environ.contains("cannot open") || environ.contains("No such file"), "{environ}");
    assert_eq!(
        shell(&mut client, &format!("kill -0 {} || echo unseen", gateway.pid()), "6").lines().last(),
        Some("unseen")
    );
    // The rest of the machine is there, and its own session file can be written.
    assert!(shell(&mut client, "ls /usr/bin/env", "7").contains("/usr/bin/env"));
    let own = shell(&mut client, &format!("cd {state}/agent/*/ && touch mine && echo written"), "8");
    assert_eq!(own, "written");
}

#[test]
fn a_config_outside_of_the_state_folder_cannot_be_read_or_changed_either() {
    // The harness keeps the config beside the state folder.
    let members = json!({ "agent": { "sandbox": "bwrap", "warmSeconds": 299 } });
    let gateway = Gateway::builder("sandbox-config").agent_scripted().config(members).spawn();
    let config = gateway.state_dir().parent().unwrap().join("config.json");
    let mut client = gateway.client();
    wait_for_sandbox(&mut client, "bwrap");
    let path = config.display();
    assert!(!shell(&mut client, &format!("cat {path}"), "1").contains("299"));
    let said = shell(&mut client, &format!("echo hacked > {path}; rm -f {path}; mv {path} {path}.old"), "2");
    assert!(fs::read_to_string(&config).unwrap().contains("299"), "{said}");
}

#[test]
fn without_a_sandbox_health_says_so_in_a_sentence() {
    let gateway = Gateway::builder("sandbox-none")
        .agent_scripted()
        .config(json!({ "agent": { "sandbox": "none" } }))
        .spawn();
    let mut client = gateway.client();
    eventually("health says why there is no sandbox", PATIENCE, || {
        let agent = client.ask("health", &json!({}))["agent"].clone();
        let why = agent["sandboxReason"].as_str().unwrap_or_default();
        (agent["sandbox"] == "none" && why.contains("agent.sandbox is none")).then_some(())
    });
}

#[test]
fn a_sandbox_that_was_demanded_and_is_missing_lets_no_agent_start() {
    let gateway = Gateway::builder("sandbox-missing")
        .agent_scripted()
        .config(json!({ "agent": { "sandbox": "bwrap" } }))
        .env("PATH", "/nonexistent")
        .spawn();
    let mut client = gateway.client();
    let last = client.outcome(&params_agent("hello", "1"));
    assert_eq!(last["error"]["code"], "UNAVAILABLE");
    assert!(last["error"]["message"].as_str().unwrap().contains("install it"), "{last}");
    assert!(gateway.prompts().is_empty());
}
