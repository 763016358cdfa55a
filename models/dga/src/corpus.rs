//! The names to learn from: a list of real ones, a list of generated ones, and what our generators add.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use jiff::ToSpan;
use jiff::civil::Date;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use crate::families::{FAMILIES, Family, Seed, sample_words};

/// Labels of this length or shorter say too little to be judged.
pub const SHORT: usize = 6;

/// The largest list that is read, unpacked.
const MAX_LIST: u64 = 512 * 1024 * 1024;

/// The labels of one list, each once, in the order of the list.
#[derive(Clone, Debug)]
pub struct List {
    /// Where it came from.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The labels.
    pub labels: Vec<String>,
}

impl List {
    /// Reads a list of names, one a line, plain or gzipped. Of each name the label before the first dot is taken.
    ///
    /// # Errors
    /// When the file cannot be read or holds no name.
    pub fn read(path: &Path) -> Result<List, CorpusError> {
        let read = |source| CorpusError::Read {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_LIST).read_to_end(&mut bytes))
            .map_err(read)?;
        List::parse(path, bytes)
    }

    /// Reads the content of a list; `path` is where it came from.
    ///
    /// # Errors
    /// When it is no text, or holds no name.
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<List, CorpusError> {
        let read = |source| CorpusError::Read {
            path: path.to_owned(),
            source,
        };
        let digest = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let text = if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut text = String::new();
            GzDecoder::new(&bytes[..])
                .take(MAX_LIST)
                .read_to_string(&mut text)
                .map_err(read)?;
            text
        } else {
            String::from_utf8(bytes)
                .map_err(|error| read(io::Error::new(io::ErrorKind::InvalidData, error)))?
        };
        let mut seen = HashSet::new();
        let labels = text
            .lines()
            .filter_map(label_of)
            .filter(|label| seen.insert(label.clone()));
        let labels: Vec<String> = labels.collect();
        if labels.is_empty() {
            return Err(CorpusError::Empty {
                path: path.to_owned(),
            });
        }
        Ok(List {
            path: path.to_owned(),
            digest,
            labels,
        })
    }
}

/// The label before the first dot. Of names in another script the letters say nothing here, so they are left out.
fn label_of(line: &str) -> Option<String> {
    let name = line.trim().to_ascii_lowercase();
    let label = name.split('.').next().unwrap_or_default();
    let usable = !label.is_empty()
        && !label.starts_with('#')
        && !label.starts_with("xn--")
        && label.is_ascii();
    usable.then(|| label.to_owned())
}

/// Labels that the generators of the given families make, with their family. The same seed makes the same ones.
///
/// `years` bounds the dates the names are for, so that those for training and those for testing can lie apart.
pub fn generated<'f>(
    families: impl IntoIterator<Item = &'f Family>,
    each: usize,
    years: (i16, i16),
    seed: u64,
) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for family in families {
        let place = FAMILIES
            .iter()
            .position(|known| known.name == family.name)
            .unwrap_or(0);
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ (place as u64 + 1) << 40);
        let mut seen = HashSet::new();
        // A family with fewer names than asked for gives what it has.
        for _ in 0..each {
            let first = Date::constant(years.0, 1, 1);
            let days = i32::from(years.1 - years.0 + 1) * 365;
            let date = first.saturating_add(rng.random_range(0..days).days());
            let seed = Seed {
                date,
                number: rng.random(),
                words: sample_words(),
            };
            for name in family.names(&seed, 4) {
                let label = name.split('.').next().unwrap_or_default().to_owned();
                if seen.len() < each && label.len() > SHORT && seen.insert(label.clone()) {
                    all.push((family.name, label));
                }
            }
        }
    }
    all
}

/// Why there is nothing to learn from.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A list that cannot be read.
    #[error("could not read the list `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A list without names.
    #[error("the list `{path}` holds no name")]
    Empty {
        /// Which.
        path: PathBuf,
    },
}
