//! The thread `tg-files`: whatever moves a picture or file, so that texts do not wait for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender};

use crate::channels::delivery::{Attempt, AttemptOutcome, Part};
use crate::channels::message::InboundMedia;
use crate::channels::telegram::api::Api;
use crate::channels::telegram::http::Way;
use crate::channels::telegram::report::Reporter;
use crate::channels::telegram::send::Job;
use crate::channels::telegram::{fetch, upload};

/// What the thread is asked.
#[derive(Debug)]
pub(super) enum FileJob {
    /// Send a part that is a picture or file.
    Deliver(Box<Attempt>),
    /// Fetch what somebody sent.
    Fetch { key: String, index: usize, media: InboundMedia, folder: PathBuf },
}

/// Everything that the thread owns.
pub(super) struct Files {
    pub(super) api: Api,
    pub(super) jobs: Receiver<FileJob>,
    /// To the sending thread, which keeps the pace.
    pub(super) pace: Sender<Job>,
    pub(super) reporter: Reporter,
    pub(super) off: Arc<AtomicBool>,
    /// The proxy to the web.
    pub(super) web: Way,
    /// Folder for downloads that are sent on.
    pub(super) tmp: PathBuf,
    /// Folders whose files may be sent.
    pub(super) folders: Vec<PathBuf>,
    pub(super) media_bytes_max: u64,
}

impl Files {
    /// Until nobody asks any more.
    pub(super) fn run(self) {
        while let Ok(job) = self.jobs.recv() {
            let off = self.off.load(Relaxed);
            match job {
                FileJob::Deliver(attempt) => {
                    let outcome = if off { switched_off() } else { self.deliver(&attempt) };
                    let chat = attempt.route.chat.clone();
                    let _ = self.pace.try_send(Job::Went { chat, outcome: outcome.clone() });
                    self.reporter.outcome(attempt.id, outcome);
                }
                FileJob::Fetch { key, index, media, folder } => {
                    let result = if off {
                        Err("Telegram is switched off".to_owned())
                    } else {
                        fetch::fetch(&self.api, index, &media, &folder, self.media_bytes_max)
                    };
                    self.reporter.fetched(key, index, result);
                }
            }
        }
    }

    fn deliver(&self, attempt: &Attempt) -> AttemptOutcome {
        match &attempt.part {
            Part::Media { source, caption } => {
                upload::deliver(&self.api, &self.web, &self.tmp, &self.folders, attempt, source, caption)
            }
            Part::File { name, text, caption } => {
                upload::deliver_text(&self.api, &self.tmp, attempt, name, text, caption)
            }
            Part::Text { .. } => AttemptOutcome::Refused { why: "it is no file".to_owned() },
        }
    }
}

fn switched_off() -> AttemptOutcome {
    AttemptOutcome::NotSent { why: "telegram is switched off".to_owned(), retry_after: None }
}
