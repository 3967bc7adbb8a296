//! `watch`: events as they happen, through restarts of the gateway, until Ctrl-C.
//!
//! Events are not repeated by the gateway. Numbers that skip mean that some were missed; then health
//! and presence are asked for anew.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::backoff::Backoff;
use crate::cli::call::PATIENCE_MS;
use crate::cli::connection::{Connection, Frame};
use crate::cli::exit::Failure;
use crate::cli::message::random_key;
use crate::cli::watch_view::WatchView;
use crate::limits::ms;

/// `watch`
pub(crate) fn run(mut context: Context) -> Result<(), Failure> {
    context.args.named(&[], 0)?;
    let instance_id = format!("clawdis-watch-{}", random_key()?);
    // Without any `event:` entry all families come, those of newer gateways included.
    let connect = || context.connect(&[], &instance_id, Instant::now() + context.timeout());
    let mut view = WatchView::new(&context.output);
    let mut connection = connect()?;
    loop {
        let (why, pause) = match follow(&mut connection, &mut view) {
            Ok(pause) => ("the gateway stopped".to_owned(), pause),
            Err(Failure::Lost(why)) => (why, None),
            Err(failure) => return Err(failure),
        };
        view.disconnected(&why)?;
        // The gateway must not count us twice.
        drop(connection);
        connection = reconnect(&connect, pause)?;
    }
}

/// Shows events until the connection is lost, or the gateway says that it stops: then how long it
/// will be away.
fn follow(connection: &mut Connection, view: &mut WatchView) -> Result<Option<Duration>, Failure> {
    view.connected(connection.hello())?;
    let mut seq_next = 1;
    let mut refresh = None;
    loop {
        let frame = match connection.receive(Instant::now() + ms(PATIENCE_MS))? {
            Some(Frame::Event(event)) => event,
            Some(Frame::Response { id, payload, error: None }) => {
                if let Some(asked) = &mut refresh {
                    Refresh::answered(asked, &id, payload, view)?;
                }
                continue;
            }
            _ => continue,
        };
        if let Some(seq) = frame["seq"].as_u64() {
            if seq > seq_next {
                view.gap(seq - seq_next)?;
                refresh = Some(Refresh::ask(connection)?);
            }
            seq_next = seq + 1;
        }
        view.event(&frame)?;
        if frame["event"] == "shutdown" {
            return Ok(frame["payload"]["restartExpectedMs"].as_u64().map(ms));
        }
    }
}

/// Health and presence, asked for after events were missed.
struct Refresh {
    health_id: String,
    presence_id: String,
    health: Option<Value>,
    presence: Option<Value>,
}

impl Refresh {
    fn ask(connection: &mut Connection) -> Result<Self, Failure> {
        let deadline = Instant::now() + ms(crate::limits::CLI_TIMEOUT_MS);
        let health_id = connection.send("health", &json!({}), deadline)?;
        let presence_id = connection.send("system-presence", &json!({}), deadline)?;
        Ok(Self { health_id, presence_id, health: None, presence: None })
    }

    fn answered(&mut self, id: &str, payload: Value, view: &mut WatchView) -> Result<(), Failure> {
        if id == self.health_id {
            self.health = Some(payload);
        } else if id == self.presence_id {
            self.presence = Some(payload);
        }
        if let (Some(health), Some(presence)) =
            (self.health.take_if(|_| self.presence.is_some()), &self.presence)
        {
            view.refreshed(&health, presence)?;
        }
        Ok(())
    }
}

/// Tries for ever; only a refusal ends it.
fn reconnect(
    connect: &dyn Fn() -> Result<Connection, Failure>,
    first: Option<Duration>,
) -> Result<Connection, Failure> {
    let mut backoff = Backoff::new();
    let mut pause =
        backoff.pause().max(first.unwrap_or_default().min(ms(crate::limits::CLI_RECONNECT_MAX_MS)));
    loop {
        thread::sleep(pause);
        match connect() {
            Err(Failure::Unreachable(_) | Failure::Lost(_) | Failure::TimedOut(_)) => pause = backoff.pause(),
            done => return done,
        }
    }
}
