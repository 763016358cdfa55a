//! The answers, as JSON shows them. No other module knows these field names, but for the evidence's own.
//!
//! `/api/score` answers with one object whose keys are the caller's own texts, in their order, or with an object on each line;
//! `/apply` with a flat object, for the caller's language picks single values out of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use indicators::Indicator;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::analyst::Opinion;
use crate::evidence::Evidence;
use crate::explanation::{CategoryScore, Explanation, summary};
use crate::feature_set::FeatureSet;
use crate::judgement::{Source, Verdict};
use crate::openapi;
use crate::options::Options;
use crate::pivot::Pivot;
use crate::request::ItemError;
use crate::score_cache::Judged;

/// What an item came to: a judgement, and whether it was made before; or why there is none.
#[derive(Debug)]
pub struct Scored<'a> {
    /// The caller's text.
    pub key: &'a str,
    /// What it came to.
    pub outcome: Result<(&'a Indicator, Arc<Judged>, bool), &'a ItemError>,
    /// Whether a model may be asked why: of one batch only [`EXPLAINED`] are.
    pub explained: bool,
}

impl Scored<'_> {
    /// Whether a model has judged it.
    pub(crate) fn is_by_model(&self) -> bool {
        let outcome = self.outcome.as_ref();
        outcome.is_ok_and(|(_, judged, _)| judged.opinion.is_some())
    }
}

/// So many items of a batch are explained by their models. Each may take a millisecond.
pub const EXPLAINED: usize = 500;

/// What those that are not are told.
const UNEXPLAINED: &str = "only the first 500 indicators of a request that a model judges are explained; ask for the others in another request";

/// Several answers under their keys.
#[derive(Debug)]
pub struct Answers<'a> {
    /// In the order of the request.
    pub scored: Vec<Scored<'a>>,
    /// What to tell about them.
    pub options: &'a Options,
    /// The score of what nobody has an opinion about.
    pub neutral_score: f64,
    /// What the caller should know.
    pub warnings: &'a [String],
}

/// The answers about a batch as text, to which they are added part by part.
#[derive(Debug)]
pub struct Text {
    lines: bool,
    pieces: Vec<Vec<u8>>,
    /// How many more a model may be asked about why.
    left: usize,
    /// Whether one was left out for that.
    left_out: bool,
}

/// The answer about one indicator.
#[derive(Debug, Serialize, ToSchema)]
pub struct Answer<'a> {
    /// How sure we are that it is harmless, 0 to 1; with `malicious` it makes 1. Null for an item that failed, like the next two.
    #[schema(minimum = 0, maximum = 1, required)]
    pub benign: Option<f64>,
    /// How sure we are that it is malicious, 0 to 1.
    #[schema(minimum = 0, maximum = 1, required)]
    pub malicious: Option<f64>,
    /// The score, 0 to 100.
    #[schema(minimum = 0, maximum = 100, required)]
    pub rescaled: Option<f64>,
    /// Everything else.
    pub meta: Meta<'a>,
}

/// What stands beside the numbers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Meta<'a> {
    /// Whether the item could be scored.
    pub success: bool,
    /// The kind of indicator.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>, required)]
    pub kind: Option<&'static str>,
    /// Its normal form, under which it was looked up.
    #[schema(required)]
    pub normalized: Option<String>,
    /// Who decided the score.
    pub source: Source,
    /// The score in one word.
    pub verdict: Verdict,
    /// Whether the score was made for an earlier request.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub cached: bool,
    /// What the lists said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules<'a>>,
    /// What a model said, if one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelOpinion<'a>>,
    /// What the domains of the address came to, if they were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pivot: Option<PivotAnswer<'a>>,
    /// What moved the score, if asked for.
    #[schema(required)]
    pub explanation: Option<Explanation<'a>>,
    /// Sub-scores by category, if asked for.
    #[schema(value_type = Option<BTreeMap<String, CategoryScore>>, required)]
    pub summary: Option<BTreeMap<&'static str, CategoryScore>>,
    /// The sources of features that were left, if the caller chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub features: Option<FeatureSet>,
    /// The values of features that the caller told, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = openapi::values_or_null)]
    pub overrides: Option<&'a BTreeMap<String, gatherers::Value>>,
    /// What the caller should know: parameters that do nothing.
    #[serde(skip_serializing_if = "is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    pub warnings: Cow<'a, [String]>,
    /// Why the item failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemFailure>,
}

/// What the lists said.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rules<'a> {
    /// Whether a whitelist and another list disagree.
    pub conflict: bool,
    /// The entries that speak of the indicator; those that decided come first.
    #[schema(value_type = Vec<Evidence>)]
    pub hits: &'a [Evidence],
}

/// What a model said.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelOpinion<'a> {
    /// Which model.
    #[schema(value_type = String)]
    pub name: &'a str,
    /// Its version.
    #[schema(value_type = String)]
    pub version: &'a str,
    /// How likely it is malicious, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub malicious: f64,
    /// How likely it is not.
    #[schema(minimum = 0, maximum = 1)]
    pub benign: f64,
    /// The score, 0 to 100: 50 is the operating point, 90 one false alarm in ten thousand.
    #[schema(minimum = 0, maximum = 100)]
    pub rescaled: f64,
    /// The share of its features that had a value.
    #[schema(minimum = 0, maximum = 1)]
    pub coverage: f64,
    /// Whether that is enough; otherwise the opinion does not count.
    pub covered: bool,
    /// Whether the model has nothing to say: it tells only of what is malicious, and found nothing that is more suspicious than
    /// what nobody knows. These numbers do not count then, and nothing follows from them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub silent: bool,
    /// The features without a value, each with the reason.
    #[schema(value_type = BTreeMap<String, String>)]
    pub missing: BTreeMap<&'a str, &'static str>,
}

/// What the domains of an address came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct PivotAnswer<'a> {
    /// `cleared` by a domain that its owner vouches for, the `lowest` score of the domains; or the address is scored by itself:
    /// `unknown`, since nobody has an opinion of the most harmless domain, `no_domains`, or `unavailable`.
    #[schema(value_type = String, example = "lowest")]
    pub status: &'static str,
    /// The domain that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub domain: Option<&'a str>,
    /// Its score, if it is the one before the rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub score: Option<f64>,
    /// How many domains that lead to the address were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<usize>,
    /// How many more domains were seen there lately of which nobody knows whether they still lead there: their servers did not
    /// answer, or they were too many to be asked. One of them may be more harmless.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub unchecked: Option<usize>,
    /// Why it is unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "timeout")]
    pub reason: Option<&'static str>,
}

/// Why one item failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemFailure {
    /// For programs.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// An answer on a line of its own.
#[derive(Debug, Serialize)]
struct LineAnswer<'a> {
    indicator: &'a str,
    #[serde(flatten)]
    answer: Answer<'a>,
}

/// The flat answer of `/apply`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Flat<'a> {
    /// `malicious`, `legit` or `unknown`: the three words field transformations compare with.
    #[schema(value_type = String, example = "malicious")]
    pub is_malicious: &'static str,
    /// The score, 0 to 100; absent when the indicator could not be scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub score: Option<f64>,
    /// How sure we are that it is malicious, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub malicious: Option<f64>,
    /// How sure we are that it is harmless; with `malicious` it makes 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub benign: Option<f64>,
    /// The verdict, finer than `is_malicious`.
    pub verdict: Verdict,
    /// Who decided.
    pub source: Source,
    /// The kind of indicator.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<&'static str>,
    /// The caller's text.
    pub indicator: &'a str,
    /// Its normal form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalized: Option<String>,
    /// What moved the score most, like `feed phishing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_feature: Option<String>,
    /// The list that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub list: Option<Box<str>>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub list_version: Option<Box<str>>,
    /// The entry that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub entry: Option<Box<str>>,
    /// Whether a whitelist and another list disagree.
    pub conflict: bool,
    /// Whether the indicator could be scored.
    pub success: bool,
    /// Why not, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub error_code: Option<&'static str>,
    /// Why not, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Serialize for Answers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.scored.len()))?;
        for scored in &self.scored {
            map.serialize_entry(scored.key, &self.answer(scored))?;
        }
        map.end()
    }
}

impl Text {
    /// Without an answer so far: one object, or an object on each line.
    pub fn new(lines: bool) -> Text {
        Text {
            lines,
            pieces: Vec::new(),
            left: EXPLAINED,
            left_out: false,
        }
    }

    /// How many more a model may be asked about why.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Adds these answers.
    ///
    /// # Errors
    /// When a number is none that JSON can show.
    pub fn add(&mut self, answers: &Answers<'_>) -> serde_json::Result<()> {
        let mut piece = Vec::new();
        for scored in &answers.scored {
            let (indicator, answer) = (scored.key, answers.answer(scored));
            if self.lines {
                serde_json::to_writer(&mut piece, &LineAnswer { indicator, answer })?;
                piece.push(b'\n');
                continue;
            }
            let is_first = self.pieces.is_empty() && piece.is_empty();
            piece.push(if is_first { b'{' } else { b',' });
            serde_json::to_writer(&mut piece, indicator)?;
            piece.push(b':');
            serde_json::to_writer(&mut piece, &answer)?;
        }
        self.pieces.push(piece);
        let by_model = answers.scored.iter().filter(|scored| scored.is_by_model());
        self.left = self.left.saturating_sub(by_model.count());
        self.left_out |= answers.scored.iter().any(|scored| !scored.explained);
        Ok(())
    }

    /// All of it in pieces, and what there is to tell besides what was told of the request.
    pub fn end(mut self) -> (Vec<Vec<u8>>, Option<&'static str>) {
        match self.pieces.last_mut() {
            _ if self.lines => {}
            Some(last) => last.push(b'}'),
            None => self.pieces.push(b"{}".to_vec()),
        }
        (self.pieces, self.left_out.then_some(UNEXPLAINED))
    }
}

impl Answers<'_> {
    fn answer<'s>(&'s self, scored: &'s Scored<'s>) -> Answer<'s> {
        match &scored.outcome {
            Ok((indicator, judged, cached)) => {
                let answer = self.judged(indicator, judged, *cached, scored.explained);
                if scored.explained {
                    return answer;
                }
                let mut warnings = self.warnings.to_vec();
                warnings.push(UNEXPLAINED.to_owned());
                Answer {
                    meta: Meta {
                        warnings: warnings.into(),
                        ..answer.meta
                    },
                    ..answer
                }
            }
            Err(error) => self.failed(error),
        }
    }

    fn judged<'s>(
        &'s self,
        indicator: &Indicator,
        judged: &'s Judged,
        cached: bool,
        explained: bool,
    ) -> Answer<'s> {
        let options = self.options;
        let judgement = &judged.judgement;
        let (explain, summarise) = (options.explain && explained, options.summary && explained);
        let reasons = judged.opinion.as_ref().filter(|_| explain || summarise);
        let reasons = reasons.map(|opinion| opinion.explain());
        // What a silent model computed is no part of the score.
        let opinion = judged.opinion.as_deref();
        let told = opinion.is_some_and(|opinion| !opinion.is_silent(self.neutral_score));
        let rules = Rules {
            conflict: judgement.conflict,
            hits: &judgement.evidence,
        };
        Answer {
            benign: Some(benign(judged)),
            malicious: Some(malicious(judged)),
            rescaled: Some(judgement.score),
            meta: Meta {
                success: true,
                kind: Some(indicator.kind()),
                normalized: Some(indicator.to_string()),
                source: judgement.source,
                verdict: judgement.verdict,
                cached,
                rules: options.use_rule.then_some(rules),
                model: opinion.map(|opinion| ModelOpinion::of(opinion, self.neutral_score)),
                pivot: judged.pivot.as_ref().map(PivotAnswer::of),
                explanation: explain
                    .then(|| Explanation::of(judged, reasons.as_ref(), options.explain_items)),
                summary: summarise.then(|| {
                    let reasons = reasons.as_ref().filter(|_| told);
                    summary(judgement, self.neutral_score, reasons)
                }),
                features: options.feature_set(),
                overrides: Some(&options.overrides).filter(|told| !told.is_empty()),
                warnings: self.warnings.into(),
                error: None,
            },
        }
    }

    fn failed(&self, error: &ItemError) -> Answer<'_> {
        Answer {
            benign: None,
            malicious: None,
            rescaled: None,
            meta: Meta {
                success: false,
                kind: None,
                normalized: None,
                source: Source::None,
                verdict: Verdict::Unknown,
                cached: false,
                rules: None,
                model: None,
                pivot: None,
                explanation: None,
                summary: None,
                features: None,
                overrides: None,
                warnings: self.warnings.into(),
                error: Some(ItemFailure::from(error)),
            },
        }
    }
}

fn is_empty(warnings: &[String]) -> bool {
    warnings.is_empty()
}

impl From<&ItemError> for ItemFailure {
    fn from(error: &ItemError) -> Self {
        ItemFailure {
            code: error.code(),
            message: error.to_string(),
        }
    }
}

impl<'a> Flat<'a> {
    /// The flat answer for an item.
    pub fn new(scored: &Scored<'a>) -> Flat<'a> {
        let judged = scored.outcome.as_ref().ok();
        let scores = judged.map(|(_, judged, _)| judged);
        let judgement = scores.map(|judged| &judged.judgement);
        let decisive = judgement.and_then(|judgement| judgement.evidence.first());
        let decisive = decisive.filter(|first| first.points.is_some());
        let verdict = judgement.map_or(Verdict::Unknown, |judgement| judgement.verdict);
        let error = scored.outcome.as_ref().err();
        Flat {
            is_malicious: match verdict {
                Verdict::Malicious => "malicious",
                Verdict::Benign => "legit",
                Verdict::Suspicious | Verdict::Unknown => "unknown",
            },
            score: judgement.map(|judgement| judgement.score),
            malicious: scores.map(|judged| malicious(judged)),
            benign: scores.map(|judged| benign(judged)),
            verdict,
            source: judgement.map_or(Source::None, |judgement| judgement.source),
            kind: judged.map(|(indicator, ..)| indicator.kind()),
            indicator: scored.key,
            normalized: judged.map(|(indicator, ..)| indicator.to_string()),
            top_feature: decisive
                .map(Evidence::title)
                .or_else(|| scores.and_then(|judged| strongest(judged))),
            list: decisive.map(|first| first.list.clone()),
            list_version: decisive.map(|first| first.version.clone()),
            entry: decisive.map(|first| first.entry.clone()),
            conflict: judgement.is_some_and(|judgement| judgement.conflict),
            success: error.is_none(),
            error_code: error.map(|error| error.code()),
            error: error.map(ToString::to_string),
        }
    }
}

/// The model's own word where the model decided, else what the score says.
fn malicious(judged: &Judged) -> f64 {
    let by_score = (judged.judgement.score * 100.0).round() / 10_000.0;
    decisive(judged).map_or(by_score, |score| score.malicious)
}

fn benign(judged: &Judged) -> f64 {
    let by_score = ((100.0 - judged.judgement.score) * 100.0).round() / 10_000.0;
    decisive(judged).map_or(by_score, |score| score.benign)
}

fn decisive(judged: &Judged) -> Option<&indicator_model::Score> {
    let opinion = judged.opinion.as_ref();
    let opinion = opinion.filter(|_| judged.judgement.source == Source::Model);
    opinion.map(|opinion| opinion.score())
}

/// The domain that decided where the pivot did, and the feature that moved a model most where the model decided.
fn strongest(judged: &Judged) -> Option<String> {
    if judged.judgement.source == Source::Pivot {
        let (domain, ..) = judged.pivot.as_ref()?.domain()?;
        return Some(format!("pivot {domain}"));
    }
    decisive(judged)?;
    let reasons = judged.opinion.as_ref()?.explain();
    let first = reasons.contributions.into_iter().next()?;
    Some(first.feature.to_string())
}

impl<'a> PivotAnswer<'a> {
    fn of(pivot: &'a Pivot) -> Self {
        let domain = pivot.domain();
        PivotAnswer {
            status: pivot.status(),
            domain: domain.map(|(domain, ..)| domain),
            score: domain.and_then(|(_, score, _)| score),
            of: domain.map(|(.., of)| of),
            unchecked: Some(pivot.unchecked()).filter(|unchecked| *unchecked > 0),
            reason: match pivot {
                Pivot::Unavailable(why) => Some(why.name()),
                Pivot::Off
                | Pivot::NoDomains { .. }
                | Pivot::Unknown { .. }
                | Pivot::Cleared { .. }
                | Pivot::Lowest { .. } => None,
            },
        }
    }
}

impl<'a> ModelOpinion<'a> {
    fn of(opinion: &'a Opinion, neutral: f64) -> Self {
        let (manifest, score) = (opinion.model().manifest(), opinion.score());
        ModelOpinion {
            name: &manifest.name,
            version: &manifest.version,
            malicious: score.malicious,
            benign: score.benign,
            rescaled: score.rescaled,
            coverage: score.coverage,
            covered: score.covered,
            silent: opinion.is_silent(neutral),
            missing: opinion
                .missing()
                .map(|(feature, why)| (feature, why.name()))
                .collect(),
        }
    }
}
