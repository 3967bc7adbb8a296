//! What the state thread is told, from the settings, and the warnings that follow from these.

use std::time::Duration;

use crate::config::settings::Settings;
use crate::daemon::channels_setup;
use crate::daemon::listeners::Listeners;
use crate::limits::{BACKLOG_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::net::hosts::stray_entries;
use crate::net::token::short_token;
use crate::protocol::hello::Policy;
use crate::protocol::payload::Auth;
use crate::protocol::warning::{Warning, WarningCode};
use crate::state::StateConfig;
use crate::store::Layout;

/// What the state thread is told: what clients are greeted with, and the bounds on runs and records.
pub(super) fn state(
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
        warnings: warnings(settings).into_iter().chain(listeners.warning.clone()).collect(),
        boot_id,
        policy: Policy {
            max_payload: PAYLOAD_BYTES_MAX,
            max_buffered_bytes: BACKLOG_BYTES_MAX,
            tick_interval_ms: settings.config.gateway.tick_interval_ms,
        },
        agent_configured: settings.agent_command.is_some(),
        agent: settings.config.agent.clone(),
        expiry: Duration::from_secs(settings.config.storage.retention_days * 86_400),
        heartbeat: settings.config.heartbeat.clone(),
        channels: channels_setup::for_state(settings, layout),
    }
}

/// The warnings that follow from the settings alone.
pub(super) fn warnings(settings: &Settings) -> Vec<Warning> {
    let gateway = &settings.config.gateway;
    let short_token = gateway.token.as_ref().and_then(short_token);
    let stray_entries = stray_entries(&gateway.allowed_hosts);
    [no_token(settings), short_token, stray_entries].into_iter().flatten().collect()
}

/// The warning that there is no token. A gateway that can do nothing may stand open.
fn no_token(settings: &Settings) -> Option<Warning> {
    let has_channels =
        settings.config.telegram.bot_token.is_some() || settings.config.whatsapp.is_configured();
    if settings.config.gateway.token.is_some() || !(has_channels || settings.agent_command.is_some()) {
        return None;
    }
    let message = "no token is set: every program of every user of this machine, the agent's own included, \
        may command this gateway; put 32 random characters into a file (`openssl rand -hex 16`) and start \
        it with --token-file FILE";
    Some(Warning::new(WarningCode::NoToken, message))
}
