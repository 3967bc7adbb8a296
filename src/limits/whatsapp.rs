//! Bounds of WhatsApp and of the sidecar that speaks it.

use std::time::Duration;

use crate::backoff::Backoff;

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
