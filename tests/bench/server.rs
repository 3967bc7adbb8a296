//! The two servers as processes: the gateway in its release build, and the floor.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::fleet::expect_before;
use crate::floor::SET;
use crate::wire::{self, TEXT};
use crate::{Outcome, procfs};

/// From SIGTERM to exit the gateway has 5 s.
const STOP: Duration = Duration::from_secs(6);

/// What all measurements share.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The daemon's release build.
    pub(crate) gateway: PathBuf,
    /// The CLI's.
    pub(crate) cli: PathBuf,
    /// The project's folder.
    pub(crate) root: PathBuf,
    /// For state folders; on a disk, since what is written there is counted.
    pub(crate) scratch: PathBuf,
    /// How long to watch an idle gateway.
    pub(crate) idle: Duration,
    /// How long one round of a rate lasts.
    pub(crate) round: Duration,
    /// Rounds, gateway and floor in turn.
    pub(crate) rounds: usize,
    /// Also what takes minutes.
    pub(crate) full: bool,
}

impl Setup {
    /// A new, empty folder that only we can read.
    pub(crate) fn folder(&self) -> Outcome<PathBuf> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = self.scratch.join(format!("state-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }
}

/// A command with nothing of our environment but the path.
pub(crate) fn bare_command(program: &Path) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "the benchmark stands outside of the gateway's child handling"
    )]
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null());
    command
}

/// A server that listens. Ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
}

impl Server {
    /// Starts the gateway.
    pub(crate) fn gateway(setup: &Setup, arguments: &[&str]) -> Outcome<Self> {
        Self::gateway_in(setup, &setup.folder()?, arguments)
    }

    /// Starts the gateway on a state folder that may have been used before.
    pub(crate) fn gateway_in(setup: &Setup, state: &Path, arguments: &[&str]) -> Outcome<Self> {
        let mut command = bare_command(&setup.gateway);
        command.env("HOME", &setup.scratch).args(["--port", "0", "--state-dir"]).arg(state).args(arguments);
        Self::start(command)
    }

    /// Starts the floor.
    pub(crate) fn floor() -> Outcome<Self> {
        let mut command = bare_command(&std::env::current_exe()?);
        command.arg("floor");
        Self::start(command)
    }

    /// Starts `command` and waits for the line that says where it listens.
    pub(crate) fn start(mut command: Command) -> Outcome<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let addr = line.trim_end().strip_prefix("listening on ws://").and_then(|addr| addr.parse().ok());
        let Some(addr) = addr else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it did not say where it listens, but `{}`", line.trim_end()).into());
        };
        // Somebody has to read the log, as a supervisor would.
        #[expect(clippy::disallowed_methods, reason = "ends with the child's stdout")]
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 * 1024];
            while matches!(lines.read(&mut chunk), Ok(count) if count > 0) {}
        });
        Ok(Self { child, addr })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has stopped using its CPU.
    pub(crate) fn calm(&self) -> Outcome<()> {
        const WINDOW: Duration = Duration::from_millis(150);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let before = procfs::cpu_ms(self.pid())?;
            std::thread::sleep(WINDOW);
            if procfs::cpu_ms(self.pid())? - before < 1.0 {
                return Ok(());
            }
            expect_before(deadline, "an idle server")?;
        }
    }

    /// Ends `inner`, the process that this one watches over, and waits until this one is gone too.
    pub(crate) fn stop_through(mut self, inner: u32) -> Outcome<()> {
        let inner = Pid::from_raw(inner.try_into()?).ok_or("process 0")?;
        kill_process(inner, Signal::TERM)?;
        if self.ends_within(STOP) { Ok(()) } else { Err("it did not end on SIGTERM".into()) }
    }

    fn ends_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return; // has ended, and been waited for
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if self.ends_within(STOP) {
            return;
        }
        eprintln!("process {} had to be killed: it did not end on SIGTERM", self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The gateway and the floor, to be measured in turn.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) gateway: Server,
    pub(crate) floor: Server,
}

impl Pair {
    pub(crate) fn start(setup: &Setup, arguments: &[&str]) -> Outcome<Self> {
        Ok(Self { gateway: Server::gateway(setup, arguments)?, floor: Server::floor()? })
    }

    /// Lets the floor answer with what the gateway answers now, so that both send the same bytes.
    pub(crate) fn teach(&self) -> Outcome<()> {
        let mut source = Client::connect(self.gateway.addr, &["event:tick"])?;
        let mut lesson = vec![("hello", source.greeting.clone())];
        for method in ["health", "system-presence"] {
            lesson.push((method, source.ask(method, "{}")?));
        }
        let mut pupil = Client::connect(self.floor.addr, &[])?;
        for (name, text) in lesson {
            pupil.send(&wire::masked(TEXT, format!("{SET}{name} {text}").as_bytes()))?;
        }
        // Orders are not answered; a request behind them is.
        pupil.ask("health", "{}")?;
        Ok(())
    }

    /// Measures both in turn, `rounds` times: the gateway's values and the floor's.
    pub(crate) fn in_turn(
        &self,
        rounds: usize,
        mut measure: impl FnMut(&Server) -> Outcome<f64>,
    ) -> Outcome<(Vec<f64>, Vec<f64>)> {
        let (mut gateway, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            gateway.push(measure(&self.gateway)?);
            floor.push(measure(&self.floor)?);
        }
        Ok((gateway, floor))
    }
}
