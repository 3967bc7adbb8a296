//! `channel-login` and `channel-logout`: passes the steps of a login on to whoever asked, and to them alone.
//!
//! Knows no channel's way to link an account, and keeps no code longer than it takes to pass it on.

use crate::channels::{ChannelCommand, LoginStep};
use crate::net::outbound::Outbound;
use crate::protocol::call::{Channel, ChannelLoginParams, LoginKind};
use crate::protocol::error::WireError;
use crate::protocol::event::{EventKind, LoginProgress};
use crate::protocol::frame::{self, EventBody};
use crate::protocol::payload::{LinkPhase, LinkStatus};
use crate::state::model::clients::{Asker, UnderWay, under_way};
use crate::state::{Effect, State};

impl State {
    pub(crate) fn channel_login(
        &mut self,
        asker: &Asker,
        params: ChannelLoginParams,
    ) -> Result<(), WireError> {
        let channel = params.channel;
        self.may_link(channel)?;
        let phone = params.phone.filter(|_| params.method == LoginKind::Code);
        if let Some((login, by)) = self.logins.asked.back() {
            // Whoever asks for another method is done with the login that they asked for before.
            let makes_way = if login.asker.conn == asker.conn {
                *by != phone
            } else {
                !self.clients.contains_key(&login.asker.conn)
            };
            if !makes_way {
                return Err(under_way("login", login));
            }
        }
        self.ask_channels(ChannelCommand::Login { channel, phone: phone.clone() })?;
        self.logins.asked.push_back((UnderWay { channel, asker: asker.clone() }, phone));
        self.answer(asker, &LinkStatus::new(channel, LinkPhase::Accepted));
        Ok(())
    }

    pub(crate) fn channel_logout(&mut self, asker: &Asker, channel: Channel) -> Result<(), WireError> {
        self.may_link(channel)?;
        if let Some(logout) = &self.logins.logout {
            return Err(under_way("logout", logout));
        }
        self.ask_channels(ChannelCommand::Logout { channel })?;
        self.logins.logout = Some(UnderWay { channel, asker: asker.clone() });
        self.answer(asker, &LinkStatus::new(channel, LinkPhase::Accepted));
        Ok(())
    }

    /// Refuses a login or logout where the gateway has no token, the channel has no logins, or the gateway stops.
    fn may_link(&self, channel: Channel) -> Result<(), WireError> {
        self.require_token()?;
        if channel == Channel::Telegram {
            return Err(WireError::invalid(
                "`/params/channel`: telegram has no logins: a bot's token is its account; get one from @BotFather, \
                 set telegram.botToken in the config (or TELEGRAM_BOT_TOKEN) and restart the gateway",
            ));
        }
        if self.stopping.is_some() {
            return Err(WireError::unavailable("the gateway is stopping"));
        }
        Ok(())
    }

    /// Handles a login's next step, or its end.
    pub(crate) fn login_step(&mut self, channel: Channel, step: LoginStep) {
        let first = self.logins.asked.front().map(|(login, _)| login);
        let Some(login) = first.filter(|login| login.channel == channel) else { return };
        let linking =
            LoginProgress { channel, state: "linking", qr: None, code: None, ttl_ms: None, reason: None };
        let progress = match &step {
            LoginStep::Over(result) => return self.login_over(result),
            LoginStep::Progress { state, reason } => {
                LoginProgress { state, reason: reason.as_deref(), ..linking }
            }
            LoginStep::Qr { data, ttl_ms } => {
                LoginProgress { qr: Some(data), ttl_ms: Some(*ttl_ms), ..linking }
            }
            LoginStep::Code { code, ttl_ms } => {
                LoginProgress { code: Some(code), ttl_ms: Some(*ttl_ms), ..linking }
            }
        };
        let body = EventBody::new(EventKind::Channel, &progress, None);
        self.effects.push(Effect::Out(Outbound::EventTo { conn: login.asker.conn, body }));
    }

    fn login_over(&mut self, result: &Result<Option<String>, String>) {
        let Some((login, _)) = self.logins.asked.pop_front() else { return };
        self.channel_commands -= 1;
        let frame = match result {
            Ok(account) => {
                let linked = LinkStatus::new(login.channel, LinkPhase::Linked);
                frame::res_ok(&login.asker.id, &LinkStatus { self_id: account.as_deref(), ..linked })
            }
            Err(why) => {
                let error = WireError::unavailable(why);
                let failed = LinkStatus::new(login.channel, LinkPhase::Failed);
                let payload = LinkStatus { reason: Some(&error.message), ..failed };
                frame::res_error_with(&login.asker.id, Some(&payload), &error)
            }
        };
        self.send_frame(&login.asker, frame);
    }

    /// Handles a logout's end.
    pub(crate) fn logged_out(&mut self, channel: Channel, result: Result<(), String>) {
        let Some(logout) = self.logins.logout.take_if(|logout| logout.channel == channel) else { return };
        self.channel_commands -= 1;
        match result {
            Ok(()) => self.answer(&logout.asker, &LinkStatus::new(channel, LinkPhase::Unlinked)),
            Err(why) => self.refuse(&logout.asker, &WireError::unavailable(why)),
        }
    }
}
