//! The lines of the store's files: eight hex digits of CRC-32, a space, JSON, a line feed.
//!
//! JSON has no raw line feed, so a damaged line never hides the next one. However long a damaged one is,
//! only what its checksum vouches for is held in memory. What the JSON says is not known here.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt as _;

use crate::limits::{JOURNAL_LINE_BYTES_MAX, LINE_BUFFER_BYTES};
use crate::store::disk::Reading;

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The line for `json`.
pub(super) fn line(json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_line(&mut out, json);
    out
}

/// Appends the line for `json` to `out`.
pub(super) fn write_line(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(format!("{:08x} ", crc32(json.as_bytes())).as_bytes());
    out.extend_from_slice(json.as_bytes());
    out.push(b'\n');
}

/// Bytes of the line for `json`: checksum, space and line feed around it.
pub(super) fn line_bytes(json: &str) -> u64 {
    json.len() as u64 + 10
}

/// The JSON of a line (without its line feed), or `None` if the line is damaged.
pub(super) fn read_line(line: &[u8]) -> Option<&str> {
    let (expected, json) = parts(line)?;
    (crc32(json) == expected).then(|| std::str::from_utf8(json).ok()).flatten()
}

/// Checksum and JSON of a line, or of its beginning.
fn parts(line: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = line.split_at_checked(8)?;
    let expected = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((expected, rest.strip_prefix(b" ")?))
}

/// Reads a file's lines, one after the other.
pub(super) struct Lines<'a> {
    file: &'a File,
    reader: BufReader<Reading<'a>>,
    /// The place behind the last line that was read.
    at: u64,
    line: Vec<u8>,
    /// Bytes behind the last good line.
    bad_bytes: u64,
}

impl<'a> Lines<'a> {
    /// The lines from a place on, at which one begins.
    pub(super) fn from(file: &'a File, at: u64) -> Self {
        Self { file, reader: BufReader::new(Reading::from(file, at)), at, line: Vec::new(), bad_bytes: 0 }
    }

    /// Where the next line ends, and what it says if it is whole. `None` at the end of the file, and where
    /// nothing was good for longer than a line can be: a file may have a hole that takes hours to read.
    /// What is whole behind that is given up.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Option<&str>)>> {
        if self.bad_bytes > JOURNAL_LINE_BYTES_MAX as u64 {
            return Ok(None);
        }
        self.line.clear();
        self.line.shrink_to(LINE_BUFFER_BYTES);
        let start = self.at;
        let mut short = self.reader.by_ref().take(LINE_BUFFER_BYTES as u64);
        let count = short.read_until(b'\n', &mut self.line)?;
        if count == 0 {
            return Ok(None);
        }
        self.at += count as u64;
        if count == LINE_BUFFER_BYTES && !self.line.ends_with(b"\n") {
            self.read_long(start)?;
        }
        let said = self.line.strip_suffix(b"\n").and_then(read_line);
        self.bad_bytes = if said.is_some() { 0 } else { self.bad_bytes + (self.at - start) };
        Ok(Some((self.at, said)))
    }

    /// Goes on to the end of a long line, of which the beginning was read; keeps the line if it is good.
    fn read_long(&mut self, start: u64) -> io::Result<()> {
        let mut crc = flate2::Crc::new();
        let expected = parts(&self.line).map(|(expected, json)| {
            crc.update(json);
            expected
        });
        let is_ended = self.skip_line(start, |bytes| crc.update(bytes))?;
        let len = self.at - start;
        self.line.clear();
        if is_ended && len <= JOURNAL_LINE_BYTES_MAX as u64 && expected == Some(crc.sum()) {
            self.line.resize(usize::try_from(len).unwrap_or_default(), 0);
            self.file.read_exact_at(&mut self.line, start)?;
        }
        Ok(())
    }

    /// Goes on behind the next line feed, if there is one before the line from `start` is too long. Hands what
    /// is before it to `each`.
    fn skip_line(&mut self, start: u64, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
        loop {
            let bytes = self.reader.fill_buf()?;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(bytes.len(), |end| end + 1);
            each(&bytes[..end.unwrap_or(count)]);
            self.reader.consume(count);
            self.at += count as u64;
            let is_long = self.at - start > JOURNAL_LINE_BYTES_MAX as u64;
            if end.is_some() || count == 0 || is_long {
                return Ok(end.is_some());
            }
        }
    }
}

/// Where the line ends that has this place in it. `None` if it does not, or is longer than a line can be.
pub(super) fn end_of_line(file: &File, place: u64) -> io::Result<Option<u64>> {
    let mut lines = Lines::from(file, place);
    Ok(lines.skip_line(place, |_| {})?.then_some(lines.at))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Lines, crc32, end_of_line, read_line, write_line};
    use crate::limits::{JOURNAL_LINE_BYTES_MAX, LINE_BUFFER_BYTES};
    use crate::store::folder_handle::memory_folder;

    #[test]
    fn long_lines_are_read_if_they_are_good_and_only_passed_over_otherwise() {
        let path = memory_folder().join(format!("clawdis-lines-{}", std::process::id()));
        let json = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
        let lengths = [1, LINE_BUFFER_BYTES - 13, LINE_BUFFER_BYTES - 12, LINE_BUFFER_BYTES - 11, 3 << 20];
        let mut text = Vec::new();
        for bytes in lengths {
            write_line(&mut text, &json(bytes));
            let whole = text.len();
            write_line(&mut text, &json(bytes));
            text[whole + 10] ^= 1;
        }
        text.extend(vec![b'y'; 2 << 20]);
        fs::write(&path, &text).unwrap();
        let file = fs::File::open(&path).unwrap();
        let mut lines = Lines::from(&file, 0);
        let mut at = 0;
        for bytes in lengths {
            for good in [true, false] {
                let (end, found) = lines.next().unwrap().unwrap();
                assert_eq!(found.map(str::len), good.then_some(bytes + 2));
                assert_eq!(end_of_line(&file, at).unwrap(), Some(end));
                assert_eq!(end_of_line(&file, end - 1).unwrap(), Some(end));
                at = end;
            }
        }
        assert_eq!(lines.next().unwrap(), Some((text.len() as u64, None)));
        assert_eq!(lines.next().unwrap(), None);
        assert!(lines.line.capacity() <= 2 * LINE_BUFFER_BYTES);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_has_no_good_line_for_longer_than_a_line_can_be_is_not_read_to_its_end() {
        let path = memory_folder().join(format!("clawdis-lines-hole-{}", std::process::id()));
        let mut text = Vec::new();
        write_line(&mut text, "1");
        fs::write(&path, &text).unwrap();
        let file = fs::File::options().read(true).write(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        let mut lines = Lines::from(&file, 0);
        assert_eq!(lines.next().unwrap(), Some((11, Some("1"))));
        let (end, found) = lines.next().unwrap().unwrap();
        assert!(found.is_none() && end < 2 * JOURNAL_LINE_BYTES_MAX as u64, "{end}");
        assert_eq!(lines.next().unwrap(), None);
        assert_eq!(end_of_line(&file, 0).unwrap(), Some(11));
        assert_eq!(end_of_line(&file, 11).unwrap(), None);
        // Nor if the lines are short and all of them are bad.
        let short = "x".repeat(999) + "\n";
        fs::write(&path, short.repeat(2 * JOURNAL_LINE_BYTES_MAX / short.len())).unwrap();
        let file = fs::File::open(&path).unwrap();
        let mut lines = Lines::from(&file, 0);
        while lines.next().unwrap().is_some() {}
        assert!(lines.at < JOURNAL_LINE_BYTES_MAX as u64 + 2_000, "{}", lines.at);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn crc_is_the_standard_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn lines_survive_a_round_trip_and_damage_shows() {
        let mut line = Vec::new();
        write_line(&mut line, r#"{"a":"ü"}"#);
        assert_eq!(line.len() as u64, super::line_bytes(r#"{"a":"ü"}"#));
        assert_eq!(line.pop(), Some(b'\n'));
        assert_eq!(read_line(&line), Some(r#"{"a":"ü"}"#));
        for at in 0..line.len() {
            let mut damaged = line.clone();
            damaged[at] ^= 1;
            assert_eq!(read_line(&damaged), None, "byte {at}");
            assert_eq!(read_line(&line[..at]), None, "cut at {at}");
        }
    }
}
