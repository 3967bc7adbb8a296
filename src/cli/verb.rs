//! The verbs: names, flags and what their help says. The one table that parsing, help and dispatch read.

use crate::cli::Context;
use crate::cli::exit::Failure;
use crate::cli::{agent, call, daemon, sessions, state, watch};

/// One thing the tool can do.
pub(crate) struct Verb {
    /// As typed.
    pub(crate) name: &'static str,
    /// How to type it, without the program's name.
    pub(crate) usage: &'static str,
    /// One line for the list of all.
    pub(crate) summary: &'static str,
    /// More, for its own help; may be empty.
    pub(crate) about: &'static str,
    /// Its own flags.
    pub(crate) flags: &'static [Flag],
    /// Something to paste.
    pub(crate) example: &'static str,
    /// Carries it out.
    pub(crate) run: fn(Context) -> Result<(), Failure>,
}

/// One flag.
pub(crate) struct Flag {
    /// With its dashes.
    pub(crate) name: &'static str,
    /// What it takes; empty if nothing.
    pub(crate) value: &'static str,
    /// One line.
    pub(crate) help: &'static str,
}

const fn flag(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, value, help }
}

/// Flags that every verb takes.
pub(crate) const COMMON: &[Flag] = &[
    flag("--url", "URL", "the gateway (or CLAWDIS_GATEWAY_URL); found by lock file and config otherwise"),
    flag(
        "--token",
        "TOKEN",
        "its token (or CLAWDIS_GATEWAY_TOKEN); other users may see it in the process list",
    ),
    flag("--token-file", "FILE", "a file with the token"),
    flag("--state-dir", "DIR", "the gateway's state folder (or CLAWDIS_STATE_DIR; ~/.clawdis)"),
    flag("--config", "FILE", "its config (or CLAWDIS_CONFIG; clawdis.json in the state folder)"),
    flag("--json", "", "print the payload as JSON"),
    flag("--timeout", "SECONDS", "how long to wait for the gateway (10; 30 for `send`); exit code 5 beyond"),
    flag("--help", "", "explain"),
    flag("--version", "", "print the version"),
];

const LIMIT: Flag = flag("--limit", "N", "at most so many (1 to 200)");
const BEFORE: Flag = flag("--before", "CURSOR", "the page before; an earlier page says its cursor");
const KEY: Flag =
    flag("--key", "KEY", "idempotency key: the same command with the same key is carried out once (random)");

/// The verb of that name.
pub(crate) fn find(name: &str) -> Option<&'static Verb> {
    ALL.iter().find(|verb| verb.name == name)
}

/// All verbs, in the order of the help.
pub(crate) const ALL: &[Verb] = &[
    Verb {
        name: "agent",
        usage: "agent [FLAGS] MESSAGE... | -",
        summary: "ask the agent and show its answer",
        about: "The message is the arguments, what is piped in, or with `-` what is typed. On a terminal the answer \
            appears as it is written, with tool calls and remarks dimmed on stderr; if the agent starts its answer \
            over, a line says so. When stdout is no terminal only the final answer is written, at the end; `--stream` \
            writes the text as it comes there, too. With `--json` the final payload is printed, with `--json --stream` \
            every event before it, one per line.\nWithout `--timeout` it waits as long as the run takes; a `--timeout` \
            leaves the run going, `--run-timeout` ends it. Ctrl-C cancels the run. If the connection breaks, it comes \
            back and joins the same run.",
        flags: &[
            flag("--session", "KEY", "session to talk in (main)"),
            flag("--session-id", "ID", "refuse unless this is the session's current conversation"),
            flag("--thinking", "LEVEL", "off, minimal, low, medium, high or xhigh"),
            flag("--run-timeout", "SECONDS", "end the run after so long"),
            flag(
                "--deliver",
                "",
                "also send the answer to --to on --channel (or where the session last spoke)",
            ),
            flag("--to", "ADDRESS", "see --deliver"),
            flag("--channel", "NAME", "see --deliver; telegram or whatsapp"),
            flag("--image", "FILE", "a PNG, JPEG, GIF or WebP to go with it; up to 4 times"),
            flag("--stream", "", "write the text as it comes even when stdout is no terminal"),
            KEY,
        ],
        example: "clawdis agent \"what is in my calendar?\"\n  git diff | clawdis agent --session review -",
        run: agent::run,
    },
    Verb {
        name: "send",
        usage: "send --to ADDRESS [FLAGS] MESSAGE... | -",
        summary: "send a message to a person or group on a surface",
        about: "The message is the arguments, what is piped in, or with `-` what is typed.",
        flags: &[
            flag("--to", "ADDRESS", "+15550001111, a WhatsApp jid, telegram:ID, or @name"),
            flag("--channel", "NAME", "telegram or whatsapp; guessed from the address otherwise"),
            flag("--media", "URL", "a picture or file to go with it"),
            KEY,
        ],
        example: "clawdis send --to telegram:123456789 \"dinner is ready\"",
        run: call::send,
    },
    Verb {
        name: "status",
        usage: "status",
        summary: "the gateway, its channels, clients and today's runs",
        about: "",
        flags: &[],
        example: "clawdis status",
        run: state::status,
    },
    Verb {
        name: "health",
        usage: "health [--probe]",
        summary: "whether everything that is switched on works",
        about: "",
        flags: &[flag("--probe", "", "ask the channels now")],
        example: "clawdis health --json",
        run: state::health,
    },
    Verb {
        name: "presence",
        usage: "presence",
        summary: "who is connected, or was a few minutes ago",
        about: "",
        flags: &[],
        example: "clawdis presence",
        run: state::presence,
    },
    Verb {
        name: "watch",
        usage: "watch",
        summary: "show what happens, as it happens",
        about: "Runs until Ctrl-C and connects again whenever the gateway goes away; one that is not there at the start is \
            an error. With `--json` every event is one \
            line; `{\"type\":\"gap\"}` tells that events were missed, `{\"type\":\"refresh\"}` then carries health and \
            presence anew.",
        flags: &[],
        example: "clawdis watch",
        run: watch::run,
    },
    Verb {
        name: "sessions",
        usage: "sessions [--limit N]",
        summary: "list the sessions, newest first",
        about: "",
        flags: &[LIMIT, BEFORE],
        example: "clawdis sessions",
        run: sessions::list,
    },
    Verb {
        name: "history",
        usage: "history [SESSION] [--limit N] [--before CURSOR]",
        summary: "show what was said in a session (main)",
        about: "The last messages, the newest at the bottom. With `--json` the newest comes first.",
        flags: &[LIMIT, BEFORE],
        example: "clawdis history main --limit 10",
        run: sessions::history,
    },
    Verb {
        name: "cancel",
        usage: "cancel RUN",
        summary: "end a run of the agent",
        about: "`clawdis watch` and `clawdis agent --json` show the ids of runs.",
        flags: &[],
        example: "clawdis cancel 4f1c",
        run: state::cancel,
    },
    Verb {
        name: "reset",
        usage: "reset [SESSION]",
        summary: "start a new conversation in a session (main)",
        about: "What was said stays on record; the agent no longer sees it.",
        flags: &[],
        example: "clawdis reset",
        run: sessions::reset,
    },
    Verb {
        name: "forget",
        usage: "forget SESSION",
        summary: "the same, and delete every record, file and picture of it",
        about: "There is no way back.",
        flags: &[],
        example: "clawdis forget dm:telegram:123456789",
        run: sessions::forget,
    },
    Verb {
        name: "pause",
        usage: "pause",
        summary: "end all runs and start none until resumed",
        about: "Stays in force across restarts.",
        flags: &[],
        example: "clawdis pause",
        run: state::pause,
    },
    Verb {
        name: "resume",
        usage: "resume",
        summary: "let runs start again",
        about: "",
        flags: &[],
        example: "clawdis resume",
        run: state::resume,
    },
    Verb {
        name: "heartbeats",
        usage: "heartbeats on|off",
        summary: "switch the agent's own check-ins",
        about: "",
        flags: &[],
        example: "clawdis heartbeats off",
        run: state::heartbeats,
    },
    Verb {
        name: "channel",
        usage: "channel NAME on|off",
        summary: "switch a surface (telegram, whatsapp)",
        about: "",
        flags: &[],
        example: "clawdis channel telegram off",
        run: state::channel,
    },
    Verb {
        name: "call",
        usage: "call METHOD [--params JSON]",
        summary: "any method of the protocol, answer as JSON",
        about: "A method that answers twice (`agent`) prints both payloads. Without `--timeout` the second may take \
            as long as it takes.",
        flags: &[flag("--params", "JSON", "its parameters, an object; `-` reads them from stdin")],
        example: "clawdis call session-history --params '{\"sessionKey\":\"main\",\"limit\":1}'",
        run: call::call,
    },
    Verb {
        name: "gateway",
        usage: "gateway [FLAGS OF clawdis-gateway]",
        summary: "run the gateway in the foreground",
        about: "Becomes the `clawdis-gateway` beside this program; what follows is handed to it as it is. \
            `clawdis gateway --help` lists its flags.",
        flags: &[],
        example: "clawdis gateway --agent builtin:echo",
        run: daemon::run,
    },
];
