//! The analyst: what a model says of an indicator by what is known about it beyond lists.
//!
//! A URL or a mail address is judged by the host it lives on, for no model is made for them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::ready;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use gatherers::{GatherOptions, Gatherers, Missing, NamesAt};
use indicator_model::{Explanation, IndicatorModel, LiveModel, ModelKind, Readings, Score, Tells};
use indicators::{Host, Indicator};
use model_evaluation::calibration::OPERATING_POINT;
use tokio::task::coop::consume_budget;
use tokio::time::Instant;

/// So many indicators are asked about at once.
const AT_ONCE: usize = 64;

/// Models, and those who gather what they want to know.
pub struct Analyst {
    gatherers: Arc<Gatherers>,
    models: Vec<Arc<LiveModel>>,
    tells_names: bool,
}

/// What a model said, and of what.
#[derive(Debug)]
pub struct Opinion {
    model: Arc<IndicatorModel>,
    readings: Readings,
    score: Score,
}

/// What the models said, by what it is about.
pub type Opinions = HashMap<Indicator, Arc<Opinion>>;

/// The models that serve at one moment.
#[derive(Clone, Debug, Default)]
pub struct Models {
    models: Vec<Arc<IndicatorModel>>,
    version: u64,
}

impl Models {
    fn new(models: Vec<Arc<IndicatorModel>>) -> Models {
        let mut hasher = DefaultHasher::new();
        for model in &models {
            model.digest().hash(&mut hasher);
        }
        Models {
            models,
            version: hasher.finish(),
        }
    }

    /// A number that changes when a model does.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether there is one for such an indicator.
    pub fn know(&self, indicator: &Indicator) -> bool {
        subject(indicator).is_some_and(|(kind, _)| self.of_kind(kind).is_some())
    }

    fn of_kind(&self, kind: ModelKind) -> Option<&Arc<IndicatorModel>> {
        self.models
            .iter()
            .find(|model| model.manifest().kind == kind)
    }
}

impl Analyst {
    /// An analyst of these models; of two for the same kind of indicators the first is asked.
    pub fn new(gatherers: Arc<Gatherers>, models: Vec<Arc<LiveModel>>) -> Analyst {
        Analyst {
            tells_names: gatherers.tell_names(),
            gatherers,
            models,
        }
    }

    /// The models.
    pub fn models(&self) -> &[Arc<LiveModel>] {
        &self.models
    }

    /// Those who gather.
    pub fn gatherers(&self) -> &Gatherers {
        &self.gatherers
    }

    /// The models that serve now.
    pub fn current(&self) -> Models {
        Models::new(self.models.iter().map(|model| model.current()).collect())
    }

    /// Whether somebody can be asked which names lead to an address.
    pub fn tells_names(&self) -> bool {
        self.tells_names
    }

    /// The names that lead to each of the addresses, at most so many, or why they are not known.
    pub(crate) async fn names_at(
        &self,
        addresses: BTreeSet<IpAddr>,
        (most, days): (usize, u16),
        options: &GatherOptions,
        until: Instant,
    ) -> HashMap<IpAddr, Result<NamesAt, Missing>> {
        let no_time = addresses.iter().map(|ip| (*ip, Err(Missing::Timeout)));
        let mut known: HashMap<_, _> = no_time.collect();
        let asked = stream::iter(addresses).map(async |ip| {
            let names = self.gatherers.names_at(ip, most, days, options).await;
            (ip, names)
        });
        let asked = asked.buffer_unordered(AT_ONCE);
        let in_time = asked.take_until(tokio::time::sleep_until(until));
        known.extend(in_time.collect::<Vec<_>>().await);
        known
    }

    /// What the models say of each indicator. Those for which there is none are left out. Nobody is waited for later than `until`:
    /// what is not known by then is missing for lack of time, and the models judge by the rest.
    pub(crate) async fn opinions(
        &self,
        models: &Models,
        indicators: Vec<Indicator>,
        options: &GatherOptions,
        until: Instant,
    ) -> Opinions {
        let options = &GatherOptions {
            until: Some(until),
            ..options.clone()
        };
        let opinions = stream::iter(indicators).map(async |indicator| {
            let opinion = self.opinion(models, &indicator, options).await?;
            Some((indicator, Arc::new(opinion)))
        });
        let opinions = opinions.buffer_unordered(AT_ONCE);
        opinions.filter_map(ready).collect().await
    }

    async fn opinion(
        &self,
        models: &Models,
        indicator: &Indicator,
        options: &GatherOptions,
    ) -> Option<Opinion> {
        // Where nobody has to be waited for, many are scored in one go, and other requests want their turn.
        consume_budget().await;
        let (kind, subject) = subject(indicator)?;
        let model = Arc::clone(models.of_kind(kind)?);
        let readings = model.readings(&self.gatherers.gather(&subject, options).await);
        Some(Opinion {
            score: model.score(&readings),
            readings,
            model,
        })
    }
}

impl fmt::Debug for Analyst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.models.iter().map(|model| {
            let model = model.current();
            format!("{} {}", model.manifest().name, model.manifest().version)
        });
        f.debug_tuple("Analyst")
            .field(&names.collect::<Vec<_>>())
            .finish()
    }
}

impl Opinion {
    /// The model.
    pub fn model(&self) -> &IndicatorModel {
        &self.model
    }

    /// What it made of that.
    pub fn score(&self) -> &Score {
        &self.score
    }

    /// The score that counts, if one does: a model that knows next to nothing about an indicator has no opinion, nor has one that
    /// is silent of it.
    pub fn counted(&self, neutral: f64) -> Option<&Score> {
        (self.score.covered && !self.is_silent(neutral)).then_some(&self.score)
    }

    /// Whether the model has nothing to say: it tells only of what is malicious, and this is not more suspicious than something
    /// nobody knows.
    pub fn is_silent(&self, neutral: f64) -> bool {
        let rescaled = self.score.rescaled;
        // As the score will be written: what is not above the neutral one there would be called benign.
        let written = (rescaled * 100.0).round() / 100.0;
        let found = rescaled >= OPERATING_POINT && written > neutral;
        self.model.manifest().tells == Tells::Malicious && !found
    }

    /// The features that the model would have liked to know, and why it does not.
    pub fn missing(&self) -> impl Iterator<Item = (&str, Missing)> {
        self.model.missing(&self.readings)
    }

    /// Why. Takes far longer than the score.
    pub fn explain(&self) -> Explanation {
        self.model.explain(&self.readings)
    }

    /// Whether it may be another one soon although nothing is known to have changed: a source did not answer this time.
    pub(crate) fn may_pass(&self) -> bool {
        self.missing().any(|(_, why)| why.may_pass())
    }

    /// About what it takes in memory.
    pub(crate) fn size(&self) -> usize {
        size_of::<Opinion>() + self.readings.size()
    }
}

/// Of what a model would judge, and which.
fn subject(indicator: &Indicator) -> Option<(ModelKind, Indicator)> {
    let of_host = |host: &Host| match host {
        Host::Ip(ip) => (ModelKind::Ip, Indicator::Ip(*ip)),
        Host::Name(name) => (ModelKind::Domain, Indicator::Domain(name.clone())),
    };
    match indicator {
        Indicator::Ip(_) => Some((ModelKind::Ip, indicator.clone())),
        Indicator::Domain(_) => Some((ModelKind::Domain, indicator.clone())),
        Indicator::Url(url) => Some(of_host(url.host())),
        Indicator::Email(email) => {
            Some((ModelKind::Domain, Indicator::Domain(email.domain().clone())))
        }
        Indicator::Range(_) | Indicator::Hash(_) => None,
    }
}
