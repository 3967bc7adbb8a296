//! What the state thread is told: what clients are greeted with, and the bounds on runs and records.

use std::time::Duration;

use crate::config::settings::Settings;
use crate::daemon::listeners::Listeners;
use crate::daemon::{channels_setup, warnings};
use crate::limits::{BACKLOG_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::protocol::hello::Policy;
use crate::protocol::payload::Auth;
use crate::state::{Budget, HeartbeatConfig, PROMPT_DEFAULT, StateConfig};
use crate::store::Layout;

pub(super) fn setup(
    settings: &Settings,
    layout: &Layout,
    boot_id: String,
    listeners: &Listeners,
) -> StateConfig {
    StateConfig {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        ip: settings.binds.first().map_or_else(String::new, ToString::to_string),
        url: listeners.local_url.clone(),
        auth: if settings.config.gateway.token.is_some() { Auth::Token } else { Auth::None },
        warnings: warnings::of_settings(settings).into_iter().chain(listeners.warning.clone()).collect(),
        boot_id,
        policy: Policy {
            max_payload: PAYLOAD_BYTES_MAX,
            max_buffered_bytes: BACKLOG_BYTES_MAX,
            tick_interval_ms: settings.config.gateway.tick_interval_ms,
        },
        agent_configured: settings.agent_command.is_some(),
        thinking: settings.config.agent.thinking,
        run_timeout: Duration::from_secs(settings.config.agent.timeout_seconds),
        idle: minutes(settings.config.agent.idle_minutes),
        processes_max: settings.config.agent.max_processes,
        queue_max: settings.config.agent.queue,
        budget: Budget {
            runs: settings.config.agent.daily_runs,
            runs_per_person: settings.config.agent.daily_runs_per_person,
        },
        expiry: Duration::from_secs(settings.config.storage.retention_days * 86_400),
        heartbeat: HeartbeatConfig {
            every: minutes(settings.config.heartbeat.every_minutes),
            prompt: settings.config.heartbeat.prompt.clone().unwrap_or_else(|| PROMPT_DEFAULT.to_owned()),
            channel: settings.config.heartbeat.channel,
            to: settings.config.heartbeat.to.clone(),
        },
        channels: channels_setup::for_state(settings, layout),
    }
}

/// Minutes of the config, where 0 means never.
fn minutes(count: u64) -> Option<Duration> {
    (count > 0).then(|| Duration::from_secs(60 * count))
}
