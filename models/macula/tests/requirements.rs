//! What was asked of the scorer, one test for each requirement that concerns the service; each is named after its ticket or goal.
//! Those about gatherers and models stand with them.

#[path = "running/server.rs"]
mod running;

use std::sync::Arc;

use indicators::Indicator;
use jiff::ToSpan;
use jiff::civil::date;
use macula::CacheSettings;
use macula::feature_set::Sources;
use macula::judgement::Policy;
use macula::options::Options;
use macula::request::{BodyForm, score_body, score_query};
use macula::scorer::{Scorer, Snapshot};
use proptest::prelude::*;
use running::{Server, lists};
use serde_json::{Value, json};
use threat_lists::{Library, ListKind, Lists, Settings};

fn scorer(lists: Lists) -> Scorer {
    Scorer::new(lists, Policy::default(), CacheSettings::default())
}

#[test]
fn op_2526_a_flag_says_whether_the_cache_may_answer() {
    let scorer = scorer(lists(&[]));
    let indicator: Indicator = "evil.test".parse().expect("a name");
    let day = date(2026, 11, 21);
    // What is known of the name changes, and nothing of which the cache could tell that it has.
    let known = |weight: &str| {
        let entry = format!("evil.test,{weight}");
        Arc::new(Snapshot {
            lists: Arc::new(lists(&[(ListKind::Feed, "feed", &entry)])),
            epoch: 0,
            since: jiff::Timestamp::UNIX_EPOCH,
        })
    };
    let (light, heavy, heaviest) = (known("0.2"), known("0.6"), known("1"));
    let score = |use_cache, snapshot: &Arc<Snapshot>, day| {
        let options = Options {
            use_cache,
            ..Options::default()
        };
        let mut prepared = scorer.prepared();
        prepared.snapshot = Arc::clone(snapshot);
        prepared.day = day;
        let (judged, cached) = scorer.score(&prepared, &indicator, &options);
        (judged.judgement.score, cached)
    };
    assert_eq!(score(true, &light, day), (59.8, false));
    // With the cache the score is the old one, without it the new one.
    assert_eq!(score(true, &heavy, day), (59.8, true));
    assert_eq!(score(false, &heavy, day), (79.4, false));
    // Not reading the cache is not the same as not writing it: the next caller has the newest score.
    assert_eq!(score(true, &heaviest, day), (79.4, true));
    let tomorrow = day.saturating_add(1.day());
    let next_day = score(true, &heaviest, tomorrow);
    assert_eq!(next_day, (99.0, false), "reports age by days");
}

#[test]
fn what_is_over_gives_way_to_a_wider_entry_that_still_counts() {
    let feed = "a.evil.test,0.9,,2020-01-01\nevil.test,0.5\nb.old.test,0.9,,2020-01-02\nold.test,0.5,,2020-01-01";
    let scorer = scorer(lists(&[(ListKind::Feed, "feed", feed)]));
    let judged = |name: &str| {
        let indicator: Indicator = name.parse().expect("a name");
        scorer
            .score(&scorer.prepared(), &indicator, &Options::default())
            .0
    };
    assert_eq!(judged("a.evil.test").judgement.score, 74.5);
    let over = judged("b.old.test");
    let entry = &over.judgement.evidence[0];
    assert_eq!((over.judgement.score, &*entry.entry), (50.0, "b.old.test"));
}

#[tokio::test]
async fn what_is_valid_until_a_day_counts_until_that_day() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bundle = |name: &str| {
        format!(
            r#"{{"type": "bundle", "objects": [{{"type": "indicator", "valid_until": "2999-01-01T00:00:00Z",
                "pattern": "[domain-name:value = '{name}']"}}]}}"#
        )
    };
    for (file, name) in [
        ("blacklist.json", "evil.test"),
        ("whitelist.json", "good.test"),
    ] {
        std::fs::write(folder.path().join(file), bundle(name)).expect("it is written");
    }
    let place = folder.path().to_str().expect("a path of text");
    let library = Library::open(place, Settings::default()).await;
    let settings = CacheSettings::default();
    let scorer = Scorer::new(
        library.expect("good lists").current(),
        Policy::default(),
        settings,
    );
    let score = |name: &str, day| {
        let indicator: Indicator = name.parse().expect("a name");
        let mut prepared = scorer.prepared();
        prepared.day = day;
        let (judged, _) = scorer.score(&prepared, &indicator, &Options::default());
        let entry = &judged.judgement.evidence[0];
        (judged.judgement.score, entry.counted, entry.expires)
    };
    let (last, over) = (date(2998, 12, 31), date(2999, 1, 1));
    for (name, expected) in [("evil.test", 100.0), ("good.test", 0.0)] {
        assert_eq!(score(name, last), (expected, Some(true), Some(over)));
        assert_eq!(score(name, over), (50.0, Some(false), Some(over)));
    }
}

#[test]
fn op_2526_a_changed_list_is_never_hidden_by_the_cache() {
    let server = Server::with(lists(&[(ListKind::Blacklist, "black", "old.test")]));
    let score = |options: &str| {
        let answer = server.get(&format!("/api/score?indicators=old.test{options}"));
        (
            answer["old.test"]["rescaled"].clone(),
            answer["old.test"]["meta"]["cached"] == true,
        )
    };
    assert_eq!(score(""), (json!(100.0), false));
    assert_eq!(score(""), (json!(100.0), true));
    assert_eq!(score("&useCache=false"), (json!(100.0), false));
    let edited = lists(&[(ListKind::Blacklist, "black", "new.test")]);
    server.scorer.replace_lists(edited);
    assert_eq!(score(""), (json!(50.0), false));
    assert_eq!(score("&useCache=false"), (json!(50.0), false));
}

#[test]
fn op_2526_what_one_caller_switches_off_does_not_reach_another() {
    let server = Server::start();
    let score = |options: &str| {
        server.get(&format!("/api/score?indicators=good.test{options}"))["good.test"]["rescaled"]
            .clone()
    };
    assert_eq!(score("&useWhitelist=false"), 50.0);
    assert_eq!(score(""), 0.0);
    assert_eq!(score("&useRule=false"), 50.0);
    assert_eq!(score(""), 0.0);
    // What only adds to an answer finds the score that is there, and still adds.
    let explained = server.get("/api/score?indicators=good.test&explain=true&summary=true");
    let meta = &explained["good.test"]["meta"];
    assert_eq!(meta["cached"], true);
    assert!(
        meta["explanation"].is_object() && meta["summary"].is_object(),
        "{meta}"
    );
}

#[test]
fn op_2527_a_caller_chooses_a_feature_set_and_is_told_what_was_used() {
    let server = Server::start();
    let used = |options: &str| {
        let answer = server.get(&format!("/api/score?indicators=a.test{options}"));
        answer["a.test"]["meta"]["features"].clone()
    };
    assert_eq!(used(""), Value::Null);
    assert_eq!(used("&features=geo,whois"), json!(["whoisxml", "geo"]));
    assert_eq!(used("&features=geo,whois&exclude=geo"), json!(["whoisxml"]));
    assert_eq!(used("&features=none"), json!([]));
    let rest = Sources::default().parse("censys").expect("known").others();
    assert_eq!(used("&exclude=censys"), json!(rest.names()));
    server.refused(
        "GET",
        "/api/score?indicators=a.test&features=gep",
        b"",
        (400, "invalid_parameter"),
    );
}

fn source_names() -> Vec<String> {
    let sources = Sources::default();
    sources.names().into_iter().map(str::to_owned).collect()
}

/// Names, addresses and so on of lists and of nowhere.
fn any_indicator() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("evil.test".to_owned()),
        Just("good.test".to_owned()),
        Just("http://good.test/bad".to_owned()),
        "[a-z]{1,8}\\.test",
        "192\\.0\\.2\\.[1-9]",
        "[0-9a-f]{32}",
        ".{0,12}",
    ]
}

fn some_lists(weights: &[f64]) -> Lists {
    let feeds: Vec<String> = weights
        .iter()
        .map(|weight| format!("http://good.test/bad,{weight}\n192.0.2.0/24,{weight}"))
        .collect();
    let mut all = vec![
        (ListKind::Whitelist, "white", "good.test"),
        (ListKind::Blacklist, "black", "evil.test"),
    ];
    all.extend(
        feeds
            .iter()
            .map(|text| (ListKind::Feed, "feed", text.as_str())),
    );
    lists(&all)
}

proptest! {
    #[test]
    fn op_2677_no_choice_of_features_breaks_a_score(
        chosen in prop::sample::subsequence(source_names(), 0..8),
        excluded in prop::sample::subsequence(source_names(), 0..8),
        indicator in "[a-z]{1,8}\\.test",
    ) {
        let join = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(",") };
        let query = format!(
            "indicators={indicator}&features={}&exclude={}", join(&chosen), join(&excluded)
        );
        let request = score_query(&query, &Sources::default()).expect("a good query");
        let scorer = scorer(lists(&[]));
        let answers = serde_json::to_value(scorer.answer(&request, &scorer.prepared())).expect("JSON");
        let answer = &answers[&indicator];
        prop_assert_eq!(&answer["meta"]["success"], &json!(true));
        prop_assert_eq!(&answer["rescaled"], &json!(50.0));
        let used = answer["meta"]["features"].as_array().expect("they were chosen");
        prop_assert!(used.iter().all(|name| !excluded.iter().any(|one| name == one)));
    }

    #[test]
    fn class_scores_make_one_and_go_with_the_rescaled_score(
        indicators in prop::collection::vec(any_indicator(), 1..6),
        weights in prop::collection::vec(0.001..=1.0f64, 0..4),
    ) {
        let body = serde_json::to_vec(&indicators).expect("strings are JSON");
        let request = score_body("explain=1", &body, BodyForm::Json, &Sources::default()).expect("a good body");
        let scorer = scorer(some_lists(&weights));
        let answers = serde_json::to_value(scorer.answer(&request, &scorer.prepared())).expect("JSON");
        for indicator in &indicators {
            let answer = &answers[indicator.as_str()];
            let number = |value: &Value| value.as_f64();
            let (benign, malicious) = (number(&answer["benign"]), number(&answer["malicious"]));
            let Some(rescaled) = number(&answer["rescaled"]) else {
                prop_assert_eq!((benign, malicious), (None, None));
                prop_assert!(answer["meta"]["error"]["code"].is_string());
                continue;
            };
            let (benign, malicious) = (benign.expect("a number"), malicious.expect("a number"));
            prop_assert!((benign + malicious - 1.0).abs() < 1e-6);
            prop_assert!((malicious * 100.0 - rescaled).abs() < 1e-6);
            prop_assert!((0.0..=100.0).contains(&rescaled));
            let explanation = &answer["meta"]["explanation"];
            let items = explanation["items"].as_array().expect("it was asked for");
            let points: f64 = items.iter().filter_map(|item| number(&item["contribution"])).sum();
            let base = number(&explanation["base"]).expect("a number");
            prop_assert!((base + points - rescaled).abs() < 0.01, "{}", answer);
        }
    }

    #[test]
    fn one_bad_item_never_loses_a_batch(
        good in prop::collection::hash_set("[a-z]{1,8}\\.test", 1..5),
        bad in prop::collection::vec(prop_oneof![
            Just(json!(null)), Just(json!(7)), Just(json!([])), Just(json!({ "x": 1 })), Just(json!("no such thing")),
        ], 0..5),
    ) {
        let mut items: Vec<Value> = good.iter().map(|name| json!(name)).collect();
        items.splice(0..0, bad);
        let body = serde_json::to_vec(&items).expect("JSON");
        let request = score_body("", &body, BodyForm::Json, &Sources::default()).expect("a good body");
        let scorer = scorer(lists(&[]));
        let answers = serde_json::to_value(scorer.answer(&request, &scorer.prepared())).expect("JSON");
        for name in &good {
            prop_assert_eq!(&answers[name]["meta"]["success"], &json!(true));
        }
    }
}
