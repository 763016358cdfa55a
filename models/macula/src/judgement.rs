//! The rules: from a base score and what the lists say to a score, a verdict and the reasons. Pure: no clock, no files.
//!
//! 1. The whitelist names the indicator itself: 0. Else the blacklist names it: 100.
//! 2. Else, if the whitelist names the host a URL or mail address lives on: 0, unless a feed or darklist names the indicator
//!    itself; then only those entries count, for one bad page on a good host is not harmless. Else, if the blacklist names the
//!    host: 100.
//! 3. Else feeds and darklists raise the base score: each takes away its weight's share of what is missing to 99,
//!    `s + max(0, 99 - s) * (1 - prod(1 - w_i))`. That never lowers a score, does not depend on the order of the lists, and
//!    leaves 100 to the blacklist.
//! 4. Without any hit the base score stands. While no model has an opinion it is the policy's neutral one, and the verdict
//!    is [`Verdict::Unknown`]: that nobody has heard of something does not make it harmless.
//!
//! Where a whitelist and another list disagree the rules above decide, and [`Judgement::conflict`] says so.

use serde::Serialize;

use threat_lists::{Hit, ListKind, Scope};

/// The highest score that rules and models reach; what is above belongs to the blacklist.
const CEILING: f64 = 99.0;

/// The numbers the rules leave open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The score of something nobody has an opinion about.
    pub neutral_score: f64,
    /// From this score on the verdict is malicious.
    pub malicious_from: f64,
    /// The weight of a feed that does not say its own.
    pub feed_weight: f64,
    /// The weight of a darklist that does not say its own.
    pub darklist_weight: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            neutral_score: 50.0,
            malicious_from: 70.0,
            feed_weight: 0.5,
            darklist_weight: 0.3,
        }
    }
}

/// The score of an indicator before the rules look at it, from 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Base {
    /// Nobody has an opinion: the policy's neutral score.
    Neutral,
    /// A model's opinion.
    Model(f64),
}

/// In one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Known, or judged, to be harmless.
    Benign,
    /// Somebody reports it, but not enough for the threshold.
    Suspicious,
    /// Known, or judged, to be malicious.
    Malicious,
    /// Nobody knows anything about it.
    Unknown,
}

/// Who decided the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The whitelist rule.
    Whitelist,
    /// The blacklist rule.
    Blacklist,
    /// Raised, mostly by a feed.
    Feed,
    /// Raised, mostly by a darklist.
    Darklist,
    /// The model's score as it is.
    Model,
    /// Nobody: the neutral score.
    None,
}

/// A score with its reasons.
#[derive(Clone, Debug)]
pub struct Judgement<'l> {
    /// From 0 (harmless) to 100 (malicious), rounded to hundredths.
    pub score: f64,
    /// In one word.
    pub verdict: Verdict,
    /// Who decided.
    pub source: Source,
    /// The score before the rules.
    pub base: f64,
    /// All hits, those that moved the score first and the heaviest of them foremost.
    pub hits: Vec<CountedHit<'l>>,
    /// Whether a whitelist and another list disagree.
    pub conflict: bool,
}

/// A hit with what it did.
#[derive(Clone, Copy, Debug)]
pub struct CountedHit<'l> {
    /// The hit.
    pub hit: Hit<'l>,
    /// Its weight, for feeds and darklists.
    pub weight: Option<f64>,
    /// By how many points it moved the score; nothing if it did not count. All together with the base give the score.
    pub points: Option<f64>,
}

/// Applies the rules.
pub fn judge<'l>(base: Base, hits: Vec<Hit<'l>>, policy: &Policy) -> Judgement<'l> {
    let base_score = match base {
        Base::Neutral => policy.neutral_score,
        Base::Model(score) => score,
    };
    let base_score = hundredths(base_score.clamp(0.0, CEILING));
    let find = |kind, scope| {
        hits.iter()
            .position(|hit| hit.list.kind() == kind && hit.scope == scope)
    };
    let (white, black) = (ListKind::Whitelist, ListKind::Blacklist);
    let absolute = find(white, Scope::Itself).map(|at| (at, 0.0));
    let absolute = absolute.or_else(|| find(black, Scope::Itself).map(|at| (at, 100.0)));
    let host_cleared = find(white, Scope::Host);
    let itself_raised = hits
        .iter()
        .any(|hit| raises(hit) && hit.scope == Scope::Itself);
    let absolute = absolute.or_else(|| match host_cleared {
        Some(_) if itself_raised => None,
        Some(at) => Some((at, 0.0)),
        None => find(black, Scope::Host).map(|at| (at, 100.0)),
    });
    let conflict = hits.iter().any(|hit| hit.list.kind() == white)
        && hits.iter().any(|hit| hit.list.kind() != white);

    let counted = hits.into_iter().map(|hit| CountedHit {
        weight: weight(&hit, policy),
        points: None,
        hit,
    });
    let mut hits: Vec<_> = counted.collect();
    let score = match absolute {
        Some((at, score)) => {
            hits[at].points = Some(hundredths(score - base_score));
            score
        }
        None => raise(base_score, &mut hits, host_cleared.is_some()),
    };
    let strength = |hit: &CountedHit<'_>| hit.points.map_or(-1.0, f64::abs);
    hits.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
    let source = source(base, &hits);
    let verdict = verdict(score, source, policy);
    Judgement {
        score,
        verdict,
        source,
        base: base_score,
        hits,
        conflict,
    }
}

/// Raises the score by the feeds and darklists and shares the points out among them.
fn raise(base: f64, hits: &mut [CountedHit<'_>], only_itself: bool) -> f64 {
    let counts = |hit: &Hit<'_>| raises(hit) && (hit.scope == Scope::Itself || !only_itself);
    let weights = hits
        .iter()
        .filter(|counted| counts(&counted.hit))
        .filter_map(|counted| counted.weight);
    let weights: Vec<f64> = weights.collect();
    let score = raised(base, &weights);
    // The formula multiplies, so the logarithms are what adds up. They make the shares independent of the order, too.
    let total: f64 = weights.iter().copied().map(effect).sum();
    for counted in hits.iter_mut().filter(|counted| counts(&counted.hit)) {
        let effect = counted.weight.map_or(0.0, effect);
        let share = if total > 0.0 { effect / total } else { 0.0 };
        counted.points = Some(((score - base) * share * 1e4).round() / 1e4);
    }
    score
}

/// The bounded, monotone uplift: never below `base`, never above 99, the same in every order of `weights`.
fn raised(base: f64, weights: &[f64]) -> f64 {
    let untouched: f64 = weights.iter().map(|weight| 1.0 - weight).product();
    let score = base + (CEILING - base).max(0.0) * (1.0 - untouched);
    hundredths(score.clamp(base, CEILING.max(base)))
}

/// How much a weight does, on a scale where effects add up. A weight of 1 does everything alone; bounded to keep sums finite.
fn effect(weight: f64) -> f64 {
    -(1.0 - weight.min(1.0 - 1e-9)).ln()
}

fn raises(hit: &Hit<'_>) -> bool {
    matches!(hit.list.kind(), ListKind::Feed | ListKind::Darklist)
}

fn weight(hit: &Hit<'_>, policy: &Policy) -> Option<f64> {
    let default = match hit.list.kind() {
        ListKind::Feed => policy.feed_weight,
        ListKind::Darklist => policy.darklist_weight,
        ListKind::Whitelist | ListKind::Blacklist => return None,
    };
    Some(hit.entry.weight.or(hit.list.weight()).unwrap_or(default))
}

fn source(base: Base, hits: &[CountedHit<'_>]) -> Source {
    match hits.first().filter(|first| first.points.is_some()) {
        Some(first) => match first.hit.list.kind() {
            ListKind::Whitelist => Source::Whitelist,
            ListKind::Blacklist => Source::Blacklist,
            ListKind::Darklist => Source::Darklist,
            ListKind::Feed => Source::Feed,
        },
        None => match base {
            Base::Neutral => Source::None,
            Base::Model(_) => Source::Model,
        },
    }
}

fn verdict(score: f64, source: Source, policy: &Policy) -> Verdict {
    match source {
        Source::None => Verdict::Unknown,
        Source::Whitelist => Verdict::Benign,
        Source::Blacklist => Verdict::Malicious,
        Source::Feed | Source::Darklist | Source::Model if score >= policy.malicious_from => {
            Verdict::Malicious
        }
        Source::Feed | Source::Darklist => Verdict::Suspicious,
        Source::Model if score > policy.neutral_score => Verdict::Suspicious,
        Source::Model => Verdict::Benign,
    }
}

fn hundredths(score: f64) -> f64 {
    (score * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use threat_lists::{List, Lists};

    /// Scores `indicator` by lists given as (kind, content), and compares score, verdict, source and conflict.
    fn check(lists: &[(ListKind, &str)], indicator: &str, expected: (f64, Verdict, Source, bool)) {
        let lists = lists
            .iter()
            .map(|(kind, text)| List::parse(*kind, "sample", text.as_bytes()));
        let lists = Lists::new(lists.collect());
        let parsed = indicator.parse().expect("a valid indicator");
        let found = judge(
            Base::Neutral,
            lists.find(&parsed, |_| true),
            &Policy::default(),
        );
        let seen = (found.score, found.verdict, found.source, found.conflict);
        assert_eq!(seen, expected, "{indicator}");
        let moved: f64 = found.hits.iter().filter_map(|hit| hit.points).sum();
        assert!(
            (found.base + moved - found.score).abs() < 0.01,
            "points of {indicator} do not add up"
        );
    }

    use ListKind::{Blacklist, Darklist, Feed, Whitelist};
    use Verdict::{Benign, Malicious, Suspicious, Unknown};

    #[test]
    fn the_rules_apply_in_their_order() {
        let white = (Whitelist, "known.test");
        let black = (Blacklist, "known.test");
        let feed = (Feed, "known.test");
        let dark = (Darklist, "known.test");
        check(
            &[white],
            "known.test",
            (0.0, Benign, Source::Whitelist, false),
        );
        check(
            &[black],
            "known.test",
            (100.0, Malicious, Source::Blacklist, false),
        );
        check(
            &[feed],
            "known.test",
            (74.5, Malicious, Source::Feed, false),
        );
        check(
            &[dark],
            "known.test",
            (64.7, Suspicious, Source::Darklist, false),
        );
        check(
            &[feed, dark],
            "known.test",
            (81.85, Malicious, Source::Feed, false),
        );
        check(
            &[white, black, feed],
            "known.test",
            (0.0, Benign, Source::Whitelist, true),
        );
        check(
            &[black, feed],
            "known.test",
            (100.0, Malicious, Source::Blacklist, false),
        );
        check(
            &[white, black],
            "other.test",
            (50.0, Unknown, Source::None, false),
        );
    }

    #[test]
    fn one_bad_page_on_a_good_host_is_not_harmless() {
        let page = "http://host.test/bad";
        let host = (Whitelist, "host.test");
        check(&[host], page, (0.0, Benign, Source::Whitelist, false));
        check(
            &[host, (Blacklist, page)],
            page,
            (100.0, Malicious, Source::Blacklist, true),
        );
        check(
            &[host, (Feed, page)],
            page,
            (74.5, Malicious, Source::Feed, true),
        );
        check(
            &[host, (Feed, page), (Darklist, "host.test")],
            page,
            (74.5, Malicious, Source::Feed, true),
        );
        check(
            &[host, (Blacklist, "host.test")],
            page,
            (0.0, Benign, Source::Whitelist, true),
        );
        check(
            &[(Blacklist, "host.test"), (Whitelist, page)],
            page,
            (0.0, Benign, Source::Whitelist, true),
        );
        check(
            &[(Blacklist, "host.test")],
            page,
            (100.0, Malicious, Source::Blacklist, false),
        );
    }

    #[test]
    fn a_weight_of_the_entry_beats_the_lists_and_that_beats_the_default() {
        check(
            &[(Feed, "#! weight: 0.2\nknown.test,1")],
            "known.test",
            (99.0, Malicious, Source::Feed, false),
        );
        check(
            &[(Feed, "#! weight: 0.2\nknown.test")],
            "known.test",
            (59.8, Suspicious, Source::Feed, false),
        );
    }

    #[test]
    fn a_models_opinion_takes_the_place_of_the_neutral_score() {
        let policy = Policy::default();
        for (opinion, verdict) in [
            (12.0, Benign),
            (60.0, Suspicious),
            (90.0, Malicious),
            (1e9, Malicious),
        ] {
            let judgement = judge(Base::Model(opinion), Vec::new(), &policy);
            assert_eq!(
                (judgement.verdict, judgement.source),
                (verdict, Source::Model)
            );
            assert_eq!(judgement.score, opinion.min(99.0));
        }
    }

    proptest! {
        #[test]
        fn one_more_list_never_lowers_a_score_and_none_lifts_it_above_99(
            base in 0.0..99.0f64,
            weights in prop::collection::vec(0.001..=1.0f64, 0..8),
            more in 0.001..=1.0f64,
        ) {
            let base = hundredths(base);
            let before = raised(base, &weights);
            let after = raised(base, &[weights.as_slice(), &[more]].concat());
            prop_assert!(base <= before && before <= after && after <= 99.0, "{base} {before} {after}");
            let mut backwards = weights.clone();
            backwards.reverse();
            prop_assert!((raised(base, &backwards) - before).abs() <= 0.01);
        }

        #[test]
        fn a_heavier_list_never_counts_less(base in 0.0..99.0f64, a in 0.001..=1.0f64, b in 0.001..=1.0f64) {
            let (light, heavy) = (a.min(b), a.max(b));
            prop_assert!(raised(base, &[light]) <= raised(base, &[heavy]));
        }

        #[test]
        fn a_list_of_any_real_weight_counts(base in 0.0..90.0f64, weight in 0.01..=1.0f64) {
            // Without this, a formula that always answers `base` would be monotone, too.
            prop_assert!(raised(base, &[weight]) > base);
        }
    }
}
