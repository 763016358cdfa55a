//! Checksums of list files, told by somebody else than whoever keeps the files: a list that was changed on its way, or by whoever
//! got into its place, is not taken.
//!
//! The file is what `sha256sum` writes, names from the lists' place on:
//!
//! ```text
//! 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08  whitelist.txt
//! 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752 *feeds/phish.csv
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use crate::list::ListKind;

/// The SHA-256 digest of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

/// What the files of a place must be.
#[derive(Debug, Default)]
pub struct Checksums(BTreeMap<String, Digest>);

/// What is asked of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing.
    Anything,
    /// That it is this one.
    This(Digest),
    /// That somebody vouches for it, and nobody does.
    Vouched,
}

impl Checksums {
    /// Reads such a file.
    pub(crate) async fn read(path: &Path) -> io::Result<Checksums> {
        let text = tokio::fs::read_to_string(path).await?;
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
        text.parse().map_err(invalid)
    }

    /// What is asked of the file of this name. Whitelists and blacklists decide alone, so they must be named; other lists need
    /// not be.
    pub(crate) fn expect(&self, name: &str, kind: ListKind) -> Expected {
        match (self.0.get(name), kind) {
            (Some(digest), _) => Expected::This(*digest),
            (None, ListKind::Whitelist | ListKind::Blacklist) => Expected::Vouched,
            (None, ListKind::Darklist | ListKind::Feed) => Expected::Anything,
        }
    }

    /// How many files it names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Checksums {
    type Err = String;

    /// Reads what `sha256sum` writes. Empty lines and those that begin with `#` are nothing.
    fn from_str(text: &str) -> Result<Checksums, String> {
        let mut checksums = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| format!("line {number}: {what}");
            let (digest, name) = line
                .split_once(' ')
                .and_then(|(digest, name)| Some((unhex(digest)?, name)))
                .ok_or_else(|| wrong("it is no SHA-256 digest with a file's name behind it"))?;
            // The second character says whether the file was read as text or as bytes, which is the same here.
            let name = name.strip_prefix([' ', '*']).unwrap_or(name);
            let name = name.strip_prefix("./").unwrap_or(name);
            if name.is_empty() {
                return Err(wrong("it names no file"));
            }
            let before = checksums.insert(name.to_owned(), digest);
            if before.is_some_and(|before| before != digest) {
                return Err(wrong("it contradicts an earlier one"));
            }
        }
        Ok(Checksums(checksums))
    }
}

fn unhex(text: &str) -> Option<Digest> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(Digest(digest))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn what_sha256sum_writes_is_read() {
        let text = format!(
            "# by the list team\n{ONE}  whitelist.txt\n\n{} *./feeds/a b.csv\r\n",
            ONE.to_uppercase()
        );
        let checksums: Checksums = text.parse().expect("checksums");
        let expected = |name| checksums.expect(name, ListKind::Feed);
        let Expected::This(digest) = expected("feeds/a b.csv") else {
            panic!("it is named");
        };
        assert_eq!((digest.to_string().as_str(), checksums.len()), (ONE, 2));
        assert_eq!(expected("whitelist.txt"), Expected::This(digest));
        assert_eq!(expected("feeds/other.txt"), Expected::Anything);
        for kind in [ListKind::Whitelist, ListKind::Blacklist] {
            assert_eq!(checksums.expect("other.txt", kind), Expected::Vouched);
        }
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for bad in [
            "whitelist.txt",
            &ONE[1..],
            ONE,
            &format!("{ONE} *"),
            &format!("{}  a", ONE.replace('9', "g")),
        ] {
            let text = format!("{ONE}  a\n{bad}\n");
            let error = text.parse::<Checksums>().expect_err(bad);
            assert!(error.starts_with("line 2: "), "{error}");
        }
        let twice = format!("{ONE}  a\n{}  a\n", ONE.replace('9', "8"));
        assert!(twice.parse::<Checksums>().is_err());
    }
}
