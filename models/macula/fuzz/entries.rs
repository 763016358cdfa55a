//! What is fuzzed: an entry for each parser of what others send. None may panic, and what is understood has to stay what it is.
//!
//! libFuzzer calls these by `cargo +nightly fuzz run`, the ordinary tests over the corpus and random changes to it.

use boosted_trees::Predictor;
use boosted_trees::xgboost;
use indicators::{Indicator, Kind};
use macula::feature_set::Sources;
use macula::request::{self, ApplyForm, BodyForm};
use threat_lists::{List, ListKind};

/// An entry by its name; there is a fuzz target and a folder of the corpus for each.
pub(crate) type Entry = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const ENTRIES: [Entry; 10] = [
    ("indicator", indicator),
    ("score_query", score_query),
    ("score_body", score_body),
    ("score_lines", score_lines),
    ("apply", apply),
    ("list", list),
    ("trees_json", trees_json),
    ("trees_ubjson", trees_ubjson),
    ("dga_query", dga_query),
    ("dga_batch", dga_batch),
];

/// An indicator's normal form is understood as the same thing again, unless escapes have made it too long.
pub(crate) fn indicator(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(parsed) = text.parse::<Indicator>() {
        let normal = parsed.to_string();
        let again = normal.parse::<Indicator>();
        if normal.len() <= indicators::MAX_BYTES {
            assert_eq!(again.as_ref(), Ok(&parsed), "{text:?} became {normal:?}");
        }
    }
    for kind in Kind::ALL {
        let _ = Indicator::parse_as(&text, kind);
    }
}

/// A query string never carries more items than it may.
pub(crate) fn score_query(data: &[u8]) {
    if let Ok(request) = request::score_query(&String::from_utf8_lossy(data), &Sources::default()) {
        assert!(!request.items.is_empty() && request.items.len() <= request::MAX_QUERY_ITEMS);
    }
}

/// A JSON body.
pub(crate) fn score_body(data: &[u8]) {
    if let Ok(request) = request::score_body("", data, BodyForm::Json, &Sources::default()) {
        assert!(!request.items.is_empty() && request.items.len() <= request::MAX_BODY_ITEMS);
    }
}

/// A body of lines has an item for each line that holds something.
pub(crate) fn score_lines(data: &[u8]) {
    if let Ok(request) = request::score_body("", data, BodyForm::Lines, &Sources::default()) {
        let lines = data.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.trim_ascii().is_empty()).count();
        assert_eq!(request.items.len(), lines);
    }
}

/// `/apply` in all its forms.
pub(crate) fn apply(data: &[u8]) {
    let _ = request::apply_query(&String::from_utf8_lossy(data), &Sources::default());
    let _ = request::apply_body("", data, ApplyForm::Form, &Sources::default());
    let _ = request::apply_body("", data, ApplyForm::Json, &Sources::default());
}

/// A list finds what it lists.
pub(crate) fn list(data: &[u8]) {
    let kinds = [
        ListKind::Whitelist,
        ListKind::Blacklist,
        ListKind::Darklist,
        ListKind::Feed,
    ];
    for kind in kinds {
        let list = List::parse(kind, "any", data);
        for line in data.split(|byte| *byte == b'\n') {
            if let Ok(indicator) = String::from_utf8_lossy(line).parse::<Indicator>() {
                let _ = list.find(&indicator);
            }
        }
    }
}

/// A model in XGBoost's JSON.
pub(crate) fn trees_json(data: &[u8]) {
    trees(xgboost::from_json(data).ok());
}

/// A model in XGBoost's UBJSON.
pub(crate) fn trees_ubjson(data: &[u8]) {
    trees(xgboost::from_ubjson(data).ok());
}

/// A model that was read predicts something, for a row of missing values as for one of numbers.
fn trees(model: Option<boosted_trees::Model>) {
    let Some(model) = model.filter(|model| model.features() <= 4096) else {
        return;
    };
    let predictor = Predictor::new(&model);
    for value in [f32::NAN, 0.0, f32::MAX] {
        let _ = predictor.margin(&vec![value; model.features()]);
    }
}

/// The detector's query string.
pub(crate) fn dga_query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = dga::request::ApplyQuery::parse(&text);
    let _ = dga::request::explain_of_batch(&text);
    let _ = dga::name::Name::parse(&text);
}

/// The detector's body.
pub(crate) fn dga_batch(data: &[u8]) {
    if let Ok((_, items)) = dga::request::batch(data) {
        assert!(!items.is_empty() && items.len() <= dga::request::MAX_ITEMS);
    }
}
