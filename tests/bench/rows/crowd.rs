//! What a crowd does to those who are not in it.

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::fanout::{APART, system_event};
use crate::client::Client;
use crate::fleet::{Fleet, expect_before};
use crate::report::{Row, Target, median, percentile};
use crate::server::{Pair, Server, Setup};
use crate::{Outcome, procfs, wire};

const CROWD: usize = 1_000;
/// Connections of those who only want their answers.
const OTHERS: usize = 10;

/// A thousand at once, coming and going, and some that stop reading.
pub(crate) fn rows(setup: &Setup) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    let [come, go] = come_and_go(setup)?;
    for (what, all, (gateway, floor)) in
        [("connect in a burst", "all greeted", come), ("vanish at once", "all gone", go)]
    {
        let p99 = Row::new(format!("1,000 clients {what}: others' p99"), "ms", &[Target::AtMost(5.0)]);
        rows.push(
            p99.gateway(percentile(&gateway.others_ms, 0.99)).floor(percentile(&floor.others_ms, 0.99)),
        );
        let total = Row::new(format!("1,000 clients {what}: {all}"), "ms", &[Target::RatioAtMost(2.0)]);
        rows.push(total.gateway(median(&gateway.total_ms)).floor(median(&floor.total_ms)));
    }
    rows.push(stalled(setup)?);
    Ok(rows)
}

#[derive(Default)]
struct Series {
    total_ms: Vec<f64>,
    others_ms: Vec<f64>,
}

/// Both phases, each as the gateway's series and the floor's.
fn come_and_go(setup: &Setup) -> Outcome<[(Series, Series); 2]> {
    let mut phases: [(Series, Series); 2] = Default::default();
    let [come, go] = &mut phases;
    let pair = Pair::start(setup, &[])?;
    // Fills the presence list first: the floor's `hello-ok` is as long as the gateway's then.
    drop(Fleet::connect(pair.gateway.addr, 250, &[])?);
    pair.gateway.calm()?;
    pair.teach()?;
    for _ in 0..setup.rounds {
        for (server, come, go) in
            [(&pair.gateway, &mut come.0, &mut go.0), (&pair.floor, &mut come.1, &mut go.1)]
        {
            let mut fleet = come.watch(server.addr, || Fleet::connect(server.addr, CROWD, &[]))?;
            fleet.settle(APART)?;
            server.calm()?;
            let crowded = procfs::threads(server.pid())?;
            go.watch(server.addr, || {
                // The observers' own connections come and go with `watch`.
                let quiet = crowded + OTHERS - CROWD;
                drop(fleet);
                let deadline = Instant::now() + Duration::from_secs(30);
                while procfs::threads(server.pid())? > quiet {
                    expect_before(deadline, "the end of every connection's thread")?;
                    std::thread::sleep(Duration::from_micros(500));
                }
                Ok(())
            })?;
            server.calm()?;
        }
    }
    Ok(phases)
}

impl Series {
    /// Does `work` while a thread asks on a few connections, one after the other, and notes how
    /// long its answers take.
    fn watch<T>(&mut self, addr: SocketAddr, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let (begun, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let others: Vec<_> =
            (0..OTHERS).map(|_| Client::connect(addr, &["event:tick"])).collect::<Outcome<_>>()?;
        std::thread::scope(|scope| {
            let observer = scope.spawn(|| observe(others, &begun, &over));
            while !begun.load(Ordering::Acquire) && !observer.is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let start = Instant::now();
            let result = work();
            self.total_ms.push(start.elapsed().as_secs_f64() * 1e3);
            over.store(true, Ordering::Release);
            let samples = observer.join().map_err(|_| "the observer panicked")??;
            self.others_ms.extend(samples);
            result
        })
    }
}

fn observe(mut others: Vec<Client>, begun: &AtomicBool, over: &AtomicBool) -> Outcome<Vec<f64>> {
    let request = wire::request("00", "health", "{}");
    for client in &mut others {
        client.exchange(&request)?;
    }
    begun.store(true, Ordering::Release);
    let mut samples = Vec::new();
    while !over.load(Ordering::Acquire) {
        for client in &mut others {
            samples.push(client.exchange(&request)?.as_secs_f64() * 1e3);
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(samples)
}

/// Ten of a hundred clients do not read, and have more waiting than the kernel takes.
fn stalled(setup: &Setup) -> Outcome<Row> {
    const STALLED: usize = 10;
    let row = Row::new("10 of 100 clients stalled: others' p99", "ms", &[Target::RatioAtMost(2.0)]);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..setup.rounds.div_ceil(2) {
        let server = Server::gateway(setup, &[])?;
        let mut fleet = Fleet::connect(server.addr, 100, &[])?;
        without.extend(event_latencies(setup, &server, &mut fleet)?);
        drop((fleet, server));

        let server = Server::gateway(setup, &[])?;
        let mut fleet = Fleet::connect(server.addr, 100 - STALLED, &[])?;
        let sleepers = (0..STALLED).map(|_| sleeper(server.addr)).collect::<Outcome<Vec<_>>>()?;
        server.calm()?;
        with.extend(event_latencies(setup, &server, &mut fleet)?);
        let waiting = backlog_bytes(server.addr)?;
        if waiting < (STALLED * WAITING / 2) as f64 {
            return Ok(row.note(format!("no stall: only {waiting} bytes wait for the stalled clients")));
        }
        drop(sleepers);
    }
    let row = row.gateway(percentile(&with, 0.99)).floor(percentile(&without, 0.99));
    Ok(row.note("compared with 100 clients that all read"))
}

/// How long each client of the fleet waits for each of a series of events.
fn event_latencies(setup: &Setup, server: &Server, fleet: &mut Fleet) -> Outcome<Vec<f64>> {
    let mut trigger = Client::connect(server.addr, &["event:tick"])?;
    fleet.settle(APART)?;
    let mut samples = Vec::new();
    for number in 0..setup.rounds * 4 {
        std::thread::sleep(APART);
        let marker = format!("bench-{number:04}");
        let start = Instant::now();
        trigger.send(&system_event(&marker))?;
        fleet.await_all(1, |frame| {
            let wanted = frame.contains(&marker);
            if wanted {
                samples.push(start.elapsed().as_secs_f64() * 1e3);
            }
            wanted
        })?;
    }
    Ok(samples)
}

/// Receive buffer of a client that will not read.
const SMALL_BUFFER: usize = 4 * 1024;
/// What shall wait for it in the gateway: well below what would end the connection.
const WAITING: usize = 700 * 1024;

/// What the gateway itself says about its backlogs.
fn backlog_bytes(addr: SocketAddr) -> Outcome<f64> {
    const GAUGE: &str = "\nclawdis_backlog_bytes ";
    let mut stream = TcpStream::connect(addr)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let text = std::io::read_to_string(stream)?;
    let at = text.find(GAUGE).ok_or("no gauge of backlogs in /metrics")? + GAUGE.len();
    Ok(text[at..].lines().next().unwrap_or_default().parse()?)
}

/// A client that asks for more than the kernel holds for it and never reads; the rest waits in the
/// gateway.
fn sleeper(addr: SocketAddr) -> Outcome<TcpStream> {
    let answer = Client::connect(addr, &["event:tick"])?.ask("system-presence", "{}")?.len();
    let count = (kernel_absorbs(answer)? + WAITING) / answer;
    let mut stream = TcpStream::connect(addr)?;
    set_socket_recv_buffer_size(&stream, SMALL_BUFFER)?;
    stream.write_all(wire::UPGRADE)?;
    read_until(&mut stream, b"\r\n\r\n")?;
    stream.write_all(&wire::hello("bench-sleeper", &[]))?;
    read_until(&mut stream, b"hello-ok")?;
    let request = wire::request("00", "system-presence", "{}");
    for _ in 0..count {
        stream.write_all(&request)?;
    }
    Ok(stream)
}

/// What a connection whose other end does not read takes in, written in pieces of that size.
fn kernel_absorbs(piece: usize) -> Outcome<usize> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let reader = TcpStream::connect(listener.local_addr()?)?;
    set_socket_recv_buffer_size(&reader, SMALL_BUFFER)?;
    let (mut writer, _) = listener.accept()?;
    writer.set_nonblocking(true)?;
    let (piece, mut total) = (vec![0; piece], 0);
    loop {
        match writer.write(&piece) {
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(total),
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> Outcome<()> {
    use std::io::Read as _;
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(end) {
        stream.read_exact(&mut byte)?;
        seen.push(byte[0]);
    }
    Ok(())
}
