//! Verdicts as callers get them.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::detector::{Basis, Detector, Reason, Verdict};
use crate::prediction_list::Prediction;

/// How many reasons are told in words.
const REASONS: usize = 3;

/// The word for a name that was generated.
const GENERATED: &str = "dga";

/// The word for any other.
const LEGIT: &str = "legit";

/// The answer to one name: one flat object, of which callers have always read `is_malicious`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Verdict)]
pub struct Answer<'a> {
    /// `dga` or `legit`.
    #[schema(value_type = String, example = "dga")]
    is_malicious: &'static str,
    /// From 0 to 100; from the threshold on the name is called generated.
    #[serde(serialize_with = "one_digit")]
    score: f64,
    #[serde(serialize_with = "one_digit")]
    #[schema(minimum = 0, maximum = 100)]
    threshold: f64,
    /// The label that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    /// What the verdict rests on.
    #[schema(value_type = String, example = "model")]
    reason: &'static str,
    /// How sure the model is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    probability: Option<f32>,
    /// The family whose prediction list has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'a str>,
    /// The day it was predicted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<&'a str>,
    /// The seed it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script_share: Option<f64>,
    /// What speaks for the verdict, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    reasons: Vec<&'static str>,
    /// What every feature added to the log-odds.
    #[serde(skip_serializing_if = "Option::is_none")]
    contributions: Option<Vec<ContributionAnswer>>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
struct ContributionAnswer {
    #[schema(value_type = String)]
    feature: &'static str,
    #[schema(value_type = String)]
    meaning: &'static str,
    value: f32,
    contribution: f64,
}

/// The answer to one name of a batch.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = BatchVerdict)]
pub struct BatchAnswer<'a> {
    /// The name, as it was written; null where there was none.
    #[schema(required)]
    pub host: Option<&'a str>,
    /// `dga` or `legit`.
    #[schema(value_type = String, example = "dga")]
    is_malicious: &'static str,
    /// From 0 to 100.
    #[serde(serialize_with = "one_digit")]
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[schema(value_type = String, example = "model")]
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contributions: Option<Vec<ContributionAnswer>>,
}

impl<'a> Answer<'a> {
    /// The answer with this verdict. Only with `explain` are the contributions exact, and there.
    pub fn of(detector: &Detector, verdict: &'a Verdict, explain: bool) -> Answer<'a> {
        let judged = by_model(verdict);
        let reasons = match judged {
            Some((label, _)) if explain => detector.explain(label),
            Some((label, _)) => detector.outline(label),
            None => Vec::new(),
        };
        Answer {
            is_malicious: word(verdict),
            score: verdict.score,
            threshold: detector.threshold(),
            label: verdict.label.as_deref(),
            reason: verdict.basis.code(),
            probability: judged.map(|(_, margin)| detector.probability(margin)),
            family: prediction(verdict).map(|prediction| &*prediction.family),
            date: prediction(verdict).and_then(|prediction| prediction.date.as_deref()),
            seed: prediction(verdict).and_then(|prediction| prediction.seed.as_deref()),
            script_share: match verdict.basis {
                Basis::OtherScript { uniformity } => Some(uniformity),
                Basis::Model { .. }
                | Basis::Predicted(_)
                | Basis::TooShort
                | Basis::NotAName(_) => None,
            },
            reasons: in_words(&reasons, verdict.generated),
            contributions: (explain && judged.is_some()).then(|| contributions(reasons)),
        }
    }
}

impl<'a> BatchAnswer<'a> {
    /// The answer with this verdict.
    pub fn of(
        detector: &Detector,
        host: Option<&'a str>,
        verdict: &'a Verdict,
        explain: bool,
    ) -> BatchAnswer<'a> {
        let explained = by_model(verdict).filter(|_| explain);
        BatchAnswer {
            host,
            is_malicious: word(verdict),
            score: verdict.score,
            label: verdict.label.as_deref(),
            reason: if host.is_some() {
                verdict.basis.code()
            } else {
                "not_a_name"
            },
            family: prediction(verdict).map(|prediction| prediction.family.as_str()),
            contributions: explained.map(|(label, _)| contributions(detector.explain(label))),
        }
    }
}

/// The word for a verdict.
pub fn word(verdict: &Verdict) -> &'static str {
    if verdict.generated { GENERATED } else { LEGIT }
}

/// What speaks for the verdict, the strongest first.
pub fn in_words(reasons: &[Reason], generated: bool) -> Vec<&'static str> {
    let speaking = reasons
        .iter()
        .filter(|reason| (reason.contribution > 0.0) == generated);
    speaking
        .take(REASONS)
        .map(|reason| reason.meaning)
        .collect()
}

fn by_model(verdict: &Verdict) -> Option<(&str, f32)> {
    match (&verdict.basis, &verdict.label) {
        (Basis::Model { margin }, Some(label)) => Some((label, *margin)),
        _ => None,
    }
}

fn prediction(verdict: &Verdict) -> Option<&Prediction> {
    match &verdict.basis {
        Basis::Predicted(prediction) => Some(prediction),
        Basis::Model { .. } | Basis::TooShort | Basis::OtherScript { .. } | Basis::NotAName(_) => {
            None
        }
    }
}

fn contributions(reasons: Vec<Reason>) -> Vec<ContributionAnswer> {
    let answers = reasons.into_iter().map(|reason| ContributionAnswer {
        feature: reason.feature,
        meaning: reason.meaning,
        value: reason.value,
        contribution: (reason.contribution * 1e4).round() / 1e4,
    });
    answers.collect()
}

/// Cut, not rounded: 49.96 is below a threshold of 50 and must look it.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands fields over by reference"
)]
fn one_digit<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((number * 10.0).floor() / 10.0)
}
