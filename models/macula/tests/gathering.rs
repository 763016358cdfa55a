//! A model of what a web service tells, over real sockets: what is remembered of that service, and what is counted.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

#[path = "running/server.rs"]
mod running;
#[path = "../gatherers/tests/support/upstream.rs"]
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use boosted_trees::xgboost;
use gatherers::{Clock, Config, Gatherers};
use indicator_model::{Bundle, LiveModel, Manifest};
use indicator_training::lexical::LexicalSource;
use macula::CacheSettings;
use macula::analyst::Analyst;
use macula::feature_set::Sources;
use macula::judgement::Policy;
use macula::request::{BodyForm, score_body};
use macula::scorer::Scorer;
use running::{Server, Serving, ask, lists};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use upstream::{Reply, Upstream};

/// The one feature that the model of these tests wants.
const COUNTRY: &str = "whoisxml_registrant_country";

/// Macula with a model that takes names registered in `XX` for bad, and a service that tells where that is.
struct Site {
    server: Server,
    service: Upstream,
    _folder: TempDir,
    runtime: Runtime,
}

/// A model of one tree: names registered in `XX` are bad, those in `NL` good.
fn bundle() -> Bundle {
    let trees = json!({"learner": {
        "feature_names": [format!("{COUNTRY}=NL"), format!("{COUNTRY}=XX")],
        "gradient_booster": {"name": "gbtree", "model": {"trees": [{
            "left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [1, 0, 0],
            "split_conditions": [0.5, -2.0, 2.0], "default_left": [1, 0, 0], "sum_hessian": [2.0, 1.0, 1.0],
            "tree_param": {"size_leaf_vector": "1"},
        }]}},
        "learner_model_param": {"base_score": "5E-1", "num_feature": "2"},
        "objective": {"name": "binary:logistic"},
    }});
    let trees = xgboost::from_json(trees.to_string().as_bytes()).unwrap();
    let manifest = |digest| {
        let manifest = json!({
            "form": 1, "name": "countries", "version": "1", "kind": "domain", "minimum_coverage": 0.5,
            "features": [{"name": COUNTRY, "category": "whois", "type": "text", "words": ["NL", "XX"]}],
            "calibration": [[-4.0, 0.0], [0.0, 50.0], [4.0, 100.0]],
            "metrics": {}, "training_data": {"digest": "", "rows": 2, "malicious": 1},
            "golden": [{"values": {COUNTRY: "XX"}, "margin": 2.0}, {"values": {COUNTRY: "NL"}, "margin": -2.0}],
            "trees": digest,
        });
        serde_json::from_value::<Manifest>(manifest).unwrap()
    };
    Bundle::of(&trees, manifest).unwrap()
}

fn registered_in(country: &str) -> Reply {
    let record = json!({"WhoisRecord": {"registrant": {"countryCode": country}}});
    Reply::Say(200, record.to_string())
}

impl Site {
    fn start(more: &str) -> Site {
        let folder = tempfile::tempdir().unwrap();
        bundle().write(&folder.path().join("countries")).unwrap();
        let runtime = Runtime::new().unwrap();
        let service = runtime.block_on(Upstream::start(registered_in("NL")));
        let settings = upstream::settings("whoisxml", &service.url(), more);
        // Nobody has a key for this one.
        let settings = settings + "[gatherers.censys]\nkey_env = \"NO_SUCH_VARIABLE\"\n";
        let config = Config::parse(&settings).unwrap();
        let lexical = Arc::new(LexicalSource);
        let gatherers = Gatherers::start(&config, vec![lexical], Clock::system());
        let gatherers = Arc::new(runtime.block_on(gatherers).unwrap());
        let model = folder.path().join("countries");
        let model = LiveModel::open(model, None, Clock::system()).unwrap();
        let analyst = Arc::new(Analyst::new(gatherers, vec![Arc::new(model)]));
        let scorer = Scorer::new(lists(&[]), Policy::default(), CacheSettings::default());
        let scorer = Arc::new(scorer.with_analyst(analyst));
        Site {
            server: Server {
                serving: Serving::start(macula::server::router(Arc::clone(&scorer))),
                scorer,
            },
            service,
            _folder: folder,
            runtime,
        }
    }

    fn ask(&self, name: &str, options: &str) -> Value {
        let path = format!("/api/score?indicators={name}{options}");
        self.server.get(&path)[name].clone()
    }

    /// The score of a name, whether it was made before, and how many questions the service has had by then.
    fn score(&self, options: &str) -> (f64, bool, u64) {
        let answer = self.ask("a.example.com", options);
        let cached = answer["meta"]["cached"] == true;
        let score = answer["rescaled"].as_f64().unwrap();
        (score, cached, self.service.count())
    }
}

#[test]
fn a_batch_for_which_others_are_asked_is_asked_about_as_a_whole() {
    let site = Site::start("");
    let hashes = (0..1200).map(|at| format!("{at:032x}"));
    let twice = |name: &str| [name.to_owned()].into_iter();
    let all: Vec<String> = twice("a.example.com")
        .chain(hashes)
        .chain(twice("A.EXAMPLE.COM"))
        .collect();
    let body = json!(all).to_string();
    let path = "/api/score?useFeatureCache=false";
    let reply = ask(
        site.server.serving.address,
        "POST",
        path,
        &[],
        body.as_bytes(),
    );
    let answers = reply.json();
    for name in ["a.example.com", "A.EXAMPLE.COM"] {
        assert_eq!(answers[name]["meta"]["source"], "model", "{name}");
    }
    assert!(answers.as_object().unwrap().keys().eq(&all), "in order");
    assert_eq!(site.service.count(), 1, "about a name in two spellings");
}

#[test]
fn what_comes_too_late_for_a_batch_is_told_to_be_missing_for_that_and_asked_for_again_next_time() {
    let site = Site::start("");
    let scorer = &site.server.scorer;
    let body = br#"["a.example.com", "b.example.net"]"#;
    let request = score_body("", body, BodyForm::Json, &Sources::default()).unwrap();
    let request = Arc::new(request);
    let moment = scorer.prepared();
    let part = |at: usize, until| {
        let batch = (&request, at..at + 1);
        let prepared = scorer.prepare_part(&moment, batch, until);
        let prepared = site.runtime.block_on(prepared).unwrap();
        let answers = scorer.answer_part(&request, at..at + 1, &prepared, 0);
        let name = ["a.example.com", "b.example.net"][at];
        serde_json::to_value(answers).unwrap()[name].clone()
    };
    let later = Instant::now() + Duration::from_secs(3600);
    assert_eq!(part(0, later)["meta"]["source"], "model");
    let late = part(1, Instant::now());
    let meta = &late["meta"];
    assert_eq!(
        (
            &late["rescaled"],
            &meta["verdict"],
            &meta["model"]["covered"]
        ),
        (&json!(50.0), &json!("unknown"), &json!(false)),
        "{late}"
    );
    assert_eq!(meta["model"]["missing"], json!({COUNTRY: "timeout"}));
    assert_eq!(site.service.count(), 1, "nobody is asked for nothing");
    assert_eq!(part(1, later)["meta"]["source"], "model");
    assert_eq!(site.service.count(), 2);
}

#[test]
fn op_2677_whichever_gatherers_are_switched_off_a_score_comes_by_the_others() {
    let site = Site::start("");
    site.service.answer(registered_in("XX"));
    let gatherers = ["whoisxml", "lexical", "censys"];
    for chosen in 0..1 << gatherers.len() {
        let is_off = |at: &usize| chosen & (1 << at) != 0;
        let off: Vec<_> = (0..gatherers.len()).filter(is_off).collect();
        let off = off
            .iter()
            .map(|at| gatherers[*at])
            .collect::<Vec<_>>()
            .join(",");
        let exclude = if off.is_empty() { "none" } else { &off };
        let answer = site.ask("a.example.com", &format!("&exclude={exclude}"));
        // The trees' answers with the country, and with none.
        let (score, margin, coverage) = match off.contains("whoisxml") {
            false => (75.0, 2.0_f64, 1.0),
            true => (50.0, -2.0, 0.0),
        };
        let model = &answer["meta"]["model"];
        assert_eq!(answer["meta"]["success"], true, "without {off}");
        assert_eq!(
            (&answer["rescaled"], &model["coverage"]),
            (&json!(score), &json!(coverage))
        );
        let malicious = model["malicious"].as_f64().unwrap();
        assert!(
            (malicious - 1.0 / (1.0 + (-margin).exp())).abs() < 1e-6,
            "without {off}: {model}"
        );
    }
}

#[test]
fn op_2526_the_feature_cache_answers_unless_the_caller_says_not_and_quotas_hold_in_any_case() {
    let site = Site::start("quota = { per_day = 3 }");
    let (good, bad) = (25.0, 75.0);
    assert_eq!(site.score(""), (good, false, 1));
    site.service.answer(registered_in("XX"));
    assert_eq!(site.score(""), (good, true, 1));
    // A score that is made anew is made of what is remembered of the service.
    assert_eq!(site.score("&useCache=false"), (good, false, 1));
    // Unless that is not wanted either; then no score that was made of it is given.
    assert_eq!(site.score("&useFeatureCache=false"), (bad, false, 2));
    // What came is what others get from now on.
    assert_eq!(site.score(""), (bad, true, 2));
    assert_eq!(site.score("&useCache=false"), (bad, false, 2));
    site.service.answer(registered_in("NL"));
    let both = "&useFeatureCache=false&useCache=true";
    assert_eq!(site.score(both), (good, false, 3));
    // The quota is used up: nobody is asked, nothing is known, and that reaches nobody else.
    let denied = site.ask("a.example.com", "&useFeatureCache=false");
    let meta = &denied["meta"];
    assert_eq!(
        (&denied["rescaled"], &meta["model"]["missing"]),
        (&json!(50.0), &json!({COUNTRY: "quota"})),
        "{denied}"
    );
    assert_eq!(site.score(""), (good, true, 3));
}

#[test]
fn what_gatherers_did_and_how_they_stand_is_among_the_metrics() {
    let site = Site::start("quota = { per_minute = 1000, per_day = 5 }");
    let metric = |name: &str, label: &str| {
        let label = format!("gatherer=\"whoisxml\"{label}");
        site.server
            .metric(&format!("macula_gatherer_{name}"), &label)
    };
    let outcome = |outcome: &str| metric("requests_total", &format!(",outcome=\"{outcome}\""));
    let left = |window: &str| metric("quota_remaining", &format!(",window=\"{window}\""));
    assert_eq!((left("day"), metric("breaker_open", "")), (5.0, 0.0));
    site.score("");
    site.score("&useCache=false");
    assert_eq!((outcome("ok"), outcome("cached")), (1.0, 1.0));
    assert!(metric("call_seconds_total", "") > 0.0);
    assert_eq!(metric("drift_total", ""), 0.0);
    // What stands where a word should be is none.
    let changed = json!({"WhoisRecord": {"registrant": {"countryCode": ["NL"]}}});
    let changed = Reply::Say(200, changed.to_string());
    site.service.answer(changed);
    site.ask("b.example.org", "");
    assert_eq!((outcome("ok"), metric("drift_total", "")), (2.0, 1.0));
    // It wants to be left alone, and is.
    site.service.answer(Reply::SlowDown(600));
    site.ask("c.example.net", "");
    site.ask("d.example.edu", "");
    assert_eq!((outcome("rate_limited"), outcome("resting")), (1.0, 1.0));
    assert_eq!((metric("breaker_open", ""), left("day")), (1.0, 2.0));
    assert!(left("minute") >= 997.0);
    // As many as the provider has counted.
    assert_eq!(metric("calls_total", ""), 3.0);
    assert_eq!(site.service.count(), 3);
    let disabled = site
        .server
        .metric("macula_gatherer_disabled", "gatherer=\"censys\"");
    assert_eq!(disabled, 1.0);
    let lost = site.server.metric("macula_query_log_lines_lost_total", "");
    assert_eq!(lost, 0.0);
}
