//! One record per line: eight hex digits of CRC-32, a space, JSON, a line feed.
//!
//! JSON has no raw line feed, so a damaged record never hides the next one.

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
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
    let (digits, rest) = line.split_at_checked(8)?;
    let json = rest.strip_prefix(b" ")?;
    let expected = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (crc32(json) == expected).then(|| std::str::from_utf8(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{crc32, read_line, write_line};

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
