//! What is known about the connection to Telegram, as `health` shows it. Pure.

use crate::channels::telegram::api::BotAccount;
use crate::channels::telegram::error::{ApiError, Refusal};
use crate::protocol::payload::ChannelHealth;

/// Kinds of trouble: each has its own way out, and its own pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Telegram does not know the token.
    Unauthorized,
    /// Another program polls with the token.
    Conflict,
    /// Telegram sends this bot's messages to a URL instead.
    Webhook,
    /// Anything else: the network, the server, what stands between.
    Unreachable,
}

impl Trouble {
    pub(super) fn of(error: &ApiError) -> Self {
        match error.refusal() {
            Some(Refusal { code: 401 | 404, .. }) => Self::Unauthorized,
            // The code is the same; only the words tell who holds the updates.
            Some(Refusal { code: 409, description, .. })
                if description.to_ascii_lowercase().contains("webhook") =>
            {
                Self::Webhook
            }
            Some(Refusal { code: 409, .. }) => Self::Conflict,
            _ => Self::Unreachable,
        }
    }

    fn state(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Conflict => "conflict",
            Self::Webhook => "webhook",
            Self::Unreachable => "unreachable",
        }
    }

    /// What is wrong, for people, and what they can do.
    fn reason(self, error: &ApiError) -> String {
        match self {
            Self::Unauthorized => format!(
                "Telegram does not know the bot token ({error}): get the right one from @BotFather, put it into \
                 TELEGRAM_BOT_TOKEN, telegram.botToken or telegram.botTokenFile, and restart the gateway; \
                 if `telegram.apiBase` is set, check that, too"
            ),
            Self::Conflict => {
                "another program receives the messages of this bot with the same token: stop it, \
                               or give this gateway a bot of its own; sending still works"
                    .to_owned()
            }
            Self::Webhook => {
                "a webhook is set for this bot, so Telegram sends its messages there: remove it, \
                              or set `telegram.deleteWebhook` to true; sending still works"
                    .to_owned()
            }
            Self::Unreachable => match error.refusal() {
                Some(Refusal { code: 429, .. }) => format!("Telegram asks for a pause: {error}"),
                _ => format!("Telegram cannot be reached: {error}; trying again and again"),
            },
        }
    }
}

/// All that is known of the connection.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TelegramHealth {
    /// What clients are shown.
    pub(super) shown: ChannelHealth,
    /// The reason to be shown while it works.
    note: Option<String>,
}

impl TelegramHealth {
    pub(super) fn new(configured: bool) -> Self {
        let shown = ChannelHealth { configured, state: "off".to_owned(), ..ChannelHealth::default() };
        Self { shown, note: None }
    }

    fn set(&mut self, state: &str, reason: Option<String>) {
        (self.shown.state, self.shown.reason) = (state.to_owned(), reason);
    }

    pub(super) fn set_enabled(&mut self, enabled: bool) {
        self.shown.enabled = enabled;
        match (self.shown.configured, enabled) {
            (false, _) => self.set("off", None),
            (true, true) => self.set("connecting", None),
            (true, false) => self.set("off", Some("switched off; `clawdis channel telegram on`".to_owned())),
        }
    }

    /// The token was accepted: it is this bot's.
    pub(super) fn set_bot(&mut self, bot: &BotAccount) {
        self.shown.linked = Some(true);
        self.shown.self_id = Some(format!("@{}", bot.username));
    }

    pub(super) fn set_polled(&mut self, wall_ms: u64) {
        self.set("ready", self.note.clone());
        self.shown.last_frame_ts = Some(wall_ms);
    }

    pub(super) fn set_trouble(&mut self, error: &ApiError) {
        let trouble = Trouble::of(error);
        if trouble == Trouble::Unauthorized {
            self.shown.linked = Some(false);
        }
        self.set(trouble.state(), Some(trouble.reason(error)));
    }

    /// Another gateway on this host polls this bot, `who` in words.
    pub(super) fn set_polled_elsewhere(&mut self, who: &str) {
        let reason = format!(
            "another gateway on this host ({who}) receives the messages of this bot: stop it, or give this \
             gateway a bot of its own; sending still works"
        );
        self.set(Trouble::Conflict.state(), Some(reason));
    }

    /// Why nobody can tell whether another gateway on this host polls this bot, or that it is clear again.
    pub(super) fn set_lease_dispute(&mut self, why: Option<&str>) {
        self.note = why.map(|why| {
            format!(
                "whether another gateway on this host polls this bot cannot be told: {why}; this one polls it all \
                 the same"
            )
        });
        if self.shown.state == "ready" {
            self.shown.reason.clone_from(&self.note);
        }
    }

    /// Whether anything but the time of the last poll differs.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let timeless = |health: &Self| ChannelHealth { last_frame_ts: None, ..health.shown.clone() };
        timeless(self) != timeless(other)
    }

    /// State and reason, for the log.
    pub(super) fn summary(&self) -> (&str, Option<&str>) {
        (&self.shown.state, self.shown.reason.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::{TelegramHealth, Trouble};
    use crate::channels::telegram::error::{ApiError, Refusal};

    fn refused(code: u16, description: &str) -> ApiError {
        let description = description.to_owned();
        ApiError::Refused(Refusal { code, description, retry_after: None, migrate_to: None })
    }

    #[test]
    fn troubles_are_told_apart() {
        let other = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
        let webhook =
            "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook first";
        for (error, expected) in [
            (refused(401, "Unauthorized"), Trouble::Unauthorized),
            (refused(404, ""), Trouble::Unauthorized),
            (refused(409, other), Trouble::Conflict),
            (refused(409, webhook), Trouble::Webhook),
            (refused(502, ""), Trouble::Unreachable),
            (refused(429, "Too Many Requests"), Trouble::Unreachable),
            (ApiError::Lost("x".to_owned()), Trouble::Unreachable),
            (ApiError::Unexpected("x".to_owned()), Trouble::Unreachable),
        ] {
            assert_eq!(Trouble::of(&error), expected, "{error}");
        }
    }

    #[test]
    fn who_has_the_bot_is_said_and_a_dispute_stops_nobody() {
        let mut health = TelegramHealth::new(true);
        health.set_enabled(true);
        health.set_polled_elsewhere("process 7");
        assert_eq!(health.summary().0, "conflict");
        assert!(health.summary().1.is_some_and(|reason| reason.contains("process 7")));
        health.set_lease_dispute(Some("process 8 of user id 9 holds it"));
        health.set_polled(5);
        assert_eq!(health.summary().0, "ready");
        assert!(health.summary().1.is_some_and(|reason| reason.contains("user id 9")));
        health.set_lease_dispute(None);
        assert_eq!(health.summary(), ("ready", None));
    }

    #[test]
    fn health_follows_what_happens() {
        let mut health = TelegramHealth::new(true);
        health.set_enabled(true);
        assert_eq!(health.summary(), ("connecting", None));
        health.set_polled(5);
        let before = health.clone();
        health.set_polled(6);
        assert!(!health.differs(&before), "only the time");
        health.set_trouble(&refused(401, "Unauthorized"));
        assert!(health.differs(&before));
        let shown = &health.shown;
        assert_eq!(
            (shown.state.as_str(), shown.linked, shown.last_frame_ts),
            ("unauthorized", Some(false), Some(6))
        );
        assert!(shown.reason.as_ref().is_some_and(|reason| reason.contains("@BotFather")));
        health.set_polled(7);
        assert_eq!(health.summary(), ("ready", None));
        health.set_enabled(false);
        assert_eq!(health.summary().0, "off");
    }
}
