//! What is known about the connection to Telegram, as `health` shows it. Pure.

use crate::channels::telegram::api::Me;
use crate::channels::telegram::error::{ApiError, Refusal};
use crate::protocol::payload::ChannelHealth;

/// Kinds of trouble: each has its own way out, and its own patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The token is wrong.
    Unauthorized,
    /// Another program polls with it.
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

    /// Who is to blame and what to do.
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

/// All that is known, as state is told it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    pub(super) health: ChannelHealth,
    /// What is to be known while it works.
    note: Option<String>,
}

impl Facts {
    pub(super) fn new(configured: bool) -> Self {
        let health = ChannelHealth { configured, state: "off".to_owned(), ..ChannelHealth::default() };
        Self { health, note: None }
    }

    fn set(&mut self, state: &str, reason: Option<String>) {
        (self.health.state, self.health.reason) = (state.to_owned(), reason);
    }

    pub(super) fn switched(&mut self, enabled: bool) {
        self.health.enabled = enabled;
        match (self.health.configured, enabled) {
            (false, _) => self.set("off", None),
            (true, true) => self.set("connecting", None),
            (true, false) => self.set("off", Some("switched off; `clawdis channel telegram on`".to_owned())),
        }
    }

    /// The token was accepted.
    pub(super) fn is(&mut self, me: &Me) {
        self.health.linked = Some(true);
        self.health.self_id = Some(format!("@{}", me.username));
    }

    pub(super) fn polled(&mut self, wall_ms: u64) {
        self.set("ready", self.note.clone());
        self.health.last_frame_ts = Some(wall_ms);
    }

    pub(super) fn trouble(&mut self, error: &ApiError) {
        let trouble = Trouble::of(error);
        if trouble == Trouble::Unauthorized {
            self.health.linked = Some(false);
        }
        self.set(trouble.state(), Some(trouble.reason(error)));
    }

    /// Another gateway on this host polls this bot.
    pub(super) fn taken(&mut self, who: &str) {
        let reason = format!(
            "another gateway on this host ({who}) receives the messages of this bot: stop it, or give this \
             gateway a bot of its own; sending still works"
        );
        self.set(Trouble::Conflict.state(), Some(reason));
    }

    /// Something else holds the bot's name on this host, or no longer does.
    pub(super) fn disputed(&mut self, why: Option<&str>) {
        self.note = why.map(|why| {
            format!(
                "whether another gateway on this host polls this bot cannot be told: {why}; this one polls it all \
                 the same"
            )
        });
        if self.health.state == "ready" {
            self.health.reason.clone_from(&self.note);
        }
    }

    /// Whether anything but the time of the last poll differs.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let timeless = |facts: &Self| ChannelHealth { last_frame_ts: None, ..facts.health.clone() };
        timeless(self) != timeless(other)
    }

    /// For the log: state and reason.
    pub(super) fn summary(&self) -> (&str, Option<&str>) {
        (&self.health.state, self.health.reason.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::{Facts, Trouble};
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
            (ApiError::Strange("x".to_owned()), Trouble::Unreachable),
        ] {
            assert_eq!(Trouble::of(&error), expected, "{error}");
        }
    }

    #[test]
    fn who_has_the_bot_is_said_and_a_dispute_stops_nobody() {
        let mut facts = Facts::new(true);
        facts.switched(true);
        facts.taken("process 7");
        assert_eq!(facts.summary().0, "conflict");
        assert!(facts.summary().1.is_some_and(|reason| reason.contains("process 7")));
        facts.disputed(Some("process 8 of user id 9 holds it"));
        facts.polled(5);
        assert_eq!(facts.summary().0, "ready");
        assert!(facts.summary().1.is_some_and(|reason| reason.contains("user id 9")));
        facts.disputed(None);
        assert_eq!(facts.summary(), ("ready", None));
    }

    #[test]
    fn facts_follow_what_happens() {
        let mut facts = Facts::new(true);
        facts.switched(true);
        assert_eq!(facts.summary(), ("connecting", None));
        facts.polled(5);
        let before = facts.clone();
        facts.polled(6);
        assert!(!facts.differs(&before), "only the time");
        facts.trouble(&refused(401, "Unauthorized"));
        assert!(facts.differs(&before));
        let health = &facts.health;
        assert_eq!(
            (health.state.as_str(), health.linked, health.last_frame_ts),
            ("unauthorized", Some(false), Some(6))
        );
        assert!(health.reason.as_ref().is_some_and(|reason| reason.contains("@BotFather")));
        facts.polled(7);
        assert_eq!(facts.summary(), ("ready", None));
        facts.switched(false);
        assert_eq!(facts.summary().0, "off");
    }
}
