//! The verbs: names, what they take and what they ask for. The one table that parsing, help and
//! dispatch read; most verbs are nothing but a row of it. Below it the help that is made from it.

use Action::Ask;

use crate::arguments::Argument;
use crate::arguments::Kind::{self, Fixed, Message, Number, OnOff, Rest, Switch, Text, TextOr};

/// One thing the tool can do.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// Words behind it, in order, and its own flags.
    pub(crate) arguments: &'static [Argument],
    pub(crate) action: Action,
    /// Its line in the help.
    pub(crate) summary: &'static str,
}

/// What a verb does.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    /// Calls this method with what was typed and shows the answer.
    Ask(&'static str),
    /// `agent`: follows a run to its end.
    Agent,
    /// `send`: follows a message to its end.
    Send,
    /// `watch`: shows events until Ctrl-C.
    Watch,
    /// `login`: links an account.
    Login,
    /// `logout`: unlinks an account.
    Logout,
    /// `allow`: lets somebody in and says what that means.
    Allow,
    /// `call`: calls the method that was typed.
    Call,
    /// `gateway`: becomes the daemon.
    Gateway,
}

impl Verb {
    pub(crate) fn flags(&self) -> impl Iterator<Item = &'static Argument> + Clone + use<> {
        self.arguments.iter().filter(|argument| argument.name.starts_with("--"))
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = &'static Argument> + Clone + use<> {
        self.arguments.iter().filter(|argument| !argument.name.starts_with("--"))
    }
}

const fn flag(name: &'static str, kind: Kind, member: &'static str, help: &'static str) -> Argument {
    Argument { member, ..Argument::flag(name, kind, help) }
}

const fn word(name: &'static str, kind: Kind, member: &'static str) -> Argument {
    flag(name, kind, member, "")
}

const fn verb(
    name: &'static str,
    arguments: &'static [Argument],
    action: Action,
    summary: &'static str,
) -> Verb {
    Verb { name, arguments, action, summary }
}

/// Flags that every verb takes.
pub(crate) const COMMON: &[Argument] = &[
    Argument::flag("--url", Text("URL"), "the gateway (CLAWDIS_GATEWAY_URL, lock file, config)"),
    Argument::flag("--token", Text("TOKEN"), "its token (CLAWDIS_GATEWAY_TOKEN); visible in process lists"),
    Argument::flag("--token-file", Text("FILE"), "a file with the token"),
    Argument::flag("--json", Switch, "print payloads as JSON, one a line"),
    Argument::flag("--timeout", Text("SECONDS"), "how long to wait for the gateway (10; 30 for `send`)"),
    Argument::flag("--help", Switch, "explain").with_short("-h"),
    Argument::flag("--version", Switch, "print the version").with_short("-V"),
];

const MESSAGE: Argument = word("MESSAGE... | -", Message, "message");
const SESSION: Argument = word("SESSION", Text(""), "sessionKey");
const SESSION_OR_MAIN: Argument = word("[SESSION]", TextOr("main"), "sessionKey");
const SWITCH: Argument = word("on|off", OnOff, "enabled");
const LIMIT: Argument = flag("--limit", Number("N"), "limit", "at most so many (1 to 200)");
const BEFORE: Argument = flag("--before", Text("CURSOR"), "before", "the page before this one");
const TO: Argument =
    flag("--to", Text("ADDRESS"), "to", "+15550001111, a WhatsApp jid, telegram:ID or @name");
const CHANNEL: Argument = flag("--channel", Text("NAME"), "channel", "telegram or whatsapp");
const KEY: Argument =
    flag("--key", Text("KEY"), "idempotencyKey", "the same key does the same thing only once");

const AGENT: &[Argument] = &[
    MESSAGE,
    flag("--session", Text("KEY"), "sessionKey", "session to talk in (main)"),
    flag("--session-id", Text("ID"), "sessionId", "refuse another conversation than this"),
    flag("--thinking", Text("LEVEL"), "thinking", "off, minimal, low, medium, high or xhigh"),
    flag("--run-timeout", Number("SECONDS"), "timeout", "end the run after so long"),
    flag("--deliver", Switch, "deliver", "also send the answer to --to on --channel"),
    TO,
    CHANNEL,
    flag("--stream", Switch, "", "show it as it comes even when stdout is no terminal"),
    KEY,
];
const SEND: &[Argument] =
    &[MESSAGE, TO, CHANNEL, flag("--media", Text("URL"), "mediaUrl", "a picture or file"), KEY];
const PROBE: Argument = flag("--probe", Switch, "probe", "ask the channels now");
const CALL: &[Argument] = &[
    word("METHOD", Text(""), "method"),
    flag("--params", Text("JSON"), "params", "an object; `-` reads it from stdin"),
];
const ALLOW: &[Argument] = &[
    word("CHANNEL", Text(""), "channel"),
    word("ID", Text(""), "id"),
    flag("--owner", Switch, "owner", "this person is you: direct chats there share session main"),
    flag("--remove", Switch, "remove", "shut out again who was let in"),
];
const LOGIN: &[Argument] = &[
    word("CHANNEL", Text(""), "channel"),
    flag("--phone", Text("+NUMBER"), "phone", "type a code on that phone instead of scanning one"),
];
const ARGS: Argument = word("[ITS FLAGS]", Rest, "args");

/// All verbs, in the order of the help.
pub(crate) const ALL: &[Verb] = &[
    verb("agent", AGENT, Action::Agent, "ask the agent (or pipe the message in); Ctrl-C cancels"),
    verb("send", SEND, Action::Send, "send a message to a person or group"),
    verb("status", &[], Ask("status"), "the gateway, its channels, clients and runs"),
    verb("health", &[PROBE], Ask("health"), "whether everything works"),
    verb("presence", &[], Ask("system-presence"), "who is connected, or was just now"),
    verb("watch", &[], Action::Watch, "show what happens until Ctrl-C, through restarts of the gateway"),
    verb("sessions", &[LIMIT, BEFORE], Ask("sessions-list"), "list the sessions"),
    verb("history", &[SESSION_OR_MAIN, LIMIT, BEFORE], Ask("session-history"), "what was said in a session"),
    verb("cancel", &[word("RUN", Text(""), "runId")], Ask("agent-cancel"), "end a run of the agent"),
    verb("reset", &[SESSION_OR_MAIN], Ask("session-reset"), "start a new conversation"),
    verb("forget", &[SESSION], Ask("session-forget"), "the same, and delete every trace of the old one"),
    verb("pause", &[word("", Fixed(true), "paused")], Ask("set-paused"), "end all runs and start none"),
    verb("resume", &[word("", Fixed(false), "paused")], Ask("set-paused"), "let runs start again"),
    verb("heartbeats", &[SWITCH], Ask("set-heartbeats"), "switch the agent's own check-ins"),
    verb("channel", &[word("NAME", Text(""), "channel"), SWITCH], Ask("set-channel"), "switch a channel"),
    verb("login", LOGIN, Action::Login, "link an account: scan a code with the phone"),
    verb("logout", &[word("CHANNEL", Text(""), "channel")], Action::Logout, "unlink it again"),
    verb("allow", ALLOW, Action::Allow, "let a person or group on a channel talk to the agent"),
    verb("call", CALL, Action::Call, "call any method of the protocol, answers as JSON"),
    verb("gateway", &[ARGS], Action::Gateway, "run the gateway in the foreground"),
];

const EXIT_CODES: &str = "
exit codes
  0    done
  1    the gateway answered with an error
  2    wrong usage
  3    no gateway answers; it is never started by itself
  4    the gateway refused: token, protocol or host
  5    no answer in time
  130  interrupted
";

/// The help on one verb, or on all.
pub(crate) fn help(verb: Option<&Verb>) -> String {
    let common = section("flags of all verbs", COMMON.iter().map(row));
    let Some(verb) = verb else {
        let verbs = section("verbs", ALL.iter().map(|verb| (usage(verb), verb.summary)));
        let usage = "usage: clawdis [FLAGS] VERB ...; `clawdis VERB --help` lists a verb's flags";
        return format!("{usage}\n{verbs}{common}{EXIT_CODES}");
    };
    let own = section("flags", verb.flags().map(row));
    format!("usage: clawdis {}\n\n{}\n{own}{common}", usage(verb), verb.summary)
}

fn usage(verb: &Verb) -> String {
    let words = verb.words().map(|word| word.name).filter(|name| !name.is_empty());
    [verb.name].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

fn row(flag: &Argument) -> (String, &'static str) {
    (flag.with_value(), flag.help)
}

/// A heading and its rows; nothing where there is no row.
fn section(heading: &str, rows: impl Iterator<Item = (String, &'static str)>) -> String {
    let rows: Vec<String> = rows.map(|(name, what)| format!("  {name:<23} {what}\n")).collect();
    if rows.is_empty() { String::new() } else { format!("\n{heading}\n{}", rows.concat()) }
}
