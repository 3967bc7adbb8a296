//! `channel-allow`: lets people and groups in or out, and tells the owner of those who are not let in.
//!
//! Who may do what is decided in [`model::access`](crate::state::model::access); here is what follows from it.

use serde_json::json;

use crate::channels::address;
use crate::channels::message::Inbound;
use crate::protocol::call::ChannelAllowParams;
use crate::protocol::error::WireError;
use crate::protocol::payload::Access as AccessAnswer;
use crate::protocol::warning::{Warning, WarningCode};
use crate::state::State;
use crate::state::journal::{SWITCHED_FOR_NOW, Then};
use crate::state::model::clients::Asker;

impl State {
    pub(crate) fn channel_allow(
        &mut self,
        asker: &Asker,
        params: &ChannelAllowParams,
    ) -> Result<(), WireError> {
        self.require_token()?;
        self.require_store()?;
        let person = address::person_id(params.channel, &params.id)
            .map_err(|expected| WireError::invalid(format!("`/params/id`: {expected}")))?;
        self.access.change(params, &person, &mut self.writes)?;
        let owner = self.access.owner(params.channel) == Some(&person);
        let allowed = if address::is_group(params.channel, &person) {
            self.access.group(params.channel, &person).is_some()
        } else {
            self.access.may_write(params.channel, &person)
        };
        let note = self.access.note(params, &person);
        let payload = AccessAnswer { channel: params.channel, id: &person, allowed, owner, note };
        let payload = json!(payload);
        self.commit(Then::Answer { asker: asker.clone(), payload, if_not: SWITCHED_FOR_NOW });
        self.take_back_held();
        self.warn_of_implied_owner();
        Ok(())
    }

    /// Warns of an owner whom nobody named: a person should confirm them, or name another.
    pub(crate) fn warn_of_implied_owner(&mut self) {
        let Some((channel, id)) = &self.access.implied else {
            return self.end_warning(WarningCode::OwnerImplied);
        };
        let name = channel.name();
        let message = format!(
            "nobody was named as the owner, so {id} on {name} is, as in older versions: if that is you, say so with \
             `clawdis allow {name} {id} --owner`; if not, name yourself that way"
        );
        self.warn(Warning::new(WarningCode::OwnerImplied, message));
    }

    /// Notes for `status` that somebody who is not let in has written.
    pub(crate) fn refuse_sender(&mut self, message: &Inbound) {
        self.access.note_refused(message, self.now.wall_ms);
        log::info!(
            "a message of {} on {} was not let in; `clawdis status` lists such senders",
            message.from,
            message.route.channel.name()
        );
    }
}
