//! Bundles made by the real trainer, loaded, scored, explained, swapped and rolled back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use boosted_trees::train::{Params, train};
use boosted_trees::{Dataset, Predictor};
use gatherers::{Category, Clock, Feature, Gathered, Missing, Reading, Value};
use indicator_model::bundle::Golden;
use indicator_model::{
    Bundle, Contract, Encoding, FeatureContract, IndicatorModel, LiveModel, LiveModelError,
    Manifest, ModelError, ModelKind, Refreshed, Tells, TrainingData,
};
use jiff::{SignedDuration, Timestamp};
use model_evaluation::calibration::Calibration;
use model_evaluation::metrics::Scores;
use proptest::prelude::*;
use test_support::{TempDir, eventually};
use tokio_util::sync::CancellationToken;

const COUNTRIES: [&str; 3] = ["NL", "DE", "FR"];

fn contract() -> Contract {
    let number = |name: &str, category| FeatureContract {
        name: name.into(),
        category,
        encoding: Encoding::Number {
            min: 0.0,
            max: 10_000.0,
        },
        impute: None,
    };
    let words = COUNTRIES.map(String::from).into();
    Contract::new(vec![
        number("whoisxml_age_days", Category::Whois),
        number("dns_ttl", Category::PassiveDns),
        number("farsight_names", Category::PassiveDns),
        FeatureContract {
            encoding: Encoding::Flag,
            ..number("neutrino_listed", Category::OnlineReputation)
        },
        FeatureContract {
            encoding: Encoding::Text { words },
            ..number("geo_country", Category::Geolocation)
        },
    ])
    .unwrap()
}

/// What was gathered about the `at`th of many indicators; some of it is missing.
fn gathered(at: u64) -> Gathered {
    let mix = |salt: u64| (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ salt) >> 33;
    let contract = contract();
    let features = contract.features().iter().enumerate().map(|(n, feature)| {
        let draw = mix(n as u64 * 7919);
        let reading = match &feature.encoding {
            _ if draw % 7 == 0 => Reading::Missing(Missing::Timeout),
            Encoding::Number { .. } => Reading::number((draw % 1000) as f64),
            Encoding::Flag => Reading::Value(Value::Flag(draw % 3 == 0)),
            Encoding::Text { words } => {
                Reading::Value(Value::Text(words[draw as usize % words.len()].clone()))
            }
        };
        Feature {
            name: feature.name.clone(),
            category: feature.category,
            reading,
            gatherer: "test".into(),
            fetched_at: None,
            from_cache: false,
        }
    });
    Gathered {
        indicator: format!("n{at}.example.com"),
        kind: "domain".into(),
        features: features.collect(),
    }
}

/// Whether the `at`th indicator is malicious: young and listed ones mostly are.
fn is_malicious(gathered: &Gathered, at: u64) -> bool {
    let number = |name| match gathered.value(name) {
        Some(Value::Number(number)) => *number,
        _ => 500.0,
    };
    let listed = gathered.value("neutrino_listed") == Some(&Value::Flag(true));
    let risk = 600.0 - number("whoisxml_age_days") + 0.3 * number("dns_ttl");
    risk + if listed { 400.0 } else { 0.0 } + (at % 97) as f64 > 500.0
}

struct Made {
    bundle: Bundle,
    manifest: Manifest,
    predictor: Predictor,
}

fn make(rounds: usize) -> Made {
    let contract = contract();
    let mut rows = Dataset::new(contract.columns());
    for at in 0..2000 {
        let gathered = gathered(at);
        let label = f32::from(u8::from(is_malicious(&gathered, at)));
        rows.push(&contract.row(&contract.readings(&gathered)), label, 1.0);
    }
    let params = Params {
        rounds,
        max_depth: 4,
        ..Params::default()
    };
    let go_on = |_| ControlFlow::Continue(());
    let model = train(&params, &rows, None, contract.column_names(), go_on).unwrap();
    let predictor = Predictor::new(&model);
    let margins = |malicious: bool| -> Vec<f32> {
        let wanted = (0..rows.len()).filter(|at| (rows.labels()[*at] > 0.5) == malicious);
        wanted.map(|at| predictor.margin(rows.row(at))).collect()
    };
    let scores = Scores::new(margins(false), margins(true));
    let golden = (0..5).map(|at| {
        let gathered = gathered(at);
        let values = gathered.features.iter().filter_map(|feature| {
            let value = feature.reading.value()?.clone();
            Some((feature.name.clone(), value))
        });
        Golden {
            values: values.collect(),
            margin: predictor.margin(&contract.row(&contract.readings(&gathered))),
        }
    });
    let mut manifest = Manifest {
        form: 1,
        name: "test".into(),
        version: format!("1.{rounds}"),
        kind: ModelKind::Domain,
        minimum_coverage: 0.5,
        tells: Tells::Both,
        calibration: Calibration::fit(&scores),
        metrics: BTreeMap::from([("auc".into(), scores.auc().into())]),
        training_data: TrainingData {
            digest: "made by a test".into(),
            rows: rows.len(),
            malicious: scores.positives().len(),
        },
        golden: golden.collect(),
        features: contract,
        trees: String::new(),
    };
    let bundle = Bundle::of(&model, |trees| {
        manifest.trees = trees;
        manifest.clone()
    });
    Made {
        bundle: bundle.unwrap(),
        manifest,
        predictor,
    }
}

static MADE: LazyLock<Made> = LazyLock::new(|| make(30));
static MODEL: LazyLock<IndicatorModel> =
    LazyLock::new(|| IndicatorModel::load(MADE.bundle.clone()).unwrap());

/// The same with some features switched off.
fn without(mut gathered: Gathered, off: &[bool]) -> Gathered {
    for (feature, off) in gathered.features.iter_mut().zip(off) {
        if *off {
            feature.reading = Reading::Missing(Missing::Offline);
        }
    }
    gathered
}

proptest! {
    #[test]
    fn op_2677_any_features_switched_off_score_as_the_trees_do_with_them_missing(
        at in 0_u64..10_000, off in proptest::collection::vec(any::<bool>(), 5), dropped in any::<bool>()
    ) {
        let mut known = without(gathered(at), &off);
        let row = known.features.iter().flat_map(|feature| {
            match (&feature.reading, &*feature.name) {
                (Reading::Value(Value::Number(number)), _) => vec![*number as f32],
                (Reading::Value(Value::Flag(flag)), _) => vec![f32::from(u8::from(*flag))],
                (Reading::Value(Value::Text(text)), _) => {
                    COUNTRIES.iter().map(|country| f32::from(u8::from(country == text))).collect()
                }
                (Reading::Missing(_), "geo_country") => vec![f32::NAN; 3],
                (Reading::Missing(_), _) => vec![f32::NAN],
            }
        });
        let row: Vec<f32> = row.collect();
        let expected = f64::from(MADE.predictor.predict(&row));
        if dropped {
            // A gatherer that is gone says nothing at all of its features.
            known.features.retain(|feature| feature.reading.value().is_some());
        }
        let score = MODEL.score(&MODEL.readings(&known));
        prop_assert_eq!(score.malicious, expected);
        prop_assert!((score.malicious + score.benign - 1.0).abs() < 1e-6);
        prop_assert!((0.0..=100.0).contains(&score.rescaled));
        let missing = row.iter().filter(|value| value.is_nan()).count();
        prop_assert_eq!(score.covered, score.coverage >= 0.5);
        prop_assert_eq!(score.coverage == 1.0, missing == 0);
    }

    #[test]
    fn contributions_of_features_and_of_categories_add_up_to_the_margin(
        at in 0_u64..10_000, off in proptest::collection::vec(any::<bool>(), 5)
    ) {
        let known = without(gathered(at), &off);
        let why = MODEL.explain(&MODEL.readings(&known));
        let features: f64 = why.contributions.iter().map(|c| c.contribution).sum();
        let categories: f64 = why.categories.iter().map(|c| c.contribution).sum();
        let score = MODEL.score(&MODEL.readings(&known));
        let margin = (score.malicious / score.benign).ln();
        prop_assert!((why.base + features - why.margin).abs() < 1e-9);
        prop_assert!((why.base + categories - why.margin).abs() < 1e-9);
        prop_assert!((why.margin - margin).abs() < 1e-3, "{} {margin}", why.margin);
        let shares: f64 = why.contributions.iter().map(|c| c.share).sum();
        prop_assert!((shares - 100.0).abs() < 1e-6);
        let strengths: Vec<f64> = why.contributions.iter().map(|c| c.contribution.abs()).collect();
        prop_assert!(strengths.windows(2).all(|pair| pair[0] >= pair[1]));
        let missing: usize = why.categories.iter().map(|c| c.missing).sum();
        prop_assert_eq!(missing, MODEL.missing(&MODEL.readings(&known)).count());
    }

    #[test]
    fn whatever_a_gatherer_says_there_is_a_score(
        text in ".{0,20}", number in any::<f64>(), flag in any::<bool>(), shift in 0_usize..3
    ) {
        let mut strange = gathered(1);
        let values = [Value::Text(text), Value::Number(number), Value::Flag(flag)];
        for (at, feature) in strange.features.iter_mut().enumerate() {
            feature.reading = Reading::Value(values[(at + shift) % 3].clone());
        }
        let score = MODEL.score(&MODEL.readings(&strange));
        prop_assert!((score.malicious + score.benign - 1.0).abs() < 1e-6);
    }
}

#[test]
fn young_and_listed_names_score_above_old_ones() {
    let scores = (0..2000).map(|at| {
        let gathered = gathered(at);
        (
            is_malicious(&gathered, at),
            MODEL.score(&MODEL.readings(&gathered)).malicious,
        )
    });
    let (malicious, benign): (Vec<_>, Vec<_>) = scores.partition(|(malicious, _)| *malicious);
    let mean =
        |of: Vec<(bool, f64)>| of.iter().map(|(_, score)| score).sum::<f64>() / of.len() as f64;
    assert!(mean(malicious) > 0.8 && mean(benign) < 0.3);
}

/// Loads the bundle with its manifest changed.
fn load_changed(change: impl FnOnce(&mut serde_json::Value)) -> Result<IndicatorModel, ModelError> {
    let folder = TempDir::new().unwrap();
    MADE.bundle.write(folder.path()).unwrap();
    let path = folder.path().join("manifest.json");
    let mut manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    std::fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    IndicatorModel::load(Bundle::read(folder.path()).unwrap())
}

#[test]
fn a_bundle_that_is_not_right_in_every_part_is_refused() {
    use serde_json::json;
    assert!(load_changed(|_| ()).is_ok());
    let error = |change: fn(&mut serde_json::Value)| load_changed(change).unwrap_err().to_string();
    for (change, part) in [
        (
            (|m| m["form"] = json!(2)) as fn(&mut serde_json::Value),
            "form 2",
        ),
        (|m| m["trees"] = json!("00"), "not those"),
        (
            |m| m["golden"][0]["margin"] = json!(9.0),
            "golden example 0",
        ),
        (|m| m["golden"] = json!([]), "no golden"),
        (|m| m["features"][0]["name"] = json!("other"), "other names"),
        (|m| m["features"][4]["words"] = json!(["NL"]), "columns"),
        (|m| m["features"][0]["min"] = json!(1e9), "no manifest"),
        (|m| m["minimum_coverage"] = json!(1.5), "minimum coverage"),
        (
            |m| m["calibration"] = json!([[0.0, 50.0], [1.0, 10.0]]),
            "no manifest",
        ),
        (|m| m["surprise"] = json!(1), "no manifest"),
    ] {
        assert!(error(change).contains(part), "{part}: {}", error(change));
    }
}

#[test]
fn bytes_that_were_changed_on_the_way_are_noticed() {
    let folder = TempDir::new().unwrap();
    MADE.bundle.write(folder.path()).unwrap();
    let path = folder.path().join("trees.ubj");
    let good = std::fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(good.len() / 50) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, bad).unwrap();
        assert!(IndicatorModel::load(Bundle::read(folder.path()).unwrap()).is_err());
    }
}

/// A clock that goes on by a second with every look.
fn clock() -> Clock {
    let now = Mutex::new(Timestamp::UNIX_EPOCH);
    Clock::new(move || {
        let mut now = now.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(1)).unwrap();
        *now
    })
}

fn open(folder: &Path, archive: &Path) -> LiveModel {
    LiveModel::open(folder.into(), Some(archive.into()), clock()).unwrap()
}

#[test]
fn a_new_bundle_takes_over_the_old_one_is_archived_and_comes_back_when_told_to() {
    let (folder, archive) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let archive = archive.path().join("old");
    make(3).bundle.write(folder.path()).unwrap();
    let live = open(folder.path(), &archive);
    let version = || live.current().manifest().version.clone();
    assert_eq!(live.refresh().unwrap(), Refreshed::Unchanged);
    assert!(matches!(
        live.rollback(),
        Err(LiveModelError::Archive { .. })
    ));

    let held = live.current();
    make(4).bundle.write(folder.path()).unwrap();
    assert_eq!(live.refresh().unwrap(), Refreshed::Replaced);
    assert_eq!(version(), "1.4");
    assert_eq!(held.manifest().version, "1.3", "who holds a model keeps it");
    let names: Vec<String> = std::fs::read_dir(&archive)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        names,
        [format!("19700101T000001.000Z-{}", &held.digest()[..12])]
    );

    live.rollback().unwrap();
    assert!(live.behind().is_some_and(|why| why.contains("rollback")));
    assert_eq!(version(), "1.3");
    assert_eq!(
        live.refresh().unwrap(),
        Refreshed::Unchanged,
        "it was left on purpose"
    );
    assert_eq!(version(), "1.3");
    let manifest = folder.path().join("manifest.json");
    std::fs::rename(&manifest, folder.path().join("aside")).unwrap();
    live.refresh().unwrap_err();
    std::fs::rename(folder.path().join("aside"), &manifest).unwrap();
    assert_eq!(live.refresh().unwrap(), Refreshed::Unchanged);
    assert!(live.behind().is_some_and(|why| why.contains("rollback")));
    assert!(matches!(
        live.rollback(),
        Err(LiveModelError::NothingToGoBackTo)
    ));
    make(5).bundle.write(folder.path()).unwrap();
    assert_eq!(live.refresh().unwrap(), Refreshed::Replaced);
    assert_eq!(version(), "1.5");

    // The newest in the archive is damaged: the one before it will do.
    make(4)
        .bundle
        .write(&archive.join("29990101T000000.000Z-damaged"))
        .unwrap();
    std::fs::write(archive.join("29990101T000000.000Z-damaged/trees.ubj"), "{").unwrap();
    live.rollback().unwrap();
    assert_eq!(version(), "1.3");
}

#[test]
fn a_bad_bundle_changes_nothing_and_is_told_once() {
    let (folder, archive) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    make(3).bundle.write(folder.path()).unwrap();
    let live = open(folder.path(), archive.path());
    let mut bad = MADE.manifest.clone();
    bad.golden[0].margin += 1.0;
    let text = serde_json::to_vec(&bad).unwrap();
    MADE.bundle.write(folder.path()).unwrap();
    std::fs::write(folder.path().join("manifest.json"), text).unwrap();
    assert!(matches!(
        live.refresh(),
        Err(LiveModelError::Model(ModelError::Golden { example: 0, .. }))
    ));
    assert_eq!(live.refresh().unwrap(), Refreshed::Unchanged);
    assert_eq!(live.current().manifest().version, "1.3");
    MADE.bundle.write(folder.path()).unwrap();
    assert_eq!(live.refresh().unwrap(), Refreshed::Replaced);
}

#[test]
fn a_bundle_for_other_indicators_does_not_take_over() {
    let (folder, archive) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    make(3).bundle.write(folder.path()).unwrap();
    let live = open(folder.path(), archive.path());
    let kind = live.current().manifest().kind;
    let mut other = MADE.manifest.clone();
    other.kind = match kind {
        ModelKind::Ip => ModelKind::Domain,
        ModelKind::Domain => ModelKind::Ip,
    };
    MADE.bundle.write(folder.path()).unwrap();
    let text = serde_json::to_vec(&other).unwrap();
    std::fs::write(folder.path().join("manifest.json"), text).unwrap();
    let refused = live.refresh().unwrap_err();
    assert!(matches!(refused, LiveModelError::Kind { kind: of, .. } if of == kind));
    assert_eq!(live.refresh().unwrap(), Refreshed::Unchanged, "told once");
    assert_eq!(live.current().manifest().version, "1.3");
    let why = Some(refused.to_string());
    assert_eq!(live.behind(), why);
    // That for a moment nobody can look there changes nothing.
    let aside = archive.path().join("aside");
    std::fs::rename(folder.path().join("manifest.json"), &aside).unwrap();
    live.refresh().unwrap_err();
    assert_ne!(live.behind(), why);
    std::fs::rename(&aside, folder.path().join("manifest.json")).unwrap();
    assert_eq!(live.refresh().unwrap(), Refreshed::Unchanged);
    assert_eq!(live.behind(), why);
    MADE.bundle.write(folder.path()).unwrap();
    assert_eq!(live.refresh().unwrap(), Refreshed::Replaced);
    assert_eq!(live.behind(), None);
}

#[test]
fn a_bundle_that_is_still_being_copied_is_tried_again() {
    let (folder, archive, new) = (
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    make(3).bundle.write(folder.path()).unwrap();
    let live = open(folder.path(), archive.path());
    make(4).bundle.write(new.path()).unwrap();
    let copy = |name: &str| std::fs::copy(new.path().join(name), folder.path().join(name)).unwrap();
    copy("manifest.json");
    assert!(live.refresh().is_err(), "the trees are still the old ones");
    copy("trees.ubj");
    assert_eq!(live.refresh().unwrap(), Refreshed::Replaced);
}

#[tokio::test]
async fn whoever_scores_meanwhile_never_notices_a_swap() {
    let (folder, archive) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    make(3).bundle.write(folder.path()).unwrap();
    let live = Arc::new(open(folder.path(), archive.path()));
    let shutdown = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(
        live.clone()
            .watch(Duration::from_millis(10), shutdown.clone()),
    );
    for rounds in 4..8 {
        make(rounds).bundle.write(folder.path()).unwrap();
        let version = format!("1.{rounds}");
        eventually(Duration::from_secs(20), "the new model", async || {
            let model = live.current();
            let score = model.score(&model.readings(&gathered(rounds as u64)));
            assert!(score.malicious > 0.0 && score.malicious < 1.0);
            live.current().manifest().version == version
        })
        .await;
    }
    shutdown.cancel();
    tasks.join_all().await;
    assert_eq!(std::fs::read_dir(archive.path()).unwrap().count(), 4);
}
