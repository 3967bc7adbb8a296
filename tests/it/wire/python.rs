//! A client in another language that knows nothing of us: a dozen calls with a WebSocket library.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Gateway, process};

/// The interpreter of the environment that `scripts/test` makes, with `websockets` in it.
fn python() -> PathBuf {
    let python = process::repository("target/test-venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run scripts/test, which makes a Python environment with tests/python/requirements.txt",
        python.display()
    );
    python
}

#[test]
fn python_can_do_all_of_it() {
    for token in [None, Some("python-token")] {
        let mut setup = Gateway::builder("python").agent_echo().arg("--tick-interval-ms").arg("1000");
        if let Some(token) = token {
            setup = setup.token(token);
        }
        let gateway = setup.spawn();
        let output = Command::new(python())
            .arg(process::repository("tests/python/client.py"))
            .arg(format!("ws://{}", gateway.addr))
            .args(token)
            .env_clear()
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("answer: ") && text.contains("What is a gateway?"), "{text}");
        assert!(text.contains("events: agent"), "{text}");
    }
}
