//! Names that are known to be coming.
//!
//! Where the generator and the seed of a family are known, its names can be listed before anybody asks for them. That finds
//! families that string words together, which no look at a single name could, and it names the family. The lists are the
//! user's; `dga predict` makes those of a strain whose words are known.
//!
//! A line is `NAME FAMILY [DATE] [SEED]`, separated by blanks, tabs or commas; `#` begins a comment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use jiff::civil::Date;

use crate::name::Name;

/// Who will ask for a name, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The family.
    pub family: String,
    /// The day the name is for.
    pub date: Option<String>,
    /// The seed it comes from.
    pub seed: Option<String>,
}

/// Predicted names, found by exact match.
#[derive(Clone, Debug, Default)]
pub struct PredictionLists {
    names: HashMap<String, Prediction>,
    until: Option<String>,
}

impl PredictionLists {
    /// Reads lists. A name on several is taken from the first.
    ///
    /// # Errors
    /// When a file cannot be read or a line is none of a list: half a list would look like a whole one.
    pub fn read(paths: &[PathBuf]) -> Result<PredictionLists, PredictionListError> {
        let mut lists = PredictionLists::default();
        for path in paths {
            let read = |source| PredictionListError::Read {
                path: path.clone(),
                source,
            };
            lists.add(path, &fs::read_to_string(path).map_err(read)?)?;
        }
        Ok(lists)
    }

    /// Reads the text of a list; `path` is what errors call it.
    ///
    /// # Errors
    /// When a line is none of a list.
    pub fn parse(path: &Path, text: &str) -> Result<PredictionLists, PredictionListError> {
        let mut lists = PredictionLists::default();
        lists.add(path, text)?;
        Ok(lists)
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), PredictionListError> {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default();
            let mut fields = line
                .split([' ', '\t', ',', '\r'])
                .filter(|field| !field.is_empty());
            let Some(name) = fields.next() else { continue };
            let wrong = |what| PredictionListError::Line {
                path: path.to_owned(),
                number,
                what,
            };
            let name = Name::parse(name).map_err(|error| wrong(error.to_string()))?;
            let family = fields
                .next()
                .ok_or_else(|| wrong("it names no family".to_owned()))?;
            let mut field = || fields.next().map(str::to_owned);
            let prediction = Prediction {
                family: family.to_owned(),
                date: field(),
                seed: field(),
            };
            let date = prediction.date.as_ref();
            if date.is_some_and(|date| {
                date.parse::<Date>().is_ok() && Some(date) > self.until.as_ref()
            }) {
                self.until.clone_from(&prediction.date);
            }
            self.names
                .entry(name.as_str().to_owned())
                .or_insert(prediction);
        }
        Ok(())
    }

    /// The prediction for this name, or for what was registered of it.
    pub fn find(&self, name: &Name) -> Option<&Prediction> {
        if self.names.is_empty() {
            return None;
        }
        self.names
            .get(name.as_str())
            .or_else(|| self.names.get(name.registered()))
    }

    /// The last day that a name is for, as far as the lists say.
    pub fn until(&self) -> Option<&str> {
        self.until.as_deref()
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Why a list is none.
#[derive(Debug, thiserror::Error)]
pub enum PredictionListError {
    /// A file that cannot be read.
    #[error("could not read the prediction list `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line that says nothing.
    #[error(
        "line {number} of the prediction list `{path}` is no `NAME FAMILY [DATE] [SEED]`: {what}"
    )]
    Line {
        /// Which list.
        path: PathBuf,
        /// Which line.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that meets what it does not expect has failed"
    )]

    use super::*;

    fn lists(text: &str) -> Result<PredictionLists, PredictionListError> {
        PredictionLists::parse(Path::new("list"), text)
    }

    #[test]
    fn names_are_found_exactly_and_under_their_subdomains() {
        let lists =
            lists("# words\nForestMarket.net suppobox 2026-01-02 7\n\nx.y.example,gozi # late\n")
                .unwrap();
        let find = |text: &str| {
            lists
                .find(&Name::parse(text).unwrap())
                .map(|found| found.family.as_str())
        };
        assert_eq!(lists.len(), 2);
        assert_eq!(find("forestmarket.net"), Some("suppobox"));
        assert_eq!(find("WWW.forestmarket.net."), Some("suppobox"));
        assert_eq!(find("forestmarket.com"), None);
        assert_eq!(find("x.y.example"), Some("gozi"));
        assert_eq!(find("y.example"), None);
        let found = lists
            .find(&Name::parse("forestmarket.net").unwrap())
            .unwrap();
        assert_eq!(
            (found.date.as_deref(), found.seed.as_deref()),
            (Some("2026-01-02"), Some("7"))
        );
    }

    #[test]
    fn a_line_that_says_nothing_is_told_by_its_number() {
        let error = lists("good.example x\nbad..example x\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(
            lists("nofamily.example")
                .unwrap_err()
                .to_string()
                .contains("no family")
        );
    }
}
