//! Growing one tree.

use rayon::prelude::*;

use crate::model::Node;
use crate::train::bins::{BinnedRows, MISSING};
use crate::train::{Monotone, Params};

/// Below so many rows, handing out the work takes longer than the work.
const PARALLEL_FROM: usize = 4096;

/// The sums of gradients and hessians of some rows.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    gradient: f64,
    hessian: f64,
}

impl Sums {
    fn add(&mut self, gradient: f64, hessian: f64) {
        self.gradient += gradient;
        self.hessian += hessian;
    }

    fn plus(self, other: Sums) -> Sums {
        Sums {
            gradient: self.gradient + other.gradient,
            hessian: self.hessian + other.hessian,
        }
    }

    fn minus(self, other: Sums) -> Sums {
        Sums {
            gradient: self.gradient - other.gradient,
            hessian: self.hessian - other.hessian,
        }
    }
}

/// Sums by bin, one such array for each feature.
type Histograms = Vec<Vec<Sums>>;

/// A way to split a node.
#[derive(Clone, Copy, Debug)]
struct Split {
    /// Which of the features on offer.
    slot: usize,
    /// Bins up to this one go left.
    bin: u8,
    default_left: bool,
    gain: f64,
    left: Sums,
    right: Sums,
}

/// Between what a node's weight may lie, so that all of the tree stays monotone.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: f64,
    high: f64,
}

pub(super) struct Grower<'a> {
    params: &'a Params,
    rows: &'a BinnedRows,
    gradients: &'a [(f64, f64)],
    /// The features on offer.
    features: &'a [usize],
    nodes: Vec<Node>,
}

impl<'a> Grower<'a> {
    pub(super) fn new(
        params: &'a Params,
        rows: &'a BinnedRows,
        gradients: &'a [(f64, f64)],
        features: &'a [usize],
    ) -> Grower<'a> {
        Grower {
            params,
            rows,
            gradients,
            features,
            nodes: Vec::new(),
        }
    }

    /// The nodes of a tree over these rows, the root first.
    pub(super) fn grow(mut self, sample: Vec<u32>) -> Vec<Node> {
        let histograms = self.histograms(&sample);
        let mut all = Sums::default();
        for row in &sample {
            let (gradient, hessian) = self.gradients[*row as usize];
            all.add(gradient, hessian);
        }
        let free = Bounds {
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
        };
        self.node(sample, histograms, all, free, 0);
        self.nodes
    }

    /// Adds the node of these rows with all that grows below it, and returns its number.
    fn node(
        &mut self,
        rows: Vec<u32>,
        histograms: Histograms,
        sums: Sums,
        bounds: Bounds,
        depth: usize,
    ) -> u32 {
        let number = u32::try_from(self.nodes.len()).expect("a tree is at most 16 deep");
        let weight = self.weight(sums, bounds);
        self.nodes.push(Node::Leaf {
            value: (weight * self.params.eta) as f32,
            cover: sums.hessian as f32,
        });
        if depth == self.params.max_depth {
            return number;
        }
        let Some(split) = self.best_split(&histograms, sums, bounds) else {
            return number;
        };
        let (left, right) = self.parted(rows, &split);
        let (left_bounds, right_bounds) = self.child_bounds(&split, bounds);
        // The smaller side is counted, the other is what remains: half the work at least.
        let smaller = self.histograms(if left.len() <= right.len() {
            &left
        } else {
            &right
        });
        let larger = subtract(histograms, &smaller);
        let (left_histograms, right_histograms) = if left.len() <= right.len() {
            (smaller, larger)
        } else {
            (larger, smaller)
        };
        let below = self.node(left, left_histograms, split.left, left_bounds, depth + 1);
        let above = self.node(
            right,
            right_histograms,
            split.right,
            right_bounds,
            depth + 1,
        );
        let feature = self.features[split.slot];
        self.nodes[number as usize] = Node::Split {
            feature: u32::try_from(feature).expect("features are counted in 24 bits"),
            threshold: self.rows.feature(feature).cuts[usize::from(split.bin)],
            default_left: split.default_left,
            left: below,
            right: above,
            gain: split.gain as f32,
            cover: sums.hessian as f32,
        };
        number
    }

    /// The rows to the left and to the right of a split, in their order.
    fn parted(&self, rows: Vec<u32>, split: &Split) -> (Vec<u32>, Vec<u32>) {
        let bins = &self.rows.feature(self.features[split.slot]).bins;
        rows.into_iter().partition(|row| match bins[*row as usize] {
            MISSING => split.default_left,
            bin => bin <= split.bin,
        })
    }

    fn histograms(&self, rows: &[u32]) -> Histograms {
        let gradients: Vec<(f64, f64)> = rows
            .iter()
            .map(|row| self.gradients[*row as usize])
            .collect();
        let histogram = |feature: &usize| {
            let bins = &self.rows.feature(*feature).bins;
            let mut sums = vec![Sums::default(); usize::from(MISSING) + 1];
            for (row, (gradient, hessian)) in rows.iter().zip(&gradients) {
                sums[usize::from(bins[*row as usize])].add(*gradient, *hessian);
            }
            sums
        };
        if rows.len() < PARALLEL_FROM {
            self.features.iter().map(histogram).collect()
        } else {
            self.features.par_iter().map(histogram).collect()
        }
    }

    fn best_split(&self, histograms: &Histograms, sums: Sums, bounds: Bounds) -> Option<Split> {
        let mut best: Option<Split> = None;
        for (slot, histogram) in histograms.iter().enumerate() {
            let missing = histogram[usize::from(MISSING)];
            let cuts = self.rows.feature(self.features[slot]).cuts.len();
            let mut known = Sums::default();
            for (bin, in_bin) in (0..MISSING).zip(histogram).take(cuts) {
                known = known.plus(*in_bin);
                for (default_left, left) in [(false, known), (true, known.plus(missing))] {
                    let right = sums.minus(left);
                    let gain = self.gain(slot, left, right, bounds) - self.score(sums, bounds);
                    let good = gain > self.params.gamma.max(1e-6)
                        && best.is_none_or(|best| gain > best.gain);
                    if good {
                        best = Some(Split {
                            slot,
                            bin,
                            default_left,
                            gain,
                            left,
                            right,
                        });
                    }
                }
            }
        }
        best
    }

    /// What two sides score together; nothing at all where they must not be parted.
    fn gain(&self, slot: usize, left: Sums, right: Sums, bounds: Bounds) -> f64 {
        let least = self.params.min_child_weight.max(1e-12);
        if left.hessian < least || right.hessian < least {
            return f64::NEG_INFINITY;
        }
        let (below, above) = (self.weight(left, bounds), self.weight(right, bounds));
        let forbidden = match self.monotone(slot) {
            Monotone::Free => false,
            Monotone::Increasing => below > above,
            Monotone::Decreasing => below < above,
        };
        if forbidden {
            return f64::NEG_INFINITY;
        }
        self.score(left, bounds) + self.score(right, bounds)
    }

    fn monotone(&self, slot: usize) -> Monotone {
        let feature = self.features[slot];
        self.params
            .monotone
            .get(feature)
            .copied()
            .unwrap_or_default()
    }

    /// By how much the loss falls when all these rows get their best weight, twice over.
    fn score(&self, sums: Sums, bounds: Bounds) -> f64 {
        let weight = self.weight(sums, bounds);
        -(2.0 * sums.gradient * weight + (sums.hessian + self.params.lambda) * weight * weight)
    }

    fn weight(&self, sums: Sums, bounds: Bounds) -> f64 {
        let total = sums.hessian + self.params.lambda;
        let weight = if total > 0.0 {
            -sums.gradient / total
        } else {
            0.0
        };
        weight.clamp(bounds.low, bounds.high)
    }

    /// Whatever grows below the two sides must not pass the middle between them.
    fn child_bounds(&self, split: &Split, bounds: Bounds) -> (Bounds, Bounds) {
        let middle = f64::midpoint(
            self.weight(split.left, bounds),
            self.weight(split.right, bounds),
        );
        let low = Bounds {
            high: middle,
            ..bounds
        };
        let high = Bounds {
            low: middle,
            ..bounds
        };
        match self.monotone(split.slot) {
            Monotone::Free => (bounds, bounds),
            Monotone::Increasing => (low, high),
            Monotone::Decreasing => (high, low),
        }
    }
}

fn subtract(mut from: Histograms, what: &Histograms) -> Histograms {
    for (from, what) in from.iter_mut().zip(what) {
        for (from, what) in from.iter_mut().zip(what) {
            *from = from.minus(*what);
        }
    }
    from
}
