//! What each feature contributed to a margin.
//!
//! Exact path-dependent Shapley values, those of `TreeSHAP` (Lundberg, Erion, Lee: "Consistent Individualized Feature
//! Attribution for Tree Ensembles", 2018): a feature's contribution is its average effect over all orders in which features
//! become known, where an unknown feature goes down both ways in the proportion of the training rows. The contributions and
//! the bias add up to the margin. All of it is computed in 64 bits; XGBoost does it in 32 and differs from here on in the
//! sixth digit.
//!
//! They are computed by Owen's multilinear extension ("Multilinear Extensions of Games", 1972). Let each feature be known with
//! the probability t: the share of rows that comes down to a leaf is then a product with one factor for each feature on the
//! way, `t` if the row's own value leads there, and `1 - t` times the share of the training rows. What a feature contributes is
//! the integral over t from 0 to 1 of what its factor changes. Under it stands a polynomial, which a few points of Gauss and
//! Legendre integrate exactly; so two passes over the nodes of a tree, down for the products and up for the sums of the leaves
//! below, give all contributions (the idea of Yu et al.: "Linear TreeShap", 2022).

use std::f64::consts::PI;

use crate::model::{MAX_DEPTH, Model, Node, Tree};

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
    trees: Vec<Ways>,
    features: usize,
    bias: f64,
    /// How many points integrate exactly.
    points: usize,
}

/// A tree, with all that does not depend on the row.
#[derive(Clone, Debug)]
struct Ways {
    tree: Tree,
    /// For each node the mean of the leaves below.
    means: Vec<f64>,
    /// For each node the way to it from its parent.
    ways: Vec<Way>,
}

/// The way from a node to one of its children. That of the root, where all rows are, begins there, too.
#[derive(Clone, Copy, Debug)]
struct Way {
    parent: u32,
    /// The feature that decides whether it is taken.
    feature: u32,
    /// The last way before it that the same feature decides; the root's if there is none. A feature met twice counts once, with
    /// all its conditions together.
    before: u32,
    /// The share of rows that takes this way, and those before it, when the feature is not known.
    unknown: f64,
}

const ROOT: u32 = 0;

impl Explainer {
    /// Gets ready to explain.
    pub fn new(model: &Model) -> Explainer {
        let trees: Vec<Ways> = model.trees().iter().map(Ways::new).collect();
        let expected: f64 = trees.iter().filter_map(|tree| tree.means.first()).sum();
        let most = trees.iter().map(Ways::most_features).max().unwrap_or(0);
        Explainer {
            features: model.features(),
            bias: f64::from(model.base_margin()) + expected,
            // The degree is below the number of features on the way, and n points do for a degree of 2n - 1.
            points: most.div_ceil(2),
            trees,
        }
    }

    /// Roughly what each feature contributed, soon: on the way down each tree, a split gets what it changes of the expected
    /// value (Saabas' method). It adds up to the margin too, but features near the root get less than their due.
    ///
    /// # Panics
    /// When the row is shorter than the model's number of features.
    pub fn outline(&self, row: &[f32]) -> Contributions {
        let mut values = vec![0.0; self.features];
        for Ways { tree, means, .. } in &self.trees {
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
        let mut values = vec![0.0; self.features];
        match self.points {
            ..=4 => self.integrate::<4>(row, &mut values),
            5..=8 => self.integrate::<8>(row, &mut values),
            _ => self.integrate::<{ MAX_DEPTH / 2 }>(row, &mut values),
        }
        Contributions {
            bias: self.bias,
            values,
        }
    }

    fn integrate<const POINTS: usize>(&self, row: &[f32], values: &mut [f64]) {
        let points = Points::<POINTS>::new();
        let (mut taken, mut leaves) = (Vec::new(), Vec::new());
        for tree in &self.trees {
            tree.go_down(row, &points, &mut taken);
            tree.go_up(&points, &taken, &mut leaves, values);
        }
    }
}

/// Where Gauss and Legendre look at a function, and what each look weighs in its integral from 0 to 1.
struct Points<const POINTS: usize> {
    at: [f64; POINTS],
    weights: [f64; POINTS],
}

impl<const POINTS: usize> Points<POINTS> {
    /// The roots of Legendre's polynomial, by Newton's method.
    fn new() -> Points<POINTS> {
        let mut points = Points {
            at: [0.0; POINTS],
            weights: [0.0; POINTS],
        };
        for number in 0..POINTS {
            let mut root = (PI * (number as f64 + 0.75) / (POINTS as f64 + 0.5)).cos();
            let (mut value, mut slope) = legendre(POINTS, root);
            for _ in 0..5 {
                root -= value / slope;
                (value, slope) = legendre(POINTS, root);
            }
            points.at[number] = f64::midpoint(root, 1.0);
            points.weights[number] = 1.0 / ((1.0 - root * root) * slope * slope);
        }
        points
    }
}

/// Legendre's polynomial of a degree, and its slope.
fn legendre(degree: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (1.0, x);
    for n in 2..=degree {
        let n = n as f64;
        let next = ((2.0 * n - 1.0) * x * value - (n - 1.0) * before) / n;
        (before, value) = (value, next);
    }
    let slope = degree as f64 * (x * value - before) / (x * x - 1.0);
    (value, slope)
}

/// What a row makes of a way.
struct Taken<const POINTS: usize> {
    /// 1 if the row takes the way, and those before it that the same feature decides; otherwise 0.
    known: f64,
    /// The feature's factor at each point.
    factor: [f64; POINTS],
    /// The product of the factors of all features down to here.
    product: [f64; POINTS],
}

impl<const POINTS: usize> Taken<POINTS> {
    /// What the feature of a way changes of the leaves below.
    fn effect(&self, way: &Way, leaves: &[f64; POINTS], points: &Points<POINTS>) -> f64 {
        let looks = leaves.iter().zip(&self.factor).zip(&points.weights);
        let integral: f64 = looks
            .map(|((leaves, factor), weight)| weight * leaves / factor)
            .sum();
        (self.known - way.unknown) * integral
    }
}

impl Ways {
    fn new(tree: &Tree) -> Ways {
        let root = Way {
            parent: ROOT,
            feature: 0,
            before: ROOT,
            unknown: 1.0,
        };
        let mut ways = vec![root; tree.nodes().len()];
        for (parent, node) in (0..).zip(tree.nodes()) {
            let Node::Split {
                feature,
                left,
                right,
                ..
            } = *node
            else {
                continue;
            };
            let before = last_of(feature, &ways, parent);
            let to_left = share_of(tree, left, right);
            for (child, share) in [(left, to_left), (right, 1.0 - to_left)] {
                ways[child as usize] = Way {
                    parent,
                    feature,
                    before,
                    unknown: ways[before as usize].unknown * share,
                };
            }
        }
        Ways {
            means: means(tree),
            tree: tree.clone(),
            ways,
        }
    }

    /// The most different features on the way to a leaf.
    fn most_features(&self) -> usize {
        let mut counts = vec![0; self.ways.len()];
        for (node, way) in self.ways.iter().enumerate().skip(1) {
            counts[node] = counts[way.parent as usize] + usize::from(way.before == ROOT);
        }
        counts.into_iter().max().unwrap_or(0)
    }

    /// What the row makes of every way, parents before their children.
    fn go_down<const POINTS: usize>(
        &self,
        row: &[f32],
        points: &Points<POINTS>,
        taken: &mut Vec<Taken<POINTS>>,
    ) {
        taken.clear();
        taken.push(Taken {
            known: 1.0,
            factor: [1.0; POINTS],
            product: [1.0; POINTS],
        });
        for (node, way) in (0..).zip(&self.ways).skip(1) {
            let before = &taken[way.before as usize];
            let known = if self.leads(way, node, row) {
                before.known
            } else {
                0.0
            };
            let mut product = taken[way.parent as usize].product;
            let mut factor = [1.0; POINTS];
            if known == 0.0 && way.unknown == 0.0 {
                // No row comes here, whatever is known.
                product = [0.0; POINTS];
            } else {
                factor = points.at.map(|at| at * known + (1.0 - at) * way.unknown);
            }
            for at in 0..POINTS {
                product[at] *= factor[at] / before.factor[at];
            }
            taken.push(Taken {
                known,
                factor,
                product,
            });
        }
    }

    /// Adds up the leaves, children before their parents, and what the feature of each way changes of those below.
    fn go_up<const POINTS: usize>(
        &self,
        points: &Points<POINTS>,
        taken: &[Taken<POINTS>],
        leaves: &mut Vec<[f64; POINTS]>,
        values: &mut [f64],
    ) {
        leaves.clear();
        leaves.resize(taken.len(), [0.0; POINTS]);
        for (node, way) in self.ways.iter().enumerate().skip(1).rev() {
            if let Node::Leaf { value, .. } = self.tree.nodes()[node] {
                leaves[node] = taken[node].product.map(|share| share * f64::from(value));
            }
            let below = leaves[node];
            let mut effect = taken[node].effect(way, &below, points);
            if way.before != ROOT {
                // These leaves are below that way as well, and count here by the conditions of both.
                let before = way.before as usize;
                effect -= taken[before].effect(&self.ways[before], &below, points);
            }
            values[way.feature as usize] += effect;
            let above = &mut leaves[way.parent as usize];
            for at in 0..POINTS {
                above[at] += below[at];
            }
        }
    }

    /// Whether the row takes the way to this node once it is where the way begins.
    fn leads(&self, way: &Way, node: u32, row: &[f32]) -> bool {
        let parent = &self.tree.nodes()[way.parent as usize];
        match parent {
            Node::Split { left, .. } => goes_left(parent, row) == (*left == node),
            Node::Leaf { .. } => false,
        }
    }
}

/// The last of the ways down to a node that a feature decides; the root's if there is none.
fn last_of(feature: u32, ways: &[Way], mut node: u32) -> u32 {
    while node != ROOT && ways[node as usize].feature != feature {
        node = ways[node as usize].parent;
    }
    node
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
