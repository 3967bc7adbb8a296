//! What can be wrong with the connection to Telegram, as `health` says it. Pure.

use crate::channels::telegram::error::{ApiError, Refusal};

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
            // A malformed token is 404, a revoked one 401.
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

    /// The state of the connection, as `health` names it.
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Conflict => "conflict",
            Self::Webhook => "webhook",
            Self::Unreachable => "unreachable",
        }
    }

    /// What is wrong, for people, and what they can do.
    pub(super) fn reason(self, error: &ApiError) -> String {
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

/// Why the bot's messages do not come here while another gateway on this host, `who`, polls the bot.
pub(super) fn polled_elsewhere(who: &str) -> String {
    format!(
        "another gateway on this host ({who}) receives the messages of this bot: stop it, or give this \
         gateway a bot of its own; sending still works"
    )
}

/// What is said while nobody can tell whether another gateway on this host polls the bot.
pub(super) fn lease_dispute(why: &str) -> String {
    format!(
        "whether another gateway on this host polls this bot cannot be told: {why}; this one polls it all \
         the same"
    )
}

#[cfg(test)]
mod tests {
    use super::Trouble;
    use crate::channels::telegram::error::{ApiError, Refusal};

    fn refused(code: u16, description: &str) -> ApiError {
        let description = description.to_owned();
        ApiError::Refused(Refusal { code, description, ..Refusal::default() })
    }

    #[test]
    fn troubles_are_told_apart() {
        let other = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
        let webhook =
            "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook first";
        for (error, expected) in [
            (refused(401, "Unauthorized"), Trouble::Unauthorized),
            (refused(404, ""), Trouble::Unauthorized),
            (refused(403, ""), Trouble::Unreachable),
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
}
