//! What a recipe is worth on what it has not learned from.
//!
//! Twice: on folds of the rows, where each is judged by a model that has not seen it; and on families left out, where the rows of
//! each family are judged by a model that has seen no row that names that family, nor of what was registered for it. Rows that name
//! no family stay, and some may be of the one left out without saying so; how far the second is what new malware is like depends
//! on that. The benign rows that set the threshold are left out in both.
//!
//! Rows for training only are in no fold, but the family that they name leaves training with them, and is judged by them, too.

use std::collections::BTreeMap;

use boosted_trees::Predictor;
use indicator_model::Contract;
use model_evaluation::metrics::{Estimate, Scores, mean};
use serde::Serialize;

use crate::labelled::Label;
use crate::quality::{Above, Judged, Quality, QualityAbove};
use crate::rows::Row;
use crate::selection;
use crate::training::{LearnError, Learned, Recipe, grow, held_out, learn, margins};

/// With fewer rows of a label there is nothing to learn.
const FEWEST: usize = 10;

/// What a recipe came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// On folds.
    pub folds: Quality,
    /// On folds, those rows alone whose feature is above a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds_above: Option<QualityAbove>,
    /// Each fold alone: the area under the ROC curve, and the share found at 1 % false alarms.
    pub each_fold: Vec<(f64, f64)>,
    /// On families left out.
    pub unseen: Vec<Unseen>,
    /// The mean of what is found at 1 % false alarms over families left out, if there is one.
    pub unseen_mean: Option<Estimate>,
    /// Families that were not left out: they have too few rows, or the others have.
    pub not_measured: Vec<String>,
}

/// A family left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unseen {
    /// Which.
    pub family: String,
    /// How many rows it has.
    pub rows: usize,
    /// How likely one of them scores above a benign one.
    pub auc: Estimate,
    /// The share of them found while 1 % of the benign ones raise an alarm.
    pub found_at_1_percent: Estimate,
}

/// Measures a recipe, and learns from all rows. The folds are told of once more for the rows `above`, by the same models. A family
/// is left out if it has at least `smallest` malicious rows. `progress` hears what was done, as how many of how many.
///
/// # Errors
/// When the rows allow no training.
pub fn evaluate<'r>(
    rows: &'r [Row],
    recipe: &Recipe,
    above: Option<&Above>,
    smallest: usize,
    mut progress: impl FnMut(&str, usize, usize),
) -> Result<(Evaluation, Learned<'r>), LearnError> {
    let learned = learn(rows, recipe, |done, of| progress("learned", done, of))?;
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    let malicious = rows.iter().filter(|row| row.label == Label::Malicious);
    for family in malicious.filter_map(|row| row.family.as_deref()) {
        *families.entry(family).or_default() += 1;
    }
    let (mut unseen, mut not_measured) = (Vec::new(), Vec::new());
    let of = families.len();
    for (at, (family, count)) in families.into_iter().enumerate() {
        let measured = if count < smallest.max(1) {
            None
        } else {
            left_out(rows, recipe, family)?
        };
        match measured {
            Some(measured) => unseen.push(measured),
            None => not_measured.push(family.to_owned()),
        }
        progress("families left out:", at + 1, of);
    }
    let found: Vec<f64> = unseen
        .iter()
        .map(|family| family.found_at_1_percent.value)
        .collect();
    let evaluation = Evaluation {
        folds: Quality::of(&learned.scores),
        folds_above: learned.above(above)?,
        each_fold: learned.each_fold.clone(),
        unseen_mean: (!found.is_empty()).then(|| mean(&found)),
        unseen,
        not_measured,
    };
    Ok((evaluation, learned))
}

/// Judges a family by a model of the others; `None` when these are too few.
fn left_out(rows: &[Row], recipe: &Recipe, family: &str) -> Result<Option<Unseen>, LearnError> {
    // One fold of the benign rows sets the threshold.
    let is_held = |row: &Row| match row.label {
        Label::Malicious => row.family.as_deref() == Some(family),
        Label::Benign => !row.training_only && row.fold(recipe.folds) == 0,
    };
    let (held, others) = held_out(rows, is_held);
    let count = |rows: &[&Row], label| rows.iter().filter(|row| row.label == label).count();
    let too_few = [Label::Benign, Label::Malicious]
        .iter()
        .any(|label| count(&others, *label) < FEWEST);
    if too_few || count(&held, Label::Benign) < FEWEST {
        return Ok(None);
    }
    // Which features are worth having is decided without the family, too.
    let everything = selection::contract_of_refs(&others)?;
    let wanted = everything.features().iter();
    let wanted = wanted.filter(|feature| !recipe.without.contains(&feature.name));
    let everything = Contract::new(wanted.cloned().collect())?;
    let gains = grow(&others, &everything, recipe)?.total_gain();
    let contract = selection::most_useful(&everything, &gains, recipe.keep_gain)?;
    let predictor = Predictor::new(&grow(&others, &contract, recipe)?);
    let margins = margins(&predictor, &contract, &held);
    let rows = count(&held, Label::Malicious);
    let scores = held.into_iter().zip(margins).collect::<Judged>().scores();
    Ok(Some(Unseen {
        family: family.to_owned(),
        rows,
        auc: scores.estimate(Scores::auc),
        found_at_1_percent: scores.estimate(|scores| scores.recall_at(0.01)),
    }))
}
