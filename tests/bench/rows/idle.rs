//! What a gateway costs that nobody talks to.

use std::time::Duration;

use crate::client::Client;
use crate::fleet::Fleet;
use crate::report::{Row, Target};
use crate::server::{Pair, Server, Setup};
use crate::{Outcome, procfs};

/// Connections between whose presence and absence memory is compared.
const CONNECTIONS: usize = 500;
/// A household's worth of clients.
const CLIENTS: usize = 32;

/// Memory, CPU, wake-ups and writes while idle.
pub(crate) fn rows(setup: &Setup) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let empty = Server::gateway(setup, &[])?;
    let busy = Server::gateway(setup, &[])?;
    let floor = Server::floor()?;
    let mut fleet = Fleet::connect(busy.addr, CLIENTS, &[])?;
    fleet.settle(Duration::from_millis(300))?;
    empty.calm()?;
    busy.calm()?;

    let before = [Usage::of(&empty)?, Usage::of(&busy)?];
    std::thread::sleep(setup.idle);
    let seconds = setup.idle.as_secs_f64();
    let alone = Usage::of(&empty)?.since(&before[0]);
    let watched = Usage::of(&busy)?.since(&before[1]);

    let floor_mib = procfs::pss_kib(floor.pid())? / 1024.0;
    let mib = |server: &Server| Outcome::Ok(procfs::pss_kib(server.pid())? / 1024.0);
    let over = format!("in {seconds:.0} s");
    rows.push(
        Row::new("idle PSS, no channels", "MiB", &[Target::AtMost(1.8)])
            .gateway(mib(&empty)?)
            .floor(floor_mib),
    );
    rows.push(Row::new("idle PSS, 32 clients", "MiB", &[Target::AtMost(3.0)]).gateway(mib(&busy)?));
    rows.push(
        Row::new("idle CPU, nobody there", "ticks", &[Target::AtMost(0.0)]).gateway(alone.ticks).note(&over),
    );
    rows.push(
        Row::new("idle CPU, 32 clients", "ticks", &[Target::AtMost(0.0)]).gateway(watched.ticks).note(&over),
    );
    rows.push(
        Row::new("wake-ups, nobody there", "", &[Target::AtMost(0.0)]).gateway(alone.switches).note(&over),
    );
    let rate = watched.switches / seconds;
    rows.push(Row::new("wake-ups, 32 clients", "per s", &[Target::AtMost(1.0)]).gateway(rate).note(&over));
    let bytes = alone.bytes + watched.bytes;
    rows.push(
        Row::new("written to disk while idle", "bytes", &[Target::AtMost(0.0)]).gateway(bytes).note(&over),
    );
    drop((empty, busy, floor, fleet));
    rows.push(memory_per_connection(setup)?);
    Ok(rows)
}

struct Usage {
    ticks: f64,
    switches: f64,
    bytes: f64,
}

impl Usage {
    fn of(server: &Server) -> Outcome<Self> {
        let pid = server.pid();
        Ok(Self {
            ticks: procfs::ticks(pid)?,
            switches: procfs::switches(pid)?,
            bytes: procfs::write_bytes(pid)?,
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            ticks: self.ticks - before.ticks,
            switches: self.switches - before.switches,
            bytes: self.bytes - before.bytes,
        }
    }
}

fn memory_per_connection(setup: &Setup) -> Outcome<Row> {
    let pair = Pair::start(setup, &[])?;
    pair.teach()?;
    let grown = |server: &Server| {
        // The first connection also costs what is allocated once.
        let first = Client::connect(server.addr, &[])?;
        server.calm()?;
        let before = procfs::pss_kib(server.pid())?;
        let mut fleet = Fleet::connect(server.addr, CONNECTIONS, &[])?;
        fleet.settle(Duration::from_millis(300))?;
        server.calm()?;
        let after = procfs::pss_kib(server.pid())?;
        drop(first);
        Outcome::Ok((after - before) / CONNECTIONS as f64)
    };
    let (gateway, floor) = (grown(&pair.gateway)?, grown(&pair.floor)?);
    let row = Row::new("memory per idle connection", "KiB", &[Target::RatioAtMost(0.8)]);
    Ok(row.gateway(gateway).floor(floor).note("PSS over 500 connections"))
}
