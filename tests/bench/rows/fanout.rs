//! One event to many clients.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::fleet::Fleet;
use crate::floor::BROADCAST;
use crate::report::{Row, Target, median};
use crate::server::{Pair, Server, Setup};
use crate::wire::{self, TEXT};
use crate::{Outcome, procfs};

/// Changes closer together than this may be merged: at least 50 ms and ten times the last fan-out.
pub(crate) const APART: Duration = Duration::from_millis(300);

/// Time until the last client has it, and what it costs the server.
pub(crate) fn rows(setup: &Setup) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for clients in [100, 1_000] {
        let (gateway, floor) = measure(setup, clients)?;
        let label = |what: &str| format!("event to {clients} clients: {what}");
        let last = Row::new(label("last one has it"), "ms", &[Target::RatioAtMost(1.2)]);
        rows.push(last.gateway(median(&gateway.last)).floor(median(&floor.last)));
        let cpu = Row::new(label("CPU of the server"), "ms", &[Target::RatioAtMost(1.2)]);
        rows.push(cpu.gateway(median(&gateway.cpu)).floor(median(&floor.cpu)));
        let state = Row::new(label("CPU of the state thread"), "ms", &[Target::AtMost(0.1)]);
        rows.push(state.gateway(median(&gateway.state)).note("request and event together"));
    }
    Ok(rows)
}

/// Milliseconds per event.
#[derive(Default)]
struct Series {
    last: Vec<f64>,
    cpu: Vec<f64>,
    state: Vec<f64>,
}

fn measure(setup: &Setup, clients: usize) -> Outcome<(Series, Series)> {
    let pair = Pair::start(setup, &[])?;
    // Before the others: the presence list has room for two hundred, and only what is listed changes.
    let mut trigger = Client::connect(pair.gateway.addr, &["event:tick"])?;
    let mut ours = Fleet::connect(pair.gateway.addr, clients, &[])?;
    let mut theirs = Fleet::connect(pair.floor.addr, clients, &[])?;
    let mut order = Client::connect(pair.floor.addr, &[])?;
    ours.settle(APART)?;
    theirs.settle(APART)?;
    let (mut gateway, mut floor) = (Series::default(), Series::default());
    for number in 0..setup.rounds * 3 {
        std::thread::sleep(APART);
        let marker = format!("bench-{number:04}");
        let state = procfs::thread_cpu_ms(pair.gateway.pid(), "state")?;
        let mut bytes = 0;
        gateway.time(&pair.gateway, || {
            trigger.send(&system_event(&marker))?;
            ours.await_all(1, |frame| {
                bytes = frame.payload.len();
                frame.contains(&marker)
            })
        })?;
        gateway.state.push(procfs::thread_cpu_ms(pair.gateway.pid(), "state")? - state);
        floor.time(&pair.floor, || {
            order.send(&wire::masked(TEXT, format!("{BROADCAST}1 {bytes}").as_bytes()))?;
            theirs.await_all(1, |_| true)
        })?;
    }
    Ok((gateway, floor))
}

impl Series {
    fn time(&mut self, server: &Server, work: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
        let before = procfs::cpu_ms(server.pid())?;
        let start = Instant::now();
        work()?;
        self.last.push(start.elapsed().as_secs_f64() * 1e3);
        self.cpu.push(procfs::cpu_ms(server.pid())? - before);
        Ok(())
    }
}

/// A request that changes its sender's presence entry, which everybody is told at once.
pub(crate) fn system_event(marker: &str) -> Vec<u8> {
    let tags = [marker, "an event of some four hundred bytes", "as they are in use"];
    let params = serde_json::json!({"text": marker, "reason": marker, "mode": "bench", "tags": tags});
    wire::request("00", "system-event", &params.to_string())
}
