//! A forest as it was trained: what it predicts, from what, and every node with the figures it was grown by.
//!
//! A [`Tree`] cannot be wrong: its nodes hang together without a circle, no number in it is NaN, and it is not deeper than
//! the explainer's recursion can go. Whoever makes one is told what is wrong with it.

/// The deepest tree that is accepted; trees of this kind have a depth of 3 to 16.
pub(crate) const MAX_DEPTH: usize = 256;

/// The most features a model may know of.
pub(crate) const MAX_FEATURES: usize = 1 << 24;

/// What a model's margin means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// The log-odds of the positive class: `binary:logistic`.
    Logistic,
    /// The value itself: `reg:squarederror`.
    SquaredError,
}

impl Objective {
    /// The name XGBoost has for it.
    pub fn name(self) -> &'static str {
        match self {
            Objective::Logistic => "binary:logistic",
            Objective::SquaredError => "reg:squarederror",
        }
    }

    /// What a margin says, in the 32-bit arithmetic of XGBoost: a probability, or the value itself.
    pub fn transform(self, margin: f32) -> f32 {
        match self {
            // The two odd constants keep XGBoost's result from overflow and from a division by zero.
            Objective::Logistic => 1.0 / ((-margin).min(88.7).exp() + 1.0 + 1e-16),
            Objective::SquaredError => margin,
        }
    }

    /// The margin that stands for `base_score`.
    pub(crate) fn margin_of(self, base_score: f32) -> f32 {
        match self {
            Objective::Logistic => -(1.0 / base_score - 1.0).ln(),
            Objective::SquaredError => base_score,
        }
    }
}

/// One node of a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    /// Goes left when the feature is below the threshold.
    Split {
        /// Which number of the row is looked at.
        feature: u32,
        /// Below it, the way leads left.
        threshold: f32,
        /// Where a missing number leads.
        default_left: bool,
        /// The node on the left.
        left: u32,
        /// The node on the right.
        right: u32,
        /// By how much this split lowered the loss in training.
        gain: f32,
        /// The weight (sum of hessians) of the training rows that came by.
        cover: f32,
    },
    /// The end of the way.
    Leaf {
        /// What is added to the margin.
        value: f32,
        /// The weight (sum of hessians) of the training rows that ended here.
        cover: f32,
    },
}

impl Node {
    /// The weight (sum of hessians) of the training rows that came by.
    pub fn cover(&self) -> f32 {
        match self {
            Node::Split { cover, .. } | Node::Leaf { cover, .. } => *cover,
        }
    }
}

/// A tree. Node 0 is its root, and parents come before their children.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    nodes: Vec<Node>,
    depth: usize,
}

impl Tree {
    /// A tree of these nodes, of which the first is the root. Nodes that cannot be reached are dropped.
    ///
    /// # Errors
    /// When the nodes are no tree, a number is none, or it is too deep.
    pub fn new(nodes: &[Node], features: usize) -> Result<Tree, ModelError> {
        let mut kept: Vec<Node> = Vec::with_capacity(nodes.len());
        let mut seen = vec![false; nodes.len()];
        // Breadth first: the old number of every node in its new place, so that a level ends where the next begins.
        let mut order = vec![0_usize];
        let mut level_ends = 1;
        let mut depth = 0;
        let mut next = 0;
        while next < order.len() {
            if next == level_ends {
                level_ends = order.len();
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(ModelError::TooDeep);
                }
            }
            let number = order[next];
            let node = *nodes.get(number).ok_or(ModelError::Empty)?;
            if std::mem::replace(&mut seen[number], true) {
                return Err(ModelError::Circle { node: number });
            }
            check(number, &node, features)?;
            kept.push(match node {
                Node::Split { left, right, .. } => {
                    for child in [left, right] {
                        if child as usize >= nodes.len() {
                            return Err(ModelError::NoSuchChild {
                                node: number,
                                child,
                                nodes: nodes.len(),
                            });
                        }
                    }
                    let first = order.len();
                    order.extend([left as usize, right as usize]);
                    renumbered(node, first)
                }
                Node::Leaf { .. } => node,
            });
            next += 1;
        }
        Ok(Tree { nodes: kept, depth })
    }

    /// The nodes, the root first, every node's two children beside each other.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many splits the longest way has.
    pub fn depth(&self) -> usize {
        self.depth
    }
}

fn renumbered(node: Node, first_child: usize) -> Node {
    // There are no more nodes than the numbers they were given as had room for.
    let first = u32::try_from(first_child).unwrap_or(u32::MAX);
    match node {
        Node::Split {
            feature,
            threshold,
            default_left,
            gain,
            cover,
            ..
        } => Node::Split {
            feature,
            threshold,
            default_left,
            left: first,
            right: first + 1,
            gain,
            cover,
        },
        Node::Leaf { .. } => node,
    }
}

fn check(number: usize, node: &Node, features: usize) -> Result<(), ModelError> {
    let wrong = |what| ModelError::Number { node: number, what };
    let cover = node.cover();
    if !cover.is_finite() || cover < 0.0 {
        return Err(wrong("cover"));
    }
    match *node {
        Node::Split {
            feature,
            threshold,
            gain,
            ..
        } => {
            if feature as usize >= features {
                return Err(ModelError::NoSuchFeature {
                    node: number,
                    feature,
                    features,
                });
            }
            if !threshold.is_finite() {
                return Err(wrong("threshold"));
            }
            if !gain.is_finite() {
                return Err(wrong("gain"));
            }
        }
        Node::Leaf { value, .. } => {
            if !value.is_finite() {
                return Err(wrong("value"));
            }
        }
    }
    Ok(())
}

/// A forest and what its sum means.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    objective: Objective,
    base_score: f32,
    features: usize,
    feature_names: Vec<String>,
    trees: Vec<Tree>,
}

impl Model {
    /// A model of these trees. `base_score` is what no tree at all would predict: a probability or a value.
    ///
    /// # Errors
    /// When the base score is none the objective can have, or the names are not one for each feature.
    pub fn new(
        objective: Objective,
        base_score: f32,
        features: usize,
        feature_names: Vec<String>,
        trees: Vec<Tree>,
    ) -> Result<Model, ModelError> {
        if !base_score.is_finite() || !objective.margin_of(base_score).is_finite() {
            return Err(ModelError::BaseScore { base_score });
        }
        if features > MAX_FEATURES {
            return Err(ModelError::TooManyFeatures { features });
        }
        if !feature_names.is_empty() && feature_names.len() != features {
            return Err(ModelError::Names {
                names: feature_names.len(),
                features,
            });
        }
        Ok(Model {
            objective,
            base_score,
            features,
            feature_names,
            trees,
        })
    }

    /// What the margin means.
    pub fn objective(&self) -> Objective {
        self.objective
    }

    /// What no tree at all would predict.
    pub fn base_score(&self) -> f32 {
        self.base_score
    }

    /// The margin every row starts with.
    pub fn base_margin(&self) -> f32 {
        self.objective.margin_of(self.base_score)
    }

    /// How many numbers a row has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The features' names; empty when nobody gave them any.
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// The trees, in the order they are summed.
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// How much each feature's splits lowered the loss in training, all together.
    pub fn total_gain(&self) -> Vec<f64> {
        let mut total = vec![0.0; self.features];
        for node in self.trees.iter().flat_map(Tree::nodes) {
            if let Node::Split { feature, gain, .. } = node {
                total[*feature as usize] += f64::from(*gain);
            }
        }
        total
    }
}

/// Why something is no model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// A tree without a root.
    #[error("it has no nodes")]
    Empty,
    /// A child that does not exist.
    #[error("node {node} names node {child} as its child, and there are {nodes} nodes")]
    NoSuchChild {
        /// The parent.
        node: usize,
        /// What it names.
        child: u32,
        /// How many there are.
        nodes: usize,
    },
    /// Two ways to the same node.
    #[error("node {node} can be reached in two ways, so it is no tree")]
    Circle {
        /// The node.
        node: usize,
    },
    /// A feature that does not exist.
    #[error("node {node} splits on feature {feature}, and there are {features}, counted from 0")]
    NoSuchFeature {
        /// The node.
        node: usize,
        /// What it names.
        feature: u32,
        /// How many there are.
        features: usize,
    },
    /// A number nothing can be computed with.
    #[error("the {what} of node {node} is not a number it can have")]
    Number {
        /// The node.
        node: usize,
        /// Which of its numbers.
        what: &'static str,
    },
    /// A tree deeper than can be explained.
    #[error("it is deeper than {MAX_DEPTH} splits")]
    TooDeep,
    /// A base score outside what the objective predicts.
    #[error("the base score {base_score} is none that this objective can predict")]
    BaseScore {
        /// The score.
        base_score: f32,
    },
    /// More features than any row could have.
    #[error("{features} features are more than the {MAX_FEATURES} that are supported")]
    TooManyFeatures {
        /// How many.
        features: usize,
    },
    /// Names that don't fit the features.
    #[error("there are {names} feature names for {features} features")]
    Names {
        /// How many names.
        names: usize,
        /// How many features.
        features: usize,
    },
}
