//! A text that must reach no log, error, metric or process list.

use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};

use crate::limits::TOKEN_CHARS_MAX;
use crate::text::is_hidden;

/// A token, which has neither `Debug` nor `Display`, so that it cannot be shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Makes a secret of a text. Blanks and line ends around it do not count: files end with one, and pasting
    /// brings some.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Whether there was nothing but blanks.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Why it is no token that clients could show, in words that follow its name; `None` if it is one. A
    /// file may be broken in any of these ways.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.is_empty() {
            Some("is empty".to_owned())
        } else if self.chars() > TOKEN_CHARS_MAX {
            Some(format!("is longer than the {TOKEN_CHARS_MAX} characters that clients can send"))
        } else if self.0.chars().any(|c| c.is_control() || is_hidden(c)) {
            let what = "has control characters, several lines or something invisible in it: write it anew";
            Some(what.to_owned())
        } else {
            None
        }
    }

    pub(crate) fn chars(&self) -> usize {
        self.0.chars().count()
    }

    /// The secret itself, for whom it is meant: a child's environment, an upstream's URL.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `offered` is the same. The time it takes says nothing about how much of it is:
    /// digests are compared, and all of their bytes.
    pub(crate) fn matches(&self, offered: &str) -> bool {
        let [own, offered] = [&self.0, offered].map(Sha256::digest);
        let difference =
            own.iter().zip(&offered).fold(0, |bits, (a, b)| std::hint::black_box(bits | (a ^ b)));
        difference == 0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn matches_only_itself() {
        let secret = Secret::new(" s3cret\n");
        assert!(secret.matches("s3cret"));
        for other in ["", "s3cre", "s3crets", "S3cret", " s3cret", "t3cret"] {
            assert!(!secret.matches(other), "{other:?}");
        }
        assert!(Secret::new(" \n").is_empty());
        assert_eq!(Secret::new("año").chars(), 3);
        assert_eq!(secret.expose(), "s3cret");
    }

    #[test]
    fn what_a_broken_file_holds_is_no_token() {
        for good in ["s3cret", "correct horse battery staple", " año\n"] {
            assert_eq!(Secret::new(good).fault(), None, "{good:?}");
        }
        let is_faulty = |text: &str, fault: &str| Secret::new(text).fault().unwrap().contains(fault);
        assert!(is_faulty("\n", "is empty"));
        assert!(is_faulty(&"x".repeat(2_000), "longer than the 1024 characters"));
        let zero_width = "\u{200b}".repeat(20);
        for bad in [&*"\0".repeat(33), "\u{feff}s3cret", "s3cret\nother", "\u{1b}[1ms3cret", &zero_width] {
            assert!(is_faulty(bad, "something invisible"), "{bad:?}");
        }
    }
}
