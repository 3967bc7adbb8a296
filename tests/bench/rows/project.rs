//! The CLI, and the project itself.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::report::{Row, Target, median};
use crate::server::{Server, Setup, bare_command};
use crate::{Outcome, procfs};

/// Sizes and times of what is built.
pub(crate) fn rows(setup: &Setup) -> Outcome<Vec<Row>> {
    let mib = |path: &Path| Outcome::Ok(fs::metadata(path)?.len() as f64 / f64::from(1 << 20));
    let mut rows = vec![
        Row::new("binary: daemon", "MiB", &[Target::AtMost(4.0)]).gateway(mib(&setup.gateway)?),
        Row::new("binary: CLI", "MiB", &[Target::AtMost(1.2)]).gateway(mib(&setup.cli)?),
    ];
    rows.extend(cli(setup)?);
    rows.extend(size(setup)?);
    let build = Row::new("clean release build", "s", &[Target::AtMost(180.0)]);
    rows.push(if setup.full { build.gateway(clean_build(setup)?) } else { build.note("only with --full") });
    Ok(rows)
}

fn cli(setup: &Setup) -> Outcome<Vec<Row>> {
    let server = Server::gateway(setup, &[])?;
    let home = setup.folder()?;
    let health = || {
        let mut command = bare_command(&setup.cli);
        command.env("HOME", &home).args(["health", "--json", "--url", &format!("ws://{}", server.addr)]);
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        command
    };
    let (mut wall, mut peak) = (Vec::new(), Vec::new());
    for _ in 0..setup.rounds * 5 {
        let start = Instant::now();
        let status = health().status()?;
        wall.push(start.elapsed().as_secs_f64() * 1e3);
        if !status.success() {
            return Err(format!("`clawdis health` failed: {status}").into());
        }
        // Looked at while it runs, which slows it down: not the run that is timed.
        let mut child = health().spawn()?;
        let mut seen: f64 = 0.0;
        while child.try_wait()?.is_none() {
            seen = seen.max(procfs::peak_rss_kib(child.id(), "clawdis").unwrap_or(0.0));
            std::thread::sleep(Duration::from_micros(100));
        }
        peak.push(seen / 1024.0);
    }
    Ok(vec![
        Row::new("CLI: clawdis health --json, wall", "ms", &[Target::AtMost(20.0)]).gateway(median(&wall)),
        Row::new("CLI: clawdis health --json, peak RSS", "MiB", &[Target::AtMost(4.0)])
            .gateway(median(&peak)),
    ])
}

fn size(setup: &Setup) -> Outcome<Vec<Row>> {
    let mut tidy = bare_command(Path::new("python3"));
    if let Some(home) = std::env::var_os("HOME") {
        tidy.env("HOME", home); // cargo, behind it, keeps its packages there
    }
    let output = tidy.args(["-B", "tests/tidy", "--counts"]).current_dir(&setup.root).output()?;
    let counts: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("tests/tidy: {}", String::from_utf8_lossy(&output.stderr)))?;
    let count = |name: &str| counts[name].as_f64().ok_or_else(|| format!("no `{name}` in {counts}"));
    Ok(vec![
        Row::new("lines of Rust without tests", "", &[Target::AtMost(8_000.0)]).gateway(count("rustLines")?),
        Row::new("crates in the binary", "", &[Target::AtMost(110.0)])
            .gateway(count("crates")?)
            .note(format!("{} more only build it", count("buildCrates")?)),
    ])
}

fn clean_build(setup: &Setup) -> Outcome<f64> {
    let target = setup.scratch.join("clean-build");
    let mut cargo = bare_command(Path::new("cargo"));
    if let Some(home) = std::env::var_os("HOME") {
        cargo.env("HOME", home);
    }
    cargo
        .args(["build", "--release", "--locked", "--quiet", "--target-dir"])
        .arg(&target)
        .current_dir(&setup.root);
    let start = Instant::now();
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("the build failed: {status}").into());
    }
    Ok(start.elapsed().as_secs_f64())
}
