//! When the sidecar runs, and the health of the connection: it is started on demand, restarted with growing
//! pauses, and stopped where only a person can help.

use std::time::{Duration, Instant};

use crate::backoff::{Backoff, jitter};
use crate::channels::ChannelEvent;
use crate::channels::whatsapp::Whatsapp;
use crate::channels::whatsapp::locate::{self, SidecarProgram};
use crate::channels::whatsapp::sidecar::{Generation, Sidecar};
use crate::limits::{SIDECAR_RESTART, SIDECAR_STEADY_TIME, WHATSAPP_ALIVE_MS};
use crate::protocol::call::Channel;
use crate::protocol::payload::ChannelHealth;

/// When the sidecar starts next, and what is known about the connection.
pub(super) struct Lifecycle {
    start_at: Option<Instant>,
    backoff: Backoff,
    started: u64,
    /// Since when the connection holds.
    ready_since: Option<Instant>,
    state: &'static str,
    reason: Option<String>,
    linked: Option<bool>,
    /// The health that state was told last.
    published: Option<ChannelHealth>,
    last_frame_ts: Option<u64>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            start_at: None,
            backoff: SIDECAR_RESTART,
            started: 0,
            ready_since: None,
            state: "off",
            reason: None,
            linked: None,
            published: None,
            last_frame_ts: None,
        }
    }
}

impl Lifecycle {
    /// Has the sidecar started as soon as it can be.
    pub(super) fn start_now(&mut self, now: Instant) {
        self.start_at = Some(now);
        self.backoff = SIDECAR_RESTART;
    }

    pub(super) fn start_at(&self) -> Option<Instant> {
        self.start_at
    }

    /// Has a sidecar that ended by itself started again after a pause, which grows while connections do not
    /// hold.
    pub(super) fn start_later(&mut self, now: Instant) -> Duration {
        if self.ready_since.is_some_and(|since| now.duration_since(since) > SIDECAR_STEADY_TIME) {
            self.backoff = SIDECAR_RESTART;
        }
        let pause = self.backoff.next_pause().mul_f64(1.0 + jitter(0.25));
        self.start_at = Some(now + pause);
        pause
    }

    /// A number that no sidecar or installer of ours had before.
    pub(super) fn next_generation(&mut self) -> Generation {
        self.started += 1;
        self.started
    }

    /// Sets the state of the connection, as `health` names it, and the reason for it.
    pub(super) fn set_state(&mut self, state: &'static str, reason: Option<String>) {
        (self.state, self.reason) = (state, reason);
    }

    /// The reason for the state of the connection.
    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    pub(super) fn set_linked(&mut self, linked: bool) {
        self.linked = Some(linked);
    }

    pub(super) fn is_linked(&self) -> bool {
        self.linked == Some(true)
    }

    /// Notes that the connection holds from now on, or does not any more.
    pub(super) fn set_ready(&mut self, ready: bool, now: Instant) {
        self.ready_since = if ready { self.ready_since.or(Some(now)) } else { None };
    }

    /// Notes that WhatsApp's server has shown that it is there.
    pub(super) fn note_frame(&mut self, now_ts: u64) {
        self.last_frame_ts = Some(now_ts);
    }

    /// Whether messages can be sent.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, "ready" | "syncing")
    }
}

impl Whatsapp {
    /// Starts the sidecar, or says in `health` what is missing.
    pub(super) fn start(&mut self, now: Instant) {
        self.lifecycle.start_at = None;
        // An account can be unlinked while the channel is off.
        if !self.config.configured || !(self.enabled || self.logout_wanted) {
            return;
        }
        // It is known from the last time who we are: a sidecar would be started for nothing.
        if !self.logout_wanted && !self.holds_account(now) {
            return;
        }
        let found = locate::find(&self.config.own_exe, &self.config.folder);
        if !matches!(found, SidecarProgram::Ready(_)) {
            // Nothing can be sent before somebody acts: who sends shall hear that, and not wait.
            self.lifecycle.set_linked(false);
        }
        let program = match found {
            SidecarProgram::Ready(program) => program,
            SidecarProgram::Installer { script, folder } => {
                let text = format!(
                    "its sidecar is not installed: `clawdis login whatsapp` does it, or run `{} {}`",
                    script.display(),
                    folder.display()
                );
                self.finish_logout_if_wanted(Err("no phone is linked"));
                return self.lifecycle.set_state("unlinked", Some(text));
            }
            SidecarProgram::Missing => {
                let text = "its sidecar is missing: put `scripts/whatsapp-sidecar` of this release beside the gateway";
                self.lifecycle.set_state("closed", Some(text.to_owned()));
                self.finish_logout_if_wanted(Err(text));
                return self.finish_login(Err(text.to_owned()));
            }
        };
        let generation = self.lifecycle.next_generation();
        let started = Sidecar::start(&self.config, program, generation, self.to_loop.clone(), now);
        match started {
            Ok(sidecar) => {
                self.sidecar = Some(sidecar);
                self.lifecycle.set_state("connecting", None);
            }
            Err(error) => {
                let pause = self.lifecycle.start_later(now);
                let text =
                    format!("the sidecar cannot be started ({error}); next try in {} s", pause.as_secs());
                self.finish_logout_if_wanted(Err(&text));
                self.finish_login(Err(text.clone()));
                self.lifecycle.set_state("closed", Some(text));
            }
        }
    }

    /// Ends a sidecar that has nothing to do until somebody acts.
    pub(super) fn stop_sidecar(&mut self, state: &'static str, reason: Option<String>, now: Instant) {
        self.lifecycle.set_state(state, reason);
        self.lifecycle.set_ready(false, now);
        self.lifecycle.start_at = None;
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.end(now);
        }
        let why = self.lifecycle.reason.clone().unwrap_or_else(|| "WhatsApp is switched off".to_owned());
        for (id, outcome) in self.outgoing.give_back(&why) {
            self.send_outcome(id, outcome);
        }
    }

    /// Handles the end of the sidecar's output.
    pub(super) fn on_sidecar_closed(&mut self, fault: Option<String>, now: Instant) {
        let Some(mut sidecar) = self.sidecar.take() else { return };
        self.intake.forget_waiting();
        self.outgoing.connection_lost(now);
        for request in sidecar.unanswered() {
            self.on_unanswered(request);
        }
        let in_order = sidecar.ends_in_order() && fault.is_none();
        if !in_order {
            let why = fault.unwrap_or_else(|| sidecar.last_words());
            self.on_sidecar_failed(&why, now);
            if !sidecar.is_ending() {
                sidecar.give_up(now);
            }
        }
        self.lifecycle.set_ready(false, now);
        self.closing.push(sidecar);
    }

    fn on_sidecar_failed(&mut self, why: &str, now: Instant) {
        self.finish_login(Err(format!("the sidecar broke off: {why}")));
        self.finish_logout_if_wanted(Err("the sidecar broke off"));
        let pause = self.lifecycle.start_later(now);
        log::warn!("the WhatsApp sidecar: {why}; it is started again in {} s", pause.as_secs());
        let text = format!("the sidecar broke off ({why}); next try in {} s", pause.as_secs());
        self.lifecycle.set_state("closed", Some(text));
    }

    /// Tells state the health of the connection, if it differs from what was told before.
    pub(super) fn publish_health(&mut self) {
        let configured = self.config.configured;
        let (state, reason) = match (configured, self.enabled) {
            (false, _) => ("off", None),
            (true, false) => ("off", Some("switched off; `clawdis channel whatsapp on`".to_owned())),
            (true, true) if self.lifecycle.is_connected() => {
                (self.lifecycle.state, self.lease_dispute.clone())
            }
            (true, true) => (self.lifecycle.state, self.lifecycle.reason.clone()),
        };
        let health = ChannelHealth {
            configured,
            enabled: self.enabled,
            state: state.to_owned(),
            reason,
            linked: self.lifecycle.linked.filter(|_| configured),
            self_id: self.account.pn.clone().filter(|_| self.lifecycle.is_linked()),
            last_frame_ts: self.lifecycle.last_frame_ts,
            last_message_ts: None,
        };
        let told_frame = self.lifecycle.published.as_ref().and_then(|published| published.last_frame_ts);
        let is_news = match (self.lifecycle.last_frame_ts, told_frame) {
            (Some(last), published) => last >= published.unwrap_or(0) + WHATSAPP_ALIVE_MS,
            (None, _) => false,
        };
        let same = !is_news
            && self.lifecycle.published.as_ref().is_some_and(|published| {
                (ChannelHealth { last_frame_ts: None, ..published.clone() })
                    == (ChannelHealth { last_frame_ts: None, ..health.clone() })
            });
        if !same {
            self.lifecycle.published = Some(health.clone());
            self.send(ChannelEvent::Health { channel: Channel::Whatsapp, health: Box::new(health) });
        }
    }

    /// Tells state the health even if nothing has changed: somebody has asked.
    pub(in crate::channels) fn publish_health_again(&mut self) {
        self.lifecycle.published = None;
        self.publish_health();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Instant;

    use crossbeam_channel::unbounded;

    use crate::channels::ChannelEvent;
    use crate::channels::whatsapp::{Whatsapp, WhatsappConfig};
    use crate::port::Port;

    #[test]
    fn without_its_program_nothing_is_linked() {
        let (events, published) = unbounded();
        let nowhere = |name: &str| PathBuf::from("/nowhere/at/all/on/this/machine").join(name);
        let (own_exe, folder) = (nowhere("clawdis-gateway"), nowhere("state"));
        let config = WhatsappConfig { configured: true, own_exe, folder, ..WhatsappConfig::default() };
        let mut whatsapp = Whatsapp::new(config, Port::new(events, |event| event), unbounded().0);
        whatsapp.switch(true, Instant::now());
        let health = published.try_iter().filter_map(|event| match event {
            ChannelEvent::Health { health, .. } => Some(health),
            _ => None,
        });
        assert_eq!(health.last().map(|health| health.linked), Some(Some(false)), "`send` would wait for it");
    }
}
