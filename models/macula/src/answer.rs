//! The answers, as JSON shows them. No other module knows these field names.
//!
//! `/api/score` answers with one object whose keys are the caller's own texts, in their order; `/apply` with a flat object, for the
//! caller's language picks single values out of it.

use jiff::civil::Date;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::judgement::{CountedHit, Judgement, Source, Verdict};
use crate::options::Options;
use crate::request::Item;
use indicators::{Indicator, IndicatorError};
use threat_lists::{BadLine, Hit, List, ListKind, Match, Scope};

/// Several answers under their keys.
#[derive(Debug)]
pub struct Answers<'a>(pub Vec<(&'a str, Answer<'a>)>);

/// The answer about one indicator.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    /// How sure we are that it is harmless, 0 to 1; with `malicious` it makes 1. Null for an item that failed, like the next two.
    pub benign: Option<f64>,
    /// How sure we are that it is malicious, 0 to 1.
    pub malicious: Option<f64>,
    /// The score, 0 to 100.
    pub rescaled: Option<f64>,
    /// Everything else.
    pub meta: Meta<'a>,
}

/// What stands beside the numbers.
#[derive(Debug, Serialize)]
pub struct Meta<'a> {
    /// Whether the item could be scored.
    pub success: bool,
    /// The kind of indicator.
    #[serde(rename = "type")]
    pub kind: Option<&'static str>,
    /// Its normal form, under which it was looked up.
    pub normalized: Option<String>,
    /// Who decided the score.
    pub source: Source,
    /// The score in one word.
    pub verdict: Verdict,
    /// What the lists said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Rules<'a>>,
    /// What moved the score, if asked for.
    pub explanation: Option<Explanation>,
    /// Sub-scores by feature category. There are none without a model.
    pub summary: Option<()>,
    /// Why the item failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

/// What the lists said.
#[derive(Debug, Serialize)]
pub struct Rules<'a> {
    /// Whether a whitelist and another list disagree.
    pub conflict: bool,
    /// The entries that speak of the indicator; those that decided come first.
    pub hits: Vec<HitAnswer<'a>>,
}

/// One entry that speaks of the indicator.
#[derive(Debug, Serialize)]
pub struct HitAnswer<'a> {
    /// What the list means.
    pub kind: ListKind,
    /// The list's name.
    pub list: &'a str,
    /// The list's version.
    pub version: &'a str,
    /// The entry as the list has it.
    pub entry: &'a str,
    /// Its line in the file.
    pub line: u32,
    /// How it fits.
    #[serde(rename = "match")]
    pub matched: Match,
    /// Whether it speaks of the indicator itself or of its host.
    pub scope: Scope,
    /// Whether it moved the score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<bool>,
    /// How much it weighs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// When the source first saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Date>,
    /// When the source last saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Date>,
}

/// What moved the score. `base` and all contributions together give the score.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The score before the rules.
    pub base: f64,
    /// The strongest first, as many as were asked for.
    pub items: Vec<Contribution>,
}

/// One thing that moved the score.
#[derive(Debug, Serialize)]
pub struct Contribution {
    /// Its category; `lists` until a model brings features.
    pub category: &'static str,
    /// The list by its title, like `feed phishing`.
    pub name: String,
    /// Points, with their sign.
    pub contribution: f64,
}

/// Why one item failed.
#[derive(Debug, Serialize)]
pub struct ItemError {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// The flat answer of `/apply`.
#[derive(Debug, Serialize)]
pub struct Flat<'a> {
    /// `malicious`, `legit` or `unknown`: the three words field transformations compare with.
    pub is_malicious: &'static str,
    /// The score, 0 to 100; absent when the indicator could not be scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The verdict, finer than `is_malicious`.
    pub verdict: Verdict,
    /// Who decided.
    pub source: Source,
    /// The kind of indicator.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The caller's text.
    pub indicator: &'a str,
    /// Its normal form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalized: Option<String>,
    /// The list that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<&'a str>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_version: Option<&'a str>,
    /// The entry that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<&'a str>,
    /// Whether a whitelist and another list disagree.
    pub conflict: bool,
    /// Whether the indicator could be scored.
    pub success: bool,
    /// Why not, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<&'static str>,
    /// Why not, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One list, as `/api/lists` shows it.
#[derive(Debug, Serialize)]
pub struct ListAnswer<'a> {
    /// What it means.
    pub kind: ListKind,
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// How many entries it has.
    pub entries: usize,
    /// The weight it gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// How many lines could not be used.
    pub set_aside: usize,
    /// The first of them.
    #[serde(skip_serializing_if = "<[BadLine]>::is_empty")]
    pub problems: &'a [BadLine],
}

impl Serialize for Answers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, answer) in &self.0 {
            map.serialize_entry(key, answer)?;
        }
        map.end()
    }
}

impl<'a> Answer<'a> {
    /// The answer for a judgement.
    pub fn judged(
        indicator: &Indicator,
        judgement: &Judgement<'a>,
        options: &Options,
    ) -> Answer<'a> {
        let malicious = judgement.score / 100.0;
        let hits = judgement.hits.iter().map(|counted| HitAnswer {
            counted: Some(counted.points.is_some()),
            weight: counted.weight,
            ..HitAnswer::from(&counted.hit)
        });
        let rules = Rules {
            conflict: judgement.conflict,
            hits: hits.collect(),
        };
        Answer {
            benign: Some(((100.0 - judgement.score) * 100.0).round() / 10_000.0),
            malicious: Some(malicious),
            rescaled: Some(judgement.score),
            meta: Meta {
                success: true,
                kind: Some(indicator.kind()),
                normalized: Some(indicator.to_string()),
                source: judgement.source,
                verdict: judgement.verdict,
                rules: options.use_rule.then_some(rules),
                explanation: options
                    .explain
                    .then(|| Explanation::of(judgement, options.explain_items)),
                summary: None,
                error: None,
            },
        }
    }

    /// The answer for an item that is no indicator.
    pub fn failed(error: &IndicatorError) -> Answer<'a> {
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
                rules: None,
                explanation: None,
                summary: None,
                error: Some(ItemError {
                    code: error.code(),
                    message: error.to_string(),
                }),
            },
        }
    }
}

impl Explanation {
    fn of(judgement: &Judgement<'_>, items: usize) -> Explanation {
        let moved = judgement
            .hits
            .iter()
            .filter_map(|counted| Some((counted, counted.points?)));
        let contributions = moved.map(|(counted, points)| Contribution {
            category: "lists",
            name: counted.hit.list.title(),
            contribution: points,
        });
        Explanation {
            base: judgement.base,
            items: contributions.take(items).collect(),
        }
    }
}

impl<'a> From<&Hit<'a>> for HitAnswer<'a> {
    fn from(hit: &Hit<'a>) -> Self {
        HitAnswer {
            kind: hit.list.kind(),
            list: hit.list.name(),
            version: hit.list.version(),
            entry: &hit.entry.text,
            line: hit.entry.line,
            matched: hit.matched,
            scope: hit.scope,
            counted: None,
            weight: hit.entry.weight.or(hit.list.weight()),
            first_seen: hit.entry.first_seen,
            last_seen: hit.entry.last_seen,
        }
    }
}

impl<'a> Flat<'a> {
    /// The flat answer for an item; `judgement` is there if and only if the item is an indicator.
    pub fn new(item: &'a Item, judgement: Option<&Judgement<'a>>) -> Flat<'a> {
        let decisive = judgement.and_then(|judgement| judgement.hits.first());
        let decisive: Option<&CountedHit<'a>> = decisive.filter(|first| first.points.is_some());
        let verdict = judgement.map_or(Verdict::Unknown, |judgement| judgement.verdict);
        let indicator = item.indicator.as_ref().ok();
        let error = item.indicator.as_ref().err();
        Flat {
            is_malicious: match verdict {
                Verdict::Malicious => "malicious",
                Verdict::Benign => "legit",
                Verdict::Suspicious | Verdict::Unknown => "unknown",
            },
            score: judgement.map(|judgement| judgement.score),
            verdict,
            source: judgement.map_or(Source::None, |judgement| judgement.source),
            kind: indicator.map(Indicator::kind),
            indicator: &item.key,
            normalized: indicator.map(Indicator::to_string),
            list: decisive.map(|first| first.hit.list.name()),
            list_version: decisive.map(|first| first.hit.list.version()),
            entry: decisive.map(|first| &*first.hit.entry.text),
            conflict: judgement.is_some_and(|judgement| judgement.conflict),
            success: error.is_none(),
            error_code: error.map(IndicatorError::code),
            error: error.map(IndicatorError::to_string),
        }
    }
}

impl<'a> From<&'a List> for ListAnswer<'a> {
    fn from(list: &'a List) -> Self {
        let problems = list.set_aside();
        ListAnswer {
            kind: list.kind(),
            name: list.name(),
            version: list.version(),
            entries: list.len(),
            weight: list.weight(),
            set_aside: problems.len(),
            problems: &problems[..problems.len().min(10)],
        }
    }
}
