//! The thread `tg-files`: sends and fetches pictures and files, so that texts do not wait for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use crate::channels::delivery::{Attempt, AttemptOutcome, FetchedFile, Part, not_sent, refused};
use crate::channels::message::InboundMedia;
use crate::channels::telegram::api::Api;
use crate::channels::telegram::event::Reporter;
use crate::channels::telegram::fetch::FetchError;
use crate::channels::telegram::send_loop::SendCommand;
use crate::channels::telegram::{fetch, upload};
use crate::channels::web::download::Downloader;
use crate::channels::web::media_sources::MediaSources;
use crate::limits::{MEDIA_FETCH_PAUSES_MS, MEDIA_FETCH_TIMEOUT, ms};

/// A command to the thread.
#[derive(Debug)]
pub(super) enum FileCommand {
    /// Send a part that is a picture or file.
    Deliver(Box<Attempt>),
    /// Fetch a file that somebody sent.
    Fetch { key: String, index: usize, media: InboundMedia, folder: PathBuf },
}

/// The thread, with all that it owns.
pub(super) struct FileLoop {
    pub(super) api: Api,
    pub(super) commands: Receiver<FileCommand>,
    /// To `tg-send`, which keeps the rate limit.
    pub(super) to_send_loop: Sender<SendCommand>,
    pub(super) reporter: Reporter,
    pub(super) is_off: Arc<AtomicBool>,
    pub(super) downloader: Downloader,
    /// Folder for files that are downloaded first.
    pub(super) tmp: PathBuf,
    /// Where files that are sent may come from.
    pub(super) sources: MediaSources,
    pub(super) media_bytes_max: u64,
}

impl FileLoop {
    /// Runs until nobody can send commands any more.
    pub(super) fn run(self) {
        while let Ok(command) = self.commands.recv() {
            match command {
                FileCommand::Deliver(attempt) => {
                    let outcome = if self.is_off.load(Relaxed) {
                        not_sent("telegram is switched off")
                    } else {
                        self.deliver(&attempt)
                    };
                    let chat = attempt.route.chat.clone();
                    let _ =
                        self.to_send_loop.try_send(SendCommand::FileSent { chat, outcome: outcome.clone() });
                    self.reporter.outcome(attempt.id, outcome);
                }
                FileCommand::Fetch { key, index, media, folder } => {
                    let result = self.fetch(index, &media, &folder);
                    self.reporter.fetched(key, index, result.map_err(FetchError::into_words));
                }
            }
        }
    }

    /// Fetches a file, in several attempts while there is time: to send a picture again is more work than to
    /// wait for it, but others wait behind it.
    fn fetch(&self, index: usize, media: &InboundMedia, folder: &Path) -> Result<FetchedFile, FetchError> {
        let attempt = || {
            if self.is_off.load(Relaxed) {
                return Err(FetchError::Permanent("Telegram is switched off".to_owned()));
            }
            fetch::fetch(&self.api, index, media, folder, self.media_bytes_max)
        };
        let begun = Instant::now();
        for pause_ms in MEDIA_FETCH_PAUSES_MS {
            match attempt() {
                Err(FetchError::Transient) if begun.elapsed() < MEDIA_FETCH_TIMEOUT => {
                    thread::sleep(ms(pause_ms));
                }
                result => return result,
            }
        }
        attempt()
    }

    fn deliver(&self, attempt: &Attempt) -> AttemptOutcome {
        match &attempt.part {
            Part::Media { source, caption } => upload::upload_media(
                &self.api,
                &self.downloader,
                &self.tmp,
                &self.sources,
                attempt,
                source,
                caption,
            ),
            Part::File { name, text, caption } => {
                upload::upload_text(&self.api, &self.tmp, attempt, name, text, caption)
            }
            Part::Text { .. } => refused("it is no file"),
        }
    }
}
