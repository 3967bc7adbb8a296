//! Bounds of the channels: Telegram, WhatsApp and the sidecar that speaks it, and the HTTP client that both
//! share. Telegram's own bounds are those of
//! <https://core.telegram.org/bots/api> and <https://core.telegram.org/bots/faq>.

use std::time::Duration;

use crate::backoff::Backoff;

// ---- Telegram ---------------------------------------------------------------------------------

/// Text of one message in UTF-16 units, without the marks of its formatting; longer is split.
pub const TELEGRAM_TEXT_UNITS_MAX: usize = 4_096;
/// Entities of one message (bold, links, ...); Telegram ignores further ones, so the message ends before them.
pub const TELEGRAM_ENTITIES_MAX: usize = 100;
/// Beginning of a message that another one answers, in UTF-16 units.
pub const QUOTED_UNITS_MAX: usize = 1_000;
/// Beginning of something unreadable that is kept for a person.
pub const GARBLED_BYTES_MAX: usize = 2 * 1024;
/// Messages of one answer: more than the largest answer needs. The rest is left out with a mark.
pub const TELEGRAM_PARTS_MAX: usize = 64;

/// Largest answer of the Bot API that is read: 100 updates are far below it.
pub const TELEGRAM_ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The server's words in an error of ours.
pub const TELEGRAM_ERROR_TEXT_BYTES_MAX: usize = 300;
/// How long the server may hold a poll while nothing comes. It cannot be much longer: routers
/// forget silent connections.
pub const TELEGRAM_POLL_SECONDS: u64 = 25;
/// And how much longer the answer may be on its way.
pub const TELEGRAM_POLL_SLACK: Duration = Duration::from_secs(10);
/// Updates of one poll; what a server sends beyond what it was asked for is taken with the next.
pub const TELEGRAM_POLL_UPDATES_MAX: usize = 100;
/// Between two polls that brought nothing, where the server does not hold them.
pub const TELEGRAM_EMPTY_POLL_PAUSE: Duration = Duration::from_secs(1);
/// After a failed poll, shortened by jitter.
pub const TELEGRAM_RETRY: Backoff = Backoff::new(TELEGRAM_RETRY_PAUSE_MIN, Duration::from_secs(60));
/// First of these pauses, and the shortest that the server can ask for.
pub const TELEGRAM_RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
/// After a failed poll where somebody else polls with our token: each poll of ours ends one of theirs.
pub const TELEGRAM_CONFLICT_RETRY: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
/// After a failed poll where the token was not accepted; it will not get right by asking.
pub const TELEGRAM_UNAUTHORIZED_RETRY: Backoff =
    Backoff::new(Duration::from_secs(60), Duration::from_secs(15 * 60));
/// Longest pause that the server can ask for: a day, as long as it keeps messages.
pub const TELEGRAM_RETRY_AFTER_SECONDS_MAX: f64 = 86_400.0;
/// Between two notes to state that polls are answered, while nothing else changes.
pub const TELEGRAM_ALIVE_MS: u64 = 10_000;
/// How long `health` with `probe` waits for the Bot API.
pub const TELEGRAM_PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Events of Telegram's threads for the channels thread; the threads wait beyond.
pub const TELEGRAM_EVENTS_INBOX: usize = 16;
/// What the polling thread is told: state answers one batch at a time, the rest is for waking, and one
/// more is left out.
pub const TELEGRAM_POLL_INBOX: usize = 8;
/// Commands that wait for the sending thread, and for the one that moves files; one more is answered
/// "not now". State hands out fewer.
pub const TELEGRAM_COMMANDS_MAX: usize = 128;
/// Messages to one chat at once before the pace below holds.
pub const TELEGRAM_CHAT_BURST: u32 = 3;
/// Pace of messages to one chat.
pub const TELEGRAM_CHAT_INTERVAL: Duration = Duration::from_secs(1);
/// Messages to one group in a minute.
pub const TELEGRAM_GROUP_PER_MINUTE: u32 = 20;
/// Messages a second in all; Telegram allows about 30.
pub const TELEGRAM_PER_SECOND: u32 = 25;
/// Chats whose pace is remembered; those that rest go first.
pub const TELEGRAM_CHATS_MAX: usize = 1_024;
/// Longest wait for a chat's turn inside of the sending thread; beyond it state is told when to
/// come again.
pub const TELEGRAM_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a 429 in one chat holds up all others: Telegram does not say whom it means.
pub const TELEGRAM_HOLD_ALL_MAX: Duration = Duration::from_secs(30);
/// Between two "is typing": Telegram shows one for five seconds.
pub const TELEGRAM_TYPING_INTERVAL: Duration = Duration::from_secs(4);
/// How long somebody "is typing" at most, if nobody takes it back.
pub const TELEGRAM_TYPING_TIME_MAX: Duration = Duration::from_secs(1200);
/// Chats in which somebody is typing; further ones are not shown.
pub const TELEGRAM_TYPING_MAX: usize = 64;
/// Patience for "is typing": it holds up messages and is not worth it.
pub const TELEGRAM_TYPING_ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest file that a bot may send.
pub const TELEGRAM_UPLOAD_BYTES_MAX: u64 = 50 * 1024 * 1024;
/// Largest picture; larger ones are sent as files.
pub const TELEGRAM_PHOTO_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Before a bot is claimed again that a thread of ours, which is ending, still polls.
pub const LEASE_ENDING_WAIT: Duration = Duration::from_millis(100);
/// How far up the parents of a process are looked at that holds an account; one that is further down is
/// taken for a gateway.
pub const LEASE_ANCESTORS_MAX: usize = 64;
/// One attempt to fetch a picture or file that somebody sent, and how late another may begin.
pub const MEDIA_FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Before the second and the third attempt to fetch it.
pub const MEDIA_FETCH_PAUSES_MS: [u64; 2] = [1_000, 4_000];
/// Name of a fetched file.
pub const MEDIA_NAME_BYTES_MAX: usize = 80;
/// Messages that an answer may come in; a longer one comes as a file.
pub const TELEGRAM_MESSAGES_MAX: usize = 5;
/// Beginning of such an answer below the file, in UTF-16 units.
pub const TELEGRAM_FILE_CAPTION_UNITS: usize = 300;

// ---- WhatsApp ---------------------------------------------------------------------------------

/// A line of the sidecar; a longer one ends it.
pub const SIDECAR_LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Nesting of such a line, whose values are built before they are sorted out; a deeper one ends it.
pub const SIDECAR_DEPTH_MAX: usize = 16;
/// Values of such a line; one of more ends it.
pub const SIDECAR_VALUES_MAX: usize = 1_000;
/// Lines of the sidecar that wait for the `channels` thread; its reader waits beyond.
pub const SIDECAR_INBOX: usize = 64;
/// Messages that are handed over at once; further ones follow when these are on record.
pub const WHATSAPP_BATCH_MAX: usize = 100;
/// Between two questions to the sidecar whether it lives, and how large it is.
pub const SIDECAR_BEAT_INTERVAL: Duration = Duration::from_secs(30);
/// Silence after which it is ended and started anew.
pub const SIDECAR_SILENCE_MAX: Duration = Duration::from_secs(90);
/// Memory (RSS) beyond which it is started anew: idle it has 76 MB, after 1,000 messages 85.
pub const SIDECAR_RSS_BYTES_MAX: u64 = 160 * 1024 * 1024;
/// Before a sidecar that ended by itself is started again, lengthened by jitter.
pub const SIDECAR_RESTART: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
/// A connection that held so long makes the pauses short again.
pub const SIDECAR_STEADY_TIME: Duration = Duration::from_secs(120);
/// How long the server may take to confirm a message before it is written again under the same id.
pub const WHATSAPP_ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the sidecar may take to give a message to the server: a large file over a slow line.
pub const WHATSAPP_WRITE_TIMEOUT: Duration = Duration::from_secs(600);
/// How long the sidecar's installer may take.
pub const WHATSAPP_INSTALL_TIMEOUT: Duration = Duration::from_secs(900);
/// A line of the installer; the rest of a longer one counts as the next.
pub const INSTALLER_LINE_BYTES_MAX: u64 = 4_096;
/// How often a message is written before nobody knows what became of it.
pub const WHATSAPP_WRITES_MAX: u32 = 3;
/// How long a message waits for a connection before it is given back to be tried later.
pub const WHATSAPP_HOLD_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two messages to a chat. The client is unofficial: nobody knows its limits, so it keeps
/// to what a person could type.
pub const WHATSAPP_CHAT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two messages to anybody.
pub const WHATSAPP_INTERVAL: Duration = Duration::from_millis(250);
/// Chats whose pace is remembered before those at rest are forgotten.
pub const WHATSAPP_CHATS_MAX: usize = 256;
/// Bodies of sent messages that are kept for receivers who could not read them; the oldest goes.
pub const WHATSAPP_BODIES_MAX: usize = 100;
/// How long the picture of a message waits for a connection.
pub const WHATSAPP_FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// A sign of life so much younger than the one that was told is told.
pub const WHATSAPP_ALIVE_MS: u64 = 60_000;
/// Between two signs that somebody is writing; WhatsApp forgets them after some ten seconds.
pub const WHATSAPP_TYPING_INTERVAL: Duration = Duration::from_secs(8);
/// Notes to oneself that are answered in a minute; an echo would go on for ever.
pub const SELF_CHAT_PER_MINUTE: usize = 10;

// ---- HTTP -------------------------------------------------------------------------------------

/// Connecting to a server, all of its addresses together; `ureq` gives the first of two two thirds of it.
pub const WEB_CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Writing the head of a request.
pub const WEB_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// From a request to its answer, and for the answer itself; then nobody knows what became of it.
pub const WEB_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a file, which may be 50 MB over a slow line.
pub const WEB_TRANSFER_TIMEOUT: Duration = Duration::from_secs(300);
/// An idle connection older than this is not used again: the server may just be closing it.
pub const WEB_IDLE_CONNECTION_AGE_MAX: Duration = Duration::from_secs(10);
/// Redirects that are followed to a file to be sent.
pub const WEB_REDIRECTS_MAX: u32 = 3;
