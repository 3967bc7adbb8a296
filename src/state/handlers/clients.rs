//! Lets clients in, with what `hello-ok` tells them, and takes them off the list when they have gone.
//!
//! Their handshake is over here: `net` has checked the token and the `hello`.

use crate::limits::{PRESENCE_TEXT_BYTES_MAX, ms};
use crate::net::Opened;
use crate::net::outbound::Outbound;
use crate::protocol::event::{EventKind, Subscriptions};
use crate::protocol::frame::{self, Close};
use crate::protocol::hello::{Features, HelloOk, ServerInfo, Snapshot};
use crate::protocol::method::Method;
use crate::protocol::payload::{ClientEntry, PresenceEntry};
use crate::protocol::{ConnId, SERVER_COMMIT, SERVER_VERSION, VERSION};
use crate::state::model::clients::{Client, LONG_TEXT_BYTES_MAX, clean, clean_id};
use crate::state::{Effect, State};

fn token_changed() -> Close {
    Close::new(1008, "token changed")
}

impl State {
    pub(crate) fn opened(&mut self, opened: Opened) {
        let Opened { conn, ip, hello, token } = opened;
        let short = |text: &str| clean(text, PRESENCE_TEXT_BYTES_MAX);
        let about = ClientEntry {
            conn_id: format!("{}-{conn}", self.config.boot_id),
            name: short(&hello.client.name),
            version: short(&hello.client.version),
            platform: short(&hello.client.platform),
            mode: short(&hello.client.mode),
            locale: hello.locale.as_deref().map(|text| clean(text, LONG_TEXT_BYTES_MAX)),
            user_agent: hello.user_agent.as_deref().map(|text| clean(text, LONG_TEXT_BYTES_MAX)),
            since_ts: self.now.wall_ms,
        };
        let instance =
            hello.client.instance_id.as_deref().map(clean_id).filter(|instance| !instance.is_empty());
        let instance = instance.unwrap_or_else(|| about.conn_id.clone());
        let entry = PresenceEntry {
            host: about.name.clone(),
            ip: ip.to_string(),
            version: about.version.clone(),
            mode: about.mode.clone(),
            ts: self.now.wall_ms,
            reason: Some("connect".to_owned()),
            instance_id: instance.clone(),
            ..PresenceEntry::default()
        };
        // Without clients no turn comes for it, and whoever comes now gets the whole list.
        self.presence.expire(self.now.mono);
        self.presence.connect(conn, entry);
        let hello_ok = self.hello_ok(&about.conn_id);
        let subscriptions = Subscriptions::from_caps(&hello.caps);
        self.effects.push(Effect::Out(Outbound::Join { conn, hello_ok, subscriptions }));
        if let Some(stopping) = &self.stopping {
            let close = Close::new(1001, stopping.close.reason.clone());
            self.effects.push(Effect::Out(Outbound::Close { conn, close }));
        }
        if token < self.token {
            // A newer token came into force while this client was on its way here.
            self.effects.push(Effect::Out(Outbound::Close { conn, close: token_changed() }));
        }
        self.clients.insert(conn, Client { about, instance, token });
        if self.next_tick.is_none() {
            self.next_tick = Some(self.now.mono + ms(self.config.policy.tick_interval_ms));
        }
    }

    fn hello_ok(&mut self, conn_id: &str) -> tungstenite::Bytes {
        let (health, state_version, uptime_ms) = (self.health_json(), self.version(), self.uptime_ms());
        frame::text(&HelloOk {
            protocol: VERSION,
            server: ServerInfo {
                version: SERVER_VERSION,
                commit: SERVER_COMMIT,
                host: &self.config.host,
                conn_id,
            },
            features: Features {
                methods: Method::ALL.iter().map(|method| method.name()).collect(),
                events: EventKind::ALL.iter().map(|kind| kind.name()).collect(),
            },
            snapshot: Snapshot { presence: self.presence.json(), health: &health, state_version, uptime_ms },
            policy: self.config.policy,
        })
    }

    /// Closes the connections that proved an older token than the newest.
    pub(crate) fn token_changed(&mut self, number: u64) {
        self.token = self.token.max(number);
        let old = self.clients.iter().filter(|(_, client)| client.token < self.token);
        let close = |conn: &ConnId| Effect::Out(Outbound::Close { conn: *conn, close: token_changed() });
        self.effects.extend(old.map(|(conn, _)| close(conn)));
    }

    pub(crate) fn closed(&mut self, conn: ConnId) {
        if self.clients.remove(&conn).is_none() {
            return;
        }
        self.presence.disconnect(conn, self.now.mono, self.now.wall_ms);
        if self.clients.is_empty() {
            self.next_tick = None;
        }
    }
}
