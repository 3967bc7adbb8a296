//! What long answers cost the gateway.

use serde_json::json;

use crate::harness::{Gateway, params_agent, process};

/// An agent writes the square of its answer: 150 MB for 35,000 characters.
#[test]
fn an_answer_of_4000_words_leaves_the_memory_as_it_was() {
    let setup = Gateway::builder("memory");
    let command = json!(["python3", process::repository("tests/agents/fake_pi.py"), "act"]).to_string();
    let scratch = setup.scratch();
    let gateway = setup.config(json!({ "agent": { "cwd": scratch } })).arg("--agent").arg(&command).spawn();
    let mut client = gateway.client();
    // Threads, buffers and the first run's pages are there from now on.
    client.outcome(&params_agent("[[long 8000]]", "first"));
    let before = gateway.rss();
    let last = client.outcome(&params_agent("[[long 35000]]", "second"));
    assert_eq!(last["payload"]["summary"].as_str().map(str::len), Some(35_000));
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 1024 * 1024, "{grown} bytes more");
}
