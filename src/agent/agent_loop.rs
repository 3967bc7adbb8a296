//! The loop of the agent thread: executes what the scheduler decides and what the processes need.
//!
//! It never waits for anybody: state and the readers wait for it, and what state has no room for stays here.
//! Without runs and processes it sleeps without a timer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::time::Instant;

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, TrySendError};

use crate::agent::pending_events::PendingEvents;
use crate::agent::process::{Process, ProcessEvent};
use crate::agent::reader::{self, ReaderEvent};
use crate::agent::sandbox::{Sandbox, SessionFolders};
use crate::agent::scheduler::{Action, ProcessId, Scheduler};
use crate::agent::{AgentConfig, AgentControl, AgentEvent, RunSpec, RunStep};
use crate::child::{Child, ChildSpec, guard};
use crate::limits::{AGENT_LINES_INBOX, CHILD_STOP_TIMEOUT, ms};
use crate::protocol::call::RunId;
use crate::protocol::payload::RunStatus;
use crate::store::agent_folder::{self, AgentSessionFile};
use crate::store::media;

/// Variables that keep an agent from calling home, and from colours in its error texts.
const QUIET: [(&str, &str); 4] =
    [("PI_OFFLINE", "1"), ("PI_TELEMETRY", "0"), ("PI_SKIP_VERSION_CHECK", "1"), ("NO_COLOR", "1")];
/// Flags that keep what a person writes from being anything but text.
const LITERAL: [&str; 3] = ["--no-extensions", "--no-skills", "--no-prompt-templates"];

/// The thread, with all that it owns.
pub(super) struct AgentLoop<T> {
    config: AgentConfig,
    runs: Receiver<Box<RunSpec>>,
    control: Receiver<AgentControl>,
    events: Sender<T>,
    /// The way to this thread, cloned into every reader.
    to_loop: Sender<(ProcessId, ReaderEvent)>,
    reader_events: Receiver<(ProcessId, ReaderEvent)>,
    scheduler: Scheduler,
    processes: BTreeMap<ProcessId, Process>,
    pending_events: PendingEvents,
    /// An event that was about to be sent when state had no room for it.
    parked: Option<T>,
    /// The sandbox around every agent.
    sandbox: Sandbox,
    /// Whether state was told of trouble, and not yet that it is over.
    is_in_trouble: bool,
    /// Set once everything is to end: nothing is waited for beyond it.
    stop_by: Option<Instant>,
}

impl<T: From<AgentEvent>> AgentLoop<T> {
    pub(super) fn new(
        config: AgentConfig,
        runs: Receiver<Box<RunSpec>>,
        control: Receiver<AgentControl>,
        events: Sender<T>,
    ) -> Self {
        let scheduler = Scheduler::new(config.processes_max, config.warm);
        let (to_loop, reader_events) = crossbeam_channel::bounded(AGENT_LINES_INBOX);
        Self {
            config,
            runs,
            control,
            events,
            to_loop,
            reader_events,
            scheduler,
            processes: BTreeMap::new(),
            pending_events: PendingEvents::default(),
            parked: None,
            sandbox: Sandbox::None(String::new()),
            is_in_trouble: false,
            stop_by: None,
        }
    }

    /// Runs until it was told to stop and everything has ended.
    pub(super) fn run(mut self, tried: Sender<Infallible>) {
        if self.config.command.is_some() {
            self.try_sandbox();
            // Before any client can ask.
            self.send_events();
        }
        drop(tried);
        loop {
            self.take_inputs();
            self.take_lines();
            let now = Instant::now();
            for id in self.process_ids() {
                self.with_process(id, |process| process.tick(now));
            }
            if self.stop_by.is_none() {
                self.plan(now);
            }
            self.send_events();
            if let Some(stop_by) = self.stop_by {
                let done = self.processes.is_empty() && !self.has_events();
                if done || stop_by <= now {
                    return;
                }
            }
            self.wait();
        }
    }

    /// Tries the sandbox, on this thread because it takes a few milliseconds, and tells state if it differs.
    fn try_sandbox(&mut self) {
        let sandbox = Sandbox::decide(&self.config);
        if sandbox == self.sandbox {
            return;
        }
        self.sandbox = sandbox;
        let (kind, reason) = self.sandbox.describe();
        if let Sandbox::Missing(why) = &self.sandbox {
            self.tell(AgentEvent::Trouble(Some(why.clone())));
        }
        self.tell(AgentEvent::Sandbox { kind, reason });
    }

    /// Sleeps until anything can be done.
    fn wait(&self) {
        let now = Instant::now();
        let mut select = Select::new();
        // Once stopping, senders that are gone would make the receivers ready for ever.
        if self.stop_by.is_none() {
            select.recv(&self.runs);
            select.recv(&self.control);
        }
        if !self.pending_events.is_full() {
            select.recv(&self.reader_events);
        }
        if self.has_events() {
            select.send(&self.events);
        }
        let deadlines = self.processes.values().filter_map(|process| process.deadline(now));
        match deadlines.chain(self.scheduler.deadline()).chain(self.stop_by).min() {
            Some(deadline) => drop(select.ready_deadline(deadline)),
            None => drop(select.ready()),
        }
    }

    fn has_events(&self) -> bool {
        self.parked.is_some() || !self.pending_events.is_empty()
    }

    /// Takes runs and controls until there are none. A control was sent after the runs that it
    /// speaks of and before the runs that build on it, so every run is queued before a control is
    /// looked at, and nothing is planned before all of them were.
    fn take_inputs(&mut self) {
        while self.stop_by.is_none() {
            self.take_runs();
            match self.control.try_recv() {
                Ok(AgentControl::Cancel(run_id)) => {
                    self.take_runs();
                    self.cancel(&run_id);
                }
                Ok(AgentControl::EndSession { session_key, delete }) => {
                    self.scheduler.end_session(session_key, delete);
                }
                Ok(AgentControl::Shutdown) | Err(TryRecvError::Disconnected) => self.shut_down(),
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    fn take_runs(&mut self) {
        loop {
            match self.runs.try_recv() {
                Ok(run) if self.config.command.is_some() => self.scheduler.enqueue(run),
                Ok(run) => {
                    self.report_ended(run.run_id, RunStatus::Error, "no agent is configured".into());
                }
                Err(TryRecvError::Disconnected) if self.stop_by.is_none() => return self.shut_down(),
                Err(_) => return,
            }
        }
    }

    fn take_lines(&mut self) {
        // A bounded number, so that a flood does not delay orders and deadlines.
        for _ in 0..AGENT_LINES_INBOX {
            if self.pending_events.is_full() {
                return;
            }
            let Ok((id, event)) = self.reader_events.try_recv() else { return };
            let now = Instant::now();
            // What the reader of a process that is gone still had is nobody's.
            self.with_process(id, |process| match event {
                ReaderEvent::Line(line) => process.on_line(line, now),
                ReaderEvent::Fault(fault) => process.on_fault(&fault, now),
                ReaderEvent::Closed => process.on_closed(now),
            });
        }
    }

    fn cancel(&mut self, run_id: &RunId) {
        let why = "the run was cancelled";
        if let Some(run) = self.scheduler.dequeue(run_id) {
            self.report_ended(run.run_id, RunStatus::Cancelled, why.into());
        } else if let Some(id) = self.scheduler.process_of(run_id) {
            self.stop(id, why);
        }
    }

    fn shut_down(&mut self) {
        // A moment more than the processes get, so that their last words are heard.
        self.stop_by = Some(Instant::now() + CHILD_STOP_TIMEOUT + ms(100));
        let why = "the gateway is stopping";
        self.take_runs();
        let queued: Vec<_> = self.scheduler.dequeue_all().collect();
        for run in queued {
            self.report_ended(run.run_id, RunStatus::Cancelled, why.into());
        }
        for id in self.process_ids() {
            self.stop(id, why);
        }
    }

    fn stop(&mut self, id: ProcessId, why: &str) {
        let now = Instant::now();
        self.with_process(id, |process| process.stop(RunStatus::Cancelled, why.to_owned(), now));
    }

    fn plan(&mut self, now: Instant) {
        for action in self.scheduler.plan(now) {
            match action {
                Action::Start(id, run) => self.start(id, *run, now),
                Action::Assign(id, run) => {
                    self.with_process(id, |process| process.start_run(*run, now));
                }
                Action::End(id) => self.with_process(id, |process| process.terminate(now)),
                Action::Delete(session_key) => {
                    let result = agent_folder::forget(self.config.janitor.layout(), &session_key)
                        .map_err(|error| format!("they cannot be deleted: {error}"))
                        .inspect_err(|why| log::error!("the agent's files of a forgotten session: {why}"));
                    self.config.janitor.count();
                    self.tell(AgentEvent::Forgotten { session_key, result });
                }
            }
        }
        for (run_id, position) in self.scheduler.changed_positions() {
            self.tell(AgentEvent::Step { run_id, step: RunStep::Queued(position) });
        }
    }

    fn start(&mut self, id: ProcessId, run: RunSpec, now: Instant) {
        if self.sandbox.may_change(&self.config) {
            self.try_sandbox();
        }
        let file =
            match agent_folder::prepare(self.config.janitor.layout(), &run.session_key, &run.session_id) {
                Ok(file) => file,
                Err(error) => {
                    // Nobody else's runs have anything to do with that.
                    self.scheduler.gone(id);
                    let why = format!("the agent's files of this session cannot be used: {error}");
                    return self.report_ended(run.run_id, RunStatus::Error, why);
                }
            };
        match self.start_child(id, &run, file) {
            Ok(child) => {
                self.processes.insert(id, Process::new(child, &self.config, now));
                self.with_process(id, |process| process.start_run(run, now));
            }
            Err(error) => {
                let why = format!("the agent cannot be started: {error}");
                self.scheduler.gone(id);
                self.tell(AgentEvent::Trouble(Some(why.clone())));
                self.report_ended(run.run_id, RunStatus::Error, why);
            }
        }
    }

    fn start_child(&mut self, id: ProcessId, run: &RunSpec, file: AgentSessionFile) -> io::Result<Child> {
        let config = &self.config;
        if !config.cwd.is_dir() {
            return Err(io::Error::other(format!("its folder `{}` does not exist", config.cwd.display())));
        }
        // It is bound into the sandbox: what comes while the process lives must be seen there.
        let media_folder = config.janitor.layout().media_of(&run.session_key);
        media::folder(&media_folder)?;
        if let Some(aside) = &file.set_aside {
            log::error!("the agent's session file was damaged and is now {aside:?} in its folder");
            let said =
                "the agent's memory of this conversation was damaged; it was set aside and a new one begins";
            let step = RunStep::Error(said.into());
            self.pending_events.push(AgentEvent::Step { run_id: run.run_id.clone(), step });
        }
        let mut agent: Vec<OsString> = config.command.iter().flatten().map(OsString::from).collect();
        agent.extend(["--mode", "rpc", "--session"].map(OsString::from));
        let folders = SessionFolders { own: &file.folder, media: &media_folder };
        agent.push(file.path.into());
        agent.extend(["--thinking", run.thinking.name()].map(OsString::from));
        agent.extend(LITERAL.map(OsString::from));
        if let Some(model) = &config.model {
            agent.extend([OsString::from("--model"), model.into()]);
        }
        let quiet = QUIET.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let env = quiet.chain(config.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        let spec = ChildSpec {
            program: config.own_exe.clone(),
            args: guard::args(self.sandbox.wrap(config, folders, agent)?),
            cwd: &config.cwd,
            env: env.collect(),
            pass_env: &config.pass_env,
            name: "agent",
        };
        let reader_events = self.to_loop.clone();
        Child::start(&spec, move |stdout| reader::read(id, stdout, reader_events))
    }

    fn process_ids(&self) -> Vec<ProcessId> {
        self.processes.keys().copied().collect()
    }

    /// Has a process do something, if it still exists, and handles the events that come of it.
    fn with_process(&mut self, id: ProcessId, act: impl FnOnce(&mut Process)) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        act(process);
        for event in std::mem::take(&mut process.events) {
            match event {
                ProcessEvent::Tell(event) => self.tell(event),
                ProcessEvent::Idle if self.stop_by.is_some() => self.stop(id, ""),
                ProcessEvent::Idle => self.scheduler.idle(id, Instant::now()),
                ProcessEvent::Ending => self.scheduler.ending(id),
                ProcessEvent::Gone => {
                    self.scheduler.gone(id);
                    self.processes.remove(&id);
                }
            }
        }
    }

    fn report_ended(&mut self, run_id: RunId, status: RunStatus, summary: String) {
        self.tell(AgentEvent::Ended { run_id, status, summary });
    }

    /// Has state told; that there is no trouble only if it was told of some.
    fn tell(&mut self, event: AgentEvent) {
        if let AgentEvent::Trouble(why) = &event {
            if why.is_none() && !self.is_in_trouble {
                return;
            }
            self.is_in_trouble = why.is_some();
        }
        self.pending_events.push(event);
    }

    /// Hands over as many events as state has room for.
    fn send_events(&mut self) {
        while let Some(event) = self.parked.take().or_else(|| self.pending_events.pop().map(T::from)) {
            match self.events.try_send(event) {
                Err(TrySendError::Full(event)) => {
                    self.parked = Some(event);
                    return;
                }
                // Nobody is left to tell anything.
                Err(TrySendError::Disconnected(_)) if self.stop_by.is_none() => self.shut_down(),
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            }
        }
    }
}
