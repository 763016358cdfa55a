//! What the service tells about itself: its lists, its model, its version.

use indicators::Indicator;
use jiff::Timestamp;
use serde::Serialize;
use threat_lists::{List, ListKind};
use utoipa::ToSchema;

use crate::answer::ItemFailure;
use crate::evidence::Evidence;
use crate::request::Item;
use crate::scorer::Snapshot;

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
    /// The weight it gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
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

/// The model.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelAnswer {
    /// What it was made of and measured at; null where there is none.
    #[schema(required)]
    pub model: Option<String>,
    /// What that means for scores.
    #[schema(value_type = String)]
    pub message: &'static str,
}

/// Whether the service can score.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// It can.
    pub ready: bool,
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
    /// Its model's; null where there is none.
    #[schema(required)]
    pub model: Option<String>,
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
            weight: list.weight(),
            set_aside: set_aside.len(),
            problems: set_aside.iter().take(PROBLEMS).map(problem).collect(),
        }
    }
}

impl ModelAnswer {
    /// No model.
    pub fn none() -> ModelAnswer {
        ModelAnswer {
            model: None,
            message: "there is no model; what no list knows gets the neutral score",
        }
    }
}

impl Version {
    /// This program.
    pub fn this() -> Version {
        Version {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            model: None,
        }
    }
}
