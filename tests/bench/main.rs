//! The benchmark: the gateway's release build against the project's targets, and beside a bare
//! server in the same run, because machines differ and are noisy.
//!
//! `scripts/bench` starts it. It starts itself again as the floor (`bench floor`) and as an agent
//! (`bench talker`). It judges nothing by its exit code: 0 means that everything was measured.
#![expect(clippy::cast_precision_loss, reason = "measurements are read to three digits")]

mod client;
mod fleet;
mod floor;
mod procfs;
mod report;
mod rows;
mod server;
mod talker;
mod wire;

use std::error::Error;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use report::Row;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use server::Setup;

/// Something measured, or a sentence on why not.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

type Group = (&'static str, fn(&Setup) -> Outcome<Vec<Row>>);

/// In the order of the report.
const GROUPS: [Group; 8] = [
    ("idle", rows::idle::rows),
    ("start", rows::start::rows),
    ("requests", rows::requests::rows),
    ("fanout", rows::fanout::rows),
    ("crowd", rows::crowd::rows),
    ("agent", rows::agent::rows),
    ("whatsapp", rows::whatsapp::rows),
    ("project", rows::project::rows),
];

const HELP: &str = "\
Measures the release build against the project's targets and beside a bare server.

  --full        longer, and with a clean release build
  --json FILE   also write the results there
  --only GROUP  idle, start, requests, fanout, crowd, agent, whatsapp or project

CLAWDIS_BENCH_BIN names the folder of another build to measure.
";

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some("floor") => floor::serve().map(|()| true),
        Some("talker") => talker::serve().map(|()| true),
        _ => run(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures what the arguments ask for; whether all of it could be.
fn run() -> Outcome<bool> {
    let mut out = std::io::stdout();
    let mut arguments = pico_args::Arguments::from_env();
    if arguments.contains(["-h", "--help"]) {
        write!(out, "{HELP}")?;
        return Ok(true);
    }
    if !arguments.contains("--bench") {
        // `cargo test --all-targets` comes here: a measurement is no test.
        writeln!(out, "a benchmark; run scripts/bench")?;
        return Ok(true);
    }
    let full = arguments.contains("--full");
    let json: Option<PathBuf> = arguments.opt_value_from_str("--json")?;
    let only: Option<String> = arguments.opt_value_from_str("--only")?;
    let unknown = arguments.finish();
    if !unknown.is_empty() {
        return Err(format!("unknown arguments {unknown:?}; see --help").into());
    }
    let scratch = Scratch::new()?;
    let setup = setup(full, &scratch.0)?;

    writeln!(out, "{}", report::heading())?;
    let (mut rows, mut whole) = (Vec::new(), true);
    for (name, measure) in GROUPS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name))
    {
        match measure(&setup) {
            Ok(measured) => {
                for row in &measured {
                    writeln!(out, "{row}")?;
                }
                rows.extend(measured);
            }
            Err(error) => {
                writeln!(out, "{name}: could not be measured: {error}")?;
                whole = false;
            }
        }
    }
    writeln!(out, "{}", report::tally(&rows))?;
    if let Some(path) = json {
        std::fs::write(path, format!("{:#}\n", report::to_json(&rows, full)))?;
    }
    Ok(whole)
}

fn setup(full: bool, scratch: &Path) -> Outcome<Setup> {
    // A thousand clients are a thousand descriptors here and in each server.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let folder = std::env::var_os("CLAWDIS_BENCH_BIN").map(PathBuf::from);
    let binary = |name: &str, built: Option<&str>| match (&folder, built) {
        (Some(folder), _) => Ok(folder.join(name)),
        (None, Some(built)) => Ok(PathBuf::from(built)),
        (None, None) => Err(format!("no `{name}`: build with cargo bench")),
    };
    Ok(Setup {
        gateway: binary("clawdis-gateway", option_env!("CARGO_BIN_EXE_clawdis-gateway"))?,
        cli: binary("clawdis", option_env!("CARGO_BIN_EXE_clawdis"))?,
        root: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
        scratch: scratch.to_owned(),
        idle: Duration::from_secs(if full { 60 } else { 20 }),
        round: Duration::from_millis(if full { 1_000 } else { 400 }),
        rounds: if full { 9 } else { 5 },
        full,
    })
}

/// A folder beside the build, so that it is on a disk; gone with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Outcome<Self> {
        let executable = std::env::current_exe()?;
        let mut name = OsString::from("bench-");
        name.push(std::process::id().to_string());
        let path = executable.parent().ok_or("no folder")?.join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
