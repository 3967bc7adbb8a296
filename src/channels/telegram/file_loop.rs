//! The thread `tg-files`: whatever moves a picture or file, so that texts do not wait for it.

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

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum FileCommand {
    /// Send a part that is a picture or file.
    Deliver(Box<Attempt>),
    /// Fetch what somebody sent.
    Fetch { key: String, index: usize, media: InboundMedia, folder: PathBuf },
}

/// Everything that the thread owns.
pub(super) struct FileLoop {
    pub(super) api: Api,
    pub(super) jobs: Receiver<FileCommand>,
    /// To the sending thread, which keeps the pace.
    pub(super) rate_limit: Sender<SendCommand>,
    pub(super) reporter: Reporter,
    pub(super) off: Arc<AtomicBool>,
    /// How files of the web are fetched.
    pub(super) web: Downloader,
    /// Folder for downloads that are sent on.
    pub(super) tmp: PathBuf,
    /// Whose files may be sent.
    pub(super) sources: MediaSources,
    pub(super) media_bytes_max: u64,
}

impl FileLoop {
    /// Until nobody asks any more.
    pub(super) fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            match job {
                FileCommand::Deliver(attempt) => {
                    let outcome = if self.off.load(Relaxed) {
                        not_sent("telegram is switched off")
                    } else {
                        self.deliver(&attempt)
                    };
                    let chat = attempt.route.chat.clone();
                    let _ =
                        self.rate_limit.try_send(SendCommand::FileSent { chat, outcome: outcome.clone() });
                    self.reporter.outcome(attempt.id, outcome);
                }
                FileCommand::Fetch { key, index, media, folder } => {
                    let result = self.fetch(index, &media, &folder);
                    self.reporter.fetched(key, index, result.map_err(FetchError::into_words));
                }
            }
        }
    }

    /// Tries again, unless it has taken its time already: to send a picture again is more work than to
    /// wait for it, but others wait behind it.
    fn fetch(&self, index: usize, media: &InboundMedia, folder: &Path) -> Result<FetchedFile, FetchError> {
        let attempt = || {
            if self.off.load(Relaxed) {
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
            Part::Media { source, caption } => {
                upload::upload_media(&self.api, &self.web, &self.tmp, &self.sources, attempt, source, caption)
            }
            Part::File { name, text, caption } => {
                upload::upload_text(&self.api, &self.tmp, attempt, name, text, caption)
            }
            Part::Text { .. } => refused("it is no file"),
        }
    }
}
