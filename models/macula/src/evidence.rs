//! Evidence: an entry of a list that speaks of an indicator, with all that an analyst asks next.
//!
//! It owns its text, so that a judgement outlives the lists it was made by.

use jiff::civil::Date;
use serde::Serialize;
use threat_lists::{Class, Hit, ListKind, Match, Scope};
use utoipa::ToSchema;

/// One entry that speaks of an indicator.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Evidence {
    /// What the list means.
    #[schema(value_type = String, example = "feed")]
    pub kind: ListKind,
    /// The list's name.
    pub list: Box<str>,
    /// The list's version.
    pub version: Box<str>,
    /// The entry as the list has it.
    pub entry: Box<str>,
    /// Its line in the file.
    pub line: u32,
    /// How it fits: exactly, as a range, or as a name above.
    #[serde(rename = "match")]
    #[schema(value_type = String, example = "exact")]
    pub matched: Match,
    /// Whether it speaks of the indicator itself or of its host.
    #[schema(value_type = String, example = "itself")]
    pub scope: Scope,
    /// Whose the names of a whitelist are: `owned` by one party each, or `shared`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "owned")]
    pub class: Option<Class>,
    /// Whether it moved the score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<bool>,
    /// How much it weighs, before its age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// How much of the weight its age has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// When the source first saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    pub first_seen: Option<Date>,
    /// When the source last saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    pub last_seen: Option<Date>,
    /// The first day on which it counts no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    pub expires: Option<Date>,
    /// By how many points it moved the score; nothing if it did not count.
    #[serde(skip)]
    pub points: Option<f64>,
}

impl Evidence {
    /// Whether it is over: it is shown, and does not count.
    pub fn is_over(&self) -> bool {
        self.decay == Some(0.0)
    }

    /// Whether it can only raise a score, as feeds and darklists do.
    pub fn raises(&self) -> bool {
        matches!(self.kind, ListKind::Feed | ListKind::Darklist)
    }

    /// The list for people, without saying `whitelist whitelist`.
    pub fn title(&self) -> String {
        let kind = self.kind.name();
        if self.list.starts_with(kind) {
            self.list.to_string()
        } else {
            format!("{kind} {}", self.list)
        }
    }

    /// About what it takes in memory.
    pub(crate) fn size(&self) -> usize {
        size_of::<Evidence>() + self.list.len() + self.version.len() + self.entry.len()
    }
}

impl From<&Hit<'_>> for Evidence {
    fn from(hit: &Hit<'_>) -> Self {
        Evidence {
            kind: hit.list.kind(),
            list: hit.list.name().into(),
            version: hit.list.version().into(),
            entry: hit.entry.text.as_ref().into(),
            line: hit.entry.line,
            matched: hit.matched,
            scope: hit.scope,
            class: hit.list.class(),
            counted: None,
            weight: hit.entry.weight.or(hit.list.weight()),
            decay: None,
            first_seen: hit.entry.first_seen,
            last_seen: hit.entry.last_seen,
            expires: hit.entry.expires,
            points: None,
        }
    }
}
