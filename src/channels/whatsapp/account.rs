//! One session of an account on a host: it is begun by whoever holds the account there.

use std::time::Instant;

use crate::channels::lease::{self, Claim};
use crate::channels::whatsapp::Whatsapp;

impl Whatsapp {
    /// The name under which our account is claimed on this host, with its server. `None` while it is not
    /// known.
    fn account_name(&self) -> Option<String> {
        let id =
            self.account.pn.as_ref().or(self.account.lid.as_ref()).filter(|_| self.lifecycle.is_linked())?;
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
            Claim::Ours(lease) => (self.lease, self.lease_dispute) = (Some((account, lease)), None),
            Claim::Ending => {}
            Claim::Disputed(why) => {
                let text = format!(
                    "whether another gateway on this host has a session of this account cannot be told: {why}; \
                     this one has one all the same"
                );
                log::warn!("whatsapp: {text}");
                self.lease_dispute = Some(text);
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
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.end(now);
        }
        if !self.lifecycle.reason().is_some_and(|reason| reason.starts_with(&text)) {
            log::warn!("whatsapp: {text}");
        }
        let pause = self.lifecycle.start_later(now);
        self.lifecycle.set_state("closed", Some(format!("{text}; next try in {} s", pause.as_secs())));
    }

    /// Gives the account's lease back once no sidecar runs, and none is about to.
    pub(super) fn release_account(&mut self) {
        if self.sidecar.is_none() && self.closing.is_empty() && self.lifecycle.start_at().is_none() {
            (self.lease, self.lease_dispute) = (None, None);
        }
    }
}
