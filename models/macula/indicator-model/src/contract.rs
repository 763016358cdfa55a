//! The feature contract: which features a model wants, and what it makes of whatever it gets.
//!
//! Gatherers come and go, are switched off, and change what they say. A model never fails for that. Each feature becomes one
//! or more columns of numbers; a slip is corrected (a number in quotes, a number out of range); what is missing or no value at
//! all is imputed: with the value of the contract, or, where it has none, left to the trees, which learned where rows go whose
//! value is not known. Features that the contract does not name are ignored.

use std::collections::{HashMap, HashSet};

use gatherers::{Category, Gathered, Missing, Reading, Value};
use serde::{Deserialize, Serialize};

/// The most columns a model may have.
const MOST_COLUMNS: usize = 10_000;

/// What a model wants of one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureContract {
    /// Its name.
    pub name: String,
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
    columns: usize,
}

/// A row of a model's columns, and what had to be done to make it.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The columns; NaN where a value is missing and the trees decide.
    pub row: Vec<f32>,
    /// Features without a value, and why.
    pub imputed: Vec<(String, Missing)>,
    /// Features whose value had to be corrected.
    pub corrected: Vec<String>,
    /// The share of the features that have a value, 0 to 1.
    pub coverage: f64,
}

impl Contract {
    /// A contract over these features.
    ///
    /// # Errors
    /// When a feature is there twice, has an empty range or no words, or is imputed with what is no value of it.
    pub fn new(features: Vec<FeatureContract>) -> Result<Contract, ContractError> {
        let mut seen = HashSet::new();
        for feature in &features {
            if !seen.insert(&feature.name) {
                return Err(ContractError::Twice(feature.name.clone()));
            }
            feature.check()?;
        }
        let columns = features.iter().map(|f| f.encoding.columns()).sum();
        if columns == 0 || columns > MOST_COLUMNS {
            return Err(ContractError::Columns(columns));
        }
        Ok(Contract { features, columns })
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
            Encoding::Number { .. } | Encoding::Flag => vec![feature.name.clone()],
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

    /// Makes a row of what was gathered. Never fails: what is no value is missing.
    pub fn encode(&self, gathered: &Gathered) -> Encoded {
        let readings: HashMap<&str, &Reading> = gathered
            .features
            .iter()
            .map(|feature| (feature.name.as_str(), &feature.reading))
            .collect();
        self.encode_readings(|name| readings.get(name).copied())
    }

    pub(crate) fn encode_readings<'a>(
        &self,
        reading_of: impl Fn(&str) -> Option<&'a Reading>,
    ) -> Encoded {
        let mut encoded = Encoded {
            row: Vec::with_capacity(self.columns),
            imputed: Vec::new(),
            corrected: Vec::new(),
            coverage: 0.0,
        };
        for feature in &self.features {
            let taken = match reading_of(&feature.name) {
                None => Err(Missing::Absent),
                Some(Reading::Missing(why)) => Err(*why),
                Some(Reading::Value(value)) => feature.take(value).ok_or(Missing::Unexpected),
            };
            match taken {
                Ok(taken) => {
                    if taken.corrected {
                        encoded.corrected.push(feature.name.clone());
                    }
                    feature.push(&taken.value, &mut encoded.row);
                }
                Err(why) => {
                    encoded.imputed.push((feature.name.clone(), why));
                    match &feature.impute {
                        Some(value) => feature.push(value, &mut encoded.row),
                        None => feature.push_missing(&mut encoded.row),
                    }
                }
            }
        }
        let known = self.features.len() - encoded.imputed.len();
        encoded.coverage = known as f64 / self.features.len() as f64;
        encoded
    }
}

/// A value of the right type, and whether it came so.
struct Taken {
    value: Value,
    corrected: bool,
}

impl FeatureContract {
    fn check(&self) -> Result<(), ContractError> {
        let wrong = |what: &'static str| ContractError::Feature {
            feature: self.name.clone(),
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
            let fits = self.take(value).is_some_and(|taken| !taken.corrected);
            if !fits {
                return Err(wrong("it is imputed with what is no value of it"));
            }
        }
        Ok(())
    }

    /// The value in the type of this feature, if it can be brought there.
    fn take(&self, value: &Value) -> Option<Taken> {
        match &self.encoding {
            Encoding::Number { min, max } => {
                let number = match value {
                    Value::Number(number) => *number,
                    Value::Text(text) => text.trim().parse().ok()?,
                    Value::Flag(_) => return None,
                };
                if !number.is_finite() {
                    return None;
                }
                let drawn = number.clamp(*min, *max);
                Some(Taken {
                    corrected: drawn != number || !matches!(value, Value::Number(_)),
                    value: Value::Number(drawn),
                })
            }
            Encoding::Flag => {
                let flag = match value {
                    Value::Flag(flag) => *flag,
                    Value::Number(number) if *number == 0.0 => false,
                    Value::Number(number) if *number == 1.0 => true,
                    Value::Text(text) => text.trim().to_ascii_lowercase().parse().ok()?,
                    Value::Number(_) => return None,
                };
                Some(Taken {
                    corrected: !matches!(value, Value::Flag(_)),
                    value: Value::Flag(flag),
                })
            }
            Encoding::Text { .. } => match value {
                Value::Text(_) => Some(Taken {
                    corrected: false,
                    value: value.clone(),
                }),
                Value::Number(number) => Some(Taken {
                    corrected: true,
                    value: Value::Text(number.to_string()),
                }),
                Value::Flag(_) => None,
            },
        }
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

    fn encode(readings: &[(&str, Value)]) -> Encoded {
        let readings: HashMap<&str, Reading> = readings
            .iter()
            .map(|(name, value)| (*name, Reading::Value(value.clone())))
            .collect();
        contract().encode_readings(|name| readings.get(name))
    }

    #[test]
    fn values_become_columns_and_slips_are_corrected() {
        let text = |text: &str| Value::Text(text.into());
        let fine = encode(&[
            ("age", Value::Number(7.0)),
            ("listed", Value::Flag(true)),
            ("country", text("DE")),
            ("unheard_of", Value::Number(1.0)),
        ]);
        assert_eq!(fine.row, [7.0, 1.0, 0.0, 1.0]);
        assert!(fine.corrected.is_empty() && fine.imputed.is_empty() && fine.coverage == 1.0);
        let slips = encode(&[
            ("age", text("700")),
            ("listed", Value::Number(1.0)),
            ("country", text("FR")),
        ]);
        assert_eq!(slips.row, [100.0, 1.0, 0.0, 0.0]);
        assert_eq!(slips.corrected, ["age", "listed"]);
    }

    #[test]
    fn what_is_missing_or_no_value_is_imputed() {
        let encoded = encode(&[("age", Value::Flag(true))]);
        assert!(encoded.row[0].is_nan() && encoded.row[2].is_nan() && encoded.row[3].is_nan());
        assert_eq!(encoded.row[1], 0.0, "the contract's own value");
        let why: Vec<Missing> = encoded.imputed.iter().map(|(_, why)| *why).collect();
        assert_eq!(why, [Missing::Unexpected, Missing::Absent, Missing::Absent]);
        assert_eq!(encoded.coverage, 0.0);
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
