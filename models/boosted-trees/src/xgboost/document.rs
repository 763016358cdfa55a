//! A model as the document XGBoost writes, in JSON and in UBJSON.
//!
//! UBJSON has typed arrays, and XGBoost reads each array only as the type it writes itself, so the types here are its own.

use crate::model::{Model, Node, Tree};

/// The version of XGBoost whose form this is.
const FORM: [i64; 3] = [2, 1, 0];

pub(super) enum Value {
    Text(String),
    Integer(i64),
    List(Vec<Value>),
    Object(Vec<(&'static str, Value)>),
    Bytes(Vec<u8>),
    Integers(Vec<i32>),
    Longs(Vec<i64>),
    Floats(Vec<f32>),
}

fn text(text: impl ToString) -> Value {
    Value::Text(text.to_string())
}

fn integers(numbers: impl Iterator<Item = i32>) -> Value {
    Value::List(
        numbers
            .map(|number| Value::Integer(i64::from(number)))
            .collect(),
    )
}

pub(super) fn of(model: &Model) -> Value {
    let forest = of_forest(model.trees(), model.features());
    let names = model.feature_names().iter().map(text).collect();
    let types = model
        .feature_names()
        .iter()
        .map(|_| text("float"))
        .collect();
    let learner = Value::Object(vec![
        ("attributes", Value::Object(vec![])),
        ("feature_names", Value::List(names)),
        ("feature_types", Value::List(types)),
        (
            "gradient_booster",
            Value::Object(vec![("model", forest), ("name", text("gbtree"))]),
        ),
        (
            "learner_model_param",
            Value::Object(vec![
                ("base_score", text(format!("{:E}", model.base_score()))),
                ("boost_from_average", text(1)),
                ("num_class", text(0)),
                ("num_feature", text(model.features())),
                ("num_target", text(1)),
            ]),
        ),
        (
            "objective",
            Value::Object(vec![
                ("name", text(model.objective().name())),
                (
                    "reg_loss_param",
                    Value::Object(vec![("scale_pos_weight", text(1))]),
                ),
            ]),
        ),
    ]);
    let version = FORM.into_iter().map(Value::Integer).collect();
    Value::Object(vec![
        ("learner", learner),
        ("version", Value::List(version)),
    ])
}

fn of_forest(trees: &[Tree], features: usize) -> Value {
    Value::Object(vec![
        (
            "gbtree_model_param",
            Value::Object(vec![
                ("num_parallel_tree", text(1)),
                ("num_trees", text(trees.len())),
            ]),
        ),
        ("iteration_indptr", integers((0..=trees.len()).map(as_i32))),
        ("tree_info", integers(trees.iter().map(|_| 0))),
        (
            "trees",
            Value::List(
                trees
                    .iter()
                    .enumerate()
                    .map(|(number, tree)| of_tree(number, tree, features))
                    .collect(),
            ),
        ),
    ])
}

/// Trees are bounded far below this, but for what memory holds.
fn as_i32(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// XGBoost's mark for "there is none".
const NO_PARENT: i32 = i32::MAX;

fn of_tree(number: usize, tree: &Tree, features: usize) -> Value {
    let count = tree.nodes().len();
    let mut parents = vec![NO_PARENT; count];
    let (mut left, mut right) = (vec![-1; count], vec![-1; count]);
    let mut feature = vec![0; count];
    let mut default_left = vec![0; count];
    let (mut condition, mut gain) = (vec![0.0; count], vec![0.0; count]);
    for (index, node) in tree.nodes().iter().enumerate() {
        match *node {
            Node::Split {
                feature: on,
                threshold,
                default_left: missing_left,
                left: below,
                right: above,
                gain: gained,
                ..
            } => {
                for (child, side) in [(below, &mut left), (above, &mut right)] {
                    side[index] = as_i32(child as usize);
                    parents[child as usize] = as_i32(index);
                }
                feature[index] = as_i32(on as usize);
                default_left[index] = u8::from(missing_left);
                condition[index] = threshold;
                gain[index] = gained;
            }
            Node::Leaf { value, .. } => condition[index] = value,
        }
    }
    // Nothing reads the weights of inner nodes but XGBoost's approximate explanations.
    let weights = vec![0.0; count];
    let cover = tree.nodes().iter().map(Node::cover).collect();
    Value::Object(vec![
        ("base_weights", Value::Floats(weights)),
        ("categories", Value::Integers(vec![])),
        ("categories_nodes", Value::Integers(vec![])),
        ("categories_segments", Value::Longs(vec![])),
        ("categories_sizes", Value::Longs(vec![])),
        ("default_left", Value::Bytes(default_left)),
        ("id", Value::Integer(i64::from(as_i32(number)))),
        ("left_children", Value::Integers(left)),
        ("loss_changes", Value::Floats(gain)),
        ("parents", Value::Integers(parents)),
        ("right_children", Value::Integers(right)),
        ("split_conditions", Value::Floats(condition)),
        ("split_indices", Value::Integers(feature)),
        ("split_type", Value::Bytes(vec![0; count])),
        ("sum_hessian", Value::Floats(cover)),
        (
            "tree_param",
            Value::Object(vec![
                ("num_deleted", text(0)),
                ("num_feature", text(features)),
                ("num_nodes", text(count)),
                ("size_leaf_vector", text(1)),
            ]),
        ),
    ])
}

impl Value {
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut out = String::new();
        self.write_json(&mut out);
        out.into_bytes()
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Value::Text(text) => quote(text, out),
            Value::Integer(number) => out.push_str(&number.to_string()),
            Value::List(values) => list(values, out, |value, out| value.write_json(out)),
            Value::Object(fields) => {
                out.push('{');
                for (index, (key, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    quote(key, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
            Value::Bytes(numbers) => list(numbers, out, |number, out| *out += &number.to_string()),
            Value::Integers(numbers) => {
                list(numbers, out, |number, out| *out += &number.to_string());
            }
            Value::Longs(numbers) => list(numbers, out, |number, out| *out += &number.to_string()),
            // The shortest digits that lead back to the same number.
            Value::Floats(numbers) => list(numbers, out, |number, out| {
                *out += &format!("{number:E}");
            }),
        }
    }

    pub(super) fn to_ubjson(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_ubjson(&mut out);
        out
    }

    fn write_ubjson(&self, out: &mut Vec<u8>) {
        match self {
            Value::Text(text) => {
                out.push(b'S');
                counted(text.as_bytes(), out);
            }
            Value::Integer(number) => {
                out.push(b'L');
                out.extend(number.to_be_bytes());
            }
            Value::List(values) => {
                out.extend(b"[#");
                length(values.len(), out);
                for value in values {
                    value.write_ubjson(out);
                }
            }
            Value::Object(fields) => {
                out.push(b'{');
                for (key, value) in fields {
                    counted(key.as_bytes(), out);
                    value.write_ubjson(out);
                }
                out.push(b'}');
            }
            Value::Bytes(numbers) => typed(b'U', numbers, out, |number| number.to_be_bytes()),
            Value::Integers(numbers) => typed(b'l', numbers, out, |number| number.to_be_bytes()),
            Value::Longs(numbers) => typed(b'L', numbers, out, |number| number.to_be_bytes()),
            Value::Floats(numbers) => typed(b'd', numbers, out, |number| number.to_be_bytes()),
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn list<T>(values: &[T], out: &mut String, write: impl Fn(&T, &mut String)) {
    out.push('[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(value, out);
    }
    out.push(']');
}

fn length(length: usize, out: &mut Vec<u8>) {
    out.push(b'L');
    out.extend((length as u64).to_be_bytes());
}

fn counted(bytes: &[u8], out: &mut Vec<u8>) {
    length(bytes.len(), out);
    out.extend(bytes);
}

fn typed<T: Copy, const N: usize>(
    marker: u8,
    numbers: &[T],
    out: &mut Vec<u8>,
    bytes: impl Fn(T) -> [u8; N],
) {
    out.extend([b'[', b'$', marker, b'#']);
    length(numbers.len(), out);
    out.extend(numbers.iter().flat_map(|number| bytes(*number)));
}
