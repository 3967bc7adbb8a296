//! `getUpdates`: waits, delivers again what was not confirmed, and serves one poller at a time.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::Shared;
use super::methods::Refusal;
use super::world::World;

const PARAMS: [&str; 4] = ["offset", "limit", "timeout", "allowed_updates"];
/// The server waits no longer, whatever is asked.
const TIMEOUT_MAX: u64 = 50;

pub(super) fn get_updates(shared: &Shared, params: &Map<String, Value>) -> Result<Value, Refusal> {
    let mut world = shared.world();
    if !world.webhook.is_empty() {
        return Err(Refusal::new(
            409,
            "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
        ));
    }
    check(&mut world, params);
    let number = |name: &str| params.get(name).and_then(Value::as_i64);
    if let Some(Value::Array(names)) = params.get("allowed_updates") {
        let names = names.iter().filter_map(|name| name.as_str().map(str::to_owned));
        world.allowed_updates = names.collect();
    }
    confirm(&mut world, number("offset").unwrap_or(0));
    let limit = usize::try_from(number("limit").unwrap_or(100).clamp(1, 100)).unwrap();
    let timeout = u64::try_from(number("timeout").unwrap_or(0)).unwrap_or(0).min(TIMEOUT_MAX);
    let deadline = Instant::now() + Duration::from_secs(timeout);
    world.poll += 1;
    let own = world.poll;
    shared.changed.notify_all();
    loop {
        if world.poll != own {
            return Err(Refusal::new(
                409,
                "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
            ));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let over = left.is_zero() || !world.long_poll || world.stopping;
        if over || !world.queue.is_empty() {
            let updates: Vec<Value> =
                world.queue.iter().take(limit).map(|(_, update)| update.clone()).collect();
            return Ok(json!(updates));
        }
        world.polls_waiting += 1;
        shared.changed.notify_all();
        world = shared.wait(world, left);
        world.polls_waiting -= 1;
    }
}

/// Forgets what an offset confirms. One from beyond the end of the queue confirms nothing; a
/// negative one keeps so many of the newest.
fn confirm(world: &mut World, offset: i64) {
    if offset < 0 {
        world.violation("a negative offset throws waiting updates away");
        let keep = usize::try_from(-offset).unwrap().min(world.queue.len());
        let gone = world.queue.len() - keep;
        world.queue.drain(..gone);
    } else if offset <= world.next_update {
        world.queue.retain(|(id, _)| *id >= offset);
    }
}

fn check(world: &mut World, params: &Map<String, Value>) {
    for name in params.keys().filter(|name| !PARAMS.contains(&name.as_str())) {
        world.violations.push(format!("getUpdates has no parameter `{name}`"));
    }
    if !params.get("allowed_updates").is_some_and(Value::is_array) {
        world.violation("getUpdates without `allowed_updates` gets what somebody else asked for");
    }
}
