//! What a person should mend in the settings, said at the start.

use crate::config::settings::Settings;
use crate::net::hosts::stray_entries;
use crate::net::token::short_token;
use crate::protocol::warning::{Warning, WarningCode};

/// The warnings that follow from the settings alone.
pub(super) fn of_settings(settings: &Settings) -> Vec<Warning> {
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
