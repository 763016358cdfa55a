//! What moved a score, in points that add up, and how much of it each category did.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::judgement::Judgement;

/// The one category there is without a model.
const LISTS: &str = "lists";

/// What moved the score. `base`, all contributions and `rest` together give `score`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation<'a> {
    /// The score before the rules.
    pub base: f64,
    /// What was added.
    pub items: Vec<Contribution<'a>>,
    /// What those not listed added, if some are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
    /// The score.
    pub score: f64,
}

/// One thing that moved the score.
#[derive(Debug, Serialize, ToSchema)]
pub struct Contribution<'a> {
    /// Its category; `lists` until a model brings features.
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
    /// What the score would be by this category alone, 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    pub score: f64,
    /// Its part of all that moved the score, in percent.
    #[schema(minimum = 0, maximum = 100)]
    pub share: f64,
    /// Whether it had nothing to say.
    pub missing: bool,
}

impl<'a> Explanation<'a> {
    /// Explains a judgement by its strongest `items`; ties go by name.
    pub fn of(judgement: &'a Judgement, items: usize) -> Explanation<'a> {
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
            items: all,
            rest: (rest.count > 0).then_some(rest),
            score: judgement.score,
        }
    }
}

/// What each category did. Without a model the lists are the only one.
pub(crate) fn summary(judgement: &Judgement) -> BTreeMap<&'static str, CategoryScore> {
    let missing = !judgement.evidence.iter().any(|item| item.points.is_some());
    let lists = CategoryScore {
        score: judgement.score,
        share: if missing { 0.0 } else { 100.0 },
        missing,
    };
    BTreeMap::from([(LISTS, lists)])
}
