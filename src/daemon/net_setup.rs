//! What the threads of the sockets are told: the settings, and how many sockets there may be.

use crate::config::settings::Settings;
use crate::net::NetConfig;
use crate::net::shares::Shares;

/// The settings of the sockets. There may be so many `descriptors` (`None`: any number).
pub(super) fn setup(settings: &Settings, descriptors: Option<u64>) -> NetConfig {
    let gateway = &settings.config.gateway;
    let shares = Shares::of(descriptors, gateway.max_clients, settings.config.agent.max_processes);
    if shares.clients < gateway.max_clients {
        log::warn!(
            "the limit on open files ({}) has room for {} clients at a time, not for {}; more are not accepted: raise \
             it (`ulimit -n`, LimitNOFILE= in a unit), or set --max-clients",
            descriptors.unwrap_or_default(),
            shares.clients,
            gateway.max_clients
        );
    }
    NetConfig {
        settings: gateway.clone(),
        bound: settings.binds.clone(),
        token_file: settings.token_file.clone(),
        shares,
    }
}
