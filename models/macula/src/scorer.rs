//! The scorer: the lists and the policy of this process, and what they say about an item.
//!
//! The lists of a moment are a [`Snapshot`]. A request takes one at its beginning and is answered by it to its end, however
//! often the lists are changed meanwhile.

use std::sync::Arc;

use arc_swap::ArcSwap;
use indicators::Indicator;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use threat_lists::Lists;

use crate::answer::{Answers, Flat, Scored};
use crate::evidence::Evidence;
use crate::judgement::{Base, Judgement, Policy, judge};
use crate::metrics::{CacheUse, ScoreMetrics};
use crate::options::Options;
use crate::request::{ApplyRequest, Item, ScoreRequest};
use crate::score_cache::{CacheSettings, ScoreCache, ScoreKey};

/// Scores indicators.
#[derive(Debug)]
pub struct Scorer {
    lists: ArcSwap<Snapshot>,
    policy: Policy,
    cache: ScoreCache,
    metrics: ScoreMetrics,
}

/// The lists of a moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The lists.
    pub lists: Arc<Lists>,
    /// How many there were before these in this process.
    pub epoch: u64,
    /// Since when they are used.
    pub since: Timestamp,
}

impl Scorer {
    /// A scorer by these lists.
    pub fn new(lists: impl Into<Arc<Lists>>, policy: Policy, cache: CacheSettings) -> Scorer {
        let snapshot = Snapshot {
            lists: lists.into(),
            epoch: 0,
            since: Timestamp::now(),
        };
        Scorer {
            lists: ArcSwap::from_pointee(snapshot),
            policy,
            cache: ScoreCache::new(cache),
            metrics: ScoreMetrics::default(),
        }
    }

    /// The lists of this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.lists.load_full()
    }

    /// Goes by other lists from now on. Requests under way are answered by those they began with.
    pub fn replace_lists(&self, lists: impl Into<Arc<Lists>>) {
        let lists = lists.into();
        self.lists.rcu(|old| Snapshot {
            lists: Arc::clone(&lists),
            epoch: old.epoch + 1,
            since: Timestamp::now(),
        });
    }

    /// Forgets what was scored before.
    pub fn clear_cache(&self) {
        self.cache.clear();
    }

    /// How many scores are kept, and about how many bytes they take.
    pub fn cache_size(&self) -> (u64, u64) {
        self.cache.size()
    }

    /// What was counted.
    pub fn metrics(&self) -> &ScoreMetrics {
        &self.metrics
    }

    /// Answers a batch. Each item gets its answer, whatever the others are.
    pub fn answer<'a>(&self, request: &'a ScoreRequest) -> Answers<'a> {
        let snapshot = self.snapshot();
        let day = today();
        let scored = request
            .items
            .iter()
            .map(|item| self.score_item(&snapshot, item, &request.options, day));
        Answers {
            scored: scored.collect(),
            options: &request.options,
            warnings: &request.warnings,
        }
    }

    /// Answers about one item with a flat object.
    pub fn answer_flat<'a>(&self, request: &'a ApplyRequest) -> Flat<'a> {
        let snapshot = self.snapshot();
        let scored = self.score_item(&snapshot, &request.item, &request.options, today());
        Flat::new(&scored)
    }

    fn score_item<'a>(
        &self,
        snapshot: &Snapshot,
        item: &'a Item,
        options: &Options,
        day: Date,
    ) -> Scored<'a> {
        let outcome = match &item.indicator {
            Ok(indicator) => {
                let judged = self.score(snapshot, indicator, options, day, || Base::Neutral);
                let (judgement, cached) = judged;
                self.metrics.judged(indicator.kind(), &judgement);
                Ok((indicator, judgement, cached))
            }
            Err(error) => {
                self.metrics.failed();
                Err(error)
            }
        };
        Scored {
            key: &item.key,
            outcome,
        }
    }

    /// Scores one indicator by the lists of a snapshot on a day, and says whether the score came from the cache. `base` is asked
    /// for its opinion only if it did not.
    pub fn score(
        &self,
        snapshot: &Snapshot,
        indicator: &Indicator,
        options: &Options,
        day: Date,
        base: impl FnOnce() -> Base,
    ) -> (Arc<Judgement>, bool) {
        let key = ScoreKey {
            indicator: indicator.clone(),
            lists: snapshot.epoch,
            day,
            options: options.score_options(),
        };
        if options.use_cache {
            if let Some(judgement) = self.cache.get(&key) {
                self.metrics.cache(CacheUse::Hit);
                return (judgement, true);
            }
            self.metrics.cache(CacheUse::Miss);
        } else {
            self.metrics.cache(CacheUse::Skipped);
        }
        let hits = snapshot.lists.find(indicator, |kind| options.allows(kind));
        let evidence = hits.iter().map(Evidence::from).collect();
        let judgement = Arc::new(judge(base(), evidence, &self.policy, day));
        self.cache.insert(key, Arc::clone(&judgement));
        (judgement, false)
    }
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}
