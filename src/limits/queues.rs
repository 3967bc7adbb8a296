//! The queues between threads. State never waits for the threads behind it, so a queue of theirs that is full
//! ends the gateway: beside each stands why it does not come to that.

use std::time::Duration;

use super::{
    AGENT_PROCESSES_MAX, ATTEMPTS_IN_FLIGHT_MAX, EXPIRY_SESSIONS_MAX, FETCHES_IN_FLIGHT_MAX,
    FORGOTTEN_AT_ONCE_MAX, INBOX_MAX, MEDIA_MAX, PAYLOAD_BYTES_MAX, TELEGRAM_POLL_UPDATES_MAX,
    WHATSAPP_BATCH_MAX,
};

/// State's inbox, in events; senders wait (that is the back-pressure on sockets and children).
pub const STATE_INBOX: usize = 256;
/// Requests that become more than this in memory need permits for it until state has taken them in,
/// so that 256 of the largest never meet.
pub const LARGE_REQUEST_BYTES: usize = 16 * 1024;
/// What all of these may become together; further ones wait, still as they were written.
pub const BUILT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// One permit stands for so many bytes.
pub const PERMIT_BYTES: usize = 64 * 1024;
/// Pages of records that are being made, with all that it takes; further ones wait.
pub const PAGES_BYTES_MAX: usize = 2 * PAGE_BUILT_BYTES;
/// What one page takes while it is made: records, text and frame.
pub const PAGE_BUILT_BYTES: usize = 4 * 1024 * 1024;
/// A connection gets its next page when the one before is with the kernel; one for which the kernel took
/// nothing for so long is a slow consumer.
pub const PAGE_STALL_TIME: Duration = Duration::from_secs(10);
/// Outbound's inbox, in messages; senders wait.
pub const OUTBOUND_INBOX: usize = 1_024;
/// Messages to outbound larger than this need permits until it has taken them in.
pub const OUTBOUND_LARGE_BYTES: usize = 4 * 1024;
/// What all of these may hold together; senders wait.
pub const OUTBOUND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Commands that the store has not answered; beyond it requests that need it get `RATE_LIMITED`.
pub const STORE_INBOX: usize = 256;
/// The same for what they hold.
pub const STORE_INBOX_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Room in the store's inbox beyond what is asked for with a look at it, such as requests, batches and
/// deliveries that are begun or given up. Without one are stored: for each run its end, its notes and its key
/// (four for each that may wait come on top of this), where a line for the gateway has just had the place of
/// its beginning; for each attempt under way what became of it; for each session with the agent thread that
/// it is forgotten; and what a start brings, in one command.
pub const STORE_RESERVE: usize = 1_024;
/// Changes of slots that could not be written and are kept for the next write; the oldest goes.
pub const UNSAVED_OPS_MAX: usize = 4_096;
/// Commands in one group commit.
pub const STORE_GROUP_MAX: usize = 128;
/// Control queue of the agent thread (cancel, forget, shutdown). What must get through is bounded:
/// `FORGOTTEN_AT_ONCE_MAX` deletions that are not answered; a cancel for each run that it has, and for each
/// that took such a one's place before it looked; one end. What may be left out stops at
/// `AGENT_CONTROL_EXPENDABLE_MAX`.
pub const AGENT_CONTROL_INBOX: usize = 512;
/// Controls in that queue beyond which it is not told of a new conversation: its next run tells it, too.
pub const AGENT_CONTROL_EXPENDABLE_MAX: usize = 256;
/// Lines read from one agent process that wait for the agent thread; the reader waits beyond.
pub const AGENT_LINES_INBOX: usize = 64;
/// Commands to channels that are not answered; beyond it `set-channel`, logins, logouts and `health` with
/// `probe` get `RATE_LIMITED`.
pub const CHANNEL_INBOX: usize = 64;
/// Room beyond that for what state sends without asking. For each of the two channels that is one answer to
/// a batch, which it waits for, and `ATTEMPTS_IN_FLIGHT_MAX` attempts; then files to fetch, and as many that
/// came too late and are to be removed (`FETCHES_IN_FLIGHT_MAX`, but for those that were given up, of which
/// new ones only come with new messages); one command to give back what waits. What may be left out stops at
/// `CHANNEL_EXPENDABLE_MAX`.
pub const CHANNEL_RESERVE: usize = 4 * INBOX_MAX + 2 * ATTEMPTS_IN_FLIGHT_MAX;
/// Commands beyond which the channels are not told who is typing, what was read, and to tidy.
pub const CHANNEL_EXPENDABLE_MAX: usize = 256;

const _: () = assert!(
    FORGOTTEN_AT_ONCE_MAX + 2 * AGENT_PROCESSES_MAX + 1 + AGENT_CONTROL_EXPENDABLE_MAX <= AGENT_CONTROL_INBOX
);
const _: () = assert!(MEDIA_MAX <= FETCHES_IN_FLIGHT_MAX && MEDIA_MAX * INBOX_MAX <= CHANNEL_RESERVE);
const _: () = assert!(
    2 * FETCHES_IN_FLIGHT_MAX + 2 * (ATTEMPTS_IN_FLIGHT_MAX + 2) + CHANNEL_EXPENDABLE_MAX <= CHANNEL_RESERVE
);
const _: () = assert!(TELEGRAM_POLL_UPDATES_MAX <= INBOX_MAX && WHATSAPP_BATCH_MAX <= INBOX_MAX);
const _: () = assert!(BUILT_BYTES_MAX + STATE_INBOX * LARGE_REQUEST_BYTES <= 16 << 20);
const _: () = assert!(OUTBOUND_BYTES_MAX + OUTBOUND_INBOX * OUTBOUND_LARGE_BYTES <= 8 << 20);
const _: () = assert!(PAYLOAD_BYTES_MAX <= OUTBOUND_BYTES_MAX);
const _: () = assert!(EXPIRY_SESSIONS_MAX * 4 < STORE_INBOX && EXPIRY_SESSIONS_MAX * 4 < AGENT_CONTROL_INBOX);
