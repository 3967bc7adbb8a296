//! One daemon per test: a private state folder, a port of its own, ended with the test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::folder::{self, Folder};
use super::output::{Output, Pipe};
use super::raw::Raw;
use super::wait::{PATIENCE, eventually};
use super::{Client, hello, process, raw};

/// How a daemon is to be started. Cloning keeps the folder, so a clone is a restart.
#[derive(Clone)]
#[must_use]
pub(crate) struct Builder {
    folder: Arc<Folder>,
    state_dir: Option<PathBuf>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    wrapper: Vec<String>,
    config: Value,
    token: Option<String>,
    stdout: Stdout,
    own_port: bool,
    ordinary_user: bool,
}

/// What becomes of the daemon's standard output behind its first line.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Stdout {
    /// Read, so that it never blocks.
    Drained,
    /// The reading end is closed.
    Closed,
    /// The reading end stays open and nobody reads.
    Blocked,
}

impl Builder {
    /// With the demo agent.
    pub(crate) fn agent_echo(self) -> Self {
        self.arg("--agent").arg("builtin:echo")
    }

    /// With the agent that does what the prompt orders; see `tests/agents/scripted.py`.
    pub(crate) fn agent_scripted(mut self) -> Self {
        // Beside its notes: this repository may lie where a sandboxed agent, or an ordinary user, sees
        // nothing.
        let probe = self.folder.path().join("probe");
        let script = probe.join("scripted.py");
        fs::copy(process::repository("tests/agents/scripted.py"), &script).unwrap();
        self.config["agent"]["env"]["PROBE_DIR"] = json!(probe);
        self.config["agent"]["writable"] = json!([probe]);
        self.config["agent"]["sandbox"] = json!("none");
        self.arg("--agent").arg(&json!(["python3", script]).to_string())
    }

    /// The token that clients need, given in the environment.
    pub(crate) fn token(self, token: &str) -> Self {
        let mut with = self.env("CLAWDIS_GATEWAY_TOKEN", token);
        with.token = Some(token.to_owned());
        with
    }

    /// What clients of this gateway say in `hello.auth.token`, however the daemon learns of it.
    pub(crate) fn clients_say(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Members for the config file; objects merge.
    pub(crate) fn config(mut self, members: Value) -> Self {
        merge(&mut self.config, members);
        self
    }

    /// One more argument.
    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// One more variable in an environment that is otherwise almost empty.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A program that sets something up, as the tests' own user, and then becomes the daemon (same pid), or
    /// the next such program.
    pub(crate) fn wrapper<'a>(mut self, argv: impl IntoIterator<Item = &'a str>) -> Self {
        self.wrapper.extend(argv.into_iter().map(str::to_owned));
        self
    }

    /// What becomes of standard output behind the first line.
    pub(crate) fn stdout(mut self, stdout: Stdout) -> Self {
        self.stdout = stdout;
        self
    }

    /// The state folder.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| self.folder.path().join("state"))
    }

    /// Another state folder than the test's own.
    pub(crate) fn in_state_dir(mut self, path: &Path) -> Self {
        self.state_dir = Some(path.to_owned());
        self
    }

    /// A folder of this test beside the state folder.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// That port instead of any free one.
    pub(crate) fn port(self, port: u16) -> Self {
        self.without_port().arg("--port").arg(&port.to_string())
    }

    /// No `--port 0` among the arguments.
    pub(crate) fn without_port(mut self) -> Self {
        self.own_port = true;
        self
    }

    /// The daemon as an ordinary user, who owns the test's folder: tests may be run by root, who may do
    /// what other people may not.
    pub(crate) fn by_ordinary_user(mut self) -> Self {
        self.ordinary_user = rustix::process::geteuid().is_root();
        self
    }

    /// Whether that is another user than this test's.
    pub(crate) fn is_by_ordinary_user(&self) -> bool {
        self.ordinary_user
    }

    fn command(&self) -> Command {
        let mut argv = self.wrapper.clone();
        if self.ordinary_user {
            argv.extend(process::ordinary_user());
        }
        argv.push(self.binary().display().to_string());
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).arg("--state-dir").arg(self.state_dir());
        if !self.own_port {
            command.args(["--port", "0"]);
        }
        if self.config != json!({}) {
            let file = self.folder.path().join("config.json");
            fs::write(&file, self.config.to_string()).unwrap();
            command.arg("--config").arg(file);
        }
        if self.ordinary_user {
            process::give_away(self.folder.path());
        }
        command.args(&self.args).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path().join("home")).env("TEST_FOLDER", self.folder.path());
        command.envs(&self.env).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The daemon's program, where whoever runs it can reach it.
    fn binary(&self) -> PathBuf {
        let copy = self.folder.path().join("clawdis-gateway");
        if !self.ordinary_user {
            return process::daemon();
        }
        if !copy.exists() {
            process::copy_program(&process::daemon(), &copy);
        }
        copy
    }

    fn start(&self) -> (Child, Output, thread::JoinHandle<()>) {
        process::raise_descriptor_limit();
        let mut child = self.command().spawn().expect("the daemon's program starts");
        let output = Output::default();
        let stderr = output.drain(Pipe::Err, child.stderr.take().unwrap());
        (child, output, stderr)
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub(crate) fn spawn(self) -> Gateway {
        self.try_spawn().unwrap_or_else(|exit| panic!("it gave up with {:?}:\n{}", exit.code, exit.text))
    }

    /// Starts it and waits until it serves or gives up.
    #[track_caller]
    pub(crate) fn try_spawn(self) -> Result<Gateway, Exit> {
        let started = Instant::now();
        let (mut child, output, stderr) = self.start();
        let stdout = child.stdout.take().unwrap();
        let mut gateway = Gateway {
            child,
            output,
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            start_time: Duration::ZERO,
            setup: self,
            kept: None,
        };
        let line = gateway.take_first_line(stdout);
        let Some(authority) = line.strip_prefix("listening on ws://") else {
            let code = gateway.wait_exit(PATIENCE).code();
            stderr.join().unwrap();
            return Err(Exit { code, elapsed: started.elapsed(), text: gateway.output.both() });
        };
        gateway.addr = authority.parse().unwrap();
        gateway.start_time = started.elapsed();
        Ok(gateway)
    }

    /// Starts it and waits until it has ended by itself.
    #[track_caller]
    pub(crate) fn run_to_exit(self) -> Exit {
        let started = Instant::now();
        let (mut child, output, stderr) = self.start();
        let drained = output.drain(Pipe::Out, child.stdout.take().unwrap());
        let mut served = false;
        let status = eventually("the daemon to give up by itself", PATIENCE, || {
            let status = child.try_wait().unwrap();
            if status.is_none() && output.out().contains("listening on") {
                served = true;
                let _ = child.kill();
            }
            status
        });
        drained.join().unwrap();
        stderr.join().unwrap();
        let exit = Exit { code: status.code(), elapsed: started.elapsed(), text: output.both() };
        assert!(!served, "it served instead of giving up:\n{}", exit.text);
        exit
    }
}

fn merge(into: &mut Value, members: Value) {
    match (into, members) {
        (Value::Object(into), Value::Object(members)) => {
            for (name, value) in members {
                merge(into.entry(name).or_insert(json!({})), value);
            }
        }
        (into, value) => *into = value,
    }
}

/// How a daemon ended that did not serve.
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) elapsed: Duration,
    pub(crate) text: String,
}

impl Exit {
    /// Fails unless it ended with this code and all of these words.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "exit code; it said:\n{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "no {word:?} in what it said:\n{}", self.text);
        }
        assert!(!self.text.contains("panicked"), "it panicked:\n{}", self.text);
    }
}

/// A daemon that serves. Dropping it kills it, by its own handle.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) output: Output,
    pub(crate) addr: SocketAddr,
    /// From the start of the process to its first line.
    pub(crate) start_time: Duration,
    setup: Builder,
    kept: Option<ChildStdout>,
}

impl Gateway {
    /// A daemon to be; `name` is for its folder and should be the test's.
    pub(crate) fn builder(name: &str) -> Builder {
        Self::builder_in(&std::env::temp_dir(), name)
    }

    /// The same, with its folder where a sandboxed agent sees what is not hidden from it.
    pub(crate) fn builder_in_view(name: &str) -> Builder {
        Self::builder_in(&folder::in_view(), name)
    }

    /// The same, with its folder in memory.
    pub(crate) fn builder_in_memory(name: &str) -> Builder {
        Self::builder_in(&folder::in_memory(), name)
    }

    fn builder_in(place: &Path, name: &str) -> Builder {
        Builder {
            folder: Arc::new(Folder::new(place, name)),
            state_dir: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            wrapper: Vec::new(),
            config: json!({}),
            token: None,
            stdout: Stdout::Drained,
            own_port: false,
            ordinary_user: false,
        }
    }

    fn take_first_line(&mut self, stdout: ChildStdout) -> String {
        let (tell, told) = mpsc::channel();
        let (output, mode) = (self.output.clone(), self.setup.stdout);
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = String::new();
            let _ = reader.read_line(&mut line);
            output.push(Pipe::Out, line.trim_end().to_owned());
            let kept = (mode == Stdout::Blocked).then(|| reader.get_ref().try_clone_pipe());
            let _ = tell.send((line.trim_end().to_owned(), kept));
            if mode == Stdout::Drained {
                output.drain(Pipe::Out, reader);
            }
        });
        let (line, kept) = told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("waited {PATIENCE:?} in vain for the daemon's first line:\n{}", self.output.both())
        });
        self.kept = kept;
        line
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The state folder.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.setup.state_dir()
    }

    /// The folder in which the scripted agent leaves its traces.
    pub(crate) fn probe(&self) -> PathBuf {
        self.setup.scratch().join("probe")
    }

    /// How it was started; spawning that again is a restart on the same folder.
    pub(crate) fn setup(&self) -> Builder {
        self.setup.clone()
    }

    /// A good hello, with the token if there is one.
    pub(crate) fn hello(&self) -> Value {
        let mut hello = hello();
        if let Some(token) = &self.setup.token {
            hello["auth"] = json!({ "token": token });
        }
        hello
    }

    /// The token that clients need, if there is one.
    pub(crate) fn token(&self) -> Option<&str> {
        self.setup.token.as_deref()
    }

    /// A client past its handshake.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr, &self.hello())
    }

    /// A client with a name and instance of its own.
    #[track_caller]
    pub(crate) fn client_as(&self, instance: &str) -> Client {
        let mut hello = self.hello();
        hello["client"]["instanceId"] = json!(instance);
        hello["client"]["name"] = json!(instance);
        Client::connect(self.addr, &hello)
    }

    /// A socket on which nothing has been said.
    pub(crate) fn raw(&self) -> Raw {
        Raw::connect(self.addr)
    }

    /// A socket upgraded to a WebSocket on which no hello has been said.
    pub(crate) fn upgraded(&self) -> Raw {
        let mut socket = self.raw();
        socket.upgrade();
        socket
    }

    /// A raw socket past its handshake: its first frame has been read.
    pub(crate) fn greeted(&self) -> Raw {
        let mut socket = self.upgraded();
        socket.send(raw::TEXT, self.hello().to_string().as_bytes());
        let first = socket.json("hello-ok");
        assert_eq!(first["type"], "hello-ok", "{first}");
        socket
    }

    /// Names of its threads, sorted.
    pub(crate) fn threads(&self) -> Vec<String> {
        process::threads(self.pid())
    }

    pub(crate) fn fd_count(&self) -> usize {
        process::fd_count(self.pid())
    }

    /// Resident memory in bytes.
    pub(crate) fn rss(&self) -> u64 {
        process::rss(self.pid())
    }

    /// Lets the scripted agent go on behind `[[hold NAME]]`.
    pub(crate) fn release(&self, name: &str) {
        fs::write(self.probe().join(format!("release-{name}")), "").unwrap();
    }

    /// Prompts that the scripted agent was given so far.
    pub(crate) fn prompts(&self) -> Vec<String> {
        prompts(&self.probe())
    }

    /// Asks it to stop.
    pub(crate) fn sigterm(&self) {
        process::signal(self.pid(), Signal::TERM);
    }

    /// Kills it and waits for the kernel to have cleaned up.
    pub(crate) fn sigkill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it is still there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        eventually("the daemon's end", within, || self.child.try_wait().unwrap())
    }

    /// Ends it like a supervisor does and starts it again on the same folder.
    #[track_caller]
    pub(crate) fn restart(mut self) -> Gateway {
        self.sigterm();
        assert_eq!(self.wait_exit(PATIENCE).code(), Some(0));
        self.setup().spawn()
    }
}

/// Prompts that the scripted agent noted in `probe`.
pub(crate) fn prompts(probe: &Path) -> Vec<String> {
    let text = fs::read_to_string(probe.join("prompts")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the daemon of {} said:\n{}", self.setup.folder.path().display(), self.output.both());
        }
    }
}

/// A second handle of a pipe, so that its reading end stays open unread.
trait TryClonePipe {
    fn try_clone_pipe(&self) -> ChildStdout;
}

impl TryClonePipe for ChildStdout {
    fn try_clone_pipe(&self) -> ChildStdout {
        use std::os::fd::AsFd;
        self.as_fd().try_clone_to_owned().unwrap().into()
    }
}
