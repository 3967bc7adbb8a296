//! What long answers cost the gateway.

use std::fs;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::harness::memory::{self, Meter};
use crate::harness::raw::{Raw, TEXT};
use crate::harness::{Gateway, PATIENCE, eventually, params_agent, process};

const MB: u64 = 1024 * 1024;

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

/// Asks for a run and reads past its events: holding 60 MB of them against their schemas takes long.
fn outcome(socket: &mut Raw, params: &Value) -> Value {
    let request = json!({"type": "req", "id": "run", "method": "agent", "params": params});
    socket.send(TEXT, request.to_string().as_bytes());
    loop {
        let frame = socket.frame().expect("the run's end comes before the connection's");
        if !frame.payload.starts_with(br#"{"type":"res""#) {
            continue;
        }
        let answer: Value = serde_json::from_slice(&frame.payload).unwrap();
        if answer["payload"]["status"] != "accepted" {
            return answer;
        }
    }
}

/// Whatever its longest line holds, an agent makes the gateway take that once, and give it back.
#[test]
fn a_line_of_60_mb_takes_60_mb_and_leaves_nothing() {
    let setup = Gateway::builder("long-lines");
    let command = json!(["python3", process::repository("tests/agents/fake_pi.py"), "act"]).to_string();
    let scratch = setup.scratch();
    let gateway = setup.config(json!({ "agent": { "cwd": scratch } })).arg("--agent").arg(&command).spawn();
    let mut client = gateway.greeted();
    outcome(&mut client, &params_agent("hello", "first"));
    for (kind, status) in [
        ("delta", "ok"),
        ("end", "ok"),
        ("thinking", "ok"),
        ("result", "ok"),
        ("error", "ok"),
        ("name", "error"),
    ] {
        let meter = Meter::of(gateway.pid());
        let last = outcome(&mut client, &params_agent(&format!("[[line 60 {kind}]]"), kind));
        assert_eq!(last["payload"]["status"], status, "{kind}: {last}");
        let peak = meter.peak();
        assert!(peak > 50 * MB && peak < (60 + 16) * MB, "{kind}: {} MB at its peak", peak / MB);
        eventually(&format!("what {kind} took to be given back"), PATIENCE, || {
            (memory::own(gateway.pid()) < 8 * MB).then_some(())
        });
    }
}

/// A line of the journal.
fn journal_line(said: &Value) -> String {
    let json = said.to_string();
    let mut crc = flate2::Crc::new();
    crc.update(json.as_bytes());
    format!("{:08x} {json}\n", crc.sum())
}

/// However long the journal of the last life is, a start holds little of it at a time and leaves it short.
#[test]
fn a_start_with_a_journal_of_40_mb_takes_little_and_leaves_it_short() {
    let setup = Gateway::builder_in_memory("long-journal");
    let state = setup.state_dir();
    drop(setup.clone().spawn().restart());
    let record = json!({"s": "x", "m": {"id": "", "role": "user", "text": "a".repeat(20_000), "ts": 1}});
    let mut file = fs::File::options().append(true).open(state.join("journal")).unwrap();
    for number in 0..40 * MB / 200_000 {
        let offset = number * (record.to_string().len() as u64 + 10);
        let lines = (0..10).map(|session| {
            journal_line(&json!({"app": {"key": format!("s{session}"), "offset": offset, "record": record}}))
        });
        file.write_all(lines.collect::<String>().as_bytes()).unwrap();
    }
    let gateway = setup.spawn();
    let page = gateway.client().ask("session-history", &json!({"sessionKey": "s9", "limit": 2}));
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(2), "{page}");
    let peak = process::peak(gateway.pid());
    assert!(peak < 30 * MB, "{peak} bytes at most");
    let left = fs::metadata(state.join("journal")).unwrap().len();
    assert!(left < MB, "{left} bytes are left");
}
