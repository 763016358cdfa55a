//! The feature contract: which features a model wants, and what it makes of whatever it gets.
//!
//! Gatherers come and go, are switched off, and change what they say. A model never fails for that. Each feature becomes one
//! or more columns of numbers; a slip is corrected (a number in quotes, a number out of range); what is missing or no value at
//! all is imputed: with the value of the contract, or, where it has none, left to the trees, which learned where rows go whose
//! value is not known. Features that the contract does not name are ignored.

use std::collections::HashSet;
use std::sync::Arc;

use gatherers::{Category, Gathered, Missing, Reading, Value};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

/// The most columns a model may have.
const MOST_COLUMNS: usize = 10_000;

/// What a model wants of one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureContract {
    /// Its name.
    pub name: Arc<str>,
    /// What it is about.
    pub category: Category,
    /// What its values are, and how they become columns.
    #[serde(flatten)]
    pub encoding: Encoding,
    /// What stands for a value that is missing; nothing leaves it to the trees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impute: Option<Value>,
}

/// How values become columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Encoding {
    /// One column. What lies outside the range is drawn to its nearest end.
    Number {
        /// The least value.
        min: f64,
        /// The greatest value.
        max: f64,
    },
    /// One column of 0 and 1.
    Flag,
    /// A column of 0 and 1 for each word; other words are 0 in all of them.
    Text {
        /// The words, in the order of their columns.
        words: Vec<String>,
    },
}

impl Encoding {
    fn columns(&self) -> usize {
        match self {
            Encoding::Number { .. } | Encoding::Flag => 1,
            Encoding::Text { words } => words.len(),
        }
    }
}

/// All features of a model, in the order of its columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<FeatureContract>", into = "Vec<FeatureContract>")]
pub struct Contract {
    features: Vec<FeatureContract>,
    /// The number of each feature by its name.
    numbers: HashMap<Arc<str>, usize>,
    columns: usize,
}

/// What a model is told of an indicator: for each feature of its contract, in that order, a value that is one of this feature,
/// or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Readings(Box<[Reading]>);

impl Readings {
    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Reading> + Clone {
        self.0.iter()
    }

    /// The share of the features that have a value, 0 to 1.
    pub fn coverage(&self) -> f64 {
        let known = self.iter().filter(|reading| reading.value().is_some());
        known.count() as f64 / self.0.len() as f64
    }

    /// About how many bytes they take.
    pub fn size(&self) -> usize {
        let text = |reading: &Reading| match reading {
            Reading::Value(Value::Text(text)) => text.capacity(),
            Reading::Value(Value::Flag(_) | Value::Number(_)) | Reading::Missing(_) => 0,
        };
        size_of_val(&*self.0) + self.iter().map(text).sum::<usize>()
    }
}

impl Contract {
    /// A contract over these features.
    ///
    /// # Errors
    /// When a feature is there twice, has an empty range or no words, or is imputed with what is no value of it.
    pub fn new(features: Vec<FeatureContract>) -> Result<Contract, ContractError> {
        let mut numbers = HashMap::new();
        for (number, feature) in features.iter().enumerate() {
            if numbers.insert(feature.name.clone(), number).is_some() {
                return Err(ContractError::Twice(feature.name.to_string()));
            }
            feature.check()?;
        }
        let columns = features.iter().map(|f| f.encoding.columns()).sum();
        if columns == 0 || columns > MOST_COLUMNS {
            return Err(ContractError::Columns(columns));
        }
        Ok(Contract {
            features,
            numbers,
            columns,
        })
    }

    /// The features.
    pub fn features(&self) -> &[FeatureContract] {
        &self.features
    }

    /// How many columns they make.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The names of the columns, as the trees have them: the feature's, with `=word` for each word of a text.
    pub fn column_names(&self) -> Vec<String> {
        let names = |feature: &FeatureContract| match &feature.encoding {
            Encoding::Number { .. } | Encoding::Flag => vec![feature.name.to_string()],
            Encoding::Text { words } => words
                .iter()
                .map(|word| format!("{}={word}", feature.name))
                .collect(),
        };
        self.features.iter().flat_map(names).collect()
    }

    /// For each column the number of its feature.
    pub fn feature_of_columns(&self) -> Vec<usize> {
        let numbered = self.features.iter().enumerate();
        numbered
            .flat_map(|(at, feature)| std::iter::repeat_n(at, feature.encoding.columns()))
            .collect()
    }

    /// Picks what the features want out of what was gathered. Never fails: what is no value is missing.
    pub fn readings(&self, gathered: &Gathered) -> Readings {
        let features = gathered.features.iter();
        self.readings_of(features.map(|feature| (&*feature.name, &feature.reading)))
    }

    pub(crate) fn readings_of<'a>(
        &self,
        told: impl Iterator<Item = (&'a str, &'a Reading)>,
    ) -> Readings {
        let mut readings = vec![Reading::Missing(Missing::Absent); self.features.len()];
        for (name, reading) in told {
            let Some(number) = self.numbers.get(name) else {
                continue;
            };
            readings[*number] = match reading {
                Reading::Value(value) if self.features[*number].take(value).is_none() => {
                    Reading::Missing(Missing::Unexpected)
                }
                Reading::Value(_) | Reading::Missing(_) => reading.clone(),
            };
        }
        Readings(readings.into())
    }

    /// The columns of a model's row; NaN where a value is missing and the trees decide.
    pub fn row(&self, readings: &Readings) -> Vec<f32> {
        let mut row = Vec::with_capacity(self.columns);
        for (feature, reading) in self.features.iter().zip(readings.iter()) {
            let taken = reading.value().and_then(|value| feature.take(value));
            match taken.as_ref().or(feature.impute.as_ref()) {
                Some(value) => feature.push(value, &mut row),
                None => feature.push_missing(&mut row),
            }
        }
        row
    }
}

impl FeatureContract {
    fn check(&self) -> Result<(), ContractError> {
        let wrong = |what: &'static str| ContractError::Feature {
            feature: self.name.to_string(),
            what,
        };
        match &self.encoding {
            Encoding::Number { min, max } => {
                if !(min.is_finite() && max.is_finite() && min <= max) {
                    return Err(wrong("its range is empty or has no end"));
                }
            }
            Encoding::Flag => {}
            Encoding::Text { words } => {
                let different: HashSet<&String> = words.iter().collect();
                if words.is_empty() || different.len() != words.len() {
                    return Err(wrong("it has no words, or one of them twice"));
                }
            }
        }
        if let Some(value) = &self.impute {
            let fits = self.take(value).as_ref() == Some(value);
            if !fits {
                return Err(wrong("it is imputed with what is no value of it"));
            }
        }
        Ok(())
    }

    /// The value in the type and range of this feature, if it can be brought there.
    fn take(&self, value: &Value) -> Option<Value> {
        Some(match &self.encoding {
            Encoding::Number { min, max } => {
                let number: f64 = match value {
                    Value::Number(number) => *number,
                    Value::Text(text) => text.trim().parse().ok()?,
                    Value::Flag(_) => return None,
                };
                if !number.is_finite() {
                    return None;
                }
                Value::Number(number.clamp(*min, *max))
            }
            Encoding::Flag => Value::Flag(match value {
                Value::Flag(flag) => *flag,
                Value::Number(number) if *number == 0.0 => false,
                Value::Number(number) if *number == 1.0 => true,
                Value::Text(text) => text.trim().to_ascii_lowercase().parse().ok()?,
                Value::Number(_) => return None,
            }),
            Encoding::Text { .. } => match value {
                Value::Text(text) => Value::Text(text.clone()),
                Value::Number(number) => Value::Text(number.to_string()),
                Value::Flag(_) => return None,
            },
        })
    }

    fn push(&self, value: &Value, row: &mut Vec<f32>) {
        match (&self.encoding, value) {
            (Encoding::Text { words }, Value::Text(text)) => {
                row.extend(words.iter().map(|word| f32::from(u8::from(word == text))));
            }
            (_, Value::Number(number)) => row.push(*number as f32),
            (_, Value::Flag(flag)) => row.push(f32::from(u8::from(*flag))),
            (_, Value::Text(_)) => self.push_missing(row),
        }
    }

    fn push_missing(&self, row: &mut Vec<f32>) {
        row.extend(std::iter::repeat_n(f32::NAN, self.encoding.columns()));
    }
}

impl TryFrom<Vec<FeatureContract>> for Contract {
    type Error = ContractError;

    fn try_from(features: Vec<FeatureContract>) -> Result<Self, ContractError> {
        Contract::new(features)
    }
}

impl From<Contract> for Vec<FeatureContract> {
    fn from(contract: Contract) -> Self {
        contract.features
    }
}

/// Why features make no contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// A feature that is there twice.
    #[error("the feature `{0}` is there twice")]
    Twice(String),
    /// A feature that cannot be.
    #[error("the feature `{feature}` cannot be: {what}")]
    Feature {
        /// Which.
        feature: String,
        /// Why.
        what: &'static str,
    },
    /// No column, or too many.
    #[error("the features make {0} columns; expected are 1 to {MOST_COLUMNS}")]
    Columns(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> Contract {
        let text = r#"[
            {"name": "age", "category": "whois", "type": "number", "min": 0.0, "max": 100.0},
            {"name": "listed", "category": "online_reputation", "type": "flag", "impute": false},
            {"name": "country", "category": "geolocation", "type": "text", "words": ["NL", "DE"]}]"#;
        let contract: Contract = serde_json::from_str(text).unwrap();
        let again = serde_json::to_string(&contract).unwrap();
        assert_eq!(serde_json::from_str::<Contract>(&again).unwrap(), contract);
        contract
    }

    fn readings(told: &[(&str, Value)]) -> Readings {
        let told: HashMap<&str, Reading> = told
            .iter()
            .map(|(name, value)| (*name, Reading::Value(value.clone())))
            .collect();
        contract().readings_of(told.iter().map(|(name, reading)| (*name, reading)))
    }

    #[test]
    fn values_become_columns_and_slips_are_corrected() {
        let text = |text: &str| Value::Text(text.into());
        let fine = readings(&[
            ("age", Value::Number(7.0)),
            ("listed", Value::Flag(true)),
            ("country", text("DE")),
            ("unheard_of", Value::Number(1.0)),
        ]);
        assert_eq!(contract().row(&fine), [7.0, 1.0, 0.0, 1.0]);
        assert_eq!(fine.coverage(), 1.0);
        let slips = readings(&[
            ("age", text("700")),
            ("listed", Value::Number(1.0)),
            ("country", text("FR")),
        ]);
        assert_eq!(contract().row(&slips), [100.0, 1.0, 0.0, 0.0]);
        assert_eq!(slips.coverage(), 1.0);
    }

    #[test]
    fn what_is_missing_or_no_value_is_imputed() {
        let none = readings(&[("age", Value::Flag(true))]);
        let row = contract().row(&none);
        assert!(row[0].is_nan() && row[2].is_nan() && row[3].is_nan());
        assert_eq!(row[1], 0.0, "the contract's own value");
        let why = [Missing::Unexpected, Missing::Absent, Missing::Absent];
        assert!(none.iter().eq(&why.map(Reading::Missing)));
        assert_eq!(none.coverage(), 0.0);
    }

    #[test]
    fn columns_are_named_after_their_features() {
        let contract = contract();
        let names = ["age", "listed", "country=NL", "country=DE"];
        assert_eq!(contract.column_names(), names);
        assert_eq!(contract.feature_of_columns(), [0, 1, 2, 2]);
    }

    #[test]
    fn contracts_that_cannot_be_are_refused() {
        let feature = |encoding, impute| FeatureContract {
            name: "x".into(),
            category: Category::Whois,
            encoding,
            impute,
        };
        let range = |min, max| Encoding::Number { min, max };
        for features in [
            vec![],
            vec![feature(range(1.0, 0.0), None)],
            vec![feature(range(f64::NAN, 1.0), None)],
            vec![feature(range(0.0, 1.0), Some(Value::Number(2.0)))],
            vec![feature(Encoding::Text { words: vec![] }, None)],
            vec![feature(Encoding::Flag, None), feature(Encoding::Flag, None)],
        ] {
            assert!(Contract::new(features.clone()).is_err(), "{features:?}");
        }
    }
}
