//! Protocol version 1: the only types that are serialised for, or parsed from, a client.
//!
//! Knows nothing of threads, sockets or files. A derive here is a promise to a client; its schema
//! stands in `schemas/`.

/// Declares a closed list of things with the names that they have on the wire, once.
macro_rules! named {
    ($(#[$attr:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$attr])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl $type {
            /// All of them, in the order in which they are shown.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The name that it has on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The one with that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

/// The number of a connection, rising from 1. The wire shows it behind the boot's id.
pub(crate) type ConnId = u64;

pub mod call;
pub(crate) mod error;
pub mod event;
pub(crate) mod frame;
pub(crate) mod hello;
pub(crate) mod members;
pub mod method;
pub mod parse;
pub mod payload;
pub(crate) mod scan;
pub(crate) mod schema;
pub(crate) mod warning;

/// The version that this server speaks. It changes on breaking changes only.
pub(crate) const VERSION: u64 = 1;

/// The version of this server, as in Cargo.toml.
pub(crate) const SERVER_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this server was built from, if the build said so.
pub(crate) const SERVER_COMMIT: Option<&str> = option_env!("CLAWDIS_COMMIT");

/// What `program` prints for `--version`, as in `clawdis 0.1.0 (commit)`.
pub(crate) fn version_line(program: &str) -> String {
    let commit = SERVER_COMMIT.map_or_else(String::new, |commit| format!(" ({commit})"));
    format!("{program} {SERVER_VERSION}{commit}\n")
}

/// Cuts `text` to at most `bytes_max` bytes without splitting a character.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What orders versions: the three numbers, then releases above pre-releases. `None` if the text is no version.
pub(crate) fn semver(text: &str) -> Option<([u64; 3], bool)> {
    let text = text.split('+').next()?;
    let (numbers, pre) = text.split_once('-').map_or((text, None), |(numbers, pre)| (numbers, Some(pre)));
    let mut parts = numbers.split('.').map(|part| part.parse::<u64>().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    (parts.next().is_none()).then_some((version, pre.is_none()))
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cut_keeps_characters_whole() {
        assert_eq!(cut("añb", 2), "a");
        assert_eq!(cut("añb", 3), "añ");
        assert_eq!(cut("abc", 9), "abc");
        assert_eq!(cut("🦀", 3), "");
    }
}
