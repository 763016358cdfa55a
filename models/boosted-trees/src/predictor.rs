//! A forest laid out for speed.
//!
//! All nodes lie in one array, a node's children beside each other, so that the next node is an addition away and no
//! branch has to be guessed. A leaf is its own child: a walk may go on after its end without harm, so that several trees (or
//! several rows) go down in step, and the processor has other work while it waits for memory. The sum is taken tree by
//! tree in 32 bits, as XGBoost takes it; a faster order would change the last bit.

use crate::model::{Model, Node, Objective, Tree};

/// How many walks go down in step.
const LANES: usize = 8;

/// How many rows go through a tree before the next tree's turn.
const BLOCK: usize = 64;

const DEFAULT_RIGHT: u32 = 1 << 31;

#[derive(Clone, Copy, Debug)]
struct FlatNode {
    /// NaN in a leaf: nothing is at least NaN, so the way never leads right of it.
    threshold: f32,
    feature: u32,
    left: u32,
    value: f32,
}

impl FlatNode {
    /// The next node of a row in which nothing is missing, or in which anything may be.
    #[inline(always)]
    fn next<const COMPLETE: bool>(self, row: &[f32]) -> u32 {
        let value = row[(self.feature & !DEFAULT_RIGHT) as usize];
        let missing = !COMPLETE && value.is_nan() & (self.feature & DEFAULT_RIGHT != 0);
        self.left + u32::from((value >= self.threshold) | missing)
    }
}

/// Predicts with a [`Model`].
#[derive(Clone, Debug)]
pub struct Predictor {
    objective: Objective,
    base_margin: f32,
    features: usize,
    nodes: Vec<FlatNode>,
    /// Root and depth of every tree.
    trees: Vec<(u32, u32)>,
}

impl Predictor {
    /// Lays out a model.
    ///
    /// # Panics
    /// When the model has more than four thousand million nodes.
    pub fn new(model: &Model) -> Predictor {
        let mut nodes = Vec::new();
        let trees = model
            .trees()
            .iter()
            .map(|tree| lay_out(tree, &mut nodes))
            .collect();
        Predictor {
            objective: model.objective(),
            base_margin: model.base_margin(),
            features: model.features(),
            nodes,
            trees,
        }
    }

    /// The sum of what the trees say about one row.
    ///
    /// # Panics
    /// When the row is shorter than the model's number of features.
    pub fn margin(&self, row: &[f32]) -> f32 {
        let row = &row[..self.features];
        if row.iter().any(|value| value.is_nan()) {
            self.sum::<false>(row)
        } else {
            self.sum::<true>(row)
        }
    }

    fn sum<const COMPLETE: bool>(&self, row: &[f32]) -> f32 {
        let mut sum = self.base_margin;
        let mut groups = self.trees.chunks_exact(LANES);
        for group in &mut groups {
            let mut at: [u32; LANES] = std::array::from_fn(|lane| group[lane].0);
            let depth = group.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
            for _ in 0..depth {
                for lane in &mut at {
                    *lane = self.nodes[*lane as usize].next::<COMPLETE>(row);
                }
            }
            for lane in at {
                sum += self.nodes[lane as usize].value;
            }
        }
        for (root, depth) in groups.remainder() {
            let mut at = *root;
            for _ in 0..*depth {
                at = self.nodes[at as usize].next::<COMPLETE>(row);
            }
            sum += self.nodes[at as usize].value;
        }
        sum
    }

    /// What the model predicts for one row: a probability or a value.
    ///
    /// # Panics
    /// When the row is shorter than the model's number of features.
    pub fn predict(&self, row: &[f32]) -> f32 {
        self.objective.transform(self.margin(row))
    }

    /// The margins of many rows, which lie one after the other. The same bits as [`Predictor::margin`] gives, sooner.
    ///
    /// # Panics
    /// When the length of `rows` is not that of `margins` times the number of features.
    pub fn margins(&self, rows: &[f32], margins: &mut [f32]) {
        let features = self.features;
        assert_eq!(
            rows.len(),
            margins.len() * features,
            "one margin for each row"
        );
        margins.fill(self.base_margin);
        if features == 0 {
            // Without a feature there is no split, and every tree is one leaf.
            for (root, _) in &self.trees {
                let value = self.nodes[*root as usize].value;
                margins.iter_mut().for_each(|margin| *margin += value);
            }
            return;
        }
        let blocks = rows.chunks(BLOCK * features).zip(margins.chunks_mut(BLOCK));
        for (rows, margins) in blocks {
            if rows.iter().any(|value| value.is_nan()) {
                self.add_block::<false>(rows, margins);
            } else {
                self.add_block::<true>(rows, margins);
            }
        }
    }

    /// Tree by tree over a block of rows that fits the fastest memory together with a tree.
    fn add_block<const COMPLETE: bool>(&self, rows: &[f32], margins: &mut [f32]) {
        let features = self.features;
        for (root, depth) in &self.trees {
            let mut groups = margins.chunks_exact_mut(LANES);
            for (rows, margins) in rows.chunks(LANES * features).zip(&mut groups) {
                let lanes: [&[f32]; LANES] =
                    std::array::from_fn(|lane| &rows[lane * features..(lane + 1) * features]);
                let mut at = [*root; LANES];
                for _ in 0..*depth {
                    for (at, row) in at.iter_mut().zip(lanes) {
                        *at = self.nodes[*at as usize].next::<COMPLETE>(row);
                    }
                }
                for (margin, at) in margins.iter_mut().zip(at) {
                    *margin += self.nodes[at as usize].value;
                }
            }
            let rest = groups.into_remainder();
            let first = rows.len() / features - rest.len();
            for (row, margin) in rows[first * features..].chunks_exact(features).zip(rest) {
                let mut at = *root;
                for _ in 0..*depth {
                    at = self.nodes[at as usize].next::<COMPLETE>(row);
                }
                *margin += self.nodes[at as usize].value;
            }
        }
    }

    /// What a margin says: a probability or a value.
    pub fn transform(&self, margin: f32) -> f32 {
        self.objective.transform(margin)
    }

    /// How many numbers a row has.
    pub fn features(&self) -> usize {
        self.features
    }
}

fn lay_out(tree: &Tree, flat: &mut Vec<FlatNode>) -> (u32, u32) {
    let root = u32::try_from(flat.len()).expect("a model has fewer nodes than memory has room for");
    for (index, node) in (root..).zip(tree.nodes()) {
        flat.push(match *node {
            Node::Split {
                feature,
                threshold,
                default_left,
                left,
                ..
            } => FlatNode {
                threshold,
                feature: if default_left {
                    feature
                } else {
                    feature | DEFAULT_RIGHT
                },
                left: root + left,
                value: 0.0,
            },
            Node::Leaf { value, .. } => FlatNode {
                threshold: f32::NAN,
                feature: 0,
                left: index,
                value,
            },
        });
    }
    let depth = u32::try_from(tree.depth()).expect("a tree's depth is bounded");
    (root, depth)
}
