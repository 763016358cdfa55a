//! Lists and models that are swapped while a batch is being answered, and time that runs out in the middle of one.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

#[path = "running/server.rs"]
mod running;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use boosted_trees::xgboost;
use gatherers::{Clock, Config, Gatherers};
use indicator_model::{Bundle, LiveModel, Manifest, Refreshed};
use indicator_training::lexical::LexicalSource;
use macula::CacheSettings;
use macula::analyst::Analyst;
use macula::feature_set::Sources;
use macula::judgement::Policy;
use macula::request::{BodyForm, ScoreRequest, score_body};
use macula::scorer::{Prepared, Scorer};
use running::{Server, Serving, lists};
use serde_json::{Value, json};
use tempfile::TempDir;
use threat_lists::{ListKind, Lists};
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// The one feature that the model of these tests wants.
const LENGTH: &str = "lexical_registered_length";

/// More than are prepared and answered at a time.
const ITEMS: usize = 1200;

/// The versions that there are of the model, and what they say of every name.
const MODELS: [(&str, f64); 2] = [("1", 75.0), ("2", 62.5)];

/// The versions that there are of the feed, and what every name weighs there.
const FEEDS: [(&str, f64); 2] = [("old", 0.2), ("new", 0.6)];

/// A model that says the same of every name.
fn bundle((version, says): (&str, f64)) -> Bundle {
    let margin = (says - 50.0) / 12.5;
    let trees = json!({"learner": {
        "feature_names": [LENGTH],
        "gradient_booster": {"name": "gbtree", "model": {"trees": [{
            "left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [0, 0, 0],
            "split_conditions": [0.5, 0.0, margin], "default_left": [1, 0, 0], "sum_hessian": [2.0, 1.0, 1.0],
            "tree_param": {"size_leaf_vector": "1"},
        }]}},
        "learner_model_param": {"base_score": "5E-1", "num_feature": "1"},
        "objective": {"name": "binary:logistic"},
    }});
    let trees = xgboost::from_json(trees.to_string().as_bytes()).unwrap();
    let manifest = |digest| {
        let manifest = json!({
            "form": 1, "name": "same", "version": version, "kind": "domain", "minimum_coverage": 0.5,
            "features": [{"name": LENGTH, "category": "lexical", "type": "number", "min": 0.0, "max": 63.0}],
            "calibration": [[-4.0, 0.0], [0.0, 50.0], [4.0, 100.0]],
            "metrics": {}, "training_data": {"digest": "", "rows": 2, "malicious": 1},
            "golden": [{"values": {LENGTH: 7.0}, "margin": margin}],
            "trees": digest,
        });
        serde_json::from_value::<Manifest>(manifest).unwrap()
    };
    Bundle::of(&trees, manifest).unwrap()
}

fn name(at: usize) -> String {
    format!("name{at}.test")
}

fn feed((version, weight): (&str, f64)) -> Lists {
    let mut text = format!("#! version: {version}\n");
    for at in 0..ITEMS {
        text += &format!("{},{weight}\n", name(at));
    }
    lists(&[(ListKind::Feed, "feed", &text)])
}

/// Macula with one of these feeds and one of these models.
struct Site {
    scorer: Arc<Scorer>,
    model: Arc<LiveModel>,
    feeds: [Arc<Lists>; 2],
    folder: TempDir,
    runtime: Runtime,
}

impl Site {
    fn start() -> Site {
        let folder = tempfile::tempdir().unwrap();
        bundle(MODELS[0])
            .write(&folder.path().join("same"))
            .unwrap();
        let runtime = Runtime::new().unwrap();
        let config = Config::default();
        let sources = Arc::new(LexicalSource);
        let gatherers = Gatherers::start(&config, vec![sources], Clock::system());
        let gatherers = Arc::new(runtime.block_on(gatherers).unwrap());
        let model = LiveModel::open(folder.path().join("same"), None, Clock::system());
        let model = Arc::new(model.unwrap());
        let analyst = Arc::new(Analyst::new(gatherers, vec![Arc::clone(&model)]));
        let feeds = FEEDS.map(|version| Arc::new(feed(version)));
        let cache = CacheSettings::default();
        let scorer = Scorer::new(Arc::clone(&feeds[0]), Policy::default(), cache);
        Site {
            scorer: Arc::new(scorer.with_analyst(analyst)),
            model,
            feeds,
            folder,
            runtime,
        }
    }

    /// Lets lists and model of these versions take the place of those that serve.
    fn swap(&self, to: usize) {
        self.scorer.replace_lists(Arc::clone(&self.feeds[to]));
        let folder = self.folder.path().join("same");
        bundle(MODELS[to]).write(&folder).unwrap();
        assert_eq!(self.model.refresh().unwrap(), Refreshed::Replaced);
    }

    fn part(
        &self,
        moment: &Prepared,
        request: &Arc<ScoreRequest>,
        part: Range<usize>,
        until: Instant,
    ) -> Value {
        let batch = (request, part.clone());
        let prepared = self.scorer.prepare_part(moment, batch, until);
        let prepared = self.runtime.block_on(prepared).unwrap();
        let answers = self.scorer.answer_part(request, part, &prepared, 0);
        serde_json::to_value(answers).unwrap()
    }
}

fn names() -> Vec<u8> {
    json!((0..ITEMS).map(name).collect::<Vec<_>>())
        .to_string()
        .into_bytes()
}

fn request() -> Arc<ScoreRequest> {
    let request = score_body("", &names(), BodyForm::Json, &Sources::default());
    Arc::new(request.unwrap())
}

/// By which versions of feed and model each of these answers was made. Its score must be that of the two, to the hundredth.
fn versions(answers: &Value) -> HashSet<(String, String)> {
    let answers = answers.as_object().unwrap().iter();
    let version = |(name, answer): (&String, &Value)| {
        let feed = answer["meta"]["rules"]["hits"][0]["version"].as_str();
        let model = answer["meta"]["model"]["version"].as_str();
        let (feed, model) = (feed.unwrap().to_owned(), model.unwrap().to_owned());
        let [says, weight] = [(&model, MODELS), (&feed, FEEDS)].map(|(version, all)| {
            let found = all.iter().find(|(own, _)| version == own);
            found.unwrap().1
        });
        let expected = says + (99.0 - says) * weight;
        let score = answer["rescaled"].as_f64().unwrap();
        assert!((score - expected).abs() < 0.006, "{name}: {answer}");
        (feed, model)
    };
    answers.map(version).collect()
}

fn both(at: usize) -> HashSet<(String, String)> {
    HashSet::from([(FEEDS[at].0.to_owned(), MODELS[at].0.to_owned())])
}

/// Says that something is done when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// So late that nothing ends before.
fn never() -> Instant {
    Instant::now() + std::time::Duration::from_secs(3600)
}

#[test]
fn a_batch_is_answered_to_its_end_by_the_lists_and_the_model_that_it_began_with() {
    let site = Site::start();
    let request = request();
    let moment = site.scorer.prepared();
    let first = site.part(&moment, &request, 0..ITEMS / 2, never());
    site.swap(1);
    let second = site.part(&moment, &request, ITEMS / 2..ITEMS, never());
    // Asked anew it is answered by the new ones, whatever is remembered of the old; a batch that goes on still is not.
    let anew = site.part(&site.scorer.prepared(), &request, 0..ITEMS, never());
    let again = site.part(&moment, &request, 0..ITEMS, never());
    assert_eq!(first.as_object().unwrap().len(), ITEMS / 2);
    for old in [&first, &second, &again] {
        assert_eq!(versions(old), both(0));
    }
    assert_eq!(versions(&anew), both(1));
}

#[test]
fn however_often_lists_and_model_are_swapped_no_answer_and_no_batch_is_made_of_two() {
    let site = Site::start();
    let server = Server {
        serving: Serving::start(macula::server::router(Arc::clone(&site.scorer))),
        scorer: Arc::clone(&site.scorer),
    };
    let done = AtomicBool::new(false);
    let mut seen = HashSet::new();
    std::thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            let mut swaps = 0;
            while !done.load(Ordering::Relaxed) {
                swaps += 1;
                site.swap(swaps % 2);
            }
            swaps
        });
        // Also when a claim below fails, or the swaps would go on for ever.
        let stop = Stop(&done);
        let body = names();
        for at in 0..1000 {
            let path = ["/api/score", "/api/score?useCache=false"][at % 2];
            let (status, answers) = server.ask("POST", path, &body);
            assert_eq!((status, answers.as_object().unwrap().len()), (200, ITEMS));
            let by = versions(&answers);
            // The two are swapped one after the other, so that a batch may begin between them; it ends as it began.
            assert_eq!(by.len(), 1, "{by:?}");
            seen.extend(by);
            if at >= 20 && seen.len() > 1 {
                break;
            }
        }
        drop(stop);
        assert!(swaps.join().unwrap() > 0);
    });
    assert!(seen.len() > 1, "{seen:?} of what was swapped");
}

#[test]
fn where_nobody_has_to_be_waited_for_a_batch_is_judged_to_its_end_though_its_time_is_over() {
    let site = Site::start();
    let request = request();
    let moment = site.scorer.prepared();
    let in_time = site.part(&moment, &request, 0..ITEMS / 2, never());
    let late = site.part(&moment, &request, ITEMS / 2..ITEMS, Instant::now());
    for part in [&in_time, &late] {
        assert_eq!(versions(part), both(0));
    }
    assert_eq!(late.as_object().unwrap().len(), ITEMS / 2);
}
