//! The score cache: judgements under everything that can change them.
//!
//! A key holds the indicator, the versions of the lists and of the models, the day (reports age by days) and every option that can change a score,
//! so that nobody is answered with what somebody else's `useWhitelist=false` came to. Options that only add to an answer are
//! not in it: a judgement holds what explanations are made of.

use std::sync::Arc;
use std::time::Duration;

use indicators::Indicator;
use jiff::civil::Date;
use moka::sync::Cache;

use crate::analyst::Opinion;
use crate::judgement::Judgement;
use crate::options::ScoreOptions;
use crate::pivot::Pivot;

/// How large the cache may grow, and how old an entry.
#[derive(Clone, Copy, Debug)]
pub struct CacheSettings {
    /// In bytes, about.
    pub capacity: u64,
    /// How long a judgement may be given again.
    pub lifetime: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        CacheSettings {
            capacity: 8 * 1024 * 1024,
            lifetime: Duration::from_secs(600),
        }
    }
}

/// A judgement, and what it began with.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What the rules made of it.
    pub judgement: Judgement,
    /// What a model said, if one was asked.
    pub opinion: Option<Arc<Opinion>>,
    /// What the domains of its address came to, if they were looked at.
    pub pivot: Option<Pivot>,
}

/// Under what a judgement is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ScoreKey {
    pub(crate) indicator: Indicator,
    pub(crate) lists: u64,
    /// Of the models.
    pub(crate) models: u64,
    pub(crate) day: Date,
    pub(crate) options: ScoreOptions,
}

/// Judgements made lately.
#[derive(Debug)]
pub(crate) struct ScoreCache {
    entries: Cache<ScoreKey, Arc<Judged>>,
}

impl ScoreCache {
    pub(crate) fn new(settings: CacheSettings) -> ScoreCache {
        let entries = Cache::builder()
            .max_capacity(settings.capacity)
            .weigher(|key, judged: &Arc<Judged>| weight(key, judged))
            .time_to_live(settings.lifetime)
            .build();
        ScoreCache { entries }
    }

    pub(crate) fn get(&self, key: &ScoreKey) -> Option<Arc<Judged>> {
        self.entries.get(key)
    }

    pub(crate) fn insert(&self, key: ScoreKey, judged: Arc<Judged>) {
        self.entries.insert(key, judged);
    }

    pub(crate) fn clear(&self) {
        self.entries.invalidate_all();
    }

    /// How many judgements are kept, and about how many bytes they take.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}

/// About what an entry takes, with what the cache needs to find it and to forget it in order.
fn weight(key: &ScoreKey, judged: &Judged) -> u32 {
    const BOOKKEEPING: usize = 240;
    let text = match &key.indicator {
        Indicator::Ip(_) | Indicator::Range(_) => 0,
        Indicator::Domain(name) => name.as_str().len(),
        Indicator::Url(url) => 2 * url.as_str().len(),
        Indicator::Email(email) => 2 * email.domain().as_str().len() + 64,
        Indicator::Hash(hash) => hash.kind().name().len() * 32,
    };
    let evidence = judged.judgement.evidence.iter();
    let evidence: usize = evidence.map(|item| item.size()).sum();
    let opinion = judged.opinion.as_ref().map_or(0, |opinion| opinion.size());
    let pivot = judged.pivot.as_ref().and_then(Pivot::domain);
    let pivot = pivot.map_or(0, |(domain, ..)| domain.len());
    let held = text + evidence + opinion + pivot;
    let bytes = BOOKKEEPING + size_of::<ScoreKey>() + size_of::<Judged>() + held;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
