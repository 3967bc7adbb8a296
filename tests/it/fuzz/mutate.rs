//! Mutations of bytes: what a broken line, a broken disk or somebody with a hex editor does.

use crate::harness::random::Random;

/// Bytes that often mean something.
const ODD_BYTES: &[u8] = &[0, 1, 9, 10, 13, 32, 34, 44, 58, 92, 123, 125, 127, 128, 192, 237, 254, 255];
/// Numbers at the ends of what types hold.
const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "-1",
    "1e999",
    "-1e999",
    "1e-999",
    "0.1",
    "9007199254740993",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
    "1E400",
    "00",
    "0x7f",
    "NaN",
];
/// Longest chunk that is repeated.
const CHUNK_BYTES_MAX: u64 = 512;

/// Samples of one kind, and the words that matter in them.
pub(crate) struct Mutator {
    samples: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    bytes_max: usize,
}

impl Mutator {
    /// What comes out is never longer than `bytes_max`.
    pub(crate) fn new(samples: Vec<Vec<u8>>, words: &[&str], bytes_max: usize) -> Self {
        assert!(!samples.is_empty(), "there is nothing to mutate");
        let words = words.iter().chain(NUMBERS).map(|word| word.as_bytes().to_vec()).collect();
        Self { samples, words, bytes_max }
    }

    /// A sample as it is.
    fn sample(&self, random: &mut Random) -> &[u8] {
        &self.samples[index(random, self.samples.len())]
    }

    /// A sample with one or a few mutations; now and then with none.
    pub(crate) fn mutated(&self, random: &mut Random) -> Vec<u8> {
        let sample = self.sample(random).to_vec();
        self.mutate(sample, random)
    }

    /// These bytes with one or a few mutations; now and then with none.
    pub(crate) fn mutate(&self, mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
        if random.below(16) == 0 {
            return bytes;
        }
        let most = 1 << random.below(4);
        for _ in 0..=random.below(most) {
            self.once(&mut bytes, random);
            bytes.truncate(self.bytes_max);
        }
        bytes
    }

    fn once(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let at = index(random, bytes.len() + 1);
        match random.below(12) {
            0 => flip(bytes, random),
            1 => overwrite(bytes, at, &[*pick(random, ODD_BYTES)]),
            2 => {
                let odd = [*pick(random, ODD_BYTES)];
                insert(bytes, at, &odd);
            }
            3 => drop(bytes.drain(range(random, bytes.len(), bytes.len()))),
            4 => drop(bytes.drain(range(random, bytes.len(), 4))),
            5 => {
                let copy = bytes[range(random, bytes.len(), bytes.len())].to_vec();
                insert(bytes, at, &copy);
            }
            6 => self.repeat(bytes, at, random),
            7 => {
                let word = pick(random, &self.words).clone();
                insert(bytes, at, &word);
            }
            8 => {
                let word = pick(random, &self.words).clone();
                overwrite(bytes, at, &word);
            }
            9 => {
                let number = *pick(random, NUMBERS);
                replace_number(bytes, at, number);
            }
            10 => bytes.truncate(at),
            _ => {
                let other = self.sample(random);
                let tail = &other[index(random, other.len() + 1)..];
                bytes.truncate(at);
                bytes.extend_from_slice(tail);
            }
        }
    }

    /// A chunk many times: as often as fits, now and then.
    fn repeat(&self, bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
        let chunk = bytes[range(random, bytes.len(), 64)].to_vec();
        if chunk.is_empty() || bytes.len() >= self.bytes_max {
            return;
        }
        let fits = (self.bytes_max - bytes.len()) / chunk.len() + 1;
        let times = if random.below(32) == 0 { fits } else { 1 + index(random, fits.min(300)) };
        insert(bytes, at, &chunk.repeat(times));
    }
}

/// One of them.
pub(crate) fn pick<'a, T>(random: &mut Random, of: &'a [T]) -> &'a T {
    &of[index(random, of.len())]
}

/// A number below `bound`; 0 if there is none.
pub(crate) fn index(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound.max(1) as u64)).unwrap()
}

/// Yes, once in so many times.
pub(crate) fn one_in(random: &mut Random, times: u64) -> bool {
    random.below(times) == 0
}

fn range(random: &mut Random, len: usize, longest: usize) -> std::ops::Range<usize> {
    let start = index(random, len + 1);
    let longest = (len - start).min(longest).min(usize::try_from(CHUNK_BYTES_MAX).unwrap());
    start..start + index(random, longest + 1)
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    let at = index(random, bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    bytes.splice(at..at, new.iter().copied());
}

fn overwrite(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    let end = bytes.len().min(at + new.len());
    bytes.splice(at..end, new.iter().copied());
}

/// The first number behind `at` becomes another one.
fn replace_number(bytes: &mut Vec<u8>, at: usize, number: &str) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|found| at + found) else { return };
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(start..start + digits, number.bytes());
}
