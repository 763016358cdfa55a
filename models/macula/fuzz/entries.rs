//! What is fuzzed: an entry for each parser of what others send. None may panic, and what is understood has to stay what it is.
//!
//! libFuzzer calls these by `cargo +nightly fuzz run`, the ordinary tests over the corpus and random changes to it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;

use boosted_trees::{Explainer, Predictor, xgboost};
use dga::detector::Detector;
use dga::model_files::ModelFiles;
use futures_util::FutureExt;
use gatherers::{
    Config, Mapping, Pap, Question, Reading, SafeBrowsing, Selection, Source as _, Span, Tlp,
    Value, parsers, shipped_features,
};
use indicator_model::{Bundle, IndicatorModel};
use indicator_training::labelled;
use indicator_training::rows::Row;
use indicators::{Indicator, Kind};
use jiff::Timestamp;
use macula::feature_set::Sources;
use macula::request::{self, ApplyForm, BodyForm};
use threat_lists::{Checksums, List, ListKind, Schedule};

/// An entry by its name; there is a fuzz target and a folder of the corpus for each.
pub(crate) type Entry = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const ENTRIES: [Entry; 31] = [
    ("indicator", indicator),
    ("score_query", score_query),
    ("score_body", score_body),
    ("score_lines", score_lines),
    ("apply", apply),
    ("list", list),
    ("list_csv", list_csv),
    ("list_json", list_json),
    ("stix_pattern", stix_pattern),
    ("list_checksums", list_checksums),
    ("schedule", schedule),
    ("retry_after", retry_after),
    ("gatherer_settings", gatherer_settings),
    ("mapping", mapping),
    ("answer", answer),
    ("stored_answer", stored_answer),
    ("words", words),
    ("safe_browsing", safe_browsing),
    ("geo_file", geo_file),
    ("dns_reply", dns_reply),
    ("labelled", labelled),
    ("gathered", gathered),
    ("model_manifest", model_manifest),
    ("trees_json", trees_json),
    ("trees_ubjson", trees_ubjson),
    ("dga_query", dga_query),
    ("dga_batch", dga_batch),
    ("dga_lists", dga_lists),
    ("dga_manifest", dga_manifest),
    ("dga_tables", dga_tables),
    ("dga_model", dga_model),
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

const KINDS: [ListKind; 4] = [
    ListKind::Whitelist,
    ListKind::Blacklist,
    ListKind::Darklist,
    ListKind::Feed,
];

/// A list finds what it lists.
pub(crate) fn list(data: &[u8]) {
    for kind in KINDS {
        look_up(&List::parse(kind, "any", data), data);
    }
}

/// A list in CSV.
pub(crate) fn list_csv(data: &[u8]) {
    list_as("csv", data);
}

/// A MISP warninglist, or a STIX bundle.
pub(crate) fn list_json(data: &[u8]) {
    list_as("json", data);
}

/// A pattern of STIX, in a bundle of one indicator.
pub(crate) fn stix_pattern(data: &[u8]) {
    let pattern = String::from_utf8_lossy(data);
    let indicator = serde_json::json!({
        "type": "indicator", "pattern_type": "stix", "pattern": pattern, "valid_from": "2026-01-01T00:00:00Z",
    });
    let bundle = serde_json::json!({"type": "bundle", "objects": [indicator]}).to_string();
    list_as("json", bundle.as_bytes());
}

/// Checksums of lists name at most as many files as there are lines.
pub(crate) fn list_checksums(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(checksums) = text.parse::<Checksums>() {
        assert!(checksums.len() <= text.lines().count());
    }
}

/// The length says which kind it is: one for each would take four times as long.
fn list_as(extension: &str, data: &[u8]) {
    let kind = KINDS[data.len() % KINDS.len()];
    if let Ok(list) = List::parse_as(kind, "any", extension, data) {
        look_up(&list, data);
    }
}

/// What stands in the text of a list is looked up in it.
fn look_up(list: &List, data: &[u8]) {
    let pieces = data.split(|byte| b"\n\"',".contains(byte));
    for piece in pieces.take(100) {
        if let Ok(indicator) = String::from_utf8_lossy(piece).parse::<Indicator>() {
            let _ = list.find(&indicator);
        }
    }
}

/// What is due at a cron expression is still to come.
pub(crate) fn schedule(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(schedule) = Schedule::new(|_| Some(text.clone().into_owned())) {
        for now in ["2026-11-20T03:30:00Z", "2028-02-29T23:59:59Z"] {
            let now = now.parse::<Timestamp>().expect("a time");
            let wait = schedule.wait(now);
            assert!(
                wait.is_none_or(|wait| !wait.is_zero()),
                "{text:?}: {wait:?}"
            );
        }
    }
}

/// A date is as far away as it says, however it is written, and one that is over is no wait.
pub(crate) fn retry_after(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let [now, later] = [0, 3600].map(|second| Timestamp::from_second(second).expect("a time"));
    let waits = [now, later].map(|now| parsers::rest(&text, now));
    if let [Some(wait), Some(later)] = waits {
        assert!(later <= wait, "{text:?}: {wait:?}, {later:?}");
    }
    assert_eq!(waits[0].is_some(), waits[1].is_some(), "{text:?}");
}

/// The settings of the gatherers.
pub(crate) fn gatherer_settings(data: &[u8]) {
    let _ = Config::parse(&String::from_utf8_lossy(data));
}

/// Now, in answers.
const NOW: Timestamp = Timestamp::constant(1_768_089_600, 0);

/// The mappings that come along.
static MAPPINGS: LazyLock<Vec<Mapping>> = LazyLock::new(|| {
    let texts = Mapping::shipped_names().filter_map(Mapping::shipped);
    let mappings = texts.map(|text| Mapping::parse(text).expect("a shipped mapping is one"));
    mappings.collect()
});

/// A mapping, which reads whatever a service may say.
pub(crate) fn mapping(data: &[u8]) {
    const SAID: [&str; 3] = [
        r#"{"a": [{"b": 1, "c": "x"}, {"b": "2026-01-01"}], "d": null, "e": {"": true}}"#,
        "[[1, 2], \"\", -1e300, 1e300]",
        "{\"rrname\": \"a.test.\", \"time_last\": 1768000000}",
    ];
    if let Ok(mapping) = Mapping::parse(&String::from_utf8_lossy(data)) {
        assert!(!mapping.name.is_empty());
        for body in SAID {
            read_answer(&mapping, body.as_bytes());
        }
    }
}

/// An answer of each of the services that come along.
pub(crate) fn answer(data: &[u8]) {
    for mapping in &*MAPPINGS {
        read_answer(mapping, data);
    }
}

/// Every reading is of the type that was promised, and every number is one.
fn read_answer(mapping: &Mapping, body: &[u8]) {
    for (promised, reading) in parsers::readings(mapping, body, NOW) {
        if let Reading::Value(value) = reading {
            assert_eq!(value.value_type(), promised, "{value:?}");
            assert!(!matches!(value, Value::Number(number) if !number.is_finite()));
        }
    }
    let from = Timestamp::constant(1_767_000_000, 0);
    let names = parsers::names(mapping, body, 5, from);
    assert!(names.len() <= 5 && names.iter().all(|name| name.last_seen >= from));
}

/// An answer that was remembered is remembered as it was.
pub(crate) fn stored_answer(data: &[u8]) {
    if let Some(again) = parsers::stored_answer(data) {
        assert_eq!(parsers::stored_answer(&again), Some(again));
    }
}

/// Single words of options and settings.
pub(crate) fn words(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = (
        text.parse::<Tlp>(),
        text.parse::<Pap>(),
        text.parse::<Kind>(),
    );
    if let Ok(span) = text.parse::<Span>() {
        let again = span.to_string().parse::<Span>();
        assert_eq!(again.as_ref(), Ok(&span), "{text:?} became {span}");
    }
    let features = shipped_features();
    let _ = Selection::parse(Some(&text), Some(&text), &features);
    if let Ok(set) = Sources::default().parse(&text) {
        let names = set.names().join(",");
        let again = Sources::default().parse(if names.is_empty() { "none" } else { &names });
        assert_eq!(again.as_ref(), Ok(&set), "{text:?}");
    }
}

/// A list of Safe Browsing has at most as many entries as lines. The last line is looked up in the list of the others.
pub(crate) fn safe_browsing(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (lines, last) = text.rsplit_once('\n').unwrap_or((&text, &text));
    let list = SafeBrowsing::parse(lines);
    if let Ok(list) = &list {
        assert!(list.len() <= lines.lines().count());
    }
    let none = || SafeBrowsing::parse("").expect("a list may be empty");
    let list = list.unwrap_or_else(|_| none());
    if let Ok(indicator) = last.parse() {
        let question = Question::Features(indicator);
        if let Some(subject) = list.subject(&question) {
            let asked = list.ask(&question, &subject, NOW).now_or_never();
            assert!(asked.is_some_and(|exchange| exchange.result.is_ok()));
        }
    }
}

/// A geolocation file.
pub(crate) fn geo_file(data: &[u8]) {
    let geo = MAPPINGS.iter().find(|mapping| mapping.name == "geo");
    let geo = geo.expect("it comes along");
    for ip in ["8.8.0.1", "1.2.3.4", "2001:db8::1"] {
        let ip: IpAddr = ip.parse().expect("an address");
        let _ = parsers::geo_file(geo, data.to_vec(), ip, NOW);
    }
}

/// A packet of a name server sends us down, if anywhere.
pub(crate) fn dns_reply(data: &[u8]) {
    let reply = parsers::name_server_reply(data, "www.example.com", "example.com");
    if let Some((_, Some(below))) = reply {
        assert!(below.to_lowercase().ends_with(".example.com."), "{below}");
    }
}

/// A labelled set has each indicator once.
pub(crate) fn labelled(data: &[u8]) {
    if let Ok(labelled) = labelled::parse(&String::from_utf8_lossy(data), "family") {
        let mut seen = std::collections::HashSet::new();
        assert!(labelled.iter().all(|one| seen.insert(&one.indicator)));
    }
}

/// The trees of a small model, over the columns `lexical_length`, `dns_alias`, `geo_country=NL` and `geo_country=DE`.
const TREES: &[u8] = include_bytes!("trees.json");

/// A manifest that goes with these trees.
const MANIFEST: &[u8] = include_bytes!("corpus/model_manifest/00");

/// Whatever was gathered, a model says something of it that adds up.
pub(crate) fn gathered(data: &[u8]) {
    static MODEL: LazyLock<IndicatorModel> = LazyLock::new(|| {
        let bundle = Bundle::of_files(MANIFEST.to_vec(), TREES.to_vec());
        IndicatorModel::load(bundle).expect("a good model")
    });
    if let Ok(mut row) = serde_json::from_slice::<Row>(data) {
        judge(&MODEL, &row);
        row.enrich(&std::collections::HashSet::new());
        judge(&MODEL, &row);
        assert!(row.fold(5) < 5);
    }
}

fn judge(model: &IndicatorModel, row: &Row) {
    let readings = model.readings(&row.gathered);
    let score = model.score(&readings);
    assert!(
        (score.malicious + score.benign - 1.0).abs() < 1e-6,
        "{score:?}"
    );
    assert!((0.0..=100.0).contains(&score.rescaled), "{score:?}");
    assert!((0.0..=1.0).contains(&score.coverage), "{score:?}");
    let explanation = model.explain(&readings);
    let sum: f64 = explanation
        .contributions
        .iter()
        .map(|one| one.contribution)
        .sum();
    let margin = explanation.base + sum;
    assert!(
        (margin - explanation.margin).abs() < 1e-4,
        "{explanation:?}"
    );
}

/// A manifest that is taken makes a model that says something of what is not known at all.
pub(crate) fn model_manifest(data: &[u8]) {
    let bundle = Bundle::of_files(data.to_vec(), TREES.to_vec());
    if let Ok(model) = IndicatorModel::load(bundle) {
        let row =
            br#"{"label": "benign", "indicator": "a.test", "type": "domain", "features": []}"#;
        let row: Row = serde_json::from_slice(row).expect("a row");
        judge(&model, &row);
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
    let (predictor, explainer) = (Predictor::new(&model), Explainer::new(&model));
    for value in [f32::NAN, 0.0, f32::MAX] {
        let row = vec![value; model.features()];
        let _ = predictor.margin(&row);
        assert_eq!(explainer.explain(&row).values.len(), row.len());
    }
}

/// The detector's query string.
pub(crate) fn dga_query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = dga::request::ApplyQuery::parse(&text);
    let _ = dga::request::explain_of_batch(&text);
    let _ = dga::name::Name::parse(&text);
}

/// The detector's lists: names of known seeds, and names to learn from.
pub(crate) fn dga_lists(data: &[u8]) {
    let path = Path::new("any");
    let text = String::from_utf8_lossy(data);
    if let Ok(list) = dga::prediction_list::PredictionLists::parse(path, &text) {
        assert!(list.len() <= text.lines().count());
    }
    if let Ok(list) = dga::corpus::List::parse(path, data.to_vec()) {
        assert!(
            list.labels
                .iter()
                .all(|label| !label.is_empty() && label.is_ascii())
        );
    }
}

/// The manifest of a model of the detector.
pub(crate) fn dga_manifest(data: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<dga::model_files::Manifest>(data) {
        let _ = manifest.id();
        let score = manifest.calibration.score(0.5);
        assert!((0.0..=100.0).contains(&score), "{score}");
    }
}

/// The tables of the detector are written as short as they can be.
pub(crate) fn dga_tables(data: &[u8]) {
    if let Ok(tables) = dga::ngrams::Tables::from_bytes(data) {
        assert!(tables.to_bytes().len() <= data.len());
    }
}

/// A manifest that goes with the trees and tables that come along is of a detector that judges.
pub(crate) fn dga_model(data: &[u8]) {
    let trees = include_bytes!("../../dga/model/trees.ubj").to_vec();
    let tables = include_bytes!("../../dga/model/ngrams.bin").to_vec();
    if let Ok(detector) = Detector::new(&ModelFiles::of_files(data.to_vec(), trees, tables)) {
        let score = detector.judge("xk3j9q2vz8w1m.com").score;
        assert!((0.0..=100.0).contains(&score), "{score}");
    }
}

/// The detector's body.
pub(crate) fn dga_batch(data: &[u8]) {
    if let Ok((_, items)) = dga::request::batch(data) {
        assert!(!items.is_empty() && items.len() <= dga::request::MAX_ITEMS);
    }
}
