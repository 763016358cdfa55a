//! Growing a model by gradient boosting, with histograms.
//!
//! Every tree is grown on the gradients that the trees before it left, each of its splits chosen among at most 255
//! cuts a feature. The same data, parameters and seed make the same model, bit for bit, on any number of threads: features are
//! independent of each other, sums within one are taken in the order of the rows, and ties go to the first feature and cut.

mod bins;
mod grow;

use std::ops::ControlFlow;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use crate::dataset::Dataset;
use crate::model::{Model, ModelError, Objective};
use crate::predictor::Predictor;
use bins::BinnedRows;
use grow::Grower;

/// How a feature may move the prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Monotone {
    /// In any way.
    #[default]
    Free,
    /// A higher number never lowers the prediction.
    Increasing,
    /// A higher number never raises the prediction.
    Decreasing,
}

/// How to train. The names are XGBoost's.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// What to predict.
    pub objective: Objective,
    /// How many trees at most.
    pub rounds: usize,
    /// How many splits from root to leaf at most, up to 16.
    pub max_depth: usize,
    /// By how much each tree's answer is shrunk.
    pub eta: f64,
    /// How strongly leaves are drawn to zero.
    pub lambda: f64,
    /// What a split has to gain at least.
    pub gamma: f64,
    /// The weight (sum of hessians) each side of a split has to keep.
    pub min_child_weight: f64,
    /// The share of rows each tree sees.
    pub subsample: f64,
    /// The share of features each tree may use.
    pub colsample: f64,
    /// By how much positive rows (label above one half) count more than they say.
    pub positive_weight: f64,
    /// How each feature may move the prediction; empty for any way.
    pub monotone: Vec<Monotone>,
    /// Stop after so many trees that did not lower the loss on the validation rows, and drop them.
    pub early_stopping: Option<usize>,
    /// For the choice of rows and features.
    pub seed: u64,
}

impl Default for Params {
    fn default() -> Self {
        Params {
            objective: Objective::Logistic,
            rounds: 100,
            max_depth: 6,
            eta: 0.3,
            lambda: 1.0,
            gamma: 0.0,
            min_child_weight: 1.0,
            subsample: 1.0,
            colsample: 1.0,
            positive_weight: 1.0,
            monotone: Vec::new(),
            early_stopping: None,
            seed: 0,
        }
    }
}

/// Where training stands after a tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// How many trees there are.
    pub trees: usize,
    /// How many there can be at most.
    pub of: usize,
    /// The mean loss on the validation rows, if there are any.
    pub validation_loss: Option<f64>,
}

/// Grows a model. `progress` hears of every tree and may end the training early, with the trees that there are.
///
/// # Errors
/// When the data or the parameters allow no training.
///
/// # Panics
/// Never for a reason of its own; a panic in `progress` passes through.
pub fn train(
    params: &Params,
    rows: &Dataset,
    validation: Option<&Dataset>,
    feature_names: Vec<String>,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Model, TrainError> {
    check(params, rows, validation)?;
    let weights: Vec<f64> = row_weights(params, rows);
    let base_score = base_score(params.objective, rows.labels(), &weights);
    let empty = Model::new(
        params.objective,
        base_score,
        rows.features(),
        feature_names.clone(),
        Vec::new(),
    )
    .map_err(TrainError::Model)?;
    let binned = BinnedRows::new(rows);
    let mut rng = ChaCha8Rng::seed_from_u64(params.seed);
    let mut margins = vec![empty.base_margin(); rows.len()];
    let mut watched = validation.map(|rows| Validation::new(rows, &empty));
    let mut trees = Vec::new();
    let mut patience = Patience::new(params.early_stopping);
    for _ in 0..params.rounds {
        let gradients = gradients(params.objective, &margins, rows.labels(), &weights);
        let sample = sample(rows.len(), params.subsample, &mut rng);
        let features = sample_sorted(rows.features(), params.colsample, &mut rng);
        let tree = Grower::new(params, &binned, &gradients, &features).grow(sample);
        let tree = crate::model::Tree::new(&tree, rows.features()).map_err(TrainError::Model)?;
        let alone = Predictor::new(&single(&empty, tree.clone())?);
        add_tree(&alone, rows, &mut margins);
        trees.push(tree);
        let validation_loss = watched.as_mut().map(|watched| watched.add(&alone));
        let step = Progress {
            trees: trees.len(),
            of: params.rounds,
            validation_loss,
        };
        let stopped = progress(step).is_break();
        let hopeless = validation_loss.is_some_and(|loss| patience.is_over(loss, trees.len()));
        if stopped || hopeless {
            break;
        }
    }
    if validation.is_some() && params.early_stopping.is_some() {
        trees.truncate(patience.best_at);
    }
    Model::new(
        params.objective,
        base_score,
        rows.features(),
        feature_names,
        trees,
    )
    .map_err(TrainError::Model)
}

/// Why nothing could be trained.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrainError {
    /// A parameter outside what makes sense.
    #[error("the parameter {name} cannot be {value}; expected is {expected}")]
    Param {
        /// Which.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// Nothing to learn from.
    #[error("there are no rows to learn from")]
    NoRows,
    /// Labels or weights that are no good numbers.
    #[error("the {what} of row {row} is {value}; expected is {expected}")]
    Row {
        /// Label or weight.
        what: &'static str,
        /// Which row.
        row: usize,
        /// Its value.
        value: f32,
        /// What would do.
        expected: &'static str,
    },
    /// Validation rows of another shape.
    #[error("the validation rows have {found} features, the others {expected}")]
    Validation {
        /// What they have.
        found: usize,
        /// What they should have.
        expected: usize,
    },
    /// What was learned is no model: the labels leave nothing to predict, or a number grew beyond all bounds.
    #[error("the training led to no model")]
    Model(#[source] ModelError),
}

fn check(params: &Params, rows: &Dataset, validation: Option<&Dataset>) -> Result<(), TrainError> {
    check_params(params, rows.features())?;
    if rows.is_empty() || rows.features() == 0 {
        return Err(TrainError::NoRows);
    }
    if let Some(validation) = validation
        && validation.features() != rows.features()
    {
        return Err(TrainError::Validation {
            found: validation.features(),
            expected: rows.features(),
        });
    }
    for rows in std::iter::once(rows).chain(validation) {
        check_rows(params.objective, rows)?;
    }
    Ok(())
}

fn check_params(params: &Params, features: usize) -> Result<(), TrainError> {
    let positive = |value: f64| value > 0.0 && value.is_finite();
    let share = |value: f64| value > 0.0 && value <= 1.0;
    let at_least_zero = |value: f64| value >= 0.0 && value.is_finite();
    for (name, value, good, expected) in [
        ("eta", params.eta, share(params.eta), "above 0, up to 1"),
        (
            "lambda",
            params.lambda,
            at_least_zero(params.lambda),
            "0 or more",
        ),
        (
            "gamma",
            params.gamma,
            at_least_zero(params.gamma),
            "0 or more",
        ),
        (
            "min_child_weight",
            params.min_child_weight,
            at_least_zero(params.min_child_weight),
            "0 or more",
        ),
        (
            "subsample",
            params.subsample,
            share(params.subsample),
            "above 0, up to 1",
        ),
        (
            "colsample",
            params.colsample,
            share(params.colsample),
            "above 0, up to 1",
        ),
        (
            "positive_weight",
            params.positive_weight,
            positive(params.positive_weight),
            "above 0",
        ),
        (
            "max_depth",
            params.max_depth as f64,
            (1..=16).contains(&params.max_depth),
            "1 to 16",
        ),
        (
            "monotone",
            params.monotone.len() as f64,
            [0, features].contains(&params.monotone.len()),
            "an entry for each feature, or none",
        ),
    ] {
        if !good {
            return Err(TrainError::Param {
                name,
                value: value.to_string(),
                expected,
            });
        }
    }
    Ok(())
}

fn check_rows(objective: Objective, rows: &Dataset) -> Result<(), TrainError> {
    for (row, (label, weight)) in rows.labels().iter().zip(rows.weights()).enumerate() {
        let (good, expected) = match objective {
            Objective::Logistic => ((0.0..=1.0).contains(label), "from 0 to 1"),
            Objective::SquaredError => (label.is_finite(), "a number"),
        };
        let wrong = |what, value, expected| TrainError::Row {
            what,
            row,
            value,
            expected,
        };
        if !good {
            return Err(wrong("label", *label, expected));
        }
        if !(weight.is_finite() && *weight >= 0.0) {
            return Err(wrong("weight", *weight, "0 or more"));
        }
    }
    Ok(())
}

fn row_weights(params: &Params, rows: &Dataset) -> Vec<f64> {
    let weighted = rows.labels().iter().zip(rows.weights());
    weighted
        .map(|(label, weight)| {
            let more = if *label > 0.5 {
                params.positive_weight
            } else {
                1.0
            };
            f64::from(*weight) * more
        })
        .collect()
}

/// The best prediction without any tree: the weighted mean.
fn base_score(objective: Objective, labels: &[f32], weights: &[f64]) -> f32 {
    let total: f64 = weights.iter().sum();
    let sum: f64 = labels
        .iter()
        .zip(weights)
        .map(|(label, weight)| f64::from(*label) * weight)
        .sum();
    let mean = if total > 0.0 { sum / total } else { 0.5 };
    match objective {
        // All of one class: still a probability that the trees can move.
        Objective::Logistic => mean.clamp(1e-4, 1.0 - 1e-4) as f32,
        Objective::SquaredError => mean as f32,
    }
}

/// First and second derivative of the loss by the margin, for each row.
fn gradients(
    objective: Objective,
    margins: &[f32],
    labels: &[f32],
    weights: &[f64],
) -> Vec<(f64, f64)> {
    let rows = margins.iter().zip(labels).zip(weights);
    rows.map(|((margin, label), weight)| {
        let predicted = f64::from(objective.transform(*margin));
        let hessian = match objective {
            Objective::Logistic => (predicted * (1.0 - predicted)).max(1e-16),
            Objective::SquaredError => 1.0,
        };
        ((predicted - f64::from(*label)) * weight, hessian * weight)
    })
    .collect()
}

fn sample(count: usize, share: f64, rng: &mut ChaCha8Rng) -> Vec<u32> {
    sample_sorted(count, share, rng)
        .into_iter()
        .map(|row| u32::try_from(row).expect("rows are counted in 32 bits"))
        .collect()
}

/// A share of the numbers below `count`, at least one of them, in order.
fn sample_sorted(count: usize, share: f64, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).collect();
    if share >= 1.0 {
        return all;
    }
    let wanted = ((count as f64 * share).round() as usize).clamp(1, count);
    let (chosen, _) = all.partial_shuffle(rng, wanted);
    chosen.sort_unstable();
    chosen.to_vec()
}

fn single(empty: &Model, tree: crate::model::Tree) -> Result<Model, TrainError> {
    Model::new(
        Objective::SquaredError,
        0.0,
        empty.features(),
        Vec::new(),
        vec![tree],
    )
    .map_err(TrainError::Model)
}

fn add_tree(tree: &Predictor, rows: &Dataset, margins: &mut [f32]) {
    let mut more = vec![0.0; rows.len()];
    tree.margins(rows.values(), &mut more);
    for (margin, more) in margins.iter_mut().zip(more) {
        *margin += more;
    }
}

/// How long to go on without getting better.
struct Patience {
    limit: Option<usize>,
    best: f64,
    /// After how many trees it was best.
    best_at: usize,
}

impl Patience {
    fn new(limit: Option<usize>) -> Patience {
        Patience {
            limit,
            best: f64::INFINITY,
            best_at: 0,
        }
    }

    /// Whether, with this loss after so many trees, it is time to stop.
    fn is_over(&mut self, loss: f64, trees: usize) -> bool {
        if loss < self.best {
            (self.best, self.best_at) = (loss, trees);
        }
        self.limit
            .is_some_and(|limit| trees - self.best_at >= limit)
    }
}

/// Rows that are not learned from but watched.
struct Validation<'a> {
    objective: Objective,
    rows: &'a Dataset,
    margins: Vec<f32>,
}

impl<'a> Validation<'a> {
    fn new(rows: &'a Dataset, empty: &Model) -> Validation<'a> {
        Validation {
            objective: empty.objective(),
            rows,
            margins: vec![empty.base_margin(); rows.len()],
        }
    }

    /// Adds a tree and tells the mean loss now.
    fn add(&mut self, tree: &Predictor) -> f64 {
        add_tree(tree, self.rows, &mut self.margins);
        let mut total = 0.0;
        let mut sum = 0.0;
        let rows = self
            .margins
            .iter()
            .zip(self.rows.labels())
            .zip(self.rows.weights());
        for ((margin, label), weight) in rows {
            let (margin, label, weight) =
                (f64::from(*margin), f64::from(*label), f64::from(*weight));
            total += weight;
            sum += weight
                * match self.objective {
                    // The logarithm of 1 + e^m, without overflow.
                    Objective::Logistic => {
                        margin.max(0.0) + (-margin.abs()).exp().ln_1p() - margin * label
                    }
                    Objective::SquaredError => (margin - label).powi(2) / 2.0,
                };
        }
        if total > 0.0 { sum / total } else { 0.0 }
    }
}
