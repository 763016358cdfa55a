//! What is counted about scores and lists, beside the requests themselves.

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
    }
}
