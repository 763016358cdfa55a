//! What each feature contributed to a margin.
//!
//! Exact path-dependent `TreeSHAP` (Lundberg, Erion, Lee: "Consistent Individualized Feature Attribution for Tree Ensembles",
//! 2018, algorithm 2): a feature's contribution is its average effect over all orders in which features become known,
//! where an unknown feature goes down both ways in the proportion of the training rows. The contributions and the bias add
//! up to the margin. All of it is computed in 64 bits; XGBoost does it in 32 and differs from here on in the sixth digit.

use crate::model::{Model, Node, Tree};

/// Contributions to one row's margin.
#[derive(Clone, Debug, PartialEq)]
pub struct Contributions {
    /// The margin expected when nothing is known of the row.
    pub bias: f64,
    /// What each feature adds to that.
    pub values: Vec<f64>,
}

impl Contributions {
    /// Bias and contributions together: the margin.
    pub fn sum(&self) -> f64 {
        self.bias + self.values.iter().sum::<f64>()
    }

    /// The contributions added up by group; `groups[feature]` is the group of a feature.
    ///
    /// # Panics
    /// When a feature has no group, or a group is not below `count`.
    pub fn by_group(&self, groups: &[usize], count: usize) -> Vec<f64> {
        let mut sums = vec![0.0; count];
        for (value, group) in self.values.iter().zip(groups) {
            sums[*group] += value;
        }
        sums
    }
}

/// Explains a [`Model`].
#[derive(Clone, Debug)]
pub struct Explainer {
    model: Model,
    bias: f64,
    /// For each tree and node, the mean of the leaves below.
    means: Vec<Vec<f64>>,
}

impl Explainer {
    /// Gets ready to explain.
    pub fn new(model: &Model) -> Explainer {
        let means: Vec<Vec<f64>> = model.trees().iter().map(means).collect();
        let expected: f64 = means.iter().filter_map(|means| means.first()).sum();
        Explainer {
            model: model.clone(),
            bias: f64::from(model.base_margin()) + expected,
            means,
        }
    }

    /// Roughly what each feature contributed, soon: on the way down each tree, a split gets what it changes of the expected
    /// value (Saabas' method). It adds up to the margin too, but features near the root get less than their due.
    ///
    /// # Panics
    /// When the row is shorter than the model's number of features.
    pub fn outline(&self, row: &[f32]) -> Contributions {
        let mut values = vec![0.0; self.model.features()];
        for (tree, means) in self.model.trees().iter().zip(&self.means) {
            let mut at = 0;
            while let Node::Split {
                feature,
                left,
                right,
                ..
            } = tree.nodes()[at as usize]
            {
                let next = if goes_left(&tree.nodes()[at as usize], row) {
                    left
                } else {
                    right
                };
                values[feature as usize] += means[next as usize] - means[at as usize];
                at = next;
            }
        }
        Contributions {
            bias: self.bias,
            values,
        }
    }

    /// What each feature contributed to the margin of `row`.
    ///
    /// # Panics
    /// When the row is shorter than the model's number of features.
    pub fn explain(&self, row: &[f32]) -> Contributions {
        let mut values = vec![0.0; self.model.features()];
        for tree in self.model.trees() {
            let mut walk = Walk {
                tree,
                row,
                values: &mut values,
            };
            walk.down(0, Path::default(), 1.0, 1.0, None);
        }
        Contributions {
            bias: self.bias,
            values,
        }
    }
}

/// For every node the mean of the leaves below it, weighted by cover.
fn means(tree: &Tree) -> Vec<f64> {
    let mut means = vec![0.0; tree.nodes().len()];
    // Children come after their parents.
    for (index, node) in tree.nodes().iter().enumerate().rev() {
        means[index] = match *node {
            Node::Leaf { value, .. } => f64::from(value),
            Node::Split { left, right, .. } => {
                let share = share_of(tree, left, right);
                share * means[left as usize] + (1.0 - share) * means[right as usize]
            }
        };
    }
    means
}

fn goes_left(node: &Node, row: &[f32]) -> bool {
    match *node {
        Node::Split {
            feature,
            threshold,
            default_left,
            ..
        } => {
            let number = row[feature as usize];
            if number.is_nan() {
                default_left
            } else {
                number < threshold
            }
        }
        Node::Leaf { .. } => false,
    }
}

/// The share of the training rows that went to `node` and not to its sibling.
fn share_of(tree: &Tree, node: u32, sibling: u32) -> f64 {
    let cover = |node: u32| f64::from(tree.nodes()[node as usize].cover());
    let both = cover(node) + cover(sibling);
    // A node no training row came by knows nothing of its children.
    if both > 0.0 { cover(node) / both } else { 0.5 }
}

/// A feature met on the way down.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// None for the beginning of the way.
    feature: Option<u32>,
    /// The share of ways that come along when the feature is unknown.
    unknown: f64,
    /// Likewise when it is known: 0 or 1.
    known: f64,
    /// The weight of all sets of so many known features.
    weight: f64,
}

#[derive(Clone, Debug, Default)]
struct Path(Vec<Step>);

impl Path {
    fn extend(&mut self, unknown: f64, known: f64, feature: Option<u32>) {
        let length = self.0.len();
        let weight = if length == 0 { 1.0 } else { 0.0 };
        self.0.push(Step {
            feature,
            unknown,
            known,
            weight,
        });
        let count = (length + 1) as f64;
        for index in (0..length).rev() {
            let weight = self.0[index].weight;
            self.0[index + 1].weight += known * weight * (index + 1) as f64 / count;
            self.0[index].weight = unknown * weight * (length - index) as f64 / count;
        }
    }

    /// Undoes the [`extend`](Path::extend) by the step at `index`.
    fn unwind(&mut self, index: usize) {
        let last = self.0.len() - 1;
        let Step { unknown, known, .. } = self.0[index];
        let count = (last + 1) as f64;
        let mut next = self.0[last].weight;
        for at in (0..last).rev() {
            if known != 0.0 {
                let before = self.0[at].weight;
                self.0[at].weight = next * count / ((at + 1) as f64 * known);
                next = before - self.0[at].weight * unknown * (last - at) as f64 / count;
            } else {
                self.0[at].weight = self.0[at].weight * count / (unknown * (last - at) as f64);
            }
        }
        for at in index..last {
            let after = self.0[at + 1];
            self.0[at] = Step {
                weight: self.0[at].weight,
                ..after
            };
        }
        self.0.pop();
    }

    /// The sum of all weights after an [`unwind`](Path::unwind) that is not carried out.
    fn unwound_sum(&self, index: usize) -> f64 {
        let last = self.0.len() - 1;
        let Step { unknown, known, .. } = self.0[index];
        let count = (last + 1) as f64;
        let mut next = self.0[last].weight;
        let mut sum = 0.0;
        for at in (0..last).rev() {
            if known != 0.0 {
                let weight = next * count / ((at + 1) as f64 * known);
                sum += weight;
                next = self.0[at].weight - weight * unknown * (last - at) as f64 / count;
            } else {
                sum += self.0[at].weight * count / (unknown * (last - at) as f64);
            }
        }
        sum
    }
}

struct Walk<'a> {
    tree: &'a Tree,
    row: &'a [f32],
    values: &'a mut [f64],
}

impl Walk<'_> {
    fn down(&mut self, node: u32, mut path: Path, unknown: f64, known: f64, feature: Option<u32>) {
        // Where neither knowing nor not knowing leads, nothing is contributed, and the weights could not be undone.
        if unknown == 0.0 && known == 0.0 {
            return;
        }
        path.extend(unknown, known, feature);
        match self.tree.nodes()[node as usize] {
            Node::Leaf { value, .. } => {
                for index in 1..path.0.len() {
                    let step = path.0[index];
                    let weight = path.unwound_sum(index);
                    if let Some(feature) = step.feature {
                        self.values[feature as usize] +=
                            weight * (step.known - step.unknown) * f64::from(value);
                    }
                }
            }
            split @ Node::Split {
                feature,
                left,
                right,
                ..
            } => {
                let goes_left = goes_left(&split, self.row);
                let (hot, cold) = if goes_left {
                    (left, right)
                } else {
                    (right, left)
                };
                // A feature met twice counts once, with both conditions together.
                let mut before = (1.0, 1.0);
                let met = (1..path.0.len()).find(|index| path.0[*index].feature == Some(feature));
                if let Some(index) = met {
                    before = (path.0[index].unknown, path.0[index].known);
                    path.unwind(index);
                }
                let share = share_of(self.tree, hot, cold);
                self.down(hot, path.clone(), before.0 * share, before.1, Some(feature));
                self.down(cold, path, before.0 * (1.0 - share), 0.0, Some(feature));
            }
        }
    }
}
