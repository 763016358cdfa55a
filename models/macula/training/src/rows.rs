//! Rows: what was gathered about labelled indicators, one JSON line each. What a model is trained on.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use gatherers::Gathered;
use indicators::Indicator;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::labelled::{Label, Weight};
use crate::lexical;

/// A labelled indicator with its features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What it is known to be.
    pub label: Label,
    /// With which others it belongs together, if anybody says. No model learns from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// How much it counts in training.
    #[serde(default, skip_serializing_if = "Weight::is_one")]
    pub weight: Weight,
    /// Whether it is only learned from, and never measured on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub training_only: bool,
    /// What is known about it.
    #[serde(flatten)]
    pub gathered: Gathered,
}

impl Row {
    /// Adds what the text itself tells, unless the row has it already. Names whose labels are `counted` are among those that
    /// the tables of familiar names were made of; they are looked at as if they were not.
    pub fn enrich(&mut self, counted: &HashSet<String>) {
        let Ok(indicator) = self.gathered.indicator.parse::<Indicator>() else {
            return;
        };
        let Some(name) = gatherers::SubjectForm::Name.of(&indicator) else {
            return;
        };
        let readings = if counted.contains(lexical::chosen_label(&name)) {
            let features = &mut self.gathered.features;
            features.retain(|feature| *feature.gatherer != *lexical::NAME);
            lexical::readings_left_out(&name)
        } else {
            lexical::readings(&name)
        };
        for (feature, reading) in readings {
            if self.gathered.feature(&feature).is_none() {
                self.gathered.features.push(gatherers::Feature {
                    name: feature,
                    category: gatherers::Category::Lexical,
                    reading,
                    gatherer: lexical::NAME.into(),
                    fetched_at: None,
                    from_cache: false,
                });
            }
        }
    }

    /// To which of so many folds it belongs. Names of one registration stay together, or a model would be asked about what it
    /// has all but seen.
    pub fn fold(&self, folds: usize) -> usize {
        let digest = Sha256::digest(self.registration());
        let number = u64::from_be_bytes(digest[..8].try_into().unwrap_or_default());
        (number % folds as u64) as usize
    }

    /// What was registered of its name; of what has none, the indicator.
    pub(crate) fn registration(&self) -> String {
        let name = &self.gathered.indicator;
        let registered = match name.parse::<Indicator>() {
            Ok(indicator) => gatherers::SubjectForm::Registrable.of(&indicator),
            Err(_) => None,
        };
        registered.unwrap_or_else(|| name.clone())
    }
}

/// Reads rows.
///
/// # Errors
/// When the file cannot be read, or a line is no row.
pub fn read(path: &Path) -> Result<Vec<Row>, RowsError> {
    let text = fs::read_to_string(path).map_err(|source| RowsError::File {
        path: path.into(),
        source,
    })?;
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|source| RowsError::Line {
                path: path.into(),
                line: at + 1,
                source,
            })
        })
        .collect()
}

/// Writes rows. The file appears when all of them are in it.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, rows: &[Row]) -> Result<(), RowsError> {
    let mut writer = Writer::create(path)?;
    rows.iter().try_for_each(|row| writer.add(row))?;
    writer.finish()
}

/// Sets aside, as `….part.old`, what a [`Writer`] that did not come to its end has left, and says where it is. Of two, the longer one
/// stays: the other one had less time.
///
/// # Errors
/// When it cannot be renamed.
pub fn keep_part(path: &Path) -> Result<Option<PathBuf>, RowsError> {
    let part = with_ending(path, ".part");
    let old = with_ending(path, ".part.old");
    let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    if size(&part) == 0 {
        return Ok(None);
    }
    if size(&part) >= size(&old) {
        fs::rename(&part, &old).map_err(|source| RowsError::File { path: part, source })?;
    }
    Ok(Some(old))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// Writes rows one by one. The file appears when all of them are in it; until then they are in one called `….part`, so that what
/// took hours is not lost with the program.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> Result<Writer, RowsError> {
        let part = with_ending(path, ".part");
        let file = File::create(&part).map_err(|source| RowsError::File {
            path: path.into(),
            source,
        })?;
        Ok(Writer {
            path: path.into(),
            part,
            file: BufWriter::new(file),
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, row: &Row) -> Result<(), RowsError> {
        let written = serde_json::to_writer(&mut self.file, row).map_err(io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|source| self.failed(source))
    }

    /// Gives the rows so far to the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<(), RowsError> {
        let flushed = self.file.flush();
        flushed.map_err(|source| self.failed(source))
    }

    /// Lets the file appear.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<(), RowsError> {
        self.flush()?;
        fs::rename(&self.part, &self.path).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> RowsError {
        RowsError::File {
            path: self.path.clone(),
            source,
        }
    }
}

/// What tells these rows from others, whenever and by whichever gatherer their features were told.
pub fn digest(rows: &[Row]) -> String {
    let mut hash = Sha256::new();
    for row in rows {
        hash.update(format!("{:?} {}", row.label, row.gathered.indicator));
        if !row.weight.is_one() {
            hash.update(format!(" weight {}", row.weight.get()));
        }
        if row.training_only {
            hash.update(" for training only");
        }
        for feature in &row.gathered.features {
            hash.update(format!(" {}={:?}", feature.name, feature.reading));
        }
        hash.update("\n");
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file of rows that is none.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The file.
    #[error("`{path}` cannot be read or written")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line.
    #[error("`{path}`, line {line}, is no gathered row")]
    Line {
        /// Of which file.
        path: PathBuf,
        /// Which.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupted_run_has_left_is_set_aside_and_the_longer_of_two_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gathered.ndjson");
        let [part, old] = [".part", ".part.old"].map(|ending| with_ending(&path, ending));
        assert_eq!(keep_part(&path).expect("kept"), None);
        for (left, kept) in [
            ("two rows", "two rows"),
            ("one", "two rows"),
            ("three rows", "three rows"),
        ] {
            fs::write(&part, left).expect("written");
            assert_eq!(keep_part(&path).expect("kept"), Some(old.clone()));
            assert_eq!(fs::read_to_string(&old).expect("read"), kept);
        }
        drop(Writer::create(&path).expect("a file"));
        assert_eq!(keep_part(&path).expect("kept"), None, "it holds nothing");
    }

    #[test]
    fn rows_are_kept_as_they_come_and_the_file_appears_when_all_are_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gathered.ndjson");
        let row = Row {
            label: Label::Benign,
            family: None,
            weight: Weight::default(),
            training_only: false,
            gathered: Gathered {
                indicator: "good.test".into(),
                kind: "domain".into(),
                features: Vec::new(),
            },
        };
        let mut writer = Writer::create(&path).expect("a file");
        writer.add(&row).expect("written");
        writer.flush().expect("written");
        let part = folder.path().join("gathered.ndjson.part");
        assert_eq!(read(&part).expect("rows"), std::slice::from_ref(&row));
        assert!(!path.exists());
        writer.finish().expect("written");
        assert_eq!(read(&path).expect("rows"), [row]);
        assert!(!part.exists());
    }
}
