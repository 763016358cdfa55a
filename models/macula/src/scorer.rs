//! The scorer: the lists and the policy of this process, and what they say about an item.
//!
//! The lists of a moment are a [`Snapshot`]. A request takes one at its beginning and is answered by it to its end, however
//! often the lists are changed meanwhile.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use indicators::Indicator;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use threat_lists::Lists;

use crate::analyst::{Analyst, Opinions};
use crate::answer::{Answers, Flat, Scored};
use crate::evidence::Evidence;
use crate::judgement::{Base, Policy, Source, judge};
use crate::metrics::{CacheUse, ScoreMetrics};
use crate::options::Options;
use crate::request::{ApplyRequest, Item, ScoreRequest};
use crate::score_cache::{CacheSettings, Judged, ScoreCache, ScoreKey};

/// Scores indicators.
#[derive(Debug)]
pub struct Scorer {
    lists: ArcSwap<Snapshot>,
    policy: Policy,
    analyst: Option<Arc<Analyst>>,
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
            analyst: None,
            cache: ScoreCache::new(cache),
            metrics: ScoreMetrics::default(),
        }
    }

    /// The same with an analyst's opinion on what no rule decides.
    #[must_use]
    pub fn with_analyst(mut self, analyst: Arc<Analyst>) -> Scorer {
        self.analyst = Some(analyst);
        self
    }

    /// The analyst, if there is one.
    pub fn analyst(&self) -> Option<&Analyst> {
        self.analyst.as_deref()
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

    /// What the models say of the items for which it matters: not of those scored lately, nor of those that a whitelist or a
    /// blacklist decides. Asking costs money, and tells others what is looked at.
    pub async fn opinions<'i>(
        &self,
        items: impl IntoIterator<Item = &'i Item>,
        options: &Options,
    ) -> Opinions {
        let Some(analyst) = &self.analyst else {
            return Opinions::default();
        };
        let (snapshot, day, models) = (self.snapshot(), today(), analyst.version());
        let indicators = items
            .into_iter()
            .filter_map(|item| item.indicator.as_ref().ok());
        let open: HashSet<&Indicator> = indicators
            .filter(|indicator| analyst.knows(indicator))
            .filter(|indicator| self.is_open(&snapshot, indicator, options, day, models))
            .collect();
        let open = open.into_iter().cloned().collect();
        analyst.opinions(open, &options.gather_options()).await
    }

    /// Whether an indicator's score depends on a model's opinion that is not there yet.
    fn is_open(
        &self,
        snapshot: &Snapshot,
        indicator: &Indicator,
        options: &Options,
        day: Date,
        models: u64,
    ) -> bool {
        let key = key(snapshot, indicator, options, day, models);
        if options.use_cache && self.cache.get(&key).is_some() {
            return false;
        }
        let hits = snapshot.lists.find(indicator, |kind| options.allows(kind));
        let evidence = hits.iter().map(Evidence::from).collect();
        let judgement = judge(Base::Neutral, evidence, &self.policy, day);
        !matches!(judgement.source, Source::Whitelist | Source::Blacklist)
    }

    /// Answers a batch. Each item gets its answer, whatever the others are.
    pub fn answer<'a>(&self, request: &'a ScoreRequest, opinions: &Opinions) -> Answers<'a> {
        let snapshot = self.snapshot();
        let day = today();
        let scored = request
            .items
            .iter()
            .map(|item| self.score_item(&snapshot, item, &request.options, day, opinions));
        Answers {
            scored: scored.collect(),
            options: &request.options,
            warnings: &request.warnings,
        }
    }

    /// Answers about one item with a flat object.
    pub fn answer_flat<'a>(&self, request: &'a ApplyRequest, opinions: &Opinions) -> Flat<'a> {
        let snapshot = self.snapshot();
        let (item, options) = (&request.item, &request.options);
        let scored = self.score_item(&snapshot, item, options, today(), opinions);
        Flat::new(&scored)
    }

    fn score_item<'a>(
        &self,
        snapshot: &Snapshot,
        item: &'a Item,
        options: &Options,
        day: Date,
        opinions: &Opinions,
    ) -> Scored<'a> {
        let outcome = match &item.indicator {
            Ok(indicator) => {
                let (judged, cached) = self.score(snapshot, indicator, options, day, opinions);
                self.metrics.judged(indicator.kind(), &judged.judgement);
                Ok((indicator, judged, cached))
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

    /// Scores one indicator by the lists of a snapshot on a day, and says whether the score came from the cache.
    pub fn score(
        &self,
        snapshot: &Snapshot,
        indicator: &Indicator,
        options: &Options,
        day: Date,
        opinions: &Opinions,
    ) -> (Arc<Judged>, bool) {
        let key = key(snapshot, indicator, options, day, opinions.models);
        if options.use_cache {
            if let Some(judged) = self.cache.get(&key) {
                self.metrics.cache(CacheUse::Hit);
                return (judged, true);
            }
            self.metrics.cache(CacheUse::Miss);
        } else {
            self.metrics.cache(CacheUse::Skipped);
        }
        let hits = snapshot.lists.find(indicator, |kind| options.allows(kind));
        let evidence = hits.iter().map(Evidence::from).collect();
        let opinion = opinions.of.get(indicator).cloned();
        // A model that knows next to nothing about an indicator has no opinion.
        let score = opinion.as_ref().map(|opinion| opinion.score());
        let score = score.filter(|score| score.covered);
        let base = score.map_or(Base::Neutral, |score| Base::Model(score.rescaled));
        let judgement = judge(base, evidence, &self.policy, day);
        let judged = Arc::new(Judged { judgement, opinion });
        // Nor is a score kept that a model would have had a part in, had it been asked.
        if judged.opinion.is_some() || !self.is_asked(indicator, &judged) {
            self.cache.insert(key, Arc::clone(&judged));
        }
        (judged, false)
    }

    fn is_asked(&self, indicator: &Indicator, judged: &Judged) -> bool {
        let decided = matches!(
            judged.judgement.source,
            Source::Whitelist | Source::Blacklist
        );
        !decided
            && self
                .analyst
                .as_ref()
                .is_some_and(|analyst| analyst.knows(indicator))
    }
}

fn key(
    snapshot: &Snapshot,
    indicator: &Indicator,
    options: &Options,
    day: Date,
    models: u64,
) -> ScoreKey {
    ScoreKey {
        indicator: indicator.clone(),
        lists: snapshot.epoch,
        models,
        day,
        options: options.score_options(),
    }
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}
