//! What is counted about scores and lists, beside the requests themselves.

use std::sync::atomic::{AtomicU64, Ordering};

use gatherers::Gatherers;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::judgement::Judgement;
use crate::scorer::Scorer;

/// Counters and gauges.
#[derive(Clone, Debug, Default)]
pub struct ScoreMetrics {
    scores: Family<Outcome, Counter>,
    conflicts: Counter,
    pivots: Family<PivotLabel, Counter>,
    cache: Family<CacheLabel, Counter>,
    cache_entries: Gauge,
    cache_bytes: Gauge,
    entries: Family<ListLabel, Gauge>,
    set_aside: Family<ListLabel, Gauge>,
    file_age: Family<ListLabel, Gauge>,
    age: Gauge,
    epoch: Gauge,
    models_behind: Family<ModelLabel, Gauge>,
    gatherers: GathererMetrics,
}

/// What the gatherers count themselves, and how they stand.
#[derive(Clone, Debug, Default)]
struct GathererMetrics {
    requests: Family<RequestLabel, Counter>,
    calls: Family<GathererLabel, Counter>,
    seconds: Family<GathererLabel, Counter<f64, AtomicU64>>,
    drift: Family<GathererLabel, Counter>,
    breaker_open: Family<GathererLabel, Gauge>,
    quota_remaining: Family<QuotaLabel, Gauge>,
    disabled: Family<GathererLabel, Gauge>,
    lost_lines: Counter,
}

/// How a score used the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CacheUse {
    Hit,
    Miss,
    Skipped,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    r#type: &'static str,
    outcome: &'static str,
    verdict: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PivotLabel {
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CacheLabel {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ListLabel {
    kind: &'static str,
    list: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabel {
    model: String,
}

/// Names of gatherers come from the settings, and outcomes are a fixed few: nobody who asks can make more of them.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabel {
    gatherer: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GathererLabel {
    gatherer: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QuotaLabel {
    gatherer: String,
    window: &'static str,
}

impl ScoreMetrics {
    /// Lets `registry` show them.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Indicators scored, by type, by who decided, and by verdict";
        registry.register("scores", help, self.scores.clone());
        let help = "Scores for which a whitelist and another list disagreed";
        registry.register("conflicts", help, self.conflicts.clone());
        let help = "Addresses whose domains were looked at, by what that came to";
        registry.register("pivots", help, self.pivots.clone());
        let help = "How scores used the cache";
        registry.register("score_cache", help, self.cache.clone());
        let help = "Scores kept in the cache";
        registry.register("score_cache_entries", help, self.cache_entries.clone());
        let help = "About what the scores in the cache take";
        let bytes = self.cache_bytes.clone();
        registry.register_with_unit("score_cache_size", help, Unit::Bytes, bytes);
        let help = "Entries of each list";
        registry.register("list_entries", help, self.entries.clone());
        let help = "Lines of each list that could not be used";
        registry.register("list_lines_set_aside", help, self.set_aside.clone());
        let help = "How long ago the file of each list was written";
        let age = self.file_age.clone();
        registry.register_with_unit("list_file_age", help, Unit::Seconds, age);
        let help = "Since when the lists are in use";
        registry.register_with_unit("lists_age", help, Unit::Seconds, self.age.clone());
        let help = "How often the lists were changed in this process";
        registry.register("lists_epoch", help, self.epoch.clone());
        let help = "Models in whose place lies another one, which can't be fetched, is no good, or was left by a rollback, or whose place can't be looked at";
        registry.register("model_behind", help, self.models_behind.clone());
        self.gatherers.register(registry);
    }

    pub(crate) fn judged(&self, kind: &'static str, judgement: &Judgement) {
        let outcome = Outcome {
            r#type: kind,
            outcome: judgement.source.name(),
            verdict: judgement.verdict.name(),
        };
        self.scores.get_or_create(&outcome).inc();
        if judgement.conflict {
            self.conflicts.inc();
        }
    }

    pub(crate) fn pivoted(&self, status: &'static str) {
        self.pivots.get_or_create(&PivotLabel { status }).inc();
    }

    pub(crate) fn failed(&self) {
        let outcome = Outcome {
            r#type: "none",
            outcome: "error",
            verdict: "unknown",
        };
        self.scores.get_or_create(&outcome).inc();
    }

    pub(crate) fn cache(&self, result: CacheUse) {
        let result = match result {
            CacheUse::Hit => "hit",
            CacheUse::Miss => "miss",
            CacheUse::Skipped => "skipped",
        };
        self.cache.get_or_create(&CacheLabel { result }).inc();
    }

    /// Looks at what is measured rather than counted.
    pub(crate) fn look(&self, scorer: &Scorer) {
        let snapshot = scorer.snapshot();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.entries.clear();
        self.set_aside.clear();
        self.file_age.clear();
        let now = Timestamp::now().as_second();
        for list in snapshot.lists.iter() {
            let label = ListLabel {
                kind: list.kind().name(),
                list: list.name().to_owned(),
            };
            self.entries.get_or_create(&label).set(number(list.len()));
            let aside = number(list.set_aside_count());
            self.set_aside.get_or_create(&label).set(aside);
            let age = now - list.written().as_second();
            self.file_age.get_or_create(&label).set(age);
        }
        self.age.set(now - snapshot.since.as_second());
        self.epoch
            .set(i64::try_from(snapshot.epoch).unwrap_or(i64::MAX));
        let (entries, bytes) = scorer.cache_size();
        self.cache_entries
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.cache_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        if let Some(analyst) = scorer.analyst() {
            self.models_behind.clear();
            for model in analyst.models() {
                let label = ModelLabel {
                    model: model.current().manifest().name.clone(),
                };
                let behind = i64::from(model.behind().is_some());
                self.models_behind.get_or_create(&label).set(behind);
            }
            self.gatherers.look(analyst.gatherers());
        }
    }
}

impl GathererMetrics {
    fn register(&self, registry: &mut Registry) {
        let help = "What gatherers were asked, by what came of it";
        registry.register("gatherer_requests", help, self.requests.clone());
        let help =
            "Questions that were put to the gatherers' sources, as their providers count them";
        registry.register("gatherer_calls", help, self.calls.clone());
        let help = "How long those took together";
        let seconds = self.seconds.clone();
        registry.register_with_unit("gatherer_call", help, Unit::Seconds, seconds);
        let help = "Changes of the shape of answers that were told";
        registry.register("gatherer_drift", help, self.drift.clone());
        let help =
            "Whether the source is left alone, since it failed again and again or asked for it";
        registry.register("gatherer_breaker_open", help, self.breaker_open.clone());
        let help = "Questions left in this minute or day, where they are limited";
        let remaining = self.quota_remaining.clone();
        registry.register("gatherer_quota_remaining", help, remaining);
        let help = "1 for each gatherer of the settings that cannot work";
        registry.register("gatherer_disabled", help, self.disabled.clone());
        let help = "Lines of the query log that were lost because the disk was too slow";
        registry.register("query_log_lines_lost", help, self.lost_lines.clone());
    }

    fn look(&self, gatherers: &Gatherers) {
        for (gatherer, counts) in gatherers.counts() {
            for (outcome, count) in counts.outcomes {
                let gatherer = gatherer.clone();
                let label = RequestLabel { gatherer, outcome };
                set(&self.requests.get_or_create(&label), count);
            }
            let label = GathererLabel { gatherer };
            set(&self.calls.get_or_create(&label), counts.calls);
            set(&self.drift.get_or_create(&label), counts.drift_alerts);
            let seconds = self.seconds.get_or_create(&label);
            let elapsed = counts.elapsed.as_secs_f64();
            // Numbers that are not negative are in the order of their bits.
            (seconds.inner()).fetch_max(elapsed.to_bits(), Ordering::Relaxed);
        }
        for standing in gatherers.standings() {
            let gatherer = standing.name.to_owned();
            let left = standing.quota_left;
            for (window, left) in [("minute", left.minute), ("day", left.day)] {
                let Some(left) = left else { continue };
                let gatherer = gatherer.clone();
                let left = i64::try_from(left).unwrap_or(i64::MAX);
                self.quota_remaining
                    .get_or_create(&QuotaLabel { gatherer, window })
                    .set(left);
            }
            self.breaker_open
                .get_or_create(&GathererLabel { gatherer })
                .set(i64::from(standing.rests));
        }
        for (gatherer, _) in gatherers.disabled() {
            let gatherer = gatherer.to_owned();
            self.disabled
                .get_or_create(&GathererLabel { gatherer })
                .set(1);
        }
        set(&self.lost_lines, gatherers.lost_log_lines());
    }
}

/// Counts as far as somebody else has counted; never back, should two look at once.
fn set(counter: &Counter, count: u64) {
    counter.inner().fetch_max(count, Ordering::Relaxed);
}
