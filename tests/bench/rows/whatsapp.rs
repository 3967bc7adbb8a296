//! What WhatsApp's sidecar costs, beside a Node process that does nothing.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Outcome;
use crate::report::{Row, Target};
use crate::server::Setup;

/// Targets for its resident memory, linked and after a thousand messages.
const IDLE_MIB: f64 = 80.0;
const BUSY_MIB: f64 = 100.0;

/// Memory and start-up time, as `tests/mock-whatsapp/bench.mjs` measures them.
pub(crate) fn rows(setup: &Setup) -> Outcome<Vec<Row>> {
    #[expect(clippy::disallowed_methods, reason = "no child of the gateway")]
    let mut command = Command::new("node");
    command.arg(setup.root.join("tests/mock-whatsapp/bench.mjs")).stderr(Stdio::inherit());
    let output = command.output()?;
    if !output.status.success() {
        return Err("bench.mjs failed; scripts/test installs what it needs".into());
    }
    let lines = String::from_utf8(output.stdout)?;
    let measured = lines.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let of = |what: &str, member: &str| {
        let line = measured.iter().find(|line| line["what"].as_str().is_some_and(|is| is.starts_with(what)));
        let value = line.and_then(|line| line[member].as_f64());
        value.ok_or_else(|| format!("bench.mjs says nothing of `{what}`"))
    };
    let bare = of("bare node", "rssMb")?;
    let memory = |name: &str, what: &str, targets: &[Target]| {
        let private = of(what, "pssMb")?;
        let row = Row::new(format!("sidecar RSS, {name}"), "MiB", targets).gateway(of(what, "rssMb")?);
        Outcome::Ok(row.floor(bare).note(format!("PSS {private}; floor: a bare Node process")))
    };
    let start = |name: &str, what: &str| {
        let row = Row::new(format!("sidecar start, {name}"), "ms", &[]).gateway(of(what, "ms")?);
        Outcome::Ok(row.floor(of("bare node", "ms")?).note("floor: a bare Node process"))
    };
    Ok(vec![
        memory("unlinked", "unlinked", &[])?,
        memory("linked, idle", "linked, idle", &[Target::AtMost(IDLE_MIB)])?,
        memory("after 1,000 messages", "after 1000", &[Target::AtMost(BUSY_MIB)])?,
        start("to its first answer", "start to answer")?,
        start("to ready", "start to ready")?,
    ])
}
