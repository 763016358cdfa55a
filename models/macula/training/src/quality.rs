//! How good scores are: of all rows that were judged, and of those alone whose feature is above a number.

use std::str::FromStr;
use std::sync::Arc;

use gatherers::Value;
use model_evaluation::metrics::{Estimate, Scores};
use serde::{Serialize, Serializer};

use crate::labelled::Label;
use crate::rows::Row;
use crate::training::LearnError;

/// How good a model is. Each row counts once, whatever it weighs in training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Benign rows.
    pub benign: usize,
    /// Malicious rows.
    pub malicious: usize,
    /// How likely a malicious row scores above a benign one.
    pub auc: Estimate,
    /// The share of malicious rows found while 1 % of the benign ones raise an alarm.
    pub found_at_1_percent: Estimate,
    /// The same at 0.1 %.
    pub found_at_0_1_percent: Estimate,
}

impl Quality {
    /// The quality that these scores show.
    pub fn of(scores: &Scores) -> Quality {
        Quality {
            benign: scores.negatives().len(),
            malicious: scores.positives().len(),
            auc: scores.estimate(Scores::auc),
            found_at_1_percent: scores.estimate(|scores| scores.recall_at(0.01)),
            found_at_0_1_percent: scores.estimate(|scores| scores.recall_at(0.001)),
        }
    }
}

/// A number that a feature has to be above for a row to be looked at, written `FEATURE=NUMBER`.
#[derive(Clone, Debug, PartialEq)]
pub struct Above {
    /// Which feature.
    pub feature: Arc<str>,
    /// Which number.
    pub number: f64,
}

impl Above {
    /// Whether the row is one of those. One that lacks the feature is not.
    pub fn has(&self, row: &Row) -> bool {
        let value = row.gathered.value(&self.feature);
        matches!(value, Some(Value::Number(number)) if *number > self.number)
    }
}

impl std::fmt::Display for Above {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} above {}", self.feature, self.number)
    }
}

impl FromStr for Above {
    type Err = AboveError;

    fn from_str(text: &str) -> Result<Above, AboveError> {
        let (feature, number) = text.split_once('=').ok_or(AboveError)?;
        let number: f64 = number.trim().parse().map_err(|_| AboveError)?;
        let feature = feature.trim();
        if feature.is_empty() || !number.is_finite() {
            return Err(AboveError);
        }
        Ok(Above {
            feature: feature.into(),
            number,
        })
    }
}

/// A text that names no feature and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a feature and a number, as in `lexical_registered_length=6`")]
pub struct AboveError;

/// The quality on the rows alone whose feature is above a number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QualityAbove {
    /// Which rows.
    #[serde(rename = "only", serialize_with = "as_text")]
    pub above: Above,
    /// How good it is on these.
    #[serde(flatten)]
    pub quality: Quality,
}

fn as_text<S: Serializer>(above: &Above, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(above)
}

/// Margins that models gave rows they had not learned from, each with what its row is.
#[derive(Clone, Debug, Default)]
pub struct Judged<'r>(Vec<(&'r Row, f32)>);

impl<'r> Judged<'r> {
    /// Adds rows with their margins.
    pub fn extend(&mut self, judged: impl IntoIterator<Item = (&'r Row, f32)>) {
        self.0.extend(judged);
    }

    /// All of them.
    pub fn scores(&self) -> Scores {
        self.scores_where(|_| true)
    }

    /// The quality on those alone whose feature is above a number.
    ///
    /// # Errors
    /// When there are none of a label.
    pub fn only(&self, above: &Above) -> Result<QualityAbove, LearnError> {
        let scores = self.scores_where(|row| above.has(row));
        if scores.negatives().is_empty() || scores.positives().is_empty() {
            return Err(LearnError::Above(above.clone()));
        }
        Ok(QualityAbove {
            above: above.clone(),
            quality: Quality::of(&scores),
        })
    }

    fn scores_where(&self, wanted: impl Fn(&Row) -> bool) -> Scores {
        let mut margins = [Vec::new(), Vec::new()];
        for (row, margin) in self.0.iter().filter(|(row, _)| wanted(row)) {
            margins[usize::from(row.label == Label::Malicious)].push(*margin);
        }
        let [benign, malicious] = margins;
        Scores::new(benign, malicious)
    }
}

impl<'r> IntoIterator for Judged<'r> {
    type Item = (&'r Row, f32);
    type IntoIter = std::vec::IntoIter<(&'r Row, f32)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'r> FromIterator<(&'r Row, f32)> for Judged<'r> {
    fn from_iter<I: IntoIterator<Item = (&'r Row, f32)>>(judged: I) -> Judged<'r> {
        Judged(judged.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_and_a_number_are_read_and_what_is_neither_is_refused() {
        let above: Above = "lexical_registered_length=6".parse().unwrap();
        assert_eq!(above.to_string(), "lexical_registered_length above 6");
        for wrong in [
            "",
            "lexical_length",
            "=6",
            "lexical_length=",
            "lexical_length=NaN",
        ] {
            assert_eq!(wrong.parse::<Above>(), Err(AboveError), "{wrong}");
        }
    }
}
