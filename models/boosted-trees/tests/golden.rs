//! A model file as XGBoost 3.2.0 wrote it (`oracle.py` made it), and what XGBoost predicted by it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use boosted_trees::xgboost::{self, LoadError};
use boosted_trees::{Explainer, Model, Predictor};
use serde_json::Value;

const JSON: &str = include_str!("data/golden.model.json");
const UBJSON: &[u8] = include_bytes!("data/golden.model.ubj");
const ANSWERS: &str = include_str!("data/golden.answers.json");

fn numbers(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().unwrap().iter();
    numbers
        .map(|number| number.as_f64().map_or(f32::NAN, |number| number as f32))
        .collect()
}

#[test]
fn both_forms_are_read_predicted_to_the_bit_and_explained() {
    let answers: Value = serde_json::from_str(ANSWERS).unwrap();
    let model = xgboost::from_bytes(JSON.as_bytes()).unwrap();
    assert_eq!(xgboost::from_bytes(UBJSON).unwrap(), model);
    let predictor = Predictor::new(&model);
    let explainer = Explainer::new(&model);
    let rows = answers["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 12);
    for (index, row) in rows.iter().enumerate() {
        let row = numbers(row);
        assert_eq!(predictor.margin(&row), numbers(&answers["margins"])[index]);
        assert_eq!(
            predictor.predict(&row),
            numbers(&answers["predictions"])[index]
        );
        let ours = explainer.explain(&row);
        let theirs = numbers(&answers["contributions"][index]);
        for (ours, theirs) in ours.values.iter().chain([&ours.bias]).zip(theirs) {
            assert!(
                (ours - f64::from(theirs)).abs() < 1e-5,
                "{ours} is not {theirs}"
            );
        }
    }
}

#[test]
fn what_we_write_we_read_again() {
    let model = xgboost::from_bytes(UBJSON).unwrap();
    assert_eq!(
        xgboost::from_bytes(&xgboost::to_json(&model)).unwrap(),
        model
    );
    assert_eq!(
        xgboost::from_bytes(&xgboost::to_ubjson(&model)).unwrap(),
        model
    );
}

/// Loads the golden model with one thing changed.
fn changed(change: impl Fn(&mut Value)) -> Result<Model, LoadError> {
    let mut document: Value = serde_json::from_str(JSON).unwrap();
    change(&mut document);
    xgboost::from_bytes(document.to_string().as_bytes())
}

fn tree(document: &mut Value) -> &mut Value {
    &mut document["learner"]["gradient_booster"]["model"]["trees"][2]
}

fn told(result: Result<Model, LoadError>) -> String {
    let error = result.unwrap_err();
    let mut told = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        told += ": ";
        told += &error.to_string();
        cause = error.source();
    }
    told
}

#[test]
fn the_base_score_may_be_bare_or_in_brackets() {
    let base = |text: &'static str| {
        changed(move |document| {
            document["learner"]["learner_model_param"]["base_score"] = text.into()
        })
    };
    assert_eq!(base("[3E-1]").unwrap(), base("3E-1").unwrap());
    assert!(told(base("[3E-1,2E-1]")).contains("several outputs"));
    assert!(told(base("much")).contains("`base_score` is `much`"));
    assert!(told(base("1.5")).contains("base score 1.5"));
    assert!(told(base("NaN")).contains("base score"));
}

#[test]
fn what_is_not_supported_is_named() {
    for (pointer, value, expected) in [
        (
            "/learner/objective/name",
            Value::from("multi:softmax"),
            "the objective `multi:softmax`",
        ),
        (
            "/learner/gradient_booster/name",
            "dart".into(),
            "the booster `dart`",
        ),
        (
            "/learner/learner_model_param/num_class",
            "3".into(),
            "several classes",
        ),
        (
            "/learner/learner_model_param/num_target",
            "2".into(),
            "several targets",
        ),
        (
            "/learner/gradient_booster/model/tree_info/1",
            1.into(),
            "trees of several outputs",
        ),
        (
            "/learner/gradient_booster/model/trees/2/split_type/0",
            1.into(),
            "a categorical split (tree 2, node 0)",
        ),
        (
            "/learner/gradient_booster/model/trees/2/tree_param/size_leaf_vector",
            "4".into(),
            "leaves with several values",
        ),
    ] {
        let told = told(changed(|document| {
            *document.pointer_mut(pointer).unwrap() = value.clone()
        }));
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn damage_is_told_with_its_place() {
    for (array, index, value, expected) in [
        (
            "left_children",
            0,
            Value::from(99),
            "tree 2 is no tree: node 0 names node 99",
        ),
        (
            "left_children",
            1,
            0.into(),
            "node 0 can be reached in two ways",
        ),
        ("left_children", 0, 2.into(), "can be reached in two ways"),
        (
            "right_children",
            0,
            (-7).into(),
            "in tree 2, `right_children` has -7 for node 0",
        ),
        (
            "split_indices",
            0,
            4.into(),
            "node 0 splits on feature 4, and there are 4",
        ),
        ("split_indices", 0, (-1).into(), "`split_indices` has -1"),
        ("sum_hessian", 1, (-1).into(), "the cover of node 1"),
        (
            "split_conditions",
            0,
            1e300_f64.into(),
            "number out of range",
        ),
        (
            "split_conditions",
            0,
            "x".into(),
            "this is no XGBoost model in JSON",
        ),
    ] {
        let result = changed(|document| tree(document)[array][index] = value.clone());
        let told = told(result);
        assert!(told.contains(expected), "{array}: {told}");
    }
    let shorter = changed(|document| {
        tree(document)["sum_hessian"].as_array_mut().unwrap().pop();
    });
    assert!(told(shorter).contains("in tree 2, `sum_hessian` has"));
    let empty = changed(|document| {
        for (_, array) in tree(document).as_object_mut().unwrap() {
            if let Some(array) = array.as_array_mut() {
                array.clear();
            }
        }
    });
    assert!(told(empty).contains("it has no nodes"));
}

#[test]
fn a_tree_too_deep_to_be_explained_is_refused() {
    let chain = |length: i64| {
        changed(move |document| {
            let nodes = 2 * length + 1;
            let ints = |f: &dyn Fn(i64) -> i64| Value::from((0..nodes).map(f).collect::<Vec<_>>());
            let tree = tree(document);
            tree["left_children"] = ints(&|node| {
                if node % 2 == 0 && node + 1 < nodes {
                    node + 1
                } else {
                    -1
                }
            });
            tree["right_children"] = ints(&|node| {
                if node % 2 == 0 && node + 1 < nodes {
                    node + 2
                } else {
                    -1
                }
            });
            for zeros in [
                "split_indices",
                "default_left",
                "split_type",
                "split_conditions",
                "sum_hessian",
                "loss_changes",
            ] {
                tree[zeros] = ints(&|_| 0);
            }
        })
    };
    let deep = chain(256).unwrap();
    // Deep as it may be, it is explained without trouble.
    let explained = Explainer::new(&deep).explain(&[-1.0, 0.0, 0.0, f32::NAN]);
    assert!(explained.sum().is_finite());
    assert!(told(chain(257)).contains("deeper than 256"));
    assert!(told(chain(100_000)).contains("deeper than 256"));
}
