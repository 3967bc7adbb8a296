//! The gateway's token: the one in force, the file from which a new one may come at any time, and when a wrong one
//! is answered. Nothing outside of this module sees it, or hears more of it than its number.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::clock::wall_ms;
use crate::config::load::read_token;
use crate::config::secret::Secret;
use crate::limits::{REFUSAL_INTERVAL, TOKEN_CHARS_ADVISED, TOKEN_FILE_SETTLED_MS};
use crate::net::NetEvent;
use crate::port::Port;
use crate::protocol::warning::{Warning, WarningCode};
use crate::threads::lock;

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
    /// Clients must show a token. One that is there is never taken away again.
    pub(super) is_required: bool,
    current: Mutex<Current>,
    /// When the file is looked at though nobody connects.
    next_look: Mutex<Instant>,
    state: Port<NetEvent>,
    /// How often the file is looked at besides at each handshake, so that what an old token opened ends though
    /// nobody connects.
    interval: Duration,
}

struct Current {
    secret: Option<Secret>,
    /// How many tokens there were before this one.
    number: u64,
    /// The file as it was when it was last read.
    seen: Option<Fingerprint>,
    /// What state was last told of each thing that may be wrong: whoever shows wrong tokens makes us read the file
    /// again, and state is not to hear of each time.
    told: BTreeMap<WarningCode, Option<String>>,
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
    /// The token that was found at the start, and the file that it came from, if it did. State is told what
    /// becomes of the file.
    pub(super) fn new(
        secret: Option<Secret>,
        file: Option<PathBuf>,
        state: Port<NetEvent>,
        interval: Duration,
    ) -> Self {
        let is_required = secret.is_some();
        let current = Mutex::new(Current { secret, number: 0, seen: None, told: BTreeMap::new() });
        let next_look = Mutex::new(Instant::now() + interval);
        Self { file, is_required, current, next_look, state, interval }
    }

    /// The number of the token in force if `given` is that token. Reads the file first if it has changed.
    pub(super) fn check(&self, given: &str) -> Option<u64> {
        let mut current = lock(&self.current);
        self.read_if_changed(&mut current);
        match &current.secret {
            Some(secret) if !secret.matches(given) => None,
            _ => Some(current.number),
        }
    }

    /// How long it is until the file is looked at, if there is one.
    pub(super) fn until_next_look(&self) -> Option<Duration> {
        self.file.as_ref().map(|_| lock(&self.next_look).saturating_duration_since(Instant::now()))
    }

    /// Reads the file if it is time to look at it and it has changed. Until then this waits for nobody who reads it.
    pub(super) fn look_when_due(&self) {
        let now = Instant::now();
        if self.file.is_some() && *lock(&self.next_look) <= now {
            *lock(&self.next_look) = now + self.interval;
            self.read_if_changed(&mut lock(&self.current));
        }
    }

    /// State is told under the lock, so that it hears of changes in their order. State never takes the lock, so
    /// it can be waited for.
    fn read_if_changed(&self, current: &mut Current) {
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
                self.warn(WarningCode::TokenReadable, readable_by_others, current);
                self.warn(WarningCode::TokenFile, None, current);
                self.accept(secret, current);
            }
            Err(trouble) => {
                let message = format!("{trouble}; the last good token stays in force until that is mended");
                self.warn(WarningCode::TokenFile, Some(message), current);
            }
        }
    }

    fn accept(&self, secret: Secret, current: &mut Current) {
        if current.secret.as_ref() == Some(&secret) {
            return;
        }
        log::info!(
            "the token file has another token: it counts from now on, and what the old one opened ends"
        );
        self.warn(WarningCode::ShortToken, short_token(&secret).map(|warning| warning.message), current);
        current.secret = Some(secret);
        current.number += 1;
        let _ = self.state.send(NetEvent::TokenChanged(current.number));
    }

    /// Tells state what is wrong, or that nothing is, unless it was told just that.
    fn warn(&self, code: WarningCode, message: Option<String>, current: &mut Current) {
        if current.told.get(&code) != Some(&message) {
            current.told.insert(code, message.clone());
            let _ = self.state.send(NetEvent::Warning(code, message));
        }
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

/// Gives each answer to a wrong token, over all connections, its turn, and bounds how many wait for theirs. That
/// spares the log and the processor; it keeps nobody from guessing: the right token is answered at once, so that
/// silence is an answer too, and only the length of a token protects it.
pub(super) struct RefusalPacer {
    waiting_max: usize,
    turns: Mutex<Turns>,
    stopped: Condvar,
}

#[derive(Default)]
struct Turns {
    next: Option<Instant>,
    waiting: usize,
    is_stopping: bool,
}

/// One refusal's turn; until this is dropped it counts among those that wait.
pub(super) struct Turn<'a> {
    refusals: &'a RefusalPacer,
    at: Instant,
}

impl RefusalPacer {
    /// A pacer with which at most so many refusals wait.
    pub(super) fn new(waiting_max: usize) -> Self {
        Self { waiting_max, turns: Mutex::default(), stopped: Condvar::new() }
    }

    /// Takes the next turn. `None` if too many wait already: close without an answer.
    pub(super) fn take_turn(&self) -> Option<Turn<'_>> {
        let mut turns = lock(&self.turns);
        if turns.waiting >= self.waiting_max || turns.is_stopping {
            return None;
        }
        let now = Instant::now();
        let at = turns.next.map_or(now, |next| next.max(now));
        turns.next = Some(at + REFUSAL_INTERVAL);
        turns.waiting += 1;
        Some(Turn { refusals: self, at })
    }

    /// Lets everybody who waits go at once: the gateway stops.
    pub(super) fn stop(&self) {
        lock(&self.turns).is_stopping = true;
        self.stopped.notify_all();
    }
}

impl Turn<'_> {
    /// Waits until the turn has come, or the gateway stops.
    pub(super) fn wait(&self) {
        let left = self.at.saturating_duration_since(Instant::now());
        let goes_on = |turns: &mut Turns| !turns.is_stopping;
        drop(self.refusals.stopped.wait_timeout_while(lock(&self.refusals.turns), left, goes_on));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.refusals.turns).waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crossbeam_channel::unbounded;

    use super::Token;
    use crate::config::secret::Secret;
    use crate::net::NetEvent;
    use crate::port::Port;
    use crate::protocol::warning::WarningCode;

    #[test]
    fn state_hears_once_that_the_file_is_gone_however_often_a_token_is_shown() {
        let (to_state, events) = unbounded();
        let (file, state) = ("/nowhere/token".into(), Port::new(to_state, |event| event));
        let token = Token::new(Some(Secret::new("good")), Some(file), state, Duration::from_secs(30));
        assert_eq!((token.check("bad"), token.check("good"), token.check("bad")), (None, Some(0), None));
        let heard: Vec<NetEvent> = events.try_iter().collect();
        assert!(matches!(heard[..], [NetEvent::Warning(WarningCode::TokenFile, Some(_))]), "{}", heard.len());
    }
}
