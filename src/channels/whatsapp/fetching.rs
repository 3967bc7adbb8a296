//! Pictures and files that the sidecar fetches: moved to where they belong when they are there.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::channels::ChannelEvent;
use crate::channels::delivery::FetchedFile;
use crate::channels::message::InboundMedia;
use crate::channels::telegram::download;
use crate::channels::whatsapp::process::Asked;
use crate::limits::{WHATSAPP_FETCH_MS, ms};
use crate::protocol::call::Channel;
use crate::store::folder;

/// What has no first bytes that tell.
const UNKNOWN: &str = "application/octet-stream";

#[derive(Default)]
pub(super) struct Fetching {
    waiting: Vec<Wanted>,
}

struct Wanted {
    key: String,
    index: usize,
    media: InboundMedia,
    folder: PathBuf,
    until: Instant,
}

impl Fetching {
    pub(super) fn add(
        &mut self,
        key: String,
        index: usize,
        media: InboundMedia,
        folder: PathBuf,
        now: Instant,
    ) {
        self.waiting.push(Wanted { key, index, media, folder, until: now + ms(WHATSAPP_FETCH_MS) });
    }

    /// What to ask for now: the surface's own name of it, and what the answer is for.
    pub(super) fn start(&mut self) -> Vec<(String, Asked)> {
        let wanted = self.waiting.drain(..);
        let asked = wanted.map(|Wanted { key, index, media, folder, .. }| {
            (media.handle, Asked::Fetch { key, index, folder })
        });
        asked.collect()
    }

    /// Gives up what waited for a connection too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<ChannelEvent> {
        let (late, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|wanted| wanted.until <= now);
        self.waiting = waiting;
        let late: Vec<Wanted> = late;
        late.into_iter().map(|wanted| failed(wanted.key, wanted.index, "WhatsApp is not connected")).collect()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|wanted| wanted.until).min()
    }
}

/// It could not be had.
pub(super) fn failed(key: String, index: usize, why: &str) -> ChannelEvent {
    ChannelEvent::Fetched { channel: Channel::Whatsapp, key, index, result: Err(why.to_owned()) }
}

/// Moves what was fetched to where it belongs.
pub(super) fn settle(
    key: String,
    index: usize,
    path: &Path,
    mime_type: String,
    folder: &Path,
) -> ChannelEvent {
    let moved = || {
        folder::make_private(folder)?;
        let target = folder.join(path.file_name().unwrap_or_default());
        match fs::rename(path, &target) {
            // The same picture once more: it is there already.
            Err(error) if error.kind() == ErrorKind::NotFound && target.is_file() => {}
            renamed => renamed?,
        }
        let mime_type = match download::mime_type(&target) {
            UNKNOWN if !mime_type.starts_with("image/") => mime_type,
            sniffed => sniffed.to_owned(),
        };
        let bytes = fs::metadata(&target)?.len();
        Ok::<_, std::io::Error>(FetchedFile { path: target, mime_type, bytes })
    };
    let result = moved().map_err(|error| {
        log::warn!("a file from WhatsApp could not be kept: {error}");
        "it cannot be kept here".to_owned()
    });
    ChannelEvent::Fetched { channel: Channel::Whatsapp, key, index, result }
}
