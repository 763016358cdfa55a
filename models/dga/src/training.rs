//! Making the parts of a detector that are learned out of names.

use std::collections::HashMap;
use std::ops::ControlFlow;

use boosted_trees::train::{Params, Progress, TrainError, train};
use boosted_trees::{Dataset, Model, Predictor};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::corpus::SHORT;
use crate::features::{self, FEATURES, Row};
use crate::ngrams::{Counts, Tables};

/// What a model is made by. Together with the lists it decides every bit of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// For everything that is drawn.
    pub seed: u64,
    /// How many trees.
    pub trees: usize,
    /// How deep they are.
    pub depth: usize,
    /// By how much each tree's answer is shrunk.
    pub eta: f64,
    /// How many names each family's generator adds, and how many are made up of pairs of letters of real names.
    pub each_family: usize,
    /// How much each name counts that a generator added; one of the list counts 1.
    pub added_weight: f64,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            seed: 20_261_121,
            trees: 112,
            depth: 5,
            eta: 0.13,
            each_family: 200,
            added_weight: 0.25,
        }
    }
}

impl Recipe {
    fn params(&self) -> Params {
        Params {
            rounds: self.trees,
            max_depth: self.depth,
            eta: self.eta,
            lambda: 2.0,
            min_child_weight: 2.0,
            subsample: 0.8,
            colsample: 0.6,
            seed: self.seed,
            ..Params::default()
        }
    }
}

/// The parts of a detector that are learned.
#[derive(Clone, Debug)]
pub struct Learned {
    /// Runs of real labels.
    pub tables: Tables,
    /// The trees.
    pub model: Model,
}

impl Learned {
    /// The row of a label that was not learned from.
    pub fn row(&self, label: &str) -> Row {
        features::row(label.as_bytes(), &self.tables)
    }

    /// The margins of labels that were not learned from.
    pub fn margins<'a>(&self, labels: impl IntoIterator<Item = &'a str>) -> Vec<f32> {
        let rows: Vec<f32> = labels
            .into_iter()
            .flat_map(|label| self.row(label))
            .collect();
        let mut margins = vec![0.0; rows.len() / features::COUNT];
        Predictor::new(&self.model).margins(&rows, &mut margins);
        margins
    }
}

/// Learns from real labels, generated ones of a list, and generated ones that our generators added.
///
/// # Errors
/// When there is nothing to learn from.
pub fn learn(
    recipe: &Recipe,
    real: &[&str],
    listed: &[&str],
    added: &[String],
    progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Learned, TrainError> {
    let counts = Counts::of(real.iter().map(|label| label.as_bytes()));
    let mut rows = Dataset::new(features::COUNT);
    for label in real {
        rows.push(
            &features::row(label.as_bytes(), &counts.without_one()),
            0.0,
            1.0,
        );
    }
    for label in listed {
        rows.push(&features::row(label.as_bytes(), &counts), 1.0, 1.0);
    }
    let made_up = made_up(real, recipe.each_family, recipe.seed);
    for label in added.iter().chain(&made_up) {
        rows.push(
            &features::row(label.as_bytes(), &counts),
            1.0,
            recipe.added_weight as f32,
        );
    }
    let names = FEATURES
        .iter()
        .map(|feature| feature.name.to_owned())
        .collect();
    let model = train(&recipe.params(), &rows, None, names, progress)?;
    Ok(Learned {
        tables: Tables::from(&counts),
        model,
    })
}

/// Labels in which each letter follows the one before as often as in real labels, and no more sense is made.
///
/// They show the trees what it takes to be real besides likely pairs of letters, whatever family comes next.
pub fn made_up(real: &[&str], count: usize, seed: u64) -> Vec<String> {
    const START: u8 = b'^';
    const END: u8 = b'$';
    let mut followers: HashMap<u8, Vec<u8>> = HashMap::new();
    for label in real
        .iter()
        .filter(|label| label.bytes().all(|byte| byte.is_ascii_lowercase()))
    {
        let mut last = START;
        for byte in label.bytes().chain([END]) {
            followers.entry(last).or_default().push(byte);
            last = byte;
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut labels = Vec::new();
    // Most tries give a label; where real labels are few or odd, no number of tries might.
    for _ in 0..count * 20 {
        if labels.len() == count {
            break;
        }
        let mut label = String::new();
        let mut last = START;
        while let Some(followers) = followers.get(&last) {
            last = followers[rng.random_range(0..followers.len())];
            if last == END || label.len() > 24 {
                break;
            }
            label.push(char::from(last));
        }
        if label.len() > SHORT && label.len() <= 24 {
            labels.push(label);
        }
    }
    labels
}
