//! What moved a score, in points that add up, and how much of it each category did.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::judgement::{Judgement, Source};
use crate::openapi;
use crate::pivot::Pivot;
use crate::score_cache::Judged;

/// The category of what lists did to the score; the others are a model's.
const LISTS: &str = "lists";

/// The category of what the domains of an address did.
const PIVOT: &str = "pivot";

/// What moved the score. `base`, all contributions and `rest` together give `score`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation<'a> {
    /// The score before the rules.
    pub base: f64,
    /// The domain whose score that is, if it is one of a domain of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pivot: Option<&'a str>,
    /// What was added.
    pub items: Vec<Contribution<'a>>,
    /// What those not listed added, if some are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
    /// The score.
    pub score: f64,
    /// Why the model said what it said, if one was asked. It is on a scale of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelReasons>,
}

/// Why a model said what it said, in log-odds. `base`, all features and `rest` together give `margin`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelReasons {
    /// The log-odds when nothing is known.
    pub base: f64,
    /// What the strongest features added.
    pub features: Vec<FeatureReason>,
    /// What those not listed added, if some are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
    /// The log-odds with all that is known.
    pub margin: f64,
}

/// What one feature added.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeatureReason {
    /// The feature.
    pub name: String,
    /// What it is about.
    #[schema(value_type = String)]
    pub category: &'static str,
    /// Its value; null if it had none.
    #[schema(schema_with = openapi::value_or_null, required)]
    pub value: Option<gatherers::Value>,
    /// Why it had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub missing: Option<&'static str>,
    /// Log-odds, above 0 towards malicious.
    pub contribution: f64,
    /// Its part of all that moved the model either way, in percent.
    #[schema(minimum = 0, maximum = 100)]
    pub share: f64,
}

/// One thing that moved the score.
#[derive(Debug, Serialize, ToSchema)]
pub struct Contribution<'a> {
    /// Its category: `lists`.
    #[schema(value_type = String)]
    pub category: &'static str,
    /// The list by its title, like `feed phishing`.
    pub name: String,
    /// The entry that matched.
    #[schema(value_type = String)]
    pub entry: &'a str,
    /// Points, with their sign.
    pub contribution: f64,
    /// Its part of all that moved the score either way, in percent.
    #[schema(minimum = 0, maximum = 100)]
    pub share: f64,
}

/// What moved the score and is not listed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rest {
    /// How many there are.
    pub count: usize,
    /// Their points together.
    pub contribution: f64,
    /// Their part, in percent.
    #[schema(minimum = 0, maximum = 100)]
    pub share: f64,
}

/// What one category did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct CategoryScore {
    /// What the score would be by this category alone, 0 to 100; of `lists` the score itself, or the neutral one where they say
    /// nothing.
    #[schema(minimum = 0, maximum = 100)]
    pub score: f64,
    /// Its part of all that moved the score, in percent.
    #[schema(minimum = 0, maximum = 100)]
    pub share: f64,
    /// Whether it had nothing to say.
    pub missing: bool,
}

impl<'a> Explanation<'a> {
    /// Explains a judgement, and what a model said before it, by their strongest `items`; ties go by name.
    pub fn of(
        judged: &'a Judged,
        model: Option<&indicator_model::Explanation>,
        items: usize,
    ) -> Explanation<'a> {
        let judgement = &judged.judgement;
        let domain = judged.pivot.as_ref().and_then(Pivot::domain);
        let moved = judgement
            .evidence
            .iter()
            .filter_map(|item| Some((item, item.points?)));
        let total: f64 = moved.clone().map(|(_, points)| points.abs()).sum();
        let share = |points: f64| {
            if total > 0.0 {
                (points.abs() / total * 1e4).round() / 100.0
            } else {
                0.0
            }
        };
        let mut all: Vec<_> = moved
            .map(|(item, points)| Contribution {
                category: LISTS,
                name: item.title(),
                entry: &item.entry,
                contribution: points,
                share: share(points),
            })
            .collect();
        all.sort_by(|a, b| {
            let (ours, theirs) = (a.contribution.abs(), b.contribution.abs());
            theirs.total_cmp(&ours).then_with(|| a.name.cmp(&b.name))
        });
        let left_out = all.split_off(items.min(all.len()));
        let contribution: f64 = left_out.iter().map(|item| item.contribution).sum();
        let rest = Rest {
            count: left_out.len(),
            contribution: (contribution * 1e4).round() / 1e4,
            share: share(contribution),
        };
        Explanation {
            base: judgement.base,
            pivot: domain.and_then(|(domain, score, _)| score.map(|_| domain)),
            items: all,
            rest: (rest.count > 0).then_some(rest),
            score: judgement.score,
            model: model.map(|model| ModelReasons::of(model, items)),
        }
    }
}

impl ModelReasons {
    fn of(model: &indicator_model::Explanation, items: usize) -> ModelReasons {
        let (listed, others) = model
            .contributions
            .split_at(items.min(model.contributions.len()));
        let rest = Rest {
            count: others.len(),
            contribution: others.iter().map(|other| other.contribution).sum(),
            share: others
                .iter()
                .map(|other| other.share)
                .sum::<f64>()
                .min(100.0),
        };
        let feature = |one: &indicator_model::Contribution| FeatureReason {
            name: one.feature.to_string(),
            category: one.category.name(),
            value: one.reading.value().cloned(),
            missing: match &one.reading {
                gatherers::Reading::Value(_) => None,
                gatherers::Reading::Missing(why) => Some(why.name()),
            },
            contribution: one.contribution,
            share: one.share,
        };
        ModelReasons {
            base: model.base,
            features: listed.iter().map(feature).collect(),
            rest: (rest.count > 0).then_some(rest),
            margin: model.margin,
        }
    }
}

/// What each category did: the lists, and those of a model's features. Their shares are of the lists together, or of the model's
/// features together, whichever decided; what did not decide has none.
pub(crate) fn summary(
    judgement: &Judgement,
    neutral_score: f64,
    model: Option<&indicator_model::Explanation>,
) -> BTreeMap<&'static str, CategoryScore> {
    let missing = !judgement.evidence.iter().any(|item| item.points.is_some());
    let lists = CategoryScore {
        score: if missing {
            neutral_score
        } else {
            judgement.score
        },
        share: if missing { 0.0 } else { 100.0 },
        missing,
    };
    let by_model = judgement.source == Source::Model;
    let categories = model.into_iter().flat_map(|model| &model.categories);
    let categories = categories.map(|category| {
        let score = CategoryScore {
            score: category.score,
            share: if by_model { category.share } else { 0.0 },
            missing: category.missing > 0 && category.contribution == 0.0,
        };
        (category.category.name(), score)
    });
    let pivot = (judgement.source == Source::Pivot).then_some(CategoryScore {
        score: judgement.score,
        share: 100.0,
        missing: false,
    });
    let pivot = pivot.map(|pivot| (PIVOT, pivot));
    categories.chain(pivot).chain([(LISTS, lists)]).collect()
}
