//! One target's time: how long, from which seed, and what to keep when it fails.
//!
//! - `CLAWDIS_FUZZ_SECONDS`: how long each target runs, instead of some seconds.
//! - `CLAWDIS_FUZZ_SEED`: a number from which all inputs follow, instead of the fixed one.
//! - `CLAWDIS_FUZZ_TARGET`: the only target that is to run, by the name of its file.
//! - `CLAWDIS_FUZZ_CORPUS`: a folder that gets the first inputs of each target, for `guided`.
//!
//! The inputs of one iteration follow from the seed and its number alone. After a failure the last
//! inputs are in `target/fuzz-failures/TARGET-SEED-ITERATION/`, the one that may have done it last.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::process::repository;
use crate::harness::random::Random;

/// Seven targets, two at a time on two cores: about half a minute for each pair.
const SECONDS_DEFAULT: u64 = 8;
const SEED_DEFAULT: u64 = 20_251;
/// Inputs that are kept for a failure.
const RECENT_MAX: usize = 256;
/// And their bytes.
const RECENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Inputs of a target that are samples for another program.
const CORPUS_MAX: u64 = 2_000;

/// One target, while it runs.
pub(crate) struct Campaign {
    target: &'static str,
    seed: u64,
    begin: Instant,
    whole: Duration,
    until: Instant,
    iterations: u64,
    inputs: u64,
    recent: VecDeque<Vec<u8>>,
    recent_bytes: usize,
    corpus: Option<PathBuf>,
}

impl Campaign {
    /// Begins, unless another target was asked for.
    pub(crate) fn start(target: &'static str) -> Option<Self> {
        let wanted = std::env::var("CLAWDIS_FUZZ_TARGET").ok();
        if wanted.is_some_and(|wanted| wanted != target) {
            return None;
        }
        let whole = Duration::from_secs(number("CLAWDIS_FUZZ_SECONDS").unwrap_or(SECONDS_DEFAULT));
        let corpus = std::env::var_os("CLAWDIS_FUZZ_CORPUS").map(|folder| Path::new(&folder).join(target));
        if let Some(folder) = &corpus {
            fs::create_dir_all(folder).unwrap();
        }
        let begin = Instant::now();
        Some(Self {
            target,
            seed: number("CLAWDIS_FUZZ_SEED").unwrap_or(SEED_DEFAULT),
            begin,
            whole,
            until: begin + whole,
            iterations: 0,
            inputs: 0,
            recent: VecDeque::new(),
            recent_bytes: 0,
            corpus,
        })
    }

    /// What follows ends when so many hundredths of the time are over.
    pub(crate) fn until(&mut self, hundredths: u32) {
        self.until = self.begin + self.whole * hundredths / 100;
    }

    /// What follows ends then at the latest.
    pub(crate) fn not_beyond(&mut self, round: Duration) {
        self.until = (self.begin + self.whole).min(Instant::now() + round);
    }

    /// All of the time is over.
    pub(crate) fn is_over(&self) -> bool {
        self.begin.elapsed() >= self.whole
    }

    /// The random numbers of the next iteration, while there is time.
    pub(crate) fn next(&mut self) -> Option<Random> {
        if Instant::now() >= self.until {
            return None;
        }
        self.iterations += 1;
        let mut of_seed = Random(self.seed);
        Some(Random(of_seed.below(u64::MAX) ^ self.iterations.wrapping_mul(0xA076_1D64_78BD_642F)))
    }

    /// Keeps an input for the case that it does harm.
    pub(crate) fn note(&mut self, input: &[u8]) {
        self.inputs += 1;
        if let Some(folder) = self.corpus.as_ref().filter(|_| self.inputs <= CORPUS_MAX) {
            fs::write(folder.join(self.inputs.to_string()), input).unwrap();
        }
        self.recent_bytes += input.len();
        self.recent.push_back(input.to_vec());
        while self.recent.len() > RECENT_MAX
            || (self.recent_bytes > RECENT_BYTES_MAX && self.recent.len() > 1)
        {
            let oldest = self.recent.pop_front().unwrap_or_default();
            self.recent_bytes -= oldest.len();
        }
    }

    fn keep(&self) -> std::io::Result<()> {
        let name = format!("{}-{}-{}", self.target, self.seed, self.iterations);
        let folder = repository("target/fuzz-failures").join(name);
        fs::create_dir_all(&folder)?;
        for (number, input) in self.recent.iter().enumerate() {
            fs::write(folder.join(format!("{number:03}")), input)?;
        }
        let place = folder.strip_prefix(repository("")).unwrap_or(Path::new(""));
        println!("the last {} inputs are in {}", self.recent.len(), place.display());
        Ok(())
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        println!(
            "{}: {} iterations, {} inputs in {} s, CLAWDIS_FUZZ_SEED={}",
            self.target,
            self.iterations,
            self.inputs,
            self.begin.elapsed().as_secs(),
            self.seed
        );
        if std::thread::panicking() {
            if let Err(error) = self.keep() {
                println!("the inputs cannot be kept: {error}");
            }
        } else {
            assert!(self.inputs > 0, "nothing was tried");
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}
