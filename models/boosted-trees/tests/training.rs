//! Training and explaining, by their properties.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::ops::ControlFlow;

use boosted_trees::train::{Monotone, Params, TrainError, train};
use boosted_trees::{Dataset, Explainer, Model, Node, Objective, Predictor, Tree, xgboost};
use proptest::prelude::*;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Rows of which the first two features say something, the third adds noise, and some numbers are missing.
fn rows(count: usize, seed: u64) -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows = Dataset::new(3);
    for _ in 0..count {
        let mut row: [f32; 3] = std::array::from_fn(|_| rng.random_range(-1.0..1.0));
        let likely = if row[0] * row[1] > 0.0 { 0.95 } else { 0.05 };
        let label = if rng.random_bool(likely) { 1.0 } else { 0.0 };
        for number in &mut row {
            if rng.random_bool(0.05) {
                *number = f32::NAN;
            }
        }
        rows.push(&row, label, 1.0);
    }
    rows
}

fn grown(params: &Params, rows: &Dataset) -> Model {
    train(
        params,
        rows,
        None,
        Vec::new(),
        |_| ControlFlow::Continue(()),
    )
    .unwrap()
}

fn accuracy(model: &Model, rows: &Dataset) -> f64 {
    let predictor = Predictor::new(model);
    let right = (0..rows.len())
        .filter(|row| (predictor.margin(rows.row(*row)) > 0.0) == (rows.labels()[*row] > 0.5));
    right.count() as f64 / rows.len() as f64
}

#[test]
fn what_one_feature_alone_cannot_tell_is_learned() {
    let params = Params {
        rounds: 60,
        max_depth: 4,
        ..Params::default()
    };
    let model = grown(&params, &rows(4000, 1));
    let accuracy = accuracy(&model, &rows(2000, 2));
    assert!(accuracy > 0.88, "{accuracy}");
    let gain = model.total_gain();
    assert!(
        gain[0] > 4.0 * gain[2] && gain[1] > 4.0 * gain[2],
        "{gain:?}"
    );
}

#[test]
fn the_same_data_and_seed_make_the_same_bytes_on_any_number_of_threads() {
    // Enough rows for the work to be handed out.
    let rows = rows(9000, 3);
    let params = Params {
        rounds: 8,
        subsample: 0.8,
        colsample: 0.7,
        seed: 5,
        ..Params::default()
    };
    let bytes = |threads: usize, params: &Params| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| xgboost::to_ubjson(&grown(params, &rows)))
    };
    let one = bytes(1, &params);
    assert_eq!(one, bytes(4, &params));
    assert_ne!(
        one,
        bytes(
            4,
            &Params {
                seed: 6,
                ..params.clone()
            }
        )
    );
}

#[test]
fn training_stops_when_the_validation_rows_gain_nothing_more() {
    let (learned, watched) = (rows(800, 7), rows(400, 8));
    let params = Params {
        rounds: 400,
        early_stopping: Some(10),
        ..Params::default()
    };
    let mut losses = Vec::new();
    let model = train(&params, &learned, Some(&watched), Vec::new(), |step| {
        losses.push(step.validation_loss.unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(losses.len() < 400);
    assert_eq!(losses.len(), model.trees().len() + 10);
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses[model.trees().len() - 1], best);
}

#[test]
fn whoever_watches_may_end_it() {
    let model = train(
        &Params::default(),
        &rows(500, 9),
        None,
        Vec::new(),
        |step| {
            if step.trees == 7 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    );
    assert_eq!(model.unwrap().trees().len(), 7);
}

#[test]
fn a_heavier_class_is_predicted_more_often() {
    let rows = rows(3000, 11);
    let positives = |weight: f64| {
        let params = Params {
            rounds: 20,
            max_depth: 3,
            positive_weight: weight,
            ..Params::default()
        };
        let predictor = Predictor::new(&grown(&params, &rows));
        (0..rows.len())
            .filter(|row| predictor.margin(rows.row(*row)) > 0.0)
            .count()
    };
    assert!(positives(20.0) > positives(1.0) + 200);
}

#[test]
fn a_row_without_weight_teaches_nothing() {
    let mut rows = Dataset::new(1);
    for number in 0_u8..200 {
        // Above 100 all is positive but for rows that do not count.
        let label = if number > 100 && number % 2 == 0 {
            1.0
        } else {
            0.0
        };
        let weight = if number > 100 && label == 0.0 {
            0.0
        } else {
            1.0
        };
        rows.push(&[f32::from(number)], label, weight);
    }
    let predictor = Predictor::new(&grown(&Params::default(), &rows));
    assert!(predictor.predict(&[150.0]) > 0.9);
    assert!(predictor.predict(&[50.0]) < 0.1);
}

#[test]
fn a_monotone_feature_never_moves_the_prediction_back() {
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let mut rows = Dataset::new(2);
    for _ in 0..3000 {
        let row = [rng.random_range(0.0..10.0_f32), rng.random_range(0.0..10.0)];
        rows.push(
            &row,
            (row[0] * 2.0).sin() + row[0] / 5.0 + row[1].cos(),
            1.0,
        );
    }
    for (constraint, sign) in [(Monotone::Increasing, 1.0), (Monotone::Decreasing, -1.0)] {
        let params = Params {
            objective: Objective::SquaredError,
            monotone: vec![constraint, Monotone::Free],
            rounds: 40,
            ..Params::default()
        };
        let predictor = Predictor::new(&grown(&params, &rows));
        for other in 0..20 {
            let along = (0..200)
                .map(|step| sign * predictor.predict(&[step as f32 / 20.0, other as f32 / 2.0]));
            let along: Vec<f32> = along.collect();
            assert!(along.windows(2).all(|pair| pair[0] <= pair[1] + 1e-5));
        }
    }
}

#[test]
fn odd_data_is_learned_or_refused() {
    let same = |label: f32| {
        let mut rows = Dataset::new(2);
        for _ in 0..50 {
            rows.push(&[f32::NAN, 1.0], label, 1.0);
        }
        rows
    };
    for label in [0.0, 1.0] {
        let model = grown(
            &Params {
                rounds: 3,
                ..Params::default()
            },
            &same(label),
        );
        let predicted = Predictor::new(&model).predict(&[0.0, f32::INFINITY]);
        assert!((predicted - label).abs() < 0.01);
    }
    let mut infinite = same(0.0);
    infinite.push(&[f32::INFINITY, f32::NEG_INFINITY], 1.0, 1.0);
    infinite.push(&[f32::MAX, f32::MIN], 1.0, 1.0);
    grown(
        &Params {
            rounds: 3,
            min_child_weight: 0.0,
            ..Params::default()
        },
        &infinite,
    );
    let refused = |params: Params, rows: &Dataset| {
        train(&params, rows, None, Vec::new(), |_| {
            ControlFlow::Continue(())
        })
        .unwrap_err()
    };
    assert_eq!(
        refused(Params::default(), &Dataset::new(3)),
        TrainError::NoRows
    );
    assert!(matches!(
        refused(Params::default(), &same(2.0)),
        TrainError::Row {
            what: "label",
            row: 0,
            ..
        }
    ));
    assert!(matches!(
        refused(
            Params {
                eta: f64::NAN,
                ..Params::default()
            },
            &same(0.0)
        ),
        TrainError::Param { name: "eta", .. }
    ));
}

/// Any tree over four features, from splits that are taken as long as there are some.
fn any_tree() -> impl Strategy<Value = Tree> {
    let split = (0_u32..4, -3_i8..4, any::<bool>(), 0.0_f32..1.0);
    (
        proptest::collection::vec(split, 0..25),
        proptest::collection::vec(-2.0_f32..2.0, 26),
        any::<u64>(),
    )
        .prop_map(|(splits, values, order)| {
            let mut rng = ChaCha8Rng::seed_from_u64(order);
            let mut nodes = vec![Node::Leaf {
                value: values[0],
                cover: 64.0,
            }];
            for (index, (feature, threshold, default_left, share)) in splits.into_iter().enumerate()
            {
                let leaves: Vec<usize> = (0..nodes.len())
                    .filter(|node| matches!(nodes[*node], Node::Leaf { .. }))
                    .collect();
                let at = leaves[rng.random_range(0..leaves.len())];
                let cover = nodes[at].cover();
                let left = u32::try_from(nodes.len()).unwrap();
                nodes[at] = Node::Split {
                    feature,
                    threshold: f32::from(threshold),
                    default_left,
                    left,
                    right: left + 1,
                    gain: 1.0,
                    cover,
                };
                nodes.push(Node::Leaf {
                    value: values[index],
                    cover: cover * share,
                });
                nodes.push(Node::Leaf {
                    value: values[index + 1],
                    cover: cover * (1.0 - share),
                });
            }
            Tree::new(&nodes, 4).unwrap()
        })
}

/// The value expected of `tree` when only the features in `known` are.
fn expected(tree: &Tree, node: u32, row: &[f32], known: u32) -> f64 {
    match tree.nodes()[node as usize] {
        Node::Leaf { value, .. } => f64::from(value),
        Node::Split {
            feature,
            threshold,
            default_left,
            left,
            right,
            ..
        } => {
            let number = row[feature as usize];
            if known >> feature & 1 == 1 {
                let goes_left = if number.is_nan() {
                    default_left
                } else {
                    number < threshold
                };
                return expected(tree, if goes_left { left } else { right }, row, known);
            }
            let [l, r] = [left, right].map(|child| f64::from(tree.nodes()[child as usize].cover()));
            let share = if l + r > 0.0 { l / (l + r) } else { 0.5 };
            share * expected(tree, left, row, known)
                + (1.0 - share) * expected(tree, right, row, known)
        }
    }
}

proptest! {
    #[test]
    fn contributions_are_shapleys_and_add_up_to_the_margin(
        trees in proptest::collection::vec(any_tree(), 1..4),
        row in proptest::array::uniform4(prop_oneof![(-4_i8..5).prop_map(f32::from), Just(f32::NAN)]),
    ) {
        let model = Model::new(Objective::Logistic, 0.25, 4, Vec::new(), trees).unwrap();
        let ours = Explainer::new(&model).explain(&row);
        let margin = f64::from(Predictor::new(&model).margin(&row));
        prop_assert!((ours.sum() - margin).abs() < 1e-4, "{} is not {}", ours.sum(), margin);
        // By the definition: the mean, over all sets of other known features, of what knowing this one adds.
        for feature in 0..4_u32 {
            let mut value = 0.0;
            for set in (0..16_u32).filter(|set| set >> feature & 1 == 0) {
                let size = set.count_ones() as usize;
                let weight = [1.0 / 4.0, 1.0 / 12.0, 1.0 / 12.0, 1.0 / 4.0][size];
                for tree in model.trees() {
                    value += weight * (expected(tree, 0, &row, set | 1 << feature) - expected(tree, 0, &row, set));
                }
            }
            let ours = ours.values[feature as usize];
            prop_assert!((ours - value).abs() < 1e-6, "feature {}: {} is not {}", feature, ours, value);
        }
        let outline = Explainer::new(&model).outline(&row);
        prop_assert!((outline.sum() - margin).abs() < 1e-4, "{} is not {}", outline.sum(), margin);
        let groups = ours.by_group(&[0, 1, 1, 0], 2);
        prop_assert!((groups.iter().sum::<f64>() + ours.bias - ours.sum()).abs() < 1e-9);
    }

    #[test]
    fn any_model_survives_both_files(trees in proptest::collection::vec(any_tree(), 0..4), base in 0.01_f32..0.99) {
        let names = ["plain", "with \"quotes\"", "ünïcode", ""].map(str::to_owned).to_vec();
        let model = Model::new(Objective::Logistic, base, 4, names, trees).unwrap();
        prop_assert_eq!(&xgboost::from_bytes(&xgboost::to_json(&model)).unwrap(), &model);
        prop_assert_eq!(&xgboost::from_bytes(&xgboost::to_ubjson(&model)).unwrap(), &model);
    }
}
