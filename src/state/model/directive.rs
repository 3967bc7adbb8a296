//! Directives: lines such as `/stop`, by which a person tells the gateway itself something. Pure.

use crate::protocol::call::Thinking;

/// What a message tells the gateway, from a client or any channel. Everything else goes to the model as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directive {
    New,
    Status,
    Stop,
    Pause,
    Resume,
    /// `/stop` by somebody who may end only what they asked themselves.
    StopOwn,
    /// A directive by somebody who may not give it.
    OwnerOnly,
    /// `/status` by others than the owner.
    BriefStatus,
    /// `/think`; `None` where it names no level, or one that does not exist.
    Think(Option<Thinking>),
    Help,
}

pub(crate) const HELP: &str = "/new - begin a new conversation\n\
    /stop - stop what the agent is doing here\n\
    /status - what the gateway and the agent are doing\n\
    /think LEVEL - off, minimal, low, medium, high or xhigh, for this conversation\n\
    /pause, /resume - stop everything, let it run again (owner only)\n\
    /help - this list\n\
    In a group /stop ends what you asked there yourself, and /new and /think are the owner's, unless the owner decided otherwise.";

pub(crate) const LEVELS: &str = "say one of: /think off, minimal, low, medium, high, xhigh";

/// The directive that a message is, if it is one: the whole message and nothing else.
pub(crate) fn parse(message: &str) -> Option<Directive> {
    let mut words = message.split_whitespace();
    let name = words.next()?.strip_prefix('/')?.to_ascii_lowercase();
    let (argument, more) = (words.next(), words.next());
    if name == "think" && more.is_none() {
        let level = argument.unwrap_or_default().to_ascii_lowercase();
        return Some(Directive::Think(Thinking::from_name(&level)));
    }
    if argument.is_some() {
        return None;
    }
    match name.as_str() {
        "new" => Some(Directive::New),
        "status" => Some(Directive::Status),
        "stop" => Some(Directive::Stop),
        "pause" => Some(Directive::Pause),
        "resume" => Some(Directive::Resume),
        "help" => Some(Directive::Help),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Directive, parse};
    use crate::protocol::call::Thinking;

    #[test]
    fn only_whole_known_lines_are_directives() {
        assert_eq!(parse("/new"), Some(Directive::New));
        assert_eq!(parse(" /STOP \n"), Some(Directive::Stop));
        assert_eq!(parse("/think High"), Some(Directive::Think(Some(Thinking::High))));
        assert_eq!(parse("/think hard"), Some(Directive::Think(None)));
        assert_eq!(parse("/think"), Some(Directive::Think(None)));
        for text in
            ["", "new", "/", "/new york", "/skill:x", "/unknown", "//new", "say /new", "/think very hard"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
