//! Agent runs: what a stream costs, and what a message writes.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::fleet::Fleet;
use crate::floor::BROADCAST;
use crate::report::{Row, Target, median};
use crate::server::{Pair, Server, Setup, bare_command};
use crate::talker::{PIECES, piece};
use crate::wire::{self, TEXT};
use crate::{Outcome, procfs};

const WATCHERS: usize = 50;
const MESSAGES: usize = 20;

/// Streams and writes.
pub(crate) fn rows(setup: &Setup) -> Outcome<Vec<Row>> {
    let mut rows = vec![stream(setup)?, written(setup)?];
    rows.push(synced(setup)?);
    Ok(rows)
}

/// An answer in a thousand pieces to everybody who watches.
fn stream(setup: &Setup) -> Outcome<Row> {
    let agent = serde_json::json!([std::env::current_exe()?, "talker"]).to_string();
    let pair = Pair::start(setup, &["--agent", &agent])?;
    let mut asker = Client::connect(pair.gateway.addr, &["event:tick"])?;
    // The first run also starts the agent's process.
    asker.run_agent("warm up", "bench-warm")?;
    let mut watchers = Fleet::connect(pair.gateway.addr, WATCHERS, &[])?;
    let mut order = Client::connect(pair.floor.addr, &[])?;
    let mut listeners = Fleet::connect(pair.floor.addr, WATCHERS, &[])?;
    let (mut gateway, mut floor) = (Vec::new(), Vec::new());
    let (mut events, unmerged) = (0, unmerged_event_bytes());
    for round in 0..setup.rounds {
        watchers.settle(Duration::from_millis(300))?;
        let params = serde_json::json!({"message": "talk", "idempotencyKey": format!("bench-{round}")});
        let (mut pieces, mut text_bytes) = (0, 0);
        let start = Instant::now();
        asker.send(&wire::request("00", "agent", &params.to_string()))?;
        watchers.await_all(1, |frame| {
            if let Some(delta) = frame.text_after(r#""delta":""#) {
                pieces += 1;
                text_bytes += delta.len();
            }
            frame.contains(r#""ended""#)
        })?;
        gateway.push(start.elapsed().as_secs_f64() * 1e3);
        if text_bytes != WATCHERS * PIECES * piece(0).len() {
            return Err(format!("the watchers got {text_bytes} bytes of text instead of every delta").into());
        }
        events = pieces / WATCHERS;
        asker.ask("health", "{}")?;

        let start = Instant::now();
        let text = format!("{BROADCAST}{PIECES} {unmerged}");
        order.send(&wire::masked(TEXT, text.as_bytes()))?;
        listeners.await_all(PIECES, |_| true)?;
        floor.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let row = Row::new("agent stream, 1,000 deltas to 50 watchers", "ms", &[Target::RatioAtMost(1.3)]);
    let note = format!(
        "every delta came, merged into {events} events; the floor sends {PIECES} of {unmerged} bytes"
    );
    Ok(row.gateway(median(&gateway)).floor(median(&floor)).note(note))
}

/// Size of an `agent` event that carries a single delta.
fn unmerged_event_bytes() -> usize {
    let payload = serde_json::json!({
        "runId": "0".repeat(32), "sessionKey": "main", "seq": 500, "stream": "assistant",
        "ts": 1_700_000_000_000_u64, "data": {"delta": piece(500)},
    });
    serde_json::json!({"type": "event", "event": "agent", "seq": 500, "payload": payload}).to_string().len()
}

/// Disk writes per message, the agent's own included.
fn written(setup: &Setup) -> Outcome<Row> {
    let server = Server::gateway(setup, &["--agent", "builtin:echo"])?;
    let mut client = Client::connect(server.addr, &["event:tick"])?;
    client.run_agent("warm up", "bench-warm")?;
    server.calm()?;
    let before = procfs::write_bytes(server.pid())?;
    talk(&mut client)?;
    server.calm()?;
    let kib = (procfs::write_bytes(server.pid())? - before) / 1024.0 / MESSAGES as f64;
    Ok(Row::new("written to disk per chat message", "KiB", &[Target::AtMost(16.0)]).gateway(kib))
}

fn talk(client: &mut Client) -> Outcome<()> {
    for number in 0..MESSAGES {
        client.run_agent("a message as people write them", &format!("bench-{number}"))?;
    }
    Ok(())
}

/// Syncs per message, counted by strace over the gateway and its children.
fn synced(setup: &Setup) -> Outcome<Row> {
    let row = Row::new("fsyncs per chat message", "", &[Target::AtMost(3.0)]);
    let strace = Path::new("strace");
    if bare_command(strace).arg("-V").stdout(std::process::Stdio::null()).status().is_err() {
        return Ok(row.note("strace is not installed"));
    }
    // Starting and stopping syncs too: the difference is the messages'.
    let (idle, busy) = (syncs(setup, strace, 0)?, syncs(setup, strace, 1)?);
    Ok(row.gateway((busy - idle) / MESSAGES as f64))
}

/// Syncs over the life of a gateway that has so many conversations.
fn syncs(setup: &Setup, strace: &Path, conversations: usize) -> Outcome<f64> {
    let state = setup.folder()?;
    let log = setup.scratch.join(format!("syncs-{conversations}"));
    let mut command = bare_command(strace);
    command
        .env("HOME", &setup.scratch)
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o"])
        .arg(&log);
    command.arg(&setup.gateway).args(["--agent", "builtin:echo", "--port", "0", "--state-dir"]).arg(&state);
    let tracer = Server::start(command)?;
    let mut client = Client::connect(tracer.addr, &["event:tick"])?;
    client.run_agent("warm up", "bench-warm")?;
    for _ in 0..conversations {
        talk(&mut client)?;
    }
    drop(client);
    let gateway = *procfs::children(tracer.pid())?.first().ok_or("strace has no child")?;
    tracer.stop_through(gateway)?;
    let text = std::fs::read_to_string(log)?;
    // A call that another thread's interrupts has two lines; the second says `resumed`.
    let calls = text.lines().filter(|line| line.contains("sync(") && !line.contains("resumed"));
    Ok(calls.count() as f64)
}
