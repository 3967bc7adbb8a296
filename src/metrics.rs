//! Counters and gauges, written by any thread and read by `/metrics` and `/readyz`.
//!
//! The one global of the gateway: single atomics that nobody decides on, so that counting needs
//! neither a lock nor a parameter in every function. The labels are closed lists.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A number that any thread may change and read.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Takes one away.
    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// Replaces the value.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])* $field:ident: $kind:literal = $name:literal;)*) => {
        /// Everything that is counted.
        #[derive(Debug)]
        pub(crate) struct Metrics { $($(#[doc = $help])* pub $field: Cell,)* }

        /// The process's counters.
        pub(crate) static METRICS: Metrics = Metrics { $($field: Cell::new(),)* };

        impl Metrics {
            /// Prometheus text, format 0.0.4.
            pub(crate) fn render(&self) -> String {
                let mut text = String::with_capacity(4096);
                let mut last_family = "";
                $(
                    let family = $name.split('{').next().unwrap_or($name);
                    if family != last_family {
                        let help = concat!($($help),*).trim();
                        // Writing to a String cannot fail.
                        let _ = writeln!(text, "# HELP {family} {help}\n# TYPE {family} {}", $kind);
                        last_family = family;
                    }
                    let _ = writeln!(text, "{} {}", $name, self.$field.get());
                )*
                let _ = last_family;
                text
            }
        }
    };
}

metrics! {
    /// Unix time of the start, in seconds.
    started: "gauge" = "clawdis_start_time_seconds";
    /// Connections past their handshake.
    clients: "gauge" = "clawdis_clients";
    /// Connections that have not said hello yet.
    unauthenticated: "gauge" = "clawdis_unauthenticated_connections";
    /// TCP connections accepted.
    accepted: "counter" = "clawdis_connections_total";
    /// Connections refused, by reason.
    refused_origin: "counter" = "clawdis_refused_total{reason=\"origin\"}";
    /// Connections refused, by reason.
    refused_token: "counter" = "clawdis_refused_total{reason=\"token\"}";
    /// Connections refused, by reason.
    refused_hello: "counter" = "clawdis_refused_total{reason=\"hello\"}";
    /// Connections refused, by reason.
    refused_timeout: "counter" = "clawdis_refused_total{reason=\"timeout\"}";
    /// Connections refused, by reason.
    refused_capacity: "counter" = "clawdis_refused_total{reason=\"capacity\"}";
    /// Requests taken.
    requests: "counter" = "clawdis_requests_total";
    /// Frames that were no valid request.
    invalid_frames: "counter" = "clawdis_invalid_frames_total";
    /// Clients closed because they did not read.
    slow_consumers: "counter" = "clawdis_slow_consumers_total";
    /// Clients dropped because they did not answer pings.
    silent_clients: "counter" = "clawdis_silent_clients_total";
    /// Events left out for clients that read too slowly.
    dropped_events: "counter" = "clawdis_dropped_events_total";
    /// Bytes waiting in backlogs.
    backlog_bytes: "gauge" = "clawdis_backlog_bytes";
    /// Duration of the last fan-out to all clients, in microseconds.
    fanout_us: "gauge" = "clawdis_last_fanout_microseconds";
    /// Longest turn of the state thread so far, in microseconds.
    state_turn_us: "gauge" = "clawdis_state_turn_max_microseconds";
    /// Messages from people who are let in.
    messages_in: "counter" = "clawdis_messages_total{direction=\"in\"}";
    /// Messages that a channel has taken.
    messages_out: "counter" = "clawdis_messages_total{direction=\"out\"}";
    /// Messages that were not sent, or of which nobody knows.
    messages_failed: "counter" = "clawdis_messages_not_sent_total";
    /// Agent runs, by outcome.
    runs_ok: "counter" = "clawdis_runs_total{status=\"ok\"}";
    /// Agent runs, by outcome.
    runs_error: "counter" = "clawdis_runs_total{status=\"error\"}";
    /// Agent runs, by outcome.
    runs_timeout: "counter" = "clawdis_runs_total{status=\"timeout\"}";
    /// Agent runs, by outcome.
    runs_cancelled: "counter" = "clawdis_runs_total{status=\"cancelled\"}";
    /// Runs in progress.
    runs_active: "gauge" = "clawdis_runs_active";
    /// Runs waiting.
    runs_queued: "gauge" = "clawdis_runs_queued";
    /// Whether the state folder can be written.
    storage_ok: "gauge" = "clawdis_storage_ok";
    /// Bytes in the state folder.
    storage_used_bytes: "gauge" = "clawdis_storage_used_bytes";
    /// Group commits written.
    commits: "counter" = "clawdis_commits_total";
    /// Log lines left out: repeated, or nobody read them.
    log_dropped: "counter" = "clawdis_log_lines_dropped_total";
    /// Whether everything that is switched on is usable (what `/readyz` answers).
    ready: "gauge" = "clawdis_ready";
}

#[cfg(test)]
mod tests {
    use super::METRICS;

    #[test]
    fn rendering_declares_each_family_once() {
        let text = METRICS.render();
        let families: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let mut unique = families.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), families.len());
        assert!(text.contains("clawdis_refused_total{reason=\"token\"} "));
    }
}
