//! File hashes: hexadecimal digests, told apart by their length.

use std::fmt;

/// The digest of a file, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileHash {
    kind: HashKind,
    hex: Box<str>,
}

/// The algorithm a digest came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashKind {
    /// 128 bits.
    Md5,
    /// 160 bits.
    Sha1,
    /// 256 bits.
    Sha256,
    /// 512 bits.
    Sha512,
}

impl FileHash {
    /// A digest, if `text` is hexadecimal and as long as one.
    pub fn parse(text: &str) -> Option<Self> {
        let kind = match text.len() {
            32 => HashKind::Md5,
            40 => HashKind::Sha1,
            64 => HashKind::Sha256,
            128 => HashKind::Sha512,
            _ => return None,
        };
        let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hexadecimal.then(|| FileHash {
            kind,
            hex: text.to_ascii_lowercase().into(),
        })
    }

    /// The algorithm.
    pub fn kind(&self) -> HashKind {
        self.kind
    }
}

impl HashKind {
    /// The name answers use.
    pub fn name(self) -> &'static str {
        match self {
            HashKind::Md5 => "md5",
            HashKind::Sha1 => "sha1",
            HashKind::Sha256 => "sha256",
            HashKind::Sha512 => "sha512",
        }
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}
