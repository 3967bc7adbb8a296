//! The gateway's token: the one in force, and the file from which a new one may come at any time. Nothing
//! outside of this module sees it, or hears more of it than its number.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::wall_ms;
use crate::config::load::read_token;
use crate::config::secret::Secret;
use crate::limits::{TOKEN_CHARS_ADVISED, TOKEN_FILE_SETTLED_MS};
use crate::net::NetEvent;
use crate::port::Port;
use crate::protocol::warning::{Warning, WarningCode};

/// A warning if the token is short enough to be guessed.
pub(crate) fn short_token(secret: &Secret) -> Option<Warning> {
    (secret.chars() < TOKEN_CHARS_ADVISED).then(|| {
        let message = format!(
            "the token has fewer than {TOKEN_CHARS_ADVISED} characters, and nothing but its length keeps somebody \
             from guessing it: take a longer one (`openssl rand -hex 16` makes one)"
        );
        Warning::new(WarningCode::ShortToken, message)
    })
}

/// The token in force, if there is one.
pub(super) struct Token {
    file: Option<PathBuf>,
    /// Clients need a token; one that is there is never taken away again.
    is_required: bool,
    current: Mutex<Current>,
}

struct Current {
    secret: Option<Secret>,
    /// How many tokens there were before this one.
    number: u64,
    /// The file as it was when it was last read.
    seen: Option<Fingerprint>,
    /// Why the file could not be used when it was last read.
    trouble: Option<String>,
    /// Other users could read the file when it was last read.
    is_exposed: bool,
}

/// What changes of a file when its content does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Whether another change would show: clocks of file systems are coarse, and one just behind this
    /// one may bear the same time.
    fn is_settled(&self) -> bool {
        let changed_ms = self.changed.0.saturating_mul(1_000).saturating_add(self.changed.1 / 1_000_000);
        let age_ms = i64::try_from(wall_ms()).unwrap_or(i64::MAX).saturating_sub(changed_ms);
        !(0..TOKEN_FILE_SETTLED_MS).contains(&age_ms)
    }
}

impl Token {
    /// The token that was found at the start, and the file that it came from, if it did.
    pub(super) fn new(secret: Option<Secret>, file: Option<PathBuf>) -> Self {
        let is_required = secret.is_some();
        let current = Mutex::new(Current { secret, number: 0, seen: None, trouble: None, is_exposed: false });
        Self { file, is_required, current }
    }

    /// Whether clients must show a token.
    pub(super) fn is_required(&self) -> bool {
        self.is_required
    }

    /// Whether another token may come while the gateway runs.
    pub(super) fn may_change(&self) -> bool {
        self.file.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        // Whole after any panic: each member is changed by a single assignment.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the token in force if `given` is that token. Reads the file again first, and tells state
    /// what has become of it.
    pub(super) fn check(&self, given: &str, state: &Port<NetEvent>) -> Option<u64> {
        let mut current = self.lock();
        self.read_if_changed(&mut current, state);
        match &current.secret {
            Some(secret) if !secret.matches(given) => None,
            _ => Some(current.number),
        }
    }

    /// Reads the file if it has changed, and tells state what has become of it.
    pub(super) fn reread(&self, state: &Port<NetEvent>) {
        self.read_if_changed(&mut self.lock(), state);
    }

    /// State is told under the lock, so that it hears of changes in their order. State never takes the lock, so
    /// it can be waited for.
    fn read_if_changed(&self, current: &mut Current, state: &Port<NetEvent>) {
        let Some(path) = &self.file else { return };
        let before = Fingerprint::of(path);
        if before.is_some() && before == current.seen {
            return;
        }
        let read = read_good(path);
        // One that changes while it is read is read again the next time.
        let is_whole = before == Fingerprint::of(path);
        current.seen = before.filter(|seen| is_whole && seen.is_settled());
        match read {
            Ok((secret, readable_by_others)) => {
                current.show_exposure(readable_by_others, state);
                if current.trouble.take().is_some() {
                    let _ = state.send(NetEvent::WarningOver(WarningCode::TokenFile));
                }
                current.accept(secret, state);
            }
            Err(trouble) => {
                if current.trouble.as_ref() != Some(&trouble) {
                    let message =
                        format!("{trouble}; the last good token stays in force until that is mended");
                    let _ = state.send(NetEvent::Warning(Warning::new(WarningCode::TokenFile, message)));
                    current.trouble = Some(trouble);
                }
            }
        }
    }
}

impl Current {
    fn show_exposure(&mut self, readable_by_others: Option<String>, state: &Port<NetEvent>) {
        let was_exposed = std::mem::replace(&mut self.is_exposed, readable_by_others.is_some());
        let _ = match readable_by_others {
            Some(message) => state.send(NetEvent::Warning(Warning::new(WarningCode::TokenReadable, message))),
            None if was_exposed => state.send(NetEvent::WarningOver(WarningCode::TokenReadable)),
            None => true,
        };
    }

    fn accept(&mut self, secret: Secret, state: &Port<NetEvent>) {
        if self.secret.as_ref() == Some(&secret) {
            return;
        }
        log::info!(
            "the token file has another token: it counts from now on, and what the old one opened ends"
        );
        let _ = state.send(match short_token(&secret) {
            Some(warning) => NetEvent::Warning(warning),
            None => NetEvent::WarningOver(WarningCode::ShortToken),
        });
        self.secret = Some(secret);
        self.number += 1;
        let _ = state.send(NetEvent::TokenChanged { number: self.number });
    }
}

/// A token that can be used, with a warning if others may read it too; or what is wrong with the file.
fn read_good(path: &Path) -> Result<(Secret, Option<String>), String> {
    let (secret, readable_by_others) = read_token(path).map_err(|error| format!("the token file {error}"))?;
    match secret.fault() {
        Some(fault) => Err(format!("the token in `{}` {fault}", path.display())),
        None => Ok((secret, readable_by_others)),
    }
}
