//! Requests: the indicators a caller asks about, each under the text it was asked by, and the options.
//!
//! A request is refused only when it cannot be understood as a whole. An indicator that is none stays in the request and is
//! answered with its own error, so that one bad item never loses a batch.

mod body;
mod parameters;
mod query;

use std::collections::HashMap;

use indicators::{Indicator, IndicatorError, Kind};

use crate::options::{OptionError, Options};

pub use body::{ApplyForm, BodyForm, apply_body, score_body};
pub use query::{apply_query, score_query};

/// The most indicators in a query string.
pub const MAX_QUERY_ITEMS: usize = 100;

/// The most indicators in a body.
pub const MAX_BODY_ITEMS: usize = 10_000;

/// The most indicators beside `overrides`, which stand in every answer.
pub const MAX_SUPPOSED_ITEMS: usize = 500;

/// The most things that are warned about.
const MAX_WARNINGS: usize = 10;

/// The arguments that carry the indicator of [`apply_query`]. Callers name what they have; the kind is detected
/// all the same, but of what may be a URL or a mail address the name tells which.
pub const APPLY_ARGUMENTS: [&str; 8] = [
    "indicator",
    "host",
    "ip",
    "url",
    "domain",
    "hash",
    "email",
    "cidr",
];

/// One indicator as the caller wrote it, and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The caller's text: the key of the answer.
    pub key: String,
    /// What it turned out to be.
    pub indicator: Result<Indicator, ItemError>,
}

/// A request to score a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRequest {
    /// In the order of the request; each key once, unless the items are answered line by line.
    pub items: Vec<Item>,
    /// How to score them.
    pub options: Options,
    /// What the caller should be told: parameters nobody knows, items that are there twice.
    pub warnings: Vec<String>,
}

/// A request for one flat answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplyRequest {
    /// What to score.
    pub item: Item,
    /// How.
    pub options: Options,
    /// What the caller should be told: parameters nobody knows.
    pub warnings: Vec<String>,
}

impl Item {
    /// An item of plain text, of the kind that is given or detected.
    pub fn new(key: &str, kind: Option<Kind>) -> Item {
        let indicator = match kind {
            Some(kind) => Indicator::parse_as(key, kind),
            None => key.parse(),
        };
        Item {
            key: key.to_owned(),
            indicator: indicator.map_err(ItemError::Indicator),
        }
    }

    /// The item of one of [`APPLY_ARGUMENTS`].
    fn of_argument(name: &str, text: &str, kind: Option<Kind>) -> Item {
        let item = Item::new(text, kind);
        let named = match (name, &item.indicator) {
            _ if kind.is_some() => return item,
            ("url", Ok(Indicator::Email(_))) => Kind::Url,
            ("email", Ok(Indicator::Url(_))) => Kind::Email,
            _ => return item,
        };
        let as_named = Item::new(text, Some(named));
        if as_named.indicator.is_ok() {
            as_named
        } else {
            item
        }
    }
}

impl ScoreRequest {
    fn new(
        items: Vec<Item>,
        options: Options,
        warnings: Vec<String>,
        limit: usize,
    ) -> Result<ScoreRequest, RequestError> {
        if items.is_empty() {
            return Err(RequestError::Missing { what: "indicators" });
        }
        check_count(items.len(), limit, &options)?;
        let mut request = ScoreRequest {
            items,
            options,
            warnings,
        };
        request.tell_apart();
        Ok(request)
    }

    /// Leaves of items under the same key the first that is an indicator: an answer has one place for them. One that was
    /// something else is warned about.
    pub fn tell_apart(&mut self) {
        let mut places = HashMap::with_capacity(self.items.len());
        let mut kept: Vec<Item> = Vec::with_capacity(self.items.len());
        for item in self.items.drain(..) {
            let place = *places.entry(item.key.clone()).or_insert(kept.len());
            let Some(same) = kept.get_mut(place) else {
                kept.push(item);
                continue;
            };
            if same.indicator == item.indicator {
                continue;
            }
            if self.warnings.len() < MAX_WARNINGS {
                let key: String = item.key.chars().take(80).collect();
                self.warnings.push(format!(
                    "`{key}` is there more than once and not always the same; the first that is an indicator is answered"
                ));
            }
            if same.indicator.is_err() && item.indicator.is_ok() {
                *same = item;
            }
        }
        self.items = kept;
    }
}

/// Whether so many indicators can be answered in one request.
fn check_count(count: usize, limit: usize, options: &Options) -> Result<(), RequestError> {
    let limit = if options.overrides.is_empty() {
        limit
    } else {
        limit.min(MAX_SUPPOSED_ITEMS)
    };
    if count > limit {
        return Err(RequestError::TooMany { count, limit });
    }
    Ok(())
}

/// Why one item of a request is no indicator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// It is text that is none.
    #[error(transparent)]
    Indicator(#[from] IndicatorError),
    /// It is an object that says something nobody understands.
    #[error("an item has an `indicator` and may have a `type`, but not `{field}`")]
    Field {
        /// As the caller wrote it.
        field: String,
    },
    /// It names a kind that there is not.
    #[error(transparent)]
    Type(OptionError),
    /// It is no JSON.
    #[error("it is not valid JSON: {reason}")]
    Json {
        /// Where it stops being JSON.
        reason: String,
    },
}

impl ItemError {
    /// A word for programs; it stays the same between versions.
    pub fn code(&self) -> &'static str {
        match self {
            ItemError::Indicator(error) => error.code(),
            ItemError::Field { .. } => "unknown_field",
            ItemError::Type(_) => "invalid_type",
            ItemError::Json { .. } => "invalid_json",
        }
    }
}

/// Why a request cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A parameter or field that does nothing.
    #[error("unknown parameter `{name}`")]
    Unknown {
        /// As the caller wrote it.
        name: String,
        /// What they may have meant, or all there is.
        hint: String,
    },
    /// An option with a value it cannot take.
    #[error(transparent)]
    Option {
        /// Which and why.
        source: OptionError,
    },
    /// An option given twice, so that nobody can say which counts.
    #[error("parameter `{name}` is given twice")]
    Twice {
        /// The option.
        name: String,
    },
    /// Nothing to score.
    #[error("missing: {what}")]
    Missing {
        /// The parameter.
        what: &'static str,
    },
    /// More than one answer should carry.
    #[error(
        "{count} indicators are too many; at most {limit} are accepted in one request of this form"
    )]
    TooMany {
        /// How many there were.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The body is not JSON.
    #[error("the body is not valid JSON: {source}")]
    NotJson {
        /// Where it stops being JSON.
        source: serde_json::Error,
    },
    /// JSON, but not as agreed.
    #[error("{expected}")]
    Shape {
        /// What would do.
        expected: &'static str,
    },
}

impl RequestError {
    fn unknown(name: &str, known: &[&str]) -> RequestError {
        let hint = match gatherers::closest(name, known.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("known are: {}", known.join(", ")),
        };
        RequestError::Unknown {
            name: name.chars().take(80).collect(),
            hint,
        }
    }

    /// A word for programs; it stays the same between versions.
    pub fn code(&self) -> &'static str {
        match self {
            RequestError::Unknown { .. } => "unknown_parameter",
            RequestError::Option { .. } => "invalid_parameter",
            RequestError::Twice { .. } => "duplicate_parameter",
            RequestError::Missing { .. } => "missing_parameter",
            RequestError::TooMany { .. } => "too_many_indicators",
            RequestError::NotJson { .. } => "invalid_json",
            RequestError::Shape { .. } => "invalid_request",
        }
    }

    /// The mend, where we know it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            RequestError::Unknown { hint, .. } => Some(hint),
            RequestError::TooMany {
                limit: MAX_QUERY_ITEMS,
                ..
            } => Some("POST a JSON array to the same path: it takes 10000"),
            RequestError::TooMany {
                limit: MAX_SUPPOSED_ITEMS,
                ..
            } => Some("what `overrides` says stands in every answer; send several requests"),
            RequestError::TooMany { .. } => Some("send several requests"),
            RequestError::Option { .. }
            | RequestError::Twice { .. }
            | RequestError::Missing { .. }
            | RequestError::NotJson { .. }
            | RequestError::Shape { .. } => None,
        }
    }
}
