//! The verdict on a name.

use std::sync::Arc;

use boosted_trees::{Contributions, Explainer, Objective, Predictor};

use crate::features::{self, COUNT, FEATURES, Row};
use crate::model_files::{LoadError, Manifest, ModelFiles};
use crate::name::{Name, NotAName};
use crate::ngrams::Tables;
use crate::prediction_list::{Prediction, PredictionLists};
use model_evaluation::calibration::{Calibration, OPERATING_POINT};

/// Tells generated names from real ones.
#[derive(Clone, Debug)]
pub struct Detector {
    manifest: Arc<Manifest>,
    tables: Arc<Tables>,
    predictor: Arc<Predictor>,
    explainer: Arc<Explainer>,
    calibration: Calibration,
    predictions: Arc<PredictionLists>,
    threshold: f64,
}

/// Logarithms may differ in the last bit from machine to machine, and with them a margin by very little.
const SAME: f32 = 1e-3;

/// How many names are judged together: enough for the trees to go through in step, and few enough for all of their rows to
/// stay in the nearest memory.
const CHUNK: usize = 256;

/// What became of a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// 0 to 100; 50 is reached by one real name in a hundred, 90 by one in ten thousand.
    pub score: f64,
    /// Whether the score reaches the threshold.
    pub generated: bool,
    /// The label that decided, if one did.
    pub label: Option<String>,
    /// What it rests on.
    pub basis: Basis,
}

/// What a verdict rests on.
#[derive(Clone, Debug, PartialEq)]
pub enum Basis {
    /// The trees' answer about a label.
    Model {
        /// The sum of their leaves.
        margin: f32,
    },
    /// The name is on a prediction list.
    Predicted(Prediction),
    /// No label is long enough to say anything.
    TooShort,
    /// All that is long enough is in another script, whose letters the trees don't know.
    OtherScript {
        /// The share of characters in one script.
        uniformity: f64,
    },
    /// What was asked about is no name.
    NotAName(NotAName),
}

impl Basis {
    /// The same in one word, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Basis::Model { .. } => "model",
            Basis::Predicted(_) => "predicted",
            Basis::TooShort => "too_short",
            Basis::OtherScript { .. } => "other_script",
            Basis::NotAName(error) => error.code(),
        }
    }
}

/// How much one feature moved the verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// Its name in the model.
    pub feature: &'static str,
    /// What it says to a reader.
    pub meaning: &'static str,
    /// Its number.
    pub value: f32,
    /// What it added to the log-odds.
    pub contribution: f64,
}

impl Detector {
    /// The detector that comes along.
    ///
    /// # Errors
    /// Never with the files as they were committed; a test sees to that.
    pub fn shipped() -> Result<Detector, LoadError> {
        Detector::new(&ModelFiles::shipped())
    }

    /// A detector of these files, after it has found that they belong together and still answer as they did when they were made.
    ///
    /// # Errors
    /// When something is missing, damaged, or made for another detector.
    pub fn new(files: &ModelFiles) -> Result<Detector, LoadError> {
        let manifest = files.manifest()?;
        let model = files.trees(&manifest)?;
        let named: Vec<&str> = model.feature_names().iter().map(String::as_str).collect();
        let ours: Vec<&str> = FEATURES.iter().map(|feature| feature.name).collect();
        if named != ours || model.objective() != Objective::Logistic {
            return Err(LoadError::Contract);
        }
        let detector = Detector {
            tables: Arc::new(files.tables(&manifest)?),
            predictor: Arc::new(Predictor::new(&model)),
            explainer: Arc::new(Explainer::new(&model)),
            calibration: manifest.calibration.clone(),
            predictions: Arc::default(),
            threshold: OPERATING_POINT,
            manifest: Arc::new(manifest),
        };
        for (label, margin) in &detector.manifest.golden {
            let found = detector.predictor.margin(&detector.row(label));
            if (found - margin).abs() > SAME {
                return Err(LoadError::Golden {
                    label: label.clone(),
                    expected: *margin,
                    found,
                });
            }
        }
        Ok(detector)
    }

    /// The same, with another score to call a name generated from.
    #[must_use]
    pub fn with_threshold(self, threshold: f64) -> Detector {
        Detector { threshold, ..self }
    }

    /// The same, with lists of names that are known to be coming.
    #[must_use]
    pub fn with_predictions(self, predictions: PredictionLists) -> Detector {
        Detector {
            predictions: Arc::new(predictions),
            ..self
        }
    }

    /// The score to call a name generated from.
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// What the model was made of and what it was measured at.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The lists of names that are known to be coming.
    pub fn predictions(&self) -> &PredictionLists {
        &self.predictions
    }

    /// The verdict on one text.
    pub fn judge(&self, text: &str) -> Verdict {
        let name = match Name::parse(text) {
            Ok(name) => name,
            Err(error) => return Verdict::harmless(Basis::NotAName(error), None),
        };
        if let Some(verdict) = self.without_model(&name) {
            return verdict;
        }
        let judged = name
            .judged()
            .map(|label| (self.predictor.margin(&self.row(label)), label));
        self.highest(judged)
    }

    /// The verdicts on many texts. The same as one by one, sooner.
    pub fn judge_all<T: AsRef<str>>(&self, texts: &[T]) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(texts.len());
        for texts in texts.chunks(CHUNK) {
            self.judge_chunk(texts, &mut verdicts);
        }
        verdicts
    }

    fn judge_chunk<T: AsRef<str>>(&self, texts: &[T], verdicts: &mut Vec<Verdict>) {
        enum Answer {
            Now(Verdict),
            /// By this name and so many rows.
            Rows(Name, usize),
        }
        let mut rows: Vec<f32> = Vec::with_capacity(texts.len() * COUNT);
        let answers: Vec<Answer> = texts
            .iter()
            .map(|text| match Name::parse(text.as_ref()) {
                Err(error) => Answer::Now(Verdict::harmless(Basis::NotAName(error), None)),
                Ok(name) => match self.without_model(&name) {
                    Some(verdict) => Answer::Now(verdict),
                    None => {
                        let before = rows.len();
                        name.judged().for_each(|label| rows.extend(self.row(label)));
                        let count = (rows.len() - before) / COUNT;
                        Answer::Rows(name, count)
                    }
                },
            })
            .collect();
        let mut margins = vec![0.0; rows.len() / COUNT];
        self.predictor.margins(&rows, &mut margins);
        let mut rest = margins.as_slice();
        verdicts.extend(answers.into_iter().map(|answer| match answer {
            Answer::Now(verdict) => verdict,
            Answer::Rows(name, count) => {
                let (own, others) = rest.split_at(count);
                rest = others;
                self.highest(own.iter().copied().zip(name.judged()))
            }
        }));
    }

    /// What moved the margin of a label, the strongest first, exactly.
    pub fn explain(&self, label: &str) -> Vec<Reason> {
        let row = self.row(label);
        reasons(&row, &self.explainer.explain(&row))
    }

    /// Likewise, in a hundredth of the time and nearly as well.
    pub fn outline(&self, label: &str) -> Vec<Reason> {
        let row = self.row(label);
        reasons(&row, &self.explainer.outline(&row))
    }

    /// The score of a margin.
    pub fn score(&self, margin: f32) -> f64 {
        self.calibration.score(margin)
    }

    /// How likely a margin is a generated name's, in the mix of names the model was made of.
    pub fn probability(&self, margin: f32) -> f32 {
        self.predictor.transform(margin)
    }

    /// The margin of a label.
    pub fn margin(&self, label: &str) -> f32 {
        self.predictor.margin(&self.row(label))
    }

    fn row(&self, label: &str) -> Row {
        features::row(label.as_bytes(), &*self.tables)
    }

    /// The verdict where the trees need not be asked, or cannot.
    fn without_model(&self, name: &Name) -> Option<Verdict> {
        if let Some(prediction) = self.predictions.find(name) {
            return Some(Verdict {
                score: 100.0,
                generated: true,
                label: Some(name.registered_label().to_owned()),
                basis: Basis::Predicted(prediction.clone()),
            });
        }
        if name.judged().next().is_some() {
            return None;
        }
        let label = Some(name.registered_label().to_owned());
        Some(match name.script_share() {
            Some(uniformity) => Verdict::harmless(Basis::OtherScript { uniformity }, label),
            None => Verdict::harmless(Basis::TooShort, label),
        })
    }

    fn highest<'a>(&self, judged: impl Iterator<Item = (f32, &'a str)>) -> Verdict {
        // Of equals the first, so that the answer is the same each time.
        let highest = judged.reduce(|best, next| if next.0 > best.0 { next } else { best });
        let Some((margin, label)) = highest else {
            return Verdict::harmless(Basis::TooShort, None);
        };
        let score = self.calibration.score(margin);
        Verdict {
            score,
            generated: score >= self.threshold,
            label: Some(label.to_owned()),
            basis: Basis::Model { margin },
        }
    }
}

impl Verdict {
    fn harmless(basis: Basis, label: Option<String>) -> Verdict {
        Verdict {
            score: 0.0,
            generated: false,
            label,
            basis,
        }
    }
}

fn reasons(row: &Row, contributions: &Contributions) -> Vec<Reason> {
    let numbers = row.iter().zip(&contributions.values);
    let mut reasons: Vec<Reason> = FEATURES
        .iter()
        .zip(numbers)
        .map(|(feature, (value, contribution))| Reason {
            feature: feature.name,
            meaning: feature.meaning,
            value: *value,
            contribution: *contribution,
        })
        .collect();
    // Of equals the first by name.
    reasons.sort_by(|a, b| {
        b.contribution
            .abs()
            .total_cmp(&a.contribution.abs())
            .then_with(|| a.feature.cmp(b.feature))
    });
    reasons
}
