//! Bounds of the state folder, and of what others may have put into it.

use std::time::Duration;

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
