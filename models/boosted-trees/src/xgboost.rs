//! XGBoost's own model files, JSON and UBJSON, read and written.
//!
//! The files hold each tree as parallel arrays; a leaf keeps its value in the array of thresholds and has -1 for children.
//! Numbers of the header are strings, and the base score is a string that newer versions put into brackets. What we can't
//! predict the way XGBoost does is refused: other boosters and objectives, several outputs, categorical splits.

mod document;
mod ubjson;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::model::{Model, ModelError, Node, Objective, Tree};

pub use ubjson::UbjsonError;

/// A model from XGBoost's JSON.
///
/// # Errors
/// When these bytes are no such file, or one of a model that isn't supported.
pub fn from_json(bytes: &[u8]) -> Result<Model, LoadError> {
    let document: Document = serde_json::from_slice(bytes).map_err(LoadError::Json)?;
    model(document)
}

/// A model from XGBoost's UBJSON, its default since version 2.1.
///
/// # Errors
/// When these bytes are no such file, or one of a model that isn't supported.
pub fn from_ubjson(bytes: &[u8]) -> Result<Model, LoadError> {
    let document: Document = ubjson::from_slice(bytes).map_err(LoadError::Ubjson)?;
    model(document)
}

/// A model from either form. They tell themselves apart in the second byte, where UBJSON has the type of a key's length.
///
/// # Errors
/// When these bytes are no such file, or one of a model that isn't supported.
pub fn from_bytes(bytes: &[u8]) -> Result<Model, LoadError> {
    match bytes {
        [b'{', b'i' | b'U' | b'I' | b'l' | b'L' | b'$' | b'#', ..] => from_ubjson(bytes),
        _ => from_json(bytes),
    }
}

/// The model as XGBoost's JSON.
pub fn to_json(model: &Model) -> Vec<u8> {
    document::of(model).to_json()
}

/// The model as XGBoost's UBJSON, which takes half the room.
pub fn to_ubjson(model: &Model) -> Vec<u8> {
    document::of(model).to_ubjson()
}

/// Why a file is no model we can predict with.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No JSON, or none of this shape.
    #[error("this is no XGBoost model in JSON")]
    Json(#[source] serde_json::Error),
    /// No UBJSON, or none of this shape.
    #[error("this is no XGBoost model in UBJSON")]
    Ubjson(#[source] UbjsonError),
    /// A field that holds something else than it should.
    #[error("`{field}` is `{value}`; expected is {expected}")]
    Field {
        /// Where in the file.
        field: &'static str,
        /// What is there.
        value: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A model of a kind that isn't supported.
    #[error("this model has {what}, which is not supported; {hint}")]
    Unsupported {
        /// The kind.
        what: String,
        /// What would do.
        hint: &'static str,
    },
    /// Arrays of a tree that don't fit each other.
    #[error("in tree {tree}, `{array}` has {length} entries for {nodes} nodes")]
    Length {
        /// Which tree.
        tree: usize,
        /// Which array.
        array: &'static str,
        /// Its length.
        length: usize,
        /// What it should be.
        nodes: usize,
    },
    /// A number of a tree that is none of what it counts.
    #[error("in tree {tree}, `{array}` has {value} for node {node}")]
    Index {
        /// Which tree.
        tree: usize,
        /// Which array.
        array: &'static str,
        /// Which node.
        node: usize,
        /// What is there.
        value: i64,
    },
    /// Nodes that make no tree.
    #[error("tree {tree} is no tree")]
    Tree {
        /// Which tree.
        tree: usize,
        /// Why.
        #[source]
        source: ModelError,
    },
    /// Trees that make no model.
    #[error("the trees make no model")]
    Model(#[source] ModelError),
}

#[derive(Deserialize)]
struct Document {
    learner: Learner,
}

#[derive(Deserialize)]
struct Learner {
    learner_model_param: LearnerParam,
    gradient_booster: Booster,
    objective: ObjectiveName,
    #[serde(default)]
    feature_names: Vec<String>,
}

#[derive(Deserialize)]
struct LearnerParam {
    base_score: String,
    num_feature: String,
    #[serde(default)]
    num_class: String,
    #[serde(default)]
    num_target: String,
}

#[derive(Deserialize)]
struct ObjectiveName {
    name: String,
}

#[derive(Deserialize)]
struct Booster {
    name: String,
    #[serde(default)]
    model: Option<Forest>,
}

#[derive(Deserialize)]
struct Forest {
    trees: Vec<Arrays>,
    #[serde(default)]
    tree_info: Vec<i64>,
}

#[derive(Deserialize)]
struct Arrays {
    left_children: Vec<i64>,
    right_children: Vec<i64>,
    split_indices: Vec<i64>,
    split_conditions: Vec<f32>,
    default_left: Vec<Flag>,
    sum_hessian: Vec<f32>,
    #[serde(default)]
    loss_changes: Vec<f32>,
    #[serde(default)]
    split_type: Vec<i64>,
    tree_param: TreeParam,
}

#[derive(Deserialize)]
struct TreeParam {
    #[serde(default)]
    size_leaf_vector: String,
}

/// A truth that is written as `true`, or as 1.
#[derive(Clone, Copy)]
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Flag;
            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.write_str("true, false, 0 or 1")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Flag, E> {
                Ok(Flag(value != 0))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Flag, E> {
                Ok(Flag(value != 0))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

fn model(document: Document) -> Result<Model, LoadError> {
    let learner = document.learner;
    let param = learner.learner_model_param;
    let objective = [Objective::Logistic, Objective::SquaredError]
        .into_iter()
        .find(|objective| objective.name() == learner.objective.name)
        .ok_or_else(|| LoadError::Unsupported {
            what: format!("the objective `{}`", shown(&learner.objective.name)),
            hint: "binary:logistic and reg:squarederror are",
        })?;
    let forest = match (
        learner.gradient_booster.name.as_str(),
        learner.gradient_booster.model,
    ) {
        ("gbtree", Some(forest)) => forest,
        (name, _) => {
            return Err(LoadError::Unsupported {
                what: format!("the booster `{}`", shown(name)),
                hint: "gbtree is",
            });
        }
    };
    for (number, what) in [
        (&param.num_class, "several classes"),
        (&param.num_target, "several targets"),
    ] {
        if !matches!(number.as_str(), "" | "0" | "1") {
            return Err(LoadError::Unsupported {
                what: what.to_owned(),
                hint: "one output is",
            });
        }
    }
    if forest.tree_info.iter().any(|group| *group != 0) {
        return Err(LoadError::Unsupported {
            what: "trees of several outputs".to_owned(),
            hint: "one output is",
        });
    }
    let features = param.num_feature.parse().map_err(|_| LoadError::Field {
        field: "num_feature",
        value: shown(&param.num_feature),
        expected: "a whole number",
    })?;
    let base_score = base_score(&param.base_score)?;
    let trees = forest.trees.iter().enumerate();
    let trees = trees
        .map(|(number, arrays)| tree(number, arrays, features))
        .collect::<Result<_, _>>()?;
    Model::new(
        objective,
        base_score,
        features,
        learner.feature_names,
        trees,
    )
    .map_err(LoadError::Model)
}

/// `5E-1`, or `[5E-1]` as newer versions have it, with one entry for each output.
fn base_score(text: &str) -> Result<f32, LoadError> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if bare.contains(',') {
        return Err(LoadError::Unsupported {
            what: "a base score for each of several outputs".to_owned(),
            hint: "one output is",
        });
    }
    bare.trim().parse().map_err(|_| LoadError::Field {
        field: "base_score",
        value: shown(text),
        expected: "a number, or one in brackets",
    })
}

fn tree(number: usize, arrays: &Arrays, features: usize) -> Result<Tree, LoadError> {
    let nodes = arrays.left_children.len();
    if !matches!(arrays.tree_param.size_leaf_vector.as_str(), "" | "0" | "1") {
        return Err(LoadError::Unsupported {
            what: "leaves with several values".to_owned(),
            hint: "one output is",
        });
    }
    if let Some(node) = arrays.split_type.iter().position(|kind| *kind != 0) {
        return Err(LoadError::Unsupported {
            what: format!("a categorical split (tree {number}, node {node})"),
            hint: "encode categories as numbers before training",
        });
    }
    let optional = |length: usize| if length == 0 { nodes } else { length };
    for (array, length) in [
        ("right_children", arrays.right_children.len()),
        ("split_indices", arrays.split_indices.len()),
        ("split_conditions", arrays.split_conditions.len()),
        ("default_left", arrays.default_left.len()),
        ("sum_hessian", arrays.sum_hessian.len()),
        ("loss_changes", optional(arrays.loss_changes.len())),
        ("split_type", optional(arrays.split_type.len())),
    ] {
        if length != nodes {
            return Err(LoadError::Length {
                tree: number,
                array,
                length,
                nodes,
            });
        }
    }
    let nodes: Vec<Node> = (0..nodes)
        .map(|index| node(number, arrays, index))
        .collect::<Result<_, _>>()?;
    Tree::new(&nodes, features).map_err(|source| LoadError::Tree {
        tree: number,
        source,
    })
}

fn node(tree: usize, arrays: &Arrays, index: usize) -> Result<Node, LoadError> {
    let cover = arrays.sum_hessian[index];
    if arrays.left_children[index] == -1 {
        return Ok(Node::Leaf {
            value: arrays.split_conditions[index],
            cover,
        });
    }
    let unsigned = |array: &'static str, value: i64| {
        u32::try_from(value).map_err(|_| LoadError::Index {
            tree,
            array,
            node: index,
            value,
        })
    };
    Ok(Node::Split {
        feature: unsigned("split_indices", arrays.split_indices[index])?,
        threshold: arrays.split_conditions[index],
        default_left: arrays.default_left[index].0,
        left: unsigned("left_children", arrays.left_children[index])?,
        right: unsigned("right_children", arrays.right_children[index])?,
        gain: arrays.loss_changes.get(index).copied().unwrap_or(0.0),
        cover,
    })
}

/// Text of a file, fit to be shown.
fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}
