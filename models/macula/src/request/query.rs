//! Requests in query strings.

use indicators::{IndicatorError, Kind};
use percent_encoding::percent_decode_str;

use super::parameters::Parameters;
use super::{APPLY_ARGUMENTS, ApplyRequest, Item, MAX_QUERY_ITEMS, RequestError, ScoreRequest};
use crate::feature_set::Sources;
use crate::options::Options;

/// Reads `indicators=a,b&useWhitelist=false…`.
///
/// A comma separates indicators, and `%2C` is a comma inside one. Many HTTP libraries encode every comma, so an item with an
/// encoded comma that is no indicator as a whole is taken for several. A plus sign is a plus sign: indicators contain no
/// spaces, but mail addresses do contain `+`.
///
/// # Errors
/// When a parameter is missing, unknown, given twice or has a bad value, or the items are too many.
pub fn score_query(query: &str, sources: &Sources) -> Result<ScoreRequest, RequestError> {
    let mut values = Vec::new();
    let mut parameters = Parameters::new(Options::default(), &["indicators"], sources);
    parameters.query(query, |_, value| values.push(value))?;
    let (options, warnings) = parameters.finish()?;
    let pieces = values
        .iter()
        .flat_map(|value| value.split(','))
        .filter(|piece| !piece.is_empty());
    let items = pieces
        .flat_map(|piece| separate(piece, options.kind))
        .collect();
    ScoreRequest::new(items, options, warnings, MAX_QUERY_ITEMS)
}

/// Reads the one indicator of `/apply`, and options. What else a caller sends is passed over with a warning unless it asks for
/// strictness: field transformations hand whole maps of values to a model, and lose a record when it answers anything but 200.
///
/// # Errors
/// When there is no indicator or more than one, an option has a bad value, or something may be meant for an option that keeps
/// the indicator confidential.
pub fn apply_query(query: &str, sources: &Sources) -> Result<ApplyRequest, RequestError> {
    let mut values = Vec::new();
    let mut parameters = Parameters::new(lenient(), &APPLY_ARGUMENTS, sources);
    parameters.query(query, |name, value| values.push((name.to_owned(), value)))?;
    let (options, warnings) = parameters.finish()?;
    let (name, value) = one(&values)?;
    Ok(ApplyRequest {
        item: decoded(value, |text| Item::of_argument(name, text, options.kind)),
        options,
        warnings,
    })
}

/// Options for callers that send more than they mean to.
pub(super) fn lenient() -> Options {
    Options {
        strict: false,
        ..Options::default()
    }
}

/// The one indicator of `/apply`.
pub(super) fn one<T>(values: &[(String, T)]) -> Result<(&str, &T), RequestError> {
    match values {
        [(name, value)] => Ok((name, value)),
        [] => Err(RequestError::Missing {
            what: "indicator (or host, ip, url, domain, hash, email, cidr)",
        }),
        _ => Err(RequestError::Shape {
            expected: "only one of the indicator arguments may be given",
        }),
    }
}

/// An item of a query string, before percent-decoding, as `read` takes its text.
fn decoded(raw: &str, read: impl FnOnce(&str) -> Item) -> Item {
    match percent_decode_str(raw).decode_utf8() {
        Ok(text) => read(&text),
        Err(_) => Item {
            key: percent_decode_str(raw).decode_utf8_lossy().into_owned(),
            indicator: Err(IndicatorError::InvalidUtf8.into()),
        },
    }
}

/// The items one piece between literal commas stands for.
fn separate(piece: &str, kind: Option<Kind>) -> Vec<Item> {
    let whole = decoded(piece, |text| Item::new(text, kind));
    if whole.indicator.is_ok() || !whole.key.contains(',') {
        return vec![whole];
    }
    let parts = whole
        .key
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts.map(|part| Item::new(part, kind)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{ApplyForm, ItemError, apply_body};

    fn score_query(query: &str) -> Result<ScoreRequest, RequestError> {
        super::score_query(query, &Sources::default())
    }

    fn apply_query(query: &str) -> Result<ApplyRequest, RequestError> {
        super::apply_query(query, &Sources::default())
    }

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
        for (query, expected) in [
            (
                "indicators=a.test,192.0.2.1,,b.test,",
                &["a.test", "192.0.2.1", "b.test"] as &[&str],
            ),
            (
                "indicators=http://a.test/x%2Cy,b.test",
                &["http://a.test/x,y", "b.test"],
            ),
            (
                "indicators=a.test%2C192.0.2.1%2C%20b.test",
                &["a.test", "192.0.2.1", "b.test"],
            ),
            (
                "indicators=a.test&indicators=b.test,a.test",
                &["a.test", "b.test"],
            ),
            (
                "indicators=a%2Bb@a.test,c+d@a.test",
                &["a+b@a.test", "c+d@a.test"],
            ),
        ] {
            assert_eq!(keys(query), expected, "{query}");
        }
    }

    #[test]
    fn the_callers_text_is_the_key_and_a_bad_item_stays_in_the_batch() {
        let request =
            score_query("indicators=hxxp://EVIL[.]test,nonsense,%FF").expect("a good query");
        assert_eq!(request.items[0].key, "hxxp://EVIL[.]test");
        assert!(request.items[0].indicator.is_ok());
        let error = |index: usize| {
            request.items[index]
                .indicator
                .as_ref()
                .map_err(ItemError::code)
        };
        assert_eq!(error(1), Err("not_recognised"));
        assert_eq!(error(2), Err("invalid_utf8"));
    }

    #[test]
    fn options_are_read_wherever_they_stand_and_mistakes_in_them_refused() {
        let query = "type=url&useWhitelist=false&indicators=a.test&explain=TRUE&explain_items=3";
        let request = score_query(query).expect("a good query");
        let options = &request.options;
        assert!(!options.use_whitelist && options.explain && options.explain_items == 3);
        assert_eq!(
            request.items[0]
                .indicator
                .as_ref()
                .map(indicators::Indicator::kind),
            Ok("url")
        );
        for (query, code) in [
            ("indicators=a.test&explain=perhaps", "invalid_parameter"),
            ("indicators=a.test&type=planet", "invalid_parameter"),
            ("indicators=a.test&features=goe", "invalid_parameter"),
            (
                "indicators=a.test&explain=true&explain=false",
                "duplicate_parameter",
            ),
            ("indicators=,", "missing_parameter"),
            ("", "missing_parameter"),
        ] {
            refused(score_query(query), code);
        }
        let many = format!("indicators={}", "a.test,".repeat(101));
        refused(score_query(&many), "too_many_indicators");
    }

    #[test]
    fn what_nobody_knows_is_named_with_its_neighbour() {
        let told = refused(
            score_query("indicators=a.test&useChache=false"),
            "unknown_parameter",
        );
        assert!(told.contains("useCache"), "{told}");
        let told = refused(score_query("indicator=a.test"), "unknown_parameter");
        assert!(told.contains("indicators"), "{told}");
        let request = score_query("indicators=a.test&useChache=false&strict=false");
        let warnings = request.expect("a good query").warnings;
        assert_eq!(
            warnings,
            ["unknown parameter `useChache`; did you mean `useCache`?"]
        );
    }

    #[test]
    fn apply_takes_exactly_one_indicator_by_any_of_its_names() {
        for name in APPLY_ARGUMENTS {
            let request = apply_query(&format!("{name}=evil.test")).expect("a good query");
            assert_eq!(request.item.key, "evil.test");
        }
        refused(apply_query("useRule=true"), "missing_parameter");
        refused(apply_query("host=a.test&ip=192.0.2.1"), "invalid_request");
        refused(apply_query("hots=a.test"), "missing_parameter");
        refused(
            apply_query("host=a.test&hots=a.test&strict=true"),
            "unknown_parameter",
        );
        let warned = apply_query("host=a.test&protocol=tcp").expect("a good query");
        assert_eq!(warned.warnings.len(), 1);
    }

    #[test]
    fn what_may_be_meant_to_keep_an_indicator_confidential_is_not_dropped() {
        for meant in [
            "TLP=red",
            "Tlp=anything",
            "tpl=red",
            "tlp_=amber",
            "PAP=amber",
            "papp=RED",
            "ppa=green",
            "tlpp=red",
            "Offline=true",
            "ofline=1",
        ] {
            let query = format!("host=a.test&{meant}");
            let told = refused(apply_query(&query), "unknown_parameter");
            assert!(told.contains("did you mean"), "{told}");
            let (name, value) = meant.split_once('=').expect("an option");
            let body = serde_json::json!({ "host": "a.test", name: value }).to_string();
            let request = apply_body("", body.as_bytes(), ApplyForm::Json, &Sources::default());
            refused(request, "unknown_parameter");
        }
        for other in [
            "app=firefox",
            "tls=1.3",
            "map=green",
            "tap=red",
            "tip=amber",
            "online=x",
        ] {
            let query = format!("host=a.test&{other}");
            assert!(apply_query(&query).is_ok(), "{other}");
        }
    }
}
