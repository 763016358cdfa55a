//! What things are called: models, their versions, and the running copies.
//!
//! All three become znode names and folder names, so each is one path segment that can do no harm in either place. They
//! are parsed where they enter and never checked again.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most bytes a name or version may have. ZooKeeper has no limit of its own; most file systems stop at 255.
pub const MAX_NAME_BYTES: usize = 200;

/// Why a text is not a model name, a version or an instance id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing in it.
    #[error("a {what} must not be empty")]
    Empty {
        /// What the text was meant to be.
        what: &'static str,
    },
    /// It is `.` or `..`, which mean something else in a path.
    #[error("`{text}` can't be a {what}: it means another place in a path")]
    Relative {
        /// What the text was meant to be.
        what: &'static str,
        /// The text.
        text: String,
    },
    /// It holds a character that can't stand in one znode path segment.
    #[error(
        "`{text}` can't be a {what}: it holds {character:?}, which can't stand in one path segment"
    )]
    Character {
        /// What the text was meant to be.
        what: &'static str,
        /// The text, escaped.
        text: String,
        /// The first character at fault.
        character: char,
    },
    /// It is longer than [`MAX_NAME_BYTES`].
    #[error("a {what} has at most {MAX_NAME_BYTES} bytes, and this one has {bytes}")]
    TooLong {
        /// What the text was meant to be.
        what: &'static str,
        /// How long it is.
        bytes: usize,
    },
}

/// Checks that `text` is one harmless path segment, in ZooKeeper as in a file system.
fn check_segment(what: &'static str, text: &str) -> Result<(), NameError> {
    // ZooKeeper refuses control characters, the surrogate and private ranges, and the last code points of the plane.
    let forbidden = |c: char| {
        c == '/'
            || c.is_control()
            || ('\u{e000}'..='\u{f8ff}').contains(&c)
            || ('\u{fff0}'..='\u{ffff}').contains(&c)
    };
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong {
            what,
            bytes: text.len(),
        });
    }
    if text == "." || text == ".." {
        return Err(NameError::Relative {
            what,
            text: text.to_owned(),
        });
    }
    match text.chars().find(|&c| forbidden(c)) {
        Some(character) => Err(NameError::Character {
            what,
            text: text.escape_debug().to_string(),
            character,
        }),
        None => Ok(()),
    }
}

macro_rules! segment {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            #[doc = concat!("Parses a ", $what, ".")]
            ///
            /// # Errors
            /// [`NameError`] says which rule the text breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check_segment($what, &text)?;
                Ok(Self(text))
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

segment! {
    /// A model's name: one znode path segment, so never empty, `.` or `..`, and without `/`.
    #[derive(PartialOrd, Ord)]
    ModelName, "model name"
}

segment! {
    /// A model's version: one path segment, ordered naturally.
    ///
    /// Runs of digits compare as numbers and everything between them as text, so `1.9 < 1.10` and `v9 < v10`. (Metron
    /// compares versions as text, where `1.9` is the newer one.)
    Version, "model version"
}

segment! {
    /// The id of one running copy: unique for ever, and sorted by the time it was made.
    #[derive(PartialOrd, Ord)]
    InstanceId, "instance id"
}

impl InstanceId {
    /// A new id. Later ids sort behind earlier ones.
    #[must_use]
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string())
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        // Texts that differ only in leading zeros are equal as numbers; the text decides, so that Ord agrees with Eq.
        natural_order(&self.0, &other.0).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares run by run: digits with digits as numbers of any length, all else as text.
fn natural_order(mut left: &str, mut right: &str) -> Ordering {
    loop {
        let (left_run, left_rest) = split_run(left);
        let (right_run, right_rest) = split_run(right);
        if left_run.is_empty() || right_run.is_empty() {
            return left_run.len().cmp(&right_run.len());
        }
        let order = match (is_number(left_run), is_number(right_run)) {
            (true, true) => {
                let (left, right) = (
                    left_run.trim_start_matches('0'),
                    right_run.trim_start_matches('0'),
                );
                left.len().cmp(&right.len()).then_with(|| left.cmp(right))
            }
            _ => left_run.cmp(right_run),
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
}

fn is_number(run: &str) -> bool {
    run.starts_with(|c: char| c.is_ascii_digit())
}

/// Splits off the longest run of digits, or of anything else.
fn split_run(text: &str) -> (&str, &str) {
    let digits = is_number(text);
    let end = text
        .find(|c: char| c.is_ascii_digit() != digits)
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_or_znode_are_refused() {
        for bad in [
            "", ".", "..", "a/b", "../x", "/", "a\0b", "a\nb", "\u{7f}", "\u{f8ff}", "\u{ffff}",
        ] {
            assert!(ModelName::new(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(ModelName::new("x".repeat(MAX_NAME_BYTES + 1)).is_err());
    }

    #[test]
    fn names_of_the_field_are_accepted() {
        for good in [
            "dga",
            "1.0",
            "my model",
            "модель",
            "...",
            "a:b",
            "1.0-SNAPSHOT",
            &"x".repeat(MAX_NAME_BYTES),
        ] {
            assert_eq!(ModelName::new(good).expect("a good name").as_str(), good);
        }
    }

    #[test]
    fn versions_are_ordered_naturally() {
        let ascending = [
            "0.9",
            "1",
            "1.0",
            "1.0-SNAPSHOT",
            "1.9",
            "1.10",
            "1.10.1",
            "2",
            "10",
            "123456789012345678901234567890",
            "v3",
            "v10",
        ];
        let mut versions: Vec<Version> = ascending
            .iter()
            .map(|v| Version::new(*v).expect("a version"))
            .collect();
        versions.reverse();
        versions.sort();
        assert_eq!(
            versions.iter().map(Version::as_str).collect::<Vec<_>>(),
            ascending
        );
    }

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let ids: Vec<InstanceId> = (0..100).map(|_| InstanceId::generate()).collect();
        assert!(ids.is_sorted());
    }

    proptest! {
        #[test]
        fn the_order_of_versions_is_total(a in "[a-b0-2.]{1,6}", b in "[a-b0-2.]{1,6}", c in "[a-b0-2.]{1,6}") {
            let [a, b, c] = [a, b, c].map(Version);
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }
    }
}
