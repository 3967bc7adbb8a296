//! gramlab, a Bot API server that nobody here wrote: our own server is held against it, and the
//! daemon has to get along with it.
//!
//! It refuses to run where there is any network, so these tests run themselves again in a network
//! namespace with nothing but `lo`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::process;

mod alike;
mod daemon;

/// Set in the run inside of the namespace.
const INSIDE: &str = "CLAWDIS_TEST_NAMESPACE";

/// Runs `body` in a network namespace of its own. `test` is the calling test's full name.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let flags = ["-n", "-rn"].into_iter().find(|flags| {
        let tried = Command::new("unshare").args([flags, "true"]).output();
        tried.is_ok_and(|output| output.status.success())
    });
    let flags = flags.expect(
        "this test needs a network namespace, and neither `unshare -n` nor `unshare -rn` may make one here",
    );
    let output = Command::new("unshare")
        .args([flags, "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "in the namespace:\n{text}");
}

/// A running server.
pub(crate) struct Gramlab {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Ids and the token.
    pub(crate) facts: Value,
}

impl Gramlab {
    /// With the world in `folder`, a new one if there is none.
    pub(crate) fn start(folder: &Path) -> Self {
        let python = process::repository("target/gramlab-venv/bin/python");
        assert!(python.exists(), "{} is missing: run scripts/test, which installs gramlab", python.display());
        let mut child = Command::new(python)
            .arg("-I")
            .arg(process::repository("tests/gramlab/serve.py"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut gramlab = Self { child, input, output, facts: Value::Null };
        gramlab.facts = gramlab.line();
        gramlab
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("gramlab said {line:?}: {error}"))
    }

    fn order(&mut self, order: &Value) -> Value {
        writeln!(self.input, "{order}").unwrap();
        self.line()
    }

    /// Somebody writes in one of the chats `private`, `strange` and `group`.
    pub(crate) fn say(&mut self, chat: &str, text: &str) {
        self.order(&json!({"do": "say", "chat": chat, "text": text}));
    }

    /// Texts of the bot's messages there.
    pub(crate) fn answers(&mut self, chat: &str) -> Vec<String> {
        let history = self.order(&json!({"do": "history", "chat": chat}));
        let own =
            history.as_array().unwrap().iter().filter(|message| message["sender_id"] == self.facts["bot"]);
        own.map(|message| message["text"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn base(&self) -> &str {
        self.facts["base"].as_str().unwrap()
    }

    pub(crate) fn token(&self) -> &str {
        self.facts["token"].as_str().unwrap()
    }
}

impl Drop for Gramlab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
