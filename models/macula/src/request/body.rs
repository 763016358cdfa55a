//! Requests in bodies.

use indicators::{IndicatorError, Kind};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::parameters::Parameters;
use super::query::{apply_query, lenient, one};
use super::{
    APPLY_ARGUMENTS, ApplyRequest, Item, ItemError, MAX_BODY_ITEMS, RequestError, ScoreRequest,
    check_count,
};
use crate::feature_set::Sources;
use crate::options::{self, Options};

/// How the body of a batch is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// One JSON document.
    Json,
    /// A JSON value on each line.
    Lines,
}

/// How the body of a single question is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyForm {
    /// A JSON object.
    Json,
    /// What HTML forms send.
    Form,
}

/// Reads a batch: a JSON array of indicators, `{"indicators": […], "options": {…}}`, or an indicator on each line. An indicator
/// is a string, or `{"indicator": …, "type": …}`. Options may also stand in the query string; the body's win.
///
/// # Errors
/// When the body is not such JSON, an option is unknown or has a bad value, or the items are too many.
pub fn score_body(
    query: &str,
    body: &[u8],
    form: BodyForm,
    sources: &Sources,
) -> Result<ScoreRequest, RequestError> {
    let mut parameters = Parameters::new(Options::default(), &[], sources);
    parameters.query(query, |_, _| {})?;
    match form {
        BodyForm::Json => document(parameters, body),
        BodyForm::Lines => lines(parameters, body),
    }
}

fn document(mut parameters: Parameters<'_>, body: &[u8]) -> Result<ScoreRequest, RequestError> {
    let whole = match serde_json::from_slice(body) {
        Ok(whole) => whole,
        Err(source) => return piecemeal(parameters, body, source),
    };
    let values = match whole {
        Value::Array(values) => values,
        Value::Object(mut fields) => {
            let values = fields.remove("indicators");
            match fields.remove("options") {
                None | Some(Value::Null) => {}
                Some(Value::Object(chosen)) => parameters.object(&chosen)?,
                Some(_) => {
                    return Err(RequestError::Shape {
                        expected: "`options` must be an object",
                    });
                }
            }
            if let Some(name) = fields.keys().next() {
                return Err(RequestError::unknown(name, &["indicators", "options"]));
            }
            match values {
                Some(Value::Array(values)) => values,
                None => return Err(RequestError::Missing { what: "indicators" }),
                Some(_) => {
                    return Err(RequestError::Shape {
                        expected: "`indicators` must be an array",
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
    let (options, warnings) = parameters.finish()?;
    check_count(values.len(), MAX_BODY_ITEMS, &options)?;
    let items = values.iter().map(|value| item(value, options.kind));
    ScoreRequest::new(items.collect(), options, warnings, MAX_BODY_ITEMS)
}

/// The same of a body of which one item holds what JSON's grammar lets through and no text can be, such as half a surrogate pair:
/// that is its own trouble.
fn piecemeal(
    mut parameters: Parameters<'_>,
    body: &[u8],
    source: serde_json::Error,
) -> Result<ScoreRequest, RequestError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields<'b> {
        #[serde(borrow)]
        indicators: Vec<&'b RawValue>,
        #[serde(default)]
        options: Option<Map<String, Value>>,
    }
    let alone = |indicators| Fields {
        indicators,
        options: None,
    };
    let fields = serde_json::from_slice(body).map(alone);
    let Ok(fields) = fields.or_else(|_| serde_json::from_slice::<Fields<'_>>(body)) else {
        return Err(RequestError::NotJson { source });
    };
    if let Some(chosen) = &fields.options {
        parameters.object(chosen)?;
    }
    let (options, warnings) = parameters.finish()?;
    check_count(fields.indicators.len(), MAX_BODY_ITEMS, &options)?;
    let items = fields.indicators.iter();
    let items = items.map(|raw| part(raw.get().as_bytes(), options.kind));
    ScoreRequest::new(items.collect(), options, warnings, MAX_BODY_ITEMS)
}

/// The item in a piece of JSON.
fn part(json: &[u8], kind: Option<Kind>) -> Item {
    match serde_json::from_slice(json) {
        Ok(value) => item(&value, kind),
        Err(error) => Item {
            key: String::from_utf8_lossy(json).into_owned(),
            indicator: Err(ItemError::Json {
                reason: error.to_string(),
            }),
        },
    }
}

/// A value on each line; a line that is broken is its own trouble. Nothing is left out, so that the answers match the lines.
fn lines(parameters: Parameters<'_>, body: &[u8]) -> Result<ScoreRequest, RequestError> {
    let (options, warnings) = parameters.finish()?;
    let lines = body
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty());
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return Err(RequestError::Missing { what: "indicators" });
    }
    check_count(lines.len(), MAX_BODY_ITEMS, &options)?;
    let items = lines.iter().map(|line| part(line, options.kind));
    Ok(ScoreRequest {
        items: items.collect(),
        options,
        warnings,
    })
}

fn item(value: &Value, kind: Option<Kind>) -> Item {
    match value {
        Value::String(text) => Item::new(text, kind),
        Value::Object(fields) => object_item(fields, kind),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => Item {
            key: value.to_string(),
            indicator: Err(IndicatorError::NotAString.into()),
        },
    }
}

fn object_item(fields: &Map<String, Value>, kind: Option<Kind>) -> Item {
    let Some(Value::String(key)) = fields.get("indicator") else {
        return Item {
            key: Value::Object(fields.clone()).to_string(),
            indicator: Err(IndicatorError::NotAString.into()),
        };
    };
    let failed = |error| Item {
        key: key.clone(),
        indicator: Err(error),
    };
    let mut kind = kind;
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("indicator", _) => {}
            ("type", value) => match options::kind(value.as_str().unwrap_or_default()) {
                Ok(named) => kind = Some(named),
                Err(error) => return failed(ItemError::Type(error)),
            },
            (field, _) => {
                let field = field.chars().take(80).collect();
                return failed(ItemError::Field { field });
            }
        }
    }
    Item::new(key, kind)
}

/// Reads the one indicator of `/apply` in a body, and options beside it; those in the query string count, too.
///
/// # Errors
/// When there is no indicator or more than one, an option has a bad value, or the body is not of that form.
pub fn apply_body(
    query: &str,
    body: &[u8],
    form: ApplyForm,
    sources: &Sources,
) -> Result<ApplyRequest, RequestError> {
    match form {
        // In a form a plus sign is a space, unlike in our query strings.
        ApplyForm::Form => {
            let body = String::from_utf8_lossy(body).trim().replace('+', "%20");
            let between = if query.is_empty() { "" } else { "&" };
            apply_query(&format!("{query}{between}{body}"), sources)
        }
        ApplyForm::Json => apply_object(query, body, sources),
    }
}

fn apply_object(query: &str, body: &[u8], sources: &Sources) -> Result<ApplyRequest, RequestError> {
    let body = serde_json::from_slice(body).map_err(|source| RequestError::NotJson { source })?;
    let Value::Object(fields) = body else {
        return Err(RequestError::Shape {
            expected: "the body must be a JSON object",
        });
    };
    let is_argument = |name: &String| APPLY_ARGUMENTS.contains(&name.as_str());
    let values: Vec<_> = fields
        .iter()
        .filter(|(name, _)| is_argument(name))
        .map(|(name, value)| (name.clone(), value))
        .collect();
    let chosen: Map<_, _> = fields
        .iter()
        .filter(|(name, _)| !is_argument(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut parameters = Parameters::new(lenient(), &APPLY_ARGUMENTS, sources);
    let mut in_query = 0;
    parameters.query(query, |_, _| in_query += 1)?;
    parameters.object(&chosen)?;
    let (options, warnings) = parameters.finish()?;
    if in_query > 0 {
        return Err(RequestError::Shape {
            expected: "the indicator stands in the body or in the query string, not in both",
        });
    }
    let (name, value) = one(&values)?;
    let Some(text) = value.as_str() else {
        return Err(RequestError::Shape {
            expected: "the indicator must be a string",
        });
    };
    Ok(ApplyRequest {
        item: Item::of_argument(name, text, options.kind),
        options,
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score_body(query: &str, body: &[u8], form: BodyForm) -> Result<ScoreRequest, RequestError> {
        super::score_body(query, body, form, &Sources::default())
    }

    fn apply_body(query: &str, body: &[u8], form: ApplyForm) -> Result<ApplyRequest, RequestError> {
        super::apply_body(query, body, form, &Sources::default())
    }

    fn json(query: &str, body: &[u8]) -> Result<ScoreRequest, RequestError> {
        score_body(query, body, BodyForm::Json)
    }

    #[test]
    fn overrides_are_values_of_features_that_there_are() {
        let with = |overrides: &str| {
            let body =
                format!(r#"{{"indicators":["a.test"],"options":{{"overrides":{overrides}}}}}"#);
            json("", body.as_bytes())
        };
        let options = with(r#"{"dns_ttl":60,"dns_alias":true,"geo_country":"NL"}"#);
        let options = options.expect("a good body").options;
        assert_eq!(options.overrides.len(), 3);
        assert!(!options.reads_cache());
        assert!(with("null").is_ok_and(|request| request.options.reads_cache()));
        for bad in [
            r#"{"dns_ttl":"60"}"#,
            r#"{"dns_tll":60}"#,
            r#"{"dns_ttl":null}"#,
            "[]",
            "7",
        ] {
            let told = refused(with(bad), "invalid_parameter");
            assert!(told.contains("overrides"), "{told}");
        }
        let in_query = score_body("overrides=dns_ttl", b"[\"a.test\"]", BodyForm::Json);
        assert!(refused(in_query, "invalid_parameter").contains("JSON body"));
    }

    #[test]
    fn overrides_stand_in_every_answer_so_that_fewer_indicators_fit_beside_them() {
        let with = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("a{n}.test")).collect();
            let overrides = serde_json::json!({ "dns_ttl": 60 });
            let options = serde_json::json!({ "overrides": overrides });
            let body = serde_json::json!({ "indicators": names, "options": options });
            json("", body.to_string().as_bytes())
        };
        assert!(with(500).is_ok());
        assert!(refused(with(501), "too_many_indicators").contains("overrides"));
    }

    #[test]
    fn of_items_under_one_key_the_first_indicator_is_answered_and_differences_are_told() {
        let first_good = json(
            "",
            br#"[{"indicator":"a.test","type":"x"},"a.test","a.test"]"#,
        );
        let first_good = first_good.expect("a good body");
        assert_eq!(outcomes(&first_good), [("a.test", Ok("domain"))]);
        assert_eq!(first_good.warnings.len(), 1, "{:?}", first_good.warnings);
        let two = json("", br#"["a.test",{"indicator":"a.test","type":"url"}]"#);
        let two = two.expect("a good body");
        assert_eq!(outcomes(&two), [("a.test", Ok("domain"))]);
        assert!(two.warnings[0].contains("`a.test`"), "{:?}", two.warnings);
        let many: Vec<_> = (0..20)
            .flat_map(|n| [serde_json::json!(n), serde_json::json!(n.to_string())])
            .collect();
        let many = json("", serde_json::json!(many).to_string().as_bytes()).expect("a good body");
        assert_eq!((many.items.len(), many.warnings.len()), (20, 10));
    }

    fn refused(result: Result<impl std::fmt::Debug, RequestError>, code: &str) -> String {
        let error = result.expect_err(code);
        assert_eq!(error.code(), code, "{error}");
        format!("{error} {}", error.hint().unwrap_or_default())
    }

    fn outcomes(request: &ScoreRequest) -> Vec<(&str, Result<&'static str, &'static str>)> {
        let outcome = |item: &Item| {
            let kind = item.indicator.as_ref();
            kind.map(indicators::Indicator::kind)
                .map_err(ItemError::code)
        };
        request
            .items
            .iter()
            .map(|item| (item.key.as_str(), outcome(item)))
            .collect()
    }

    #[test]
    fn bodies_are_arrays_or_objects_with_options() {
        let array = json("useRule=false", br#"["a.test", 7, "a.test"]"#).expect("a good body");
        assert_eq!(
            outcomes(&array),
            [("a.test", Ok("domain")), ("7", Err("not_a_string"))]
        );
        assert!(!array.options.use_rule);
        let object =
            br#"{"indicators":["a.test"],"options":{"useRule":false,"explain_items":2.0,"summary":null}}"#;
        let object = json("useRule=true", object).expect("a good body");
        assert!(!object.options.use_rule && object.options.explain_items == 2);
        for (body, code) in [
            (&b"{"[..], "invalid_json"),
            (b"7", "invalid_request"),
            (b"{}", "missing_parameter"),
            (b"[]", "missing_parameter"),
            (br#"{"indicators":"a.test"}"#, "invalid_request"),
            (
                br#"{"indicators":["a.test"],"options":[]}"#,
                "invalid_request",
            ),
            (
                br#"{"indicators":["a.test"],"options":{"useRule":0}}"#,
                "invalid_parameter",
            ),
            (
                br#"{"indicators":["a.test"],"options":{"domain_pivot":"5"}}"#,
                "invalid_parameter",
            ),
            (
                br#"{"indicators":["a.test"],"options":{"useChache":true}}"#,
                "unknown_parameter",
            ),
        ] {
            refused(json("", body), code);
        }
        refused(json("indicators=a.test", b"[]"), "unknown_parameter");
        let told = refused(
            json("", br#"{"indicators":[],"option":{}}"#),
            "unknown_parameter",
        );
        assert!(told.contains("options"), "{told}");
        let many =
            serde_json::to_vec(&vec!["a.test"; MAX_BODY_ITEMS + 1]).expect("strings are JSON");
        refused(json("", &many), "too_many_indicators");
    }

    #[test]
    fn an_item_may_say_what_it_is() {
        let body = br#"[{"indicator":"a.test","type":"url"}, {"indicator":"b.test","type":"x"},
            {"indicator":"c.test","colour":"red"}, {"host":"d.test"}]"#;
        let request = json("", body).expect("a good body");
        let found: Vec<_> = outcomes(&request).into_iter().map(|(_, it)| it).collect();
        let expected = [
            Ok("url"),
            Err("invalid_type"),
            Err("unknown_field"),
            Err("not_a_string"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn lines_are_answered_one_by_one() {
        let body = b"\"a.test\"\r\n\n{\"indicator\":\"192.0.2.1\"}\nbroken\n\"a.test\"";
        let request = score_body("explain=1", body, BodyForm::Lines).expect("a good body");
        assert_eq!(
            outcomes(&request),
            [
                ("a.test", Ok("domain")),
                ("192.0.2.1", Ok("ip")),
                ("broken", Err("invalid_json")),
                ("a.test", Ok("domain")),
            ]
        );
        assert!(request.options.explain);
        refused(
            score_body("", b" \n\n", BodyForm::Lines),
            "missing_parameter",
        );
        let many = b"\"a.test\"\n".repeat(MAX_BODY_ITEMS + 1);
        refused(
            score_body("", &many, BodyForm::Lines),
            "too_many_indicators",
        );
    }

    #[test]
    fn apply_takes_its_indicator_from_a_form_or_an_object() {
        let form = apply_body("explain=1", b"host=evil.test&port=80", ApplyForm::Form);
        let form = form.expect("a good body");
        assert_eq!(
            (form.item.key.as_str(), form.warnings.len()),
            ("evil.test", 1)
        );
        assert!(form.options.explain);
        let body = br#"{"ip":"192.0.2.1","useRule":false,"bytes":7}"#;
        let object = apply_body("", body, ApplyForm::Json).expect("a good body");
        assert_eq!(object.item.key, "192.0.2.1");
        assert!(!object.options.use_rule);
        for (query, body, code) in [
            ("", &b"[]"[..], "invalid_request"),
            ("", b"{", "invalid_json"),
            ("", b"{}", "missing_parameter"),
            ("", br#"{"ip":7}"#, "invalid_request"),
            (
                "",
                br#"{"ip":"192.0.2.1","host":"a.test"}"#,
                "invalid_request",
            ),
            ("host=a.test", br#"{"ip":"192.0.2.1"}"#, "invalid_request"),
        ] {
            refused(apply_body(query, body, ApplyForm::Json), code);
        }
    }
}
