//! The analyst: what a model says of an indicator by what is known about it beyond lists.
//!
//! A URL or a mail address is judged by the host it lives on, for no model is made for them.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use gatherers::{GatherOptions, Gathered, Gatherers};
use indicator_model::{Explanation, IndicatorModel, LiveModel, ModelKind, Score};
use indicators::{Host, Indicator};

/// So many indicators are asked about at once.
const AT_ONCE: usize = 64;

/// Models, and those who gather what they want to know.
pub struct Analyst {
    gatherers: Arc<Gatherers>,
    models: Vec<Arc<LiveModel>>,
}

/// What a model said, and of what.
#[derive(Debug)]
pub struct Opinion {
    model: Arc<IndicatorModel>,
    gathered: Gathered,
    score: Score,
}

/// The opinions of a request.
#[derive(Debug, Default)]
pub struct Opinions {
    /// The [version](Analyst::version) of the models that were asked.
    pub(crate) models: u64,
    /// By what they are about.
    pub(crate) of: HashMap<Indicator, Arc<Opinion>>,
}

impl Analyst {
    /// An analyst of these models; of two for the same kind of indicators the first is asked.
    pub fn new(gatherers: Arc<Gatherers>, models: Vec<Arc<LiveModel>>) -> Analyst {
        Analyst { gatherers, models }
    }

    /// The models.
    pub fn models(&self) -> &[Arc<LiveModel>] {
        &self.models
    }

    /// Those who gather.
    pub fn gatherers(&self) -> &Gatherers {
        &self.gatherers
    }

    /// A number that changes when a model does.
    pub fn version(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for model in &self.models {
            model.current().digest().hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Whether there is a model for such an indicator.
    pub fn knows(&self, indicator: &Indicator) -> bool {
        subject(indicator).is_some_and(|(kind, _)| self.model(kind).is_some())
    }

    /// What the models say of each indicator. Those for which there is none are left out.
    pub async fn opinions(&self, indicators: Vec<Indicator>, options: &GatherOptions) -> Opinions {
        let models = self.version();
        let opinions = stream::iter(indicators).map(async |indicator| {
            let opinion = self.opinion(&indicator, options).await?;
            Some((indicator, Arc::new(opinion)))
        });
        let opinions = opinions.buffer_unordered(AT_ONCE);
        let of = opinions.filter_map(async |opinion| opinion).collect().await;
        Opinions { models, of }
    }

    async fn opinion(&self, indicator: &Indicator, options: &GatherOptions) -> Option<Opinion> {
        let (kind, subject) = subject(indicator)?;
        let model = self.model(kind)?;
        let gathered = self.gatherers.gather(&subject, options).await;
        Some(Opinion {
            score: model.score(&gathered),
            gathered,
            model,
        })
    }

    fn model(&self, kind: ModelKind) -> Option<Arc<IndicatorModel>> {
        let mut models = self.models.iter().map(|model| model.current());
        models.find(|model| model.manifest().kind == kind)
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

    /// What it was told.
    pub fn gathered(&self) -> &Gathered {
        &self.gathered
    }

    /// What it made of that.
    pub fn score(&self) -> &Score {
        &self.score
    }

    /// Why. Takes far longer than the score.
    pub fn explain(&self) -> Explanation {
        self.model.explain(&self.gathered)
    }

    /// About what it takes in memory.
    pub(crate) fn size(&self) -> usize {
        let features = self.gathered.features.len();
        size_of::<Opinion>() + features * (size_of::<gatherers::Feature>() + 48)
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
