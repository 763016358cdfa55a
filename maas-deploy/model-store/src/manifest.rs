//! The manifest: what exactly a bundle holds. Its digest is the bundle's name.
//!
//! It is JSON in one canonical form (sorted by path, no white space, fields in a fixed order), so the same content gives the
//! same bytes and thus the same digest on every machine:
//!
//! ```json
//! {"format":"maas-bundle/1","files":[{"path":"start.sh","size":42,"executable":true,"sha256":"9f86…"}],"empty_folders":[]}
//! ```
//!
//! A manifest that is read is untrusted until its digest is checked, and its paths must lead down even then.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::store::Fault;
use crate::tree::{Tree, TreeFile};

/// The manifest's file name in a bundle's folder in the store.
pub(crate) const MANIFEST: &str = ".maas-manifest.json";

const FORMAT: &str = "maas-bundle/1";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: String,
    pub(crate) files: Vec<ManifestFile>,
    pub(crate) empty_folders: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestFile {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) executable: bool,
    #[serde(with = "hex")]
    pub(crate) sha256: Digest,
}

impl Manifest {
    /// From a tree and the digest of each of its files, in the same order.
    pub(crate) fn new(tree: &Tree, digests: impl IntoIterator<Item = Digest>) -> Self {
        let files = tree.files.iter().cloned().zip(digests);
        Self {
            format: FORMAT.to_owned(),
            files: files
                .map(
                    |(
                        TreeFile {
                            path,
                            size,
                            executable,
                        },
                        sha256,
                    )| ManifestFile {
                        path,
                        size,
                        executable,
                        sha256,
                    },
                )
                .collect(),
            empty_folders: tree.empty_folders.clone(),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers, texts and lists can always be written as JSON")
    }

    /// Reads a manifest, and makes sure that writing into its paths writes nowhere else than below one folder.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Fault> {
        let format: Format =
            serde_json::from_slice(bytes).map_err(|source| Fault::Manifest { source })?;
        if format.format != FORMAT {
            return Err(Fault::Format {
                found: format.format,
            });
        }
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|source| Fault::Manifest { source })?;
        let paths = manifest
            .files
            .iter()
            .map(|file| &file.path)
            .chain(&manifest.empty_folders);
        for path in paths {
            let leads_down = path.split('/').all(|part| !matches!(part, "" | "." | ".."))
                && !path.contains('\0');
            if !leads_down || path == MANIFEST {
                return Err(Fault::Path { path: path.clone() });
            }
        }
        // One content has one form only; this also rules out a path that is listed twice.
        let is_sorted = manifest.files.is_sorted_by(|a, b| a.path < b.path)
            && manifest.empty_folders.is_sorted_by(|a, b| a < b);
        if !is_sorted || manifest.to_bytes() != bytes {
            return Err(Fault::NotCanonical);
        }
        Ok(manifest)
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// What must lie in the store, beside the manifest itself.
    pub(crate) fn tree(&self) -> Tree {
        Tree {
            files: self
                .files
                .iter()
                .map(|file| TreeFile {
                    path: file.path.clone(),
                    size: file.size,
                    executable: file.executable,
                })
                .collect(),
            empty_folders: self.empty_folders.clone(),
        }
    }

    /// Compares what lies in the store (without the manifest itself) with what should. Not the executable bits: the fetched
    /// files get theirs from the manifest, whatever the store makes of them.
    pub(crate) fn compare(&self, found: &Tree) -> Result<(), Fault> {
        let mut there = found.files.iter().peekable();
        for file in &self.files {
            match there.next() {
                Some(found) if found.path == file.path => {
                    if found.size != file.size {
                        return Err(Fault::Size {
                            path: file.path.clone(),
                            expected: file.size,
                            found: found.size,
                        });
                    }
                }
                Some(found) if found.path < file.path => {
                    return Err(Fault::Extra {
                        path: found.path.clone(),
                    });
                }
                _ => {
                    return Err(Fault::Missing {
                        path: file.path.clone(),
                    });
                }
            }
        }
        match there.next() {
            Some(extra) => Err(Fault::Extra {
                path: extra.path.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// Only what tells one format from another.
#[derive(Deserialize)]
struct Format {
    format: String,
}

mod hex {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::digest::Digest;

    pub(super) fn serialize<S: Serializer>(
        digest: &Digest,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&digest.hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        Digest::from_hex(&text)
            .ok_or_else(|| D::Error::custom("no SHA-256 in 64 lower-case hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = concat!(
        r#"{"format":"maas-bundle/1","files":["#,
        r#"{"path":"data/ü.txt","size":0,"executable":false,"#,
        r#""sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},"#,
        r#"{"path":"start.sh","size":3,"executable":true,"#,
        r#""sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}"#,
        r#"],"empty_folders":["tmp"]}"#
    );

    fn sample() -> Manifest {
        let file = |path: &str, size, executable| TreeFile {
            path: path.to_owned(),
            size,
            executable,
        };
        let tree = Tree {
            files: vec![file("data/ü.txt", 0, false), file("start.sh", 3, true)],
            empty_folders: vec!["tmp".to_owned()],
        };
        Manifest::new(&tree, [Digest::of(b""), Digest::of(b"abc")])
    }

    #[test]
    fn it_is_written_and_read_in_the_documented_form() {
        assert_eq!(String::from_utf8(sample().to_bytes()).unwrap(), GOLDEN);
        assert_eq!(Manifest::from_bytes(GOLDEN.as_bytes()).unwrap(), sample());
        assert_eq!(sample().digest(), Digest::of(GOLDEN.as_bytes()));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for bad in [
            "../x",
            "/etc/passwd",
            "a/../../x",
            "a//x",
            "./x",
            "",
            "a/",
            "a\\u0000",
            ".maas-manifest.json",
        ] {
            let text = GOLDEN.replace("data/ü.txt", bad);
            assert!(
                matches!(
                    Manifest::from_bytes(text.as_bytes()),
                    Err(Fault::Path { .. })
                ),
                "{bad}"
            );
            let text = GOLDEN.replace(r#"["tmp"]"#, &format!(r#"["{bad}"]"#));
            assert!(
                matches!(
                    Manifest::from_bytes(text.as_bytes()),
                    Err(Fault::Path { .. })
                ),
                "{bad}"
            );
        }
    }

    #[test]
    fn other_forms_of_the_same_are_refused() {
        let twice = GOLDEN.replace("data/ü.txt", "start.sh");
        let unsorted = GOLDEN.replace("data/ü.txt", "z");
        let spaced = GOLDEN.replace(",", ", ");
        let extended = GOLDEN.replace("\"size\"", "\"more\":1,\"size\"");
        for bad in [twice, unsorted, spaced, extended] {
            assert!(
                matches!(
                    Manifest::from_bytes(bad.as_bytes()),
                    Err(Fault::NotCanonical)
                ),
                "{bad}"
            );
        }
        let newer = GOLDEN.replace("bundle/1", "bundle/2");
        assert!(matches!(
            Manifest::from_bytes(newer.as_bytes()),
            Err(Fault::Format { .. })
        ));
        for bad in [
            "",
            "null",
            "{}",
            &GOLDEN[..90],
            &GOLDEN.replace("e3b0", "E3B0"),
        ] {
            assert!(
                matches!(
                    Manifest::from_bytes(bad.as_bytes()),
                    Err(Fault::Manifest { .. })
                ),
                "{bad}"
            );
        }
    }
}
