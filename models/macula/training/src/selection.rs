//! Which features a model should want: a contract is read off the rows, and what the trees do not use is left out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gatherers::{Category, Missing, Reading, Value};
use indicator_model::{Contract, ContractError, Encoding, FeatureContract};

use crate::rows::Row;

/// A feature with a value in fewer of the rows says too little.
const LEAST_COVERAGE: f64 = 0.01;

/// The most words a text gets columns for.
const MOST_WORDS: usize = 30;

/// A word in fewer rows gets no column.
const LEAST_ROWS_OF_WORD: usize = 10;

#[derive(Default)]
struct Seen {
    numbers: Option<(f64, f64)>,
    flags: [usize; 2],
    words: BTreeMap<String, usize>,
    applicable: usize,
    known: usize,
}

/// The contract over all features of these rows that vary at all. Ranges and words are those of the rows; a number outside its
/// range is drawn to the nearest end, which is where the trees would send it anyway.
///
/// # Errors
/// When no feature is left.
pub fn contract_of(rows: &[Row]) -> Result<Contract, ContractError> {
    contract_of_refs(&rows.iter().collect::<Vec<_>>())
}

pub(crate) fn contract_of_refs(rows: &[&Row]) -> Result<Contract, ContractError> {
    let mut order: Vec<(Arc<str>, Category)> = Vec::new();
    let mut seen: HashMap<Arc<str>, Seen> = HashMap::new();
    for feature in rows.iter().flat_map(|row| &row.gathered.features) {
        if !seen.contains_key(&feature.name) {
            order.push((feature.name.clone(), feature.category));
        }
        let seen = seen.entry(feature.name.clone()).or_default();
        seen.learn(&feature.reading);
    }
    order.sort();
    let features = order.into_iter().filter_map(|(name, category)| {
        let encoding = seen[&name].encoding()?;
        Some(FeatureContract {
            name,
            category,
            encoding,
            impute: None,
        })
    });
    Contract::new(features.collect())
}

impl Seen {
    fn learn(&mut self, reading: &Reading) {
        if *reading != Reading::Missing(Missing::NotApplicable) {
            self.applicable += 1;
        }
        let Some(value) = reading.value() else { return };
        self.known += 1;
        match value {
            Value::Number(number) => {
                let (min, max) = self.numbers.unwrap_or((*number, *number));
                self.numbers = Some((min.min(*number), max.max(*number)));
            }
            Value::Flag(flag) => self.flags[usize::from(*flag)] += 1,
            Value::Text(text) => *self.words.entry(text.clone()).or_default() += 1,
        }
    }

    fn encoding(&self) -> Option<Encoding> {
        if (self.known as f64) < LEAST_COVERAGE * self.applicable as f64 {
            return None;
        }
        if let Some((min, max)) = self.numbers {
            return (min < max).then_some(Encoding::Number { min, max });
        }
        if self.flags.iter().any(|count| *count > 0) {
            let varies = self.flags.iter().all(|count| *count > 0);
            return varies.then_some(Encoding::Flag);
        }
        let mut words: Vec<(&String, usize)> = self
            .words
            .iter()
            .map(|(word, count)| (word, *count))
            .filter(|(_, count)| *count >= LEAST_ROWS_OF_WORD)
            .collect();
        words.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        words.truncate(MOST_WORDS);
        let words: Vec<String> = words.into_iter().map(|(word, _)| word.clone()).collect();
        (!words.is_empty()).then_some(Encoding::Text { words })
    }
}

/// The part of a contract that makes up almost all of what the trees gained: features are taken by their gain until so much of
/// the whole is there.
///
/// # Errors
/// When nothing gained anything.
pub fn most_useful(
    contract: &Contract,
    gain_of_columns: &[f64],
    share: f64,
) -> Result<Contract, ContractError> {
    let gains = gain_of_features(contract, gain_of_columns);
    let whole: f64 = gains.iter().sum();
    let mut by_gain: Vec<usize> = (0..gains.len()).collect();
    by_gain.sort_by(|a, b| gains[*b].total_cmp(&gains[*a]).then(a.cmp(b)));
    let mut taken = Vec::new();
    let mut sum = 0.0;
    for at in by_gain {
        if gains[at] <= 0.0 || sum >= share * whole {
            break;
        }
        sum += gains[at];
        taken.push(at);
    }
    taken.sort_unstable();
    let features = taken.into_iter().map(|at| contract.features()[at].clone());
    Contract::new(features.collect())
}

/// The gain of each feature, over all its columns.
pub fn gain_of_features(contract: &Contract, gain_of_columns: &[f64]) -> Vec<f64> {
    let mut gains = vec![0.0; contract.features().len()];
    for (feature, gain) in contract
        .feature_of_columns()
        .into_iter()
        .zip(gain_of_columns)
    {
        gains[feature] += gain;
    }
    gains
}
