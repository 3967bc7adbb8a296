//! The nearest right name to a misspelt one: for unknown members, config keys and flags.

/// Names longer than this are not misspelt but something else; it also bounds the work.
const NAME_CHARS_MAX: usize = 64;

/// The candidate that takes the fewest edits to get to from `name`, if a person might have meant
/// it: at most a third of the name's characters may be wrong. Case does not count as wrong.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.chars().nth(NAME_CHARS_MAX).is_some() {
        return None;
    }
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let allowed = name.len().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (edits(&name, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between the two (optimal string
/// alignment, over three rows of the usual table).
fn edits(name: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate.to_lowercase().chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=candidate.len()).collect();
    for (i, &a) in name.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in candidate.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == candidate[j - 1] && name[i - 1] == b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[candidate.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_what_was_meant() {
        let names = ["message", "mediaUrl", "channel", "to"];
        for (typed, meant) in [
            ("mesage", Some("message")),
            ("mesasge", Some("message")),
            ("mediaurl", Some("mediaUrl")),
            ("media_url", Some("mediaUrl")),
            ("chanel", Some("channel")),
            ("t", Some("to")),
            ("xyzzy", None),
            ("", None),
            (&"m".repeat(65), None),
        ] {
            assert_eq!(nearest(typed, names), meant, "{typed}");
        }
    }
}
