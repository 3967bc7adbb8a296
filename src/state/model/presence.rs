//! Presence: the list of who is or was just connected, and what clients are yet to be told of it. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use crate::limits::{PRESENCE_MAX, PRESENCE_TTL, PRESENCE_WINDOW_FANOUTS, PRESENCE_WINDOW_MIN};
use crate::protocol::ConnId;
use crate::protocol::payload::PresenceEntry;
use crate::state::model::to_raw_json;

/// The list of who is here, and what changed in it since the last delta.
#[derive(Default)]
pub(crate) struct Presence {
    /// The gateway itself: always listed, never removed.
    own: PresenceEntry,
    listed: BTreeMap<String, Listed>,
    /// Connected clients for whom the list has no place, in the order in which they came.
    waiting: VecDeque<(ConnId, PresenceEntry)>,
    /// Ids of the entries that are new, other or gone since the last delta.
    touched: BTreeSet<String>,
    version: u64,
    last_delta: Option<Instant>,
    /// The whole list as JSON, until it changes: every client that connects is sent it.
    encoded: Option<Box<RawValue>>,
}

struct Listed {
    entry: PresenceEntry,
    holder: Holder,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The newest connection with this instance id.
    Connected(ConnId),
    /// No connection since then: the entry goes after a while.
    Gone(Instant),
}

impl Presence {
    pub(crate) fn new(own: PresenceEntry) -> Self {
        Self { own, version: 1, ..Self::default() }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Everybody listed, the gateway first.
    pub(crate) fn entries(&self) -> Vec<&PresenceEntry> {
        std::iter::once(&self.own).chain(self.listed.values().map(|listed| &listed.entry)).collect()
    }

    /// Everybody listed, as JSON.
    pub(crate) fn json(&mut self) -> &RawValue {
        let json = self.encoded.take().unwrap_or_else(|| to_raw_json(&self.entries()));
        self.encoded.insert(json)
    }

    /// Lists a client that has connected. An entry belongs to its newest connection.
    pub(crate) fn connect(&mut self, conn: ConnId, mut entry: PresenceEntry) {
        if entry.instance_id == self.own.instance_id {
            // Nobody takes the gateway's own entry.
            entry.instance_id = format!("conn-{conn}");
        }
        if self.listed.contains_key(&entry.instance_id) {
            return self.list(conn, entry);
        }
        self.waiting.push_back((conn, entry));
        self.admit_waiting();
    }

    /// Marks the entry of a connection that has ended. If a newer one holds it, nothing changes.
    pub(crate) fn disconnect(&mut self, conn: ConnId, now: Instant, ts: u64) {
        self.waiting.retain(|(waiting, _)| *waiting != conn);
        let Some(listed) = self.held_by(conn) else { return };
        listed.holder = Holder::Gone(now);
        listed.entry.reason = Some("disconnect".to_owned());
        listed.entry.ts = ts;
        let instance = listed.entry.instance_id.clone();
        self.touch(instance);
        self.admit_waiting();
    }

    /// Changes the entry of a client that said something new about itself.
    pub(crate) fn update(&mut self, conn: ConnId, change: impl FnOnce(&mut PresenceEntry)) {
        if let Some((_, entry)) = self.waiting.iter_mut().find(|(waiting, _)| *waiting == conn) {
            return change(entry);
        }
        let Some(listed) = self.held_by(conn) else { return };
        change(&mut listed.entry);
        let instance = listed.entry.instance_id.clone();
        self.touch(instance);
    }

    /// Removes the entries that have been gone for too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        let expired = self.gone().filter(|(since, _)| now.duration_since(*since) >= PRESENCE_TTL);
        let expired: Vec<String> = expired.map(|(_, instance)| instance.clone()).collect();
        for instance in expired {
            self.remove(instance);
        }
        self.admit_waiting();
    }

    /// The time at which `expire` has something to do; `None` if nobody is gone.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.gone().map(|(since, _)| since + PRESENCE_TTL).min()
    }

    /// The entries without a connection: since when, and their ids.
    fn gone(&self) -> impl Iterator<Item = (Instant, &String)> {
        self.listed.iter().filter_map(|(instance, listed)| match listed.holder {
            Holder::Gone(since) => Some((since, instance)),
            Holder::Connected(_) => None,
        })
    }

    /// The time at which the next delta may leave: at once after a quiet time, later in a burst. `fanout` is how long
    /// sending the last event to everybody took.
    pub(crate) fn delta_due(&self, now: Instant, fanout: Duration) -> Option<Instant> {
        if self.touched.is_empty() {
            return None;
        }
        let window = PRESENCE_WINDOW_MIN.max(fanout * PRESENCE_WINDOW_FANOUTS);
        Some(self.last_delta.map_or(now, |last| last + window))
    }

    /// Takes the changes since the last delta: entries that are new or other, and ids of those that are gone.
    pub(crate) fn take_delta(&mut self, now: Instant) -> (Vec<&PresenceEntry>, Vec<String>) {
        self.last_delta = Some(now);
        let touched = std::mem::take(&mut self.touched).into_iter();
        let (changed, removed): (Vec<_>, _) =
            touched.partition(|instance| self.listed.contains_key(instance));
        let entries = changed.iter().filter_map(|instance| Some(&self.listed.get(instance)?.entry)).collect();
        (entries, removed)
    }

    /// Forgets the changes: nobody was there to be told.
    pub(crate) fn skip_delta(&mut self) {
        self.touched.clear();
    }

    fn held_by(&mut self, conn: ConnId) -> Option<&mut Listed> {
        self.listed.values_mut().find(|listed| listed.holder == Holder::Connected(conn))
    }

    fn list(&mut self, conn: ConnId, entry: PresenceEntry) {
        let instance = entry.instance_id.clone();
        self.listed.insert(instance.clone(), Listed { entry, holder: Holder::Connected(conn) });
        self.touch(instance);
    }

    fn touch(&mut self, instance: String) {
        self.touched.insert(instance);
        self.version += 1;
        self.encoded = None;
    }

    fn remove(&mut self, instance: String) {
        self.listed.remove(&instance);
        self.touch(instance);
    }

    /// Removes the entry that has been gone for longest; `false` if there is none.
    fn evict_gone(&mut self) -> bool {
        let Some((_, instance)) = self.gone().min() else { return false };
        let instance = instance.clone();
        self.remove(instance);
        true
    }

    /// Lists those who wait, as far as there are places or somebody is gone.
    fn admit_waiting(&mut self) {
        // The gateway's own entry counts.
        while !self.waiting.is_empty() && (self.listed.len() + 1 < PRESENCE_MAX || self.evict_gone()) {
            if let Some((conn, entry)) = self.waiting.pop_front() {
                self.list(conn, entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Presence;
    use crate::limits::{PRESENCE_MAX, PRESENCE_TTL};
    use crate::protocol::payload::PresenceEntry;

    fn entry(instance: &str) -> PresenceEntry {
        PresenceEntry {
            host: "host".into(),
            ip: "127.0.0.1".into(),
            version: "1".into(),
            mode: "cli".into(),
            last_input_seconds: None,
            ts: 0,
            reason: Some("connect".into()),
            tags: None,
            instance_id: instance.into(),
        }
    }

    fn names(presence: &Presence) -> Vec<&str> {
        presence.entries().iter().map(|entry| entry.instance_id.as_str()).collect()
    }

    #[test]
    fn an_entry_belongs_to_its_newest_connection() {
        let now = Instant::now();
        let mut presence = Presence::new(entry("gw"));
        presence.connect(1, entry("a"));
        presence.connect(2, entry("a"));
        presence.disconnect(1, now, 5);
        assert_eq!(presence.entries()[1].reason.as_deref(), Some("connect"));
        presence.disconnect(2, now, 6);
        assert_eq!(presence.entries()[1].reason.as_deref(), Some("disconnect"));
        assert_eq!(presence.next_expiry(), Some(now + PRESENCE_TTL));
        presence.expire(now + PRESENCE_TTL);
        assert_eq!(names(&presence), ["gw"]);
        assert_eq!(presence.take_delta(now).1, ["a"]);
    }

    #[test]
    fn nobody_takes_the_gateways_entry() {
        let mut presence = Presence::new(entry("gw"));
        presence.connect(7, entry("gw"));
        assert_eq!(names(&presence), ["gw", "conn-7"]);
    }

    #[test]
    fn full_lists_let_disconnected_entries_go_first() {
        let now = Instant::now();
        let mut presence = Presence::new(entry("gw"));
        let places = PRESENCE_MAX as u64 - 1;
        for conn in 0..places {
            presence.connect(conn, entry(&format!("c{conn:03}")));
        }
        presence.connect(1000, entry("late"));
        assert_eq!(presence.entries().len(), PRESENCE_MAX);
        assert!(!names(&presence).contains(&"late"), "connected entries are not evicted");
        presence.disconnect(3, now, 1);
        assert!(names(&presence).contains(&"late") && !names(&presence).contains(&"c003"));
        assert_eq!(presence.entries().len(), PRESENCE_MAX);
    }

    #[test]
    fn changes_in_a_burst_are_merged() {
        let now = Instant::now();
        let fanout = Duration::from_millis(20);
        let mut presence = Presence::new(entry("gw"));
        assert_eq!(presence.delta_due(now, fanout), None);
        presence.connect(1, entry("a"));
        assert_eq!(presence.delta_due(now, fanout), Some(now), "a lone change goes at once");
        assert_eq!(presence.take_delta(now).0.len(), 1);
        presence.connect(2, entry("b"));
        presence.connect(3, entry("c"));
        presence.update(3, |entry| entry.mode = "app".into());
        assert_eq!(presence.delta_due(now, fanout), Some(now + Duration::from_millis(200)));
        assert_eq!(presence.delta_due(now, Duration::ZERO), Some(now + Duration::from_millis(50)));
        assert_eq!(presence.take_delta(now).0.len(), 2);
    }
}
