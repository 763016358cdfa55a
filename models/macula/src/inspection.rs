//! What the service tells about itself: its lists, its model, its version.

use std::collections::BTreeMap;

use gatherers::{DriftAlert, GathererCounts};
use indicators::Indicator;
use jiff::Timestamp;
use serde::Serialize;
use threat_lists::{Class, List, ListKind};
use utoipa::ToSchema;

use crate::analyst::Analyst;
use crate::answer::ItemFailure;
use crate::evidence::Evidence;
use crate::request::Item;
use crate::scorer::{Scorer, Snapshot};

/// How many bad lines of a list are shown.
const PROBLEMS: usize = 10;

/// The lists, as `/api/lists` shows them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Lists {
    /// Which they are together.
    #[serde(flatten)]
    pub loaded: Loaded,
    /// Each of them.
    pub lists: Vec<ListAnswer>,
}

/// Which lists are in use.
#[derive(Debug, Serialize, ToSchema)]
pub struct Loaded {
    /// How often they were changed in this process.
    pub epoch: u64,
    /// Since when they are in use.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// For how many seconds.
    pub age_s: i64,
    /// How many entries they have together.
    pub entries: usize,
}

/// One list.
#[derive(Debug, Serialize, ToSchema)]
pub struct ListAnswer {
    /// What it means.
    #[schema(value_type = String, example = "feed")]
    pub kind: ListKind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How many entries it has.
    pub entries: usize,
    /// When its file was written.
    #[schema(value_type = String, format = DateTime)]
    pub written: Timestamp,
    /// The weight it gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Whose the names of a whitelist are: `owned` by one party each, or `shared`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "owned")]
    pub class: Option<Class>,
    /// How many lines could not be used.
    pub set_aside: usize,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub problems: Vec<Problem>,
}

/// A line that could not be used.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Its number, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub reason: String,
}

/// What the lists say about one indicator.
#[derive(Debug, Serialize, ToSchema)]
pub struct Check {
    /// The caller's text.
    pub indicator: String,
    /// Whether it is an indicator at all.
    pub success: bool,
    /// The kind of indicator.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>, required)]
    pub kind: Option<&'static str>,
    /// Its normal form.
    #[schema(required)]
    pub normalized: Option<String>,
    /// The entries that speak of it.
    pub hits: Vec<Evidence>,
    /// Why it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemFailure>,
}

/// The models and their sources.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelAnswer {
    /// The models; without one, what no list knows gets the neutral score.
    pub models: Vec<ModelDescription>,
    /// How often each source answered what.
    #[schema(value_type = BTreeMap<String, Object>)]
    pub gatherers: BTreeMap<String, GathererCounts>,
    /// Sources that are asked for and cannot work, with the reason.
    pub disabled: BTreeMap<String, String>,
    /// The last changes in the shape of what sources answer.
    #[schema(value_type = Vec<Object>)]
    pub drift: Vec<DriftAlert>,
}

/// One model.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelDescription {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// For which indicators it is.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// What tells its files from all others.
    pub digest: String,
    /// The features it wants.
    pub features: Vec<String>,
    /// What was measured when it was made.
    #[schema(value_type = BTreeMap<String, Object>)]
    pub metrics: BTreeMap<String, serde_json::Value>,
    /// Why another serves than the one that was put into its place, if so: that one can't be fetched, is no good, or was left by a rollback, or its place can't be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub behind: Option<String>,
}

/// Whether the service can score.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// Whether it can.
    pub ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub problems: Vec<String>,
    /// By which lists.
    pub loaded: Loaded,
}

/// Which program this is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Version {
    /// Its name.
    #[schema(value_type = String)]
    pub name: &'static str,
    /// Its version.
    #[schema(value_type = String)]
    pub version: &'static str,
    /// The versions of its models, by their names.
    pub models: BTreeMap<String, String>,
}

impl Lists {
    /// The lists of a snapshot.
    pub fn of(snapshot: &Snapshot, now: Timestamp) -> Lists {
        Lists {
            loaded: Loaded::of(snapshot, now),
            lists: snapshot.lists.iter().map(ListAnswer::from).collect(),
        }
    }
}

impl Check {
    /// Looks an item up.
    pub fn of(item: Item, lists: &threat_lists::Lists) -> Check {
        let indicator = item.indicator.as_ref().ok();
        let hits = indicator.map_or_else(Vec::new, |indicator| lists.find(indicator, |_| true));
        Check {
            success: indicator.is_some(),
            kind: indicator.map(Indicator::kind),
            normalized: indicator.map(Indicator::to_string),
            hits: hits.iter().map(Evidence::from).collect(),
            error: item.indicator.as_ref().err().map(ItemFailure::from),
            indicator: item.key,
        }
    }
}

impl Loaded {
    /// Which lists a snapshot has.
    pub fn of(snapshot: &Snapshot, now: Timestamp) -> Loaded {
        Loaded {
            epoch: snapshot.epoch,
            since: snapshot.since,
            age_s: now.as_second() - snapshot.since.as_second(),
            entries: snapshot.lists.entries(),
        }
    }
}

impl From<&List> for ListAnswer {
    fn from(list: &List) -> Self {
        let problem = |bad: &threat_lists::BadLine| Problem {
            line: bad.line,
            reason: bad.reason.clone(),
        };
        let set_aside = list.set_aside();
        ListAnswer {
            kind: list.kind(),
            name: list.name().to_owned(),
            version: list.version().to_owned(),
            entries: list.len(),
            written: list.written(),
            weight: list.weight(),
            class: list.class(),
            set_aside: list.set_aside_count(),
            problems: set_aside.iter().take(PROBLEMS).map(problem).collect(),
        }
    }
}

impl ModelAnswer {
    /// What a scorer goes by besides lists.
    pub fn of(scorer: &Scorer) -> ModelAnswer {
        let Some(analyst) = scorer.analyst() else {
            return ModelAnswer {
                models: Vec::new(),
                gatherers: BTreeMap::new(),
                disabled: BTreeMap::new(),
                drift: Vec::new(),
            };
        };
        let gatherers = analyst.gatherers();
        let disabled = gatherers.disabled();
        ModelAnswer {
            models: described(analyst).collect(),
            gatherers: gatherers.counts(),
            disabled: disabled
                .map(|(name, why)| (name.to_owned(), why.to_owned()))
                .collect(),
            drift: gatherers.drift_alerts(),
        }
    }
}

fn described(analyst: &Analyst) -> impl Iterator<Item = ModelDescription> {
    analyst.models().iter().map(|live| {
        let model = live.current();
        let manifest = model.manifest();
        let features = manifest.features.features().iter();
        ModelDescription {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            kind: manifest.kind.name(),
            digest: model.digest().to_owned(),
            features: features.map(|feature| feature.name.to_string()).collect(),
            metrics: manifest.metrics.clone(),
            behind: live.behind(),
        }
    })
}

impl Version {
    /// This program, with the models of a scorer.
    pub fn of(scorer: &Scorer) -> Version {
        let models = scorer.analyst().into_iter().flat_map(described);
        Version {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            models: models.map(|model| (model.name, model.version)).collect(),
        }
    }
}
