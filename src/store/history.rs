//! Pages of a session's records, read backwards from its file on the asking client's thread.
//!
//! Costs what the page costs, however long the history is, and needs no lock: the file only grows,
//! and a line that is being written has no line feed yet. Writes nothing.

use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use crate::limits::{
    HISTORY_DAMAGE_BYTES_MAX, HISTORY_PAGE_DEFAULT, HISTORY_PAGE_MAX, HISTORY_TEXT_BYTES_MAX, PAGE_BYTES_MAX,
    RECORD_BYTES_MAX,
};
use crate::protocol::call::SessionHistoryParams;
use crate::protocol::error::WireError;
use crate::protocol::frame::cut_encoded;
use crate::protocol::payload::{HistoryPage, Message};
use crate::store::session_files::OpenSessionFile;
use crate::store::{Layout, checked_line};

/// One record of a session's file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    /// The conversation; a record with another one begins that.
    #[serde(rename = "s")]
    pub(crate) session_id: String,
    /// The message; absent in the record that only begins a conversation.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<Message>,
}

/// A page with the newest messages of the session's conversation, or those before `before`.
pub fn page(layout: &Layout, params: &SessionHistoryParams) -> Result<HistoryPage, WireError> {
    let before = params.before.as_deref().map(str::parse::<u64>).transpose().map_err(|_| {
        WireError::invalid("`/params/before`: give the `before` of the page above, or leave it out")
    })?;
    let limit = params.limit.unwrap_or(HISTORY_PAGE_DEFAULT).clamp(1, HISTORY_PAGE_MAX);
    read(layout, &params.session_key, limit, before).map_err(|error| {
        log::error!("cannot read the history of a session: {error}");
        WireError::unavailable(format!("the session's records cannot be read now: {error}"))
    })
}

fn read(layout: &Layout, session_key: &str, limit: usize, before: Option<u64>) -> io::Result<HistoryPage> {
    let mut page = HistoryPage {
        session_key: session_key.to_owned(),
        session_id: String::new(),
        messages: Vec::new(),
        before: None,
    };
    let Some(opened) = OpenSessionFile::read(&layout.session(session_key))? else { return Ok(page) };
    if opened.header.key != session_key {
        return Ok(page);
    }
    let mut lines = LinesBackwards::new(&opened, opened.len);
    if let Some(before) = before {
        // The conversation is the newest record's, also on older pages.
        if let Some((_, newest)) = lines.next_record()? {
            page.session_id = newest.session_id;
        }
        lines = LinesBackwards::new(&opened, opened.physical(before).min(opened.len));
    }
    let mut bytes = 0;
    while let Some((at, found)) = lines.next_record()? {
        if page.session_id.is_empty() {
            page.session_id.clone_from(&found.session_id);
        } else if page.session_id != found.session_id {
            break;
        }
        let Some(mut message) = found.message else { continue };
        let text_bytes = cut_encoded(&message.text, HISTORY_TEXT_BYTES_MAX).len();
        if text_bytes < message.text.len() {
            message.text.truncate(text_bytes);
            message.truncated = true;
        }
        message.id = opened.logical(at).to_string();
        bytes += serde_json::to_string(&message)?.len() + 1;
        if page.messages.len() == limit || (bytes > PAGE_BYTES_MAX && !page.messages.is_empty()) {
            page.before = page.messages.last().map(|oldest| oldest.id.clone());
            break;
        }
        page.messages.push(message);
    }
    Ok(page)
}

/// Reads the records of a file backwards from a place, in blocks.
struct LinesBackwards<'a> {
    opened: &'a OpenSessionFile,
    /// Physical offset of `block`'s first byte.
    start: u64,
    /// Bytes from `start` up to the last line that was handed out.
    block: Vec<u8>,
    /// Bytes that were read since the last record, and held none.
    barren_bytes: u64,
}

/// Bytes per read: a page of short messages in one.
const BLOCK_BYTES: u64 = 32 * 1024;

impl<'a> LinesBackwards<'a> {
    fn new(opened: &'a OpenSessionFile, end: u64) -> Self {
        Self { opened, start: end.max(opened.first), block: Vec::new(), barren_bytes: 0 }
    }

    /// The record before the last one handed out, with its physical offset. Damaged lines are
    /// passed over, but not without end: a page would cost as much as a disk has room. What is before
    /// a damage that long is not shown, unless the damage is a hole.
    fn next_record(&mut self) -> io::Result<Option<(u64, SessionRecord)>> {
        loop {
            // A line without its line feed is being written, or torn: cut it off.
            let body = match self.block.last() {
                Some(b'\n') => &self.block[..self.block.len() - 1],
                _ => &self.block[..],
            };
            let line_start = match body.iter().rposition(|byte| *byte == b'\n') {
                Some(feed) => feed + 1,
                None if self.start <= self.opened.first && self.block.is_empty() => return Ok(None),
                None if self.start <= self.opened.first => 0,
                None if self.barren_bytes > HISTORY_DAMAGE_BYTES_MAX && !self.pass_holes() => {
                    log::warn!("the records of a session are damaged: what is before that is not shown");
                    return Ok(None);
                }
                None => {
                    if self.block.len() > RECORD_BYTES_MAX {
                        // No record is that long. Without its end the rest of the line is none, either.
                        self.block = Vec::new();
                    }
                    self.read_block()?;
                    continue;
                }
            };
            let at = self.start + line_start as u64;
            let whole = self.block.last() == Some(&b'\n');
            let parsed =
                checked_line::read_line(&body[line_start..]).and_then(|json| serde_json::from_str(json).ok());
            self.block.truncate(line_start);
            if let Some(parsed) = parsed.filter(|_| whole) {
                self.barren_bytes = 0;
                return Ok(Some((at, parsed)));
            }
        }
    }

    /// Goes on before the first hole of the file, if that is before here: nobody has to read them.
    fn pass_holes(&mut self) -> bool {
        let hole = self.opened.first_hole();
        if hole >= self.start {
            return false;
        }
        self.block = Vec::new();
        self.start = hole;
        self.barren_bytes = 0;
        true
    }

    fn read_block(&mut self) -> io::Result<()> {
        // More of a line that is longer: each byte of it is moved a few times at most.
        let count = BLOCK_BYTES.max(self.block.len() as u64).min(self.start - self.opened.first);
        let mut block = vec![0; usize::try_from(count).unwrap_or(0)];
        self.opened.file.read_exact_at(&mut block, self.start - count)?;
        block.append(&mut self.block);
        self.block = block;
        self.start -= count;
        self.barren_bytes += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{SessionRecord, page};
    use crate::limits::{HISTORY_DAMAGE_BYTES_MAX, RECORD_BYTES_MAX};
    use crate::protocol::call::SessionHistoryParams;
    use crate::protocol::payload::{Message, Role};
    use crate::store::folder_handle::memory_folder;
    use crate::store::{Janitor, Layout, Store, StoreOp, folder};

    fn params(limit: Option<usize>, before: Option<String>) -> SessionHistoryParams {
        SessionHistoryParams { session_key: "main".to_owned(), limit, before }
    }

    fn record(session: &str, text: &str) -> StoreOp {
        let message = Message::new(Role::User, text.to_owned(), 1);
        let record = SessionRecord { session_id: session.to_owned(), message: Some(message) };
        StoreOp::Append { session_key: "main".to_owned(), record: serde_json::to_string(&record).unwrap() }
    }

    #[test]
    fn pages_meet_without_gap_or_overlap_and_stop_at_the_conversation() {
        let path = memory_folder().join(format!("clawdis-history-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        folder::make_private(&path).unwrap();
        let layout = Layout::new(&path);
        assert!(page(&layout, &params(None, None)).unwrap().messages.is_empty());

        let (mut store, _) = Store::open(Janitor::new(layout.clone(), u64::MAX)).unwrap();
        store.commit(&[&[record("old", "of another conversation")]]).unwrap();
        let texts: Vec<String> = (0..500).map(|n| format!("{n} {}", "x".repeat(n * 7 % 900))).collect();
        for text in &texts {
            store.commit(&[&[record("new", text)]]).unwrap();
        }
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = page(&layout, &params(Some(33), before)).unwrap();
            assert_eq!(page.session_id, "new");
            assert!(page.messages.len() <= 33);
            seen.extend(page.messages.into_iter().map(|message| message.text));
            before = page.before;
            if before.is_none() {
                break;
            }
        }
        seen.reverse();
        assert_eq!(seen, texts);
        assert!(page(&layout, &params(None, Some("nonsense".to_owned()))).is_err());
        let beyond = page(&layout, &params(Some(1), Some(u64::MAX.to_string()))).unwrap();
        assert_eq!(beyond.messages[0].text, *texts.last().unwrap());
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_page_ends_early_rather_than_exceed_a_frame() {
        let path = memory_folder().join(format!("clawdis-history-large-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        folder::make_private(&path).unwrap();
        let layout = Layout::new(&path);
        let (mut store, _) = Store::open(Janitor::new(layout.clone(), u64::MAX)).unwrap();
        for _ in 0..5 {
            store.commit(&[&[record("s", &"\u{1}y".repeat(100_000))]]).unwrap();
        }
        let page = page(&layout, &params(None, None)).unwrap();
        assert!(page.before.is_some() && page.messages[0].truncated);
        assert!(serde_json::to_string(&page).unwrap().len() < crate::limits::PAYLOAD_BYTES_MAX);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_page_does_not_read_a_damage_without_end() {
        let path = memory_folder().join(format!("clawdis-history-endless-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        folder::make_private(&path).unwrap();
        let layout = Layout::new(&path);
        let (mut store, _) = Store::open(Janitor::new(layout.clone(), u64::MAX)).unwrap();
        store.commit(&[&[record("s", "first")]]).unwrap();
        let log = layout.session("main");
        let file = std::fs::File::options().write(true).open(&log).unwrap();
        let texts = || -> Vec<String> {
            let page = page(&layout, &params(None, None)).unwrap();
            assert_eq!(page.before, None);
            page.messages.into_iter().map(|message| message.text).collect()
        };
        let damage_at = |place: u64, bytes: u64| {
            let damage = vec![b'x'; usize::try_from(bytes).unwrap()];
            std::os::unix::fs::FileExt::write_all_at(&file, &damage, place).unwrap();
        };
        // A hole that would take an hour, with something in it.
        let whole = file.metadata().unwrap().len();
        file.set_len(1 << 40).unwrap();
        damage_at(1 << 39, 100_000);
        assert_eq!(texts(), ["first"]);
        std::os::unix::fs::FileExt::write_all_at(&file, b"\n", (1 << 40) - 1).unwrap();
        store.commit(&[&[record("s", "second")]]).unwrap();
        assert_eq!(texts(), ["second", "first"]);
        // Damage that can be read is, if it is not too much.
        for (bytes, shown) in
            [(3 * RECORD_BYTES_MAX as u64, &["first"][..]), (2 * HISTORY_DAMAGE_BYTES_MAX, &[])]
        {
            file.set_len(whole).unwrap();
            damage_at(whole, bytes);
            assert_eq!(texts(), shown);
        }
        std::fs::remove_dir_all(&path).unwrap();
    }
}
