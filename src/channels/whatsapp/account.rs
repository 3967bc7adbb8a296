//! One session of an account on a host: it is begun by whoever holds the account there.

use std::time::Instant;

use crate::channels::lease::{self, Claim};
use crate::channels::whatsapp::Whatsapp;

impl Whatsapp {
    /// Our account's name on this host: an account is one of its server. `None` while it is not known.
    fn account(&self) -> Option<String> {
        let id = self.me.pn.as_ref().or(self.me.lid.as_ref()).filter(|_| self.life.is_linked())?;
        Some(format!("whatsapp {} {id}", self.host.as_ref()?))
    }

    /// Whether a session may be begun, or go on. If another gateway on this host has one, the sidecar ends,
    /// and it is tried again later.
    pub(super) fn holds_account(&mut self, now: Instant) -> bool {
        let Some(account) = self.account() else { return true };
        if self.lease.as_ref().is_some_and(|(held, _)| *held == account) {
            return true;
        }
        self.lease = None;
        match lease::claim(&account) {
            Claim::Ours(lease) => (self.lease, self.disputed) = (Some((account, lease)), None),
            Claim::Ending => {}
            Claim::Disputed(why) => {
                let text = format!(
                    "whether another gateway on this host has a session of this account cannot be told: {why}; \
                     this one has one all the same"
                );
                log::warn!("whatsapp: {text}");
                self.disputed = Some(text);
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
        self.login_over(Err(text.clone()));
        self.life.set_ready(false, now);
        self.outgoing.connection_lost(now);
        if let Some(process) = &mut self.process {
            process.end(now);
        }
        if !self.life.reason().is_some_and(|reason| reason.starts_with(&text)) {
            log::warn!("whatsapp: {text}");
        }
        let pause = self.life.start_later(now);
        self.life.set("closed", Some(format!("{text}; next try in {} s", pause.as_secs())));
    }

    /// Gives the account back once nothing runs, and nothing is about to.
    pub(super) fn release_account(&mut self) {
        if self.process.is_none() && self.dying.is_empty() && self.life.start_at().is_none() {
            (self.lease, self.disputed) = (None, None);
        }
    }
}
