//! What a client must see of every recorded conversation, run by run.

pub(super) struct Trace {
    pub(super) name: &'static str,
    /// How many processes serve its runs.
    pub(super) processes: usize,
    /// Its prompts in order, then prompts that it does not have.
    pub(super) runs: &'static [Run],
}

pub(super) struct Run {
    pub(super) end: End,
    /// Beginning of the summary, or a part of it if the process died.
    pub(super) says: &'static str,
    pub(super) retries: usize,
    pub(super) resets: usize,
    pub(super) compactions: usize,
    /// Names of the tools in the order of their ends, `!` behind those that failed.
    pub(super) tools: &'static str,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    /// With the recorded answer.
    Answered,
    /// Well, with an answer that the recording does not have: its prompt came too early, or never.
    AnsweredAnew,
    /// With the error that the provider gave.
    Failed,
    /// With its process.
    Died,
    /// Pi did not take the prompt.
    Refused,
    /// By the client, once it has seen this.
    Cancelled(Cue),
    /// By the limit on silence.
    Silent,
}

/// What a client sees before it cancels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cue {
    Start,
    Text,
    Tool,
    Retries(usize),
}

impl Run {
    const fn new(end: End, says: &'static str) -> Self {
        Self { end, says, retries: 0, resets: 0, compactions: 0, tools: "" }
    }

    /// So many waits of Pi for the provider, and how often the answer began again.
    const fn retries(self, retries: usize, resets: usize) -> Self {
        Self { retries, resets, ..self }
    }

    const fn compacts(self, resets: usize) -> Self {
        Self { compactions: 1, resets, ..self }
    }

    const fn tools(self, tools: &'static str) -> Self {
        Self { tools, ..self }
    }
}

const fn ok(says: &'static str) -> Run {
    Run::new(End::Answered, says)
}

const fn anew() -> Run {
    Run::new(End::AnsweredAnew, "You said: ")
}

const fn error(says: &'static str) -> Run {
    Run::new(End::Failed, says)
}

const fn died(says: &'static str) -> Run {
    Run::new(End::Died, says)
}

const fn refused(says: &'static str) -> Run {
    Run::new(End::Refused, says)
}

const fn cancelled(cue: Cue) -> Run {
    Run::new(End::Cancelled(cue), "the run was cancelled")
}

const fn silent() -> Run {
    Run::new(End::Silent, "the agent was silent for ")
}

const fn trace(name: &'static str, runs: &'static [Run]) -> Trace {
    Trace { name, processes: 1, runs }
}

/// A recording that needs more than one process.
const fn dying(name: &'static str, processes: usize, runs: &'static [Run]) -> Trace {
    Trace { name, processes, runs }
}

/// Of 500 words.
const LONG: Run = ok("word1 word2 word3");

pub(super) const TRACES: &[Trace] = &[
    trace(
        "rpc-abort-text",
        &[
            cancelled(Cue::Text),
            ok("users=2 first=long"),
            cancelled(Cue::Start),
            ok("You said: still alive?"),
        ],
    ),
    trace("rpc-abort-tool", &[cancelled(Cue::Tool), ok("You said: next")]),
    trace("rpc-bash", &[ok("users=4 first=Ran `echo out")]),
    trace("rpc-basic", &[ok("You said: hello"), ok("users=1 first=second session")]),
    dying(
        "rpc-client-errors",
        3,
        &[
            refused("Cannot read properties of undefined (reading 'startsWith')"),
            ok("You said: "),
            refused("text.startsWith is not a function"),
            ok("You said: /new"),
            ok("You said: /nosuchcommand arg"),
            ok("You said: !echo bang"),
            ok("You said: @/etc/hostname what is it"),
            ok("You said: idle steer"),
        ],
    ),
    trace("rpc-compaction-manual", &[LONG, LONG]),
    trace("rpc-compaction-overflow", &[LONG, error("400 prompt is too long: 250000 tokens").compacts(1)]),
    trace(
        "rpc-compaction-threshold",
        &[LONG, LONG, LONG, LONG, LONG, ok("word1 word2 word3").compacts(0), ok("ok")],
    ),
    trace("rpc-environment", &[ok("Tool said: secret=visible").tools("bash")]),
    dying("rpc-eof-at-once", 2, &[died("exit code 0"), anew()]),
    dying("rpc-eof-streaming", 2, &[died("exit code 0"), anew()]),
    dying("rpc-eof-tool", 2, &[died("exit code 0"), anew()]),
    // Its prompts are commands of an extension, after which Pi does not run.
    dying("rpc-extension-ui", 3, &[silent(), silent(), anew()]),
    trace(
        "rpc-images",
        &[
            ok("images=1 image/png:120"),
            ok("images=2 image/png:120 image/webp:120"),
            ok("images=1 image/png:6"),
            ok("You said: "),
            ok("You said: Attached image(s) from tool result:").tools("read"),
        ],
    ),
    dying(
        "rpc-null-line-crash",
        2,
        &[died("(exit code 1): TypeError: Cannot read properties of null"), anew()],
    ),
    trace("rpc-prompt-during-compaction", &[LONG, anew()]),
    trace(
        "rpc-provider-errors",
        &[
            error("400 bad request"),
            error("401 invalid api key"),
            error("403 forbidden"),
            error("404 model not found"),
            error("413 request too large"),
            ok("word1 word2").retries(1, 1),
            anew(),
            ok("(the agent gave no answer)"),
            ok("You said: fine again"),
        ],
    ),
    trace(
        "rpc-provider-retry",
        &[
            ok("You said: recovers"),
            error("529 Overloaded").retries(3, 3),
            error("500 internal server error"),
            cancelled(Cue::Retries(1)).retries(1, 0),
            cancelled(Cue::Retries(1)).retries(1, 0),
        ],
    ),
    trace("rpc-provider-unreachable", &[error("Connection error.")]),
    trace(
        "rpc-queue",
        &[
            ok("You said: second follow up").tools("bash"),
            anew(),
            cancelled(Cue::Tool),
            ok("You said: kept in the queue at abort?"),
        ],
    ),
    trace("rpc-race-abort-right-after-prompt", &[cancelled(Cue::Start), anew()]),
    trace("rpc-race-prompt-in-retry-wait", &[ok("You said: sent during").retries(1, 1), anew()]),
    trace("rpc-race-two-prompts-at-once", &[ok("You said: one"), anew()]),
    dying("rpc-sighup-idle", 2, &[died("signal 1"), anew()]),
    dying("rpc-sigint-idle", 2, &[died("signal 2"), anew()]),
    dying("rpc-sigkill-streaming", 2, &[died("signal 9"), anew()]),
    dying("rpc-sigkill-tool", 2, &[died("signal 9"), anew()]),
    dying("rpc-sigterm-idle", 2, &[died("signal 15"), anew()]),
    dying("rpc-sigterm-streaming", 2, &[died("signal 15"), anew()]),
    dying("rpc-sigterm-tool", 2, &[died("signal 15"), anew()]),
    trace(
        "rpc-state-in-retry",
        &[
            cancelled(Cue::Retries(2)).retries(2, 1),
            cancelled(Cue::Text),
            ok("You said: one"),
            anew(),
            cancelled(Cue::Start),
        ],
    ),
    trace("rpc-thinking-anthropic", &[ok("You said: think"), ok("Tool said: hi").tools("bash")]),
    trace("rpc-thinking-openai", &[ok("You said: think")]),
    trace(
        "rpc-tool",
        &[
            ok("Tool said: hi").tools("bash"),
            ok("Tool said: one | two").tools("bash! bash"),
            ok("Tool said: line 1").tools("bash"),
            ok("Tool said: Successfully wrote 4 bytes").tools("write"),
            ok("Tool said: Successfully replaced 1 block(s)").tools("edit"),
            ok("Tool said: a").tools("read"),
            ok("Tool said: Tool nonesuch not found").tools("nonesuch!"),
            ok("Tool said: Validation failed for tool \"bash\":").tools("bash!"),
        ],
    ),
    trace("rpc-tools-parallel", &[ok("Tool said: A | B").tools("bash bash")]),
    trace("rpc-unicode", &[ok("Emoji 😀 👩\u{200d}👩\u{200d}👧\u{200d}👦 flag"), ok("You said: echo 😀")]),
    trace("session-1-new", &[ok("You said: first question")]),
    trace("session-10-resumed-after-kill-in-tool", &[ok("users=2 first=[[bash echo started; sleep 3]]")]),
    trace("session-11-cut-last-line", &[ok("users=5 first=first question")]),
    trace("session-12-garbage-file", &[ok("users=1 first=[[recall]]")]),
    dying(
        "session-13-cwd-gone",
        2,
        &[died("(exit code 1): Stored session working directory does not exist"), anew()],
    ),
    trace(
        "session-14-switch",
        &[
            ok("You said: one"),
            ok("users=5 first=first question"),
            // The recording begins a new session here, which drops the run without a word.
            cancelled(Cue::Tool),
            ok("users=1 first=[[recall]]"),
        ],
    ),
    trace("session-2-continue", &[ok("users=2 first=first question")]),
    trace("session-3-by-file", &[ok("users=3 first=first question")]),
    trace("session-4-file-not-there-yet", &[ok("You said: hello new file")]),
    trace("session-4b-file-again", &[ok("users=2 first=hello new file")]),
    trace("session-5-by-id-prefix", &[ok("users=4 first=first question")]),
    dying("session-6-unknown-id", 2, &[died("(exit code 1): No session found matching 'ffffffff'"), anew()]),
    dying("session-7-killed", 2, &[ok("You said: before"), died("signal 9"), anew()]),
    trace("session-8-resumed-after-kill", &[ok("users=3 first=before")]),
    dying("session-9-killed-in-tool", 2, &[died("signal 9"), anew()]),
    dying("startup-bad-model", 2, &[died("(exit code 1): Error: Model \"nope/nope\" not found."), anew()]),
    dying(
        "startup-bad-models-json",
        2,
        &[died("(exit code 1): Error: Model \"mock/mock-1\" not found."), anew()],
    ),
    dying("startup-no-model", 2, &[died("exit code 0"), anew()]),
    dying("startup-unknown-option", 2, &[died("(exit code 1): Error: Unknown option: --nonsense"), anew()]),
    // It answers no `get_state`, so each of its processes serves one run.
    dying(
        "v0.13.2-rpc-basic",
        5,
        &[
            ok("You said: hello"),
            ok("Tool said: hi").tools("bash"),
            error("401 invalid api key"),
            cancelled(Cue::Text),
            ok("users=5 first=hello"),
        ],
    ),
    trace(
        "v0.27.9-rpc-basic",
        &[
            ok("You said: hello"),
            ok("Tool said: hi").tools("bash"),
            error("401 invalid api key"),
            cancelled(Cue::Text),
            ok("users=1 first=[[recall]]"),
        ],
    ),
];
