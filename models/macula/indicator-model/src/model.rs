//! A model that passed all checks: it scores what was gathered, and says exactly why.

use std::sync::Arc;

use boosted_trees::{Explainer, Objective, Predictor};
use gatherers::{Category, Gathered, Missing, Reading};
use serde::Serialize;

use crate::bundle::{Bundle, BundleError, Manifest};
use crate::contract::Readings;

/// How far a golden example's margin may be off: less than any score shows.
const GOLDEN_TOLERANCE: f32 = 1e-5;

/// A model, ready to score.
#[derive(Debug)]
pub struct IndicatorModel {
    bundle: Bundle,
    digest: String,
    manifest: Manifest,
    predictor: Predictor,
    explainer: Explainer,
    feature_of_columns: Vec<usize>,
}

/// What a model says of an indicator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// How likely it is malicious, 0 to 1.
    pub malicious: f64,
    /// How likely it is not: what is left to 1.
    pub benign: f64,
    /// The same on the scale on which 50 is the operating point and 90 one false alarm in ten thousand, 0 to 100.
    pub rescaled: f64,
    /// The share of the features that had a value, 0 to 1.
    pub coverage: f64,
    /// Whether that is enough for the answer to mean much.
    pub covered: bool,
}

/// Why a model says what it says. `base` and all contributions add up to the margin, and so do `base` and all categories.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The log-odds when nothing is known.
    pub base: f64,
    /// The log-odds with everything that is.
    pub margin: f64,
    /// What each feature adds, the strongest first.
    pub contributions: Vec<Contribution>,
    /// What each category adds, the strongest first.
    pub categories: Vec<CategoryShare>,
}

/// What one feature adds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contribution {
    /// The feature.
    pub feature: Arc<str>,
    /// What it is about.
    pub category: Category,
    /// What it adds to the log-odds; above 0 towards malicious.
    pub contribution: f64,
    /// Its part in everything that was added and taken away, in percent.
    pub share: f64,
    /// Its value, or why it has none. That it has none can say something too.
    #[serde(flatten)]
    pub reading: Reading,
}

/// What one category adds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryShare {
    /// The category.
    pub category: Category,
    /// What its features add to the log-odds together.
    pub contribution: f64,
    /// Its part in what all categories added and took away, in percent.
    pub share: f64,
    /// The score if only this category were known, 0 to 100.
    pub score: f64,
    /// How many of its features had no value.
    pub missing: usize,
}

impl IndicatorModel {
    /// Checks everything about a bundle and makes a model of it.
    ///
    /// # Errors
    /// When the files are no bundle, don't belong together, or compute something else than where they were made.
    pub fn load(bundle: Bundle) -> Result<IndicatorModel, ModelError> {
        let manifest = bundle.manifest()?;
        let trees = bundle.trees(&manifest)?;
        if trees.objective() != Objective::Logistic {
            return Err(ModelError::Objective(trees.objective().name()));
        }
        let columns = manifest.features.column_names();
        if trees.features() != columns.len() || trees.feature_names() != columns {
            return Err(ModelError::Contract {
                found: trees.features(),
                expected: columns.len(),
            });
        }
        if !(0.0..=1.0).contains(&manifest.minimum_coverage) {
            return Err(ModelError::Coverage(manifest.minimum_coverage));
        }
        let model = IndicatorModel {
            digest: bundle.digest(),
            predictor: Predictor::new(&trees),
            explainer: Explainer::new(&trees),
            feature_of_columns: manifest.features.feature_of_columns(),
            manifest,
            bundle,
        };
        model.check_golden()?;
        Ok(model)
    }

    fn check_golden(&self) -> Result<(), ModelError> {
        if self.manifest.golden.is_empty() {
            return Err(ModelError::NoGolden);
        }
        for (example, golden) in self.manifest.golden.iter().enumerate() {
            let values = golden.values.iter();
            let told = values.map(|(name, value)| (name, Reading::Value(value.clone())));
            let told: Vec<_> = told.collect();
            let contract = &self.manifest.features;
            let told = told.iter().map(|(name, reading)| (&***name, reading));
            let readings = contract.readings_of(told);
            let found = self.predictor.margin(&contract.row(&readings));
            // A NaN is within no tolerance.
            let is_right = (found - golden.margin).abs() <= GOLDEN_TOLERANCE;
            if !is_right {
                return Err(ModelError::Golden {
                    example,
                    expected: golden.margin,
                    found,
                });
            }
        }
        Ok(())
    }

    /// What the model is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it is known by.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Its files.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// What the model wants to know of what was gathered.
    pub fn readings(&self, gathered: &Gathered) -> Readings {
        self.manifest.features.readings(gathered)
    }

    /// Scores. Whatever is missing, there is a score: that of the trees with these features missing.
    pub fn score(&self, readings: &Readings) -> Score {
        let margin = self.predictor.margin(&self.manifest.features.row(readings));
        let malicious = f64::from(self.predictor.transform(margin)).clamp(0.0, 1.0);
        let coverage = readings.coverage();
        Score {
            malicious,
            benign: 1.0 - malicious,
            rescaled: self.manifest.calibration.score(margin),
            coverage,
            covered: coverage >= self.manifest.minimum_coverage,
        }
    }

    /// The features without a value, each with the reason.
    pub fn missing<'m>(
        &'m self,
        readings: &'m Readings,
    ) -> impl Iterator<Item = (&'m str, Missing)> {
        let features = self.manifest.features.features().iter();
        let told = features.zip(readings.iter());
        told.filter_map(|(feature, reading)| match reading {
            Reading::Missing(why) => Some((&*feature.name, *why)),
            Reading::Value(_) => None,
        })
    }

    /// What each feature and each category contributed. Exact, and slower than scoring by far.
    pub fn explain(&self, readings: &Readings) -> Explanation {
        let contract = &self.manifest.features;
        let of_columns = self.explainer.explain(&contract.row(readings));
        let of_features = of_columns.by_group(&self.feature_of_columns, contract.features().len());
        let all: f64 = of_features.iter().map(|value| value.abs()).sum();
        let told = contract.features().iter().zip(readings.iter());
        let mut contributions: Vec<Contribution> = told
            .zip(&of_features)
            .map(|((feature, reading), contribution)| Contribution {
                feature: feature.name.clone(),
                category: feature.category,
                contribution: *contribution,
                share: percent(contribution.abs(), all),
                reading: reading.clone(),
            })
            .collect();
        let categories = self.by_category(&contributions, of_columns.bias);
        contributions.sort_by(|a, b| {
            let stronger = b.contribution.abs().total_cmp(&a.contribution.abs());
            stronger.then_with(|| a.feature.cmp(&b.feature))
        });
        Explanation {
            base: of_columns.bias,
            margin: of_columns.sum(),
            contributions,
            categories,
        }
    }

    fn by_category(&self, contributions: &[Contribution], base: f64) -> Vec<CategoryShare> {
        let mut categories: Vec<CategoryShare> = Category::ALL
            .into_iter()
            .filter_map(|category| {
                let of_it = contributions.iter().filter(|c| c.category == category);
                of_it.clone().next()?;
                let contribution: f64 = of_it.clone().map(|c| c.contribution).sum();
                let missing = of_it.filter(|c| c.reading.value().is_none()).count();
                Some(CategoryShare {
                    category,
                    contribution,
                    share: 0.0,
                    score: self
                        .manifest
                        .calibration
                        .score((base + contribution) as f32),
                    missing,
                })
            })
            .collect();
        let all: f64 = categories.iter().map(|c| c.contribution.abs()).sum();
        for category in &mut categories {
            category.share = percent(category.contribution.abs(), all);
        }
        categories.sort_by(|a, b| {
            let stronger = b.contribution.abs().total_cmp(&a.contribution.abs());
            stronger.then(a.category.cmp(&b.category))
        });
        categories
    }
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        100.0 * part / whole
    } else {
        0.0
    }
}

/// Why a bundle is no model for this program.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The files.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Trees that predict something else than how likely something is.
    #[error("the trees have the objective `{0}`; expected is `binary:logistic`")]
    Objective(&'static str),
    /// Trees over other columns than the contract's.
    #[error("the trees have {found} columns and the contract {expected}, or they have other names")]
    Contract {
        /// The trees'.
        found: usize,
        /// The contract's.
        expected: usize,
    },
    /// A share that is none.
    #[error("the minimum coverage is {0}; expected is a share from 0 to 1")]
    Coverage(f64),
    /// Nothing to hold it against.
    #[error(
        "the manifest has no golden example, so nothing shows that the model computes what it should"
    )]
    NoGolden,
    /// Another answer than where it was made.
    #[error(
        "for the golden example {example} the margin is {found} here and was {expected} where the model was made"
    )]
    Golden {
        /// Which.
        example: usize,
        /// What it was.
        expected: f32,
        /// What it is.
        found: f32,
    },
}
