//! A daemon under fire and the honest client beside it: it lives, it answers, it stays small.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Gateway, PATIENCE, eventually};

/// How long one daemon is under fire before another one takes its place.
pub(crate) const ROUND: Duration = Duration::from_secs(60);
/// What a storm may cost in memory, and what may stay of it.
pub(crate) const ANON_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A daemon that is looked after.
pub(crate) struct Watch {
    pub(crate) gateway: Gateway,
    /// It wants to hear of nothing but what it asks.
    pub(crate) honest: Client,
    descriptors: usize,
    anon_peak: u64,
}

impl Watch {
    /// Over a daemon that was just started.
    pub(crate) fn over(gateway: Gateway) -> Self {
        let mut hello = gateway.hello();
        hello["caps"] = json!(["event:shutdown"]);
        hello["client"]["instanceId"] = json!("honest");
        let honest = Client::connect(gateway.addr, &hello);
        let descriptors = gateway.fd_count();
        Self { gateway, honest, descriptors, anon_peak: 0 }
    }

    /// Somebody honest is answered, nothing has panicked, and memory is within its bound.
    #[track_caller]
    pub(crate) fn look(&mut self) {
        self.no_panic();
        self.honest.drain();
        let anon = anon_bytes(self.gateway.pid());
        self.anon_peak = self.anon_peak.max(anon);
        assert!(anon <= ANON_BYTES_MAX, "{anon} bytes of memory of its own");
    }

    #[track_caller]
    fn no_panic(&mut self) {
        let said = self.gateway.output.err();
        assert!(!said.contains("panicked at"), "it panicked:\n{said}");
        assert!(self.gateway.is_running(), "it ended by itself:\n{}", self.gateway.output.both());
    }

    /// The same when it is over: nothing is left of the connections.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.look();
        eventually("the threads and descriptors of the last connections to be gone", PATIENCE, || {
            let connections = self.gateway.threads().iter().filter(|name| name.starts_with("conn-")).count();
            // A warm agent has three pipes.
            let few = self.gateway.fd_count() <= self.descriptors + 8;
            (connections == 1 && few).then_some(())
        });
        println!("at most {} KB of memory of its own", self.anon_peak / 1024);
        self.gateway.sigterm();
        let exit = self.gateway.wait_exit(PATIENCE);
        assert_eq!(exit.code(), Some(0), "its end:\n{}", self.gateway.output.both());
        let said = self.gateway.output.err();
        assert!(!said.contains("panicked at"), "it panicked:\n{said}");
    }
}

/// Memory of a process that is in no file, in bytes.
pub(crate) fn anon_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1024
}
