//! When the sidecar runs: it is started on demand, restarted with growing pauses, and stopped where only a
//! person can help, or while another gateway on this host has a session of the account.

use std::time::{Duration, Instant};

use crate::backoff::{Backoff, jitter};
use crate::channels::lease::{self, Claim};
use crate::channels::whatsapp::Whatsapp;
use crate::channels::whatsapp::locate::{self, SidecarProgram};
use crate::channels::whatsapp::sidecar::{Generation, Sidecar};
use crate::limits::{SIDECAR_RESTART, SIDECAR_STEADY_TIME};

/// When the sidecar starts next.
pub(super) struct Lifecycle {
    /// When to start the next sidecar, once the one that runs has ended.
    pub(super) start_at: Option<Instant>,
    backoff: Backoff,
    /// How many sidecars and installers were started.
    started: u64,
    /// Since when the connection holds.
    ready_since: Option<Instant>,
}

impl Lifecycle {
    pub(super) fn new() -> Self {
        Self { start_at: None, backoff: SIDECAR_RESTART, started: 0, ready_since: None }
    }

    /// Has the sidecar started as soon as it can be.
    pub(super) fn start_now(&mut self, now: Instant) {
        self.start_at = Some(now);
        self.backoff = SIDECAR_RESTART;
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

    /// Notes that the connection holds from now on, or does not any more.
    pub(super) fn set_ready(&mut self, ready: bool, now: Instant) {
        self.ready_since = if ready { self.ready_since.or(Some(now)) } else { None };
    }
}

impl Whatsapp {
    /// Starts the sidecar, or says in `health` what is missing.
    pub(super) fn start(&mut self, now: Instant) {
        self.lifecycle.start_at = None;
        // An account can be unlinked while the channel is off.
        if !self.health.known.configured || !(self.health.known.enabled || self.logout_wanted) {
            return;
        }
        // It is known from the last time who we are: a sidecar would be started for nothing.
        if !self.logout_wanted && !self.holds_account(now) {
            return;
        }
        let found = locate::find(&self.setup.own_exe, &self.setup.folder);
        if !matches!(found, SidecarProgram::Ready(_)) {
            // Nothing can be sent before somebody acts: who sends shall hear that, and not wait.
            self.health.known.linked = Some(false);
        }
        let program = match found {
            SidecarProgram::Ready(program) => program,
            SidecarProgram::Installer { script, folder } => {
                let text = format!(
                    "its sidecar is not installed: `clawdis login whatsapp` does it, or run `{} {}`",
                    script.display(),
                    folder.display()
                );
                self.refuse_logout("no phone is linked");
                return self.health.set("unlinked", Some(text));
            }
            SidecarProgram::Missing => {
                let text = "its sidecar is missing: put `scripts/whatsapp-sidecar` of this release beside the gateway";
                self.refuse_login_and_logout(text);
                return self.health.set("closed", Some(text.to_owned()));
            }
        };
        let generation = self.lifecycle.next_generation();
        let started = Sidecar::start(&self.setup, program, generation, self.to_loop.clone(), now);
        match started {
            Ok(sidecar) => {
                self.sidecar = Some(sidecar);
                self.health.set("connecting", None);
            }
            Err(error) => {
                let pause = self.lifecycle.start_later(now);
                let text =
                    format!("the sidecar cannot be started ({error}); next try in {} s", pause.as_secs());
                self.refuse_login_and_logout(&text);
                self.health.set("closed", Some(text));
            }
        }
    }

    /// Ends a sidecar that has nothing to do until somebody acts.
    pub(super) fn stop_sidecar(&mut self, state: &'static str, reason: Option<String>, now: Instant) {
        self.health.set(state, reason);
        self.lifecycle.set_ready(false, now);
        self.lifecycle.start_at = None;
        self.end_sidecar(now);
        let why = self.health.known.reason.clone().unwrap_or_else(|| "WhatsApp is switched off".to_owned());
        let outcomes = self.outgoing.give_back(&why);
        self.send_outcomes(outcomes);
    }

    /// Asks the sidecar, if there is one, to end in order.
    pub(super) fn end_sidecar(&mut self, now: Instant) {
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.end(now);
        }
    }

    /// Whether a sidecar is there to be asked for something. If there is none one is started; the greeting of one
    /// that was not greeted yet goes on with what is wanted.
    pub(super) fn reach_sidecar(&mut self, now: Instant) -> bool {
        if let Some(sidecar) = self.sidecar.as_ref().filter(|sidecar| !sidecar.is_ending()) {
            return sidecar.is_greeted;
        }
        self.lifecycle.start_now(now);
        false
    }

    /// Handles the end of the sidecar's output.
    pub(super) fn on_sidecar_closed(&mut self, fault: Option<String>, now: Instant) {
        let Some(mut sidecar) = self.sidecar.take() else { return };
        self.intake.forget_waiting();
        self.outgoing.connection_lost(now);
        for request in std::mem::take(&mut sidecar.pending).into_values() {
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
        self.refuse_logout("the sidecar broke off");
        let pause = self.lifecycle.start_later(now);
        log::warn!("the WhatsApp sidecar: {why}; it is started again in {} s", pause.as_secs());
        let text = format!("the sidecar broke off ({why}); next try in {} s", pause.as_secs());
        self.health.set("closed", Some(text));
    }

    /// The name under which our account is claimed on this host, with its server. `None` while it is not
    /// known.
    fn account_name(&self) -> Option<String> {
        let id =
            self.account.pn.as_ref().or(self.account.lid.as_ref()).filter(|_| self.health.is_linked())?;
        Some(format!("whatsapp {} {id}", self.host.as_ref()?))
    }

    /// Whether a session may be begun, or go on. If another gateway on this host has one, the sidecar ends,
    /// and it is tried again later.
    pub(super) fn holds_account(&mut self, now: Instant) -> bool {
        let Some(account) = self.account_name() else { return true };
        if self.lease.as_ref().is_some_and(|(held, _)| *held == account) {
            return true;
        }
        self.lease = None;
        match lease::claim(&account) {
            Claim::Ours(lease) => (self.lease, self.health.note) = (Some((account, lease)), None),
            Claim::Ending => {}
            Claim::Disputed(why) => {
                let text = format!(
                    "whether another gateway on this host has a session of this account cannot be told: {why}; \
                     this one has one all the same"
                );
                log::warn!("whatsapp: {text}");
                self.health.note = Some(text);
            }
            Claim::Taken(who) => {
                self.wait_for_account(&who, now);
                return false;
            }
        }
        true
    }

    fn wait_for_account(&mut self, who: &str, now: Instant) {
        let text = format!(
            "another gateway on this host ({who}) has a session of this account: stop it, or log out here"
        );
        self.finish_login(Err(text.clone()));
        self.lifecycle.set_ready(false, now);
        self.outgoing.connection_lost(now);
        self.end_sidecar(now);
        if !self.health.known.reason.as_ref().is_some_and(|reason| reason.starts_with(&text)) {
            log::warn!("whatsapp: {text}");
        }
        let pause = self.lifecycle.start_later(now);
        self.health.set("closed", Some(format!("{text}; next try in {} s", pause.as_secs())));
    }

    /// Gives the account's lease back once no sidecar runs, and none is about to.
    pub(super) fn release_account(&mut self) {
        if self.sidecar.is_none() && self.closing.is_empty() && self.lifecycle.start_at.is_none() {
            (self.lease, self.health.note) = (None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Instant;

    use crossbeam_channel::unbounded;

    use crate::channels::ChannelEvent;
    use crate::channels::web::download::MediaSources;
    use crate::channels::whatsapp::{Whatsapp, WhatsappSetup};
    use crate::config::file;
    use crate::port::Port;

    #[test]
    fn without_its_program_nothing_is_linked() {
        let (events, published) = unbounded();
        let nowhere = |name: &str| PathBuf::from("/nowhere/at/all/on/this/machine").join(name);
        let (own_exe, folder) = (nowhere("clawdis-gateway"), nowhere("state"));
        let config = file::Whatsapp { enabled: true, ..file::Config::default().whatsapp };
        let setup = WhatsappSetup { own_exe, folder, config, sources: MediaSources::default() };
        let mut whatsapp = Whatsapp::new(setup, Port::new(events, |event| event), unbounded().0);
        whatsapp.switch(true, Instant::now());
        whatsapp.advance(Instant::now());
        let health = published.try_iter().filter_map(|event| match event {
            ChannelEvent::Health { health, .. } => Some(health),
            _ => None,
        });
        assert_eq!(health.last().map(|health| health.linked), Some(Some(false)), "`send` would wait for it");
    }
}
