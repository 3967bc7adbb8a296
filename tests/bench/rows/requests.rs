//! Requests and handshakes per second.

use std::time::Instant;

use crate::client::Client;
use crate::fleet::Fleet;
use crate::report::{Row, Target, median};
use crate::server::{Pair, Server, Setup};
use crate::{Outcome, wire};

/// Answers only: no event disturbs the count.
const QUIET: &[&str] = &["event:tick"];

/// Rates beside the floor's.
pub(crate) fn rows(setup: &Setup) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for method in ["health", "system-presence"] {
        for (name, clients, depth, target) in [
            ("pipelined 32 deep", 1, 32, 0.8),
            ("on 64 connections", 64, 1, 0.6),
            ("one at a time", 1, 1, 0.6),
        ] {
            let name = format!("{method}, {name}");
            rows.push(requests(
                setup,
                method,
                clients,
                depth,
                Row::new(name, "per s", &[Target::RatioAtLeast(target)]),
            )?);
        }
    }
    rows.push(handshakes(setup)?);
    Ok(rows)
}

fn requests(setup: &Setup, method: &str, clients: usize, depth: usize, row: Row) -> Outcome<Row> {
    let pair = Pair::start(setup, &[])?;
    let prepared: Vec<_> = (0..depth).map(|id| wire::request(&format!("{id:02}"), method, "{}")).collect();
    let (gateway, floor) = if clients == 1 && depth == 1 {
        pair.teach()?;
        pair.in_turn(setup.rounds, |server| one_at_a_time(setup, server, &prepared[0]))?
    } else {
        let mut fleets = [
            Fleet::connect(pair.gateway.addr, clients, QUIET)?,
            Fleet::connect(pair.floor.addr, clients, QUIET)?,
        ];
        // With everybody here, so that the presence list has its length.
        pair.teach()?;
        pair.in_turn(setup.rounds, |server| {
            fleets[usize::from(server.addr == pair.floor.addr)].request_rate(&prepared, setup.round)
        })?
    };
    Ok(row.gateway(median(&gateway)).floor(median(&floor)))
}

fn one_at_a_time(setup: &Setup, server: &Server, request: &[u8]) -> Outcome<f64> {
    let mut client = Client::connect(server.addr, QUIET)?;
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < setup.round {
        client.exchange(request)?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

fn handshakes(setup: &Setup) -> Outcome<Row> {
    let pair = Pair::start(setup, &[])?;
    let mut fleets =
        [Fleet::connect(pair.gateway.addr, 8, QUIET)?, Fleet::connect(pair.floor.addr, 8, QUIET)?];
    // The presence list is full before the floor learns how long a `hello-ok` is.
    fleets[0].handshake_rate(setup.round)?;
    pair.teach()?;
    let (gateway, floor) = pair.in_turn(setup.rounds, |server| {
        fleets[usize::from(server.addr == pair.floor.addr)].handshake_rate(setup.round)
    })?;
    let row = Row::new("handshakes, 8 at a time", "per s", &[Target::RatioAtLeast(0.7)]);
    Ok(row.gateway(median(&gateway)).floor(median(&floor)))
}
