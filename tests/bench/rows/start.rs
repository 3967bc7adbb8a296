//! From nothing to the first `hello-ok`.

use std::time::Instant;

use crate::Outcome;
use crate::client::Client;
use crate::report::{Row, Target, median};
use crate::server::{Server, Setup};

/// Start-up time of the gateway and the floor.
pub(crate) fn rows(setup: &Setup) -> Outcome<Vec<Row>> {
    let state = setup.folder()?;
    // The very first start makes the files that all later ones find.
    drop(Server::gateway_in(setup, &state, &[])?);
    let (mut gateway, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..setup.rounds * 5 {
        gateway.push(timed(|| Server::gateway_in(setup, &state, &[]))?);
        floor.push(timed(Server::floor)?);
    }
    let targets = [Target::AtMost(10.0), Target::RatioAtMost(2.5)];
    Ok(vec![
        Row::new("start to first hello-ok", "ms", &targets).gateway(median(&gateway)).floor(median(&floor)),
    ])
}

fn timed(start: impl FnOnce() -> Outcome<Server>) -> Outcome<f64> {
    let begin = Instant::now();
    let server = start()?;
    let client = Client::connect(server.addr, &[])?;
    let elapsed = begin.elapsed();
    drop((client, server));
    Ok(elapsed.as_secs_f64() * 1e3)
}
