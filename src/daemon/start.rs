//! What the daemon does with its command line: it says a text, checks the settings, or serves.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;

use crate::arguments::Invocation;
use crate::clock::{utc, wall_ms};
use crate::config::flags::Flags;
use crate::config::settings::{Environment, Settings};
use crate::daemon::fatal::Fatal;
use crate::daemon::gateway::Gateway;
use crate::daemon::process::{self, is_allocator_set, start_again};
use crate::daemon::{agent_setup, listeners, setup};
use crate::limits::SANE_CLOCK_MS;
use crate::logging::Log;
use crate::protocol::SERVER_VERSION;
use crate::protocol::payload::Toggles;
use crate::protocol::warning::Warning;
use crate::store::folder::{FolderLock, LockError, make_private};
use crate::store::{Janitor, Layout};

/// Runs the daemon; `args` are those behind the binary's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // stderr may be closed: there is nobody to tell then.
            let _ = writeln!(std::io::stderr(), "clawdis-gateway: {}", error.sentence);
            ExitCode::from(error.exit_code)
        }
    }
}

fn start(args: Vec<OsString>) -> Result<(), Fatal> {
    let flags = match Flags::parse(args.clone())? {
        Invocation::Say(text) => {
            // A reader that has gone away has read enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return Ok(());
        }
        Invocation::Run(flags) => flags,
    };
    if let Some(token) = flags.token.as_ref().filter(|token| token.fault().is_none()) {
        let error = start_again(&args, Some(token.expose()));
        return Err(Fatal::system("start again without the token in the process list")(error));
    }
    if !flags.check_config && !is_allocator_set() {
        let error = start_again(&args, None);
        // Nothing breaks without it; a flood leaves more memory behind.
        let _ = writeln!(std::io::stderr(), "clawdis-gateway: cannot set the allocator up: {error}");
    }
    let (check_config, log_format, is_verbose) = (flags.check_config, flags.log_format, flags.verbose);
    let settings = Settings::read(flags, &Environment::of_process())?;
    Log::install(log_format, is_verbose);
    if check_config { check(&settings) } else { run(&settings) }
}

/// Serves until a signal comes.
fn run(settings: &Settings) -> Result<(), Fatal> {
    // Before any thread, so that none of them ever sees the signals' default action.
    let signals = Signals::new(process::stop_signals().into_iter().chain([SIGCHLD]))
        .map_err(Fatal::system("listen for signals"))?;
    let descriptors = process::raise_descriptor_limit();
    process::forbid_core_dumps();
    let own_exe = std::env::current_exe().map_err(Fatal::system("find the gateway's own program"))?;
    let layout = Layout::new(&settings.state_dir);
    let lock = take_folder(&layout)?;
    let listeners = listeners::open(&settings.binds, settings.config.gateway.port)?;
    let url = listeners.url.clone();
    let who = json!({ "pid": std::process::id(), "url": listeners.local_url });
    lock.announce(&who.to_string()).map_err(Fatal::folder(&settings.state_dir))?;
    let gateway = Gateway::start(settings, layout, listeners, descriptors, own_exe)?;
    Log::release(&format!("listening on {url}"));
    log_start(settings);
    let in_time = gateway.serve(signals);
    log::info!("stopped{}", if in_time { "" } else { ", but not everything ended in time" });
    log::logger().flush();
    Ok(())
}

/// Says what a start would say of the settings, and makes nothing.
fn check(settings: &Settings) -> Result<(), Fatal> {
    let own_exe = std::env::current_exe().map_err(Fatal::system("find the gateway's own program"))?;
    let layout = Layout::new(&settings.state_dir);
    let janitor = Janitor::new(layout.clone(), u64::MAX);
    let (_, warning) = agent_setup::setup(settings, &janitor, &own_exe, false)?;
    setup::known_channels(settings, &layout);
    setup::channels(settings, &Toggles::default(), BTreeMap::new(), own_exe)?;
    let found: Vec<Warning> = setup::warnings(settings).into_iter().chain(warning).collect();
    for warning in settings.warnings.iter().chain(found.iter().map(|warning| &warning.message)) {
        log::warn!("{warning}");
    }
    Log::release("ok");
    Ok(())
}

fn take_folder(layout: &Layout) -> Result<FolderLock, Fatal> {
    let folder = layout.root();
    make_private(folder).map_err(Fatal::folder(folder))?;
    FolderLock::take(&layout.lock()).map_err(|error| match error {
        LockError::Held(holder) => Fatal::held(format!(
            "another gateway ({}) serves `{}`: stop it first, or give this one its own --state-dir",
            describe_holder(&holder),
            folder.display()
        )),
        LockError::Io(error) => Fatal::folder(folder)(error),
    })
}

/// What the lock file's JSON says of the gateway that holds it, in words.
fn describe_holder(holder: &str) -> String {
    let value: Value = serde_json::from_str(holder).unwrap_or_default();
    match (value["pid"].as_u64(), value["url"].as_str()) {
        (Some(pid), Some(url)) => format!("pid {pid} at {url}"),
        (Some(pid), None) => format!("pid {pid}"),
        _ => "it is just starting".to_owned(),
    }
}

/// Logs what a person should know at the start.
fn log_start(settings: &Settings) {
    log::info!(
        "clawdis-gateway {SERVER_VERSION}, pid {}, state in `{}`",
        std::process::id(),
        settings.state_dir.display()
    );
    for warning in &settings.warnings {
        log::warn!("{warning}");
    }
    if settings.agent_command.is_none() {
        log::info!("no agent is configured; start with --agent pi, or try --agent builtin:echo");
    }
    let wall_ms = wall_ms();
    if wall_ms < SANE_CLOCK_MS {
        let clock = utc(wall_ms / 1_000);
        log::warn!(
            "the clock says {clock}, which cannot be: set it (NTP does); until then ages of messages and keys count from now"
        );
    }
}
