//! The scorer: the lists and the policy of this process, and what they say about an item.
//!
//! The lists of a moment are a [`Snapshot`]. A request takes one at its beginning and is answered by it to its end, however
//! often the lists are changed meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use indicators::Indicator;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use threat_lists::Lists;

use crate::analyst::{Analyst, Models, Opinions};
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

    /// Everything by which a request is answered: the lists, models and remembered scores of this moment, and what the models say
    /// of the items for which it matters. They are not asked about those scored lately, nor about those that a whitelist or a
    /// blacklist decides: asking costs money, and tells others what is looked at.
    pub async fn prepare<'i>(
        &self,
        items: impl IntoIterator<Item = &'i Item>,
        options: &Options,
    ) -> Prepared {
        let mut prepared = self.prepared();
        if let Some(analyst) = &self.analyst {
            let open = self.open(&mut prepared, items, options);
            let gathering = options.gather_options();
            let opinions = analyst.opinions(&prepared.models, open, &gathering);
            prepared.opinions = opinions.await;
        }
        prepared
    }

    /// The same without asking anybody.
    pub fn prepared(&self) -> Prepared {
        let analyst = self.analyst.as_ref();
        Prepared {
            snapshot: self.snapshot(),
            models: analyst.map(|analyst| analyst.current()).unwrap_or_default(),
            day: today(),
            scored: HashMap::new(),
            opinions: Opinions::new(),
        }
    }

    /// The indicators whose score depends on a model's opinion that is not there yet. Scores that are remembered are taken note
    /// of: they may be forgotten until the others are there.
    fn open<'i>(
        &self,
        prepared: &mut Prepared,
        items: impl IntoIterator<Item = &'i Item>,
        options: &Options,
    ) -> Vec<Indicator> {
        let mut open = HashSet::new();
        let known = items
            .into_iter()
            .filter_map(|item| item.indicator.as_ref().ok());
        for indicator in known.filter(|indicator| prepared.models.know(indicator)) {
            if options.reads_cache()
                && let Some(judged) = self.cache.get(&prepared.key(indicator, options))
            {
                prepared.scored.insert(indicator.clone(), judged);
                continue;
            }
            let lists = &prepared.snapshot.lists;
            let hits = lists.find(indicator, |kind| options.allows(kind));
            let evidence = hits.iter().map(Evidence::from).collect();
            let judgement = judge(Base::Neutral, evidence, &self.policy, prepared.day);
            if !matches!(judgement.source, Source::Whitelist | Source::Blacklist) {
                open.insert(indicator.clone());
            }
        }
        open.into_iter().collect()
    }

    /// Answers a batch. Each item gets its answer, whatever the others are.
    pub fn answer<'a>(&self, request: &'a ScoreRequest, prepared: &Prepared) -> Answers<'a> {
        let items = request.items.iter();
        let scored = items.map(|item| self.score_item(prepared, item, &request.options));
        Answers {
            scored: scored.collect(),
            options: &request.options,
            warnings: &request.warnings,
        }
    }

    /// Answers about one item with a flat object.
    pub fn answer_flat<'a>(&self, request: &'a ApplyRequest, prepared: &Prepared) -> Flat<'a> {
        Flat::new(&self.score_item(prepared, &request.item, &request.options))
    }

    fn score_item<'a>(&self, prepared: &Prepared, item: &'a Item, options: &Options) -> Scored<'a> {
        let outcome = match &item.indicator {
            Ok(indicator) => {
                let (judged, cached) = self.score(prepared, indicator, options);
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

    /// Scores one indicator, and says whether the score was made before.
    pub fn score(
        &self,
        prepared: &Prepared,
        indicator: &Indicator,
        options: &Options,
    ) -> (Arc<Judged>, bool) {
        let key = prepared.key(indicator, options);
        if options.reads_cache() {
            let noted = prepared.scored.get(indicator).cloned();
            if let Some(judged) = noted.or_else(|| self.cache.get(&key)) {
                self.metrics.cache(CacheUse::Hit);
                return (judged, true);
            }
            self.metrics.cache(CacheUse::Miss);
        } else {
            self.metrics.cache(CacheUse::Skipped);
        }
        let lists = &prepared.snapshot.lists;
        let hits = lists.find(indicator, |kind| options.allows(kind));
        let evidence = hits.iter().map(Evidence::from).collect();
        let opinion = prepared.opinions.get(indicator).cloned();
        // A model that knows next to nothing about an indicator has no opinion.
        let score = opinion.as_ref().map(|opinion| opinion.score());
        let score = score.filter(|score| score.covered);
        let base = score.map_or(Base::Neutral, |score| Base::Model(score.rescaled));
        let judgement = judge(base, evidence, &self.policy, prepared.day);
        let judged = Arc::new(Judged { judgement, opinion });
        if prepared.is_final(indicator, &judged) {
            self.cache.insert(key, Arc::clone(&judged));
        }
        (judged, false)
    }
}

/// Everything by which a request is answered, however long that takes and whatever changes meanwhile.
#[derive(Debug)]
pub struct Prepared {
    /// The lists.
    pub snapshot: Arc<Snapshot>,
    /// The models that were asked.
    models: Models,
    /// Of reports' ages.
    pub day: Date,
    /// What was remembered of the items.
    scored: HashMap<Indicator, Arc<Judged>>,
    opinions: Opinions,
}

impl Prepared {
    /// Whether a score may be given again: not if a model would have had a part in it and was not asked or not answered in time,
    /// nor if a source did not answer this time.
    fn is_final(&self, indicator: &Indicator, judged: &Judged) -> bool {
        match &judged.opinion {
            Some(opinion) => !opinion.may_pass(),
            None => {
                let decided = [Source::Whitelist, Source::Blacklist];
                decided.contains(&judged.judgement.source) || !self.models.know(indicator)
            }
        }
    }

    fn key(&self, indicator: &Indicator, options: &Options) -> ScoreKey {
        ScoreKey {
            indicator: indicator.clone(),
            lists: self.snapshot.epoch,
            models: self.models.version(),
            day: self.day,
            options: options.score_options(),
        }
    }
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}
