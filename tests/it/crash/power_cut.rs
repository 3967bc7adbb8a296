//! Power cuts at every moment of a recorded day: no promise is broken, and every sync is needed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use crate::crash::disk::{Cut, Disk, Image, cuts};
use crate::crash::facts::{Facts, keys_in};
use crate::crash::scenario::{self, Recording};
use crate::crash::talk::{Said, Talk};
use crate::crash::trace::Call;
use crate::crash::verdict::judge;

/// Restarts of the daemon on distinct folders, unless `CLAWDIS_SOAK_CUTS` says otherwise.
const CUTS: usize = 240;
/// Folders tried with one sync taken away, until the first that breaks a promise.
const TRIES: usize = 60;

static RECORDING: LazyLock<Recording> = LazyLock::new(scenario::record);

/// A power cut that can happen: what it leaves, and what had been promised by then.
struct Case {
    /// Calls that had been made.
    at: usize,
    cut: Cut,
    image: Image,
    facts: Arc<Facts>,
}

/// The state folder below the recording's.
const STATE: &str = "state";

/// Every distinct folder that power cuts can leave, each at the last moment at which it can be
/// left, when most has been promised. `without` is the site of a sync that does nothing.
fn cases(recording: &Recording, without: Option<&str>) -> HashMap<u64, Case> {
    let mut found = HashMap::new();
    for settles in [false, true] {
        find_cases(recording, without, settles, &mut found);
    }
    found
}

/// The same on a disk that has written everything whenever somebody wants a session forgotten
/// (`settles`), or nothing that was not asked for.
fn find_cases(recording: &Recording, without: Option<&str>, settles: bool, found: &mut HashMap<u64, Case>) {
    let mut disk = Disk::new(&recording.base);
    let (mut talk, mut facts) = (Talk::default(), Arc::new(Facts::new()));
    let sites = sites(recording);
    for (at, call) in recording.calls.iter().enumerate() {
        for said in talk.hear(call) {
            if settles && matches!(&said, Said::Asked { method, .. } if method == "session-forget") {
                disk.settle();
            }
            Arc::make_mut(&mut facts).hear(said);
        }
        match call {
            // Agents get their prompts through pipes or sockets without a name.
            Call::Write { handle, bytes }
                if handle.path.starts_with("pipe:") || handle.path.starts_with("socket:") =>
            {
                let text = String::from_utf8_lossy(bytes);
                if text.contains("\"prompt\"") {
                    Arc::make_mut(&mut facts).prompted(&keys_in(&text));
                }
            }
            call if touches(&disk, call) => {
                if changes(call) {
                    collect(&disk, at, &facts, found);
                }
                if without.is_none() || sites.get(&at).map(String::as_str) != without {
                    disk.apply(call);
                }
            }
            _ => {}
        }
    }
    collect(&disk, recording.calls.len(), &facts, found);
    let unseen = facts.runs.values().find(|run| run.was_answered() && !run.prompted);
    assert!(unseen.is_none(), "the recording does not show the prompt of {unseen:?}");
}

fn collect(disk: &Disk, at: usize, facts: &Arc<Facts>, found: &mut HashMap<u64, Case>) {
    let mut seen = HashSet::new();
    for cut in cuts() {
        if seen.insert(disk.simplified(STATE, cut)) {
            let image = disk.cut(STATE, cut);
            let fingerprint = image.fingerprint();
            if found.get(&fingerprint).is_none_or(|known| known.at < at) {
                found.insert(fingerprint, Case { at, cut, facts: Arc::clone(facts), image });
            }
        }
    }
}

/// Whether a call may change what a power cut leaves.
fn changes(call: &Call) -> bool {
    match call {
        Call::Open { create, truncate, .. } => *create || *truncate,
        Call::Seek { .. } => false,
        _ => true,
    }
}

/// Whether a call is about the state folder. The lock file is made anew by every start, and the
/// agent's notes are outside.
fn touches(disk: &Disk, call: &Call) -> bool {
    let path = match call {
        Call::Open { handle, .. }
        | Call::Seek { handle, .. }
        | Call::Write { handle, .. }
        | Call::WriteAt { handle, .. }
        | Call::Resize { handle, .. } => &handle.path,
        Call::Sync { path, .. }
        | Call::Remove { path }
        | Call::MakeFolder { path }
        | Call::Other { path, .. } => path,
        Call::Rename { from, .. } => from,
        Call::Sent { .. } | Call::Received { .. } => return false,
    };
    let below = path.strip_prefix(disk.base()).map(|rest| rest.trim_start_matches('/'));
    let ours = below.is_some_and(|rest| rest.is_empty() || rest == STATE || rest.starts_with("state/"));
    ours && !path.ends_with("/gateway.lock")
}

/// What each sync is for, by its place among the calls.
fn sites(recording: &Recording) -> HashMap<usize, String> {
    let base = recording.base.to_str().unwrap();
    let mut renamed = false;
    let mut sites = HashMap::new();
    for (at, call) in recording.calls.iter().enumerate() {
        match call {
            Call::Rename { .. } => renamed = true,
            Call::Sync { path, data_only } => {
                let name = path.strip_prefix(base).unwrap_or(path).trim_start_matches('/');
                let site = match (name, data_only) {
                    ("", false) => "the state folder's name",
                    (STATE, false) if std::mem::take(&mut renamed) => "the new journal's name",
                    (STATE, false) => "names at the start",
                    ("state/journal", true) => "a commit",
                    ("state/journal", false) => "the journal at the start",
                    ("state/journal.new", false) => "the new journal",
                    ("state/sessions", false) => "the sessions' names",
                    ("state/agent", false) => "the agent's names",
                    // The same for what people sent, which nobody does in this recording.
                    ("state/media", false) => continue,
                    (name, false) if name.starts_with("state/sessions/") => "a session's records",
                    _ => panic!("a sync of `{path}` that nobody knows the use of"),
                };
                sites.insert(at, site.to_owned());
            }
            _ => {}
        }
    }
    sites
}

fn describe(case: &Case, recording: &Recording, reason: &str) -> String {
    let before = recording.calls[..case.at]
        .iter()
        .rev()
        .filter(|call| !matches!(call, Call::Sent { .. } | Call::Received { .. }));
    let last: Vec<String> =
        before.take(6).map(|call| format!("{call:.200?}").chars().take(300).collect()).collect();
    let files: Vec<String> = case
        .image
        .0
        .iter()
        .map(|(path, bytes)| format!("{path}: {:?}", bytes.as_ref().map(Vec::len)))
        .collect();
    format!(
        "{reason}\nafter call {} with {:?}; the calls before it, newest first: {last:#?}\nleft: {files:#?}",
        case.at, case.cut
    )
}

#[test]
fn no_power_cut_breaks_a_promise() {
    let recording = &*RECORDING;
    let mut cases: Vec<Case> = cases(recording, None).into_values().collect();
    cases.sort_by_key(|case| case.at);
    let wanted = std::env::var("CLAWDIS_SOAK_CUTS").map_or(CUTS, |text| text.parse().unwrap());
    println!("{} calls leave {} folders; {wanted} of them are tried", recording.calls.len(), cases.len());
    let chosen: Vec<&Case> = spread(&cases, wanted);
    let next = AtomicUsize::new(0);
    let broken: Vec<String> = thread::scope(|scope| {
        let work = || {
            let mut broken = Vec::new();
            while let Some(case) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(reason) = try_judge(case) {
                    broken.push(describe(case, recording, &reason));
                }
            }
            broken
        };
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(
        broken.is_empty(),
        "{} of {} power cuts broke a promise, such as: {}",
        broken.len(),
        chosen.len(),
        broken[0]
    );
}

/// So many of them, evenly.
fn spread(cases: &[Case], wanted: usize) -> Vec<&Case> {
    let wanted = wanted.min(cases.len());
    (0..wanted).map(|number| &cases[number * cases.len() / wanted]).collect()
}

fn try_judge(case: &Case) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| judge(&case.image, &case.facts))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "it panicked".to_owned()))
    })
}

#[test]
fn every_sync_is_needed() {
    let recording = &*RECORDING;
    let sound = cases(recording, None);
    let sites: BTreeSet<String> = sites(recording).into_values().collect();
    assert_eq!(sites.len(), 9, "{sites:?}");
    for site in &sites {
        let mut without: Vec<Case> = cases(recording, Some(site))
            .into_iter()
            // Only what could not happen with it, or not so late.
            .filter(|(fingerprint, case)| sound.get(fingerprint).is_none_or(|sound| sound.at < case.at))
            .map(|(_, case)| case)
            .collect();
        let order = cuts();
        without
            .sort_by_key(|case| (order.iter().position(|cut| *cut == case.cut), std::cmp::Reverse(case.at)));
        let tried = spread(&without, TRIES);
        let broken =
            tried.iter().enumerate().find_map(|(number, case)| Some((number, try_judge(case).err()?)));
        let Some((number, reason)) = broken else {
            panic!(
                "without the sync of {site} all of {} power cuts (of {}) keep every promise",
                tried.len(),
                without.len()
            );
        };
        let reason: String = reason.chars().take(160).collect();
        println!("without the sync of {site}: folder {} of {}: {reason}", number + 1, without.len());
    }
}
