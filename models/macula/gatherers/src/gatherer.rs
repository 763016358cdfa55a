//! A gatherer: one source, and everything around the asking.
//!
//! In this order: what the cache has is given. Then the gate: markings and the offline mode. Then, for all who ask the same
//! at once together: the circuit breaker, the quota, the question. Answers go into the cache even when they come too late for
//! who asked, and a failure is bridged by an old answer where the policy allows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::breaker::{Breaker, BreakerPolicy};
use crate::cache::{Age, Answer, Cache, CachePolicy, StoreHandle};
use crate::clock::Clock;
use crate::counters::{Counters, GathererCounts};
use crate::drift::{DriftAlert, Shape};
use crate::feature::{Category, Feature, FeatureSpec, Missing, Reading};
use crate::flights::{Flight, Flights, Landing};
use crate::gate::{self, Handling, Leaks, Tlp};
use crate::inside::{Allowed, is_inside};
use crate::query_log::{Line, QueryLog};
use crate::quota::{Quota, QuotaLeft, QuotaPolicy};
use crate::source::{Content, Exchange, Failure, Question, Source};

/// How many alerts are kept for who asks.
const ALERTS_KEPT: usize = 100;

/// What is around the asking.
#[derive(Clone, Debug)]
pub(crate) struct Policies {
    pub(crate) cache: CachePolicy,
    pub(crate) quota: QuotaPolicy,
    pub(crate) breaker: BreakerPolicy,
    pub(crate) max_tlp: Tlp,
}

/// What all gatherers share.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) clock: Clock,
    pub(crate) tasks: TaskTracker,
    pub(crate) log: Option<QueryLog>,
    /// What of the house others may be asked about.
    pub(crate) allowed: Vec<Allowed>,
    pub(crate) store: Option<Arc<StoreHandle>>,
    pub(crate) alerts: Mutex<Vec<DriftAlert>>,
}

/// How one question is to be treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) handling: Handling,
    pub(crate) use_cache: bool,
    pub(crate) deadline: tokio::time::Instant,
}

/// An answer, or why there is none.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) answer: Landing,
    pub(crate) from_cache: bool,
    /// Whether it is too old to count, and stands in for an answer that could not be had.
    pub(crate) is_stale: bool,
}

/// One source with its surroundings.
pub(crate) struct Gatherer {
    source: Arc<dyn Source>,
    cache: Cache,
    quota: Quota,
    breaker: Breaker,
    max_tlp: Tlp,
    /// The shapes of the answers to each of the source's requests.
    shapes: Mutex<BTreeMap<usize, Shape>>,
    counters: Counters,
    flights: Flights,
    around: Arc<Surroundings>,
}

impl Gatherer {
    pub(crate) fn new(
        source: Arc<dyn Source>,
        policies: Policies,
        around: Arc<Surroundings>,
    ) -> Gatherer {
        let name = source.name();
        Gatherer {
            cache: Cache::new(name, policies.cache, around.store.clone()),
            quota: Quota::new(policies.quota),
            breaker: Breaker::new(policies.breaker),
            max_tlp: policies.max_tlp,
            shapes: Mutex::default(),
            counters: Counters::default(),
            flights: Flights::default(),
            source,
            around,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.source.name()
    }

    pub(crate) fn features(&self) -> &[FeatureSpec] {
        self.source.features()
    }

    /// Whether it is one to ask such a question.
    pub(crate) fn has_a_say(&self, question: &Question) -> bool {
        self.source.subject(question).is_some()
    }

    pub(crate) fn categories(&self) -> BTreeSet<Category> {
        self.source.categories()
    }

    pub(crate) fn leaks(&self) -> Leaks {
        self.source.leaks()
    }

    pub(crate) fn counts(&self) -> GathererCounts {
        self.counters.counts()
    }

    /// Whether its source is left alone now.
    pub(crate) fn rests(&self) -> bool {
        self.breaker.rests(self.around.clock.now())
    }

    /// How many questions its source may still be asked.
    pub(crate) fn quota_left(&self) -> QuotaLeft {
        self.quota.left(self.around.clock.now())
    }

    /// Answers from the cache or from the source, at the latest at the deadline.
    pub(crate) async fn answer(self: &Arc<Self>, question: Question, manner: Manner) -> Told {
        let told = self.find(question, manner).await;
        let outcome = match (&told.answer, told.from_cache) {
            (Ok(_), true) if told.is_stale => "stale",
            (Ok(_), true) => "cached",
            (Ok(answer), false) if answer.content == Content::Nothing => "unknown",
            (Ok(_), false) => "ok",
            (Err(why), _) => why.name(),
        };
        self.counters.ended(outcome);
        told
    }

    async fn find(self: &Arc<Self>, question: Question, manner: Manner) -> Told {
        let Some(subject) = self.source.subject(&question) else {
            return fresh(Err(Missing::NotApplicable));
        };
        if !self.remembers() {
            let answer = self.ask(&question, &subject, None, "bypass");
            let answer = tokio::time::timeout_at(manner.deadline, answer).await;
            return fresh(answer.unwrap_or(Err(Missing::Timeout)));
        }
        if is_inside(&question.indicator(), &self.around.allowed) {
            return fresh(Err(Missing::NotApplicable));
        }
        if tokio::time::Instant::now() >= manner.deadline {
            return fresh(Err(Missing::Timeout));
        }
        let key = key(&question, self.source.version(), &subject);
        let now = self.around.clock.now();
        let admitted = gate::admit(self.leaks(), self.max_tlp, manner.handling);
        let rejected = manner.use_cache && self.cache.is_rejected(&key, now);
        let mut old = None;
        if manner.use_cache {
            let found = tokio::time::timeout_at(manner.deadline, self.cache.get(&key, now));
            let Ok(found) = found.await else {
                return fresh(Err(Missing::Timeout));
            };
            match found {
                Some((answer, Age::Fresh)) => return remembered(answer),
                Some((answer, Age::Refresh)) => {
                    if admitted.is_ok() && !rejected {
                        drop(self.fly(question, subject, key, "refresh"));
                    }
                    return remembered(answer);
                }
                Some((answer, Age::OnlyOnError)) => old = Some(answer),
                Some((_, Age::Gone)) | None => {}
            }
        }
        let cache = if manner.use_cache { "miss" } else { "bypass" };
        let landed = match admitted {
            Ok(()) if rejected => Err(Missing::Rejected),
            Ok(()) => {
                let flight = self.fly(question, subject, key, cache);
                let landed = tokio::time::timeout_at(manner.deadline, flight.landed());
                landed.await.unwrap_or(Err(Missing::Timeout))
            }
            Err(why) => Err(why),
        };
        match (landed, old) {
            (Err(_), Some(old)) => Told {
                is_stale: true,
                ..remembered(old)
            },
            (answer, _) => fresh(answer),
        }
    }

    /// What is on this machine is neither worth remembering nor asking for together.
    fn remembers(&self) -> bool {
        self.leaks() != Leaks::Nothing
    }

    fn fly(
        self: &Arc<Self>,
        question: Question,
        subject: String,
        key: String,
        cache: &'static str,
    ) -> Flight {
        let this = self.clone();
        let flight_key = key.clone();
        self.flights
            .join(&flight_key, &self.around.tasks, || async move {
                let answer = this.ask(&question, &subject, Some(&key), cache).await;
                if let Ok(answer) = &answer {
                    this.cache.put(&key, answer.clone()).await;
                }
                answer
            })
    }

    async fn ask(
        &self,
        question: &Question,
        subject: &str,
        key: Option<&str>,
        cache: &'static str,
    ) -> Landing {
        let now = self.around.clock.now();
        if self.breaker.rests(now) {
            return Err(Missing::Resting);
        }
        if !self.quota.take(now) || !self.take_of_the_day().await {
            return Err(Missing::Quota);
        }
        // Last, for who is let through to try whether it works again must ask.
        if !self.breaker.admits(now) {
            return Err(Missing::Resting);
        }
        let started = Instant::now();
        let mut exchange = self.source.ask(question, subject, now).await;
        self.record(&exchange, subject, started, cache);
        self.watch_shape(&exchange);
        match std::mem::replace(&mut exchange.result, Ok(Content::Nothing)) {
            Ok(content) => {
                self.breaker.succeeded();
                Ok(Arc::new(Answer {
                    content,
                    fetched_at: now,
                }))
            }
            Err(failure) => {
                self.take_failure(&failure);
                if let (Failure::Rejected(_), Some(key)) = (&failure, key) {
                    self.cache.reject(key, now);
                }
                Err(failure.missing())
            }
        }
    }

    /// Counts this question with those of other copies and of runs before, where there is a store to count in.
    async fn take_of_the_day(&self) -> bool {
        let Some((day, limit)) = self.quota.daily_limit(self.around.clock.now()) else {
            return true;
        };
        let Some(store) = &self.around.store else {
            return true;
        };
        let used = store.count_question(self.name(), day).await;
        if let Some(used) = used {
            self.quota.hear(day, used);
        }
        used.is_none_or(|used| used <= limit)
    }

    fn take_failure(&self, failure: &Failure) {
        let now = self.around.clock.now();
        let gatherer = self.name();
        if let Failure::RateLimited { retry_after } = failure {
            self.breaker.rest(now, *retry_after);
            info!(gatherer, %failure, "source left alone");
        } else if let Failure::Rejected(_) = failure {
            if self.breaker.rejected(now) {
                warn!(gatherer, %failure, "source left alone, for it takes no question");
            }
        } else if !failure.is_the_sources_fault() {
            self.breaker.succeeded();
        } else if self.breaker.failed(now) {
            warn!(gatherer, %failure, "source left alone");
        }
    }

    fn record(&self, exchange: &Exchange, subject: &str, started: Instant, cache: &'static str) {
        // What is asked of this machine costs nothing and tells nobody.
        if self.leaks() == Leaks::Nothing {
            return;
        }
        let elapsed = started.elapsed();
        self.counters.called(elapsed);
        let Some(log) = &self.around.log else { return };
        log.write(Line {
            at: self.around.clock.now(),
            gatherer: self.name().into(),
            indicator: subject.into(),
            outcome: match &exchange.result {
                Ok(Content::Nothing) => "unknown",
                Ok(Content::Features(_) | Content::Domains(_) | Content::Addresses(_)) => "ok",
                Err(failure) => failure.missing().name(),
            },
            status: exchange.status,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            bytes: exchange.bytes,
            cache,
        });
    }

    fn watch_shape(&self, exchange: &Exchange) {
        let now = self.around.clock.now();
        let mut alerts = Vec::new();
        {
            let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
            let shape = shapes
                .entry(exchange.request)
                .or_insert_with(|| Shape::new(self.name()));
            if let Ok(Content::Features(readings)) = &exchange.result {
                for (name, reading) in readings {
                    if *reading == Reading::Missing(Missing::Unexpected) {
                        alerts.extend(shape.unexpected(name, now));
                    }
                }
            }
            if let Some(document) = &exchange.document {
                alerts.extend(shape.observe(document, now));
            }
        }
        self.counters.drifted(alerts.len());
        let mut kept = self
            .around
            .alerts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for alert in alerts {
            warn!(gatherer = self.name(), kind = ?alert.kind, path = ?alert.path, sample = alert.sample,
                "the shape of the source's answers changed");
            if kept.len() >= ALERTS_KEPT {
                kept.remove(0);
            }
            kept.push(alert);
        }
    }

    /// The features of an answer, as far as they are wanted.
    pub(crate) fn features_of(&self, told: &Told, wanted: &[&FeatureSpec]) -> Vec<Feature> {
        let reading = |at: usize, spec: &FeatureSpec| match &told.answer {
            Err(why) => Reading::Missing(*why),
            Ok(answer) => match &answer.content {
                Content::Nothing | Content::Domains(_) | Content::Addresses(_) => {
                    Reading::Missing(Missing::Unknown)
                }
                Content::Features(readings) => {
                    // Most often all are wanted, and told in their order.
                    let mut likely = readings
                        .iter()
                        .skip(at)
                        .chain(&readings[..at.min(readings.len())]);
                    let found = likely.find(|(name, _)| *name == spec.name);
                    found.map_or(Reading::Missing(Missing::Absent), |(_, reading)| {
                        reading.clone()
                    })
                }
            },
        };
        let fetched_at = told.answer.as_ref().ok().map(|answer| answer.fetched_at);
        let feature = |(at, spec): (usize, &&FeatureSpec)| Feature {
            name: spec.name.clone(),
            category: spec.category,
            reading: reading(at, spec),
            gatherer: spec.gatherer.clone(),
            fetched_at,
            from_cache: told.from_cache,
        };
        wanted.iter().enumerate().map(feature).collect()
    }
}

fn fresh(answer: Landing) -> Told {
    Told {
        answer,
        from_cache: false,
        is_stale: false,
    }
}

fn remembered(answer: Arc<Answer>) -> Told {
    Told {
        answer: Ok(answer),
        from_cache: true,
        is_stale: false,
    }
}

fn key(question: &Question, version: &str, subject: &str) -> String {
    match question {
        Question::Features(_) => format!("features {version} {subject}"),
        Question::RecentDomains { limit, days, .. } => {
            format!("domains {version} {limit} {days} {subject}")
        }
        Question::Addresses(_, family) => format!("addresses {version} {family:?} {subject}"),
    }
}
