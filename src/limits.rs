//! Every bound and every fixed time of the gateway, each with what happens when it is reached.
//!
//! A number that limits something belongs here (one channel's in a file below) and nowhere else;
//! the relations between them are asserted at compile time at the end of the file.

use std::time::Duration;

use crate::backoff::Backoff;

mod channels;
mod queues;
mod storage;

pub use channels::*;
pub use queues::*;
pub use storage::*;

// ---- frames and connections -------------------------------------------------------------------

/// Largest WebSocket message in either direction. A larger one from a client closes it with 1009;
/// the server ends pages early and cuts long texts (`truncated: true`) to stay below.
pub const PAYLOAD_BYTES_MAX: usize = 512 * 1024;
/// Largest first frame: a `hello` at the bounds of its schema. A larger one closes with 1009.
pub const HELLO_BYTES_MAX: usize = 32 * 1024;
/// JSON nesting accepted from a client; deeper closes with 1007.
pub const JSON_DEPTH_MAX: usize = 64;
/// JSON values of one frame: each is something of its own in memory, a hundred times as large as it was
/// written. More are `INVALID_REQUEST`, found before anything is built.
pub const JSON_VALUES_MAX: usize = 20_000;
/// The same before the `hello` is accepted; more are refused with 1008.
pub const HELLO_VALUES_MAX: usize = 200;
/// Members or elements of one container, and containers in each other, inside the parameters of a
/// request: no schema allows as many. What is beyond is not built, and makes the request invalid.
pub const PARAMS_WIDTH_MAX: usize = 16;
/// The same for containers in each other.
pub const PARAMS_DEPTH_MAX: usize = 3;
/// Text of a single member that is looked at by itself; one that is longer is too long for whatever it
/// is.
pub const OUTLINE_BYTES_MAX: usize = 16 * 1024;
/// What one connection may have waiting in our memory; over it droppable events are skipped and
/// anything else ends the connection (1008 `slow consumer`).
pub const BACKLOG_BYTES_MAX: usize = 3 * 512 * 1024;
/// How much of it droppable events may fill: the rest is for one frame that may not be left out,
/// or a long stream of pieces would leave no room for the few bytes that say that it is over.
pub const BACKLOG_DROPPABLE_BYTES_MAX: usize = BACKLOG_BYTES_MAX - PAYLOAD_BYTES_MAX;
/// What all backlogs together may take in memory; over it the largest one's connection is closed first.
pub const BACKLOG_TOTAL_BYTES_MAX: usize = 24 * 1024 * 1024;
/// How much of that droppable events may fill: nobody is closed for what may be left out.
pub const BACKLOG_DROPPABLE_TOTAL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Frames up to this wait together in one block of memory: one by one they would take several times their
/// length, and leave holes.
pub const BACKLOG_SMALL_BYTES_MAX: usize = 1_024;
/// The smallest such block; it grows with what comes.
pub const BACKLOG_BLOCK_BYTES_MIN: usize = 512;
/// The largest one.
pub const BACKLOG_BLOCK_BYTES_MAX: usize = 64 * 1024;
/// TCP port unless configured.
pub const PORT_DEFAULT: u16 = 18_789;
/// HTTP head of a request; a longer one is answered 431 and closed.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 * 1024;
/// HTTP headers in one head; more are answered 431.
pub const HTTP_HEADERS_MAX: usize = 64;
/// tungstenite's read buffer. It is allocated eagerly and zero-filled at each read, so it is the
/// memory knob of a connection.
pub const READ_BUFFER_BYTES: usize = 2 * 1024;
/// A longer message is read up to its end and no further, so that its buffer can be given back behind it.
pub const READ_BUFFER_KEPT_BYTES: usize = 4 * 1024;
/// Frames of more than `LARGE_REQUEST_BYTES` that come in at a time. At the bound the next one waits in
/// its socket until one has come, or one that takes too long is closed (1008) and makes room.
pub const LARGE_COMING_MAX: usize = 32;
/// How long such a frame may take while others wait: the largest, over half a megabit a second.
pub const LARGE_COMING_GRACE: Duration = Duration::from_secs(10);
/// How long nothing of it may come while others wait.
pub const LARGE_COMING_QUIET_MAX: Duration = Duration::from_secs(1);
/// HTTP head and `hello` together, counted from the TCP connect and never extended.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Writing the answer to a plain HTTP request; a peer that takes it more slowly is dropped.
pub const HTTP_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a peer to take a piece of such an answer, before a look whether the place is still
/// its own.
pub const WRITE_SLICE_TIMEOUT: Duration = Duration::from_millis(250);
/// Connections that have not said `hello` yet. At the bound the newest waits until the oldest is
/// `UNAUTHENTICATED_GRACE` old and takes its place.
pub const UNAUTHENTICATED_MAX: usize = 256;
/// How long the oldest unauthenticated connection is safe from a newer one at the bound: enough
/// for a handshake over an SSH tunnel, short enough that a flood of silent peers delays nobody.
pub const UNAUTHENTICATED_GRACE: Duration = Duration::from_millis(250);
/// Highest configurable number of clients, for each has a thread and a descriptor; beyond what is configured a 503 is
/// answered.
pub const CLIENTS_MAX_MAX: usize = 65_535;
/// Kernel queue of connections not yet accepted; the kernel drops SYNs beyond it.
pub const LISTEN_BACKLOG: i32 = 4_096;
/// Between two refusals of a wrong token, over all connections.
pub const REFUSAL_INTERVAL: Duration = Duration::from_millis(700);
/// Refusals waiting their turn; more are closed at once without an answer.
pub const REFUSALS_WAITING_MAX: usize = 32;
/// Descriptors that sockets of clients may not take: the journal and files of sessions, the channels'
/// connections and pipes, listeners, pages that are being read. At the bound new connections wait.
pub const DESCRIPTORS_KEPT_BACK: usize = 32;
/// The same for each agent process that may be there at a time: its pipes, and its start.
pub const DESCRIPTORS_PER_AGENT: usize = 4;
/// Descriptors that sockets may have even where that leaves too few: else nobody could connect.
pub const DESCRIPTORS_FOR_SOCKETS_MIN: usize = 8;
/// While all that sockets may have are taken: between two looks whether one is free again.
pub const SOCKETS_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Entries of `gateway.allowedHosts` that a warning shows; further ones are counted.
pub const HOSTS_SHOWN_MAX: usize = 5;
/// Bytes of each of them; longer is cut.
pub const HOST_SHOWN_BYTES_MAX: usize = 80;
/// Frames that are no valid request a client may send within `INVALID_FRAMES_WINDOW` before it
/// is closed with 1008.
pub const INVALID_FRAMES_MAX: usize = 20;
/// Window of the budget above.
pub const INVALID_FRAMES_WINDOW: Duration = Duration::from_secs(10);
/// How long a client that reads slowly may take for the frame in progress and the close frame
/// behind it, before the socket is shut without them.
pub const CLOSE_FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// The same when the gateway stops.
pub const GOODBYE_FLUSH_TIMEOUT: Duration = Duration::from_millis(1_500);
/// After our close frame: how long the peer's bytes are still read and thrown away, so that the
/// kernel does not reset the connection before the peer has read the reason.
pub const LINGER_TIME: Duration = Duration::from_secs(1);
/// And how many of them.
pub const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Reason of a close frame (RFC 6455: a control frame holds 125 bytes, 2 of them the code).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;
/// `message` of an error, whatever was sent.
pub const ERROR_TEXT_BYTES_MAX: usize = 1_024;
/// A member's name inside such a `message`; a longer one is cut.
pub const ERROR_MEMBER_BYTES_MAX: usize = 64;
/// Between two attempts to write to a client or child that takes nothing.
pub const WRITE_RETRY: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(200));
/// Messages that `outbound` takes from its queue before it writes.
pub const OUTBOUND_DRAIN_MAX: usize = 256;
/// Clients served per slice of a broadcast before single answers get their turn.
pub const BROADCAST_SLICE: usize = 64;
/// Events waiting to be fanned out; at the bound `outbound` stops reading its queue.
pub const BROADCASTS_PENDING_MAX: usize = 256;
/// The same for their bytes.
pub const BROADCASTS_PENDING_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A silent client is pinged at a tick and dropped after this many unanswered tick intervals.
pub const PING_UNANSWERED_TICKS_MAX: u32 = 2;
/// Stack of a connection thread (address space only; what is touched counts).
pub const CONN_STACK_BYTES: usize = 256 * 1024;
/// Stack of every other thread.
pub const THREAD_STACK_BYTES: usize = 512 * 1024;

// ---- protocol state ---------------------------------------------------------------------------

/// Time between ticks unless configured.
pub const TICK_INTERVAL_MS_DEFAULT: u64 = 30_000;
/// Shortest configurable one: below it ticks would be most of the traffic.
pub const TICK_INTERVAL_MS_MIN: u64 = 100;
/// Longest one, a day.
pub const TICK_INTERVAL_MS_MAX: u64 = 86_400_000;
/// Presence entries listed; disconnected ones go first, further connected clients are only counted.
pub const PRESENCE_MAX: usize = 200;
/// One text of a presence entry, as JSON: everybody is shown it.
pub const PRESENCE_TEXT_BYTES_MAX: usize = 128;
/// `reason` of a presence entry, as JSON.
pub const PRESENCE_REASON_BYTES_MAX: usize = 256;
/// One tag of a presence entry, as JSON.
pub const PRESENCE_TAG_BYTES_MAX: usize = 64;
/// Tags of a presence entry, as the schema of `system-event` has it.
pub const PRESENCE_TAGS_MAX: usize = 8;
/// How long a disconnected client stays listed.
pub const PRESENCE_TTL: Duration = Duration::from_secs(300);
/// Smallest window in which presence changes of a burst are merged.
pub const PRESENCE_WINDOW_MIN: Duration = Duration::from_millis(50);
/// The window is also at least this many times the duration of the last fan-out.
pub const PRESENCE_WINDOW_FANOUTS: u32 = 10;
/// Idempotency keys remembered; beyond it new keys get `RATE_LIMITED`.
pub const KEYS_MAX: usize = 1_000;
/// Bytes of stored answers; beyond it new keys get `RATE_LIMITED`.
pub const KEYS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// One connection, one installation of a client and one person may each hold one part in so many of the
/// keys and of their bytes; beyond it they get `RATE_LIMITED`, and others do not.
pub const KEY_SHARES: usize = 2;
/// Keys of lines for the gateway itself (`/stop`, ...), which take none of the places above. Beyond it such
/// lines are obeyed all the same, and their keys are not remembered.
pub const DIRECTIVE_KEYS_MAX: usize = 512;
/// Lifetime of a key, from the end of what it stands for.
pub const KEY_TTL_MS: u64 = 5 * 60_000;
/// Callers that may wait for one key in flight; further ones get `RATE_LIMITED`. Each is sent the whole
/// answer, in one turn.
pub const KEY_JOINERS_MAX: usize = 32;
/// System notes that wait for the owner's next prompt; the oldest goes.
pub const SYSTEM_NOTES_MAX: usize = 50;
/// `summary` of a run; longer is cut and says `truncated: true`.
pub const SUMMARY_BYTES_MAX: usize = 256 * 1024;
/// One text piece (delta) of an `agent` event; longer ones are sent as several.
pub const DELTA_BYTES_MAX: usize = 64 * 1024;
/// Args or result of a tool call in an event; longer is cut and says `truncated: true`.
pub const TOOL_BYTES_MAX: usize = 16 * 1024;
/// Longest line read from an agent process; a longer one ends the process and the run.
pub const AGENT_LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Name of a member in a long line from an agent; a longer one ends the process and the run.
pub const AGENT_NAME_BYTES_MAX: usize = 64 * 1024;
/// Stderr lines of a child kept for an error's text.
pub const CHILD_STDERR_LINES: usize = 20;
/// Bytes of each of them; the rest of a longer line is thrown away.
pub const CHILD_STDERR_LINE_BYTES_MAX: usize = 1_024;
/// Events of runs that wait for the state thread; at the bound the agent thread reads no further
/// lines, so the agents wait.
pub const AGENT_PENDING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Line buffer that a reader keeps between lines; a larger one is given back after its line.
pub const AGENT_LINE_BUFFER_BYTES: usize = 256 * 1024;
/// Answer text of one run that can be shown again after the provider failed half-way; a longer
/// one is shown without its rest.
pub const AGENT_REPLAY_BYTES_MAX: usize = 256 * 1024;
/// First line of an agent's session file, which is read to see whether the file is whole.
pub const AGENT_SESSION_HEADER_BYTES_MAX: u64 = 64 * 1024;
/// After `agent_end`: how long the agent may take to answer `get_state` before its run counts as
/// over and its process is replaced.
pub const AGENT_BARRIER_TIMEOUT: Duration = Duration::from_secs(2);
/// Text of messages that are merged into one prompt; what does not fit waits for the next one.
pub const MERGED_PROMPT_BYTES_MAX: usize = 256 * 1024;
/// Images of one `agent` call, and of a merged prompt.
pub const ATTACHMENTS_MAX: usize = 4;
/// Messages of one `session-history` page.
pub const HISTORY_PAGE_MAX: usize = 200;
/// Messages of a page when `limit` is absent.
pub const HISTORY_PAGE_DEFAULT: usize = 50;
/// Sessions on record. Beyond it no client can begin another (`UNAVAILABLE`, with what to do); none is
/// ever forgotten to make room.
pub const SESSIONS_MAX: usize = 2_000;
/// Sessions that people on channels can begin beyond that: as many as can be let in. What they write then
/// is answered with a sentence.
pub const SESSIONS_RESERVE: usize = ALLOWED_MAX;
/// Sessions of one `sessions-list` page.
pub const SESSIONS_PAGE_MAX: usize = 200;
/// Bytes of messages in one page: the frame's other members fit into the rest.
pub const PAGE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - 16 * 1024;
/// Text of one message inside a page; longer is cut and says `truncated: true`.
pub const HISTORY_TEXT_BYTES_MAX: usize = 256 * 1024;
/// Sentence of a warning in `status`; longer is cut.
pub const WARNING_BYTES_MAX: usize = 1_024;

// ---- messaging channels -----------------------------------------------------------------------

/// Messages from channels that are taken in and not answered yet; beyond it the channels keep them
/// (Telegram for a day) and hand them over when there is room.
pub const INBOX_MAX: usize = 256;
/// The same for their texts.
pub const INBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Ids of answered messages that are remembered, so that one that is handed over again is not
/// answered again; the oldest goes.
pub const INBOX_DONE_MAX: usize = 1_000;
/// Things from channels that could not be understood and are kept for a look; the oldest goes.
pub const INBOX_ASIDE_MAX: usize = 20;
/// Pause before what could not be taken in, asked or marked is tried again.
pub const INBOX_RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often a message is asked whose run the gateway did not live through.
pub const ASKED_MAX: u32 = 3;
/// Silence after which an album is taken to be whole: its pieces come one by one, without an end.
pub const ALBUM_QUIET_TIME: Duration = Duration::from_secs(1);
/// Pictures and files of one message; what is more is left out, and its sender told.
pub const MEDIA_MAX: usize = 4;
/// Pictures and files that the channels fetch at a time; those of further messages wait for their turn.
pub const FETCHES_IN_FLIGHT_MAX: usize = 64;
/// How long a picture or file may take to be fetched before the message is asked without it.
pub const FETCH_TIME_MAX: Duration = Duration::from_secs(180);
/// Name of a person or file, for the model; longer is cut.
pub const NAME_BYTES_MAX: usize = 100;
/// MIME type of a file, as a channel tells it; a longer one counts as unknown.
pub const MIME_BYTES_MAX: usize = 100;
/// How long somebody's message waits before they are told so.
pub const QUEUE_NOTICE_AFTER: Duration = Duration::from_secs(5);
/// People and groups that `channel-allow` can let in.
pub const ALLOWED_MAX: usize = 1_000;
/// People who are told on a day that its runs are used up; further ones get silence.
pub const BUDGET_TOLD_MAX: usize = 1_000;
/// Senders that were not let in and are shown in `status`; the oldest goes.
pub const REFUSED_MAX: usize = 50;
/// Groups whose talk is remembered for the model's next prompt there.
pub const GROUP_CONTEXT_GROUPS_MAX: usize = 32;
/// What was said in such a group; the oldest goes.
pub const GROUP_CONTEXT_LINES_MAX: usize = 20;
/// One line of that; longer is cut.
pub const GROUP_CONTEXT_LINE_BYTES_MAX: usize = 500;
/// Picture for the model; a larger one is only named to it.
pub const IMAGE_BYTES_MAX: u64 = 5 * 1024 * 1024;
/// Messages on their way to channels; beyond it `send` and `deliver` get `RATE_LIMITED`, and nothing
/// is taken in.
pub const OUTBOX_MAX: usize = 1_000;
/// The same for their bytes.
pub const OUTBOX_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Attempts to deliver that a channel has in its hands at a time: enough for it never to wait for
/// the disk, and few to be in doubt when the gateway is killed.
pub const ATTEMPTS_IN_FLIGHT_MAX: usize = 16;
/// Before something that was surely not sent is tried again.
pub const SEND_RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// How long an answer is tried: as long as Telegram keeps a question.
pub const DELIVERY_AGE_MS_MAX: u64 = 24 * 3_600_000;
/// How long a `send` is tried, while somebody waits for its answer.
pub const SEND_AGE_MS_MAX: u64 = 120_000;
/// Messages that are over and of which a receipt may still come; the oldest goes.
pub const RECEIPTS_MAX: usize = 200;
/// What is kept of their texts.
pub const RECEIPT_TEXT_BYTES_MAX: usize = 256;
/// Beginning of a message that was quoted, for the model; longer is cut.
pub const QUOTE_BYTES_MAX: usize = 1_024;
/// Text below a picture or file, in UTF-16 units (Telegram's limit); longer follows as a message, or is
/// cut where it says what is in a file.
pub const CAPTION_UNITS_MAX: usize = 1_024;

// ---- log --------------------------------------------------------------------------------------

/// One log line's message; longer is cut. Below the 4,096 bytes that a writable pipe always takes.
pub const LOG_LINE_BYTES_MAX: usize = 1_500;
/// The same line again within this time is counted instead of written.
pub const LOG_REPEAT_WINDOW: Duration = Duration::from_secs(60);
/// Lines that are remembered for that.
pub const LOG_REPEATS_TRACKED: usize = 16;
/// Lines from one place in the code within `LOG_KIND_WINDOW`; further ones are counted, and one line
/// says how many they were.
pub const LOG_KIND_LINES_MAX: u64 = 60;
/// A minute of the above.
pub const LOG_KIND_WINDOW: Duration = Duration::from_secs(60);

// ---- stopping ---------------------------------------------------------------------------------

/// From SIGTERM to exit; the clients' close, the agents' end and the last commit share it.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(4_500);
/// How long the lock of a gateway that was just killed may outlive it: a child that it was starting
/// holds it until its exec.
pub const LOCK_WAIT_MAX: Duration = Duration::from_millis(500);
/// `abort` to an agent before SIGTERM.
pub const CHILD_ABORT_WAIT: Duration = Duration::from_secs(1);
/// SIGTERM to a child's descendants before its guard sends them SIGKILL.
pub const CHILD_TERM_WAIT: Duration = Duration::from_secs(1);
/// SIGTERM to a child, or to its guard, before SIGKILL. Longer than the above, because a guard
/// that is killed cannot end anything any more.
pub const CHILD_KILL_AFTER: Duration = Duration::from_millis(1_350);
/// SIGKILL by a guard before it leaves what does not die (a process in the kernel's hands).
pub const GUARD_KILL_WAIT: Duration = Duration::from_millis(300);
/// Between two looks at a child that is ending.
pub const CHILD_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// A child that closed its stdout: how long its exit code is waited for before SIGTERM.
pub const CHILD_CLOSED_WAIT: Duration = Duration::from_millis(300);
/// Abort, SIGTERM and SIGKILL together.
pub const CHILD_STOP_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Before `accept` is tried again after an error such as "too many open files".
pub const ACCEPT_RETRY: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
/// A wall clock before this (2025-01-01) has not been set yet; lifetimes then count from now.
pub const SANE_CLOCK_MS: u64 = 1_735_689_600_000;

// ---- child processes and the agent's sandbox --------------------------------------------------

/// Highest configurable number of agent processes.
pub const AGENT_PROCESSES_MAX: usize = 64;
/// How long a guard goes on ending what starts ever new processes. Where the gateway lives, it kills
/// the guard long before and goes on itself.
pub const GUARD_HUNT_TIME: Duration = Duration::from_secs(60);
/// How long what a dead guard left may take to end by itself.
pub const ORPHANS_GRACE: Duration = Duration::from_millis(100);
/// How long the gateway goes on ending what a dead guard left, before it looks at its signals again.
pub const ORPHANS_TIME_MAX: Duration = Duration::from_millis(500);
/// The same for what the gateway's last life left, and how long the guards of that life have before.
pub const LEFTOVERS_TIME_MAX: Duration = Duration::from_secs(10);
/// Looks in a row that find only dead orphans, each of whom may have left another one.
pub const ORPHANS_LOOKS: usize = 100;
/// Looks in a row that find nobody below a process before there is nobody: not every system tells at one
/// instant who is there.
pub const NOBODY_LOOKS: usize = 3;
/// Environment of a process in which a mark is looked for; one that is longer is not ours.
pub const CHILD_ENVIRONMENT_BYTES_MAX: u64 = 1024 * 1024;
/// What may wait for a child besides the first thing that it does not read: a prompt with its pictures may be
/// large, but what comes behind is small.
pub const CHILD_UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Looks whether a control group is empty, one per `CHILD_POLL_INTERVAL`, before it is left.
pub const CGROUP_TRIES: usize = 10;
/// Between two looks at a child that should end by itself at once.
pub const ATTEMPT_POLL_INTERVAL: Duration = Duration::from_millis(1);
/// How long bubblewrap may take to show that it works; then no agent starts, and it is tried
/// again before the next agent starts.
pub const SANDBOX_TRIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long `hello-ok` waits for that at most, from the start on.
pub const SANDBOX_HELLO_WAIT: Duration = Duration::from_secs(2);
/// Unix sockets of other programs that are hidden one by one; further ones stay.
pub const SANDBOX_SOCKETS_MAX: usize = 1_000;
/// What is read of the system's list of Unix sockets.
pub const SANDBOX_SOCKET_LIST_BYTES_MAX: u64 = 1024 * 1024;

// ---- command line -----------------------------------------------------------------------------

/// Connecting, handshake and each answer together, unless `--timeout` says otherwise; then exit 5.
pub const CLI_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for `send`: a channel may take its time to confirm.
pub const CLI_SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Age at which the CLI no longer resends an idempotency key and reads the session's history instead.
pub const CLI_KEY_RESEND: Duration = Duration::from_secs(240);
/// Before the CLI connects again, shortened by jitter.
pub const CLI_RECONNECT: Backoff = Backoff::new(Duration::from_secs(1), CLI_RECONNECT_PAUSE_MAX);
/// Longest of these pauses, whatever the gateway asks for.
pub const CLI_RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long `clawdis agent` tries to get back to a gateway in the middle of a run; then exit 3.
pub const CLI_GIVE_UP_AFTER: Duration = Duration::from_secs(300);
/// After Ctrl-C: how long `clawdis agent` waits for its cancel to be confirmed.
pub const CLI_CANCEL_WAIT: Duration = Duration::from_secs(3);
/// Silence of two ticks and this much means that the connection is dead.
pub const CLI_SILENCE_SLACK: Duration = Duration::from_secs(2);
/// Longest wait in one read while Ctrl-C is ours to handle (a signal just before the read is seen
/// this much later).
pub const CLI_SIGNAL_SLICE: Duration = Duration::from_millis(250);
/// Between two looks into the history for the answer of a run whose key is too old.
pub const CLI_HISTORY_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Longer than anybody waits: ten years, for waits that only an event or Ctrl-C ends.
pub const CLI_FOREVER: Duration = Duration::from_secs(315_360_000);

/// A [`Duration`] of so many milliseconds.
pub const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

const _: () = assert!(PAYLOAD_BYTES_MAX <= BACKLOG_BYTES_MAX);
const _: () = assert!(BACKLOG_SMALL_BYTES_MAX <= BACKLOG_BLOCK_BYTES_MAX);
const _: () = assert!(BACKLOG_BYTES_MAX <= BACKLOG_TOTAL_BYTES_MAX);
const _: () = assert!(SUMMARY_BYTES_MAX <= KEYS_BYTES_MAX);
const _: () = {
    // A presence entry at its largest: texts, member names and numbers.
    let entry_bytes_max = 4 * PRESENCE_TEXT_BYTES_MAX
        + PRESENCE_REASON_BYTES_MAX
        + PRESENCE_TAGS_MAX * (PRESENCE_TAG_BYTES_MAX + 3)
        + 256;
    assert!(PRESENCE_MAX * entry_bytes_max < PAYLOAD_BYTES_MAX - 64 * 1024);
};
// JSON may escape every byte of a text to six: these stay frames even then, but for texts of
// control characters, which are cut shorter where they are encoded.
const _: () = assert!(DELTA_BYTES_MAX * 6 < PAYLOAD_BYTES_MAX);
const _: () = assert!(TOOL_BYTES_MAX * 6 < PAYLOAD_BYTES_MAX);
const _: () =
    assert!(CHILD_ABORT_WAIT.as_millis() + CHILD_KILL_AFTER.as_millis() < CHILD_STOP_TIMEOUT.as_millis());
const _: () =
    assert!(CHILD_TERM_WAIT.as_millis() + GUARD_KILL_WAIT.as_millis() < CHILD_KILL_AFTER.as_millis());
const _: () = assert!(CHILD_STOP_TIMEOUT.as_millis() < SHUTDOWN_TIMEOUT.as_millis());
const _: () =
    assert!(GOODBYE_FLUSH_TIMEOUT.as_millis() + LINGER_TIME.as_millis() < SHUTDOWN_TIMEOUT.as_millis());
const _: () = assert!(CLI_KEY_RESEND.as_millis() < KEY_TTL_MS as u128);
