//! `clawdis` as a child process: a home of its own, an empty environment, a deadline for everything.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Generous: it only decides how long a failing test takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A home folder that goes away with the test.
pub(crate) struct Home(pub(crate) PathBuf);

impl Home {
    /// `name` is the test's.
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join(".clawdis")).unwrap();
        Self(path)
    }

    /// Writes a file below the home.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// `clawdis ARGS...` in this home.
    pub(crate) fn clawdis<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cli {
        self.program(Path::new(env!("CARGO_BIN_EXE_clawdis")), args)
    }

    /// Any program in this home.
    #[expect(clippy::disallowed_methods, reason = "the environment is scrubbed here, too")]
    pub(crate) fn program<S: AsRef<OsStr>>(&self, program: &Path, args: impl IntoIterator<Item = S>) -> Cli {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("HOME", &self.0).env("PATH", "/usr/bin:/bin").current_dir(&self.0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Cli { command, input: None }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A command about to run.
pub(crate) struct Cli {
    command: Command,
    input: Option<Vec<u8>>,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Cli {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self.command.stdin(Stdio::piped());
        self
    }

    /// Starts it; the caller reads its output.
    pub(crate) fn start(mut self) -> Running {
        let started = Instant::now();
        let mut child = self.command.spawn().unwrap();
        if let Some(input) = self.input {
            let mut stdin = child.stdin.take().unwrap();
            // It may refuse its input half way.
            thread::Builder::new().spawn(move || drop(stdin.write_all(&input))).unwrap();
        }
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = rest(child.stderr.take().unwrap());
        Running { child, stdout, stderr, started, said: String::new() }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Done {
        self.start().wait()
    }
}

/// A command that runs.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    started: Instant,
    said: String,
}

impl Running {
    /// The next line of stdout that contains `what`.
    pub(crate) fn line(&mut self, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            let line = self.stdout.recv_timeout(wait).unwrap_or_else(|_| {
                let _ = self.child.kill();
                panic!(
                    "no line with `{what}` on stdout; so far:\n{}\nstderr:\n{:?}",
                    self.said,
                    self.stderr.recv()
                )
            });
            self.said.push_str(&line);
            if line.contains(what) {
                return line;
            }
        }
    }

    pub(crate) fn interrupt(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Done {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("it does not end; stdout:\n{}{}", self.said, self.stdout.iter().collect::<String>());
            }
            thread::sleep(Duration::from_millis(2));
        };
        let took = self.started.elapsed();
        self.said.extend(self.stdout.iter());
        Done { code: status.code(), stdout: self.said, stderr: self.stderr.recv().unwrap(), took }
    }
}

impl Done {
    /// Exit code and silence on stderr.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:#?}");
        self.stdout
    }

    /// The exit code, and one line on stderr with each of these in it.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(self.stderr.starts_with("clawdis: ") && self.stderr.lines().count() == 1, "{self:#?}");
        for text in texts {
            assert!(self.stderr.contains(text), "no `{text}` in {self:#?}");
        }
    }

    /// Stdout as JSON values, one a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    let mut stdout = BufReader::new(stdout);
    let read = move || {
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
            if sender.send(text).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().spawn(read).unwrap();
    receiver
}

fn rest(mut stderr: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    let read = move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        let _ = sender.send(String::from_utf8_lossy(&text).into_owned());
    };
    thread::Builder::new().spawn(read).unwrap();
    receiver
}
