//! The rules: from a base score and what the lists say to a score, a verdict and the reasons. Pure: no clock, no files.
//!
//! 1. The whitelist names the indicator itself: 0. Else the blacklist names it: 100.
//! 2. Else, if the whitelist names the host a URL or mail address lives on: 0, unless a feed or darklist names the indicator
//!    itself; then only those entries count, for one bad page on a good host is not harmless. Else, if the blacklist names the
//!    host: 100.
//! 3. Else, if the domain pivot cleared an address: 0, and so a URL that lives there, unless a feed or darklist names the URL
//!    itself. In strict mode any feed or darklist that still counts wins over that.
//! 4. Else feeds and darklists raise the base score: each takes away its weight's share of what is missing to 99,
//!    `s + max(0, 99 - s) * (1 - prod(1 - w_i * d_i))`, where `d` is what its age has left of a report. That never lowers a
//!    score, does not depend on the order of the lists, and leaves 100 to the blacklist.
//! 5. Without any hit the base score stands. While no model has an opinion it is the policy's neutral one, and the verdict
//!    is [`Verdict::Unknown`]: that nobody has heard of something does not make it harmless.
//!
//! Where a whitelist and another list disagree the rules above decide, and [`Judgement::conflict`] says so.

use jiff::civil::Date;
use serde::Serialize;
use threat_lists::{Entry, ListKind, Scope};
use utoipa::ToSchema;

use crate::decay::Decay;
use crate::evidence::Evidence;
use crate::pivot::PivotPolicy;

/// The highest score that rules and models reach; what is above belongs to the blacklist.
pub const CEILING: f64 = 99.0;

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
    /// How a feed's reports age.
    pub feed_decay: Decay,
    /// How a darklist's reports age.
    pub darklist_decay: Decay,
    /// How the domain pivot chooses.
    pub pivot: PivotPolicy,
    /// Whether a feed or darklist wins over a domain pivot that cleared an address.
    pub strict_pivot: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            neutral_score: 50.0,
            malicious_from: 70.0,
            feed_weight: 0.5,
            darklist_weight: 0.3,
            feed_decay: Decay::default(),
            darklist_decay: Decay::default(),
            pivot: PivotPolicy::default(),
            strict_pivot: false,
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
    /// The lowest score among the domains of an address.
    Pivot(f64),
    /// A domain that somebody vouches for lives at the address.
    Cleared,
    /// A domain that somebody vouches for lives at the address on which a URL lives.
    HostCleared,
}

/// In one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ScoreSource)]
pub enum Source {
    /// The whitelist rule.
    Whitelist,
    /// The blacklist rule.
    Blacklist,
    /// Raised, mostly by a feed.
    Feed,
    /// Raised, mostly by a darklist.
    Darklist,
    /// The domains of an address.
    Pivot,
    /// The model's score as it is.
    Model,
    /// Nobody: the neutral score.
    None,
}

impl Base {
    fn is_cleared(self) -> bool {
        matches!(self, Base::Cleared | Base::HostCleared)
    }
}

impl Verdict {
    /// The name answers use.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Benign => "benign",
            Verdict::Suspicious => "suspicious",
            Verdict::Malicious => "malicious",
            Verdict::Unknown => "unknown",
        }
    }
}

impl Source {
    /// The name answers use.
    pub fn name(self) -> &'static str {
        match self {
            Source::Whitelist => "whitelist",
            Source::Blacklist => "blacklist",
            Source::Feed => "feed",
            Source::Darklist => "darklist",
            Source::Pivot => "pivot",
            Source::Model => "model",
            Source::None => "none",
        }
    }
}

/// A score with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// From 0 (harmless) to 100 (malicious), rounded to hundredths.
    pub score: f64,
    /// In one word.
    pub verdict: Verdict,
    /// Who decided.
    pub source: Source,
    /// The score before the rules.
    pub base: f64,
    /// All evidence, what moved the score first and the heaviest of it foremost. Its points and the base give the score.
    pub evidence: Vec<Evidence>,
    /// Whether a whitelist and another list disagree.
    pub conflict: bool,
}

/// Whether an entry of such a list still counts.
pub fn counts(kind: ListKind, entry: &Entry, policy: &Policy, today: Date) -> bool {
    let is_valid = entry.expires.is_none_or(|expires| today < expires);
    let seen = entry.last_seen.or(entry.first_seen);
    let fades = seen.zip(decay(kind, policy));
    is_valid && fades.is_none_or(|(seen, decay)| decay.left(seen, today) > 0.0)
}

fn decay(kind: ListKind, policy: &Policy) -> Option<Decay> {
    match kind {
        ListKind::Feed => Some(policy.feed_decay),
        ListKind::Darklist => Some(policy.darklist_decay),
        ListKind::Whitelist | ListKind::Blacklist => None,
    }
}

/// Applies the rules.
pub fn judge(base: Base, mut evidence: Vec<Evidence>, policy: &Policy, today: Date) -> Judgement {
    for item in &mut evidence {
        age(item, policy, today);
    }
    let base_score = hundredths(base_score(base, policy).clamp(0.0, CEILING));
    let raised = |item: &Evidence| effect(item) > 0.0;
    let overruled = match base {
        Base::HostCleared => evidence
            .iter()
            .any(|item| raised(item) && (policy.strict_pivot || item.scope == Scope::Itself)),
        Base::Cleared => policy.strict_pivot && evidence.iter().any(raised),
        Base::Neutral | Base::Model(_) | Base::Pivot(_) => false,
    };
    let cleared = base.is_cleared() && !overruled;
    let host_cleared = position(&evidence, ListKind::Whitelist, Scope::Host).is_some()
        || base == Base::HostCleared && !policy.strict_pivot;
    let cleared_by_list = evidence
        .iter()
        .any(|item| item.kind == ListKind::Whitelist && !item.is_over());
    let good = cleared_by_list || base.is_cleared();
    let speaks_against = |item: &Evidence| item.kind != ListKind::Whitelist && !item.is_over();
    let conflict = good && evidence.iter().any(speaks_against);
    let score = match absolute(&evidence) {
        Some((at, score)) => {
            evidence[at].points = Some(hundredths(score - base_score));
            score
        }
        None if cleared => base_score,
        None => raise(base_score, &mut evidence, host_cleared),
    };
    for item in &mut evidence {
        item.counted = Some(item.points.is_some());
    }
    let strength = |item: &Evidence| item.points.map_or(-1.0, f64::abs);
    evidence.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
    let source = source(base, &evidence);
    let verdict = verdict(score, source, base, policy);
    Judgement {
        score,
        verdict,
        source,
        base: base_score,
        evidence,
        conflict,
    }
}

fn base_score(base: Base, policy: &Policy) -> f64 {
    match base {
        Base::Neutral => policy.neutral_score,
        Base::Model(score) | Base::Pivot(score) => score,
        Base::Cleared | Base::HostCleared => 0.0,
    }
}

/// Sets an entry's weight and what its age has left of it. An entry without dates does not age: nobody knows since when.
fn age(item: &mut Evidence, policy: &Policy, today: Date) {
    item.weight = match item.kind {
        ListKind::Feed => item.weight.or(Some(policy.feed_weight)),
        ListKind::Darklist => item.weight.or(Some(policy.darklist_weight)),
        ListKind::Whitelist | ListKind::Blacklist => None,
    };
    let seen = item.last_seen.or(item.first_seen);
    if let Some((seen, decay)) = seen.zip(decay(item.kind, policy)) {
        item.decay = Some((decay.left(seen, today) * 1e4).round() / 1e4);
        let over = decay.expires(seen);
        item.expires = Some(item.expires.map_or(over, |expires| expires.min(over)));
    }
    if item.expires.is_some_and(|expires| expires <= today) {
        item.decay = Some(0.0);
    }
}

/// The entry that decides alone, and the score it sets.
fn absolute(evidence: &[Evidence]) -> Option<(usize, f64)> {
    let find = |kind, scope| position(evidence, kind, scope);
    let (white, black) = (ListKind::Whitelist, ListKind::Blacklist);
    let itself = find(white, Scope::Itself).map(|at| (at, 0.0));
    let itself = itself.or_else(|| find(black, Scope::Itself).map(|at| (at, 100.0)));
    let itself_raised = evidence
        .iter()
        .any(|item| item.scope == Scope::Itself && effect(item) > 0.0);
    itself.or_else(|| match find(white, Scope::Host) {
        Some(_) if itself_raised => None,
        Some(at) => Some((at, 0.0)),
        None => find(black, Scope::Host).map(|at| (at, 100.0)),
    })
}

fn position(evidence: &[Evidence], kind: ListKind, scope: Scope) -> Option<usize> {
    let fits = |item: &Evidence| item.kind == kind && item.scope == scope && !item.is_over();
    evidence.iter().position(fits)
}

/// Raises the score by the feeds and darklists and shares the points out among them.
fn raise(base: f64, evidence: &mut [Evidence], only_itself: bool) -> f64 {
    let counts =
        |item: &Evidence| (item.scope == Scope::Itself || !only_itself) && effect(item) > 0.0;
    let counted = evidence.iter().filter(|item| counts(item));
    let weights: Vec<f64> = counted.map(aged_weight).collect();
    let score = raised(base, &weights);
    // The formula multiplies, so the logarithms are what adds up. They make the shares independent of the order, too.
    let total: f64 = weights.iter().copied().map(logarithm).sum();
    for item in evidence.iter_mut().filter(|item| counts(item)) {
        let share = effect(item) / total;
        item.points = Some(((score - base) * share * 1e4).round() / 1e4);
    }
    score
}

/// The bounded, monotone uplift: never below `base`, never above 99, the same in every order of `weights`.
fn raised(base: f64, weights: &[f64]) -> f64 {
    let untouched: f64 = weights.iter().map(|weight| 1.0 - weight).product();
    let score = base + (CEILING - base).max(0.0) * (1.0 - untouched);
    hundredths(score.clamp(base, CEILING.max(base)))
}

/// How much an entry does to raise a score, on a scale where effects add up; 0 for what is too old or raises nothing.
fn effect(item: &Evidence) -> f64 {
    if item.raises() {
        logarithm(aged_weight(item))
    } else {
        0.0
    }
}

fn aged_weight(item: &Evidence) -> f64 {
    item.weight.unwrap_or(0.0) * item.decay.unwrap_or(1.0)
}

/// A weight of 1 does everything alone; bounded to keep sums finite.
fn logarithm(weight: f64) -> f64 {
    -(1.0 - weight.min(1.0 - 1e-9)).ln()
}

fn source(base: Base, evidence: &[Evidence]) -> Source {
    match evidence.first().filter(|first| first.points.is_some()) {
        Some(first) => match first.kind {
            ListKind::Whitelist => Source::Whitelist,
            ListKind::Blacklist => Source::Blacklist,
            ListKind::Darklist => Source::Darklist,
            ListKind::Feed => Source::Feed,
        },
        None => match base {
            Base::Neutral => Source::None,
            Base::Model(_) => Source::Model,
            Base::Pivot(_) | Base::Cleared | Base::HostCleared => Source::Pivot,
        },
    }
}

fn verdict(score: f64, source: Source, base: Base, policy: &Policy) -> Verdict {
    match source {
        Source::None => Verdict::Unknown,
        Source::Whitelist => Verdict::Benign,
        Source::Blacklist => Verdict::Malicious,
        Source::Pivot if base.is_cleared() => Verdict::Benign,
        Source::Feed | Source::Darklist | Source::Model | Source::Pivot
            if score >= policy.malicious_from =>
        {
            Verdict::Malicious
        }
        Source::Feed | Source::Darklist => Verdict::Suspicious,
        Source::Model | Source::Pivot if score > policy.neutral_score => Verdict::Suspicious,
        Source::Model | Source::Pivot => Verdict::Benign,
    }
}

fn hundredths(score: f64) -> f64 {
    (score * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;
    use threat_lists::{List, Lists};

    use super::*;

    const TODAY: Date = date(2026, 11, 21);

    fn judged(
        base: Base,
        lists: &[(ListKind, &str)],
        indicator: &str,
        policy: &Policy,
    ) -> Judgement {
        let lists = lists
            .iter()
            .map(|(kind, text)| List::parse(*kind, "sample", text.as_bytes()));
        let lists = Lists::new(lists.collect());
        let indicator = indicator.parse().expect("a valid indicator");
        let hits = lists.find(&indicator, |_| true);
        let found = judge(
            base,
            hits.iter().map(Evidence::from).collect(),
            policy,
            TODAY,
        );
        let moved: f64 = found.evidence.iter().filter_map(|item| item.points).sum();
        assert!(
            (found.base + moved - found.score).abs() < 0.01,
            "points of {indicator} do not add up"
        );
        found
    }

    /// Scores `indicator` by lists given as (kind, content), and compares score, verdict, source and conflict.
    fn check(lists: &[(ListKind, &str)], indicator: &str, expected: (f64, Verdict, Source, bool)) {
        let found = judged(Base::Neutral, lists, indicator, &Policy::default());
        let seen = (found.score, found.verdict, found.source, found.conflict);
        assert_eq!(seen, expected, "{indicator}");
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
            let judgement = judge(Base::Model(opinion), Vec::new(), &policy, TODAY);
            assert_eq!(
                (judgement.verdict, judgement.source),
                (verdict, Source::Model)
            );
            assert_eq!(judgement.score, opinion.min(99.0));
        }
    }

    #[test]
    fn an_old_report_counts_less_and_one_past_its_lifetime_not_at_all() {
        let seen = |date: &str| {
            let text = format!("known.test,0.5,2026-01-01,{date}");
            judged(
                Base::Neutral,
                &[(Feed, text.as_str())],
                "known.test",
                &Policy::default(),
            )
        };
        let scores = ["2026-11-21", "2026-10-22", "2026-08-01"].map(|date| seen(date).score);
        // The weight of 0.5 is whole, then halved after a quarter of 120 days, then nearly gone.
        assert_eq!(scores, [74.5, 62.25, 50.83]);
        let over = seen("2026-07-24");
        assert_eq!(
            (over.score, over.verdict, over.source),
            (50.0, Unknown, Source::None)
        );
        let entry = &over.evidence[0];
        assert_eq!((entry.counted, entry.decay), (Some(false), Some(0.0)));
        assert_eq!(entry.expires, Some(TODAY));
        // On a cleared host a report that is over is no reason to look at the page.
        let page = "http://host.test/bad";
        let old = format!("{page},0.5,,2026-01-01");
        let lists = [(Whitelist, "host.test"), (Feed, old.as_str())];
        let found = judged(Base::Neutral, &lists, page, &Policy::default());
        assert_eq!((found.score, found.conflict), (0.0, false));
    }

    #[test]
    fn a_pivot_that_cleared_an_address_stands_unless_a_list_names_it_or_strictness_is_asked_for() {
        let strict = Policy {
            strict_pivot: true,
            ..Policy::default()
        };
        let address = "192.0.2.1";
        let old = format!("{address},0.5,,2025-01-01");
        for (lists, policy, expected) in [
            (&[][..], &strict, (0.0, Benign, Source::Pivot, false)),
            (
                &[(Feed, address)],
                &Policy::default(),
                (0.0, Benign, Source::Pivot, true),
            ),
            (
                &[(Feed, address)],
                &strict,
                (49.5, Suspicious, Source::Feed, true),
            ),
            (
                &[(Feed, old.as_str())],
                &strict,
                (0.0, Benign, Source::Pivot, false),
            ),
            (
                &[(Blacklist, address)],
                &Policy::default(),
                (100.0, Malicious, Source::Blacklist, true),
            ),
        ] {
            let found = judged(Base::Cleared, lists, address, policy);
            let seen = (found.score, found.verdict, found.source, found.conflict);
            assert_eq!(seen, expected, "{lists:?}");
        }
        // One bad page on a good address is not harmless either.
        let page = "http://192.0.2.1/bad";
        for (lists, expected) in [
            (&[][..], (0.0, Benign, Source::Pivot, false)),
            (
                &[(Feed, "192.0.2.1"), (Feed, page)],
                (49.5, Suspicious, Source::Feed, true),
            ),
            (&[(Feed, "192.0.2.1")], (0.0, Benign, Source::Pivot, true)),
        ] {
            let found = judged(Base::HostCleared, lists, page, &Policy::default());
            let seen = (found.score, found.verdict, found.source, found.conflict);
            assert_eq!(seen, expected, "{lists:?}");
        }
        let low = judged(Base::Pivot(20.0), &[], address, &strict);
        assert_eq!((low.score, low.source), (20.0, Source::Pivot));
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
