//! How well a recipe does on names it has not learned from.
//!
//! Twice: on folds of the lists, where each name is judged by a model that has not seen it; and on families left out, where each
//! family's names are judged by a model that has seen none of the names that its generator adds. The listed names, which say no
//! family, stay: some may be of the one left out, so that new malware may be harder to find. The real
//! names that set the threshold are left out in both, and so are they from the n-gram tables. Labels of six characters or
//! fewer are not judged by the detector, so figures leave them out unless they say otherwise.

use std::ops::ControlFlow;

use boosted_trees::train::TrainError;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::corpus::{SHORT, generated};
use crate::families::{FAMILIES, Family, Kind};
use crate::training::{Learned, Recipe, learn};
use model_evaluation::metrics::{Estimate, Scores, mean};

/// How many folds there are.
pub const FOLDS: usize = 5;

/// The false alarms at which detection is told.
pub const FALSE_ALARMS: f64 = 0.01;

/// The years that names for training are from.
pub const TRAINING_YEARS: (i16, i16) = (2009, 2015);

/// The years that names for testing are from; later, as in life.
const TESTING_YEARS: (i16, i16) = (2016, 2022);

/// How many names of a family left out are tried.
const TRIED: usize = 500;

/// Measured quality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// On folds, labels of more than six characters.
    pub folds: Detection,
    /// On folds, all labels.
    pub folds_all_lengths: Detection,
    /// Each fold alone: area and recall at 1 % false alarms.
    pub each_fold: Vec<(f64, f64)>,
    /// On families left out.
    pub unseen: Vec<Unseen>,
    /// The mean recall over families left out that do not string words together.
    pub unseen_mean: Estimate,
    /// The mean recall over all families left out.
    pub unseen_mean_with_wordlists: Estimate,
}

/// How well generated names are told from real ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// How many real names.
    pub real: usize,
    /// How many generated names.
    pub generated: usize,
    /// The area under the ROC curve.
    pub auc: Estimate,
    /// The share found at 1 % false alarms.
    pub recall_at_1_percent: Estimate,
    /// The share found at 0.1 % false alarms.
    pub recall_at_0_1_percent: Estimate,
}

impl Detection {
    /// Measures scores.
    pub fn of(scores: &Scores) -> Detection {
        Detection {
            real: scores.negatives().len(),
            generated: scores.positives().len(),
            auc: scores.estimate(Scores::auc),
            recall_at_1_percent: scores.estimate(|scores| scores.recall_at(0.01)),
            recall_at_0_1_percent: scores.estimate(|scores| scores.recall_at(0.001)),
        }
    }
}

/// A family left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unseen {
    /// The family.
    pub family: String,
    /// How its names look.
    pub kind: String,
    /// How many were tried.
    pub names: usize,
    /// The area under the ROC curve.
    pub auc: f64,
    /// The share found at 1 % false alarms.
    pub recall: f64,
}

/// Quality, and the scores it was computed from.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The figures.
    pub quality: Quality,
    /// The margins on folds, labels of more than six characters.
    pub scores: Scores,
}

/// Where an evaluation stands.
#[derive(Clone, Debug)]
pub enum Step {
    /// A fold begins.
    Fold(usize),
    /// A family is left out.
    Family(&'static str),
}

impl std::fmt::Display for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Fold(fold) => write!(formatter, "fold {} of {FOLDS}", fold + 1),
            Step::Family(family) => write!(formatter, "family left out: {family}"),
        }
    }
}

/// The families whose names are learned. Those that string words together would only teach that words are suspicious.
pub fn learned_families() -> impl Iterator<Item = &'static Family> {
    FAMILIES
        .iter()
        .filter(|family| family.kind != Kind::Wordlist)
}

/// The names that the generators of these families add.
pub fn added<'f>(recipe: &Recipe, families: impl IntoIterator<Item = &'f Family>) -> Vec<String> {
    let names = generated(families, recipe.each_family, TRAINING_YEARS, recipe.seed);
    names.into_iter().map(|(_, label)| label).collect()
}

/// Measures a recipe on lists of real and generated labels. `progress` hears of every step.
///
/// # Errors
/// When there is nothing to learn from.
pub fn evaluate(
    recipe: &Recipe,
    real: &[String],
    listed: &[String],
    mut progress: impl FnMut(Step),
) -> Result<Evaluation, TrainError> {
    let (real, listed) = (
        Folded::new(real, recipe.seed),
        Folded::new(listed, recipe.seed ^ 1),
    );
    let added_names = added(recipe, learned_families());
    let mut judged = Judged::default();
    let mut each_fold = Vec::new();
    for fold in 0..FOLDS {
        progress(Step::Fold(fold));
        let learned = learn(
            recipe,
            &real.outside(fold),
            &listed.outside(fold),
            &added_names,
            |_| ControlFlow::Continue(()),
        )?;
        let mut own = Judged::default();
        own.real(&learned, &real.inside(fold));
        own.generated(&learned, &listed.inside(fold));
        let scores = own.long();
        each_fold.push((scores.auc(), scores.recall_at(FALSE_ALARMS)));
        judged.extend(own);
    }
    let unseen = unseen(recipe, &real, &listed, &mut progress)?;
    let of_kind = |wanted: fn(&str) -> bool| {
        let recalls: Vec<f64> = unseen
            .iter()
            .filter(|family| wanted(&family.kind))
            .map(|family| family.recall)
            .collect();
        mean(&recalls)
    };
    let scores = judged.long();
    let quality = Quality {
        folds: Detection::of(&scores),
        folds_all_lengths: Detection::of(&judged.all()),
        each_fold,
        unseen_mean: of_kind(|kind| kind != Kind::Wordlist.name()),
        unseen_mean_with_wordlists: of_kind(|_| true),
        unseen,
    };
    Ok(Evaluation { quality, scores })
}

fn unseen(
    recipe: &Recipe,
    real: &Folded,
    listed: &Folded,
    progress: &mut impl FnMut(Step),
) -> Result<Vec<Unseen>, TrainError> {
    // One fold of the real names sets the threshold; the generated ones are all there to be learned from.
    let (outside, inside) = (real.outside(0), real.inside(0));
    let listed: Vec<&str> = listed.labels.iter().map(|(label, _)| *label).collect();
    let mut unseen = Vec::new();
    for family in &FAMILIES {
        progress(Step::Family(family.name));
        let others = learned_families().filter(|other| other.name != family.name);
        let learned = learn(recipe, &outside, &listed, &added(recipe, others), |_| {
            ControlFlow::Continue(())
        })?;
        let names = generated([family], TRIED, TESTING_YEARS, recipe.seed ^ 2);
        let names: Vec<&str> = names.iter().map(|(_, label)| label.as_str()).collect();
        let mut judged = Judged::default();
        judged.real(&learned, &inside);
        judged.generated(&learned, &names);
        let scores = judged.long();
        unseen.push(Unseen {
            family: family.name.to_owned(),
            kind: family.kind.name().to_owned(),
            names: names.len(),
            auc: scores.auc(),
            recall: scores.recall_at(FALSE_ALARMS),
        });
    }
    Ok(unseen)
}

/// Labels, each in a fold.
struct Folded<'a> {
    labels: Vec<(&'a str, usize)>,
}

impl<'a> Folded<'a> {
    fn new(labels: &'a [String], seed: u64) -> Folded<'a> {
        let mut folds: Vec<usize> = (0..labels.len()).map(|index| index % FOLDS).collect();
        folds.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        Folded {
            labels: labels.iter().map(String::as_str).zip(folds).collect(),
        }
    }

    fn inside(&self, fold: usize) -> Vec<&'a str> {
        self.labels
            .iter()
            .filter(|(_, own)| *own == fold)
            .map(|(label, _)| *label)
            .collect()
    }

    fn outside(&self, fold: usize) -> Vec<&'a str> {
        self.labels
            .iter()
            .filter(|(_, own)| *own != fold)
            .map(|(label, _)| *label)
            .collect()
    }
}

/// Margins of labels that were not learned from, with their lengths.
#[derive(Default)]
struct Judged {
    real: Vec<(f32, usize)>,
    generated: Vec<(f32, usize)>,
}

impl Judged {
    fn real(&mut self, learned: &Learned, labels: &[&str]) {
        self.real.extend(judged(learned, labels));
    }

    fn generated(&mut self, learned: &Learned, labels: &[&str]) {
        self.generated.extend(judged(learned, labels));
    }

    fn extend(&mut self, other: Judged) {
        self.real.extend(other.real);
        self.generated.extend(other.generated);
    }

    fn all(&self) -> Scores {
        self.longer_than(0)
    }

    fn long(&self) -> Scores {
        self.longer_than(SHORT)
    }

    fn longer_than(&self, length: usize) -> Scores {
        let kept = |judged: &[(f32, usize)]| {
            judged
                .iter()
                .filter(|(_, own)| *own > length)
                .map(|(margin, _)| *margin)
                .collect()
        };
        Scores::new(kept(&self.real), kept(&self.generated))
    }
}

fn judged(learned: &Learned, labels: &[&str]) -> Vec<(f32, usize)> {
    let margins = learned.margins(labels.iter().copied());
    margins
        .into_iter()
        .zip(labels.iter().map(|label| label.len()))
        .collect()
}
