//! Bounds of files: those of the state folder, what others may have put into it, the config and tokens.

use std::time::Duration;

/// The journal is compacted when it is this large and mostly dead.
pub const JOURNAL_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Records that the journal has and their sessions' files still lack, because these cannot be
/// written: beyond it (twice it, for a session that lacks none) new records are refused.
pub const UNAPPLIED_RECORDS_MAX: usize = 1_024;
/// The same for their bytes.
pub const UNAPPLIED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What is read of a lock file; the rest of a longer one is not looked at.
pub const LOCK_BYTES_MAX: u64 = 4_096;
/// Config file; a larger one is refused at start.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// Token file; a larger one is refused at start, since it is some other file.
pub const TOKEN_FILE_BYTES_MAX: u64 = 8 * 1024;
/// Age from which a token file that looks the same is taken to be the same: file systems tell times
/// in steps of up to two seconds. A younger one is read at each handshake.
pub const TOKEN_FILE_SETTLED_MS: i64 = 3_000;
/// Characters below which a token is warned of: shorter ones can be guessed.
pub const TOKEN_CHARS_ADVISED: usize = 16;
/// Characters of a token: what `hello.auth.token` may have.
pub const TOKEN_CHARS_MAX: usize = 1_024;
/// Warnings about unknown config keys; further ones are not shown.
pub const CONFIG_WARNINGS_MAX: usize = 20;
/// Names that are tried for something that is set aside because it cannot be what it should be; beyond it
/// what wanted its place fails.
pub const ASIDE_NAMES_MAX: u64 = 100;
/// Files that people sent, and the agent's files of conversations that are over, stay at least this
/// long: a run may still work with them.
pub const LEFTOVER_AGE_MS_MIN: u64 = 3_600_000;
/// Growth of a state folder that is full already before room is made once more.
pub const STORAGE_GROWTH_BYTES: u64 = 1024 * 1024;
/// A full state folder is cleared until one part in so many of what it may hold is free.
pub const STORAGE_SLACK_SHARE: u64 = 10;
/// One part in so many of what it may hold stays for the records, however much the agent's own
/// files take.
pub const RECORDS_SHARE: u64 = 4;
/// Between two looks for sessions that were not used for longer than records are kept.
pub const EXPIRY_INTERVAL: Duration = Duration::from_secs(3600);
/// How long the clock has to go evenly before the first of these looks, and after it leapt: one that
/// is wrong is set right soon after the network is there.
pub const EXPIRY_STEADY_TIME: Duration = Duration::from_secs(600);
/// What the clock may go wrong meanwhile: less than records are kept.
pub const EXPIRY_LEAP_MS: u64 = 3_600_000;
/// Sessions that are forgotten in one such look; if there are more, the next comes after
/// `EXPIRY_PAUSE`.
pub const EXPIRY_SESSIONS_MAX: usize = 32;
/// Pause after a look that found more than it may forget.
pub const EXPIRY_PAUSE: Duration = Duration::from_secs(10);
/// Line of the journal; a longer one is taken for damage, and none is written.
pub const JOURNAL_LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Part of the journal that is brought to the sessions' files at a time at a start.
pub const JOURNAL_PART_BYTES: u64 = 1024 * 1024;
/// What one command to the store may write; it is refused beyond.
pub const OPS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Commands that are made durable together: no further one is taken once they write this much.
pub const STORE_GROUP_BYTES_MAX: usize = 1024 * 1024;
/// One record or value on disk; what is longer is refused, and taken for damage where it is read.
pub const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a history without a record, behind which a page of it looks no further.
pub const HISTORY_DAMAGE_BYTES_MAX: u64 = 4 * RECORD_BYTES_MAX as u64;
/// Slot of a few ids and times, with its name; what is longer is left out at a start.
pub const SLOT_BYTES_MAX: usize = 4 * 1024;
/// Values that could not be written and are kept for the next write; the oldest goes.
pub const UNSAVED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Part of a line of a file that is read at a time; more is read only of a line with a good checksum.
pub const LINE_BUFFER_BYTES: usize = 256 * 1024;
/// Place of a record, or number of anything, that a file may name; a higher one is damage.
pub const OFFSET_MAX: u64 = 1 << 53;
/// Characters of a session's key in a file: the protocol's 256, with room for what stands before a chat's id.
/// A longer one is damage, and none is written.
pub const SESSION_KEY_CHARS_MAX: usize = 512;
/// First line of a session's file.
pub const SESSION_HEADER_BYTES_MAX: usize = 4096;
/// Files in the state folder that are counted; the rest does not count.
pub const WALK_ENTRIES_MAX: u64 = 2_000_000;
/// What is deleted at a time of what was discarded; the rest goes with the next occasion.
pub const TIDY_STEPS_MAX: u64 = 4_000_000;
/// Things in `tmp` that an earlier life left there and that are discarded at a start; the rest is at the
/// next.
pub const TMP_ENTRIES_MAX: usize = 1_000;
/// Names in a folder that are looked through for what was set aside of a session that is forgotten.
pub const ASIDE_LOOKED_MAX: usize = 20_000;
/// Files that are chosen at a time to make room in a full state folder, so that no more are held in memory.
pub const QUOTA_BATCH: usize = 1_000;
/// Such choices in a row; more room is made when the folder is counted again.
pub const QUOTA_BATCHES_MAX: usize = 20;
/// Between two counts of the state folder while something happens: the agent and the sidecar write there
/// without a word.
pub const COUNT_INTERVAL: Duration = Duration::from_secs(600);
/// Sessions whose files the agent thread forgets at a time; the others wait for that.
pub const FORGOTTEN_AT_ONCE_MAX: usize = 64;
/// Sessions that are being forgotten, and requests that wait for it; beyond it `session-forget` gets
/// `RATE_LIMITED`.
pub const FORGETS_WAITING_MAX: usize = 256;
/// Sessions that the last life did not forget to the end; what is more is left to the next start.
pub const FORGETS_LEFT_MAX: usize = 4_096;
/// Unit in which file systems tell what a file takes.
pub const DISK_BLOCK_BYTES: u64 = 512;

// A character takes six bytes at most where it is escaped; the rest of the line is a few numbers.
const _: () = assert!(6 * SESSION_KEY_CHARS_MAX + 128 < SESSION_HEADER_BYTES_MAX);
const _: () = assert!(OPS_BYTES_MAX + STORE_GROUP_BYTES_MAX < JOURNAL_LINE_BYTES_MAX);
const _: () = assert!(UNSAVED_BYTES_MAX + RECORD_BYTES_MAX < OPS_BYTES_MAX);
