//! Against XGBoost itself: what it trains we predict to the bit, and what we train it predicts to the bit.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use boosted_trees::train::{Params, train};
use boosted_trees::{Dataset, Explainer, Model, Objective, Predictor, xgboost};

/// A Python with XGBoost, as `scripts/setup test` makes it.
fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    );
    let python = cache.join("maas/python/bin/python");
    assert!(
        python.exists(),
        "there is no {}; run scripts/setup test",
        python.display()
    );
    python
}

fn oracle(command: &str, folder: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle.py");
    let output = Command::new(python())
        .args(["-W", "ignore", script, command])
        .arg(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// Holds a model against what XGBoost said of the same rows.
fn check(model: &Model, rows: &[f32], folder: &Path, suffix: &str) {
    let answer = |name: &str| floats(&folder.join(format!("{name}{suffix}.f32")));
    let features = model.features();
    let predictor = Predictor::new(model);
    let one_by_one: Vec<f32> = rows
        .chunks_exact(features)
        .map(|row| predictor.margin(row))
        .collect();
    let mut together = vec![0.0; one_by_one.len()];
    predictor.margins(rows, &mut together);
    assert_eq!(
        bits(&one_by_one),
        bits(&answer("margins")),
        "margins, {}",
        folder.display()
    );
    assert_eq!(
        bits(&together),
        bits(&one_by_one),
        "margins of a batch, {}",
        folder.display()
    );
    let predictions: Vec<f32> = together
        .iter()
        .map(|margin| predictor.transform(*margin))
        .collect();
    assert_eq!(
        bits(&predictions),
        bits(&answer("predictions")),
        "predictions, {}",
        folder.display()
    );
    let explainer = Explainer::new(model);
    let theirs = answer("contributions");
    for ((row, theirs), margin) in rows
        .chunks_exact(features)
        .zip(theirs.chunks_exact(features + 1))
        .zip(&together)
    {
        let ours = explainer.explain(row);
        assert!(
            (ours.sum() - f64::from(*margin)).abs() < 1e-4,
            "{} is not {margin}",
            ours.sum()
        );
        let values = ours.values.iter().chain([&ours.bias]);
        for (ours, theirs) in values.zip(theirs) {
            assert!(
                (ours - f64::from(*theirs)).abs() < 1e-4,
                "{ours} is not {theirs}, {}",
                folder.display()
            );
        }
    }
}

#[test]
fn models_trained_by_xgboost_are_predicted_to_the_bit_and_explained_alike() {
    let folder = tempfile::tempdir().unwrap();
    oracle("make", folder.path());
    let cases: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(cases.len() >= 8);
    for case in cases {
        let rows = floats(&case.join("rows.f32"));
        let from_json = xgboost::from_bytes(&fs::read(case.join("model.json")).unwrap()).unwrap();
        let from_ubjson = xgboost::from_bytes(&fs::read(case.join("model.ubj")).unwrap()).unwrap();
        assert_eq!(from_json, from_ubjson);
        check(&from_json, &rows, &case, "");
    }
}

#[test]
fn models_trained_by_us_are_predicted_to_the_bit_by_xgboost() {
    let folder = tempfile::tempdir().unwrap();
    for (name, objective) in [
        ("logistic", Objective::Logistic),
        ("squared", Objective::SquaredError),
    ] {
        let mut rows = Dataset::new(4);
        for number in 0_u32..900 {
            let at = |factor: u32| {
                let value = number.wrapping_mul(factor) % 101;
                if value % 13 == 5 {
                    f32::NAN
                } else {
                    value as f32 / 7.0
                }
            };
            let row = [at(17), at(31), at(57), at(91)];
            let label = if row[0] > 6.0 || row[2] * row[3] > 30.0 {
                1.0
            } else {
                0.0
            };
            rows.push(&row, label, 1.0 + row[1].max(0.0) / 10.0);
        }
        let params = Params {
            objective,
            rounds: 40,
            max_depth: 5,
            subsample: 0.7,
            colsample: 0.8,
            ..Params::default()
        };
        let names = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let model = train(&params, &rows, None, names, |_| ControlFlow::Continue(())).unwrap();
        let case = folder.path().join(name);
        fs::create_dir(&case).unwrap();
        let bytes: Vec<u8> = rows
            .values()
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        fs::write(case.join("rows.f32"), bytes).unwrap();
        fs::write(case.join("case.json"), r#"{"features": 4}"#).unwrap();
        fs::write(case.join("model.json"), xgboost::to_json(&model)).unwrap();
        fs::write(case.join("model.ubj"), xgboost::to_ubjson(&model)).unwrap();
        oracle("predict", &case);
        check(&model, rows.values(), &case, ".json");
        check(&model, rows.values(), &case, ".ubj");
    }
}
