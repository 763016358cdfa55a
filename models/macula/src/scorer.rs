//! The scorer: the lists and the policy of this process, and what they say about an item.
//!
//! The lists of a moment are a [`Snapshot`]. A request takes one at its beginning and is answered by it to its end, however
//! often the lists are changed meanwhile.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gatherers::{Missing, NamesAt};
use indicators::{Host, Indicator};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use threat_lists::{Class, List, Lists, Match, Scope};
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::analyst::{Analyst, Models, Opinions};
use crate::answer::{Answers, EXPLAINED, Flat, Scored};
use crate::evidence::Evidence;
use crate::feature_set::Sources;
use crate::judgement::{Base, Policy, Source, counts, judge};
use crate::metrics::{CacheUse, ScoreMetrics};
use crate::options::Options;
use crate::pivot::{Pivot, SeenDomain, SeenDomains, pivot};
use crate::request::{ApplyRequest, Item, ScoreRequest};
use crate::score_cache::{CacheSettings, Judged, ScoreCache, ScoreKey};

/// How long a request may wait for all that it asks others.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// So many indicators are looked up or scored in one go by a thread that serves requests.
const INLINE: usize = 64;

/// So many items of a batch are prepared and answered at a time where nobody has to be waited for.
const PART: usize = 500;

/// Scores indicators.
#[derive(Debug)]
pub struct Scorer {
    lists: ArcSwap<Snapshot>,
    policy: Policy,
    analyst: Option<Arc<Analyst>>,
    sources: Sources,
    max_list_age: Option<Duration>,
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
            sources: Sources::default(),
            max_list_age: None,
            cache: ScoreCache::new(cache),
            metrics: ScoreMetrics::default(),
        }
    }

    /// The same with an analyst's opinion on what no rule decides.
    #[must_use]
    pub fn with_analyst(mut self, analyst: Arc<Analyst>) -> Scorer {
        self.sources = Sources::of(analyst.gatherers());
        self.analyst = Some(analyst);
        self
    }

    /// The same, but not ready when the file of a list was written longer ago than this.
    #[must_use]
    pub fn with_max_list_age(mut self, age: Option<Duration>) -> Scorer {
        self.max_list_age = age;
        self
    }

    /// Why this should not be asked for scores, if there is a reason: lists that nobody keeps up to date.
    pub fn problems(&self, snapshot: &Snapshot, now: Timestamp) -> Vec<String> {
        let Some(most) = self.max_list_age else {
            return Vec::new();
        };
        let problem = |list: &List| {
            let age = Duration::try_from(now.duration_since(list.written())).unwrap_or_default();
            (age > most).then(|| {
                let (title, age) = (list.title(), in_words(age));
                format!(
                    "{title} is {age} old; at most {} are allowed",
                    in_words(most)
                )
            })
        };
        snapshot.lists.iter().filter_map(problem).collect()
    }

    /// The analyst, if there is one.
    pub fn analyst(&self) -> Option<&Analyst> {
        self.analyst.as_deref()
    }

    /// Who can be asked for features.
    pub fn sources(&self) -> &Sources {
        &self.sources
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

    /// How many items of a batch are prepared and answered at a time. Where others are asked that is all of them: who is slow
    /// then keeps nobody else waiting, and nobody is asked twice.
    pub fn part(&self) -> usize {
        let asks_nobody = self.analyst().is_none_or(|it| it.gatherers().ask_nobody());
        if asks_nobody { PART } else { usize::MAX }
    }

    /// Everything by which a request is answered: the lists, models and remembered scores of this moment, and what the models and
    /// the domains of addresses say of the items for which it matters. Nobody is asked about those scored lately, nor about those
    /// that a whitelist or a blacklist decides: asking costs money, and tells others what is looked at.
    pub async fn prepare<'i>(
        &self,
        items: impl IntoIterator<Item = &'i Item>,
        options: &Options,
    ) -> Prepared {
        let (prepared, open) = self.look_up(self.prepared(), items, options);
        let until = Instant::now() + PATIENCE;
        self.ask(prepared, open, options, until).await
    }

    /// The same for a part of a batch, by the lists and models of `moment`. A large one is looked up on a thread of its own: a
    /// thread that serves requests would serve nobody else meanwhile. Nobody is waited for later than `until`.
    ///
    /// # Errors
    /// When the look-up panicked.
    pub async fn prepare_part(
        self: &Arc<Self>,
        moment: &Prepared,
        (request, part): (&Arc<ScoreRequest>, Range<usize>),
        until: Instant,
    ) -> Result<Prepared, JoinError> {
        let (this, batch, moment) = (Arc::clone(self), Arc::clone(request), moment.bare());
        let is_much = self.analyst.is_some() && part.len() > INLINE;
        let work = move || this.look_up(moment, &batch.items[part], &batch.options);
        let (prepared, open) = if is_much {
            tokio::task::spawn_blocking(work).await?
        } else {
            work()
        };
        Ok(self.ask(prepared, open, &request.options, until).await)
    }

    /// What can be had without asking anybody, and the indicators for which that is not enough.
    fn look_up<'i>(
        &self,
        mut prepared: Prepared,
        items: impl IntoIterator<Item = &'i Item>,
        options: &Options,
    ) -> (Prepared, Vec<Indicator>) {
        if self.analyst.is_none() {
            return (prepared, Vec::new());
        }
        let items = items.into_iter();
        let indicators = items.filter_map(|item| item.indicator.as_ref().ok());
        let open = self.open(&mut prepared, indicators, options);
        (prepared, open)
    }

    /// Asks models, and whoever knows the domains of addresses.
    async fn ask(
        &self,
        mut prepared: Prepared,
        mut open: Vec<Indicator>,
        options: &Options,
        until: Instant,
    ) -> Prepared {
        let Some(analyst) = self.analyst.as_ref().filter(|_| !open.is_empty()) else {
            return prepared;
        };
        let gathering = options.gather_options();
        let wanted = (options.pivot(), self.policy.pivot.recent_days);
        let pivoted = open
            .iter()
            .filter(|indicator| prepared.pivots_on(indicator, options));
        let addresses = pivoted.filter_map(|indicator| Some(address(indicator)?.0));
        let addresses = addresses.collect();
        open.retain(|indicator| prepared.models.know(indicator));
        let (opinions, names) = tokio::join!(
            analyst.opinions(&prepared.models, open, &gathering, until),
            analyst.names_at(addresses, wanted, &gathering, until),
        );
        if options.overrides.is_empty() {
            prepared.opinions = opinions;
        } else {
            prepared.supposed = opinions;
        }
        // What the caller supposes is supposed of the items, and not of the domains that lead to them, be these items, too.
        let options = &options.without_overrides();
        let domains: Vec<_> = names
            .values()
            .flatten()
            .flat_map(|names| &names.names)
            .filter(|name| name.leads_here == Ok(true))
            .map(|name| Indicator::Domain(name.name.clone()))
            .collect();
        let mut open = Vec::new();
        for domains in domains.chunks(INLINE) {
            open.extend(self.open(&mut prepared, domains, options));
            tokio::task::yield_now().await;
        }
        open.retain(|domain| !prepared.opinions.contains_key(domain));
        let gathering = options.gather_options();
        let opinions = analyst.opinions(&prepared.models, open, &gathering, until);
        prepared.opinions.extend(opinions.await);
        for (at, (ip, names)) in names.into_iter().enumerate() {
            if at % INLINE == INLINE - 1 {
                tokio::task::yield_now().await;
            }
            let pivoted = self.pivot(&prepared, names, options);
            self.metrics.pivoted(pivoted.pivot.status());
            prepared.pivots.insert(ip, pivoted);
        }
        prepared
    }

    /// The same without asking anybody.
    pub fn prepared(&self) -> Prepared {
        let analyst = self.analyst.as_ref();
        Prepared {
            snapshot: self.snapshot(),
            models: analyst.map(|analyst| analyst.current()).unwrap_or_default(),
            tells_names: analyst.is_some_and(|analyst| analyst.tells_names()),
            day: today(),
            scored: HashMap::new(),
            opinions: Opinions::new(),
            supposed: Opinions::new(),
            pivots: HashMap::new(),
        }
    }

    /// The indicators whose score depends on something that has to be asked for. Scores that are remembered are taken note of:
    /// they may be forgotten until the others are there.
    fn open<'i>(
        &self,
        prepared: &mut Prepared,
        indicators: impl IntoIterator<Item = &'i Indicator>,
        options: &Options,
    ) -> Vec<Indicator> {
        let mut open = HashSet::new();
        let matters = |prepared: &Prepared, indicator: &Indicator| {
            prepared.models.know(indicator) || prepared.pivots_on(indicator, options)
        };
        for indicator in indicators {
            if !matters(prepared, indicator) {
                continue;
            }
            if options.reads_cache()
                && let Some(judged) = self.cache.get(&prepared.key(indicator, options))
            {
                prepared.scored.insert(indicator.clone(), judged);
                continue;
            }
            let evidence = self.evidence(prepared, indicator, options);
            let judgement = judge(Base::Neutral, evidence, &self.policy, prepared.day);
            if !matches!(judgement.source, Source::Whitelist | Source::Blacklist) {
                open.insert(indicator.clone());
            }
        }
        open.into_iter().collect()
    }

    /// What the lists that may speak say of an indicator.
    fn evidence(
        &self,
        prepared: &Prepared,
        indicator: &Indicator,
        options: &Options,
    ) -> Vec<Evidence> {
        let (policy, day) = (&self.policy, prepared.day);
        let hits = prepared.snapshot.lists.find_counting(
            indicator,
            |kind| options.allows(kind),
            |kind, entry| counts(kind, entry, policy, day),
        );
        hits.iter().map(Evidence::from).collect()
    }

    /// What the names that lead to an address come to, each scored by itself.
    fn pivot(
        &self,
        prepared: &Prepared,
        names: Result<NamesAt, Missing>,
        options: &Options,
    ) -> Pivoted {
        let mut may_pass = match &names {
            Ok(names) => names.may_pass,
            Err(why) => why.may_pass(),
        };
        let seen = names.map(|names| {
            let domains = names.names.into_iter().map(|name| {
                let resolves = name.leads_here == Ok(true);
                let text = name.name.to_string();
                let domain = Indicator::Domain(name.name);
                let made = self.judged(prepared, &domain, options);
                may_pass |= resolves && !made.is_final;
                let judgement = &made.judged.judgement;
                SeenDomain {
                    name: text,
                    score: judgement.score,
                    verdict: judgement.verdict,
                    whitelisted: judgement.evidence.iter().filter_map(vouched).min(),
                    last_seen: name.last_seen.to_zoned(TimeZone::UTC).date(),
                    count: name.count,
                    leads_here: name.leads_here,
                }
            });
            SeenDomains::Known {
                domains: domains.collect(),
                unasked: names.unasked,
            }
        });
        let seen = seen.unwrap_or_else(SeenDomains::Unavailable);
        let policy = &self.policy.pivot;
        Pivoted {
            pivot: pivot(seen, options.pivot(), policy, prepared.day),
            may_pass,
        }
    }

    /// Answers a batch. Each item gets its answer, whatever the others are.
    pub fn answer<'a>(&self, request: &'a ScoreRequest, prepared: &Prepared) -> Answers<'a> {
        self.answer_part(request, 0..request.items.len(), prepared, EXPLAINED)
    }

    /// Answers a part of a batch, in which a model may be asked why about so many items.
    pub fn answer_part<'a>(
        &self,
        request: &'a ScoreRequest,
        part: Range<usize>,
        prepared: &Prepared,
        explained: usize,
    ) -> Answers<'a> {
        let items = request.items[part].iter();
        let scored = items.map(|item| self.score_item(prepared, item, &request.options));
        let mut scored: Vec<_> = scored.collect();
        if request.options.wants_reasons() {
            let by_model = scored.iter_mut().filter(|scored| scored.is_by_model());
            let too_many = by_model.skip(explained);
            too_many.for_each(|scored| scored.explained = false);
        }
        Answers {
            scored,
            options: &request.options,
            neutral_score: self.policy.neutral_score,
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
            explained: true,
        }
    }

    /// Scores one indicator, and says whether the score was made before.
    pub fn score(
        &self,
        prepared: &Prepared,
        indicator: &Indicator,
        options: &Options,
    ) -> (Arc<Judged>, bool) {
        let made = self.judged(prepared, indicator, options);
        self.metrics
            .cache(match (made.from_cache, options.reads_cache()) {
                (true, _) => CacheUse::Hit,
                (false, true) => CacheUse::Miss,
                (false, false) => CacheUse::Skipped,
            });
        (made.judged, made.from_cache)
    }

    fn judged(&self, prepared: &Prepared, indicator: &Indicator, options: &Options) -> Made {
        let key = prepared.key(indicator, options);
        if options.reads_cache() {
            let noted = prepared.scored.get(indicator).cloned();
            if let Some(judged) = noted.or_else(|| self.cache.get(&key)) {
                return Made {
                    judged,
                    from_cache: true,
                    is_final: true,
                };
            }
        }
        let evidence = self.evidence(prepared, indicator, options);
        let opinion = prepared.opinions(options).get(indicator).cloned();
        let neutral = self.policy.neutral_score;
        let score = opinion
            .as_ref()
            .and_then(|opinion| opinion.counted(neutral));
        let own = score.map_or(Base::Neutral, |score| Base::Model(score.rescaled));
        let pivoted = prepared.pivoted(indicator, options);
        let base = pivoted.map_or(own, |(pivoted, scope)| pivoted.pivot.base(own, scope));
        let judged = Arc::new(Judged {
            judgement: judge(base, evidence, &self.policy, prepared.day),
            opinion,
            pivot: pivoted.map(|(pivoted, _)| pivoted.pivot.clone()),
        });
        let is_final = prepared.is_final(indicator, options, &judged);
        if is_final {
            self.cache.insert(key, Arc::clone(&judged));
        }
        Made {
            judged,
            from_cache: false,
            is_final,
        }
    }
}

/// A score, and where it comes from.
struct Made {
    judged: Arc<Judged>,
    from_cache: bool,
    /// Whether it may be given again.
    is_final: bool,
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
    /// Whether somebody can be asked which names lead to an address.
    tells_names: bool,
    /// What was remembered of the items.
    scored: HashMap<Indicator, Arc<Judged>>,
    /// What the models said of the items and of the domains that lead to them.
    opinions: Opinions,
    /// What they said of the items by what the caller supposes.
    supposed: Opinions,
    /// What the domains of the items' addresses came to.
    pivots: HashMap<IpAddr, Pivoted>,
}

/// What the domains of an address came to.
#[derive(Debug)]
struct Pivoted {
    pivot: Pivot,
    /// Whether it may soon be something else although nothing is known to have changed.
    may_pass: bool,
}

impl Prepared {
    /// The lists and models of the same moment, and nothing that was asked.
    fn bare(&self) -> Prepared {
        Prepared {
            snapshot: Arc::clone(&self.snapshot),
            models: self.models.clone(),
            day: self.day,
            tells_names: self.tells_names,
            scored: HashMap::new(),
            opinions: Opinions::new(),
            supposed: Opinions::new(),
            pivots: HashMap::new(),
        }
    }

    /// Whether answering about so many items takes long: there is much to score, or a model to be asked why.
    pub fn is_much(&self, items: usize, options: &Options) -> bool {
        items > INLINE || options.wants_reasons() && self.has_opinions()
    }

    /// Whether a model has judged something.
    pub fn has_opinions(&self) -> bool {
        let mut remembered = self.scored.values();
        let asked = !self.opinions.is_empty() || !self.supposed.is_empty();
        asked || remembered.any(|judged| judged.opinion.is_some())
    }

    fn opinions(&self, options: &Options) -> &Opinions {
        if options.overrides.is_empty() {
            &self.opinions
        } else {
            &self.supposed
        }
    }

    /// Whether a score may be given again: not if a model or the domains of an address would have had a part in it and were not
    /// asked or not answered in time, nor if a source did not answer this time.
    fn is_final(&self, indicator: &Indicator, options: &Options, judged: &Judged) -> bool {
        let decided = [Source::Whitelist, Source::Blacklist].contains(&judged.judgement.source);
        let of_model = match &judged.opinion {
            Some(opinion) => !opinion.may_pass(),
            None => decided || !self.models.know(indicator),
        };
        // What somebody supposes is nothing that others should hear.
        if !options.overrides.is_empty() {
            return false;
        }
        let of_pivot = match self.pivoted(indicator, options) {
            Some((pivoted, _)) => !pivoted.may_pass,
            None => decided || !self.pivots_on(indicator, options),
        };
        of_model && of_pivot
    }

    /// Whether the domains of its address have a part in the score of such an indicator.
    fn pivots_on(&self, indicator: &Indicator, options: &Options) -> bool {
        self.tells_names && options.pivot() > 0 && address(indicator).is_some()
    }

    fn pivoted(&self, indicator: &Indicator, options: &Options) -> Option<(&Pivoted, Scope)> {
        if !self.pivots_on(indicator, options) {
            return None;
        }
        let (ip, scope) = address(indicator)?;
        Some((self.pivots.get(&ip)?, scope))
    }

    fn key(&self, indicator: &Indicator, options: &Options) -> ScoreKey {
        let pivots = self.pivots_on(indicator, options);
        let mut options = options.score_options();
        options.pivot = if pivots { options.pivot } else { 0 };
        ScoreKey {
            indicator: indicator.clone(),
            lists: self.snapshot.epoch,
            models: self.models.version(),
            day: self.day,
            options,
        }
    }
}

/// The address an indicator is, or lives at.
fn address(indicator: &Indicator) -> Option<(IpAddr, Scope)> {
    match indicator {
        Indicator::Ip(ip) => Some((*ip, Scope::Itself)),
        Indicator::Url(url) => match url.host() {
            Host::Ip(ip) => Some((*ip, Scope::Host)),
            Host::Name(_) => None,
        },
        Indicator::Range(_) | Indicator::Domain(_) | Indicator::Email(_) | Indicator::Hash(_) => {
            None
        }
    }
}

/// What a whitelist's entry makes of a domain at an address. An expression is found in names that somebody chose for that.
fn vouched(entry: &Evidence) -> Option<Class> {
    if entry.is_over() {
        return None;
    }
    match entry.matched {
        Match::Exact | Match::Range | Match::Subdomain => entry.class,
        Match::Pattern => entry.class.map(|_| Class::Shared),
    }
}

fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600, seconds / 60);
    match (days, hours, minutes) {
        (2.., ..) => format!("{days} days"),
        (_, 2.., _) => format!("{hours} hours"),
        (_, _, 2..) => format!("{minutes} minutes"),
        _ => format!("{seconds} seconds"),
    }
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}
