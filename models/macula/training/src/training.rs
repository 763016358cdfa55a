//! From rows to a bundle: folds to measure and to calibrate on, and then a model of all of them.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use boosted_trees::train::{Params, TrainError, train};
use boosted_trees::{Dataset, Model, Predictor};
use indicator_model::bundle::{FORM, Golden};
use indicator_model::{
    Bundle, Contract, ContractError, IndicatorModel, Manifest, ModelError, ModelKind, Tells,
    TrainingData,
};
use model_evaluation::calibration::Calibration;
use model_evaluation::metrics::Scores;
use serde::{Deserialize, Serialize};

use crate::labelled::Label;
use crate::quality::{Above, Judged, Quality, QualityAbove};
use crate::rows::{self, Row};
use crate::selection;

/// Examples in a manifest.
const GOLDEN: usize = 20;

/// How a model is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// How many trees.
    pub rounds: usize,
    /// How deep.
    pub max_depth: usize,
    /// By how much each tree's answer is shrunk.
    pub eta: f64,
    /// How strongly leaves are drawn to zero.
    pub lambda: f64,
    /// The weight (sum of hessians) each side of a split has to keep.
    pub min_child_weight: f64,
    /// The share of the rows each tree sees.
    pub subsample: f64,
    /// The share of the columns each tree may use.
    pub colsample: f64,
    /// The share of the whole gain that the features kept must make up; 1 keeps every feature that gained anything.
    pub keep_gain: f64,
    /// Features that are not looked at, for they tell where a row came from and not what it is.
    pub without: Vec<Arc<str>>,
    /// How many folds.
    pub folds: usize,
    /// For the choice of rows.
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            rounds: 200,
            max_depth: 5,
            eta: 0.1,
            lambda: 1.0,
            min_child_weight: 1.0,
            subsample: 0.8,
            colsample: 1.0,
            keep_gain: 0.999,
            without: Vec::new(),
            folds: 5,
            seed: 1,
        }
    }
}

/// What a training came to.
#[derive(Debug)]
pub struct Learned<'r> {
    /// The trees.
    pub model: Model,
    /// The features they want.
    pub contract: Contract,
    /// The margins of every row that is not for training only, by a model that had not learned from its fold.
    pub judged: Judged<'r>,
    /// The same as scores.
    pub scores: Scores,
    /// Each fold alone: the area under the ROC curve, and the share found at 1 % false alarms.
    pub each_fold: Vec<(f64, f64)>,
    /// The share of the gain of each feature.
    pub importance: Vec<(Arc<str>, f64)>,
}

impl Learned<'_> {
    /// The quality on folds of the rows alone whose feature is above a number, if that is asked for.
    ///
    /// # Errors
    /// When there are none of a label.
    pub fn above(&self, above: Option<&Above>) -> Result<Option<QualityAbove>, LearnError> {
        above.map(|above| self.judged.only(above)).transpose()
    }
}

/// Selects features, measures on folds, and trains on all rows. Which features are kept is decided on all rows, so the folds are
/// blind to everything but that choice. Rows for training only are in no fold: they are learned from whichever is held out, unless
/// it holds a name of the same registration. `progress` hears of every step and of how many there are.
///
/// # Errors
/// When the rows allow no training.
pub fn learn<'r>(
    rows: &'r [Row],
    recipe: &Recipe,
    mut progress: impl FnMut(usize, usize),
) -> Result<Learned<'r>, LearnError> {
    check(rows, recipe)?;
    let steps = recipe.folds + 2;
    let everything = without(&selection::contract_of(rows)?, &recipe.without)?;
    let all: Vec<&Row> = rows.iter().collect();
    let first = grow(&all, &everything, recipe)?;
    progress(1, steps);
    let contract = selection::most_useful(&everything, &first.total_gain(), recipe.keep_gain)?;
    let (mut judged, mut each_fold) = (Judged::default(), Vec::new());
    for fold in 0..recipe.folds {
        let (held, learned) = held_out(rows, |row| {
            !row.training_only && row.fold(recipe.folds) == fold
        });
        // Ranges and words are read off what is learned from alone; the features are those of the whole.
        let of_fold = restricted(&selection::contract_of_refs(&learned)?, &contract)?;
        let predictor = Predictor::new(&grow(&learned, &of_fold, recipe)?);
        let margins = margins(&predictor, &of_fold, &held);
        let own: Judged = held.into_iter().zip(margins).collect();
        let scores = own.scores();
        each_fold.push((scores.auc(), scores.recall_at(0.01)));
        judged.extend(own);
        progress(fold + 2, steps);
    }
    let model = grow(&all, &contract, recipe)?;
    progress(steps, steps);
    let gains = selection::gain_of_features(&contract, &model.total_gain());
    let whole: f64 = gains.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let names = contract.features().iter().map(|f| f.name.clone());
    Ok(Learned {
        importance: names.zip(gains.iter().map(|gain| gain / whole)).collect(),
        scores: judged.scores(),
        judged,
        each_fold,
        model,
        contract,
    })
}

/// The rows that are held out, and those to learn from meanwhile: all others that share no registration with them.
pub(crate) fn held_out(
    rows: &[Row],
    mut is_held: impl FnMut(&Row) -> bool,
) -> (Vec<&Row>, Vec<&Row>) {
    let (held, others): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| is_held(row));
    let seen: HashSet<String> = held.iter().map(|row| row.registration()).collect();
    let others = others.into_iter();
    let others = others.filter(|row| !seen.contains(&row.registration()));
    (held, others.collect())
}

/// The margins of these rows.
pub(crate) fn margins(predictor: &Predictor, contract: &Contract, rows: &[&Row]) -> Vec<f32> {
    let margin = |row: &&Row| predictor.margin(&contract.row(&contract.readings(&row.gathered)));
    rows.iter().map(margin).collect()
}

/// A bundle of what was learned, checked as any other. `above` is told beside the figures of the folds.
///
/// # Errors
/// When it would not pass the checks.
pub fn bundle(
    learned: &Learned,
    rows: &[Row],
    recipe: &Recipe,
    about: &About,
    above: Option<&QualityAbove>,
) -> Result<IndicatorModel, LearnError> {
    let predictor = Predictor::new(&learned.model);
    let step = (rows.len() / GOLDEN).max(1);
    let golden = rows.iter().step_by(step).take(GOLDEN).map(|row| {
        let features = learned.contract.features().iter();
        let values = features.filter_map(|feature| {
            let value = row.gathered.value(&feature.name)?;
            Some((feature.name.clone(), value.clone()))
        });
        let readings = learned.contract.readings(&row.gathered);
        Golden {
            values: values.collect(),
            margin: predictor.margin(&learned.contract.row(&readings)),
        }
    });
    let quality = serde_json::to_value(Quality::of(&learned.scores)).map_err(LearnError::Json)?;
    let recipe = serde_json::to_value(recipe).map_err(LearnError::Json)?;
    let mut metrics = BTreeMap::from([("folds".into(), quality), ("recipe".into(), recipe)]);
    if let Some(above) = above {
        let above = serde_json::to_value(above).map_err(LearnError::Json)?;
        metrics.insert("folds_above".into(), above);
    }
    let supposed = Calibration::supposed(&learned.scores);
    if !supposed.is_empty() {
        metrics.insert("supposed_scores".into(), supposed.into());
    }
    let bundle = Bundle::of(&learned.model, |trees| Manifest {
        form: FORM,
        name: about.name.clone(),
        version: about.version.clone(),
        kind: about.kind,
        tells: about.tells,
        features: learned.contract.clone(),
        minimum_coverage: about.minimum_coverage,
        calibration: Calibration::fit(&learned.scores),
        metrics,
        training_data: TrainingData {
            digest: rows::digest(rows),
            rows: rows.len(),
            malicious: rows
                .iter()
                .filter(|row| row.label == Label::Malicious)
                .count(),
        },
        golden: golden.collect(),
        trees,
    })
    .map_err(LearnError::Json)?;
    Ok(IndicatorModel::load(bundle)?)
}

/// What a bundle is called.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// For which indicators it is.
    pub kind: ModelKind,
    /// What it can tell.
    pub tells: Tells,
    /// The share of features without which it says little.
    pub minimum_coverage: f64,
}

fn check(rows: &[Row], recipe: &Recipe) -> Result<(), LearnError> {
    if recipe.folds < 2 {
        return Err(LearnError::Folds);
    }
    for label in [Label::Benign, Label::Malicious] {
        let measured = rows.iter().filter(|row| !row.training_only);
        let count = measured.filter(|row| row.label == label).count();
        if count < 10 * recipe.folds {
            return Err(LearnError::TooFew {
                label,
                count,
                needed: 10 * recipe.folds,
            });
        }
    }
    Ok(())
}

/// The features of `like` as `contract` has them; one that it has not is taken from `like`.
fn restricted(contract: &Contract, like: &Contract) -> Result<Contract, ContractError> {
    let features = like.features().iter().map(|wanted| {
        let own = contract.features().iter().find(|f| f.name == wanted.name);
        own.unwrap_or(wanted).clone()
    });
    Contract::new(features.collect())
}

/// The contract without these features.
fn without(contract: &Contract, features: &[Arc<str>]) -> Result<Contract, LearnError> {
    let has = |name: &&Arc<str>| contract.features().iter().any(|f| f.name == **name);
    if let Some(name) = features.iter().find(|name| !has(name)) {
        return Err(LearnError::Feature(name.to_string()));
    }
    let left = contract.features().iter();
    let left = left.filter(|feature| !features.contains(&feature.name));
    Ok(Contract::new(left.cloned().collect())?)
}

pub(crate) fn grow(
    rows: &[&Row],
    contract: &Contract,
    recipe: &Recipe,
) -> Result<Model, TrainError> {
    let mut dataset = Dataset::new(contract.columns());
    for row in rows {
        let label = f32::from(u8::from(row.label == Label::Malicious));
        let weight = row.weight.get() as f32;
        dataset.push(
            &contract.row(&contract.readings(&row.gathered)),
            label,
            weight,
        );
    }
    let params = Params {
        rounds: recipe.rounds,
        max_depth: recipe.max_depth,
        eta: recipe.eta,
        lambda: recipe.lambda,
        min_child_weight: recipe.min_child_weight,
        subsample: recipe.subsample,
        colsample: recipe.colsample,
        seed: recipe.seed,
        ..Params::default()
    };
    let go_on = |_| ControlFlow::Continue(());
    train(&params, &dataset, None, contract.column_names(), go_on)
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// No folds.
    #[error("at least two folds are needed")]
    Folds,
    /// Not there.
    #[error(
        "the rows have no feature `{0}` that varies; `select` without it lists those they have"
    )]
    Feature(String),
    /// Too little to learn from.
    #[error(
        "there are {count} {label:?} rows that are not for training only; at least {needed} are needed"
    )]
    TooFew {
        /// Which.
        label: Label,
        /// How many.
        count: usize,
        /// How many would do.
        needed: usize,
    },
    /// Nothing to measure on.
    #[error("of the rows with {0} there are none that are benign, or none that are malicious")]
    Above(Above),
    /// No features.
    #[error("the rows' features make no contract")]
    Contract(#[from] ContractError),
    /// The trees.
    #[error("the trees cannot be trained")]
    Train(#[from] TrainError),
    /// The manifest.
    #[error("the manifest cannot be written")]
    Json(#[source] serde_json::Error),
    /// The bundle.
    #[error("what was learned makes no good bundle")]
    Bundle(#[from] ModelError),
}

#[cfg(test)]
mod tests {
    use gatherers::Gathered;

    use super::*;

    #[test]
    fn while_a_name_is_held_out_nothing_of_its_registration_is_learned_from() {
        let row = |indicator: &str, training_only| Row {
            label: Label::Malicious,
            family: None,
            weight: Default::default(),
            training_only,
            gathered: Gathered {
                indicator: indicator.to_owned(),
                kind: "domain".into(),
                features: Vec::new(),
            },
        };
        let rows = [
            row("a.example.co.uk", false),
            row("b.example.co.uk", true),
            row("b.other.co.uk", true),
        ];
        let (held, others) = held_out(&rows, |row| !row.training_only);
        assert_eq!((held, others), (vec![&rows[0]], vec![&rows[2]]));
    }
}
