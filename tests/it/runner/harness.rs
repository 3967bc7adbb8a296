//! A stand-in for the state thread and the folders that an agent needs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clawdis_gateway::agent::{self, AgentConfig, AgentControl, AgentEvent, RunSpec, RunStep};
use clawdis_gateway::config::file::Sandbox;
use clawdis_gateway::protocol::call::{RunId, Thinking};
use clawdis_gateway::protocol::payload::RunStatus;
use clawdis_gateway::store::{Janitor, Layout};
use crossbeam_channel::{Receiver, Sender, bounded};

/// Longer than anything here takes on a loaded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The daemon's binary.
pub(super) fn own_exe() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_clawdis-gateway"))
}

/// A folder that goes with its value.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("clawdis-agent-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a run gave, steps in order.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) steps: Vec<RunStep>,
    pub(super) status: RunStatus,
    pub(super) summary: String,
}

impl Finished {
    /// What a client shows as the answer at the end.
    pub(super) fn shown(&self) -> String {
        let mut shown = String::new();
        for step in &self.steps {
            match step {
                RunStep::Text(text) => shown.push_str(text),
                RunStep::Reset => shown.clear(),
                _ => {}
            }
        }
        shown
    }

    pub(super) fn count(&self, wanted: fn(&RunStep) -> bool) -> usize {
        self.steps.iter().filter(|step| wanted(step)).count()
    }
}

/// A running agent thread.
pub(super) struct Rig {
    pub(super) folder: Folder,
    pub(super) commands: Sender<Box<RunSpec>>,
    pub(super) control: Sender<AgentControl>,
    pub(super) events: Receiver<AgentEvent>,
    /// Events that were read while another run was waited for.
    seen: Vec<AgentEvent>,
    thread: Option<JoinHandle<()>>,
    next_run: u64,
}

/// A config whose agent is `command`, in `folder`.
pub(super) fn config(folder: &Folder, command: &[&str]) -> AgentConfig {
    AgentConfig {
        command: Some(command.iter().map(|part| (*part).to_owned()).collect()),
        own_exe: own_exe(),
        cwd: folder.path().to_owned(),
        env: std::collections::BTreeMap::new(),
        pass_env: Vec::new(),
        model: None,
        janitor: Janitor::new(Layout::new(folder.path()), u64::MAX),
        // The guard is what is tested here; walls are tests/it/agent/sandbox.rs's.
        sandbox: Sandbox::None,
        secret_files: Vec::new(),
        hidden: Vec::new(),
        writable: Vec::new(),
        home: None,
        idle_timeout: PATIENCE,
        start_timeout: PATIENCE,
        warm: PATIENCE,
        processes_max: 2,
    }
}

impl Rig {
    pub(super) fn new(command: &[&str], adjust: impl FnOnce(&mut AgentConfig)) -> Self {
        let folder = Folder::new();
        let mut config = config(&folder, command);
        adjust(&mut config);
        let (commands, commands_in) = bounded(64);
        let (control, control_in) = bounded(64);
        let (events_out, events) = bounded::<AgentEvent>(256);
        let thread = agent::spawn(config, commands_in, control_in, events_out, bounded(0).0).unwrap();
        Self { folder, commands, control, events, seen: Vec::new(), thread: Some(thread), next_run: 1 }
    }

    pub(super) fn demo() -> Self {
        let exe = own_exe();
        Self::new(&[exe.to_str().unwrap(), "demo-agent"], |_| {})
    }

    /// Sends a run and gives its id.
    pub(super) fn send(&mut self, prompt: &str, adjust: impl FnOnce(&mut RunSpec)) -> RunId {
        let run_id: RunId = format!("run-{}", self.next_run).into();
        self.next_run += 1;
        let mut spec = RunSpec {
            run_id: run_id.clone(),
            session_key: "main".into(),
            session_id: "s1".into(),
            prompt: prompt.into(),
            images: Vec::new(),
            image_files: Vec::new(),
            thinking: Thinking::Off,
            timeout: PATIENCE,
        };
        adjust(&mut spec);
        self.commands.send(Box::new(spec)).unwrap();
        run_id
    }

    /// The next event. What was decided about the sandbox comes first and is not of interest here.
    pub(super) fn event(&mut self, awaited: &str) -> AgentEvent {
        loop {
            let event = self.events.recv_timeout(PATIENCE);
            match event.unwrap_or_else(|_| panic!("no {awaited} within {PATIENCE:?}")) {
                AgentEvent::Sandbox { .. } => {}
                event => return event,
            }
        }
    }

    /// Waits until a step of the run is, or was, as wanted.
    pub(super) fn until(&mut self, run_id: &RunId, awaited: &str, wanted: impl Fn(&RunStep) -> bool) {
        let found = |event: &AgentEvent| matches!(event, AgentEvent::Step { run_id: of, step } if of == run_id && wanted(step));
        while !self.seen.iter().any(found) {
            let event = self.event(awaited);
            self.seen.push(event);
        }
    }

    /// Waits for the run's end.
    pub(super) fn finish(&mut self, run_id: &RunId) -> Finished {
        let mut steps = Vec::new();
        let mut others = Vec::new();
        let mut seen = std::mem::take(&mut self.seen).into_iter();
        loop {
            let event = seen.next().unwrap_or_else(|| self.event(&format!("end of {run_id}")));
            match event {
                AgentEvent::Step { run_id: of, step } if of == *run_id => steps.push(step),
                AgentEvent::Ended { run_id: of, status, summary } if of == *run_id => {
                    others.extend(seen);
                    self.seen = others;
                    return Finished { steps, status, summary };
                }
                other => others.push(other),
            }
        }
    }

    /// One whole run.
    pub(super) fn ask(&mut self, prompt: &str) -> Finished {
        let run_id = self.send(prompt, |_| {});
        self.finish(&run_id)
    }

    /// Everything that was seen and not asked for.
    pub(super) fn leftovers(&mut self) -> Vec<AgentEvent> {
        let interesting = |event: &AgentEvent| !matches!(event, AgentEvent::Sandbox { .. });
        self.seen.extend(self.events.try_iter().filter(interesting));
        std::mem::take(&mut self.seen)
    }

    pub(super) fn cancel(&self, run_id: &RunId) {
        self.control.send(AgentControl::Cancel(run_id.clone())).unwrap();
    }

    /// Tells the thread to stop and waits for it; says how long that took.
    pub(super) fn shut_down(&mut self) -> Duration {
        let started = Instant::now();
        self.control.send(AgentControl::Shutdown).unwrap();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        started.elapsed()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.thread.is_some() && !std::thread::panicking() {
            self.shut_down();
        }
    }
}

/// A file under `tests/`.
pub(super) fn test_file(name: &str) -> String {
    format!("{}/tests/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The fake Pi that does what prompts order.
pub(super) fn acting(adjust: impl FnOnce(&mut AgentConfig)) -> Rig {
    Rig::new(&["python3", &test_file("agents/fake_pi.py"), "act"], adjust)
}

/// Waits for something that no event tells.
pub(super) fn wait_until(awaited: &str, limit: Duration, done: impl Fn() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "{awaited}: not within {limit:?}");
        std::thread::yield_now();
    }
}
