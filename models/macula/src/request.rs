//! Requests: the indicators a caller asks about, each under the text it was asked by, and the options.
//!
//! A request is refused only when it cannot be understood as a whole. An indicator that is none stays in the request and is
//! answered with its own error, so that one bad item never loses a batch.

use std::collections::HashSet;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::options::{self, OptionError, Options};
use indicators::{Indicator, IndicatorError};

/// The most indicators in a query string.
pub const MAX_QUERY_ITEMS: usize = 100;

/// The most indicators in a body.
pub const MAX_BODY_ITEMS: usize = 10_000;

/// The arguments that carry the indicator of [`apply_query`]. Callers name what they have; the kind is detected all the same.
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
    pub indicator: Result<Indicator, IndicatorError>,
}

/// A request to score a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRequest {
    /// Each key once, in the order of the request.
    pub items: Vec<Item>,
    /// How to score them.
    pub options: Options,
}

impl Item {
    /// An item of plain text.
    pub fn new(key: &str) -> Item {
        Item {
            key: key.to_owned(),
            indicator: key.parse(),
        }
    }

    /// An item of a query string, before percent-decoding.
    fn decode(raw: &str) -> Item {
        match percent_decode_str(raw).decode_utf8() {
            Ok(text) => Item::new(&text),
            Err(_) => Item {
                key: percent_decode_str(raw).decode_utf8_lossy().into_owned(),
                indicator: Err(IndicatorError::InvalidUtf8),
            },
        }
    }
}

/// Reads `indicators=a,b&useWhitelist=false…`.
///
/// A comma separates indicators, and `%2C` is a comma inside one. Many HTTP libraries encode every comma, so an item with an
/// encoded comma that is no indicator as a whole is taken for several. A plus sign is a plus sign: indicators contain no
/// spaces, but mail addresses do contain `+`.
///
/// # Errors
/// When a parameter is missing, unknown, given twice or has a bad value, or the items are too many.
pub fn score_query(query: &str) -> Result<ScoreRequest, RequestError> {
    let mut items = Vec::new();
    let mut options = Options::default();
    read_options(query, &mut options, &["indicators"], |_, value| {
        let pieces = value.split(',').filter(|piece| !piece.is_empty());
        items.extend(pieces.flat_map(separate));
        Ok(())
    })?;
    ScoreRequest::new(items, options, MAX_QUERY_ITEMS)
}

/// Reads a JSON array of indicators, or `{"indicators": […], "options": {…}}`. Options may also stand in the query string; the
/// body's win.
///
/// # Errors
/// When the body is not such JSON, an option is unknown or has a bad value, or the items are too many.
pub fn score_body(query: &str, body: &[u8]) -> Result<ScoreRequest, RequestError> {
    let mut options = Options::default();
    read_options(query, &mut options, &[], |_, _| Ok(()))?;
    let body = serde_json::from_slice(body).map_err(|source| RequestError::NotJson { source })?;
    let values = match body {
        Value::Array(values) => values,
        Value::Object(mut fields) => {
            let values = fields.remove("indicators");
            if let Some(chosen) = fields.remove("options") {
                set_options(&mut options, chosen)?;
            }
            if let Some(name) = fields.keys().next() {
                return Err(RequestError::unknown(name, &["indicators", "options"]));
            }
            match values {
                Some(Value::Array(values)) => values,
                None => return Err(RequestError::Missing { what: "indicators" }),
                Some(_) => {
                    return Err(RequestError::Shape {
                        expected: "`indicators` must be an array of strings",
                    });
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(RequestError::Shape {
                expected: "the body must be a JSON array or object",
            });
        }
    };
    let items = values.into_iter().map(|value| match value.as_str() {
        Some(text) => Item::new(text),
        None => Item {
            key: value.to_string(),
            indicator: Err(IndicatorError::NotAString),
        },
    });
    ScoreRequest::new(items.collect(), options, MAX_BODY_ITEMS)
}

/// Reads the one indicator of `/apply`, and options.
///
/// # Errors
/// When there is no indicator, more than one, or something unknown beside it.
pub fn apply_query(query: &str) -> Result<(Item, Options), RequestError> {
    let mut item = None;
    let mut options = Options::default();
    read_options(query, &mut options, &APPLY_ARGUMENTS, |_, value| match item
        .replace(Item::decode(value))
    {
        None => Ok(()),
        Some(_) => Err(RequestError::Shape {
            expected: "only one of the indicator arguments may be given",
        }),
    })?;
    let what = "indicator (or host, ip, url, domain, hash, email, cidr)";
    item.map(|item| (item, options))
        .ok_or(RequestError::Missing { what })
}

impl ScoreRequest {
    fn new(
        mut items: Vec<Item>,
        options: Options,
        limit: usize,
    ) -> Result<ScoreRequest, RequestError> {
        if items.is_empty() {
            return Err(RequestError::Missing { what: "indicators" });
        }
        if items.len() > limit {
            return Err(RequestError::TooMany {
                count: items.len(),
                limit,
            });
        }
        let mut seen = HashSet::new();
        items.retain(|item| seen.insert(item.key.clone()));
        Ok(ScoreRequest { items, options })
    }
}

/// The items one piece between literal commas stands for.
fn separate(piece: &str) -> Vec<Item> {
    let whole = Item::decode(piece);
    if whole.indicator.is_ok() || !whole.key.contains(',') {
        return vec![whole];
    }
    let parts = whole
        .key
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts.map(Item::new).collect()
}

/// Goes through a query string: hands the parameters in `own` to `take`, still encoded, and sets options by the others.
fn read_options<'q>(
    query: &'q str,
    options: &mut Options,
    own: &[&'static str],
    mut take: impl FnMut(&str, &'q str) -> Result<(), RequestError>,
) -> Result<(), RequestError> {
    let mut seen = HashSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode_str(name).decode_utf8_lossy();
        if own.contains(&&*name) {
            take(&name, value)?;
            continue;
        }
        let value = percent_decode_str(value).decode_utf8_lossy();
        set_option(options, &name, &value, own)?;
        if !seen.insert(name.clone()) {
            return Err(RequestError::Twice {
                name: name.into_owned(),
            });
        }
    }
    Ok(())
}

fn set_options(options: &mut Options, chosen: Value) -> Result<(), RequestError> {
    let Value::Object(chosen) = chosen else {
        return Err(RequestError::Shape {
            expected: "`options` must be an object",
        });
    };
    for (name, value) in chosen {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        set_option(options, &name, &text, &[])?;
    }
    Ok(())
}

/// Sets an option; a name nobody knows is compared with the options and with the parameters in `own`.
fn set_option(
    options: &mut Options,
    name: &str,
    value: &str,
    own: &[&'static str],
) -> Result<(), RequestError> {
    options.set(name, value).map_err(|error| match error {
        OptionError::Unknown { .. } => {
            RequestError::unknown(name, &[own, &options::NAMES].concat())
        }
        error @ OptionError::Value { .. } => RequestError::Option { source: error },
    })
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
        let hint = match options::closest(name, known.iter().copied()) {
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
            RequestError::TooMany { .. } => Some("send several requests"),
            RequestError::Option { .. }
            | RequestError::Twice { .. }
            | RequestError::Missing { .. }
            | RequestError::NotJson { .. }
            | RequestError::Shape { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(query: &str) -> Vec<String> {
        let request = score_query(query).expect("a good query");
        request.items.into_iter().map(|item| item.key).collect()
    }

    fn refused(result: Result<impl std::fmt::Debug, RequestError>, code: &str) -> String {
        let error = result.expect_err(code);
        assert_eq!(error.code(), code, "{error}");
        format!("{error} {}", error.hint().unwrap_or_default())
    }

    #[test]
    fn commas_separate_and_encoded_commas_stay_inside_a_url() {
        assert_eq!(
            keys("indicators=a.test,192.0.2.1,,b.test,"),
            ["a.test", "192.0.2.1", "b.test"]
        );
        assert_eq!(
            keys("indicators=http://a.test/x%2Cy,b.test"),
            ["http://a.test/x,y", "b.test"]
        );
        assert_eq!(
            keys("indicators=a.test%2C192.0.2.1%2C%20b.test"),
            ["a.test", "192.0.2.1", "b.test"]
        );
        assert_eq!(
            keys("indicators=a.test&indicators=b.test,a.test"),
            ["a.test", "b.test"]
        );
        assert_eq!(
            keys("indicators=a%2Bb@a.test,c+d@a.test"),
            ["a+b@a.test", "c+d@a.test"]
        );
    }

    #[test]
    fn the_callers_text_is_the_key_and_a_bad_item_stays_in_the_batch() {
        let request =
            score_query("indicators=hxxp://EVIL[.]test,nonsense,%FF").expect("a good query");
        assert_eq!(request.items[0].key, "hxxp://EVIL[.]test");
        assert!(request.items[0].indicator.is_ok());
        assert_eq!(
            request.items[1].indicator,
            Err(IndicatorError::NotRecognised)
        );
        assert_eq!(request.items[2].indicator, Err(IndicatorError::InvalidUtf8));
    }

    #[test]
    fn options_are_read_and_mistakes_in_them_refused() {
        let request =
            score_query("indicators=a.test&useWhitelist=false&explain=TRUE&explain_items=3");
        let options = request.expect("a good query").options;
        assert!(!options.use_whitelist && options.explain && options.explain_items == 3);
        let told = refused(
            score_query("indicators=a.test&useChache=false"),
            "unknown_parameter",
        );
        assert!(told.contains("useCache"), "{told}");
        let told = refused(score_query("indicator=a.test"), "unknown_parameter");
        assert!(told.contains("indicators"), "{told}");
        refused(
            score_query("indicators=a.test&explain=perhaps"),
            "invalid_parameter",
        );
        refused(
            score_query("indicators=a.test&explain=true&explain=false"),
            "duplicate_parameter",
        );
        refused(score_query("indicators=,"), "missing_parameter");
        refused(score_query(""), "missing_parameter");
        refused(
            score_query(&format!("indicators={}", "a.test,".repeat(101))),
            "too_many_indicators",
        );
    }

    #[test]
    fn bodies_are_arrays_or_objects_with_options() {
        let array =
            score_body("useRule=false", br#"["a.test", 7, "a.test"]"#).expect("a good body");
        assert_eq!(array.items.len(), 2);
        assert_eq!(array.items[1].indicator, Err(IndicatorError::NotAString));
        assert!(!array.options.use_rule);
        let object =
            br#"{"indicators":["a.test"],"options":{"useRule":false,"explain_items":"2"}}"#;
        let object = score_body("useRule=true", object).expect("a good body");
        assert!(!object.options.use_rule && object.options.explain_items == 2);
        refused(score_body("", b"{"), "invalid_json");
        refused(score_body("", b"7"), "invalid_request");
        refused(score_body("", b"{}"), "missing_parameter");
        refused(score_body("", b"[]"), "missing_parameter");
        refused(
            score_body("", br#"{"indicators":"a.test"}"#),
            "invalid_request",
        );
        refused(
            score_body("", br#"{"indicators":["a.test"],"options":[]}"#),
            "invalid_request",
        );
        refused(score_body("indicators=a.test", b"[]"), "unknown_parameter");
        let told = refused(
            score_body("", br#"{"indicators":[],"option":{}}"#),
            "unknown_parameter",
        );
        assert!(told.contains("options"), "{told}");
        let many =
            serde_json::to_vec(&vec!["a.test"; MAX_BODY_ITEMS + 1]).expect("strings are JSON");
        refused(score_body("", &many), "too_many_indicators");
    }

    #[test]
    fn apply_takes_exactly_one_indicator_by_any_of_its_names() {
        for name in APPLY_ARGUMENTS {
            let (item, _) = apply_query(&format!("{name}=evil.test")).expect("a good query");
            assert_eq!(item.key, "evil.test");
        }
        refused(apply_query("useRule=true"), "missing_parameter");
        refused(apply_query("host=a.test&ip=192.0.2.1"), "invalid_request");
        refused(apply_query("hots=a.test"), "unknown_parameter");
    }
}
