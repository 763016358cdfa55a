//! A model made by the commands, and what it does to answers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

#[path = "running/server.rs"]
mod running;
#[path = "running/training.rs"]
mod training;

use std::fs;
use std::process::Command;
use std::sync::Arc;

use gatherers::{Category, Clock, Config, Feature, Gathered, Gatherers, OVERRIDE};
use indicator_model::LiveModel;
use indicator_training::lexical::{LexicalSource, readings};
use macula::CacheSettings;
use macula::admin::Admin;
use macula::analyst::Analyst;
use macula::judgement::Policy;
use macula::scorer::Scorer;
use macula::server::router;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use running::{Serving, ask, lists};
use serde_json::{Value, json};
use tempfile::TempDir;
use threat_lists::{Library, ListKind, Settings};
use tokio::runtime::Runtime;
use training::train;

/// Macula with a model that was made here.
struct Site {
    folder: TempDir,
    model: Arc<LiveModel>,
    public: Serving,
    admin: Serving,
    _runtime: Runtime,
}

impl Site {
    fn start() -> Site {
        let folder = TempDir::new().unwrap();
        train(folder.path(), "1", "40");
        let runtime = Runtime::new().unwrap();
        let sources = Arc::new(LexicalSource);
        let config = Config::default();
        let gatherers = Gatherers::start(&config, vec![sources], Clock::system());
        let gatherers = Arc::new(runtime.block_on(gatherers).unwrap());
        let [names, archive] = ["names", "archive"].map(|name| folder.path().join(name));
        let model = Arc::new(LiveModel::open(names, Some(archive), Clock::system()).unwrap());
        let analyst = Arc::new(Analyst::new(gatherers, vec![Arc::clone(&model)]));
        let lists = lists(&[
            (ListKind::Blacklist, "black", "blackwinter.com"),
            (ListKind::Feed, "feed", "greenriver.com,0.5"),
        ]);
        let scorer = Scorer::new(lists, Policy::default(), CacheSettings::default());
        let scorer = Arc::new(scorer.with_analyst(analyst));
        fs::create_dir(folder.path().join("lists")).unwrap();
        fs::write(folder.path().join("lists/blacklist.txt"), "a.test").unwrap();
        let place = folder.path().join("lists").to_str().unwrap().to_owned();
        let library = runtime.block_on(Library::open(&place, Settings::default()));
        let admin = Admin::new(Arc::clone(&scorer), Arc::new(library.unwrap()), None);
        Site {
            public: Serving::start(router(scorer)),
            admin: Serving::start(admin.router()),
            folder,
            model,
            _runtime: runtime,
        }
    }

    fn get(&self, path: &str) -> Value {
        ask(self.public.address, "GET", path, &[], b"").json()
    }

    fn score(&self, name: &str, options: &str) -> Value {
        self.get(&format!("/api/score?indicators={name}{options}"))[name].clone()
    }
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_model_scores_what_no_list_decides_and_says_why() {
    let site = Site::start();
    let (good, bad) = (
        site.score("silverhouse.com", ""),
        site.score("xk3j9q2vz8w1m.com", ""),
    );
    assert_eq!(good["meta"]["source"], "model");
    assert!(
        number(&good["rescaled"]) < 50.0 && number(&bad["rescaled"]) > 50.0,
        "{good} {bad}"
    );
    for answer in [&good, &bad] {
        let sum = number(&answer["benign"]) + number(&answer["malicious"]);
        assert!((sum - 1.0).abs() < 1e-6, "{answer}");
        assert_eq!(answer["malicious"], answer["meta"]["model"]["malicious"]);
    }
    // A URL and a mail address are judged by their host.
    let url = site.score("http://xk3j9q2vz8w1m.com/a", "");
    assert_eq!(url["rescaled"], bad["rescaled"]);

    let explained = site.score(
        "xk3j9q2vz8w1m.com",
        "&explain=true&explain_items=2&summary=true",
    );
    let reasons = &explained["meta"]["explanation"]["model"];
    let features = reasons["features"].as_array().unwrap();
    assert_eq!(features.len(), 2);
    let listed: f64 = features
        .iter()
        .map(|one| number(&one["contribution"]))
        .sum();
    let rest = reasons["rest"]["contribution"].as_f64().unwrap_or_default();
    let margin = number(&reasons["base"]) + listed + rest;
    assert!(
        (margin - number(&reasons["margin"])).abs() < 1e-4,
        "{reasons}"
    );
    let summary = &explained["meta"]["summary"];
    assert!(number(&summary["lexical"]["share"]) > 99.0, "{summary}");
    // Lists that say nothing have no score of the model's.
    assert_eq!(
        summary["lists"],
        json!({"score": 50.0, "share": 0.0, "missing": true})
    );
    let flat = site.get("/apply?host=xk3j9q2vz8w1m.com");
    assert_eq!(flat["source"], "model");
    assert!(
        flat["top_feature"]
            .as_str()
            .unwrap()
            .starts_with("lexical_"),
        "{flat}"
    );
}

#[test]
fn lists_decide_before_a_model_is_asked_and_feeds_raise_what_it_says() {
    let site = Site::start();
    let black = site.score("blackwinter.com", "");
    assert_eq!(
        (&black["rescaled"], &black["meta"]["model"]),
        (&json!(100.0), &Value::Null)
    );
    let raised = site.score("greenriver.com", "");
    let plain = site.score("greenriver.com", "&useRule=false");
    assert_eq!(
        (&raised["meta"]["source"], &plain["meta"]["source"]),
        (&json!("feed"), &json!("model"))
    );
    let expected = number(&plain["rescaled"]) + (99.0 - number(&plain["rescaled"])) * 0.5;
    assert!(
        (number(&raised["rescaled"]) - expected).abs() < 0.02,
        "{raised} {plain}"
    );
}

/// OP-2527, and verdict `unknown` where a model knows too little.
#[test]
fn op_2527_without_its_features_a_model_has_no_opinion_that_counts() {
    let site = Site::start();
    let blind = site.score("xk3j9q2vz8w1m.com", "&features=none");
    assert_eq!(
        (
            &blind["rescaled"],
            &blind["meta"]["verdict"],
            &blind["meta"]["model"]["covered"]
        ),
        (&json!(50.0), &json!("unknown"), &json!(false))
    );
    let excluded = site.score("xk3j9q2vz8w1m.com", "&exclude=lexical");
    assert_eq!(excluded["meta"]["model"]["coverage"], 0.0);
    assert_eq!(
        number(&site.score("xk3j9q2vz8w1m.com", "&features=lexical")["meta"]["model"]["coverage"]),
        1.0
    );
}

#[test]
fn op_2677_by_any_part_of_its_features_a_score_is_the_models_own_with_the_others_missing() {
    let site = Site::start();
    let model = site.model.current();
    let name = "xk3j9q2vz8w1m.com";
    let feature = |(name, reading)| Feature {
        name,
        category: Category::Lexical,
        reading,
        gatherer: OVERRIDE.into(),
        fetched_at: None,
        from_cache: false,
    };
    let features: Vec<Feature> = readings(name).into_iter().map(feature).collect();
    let some = prop::sample::subsequence(features.clone(), 0..=features.len());
    let mut runner = TestRunner::new(Cases::with_cases(100));
    let checked = runner.run(&some, |features| {
        let values = features.iter().filter_map(|feature| {
            let value = serde_json::to_value(feature.reading.value()?).unwrap();
            Some((feature.name.to_string(), value))
        });
        let overrides: serde_json::Map<String, Value> = values.collect();
        let body = json!({"indicators": [name], "options": {"overrides": overrides}}).to_string();
        let path = "/api/score?features=none";
        let reply = ask(site.public.address, "POST", path, &[], body.as_bytes());
        let answer = &reply.json()[name];
        let expected = model.score(&model.readings(&Gathered {
            indicator: name.into(),
            kind: "domain".into(),
            features,
        }));
        let told = &answer["meta"]["model"];
        prop_assert_eq!(&answer["meta"]["success"], true);
        prop_assert_eq!(&told["malicious"], expected.malicious);
        prop_assert_eq!(&told["coverage"], expected.coverage);
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn what_a_caller_supposes_moves_the_model_and_reaches_nobody_else() {
    let site = Site::start();
    let name = "silverhouse.com";
    let known = site.score(name, "");
    let ask = |overrides: Value| {
        let options = json!({"overrides": overrides, "offline": true});
        let body = json!({"indicators": [name], "options": options}).to_string();
        let reply = ask(
            site.public.address,
            "POST",
            "/api/score",
            &[],
            body.as_bytes(),
        );
        (reply.status, reply.json())
    };
    let overrides = json!({
        "lexical_covered": 0.0, "lexical_digit_share": 0.6, "lexical_entropy": 4.2, "lexical_fives": 0.0,
        "lexical_long_flow": -14.0, "lexical_pairs": 1.0, "lexical_short_flow": -14.0, "lexical_switches": 8.0,
        "lexical_triples": 0.0,
    });
    let (status, supposed) = ask(overrides.clone());
    let supposed = &supposed[name];
    assert_eq!(status, 200, "{supposed}");
    assert!(
        number(&supposed["malicious"]) > number(&known["malicious"]),
        "{supposed} {known}"
    );
    assert_eq!(
        (&supposed["meta"]["overrides"], &supposed["meta"]["cached"]),
        (&overrides, &Value::Null)
    );
    assert_eq!(site.score(name, "")["rescaled"], known["rescaled"]);
    assert_eq!(ask(overrides).1[name]["meta"]["cached"], Value::Null);
    let (status, refused) = ask(json!({"lexical_entrophy": 4.2}));
    let message = refused["error"]["message"].as_str().unwrap();
    assert_eq!(status, 400);
    assert!(
        message.contains("did you mean `lexical_entropy`"),
        "{message}"
    );
}

#[test]
fn of_a_large_batch_so_many_are_explained_and_the_others_say_so() {
    let site = Site::start();
    let names: Vec<String> = (0..520).map(|at| format!("greenstone{at}.com")).collect();
    // What no model judges is explained besides: that costs next to nothing.
    let listed = ["blackwinter.com".to_owned(), "no such thing".to_owned()];
    let hashes: Vec<String> = (0..700).map(|at| format!("{at:032x}")).collect();
    let all = [&listed[..], &names[..260], &hashes, &names[260..]].concat();
    let body = json!(all).to_string();
    let ask_json = |path: &str| {
        let reply = ask(site.public.address, "POST", path, &[], body.as_bytes());
        assert_eq!(reply.status, 200);
        (reply.head.contains("first 500 indicators"), reply.json())
    };
    for option in ["explain", "summary"] {
        let (told, answers) = ask_json(&format!("/api/score?{option}=true"));
        let (first, rest) = names.split_at(500);
        let part = if option == "explain" {
            "explanation"
        } else {
            option
        };
        for name in first {
            assert!(answers[name]["meta"][part].is_object(), "{name}");
        }
        for name in rest {
            let meta = &answers[name]["meta"];
            assert_eq!(
                (&meta[part], &meta["success"]),
                (&Value::Null, &json!(true))
            );
            let warning = meta["warnings"][0].as_str().unwrap();
            assert!(warning.contains("first 500"), "{warning}");
        }
        for name in listed[..1].iter().chain(&hashes) {
            assert!(answers[name]["meta"][part].is_object(), "{name}");
        }
        let answered = answers.as_object().unwrap().keys();
        assert!(told && answered.eq(&all), "all, in their order");
    }
    let lines = all.iter().map(|one| format!("{}\n", json!(one)));
    let lines: String = lines.collect();
    let kind = [("Content-Type", "application/x-ndjson")];
    let path = "/api/score?explain=true";
    let reply = ask(site.public.address, "POST", path, &kind, lines.as_bytes());
    let lines: Vec<Value> = reply.lines();
    assert!(reply.head.contains("first 500 indicators"));
    let explained = lines
        .iter()
        .filter(|line| line["meta"]["explanation"].is_object());
    assert_eq!(explained.count(), 500 + 1 + hashes.len());
    let answered = lines.iter().map(|line| &line["indicator"]);
    assert!(answered.eq(&all), "a line for each, in their order");
    let (told, answers) = ask_json("/api/score");
    assert!(!told && answers[&names[519]]["meta"].get("warnings").is_none());
}

#[test]
fn a_new_model_is_taken_and_there_is_a_way_back() {
    let site = Site::start();
    let score = || site.score("greenapple7.com", "")["meta"]["model"].clone();
    let first = score();
    assert_eq!(first["version"], "1");
    train(site.folder.path(), "2", "5");
    site.model.refresh().unwrap();
    let second = score();
    assert_eq!(second["version"], "2");
    assert_ne!(
        first["malicious"], second["malicious"],
        "no cached score of the old model"
    );
    assert_eq!(site.get("/version")["models"], json!({"names": "2"}));
    let described = &site.get("/api/model")["models"][0];
    assert_eq!(
        (&described["kind"], &described["version"]),
        (&json!("domain"), &json!("2"))
    );
    assert!(
        described["metrics"]
            .as_object()
            .is_some_and(|metrics| !metrics.is_empty())
    );
    let unknown = ask(
        site.admin.address,
        "POST",
        "/admin/rollback/other",
        &[],
        b"",
    );
    assert_eq!(unknown.status, 404);
    let back = ask(
        site.admin.address,
        "POST",
        "/admin/rollback/names",
        &[],
        b"",
    );
    assert_eq!(
        (back.status, &back.json()["models"]),
        (200, &json!({"names": "1"}))
    );
    assert_eq!(score()["malicious"], first["malicious"]);
}

#[test]
fn two_models_for_the_same_indicators_are_one_too_many() {
    let folder = TempDir::new().unwrap();
    train(folder.path(), "1", "5");
    let lists = concat!(env!("CARGO_MANIFEST_DIR"), "/lists");
    let program = Command::new(env!("CARGO_BIN_EXE_macula"))
        .args(["score", "--lists", lists, "a.example"])
        .args(["--model", "names", "--model", "names"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&program.stderr);
    assert!(!program.status.success());
    assert!(said.contains("so is one before it"), "{said}");
}
