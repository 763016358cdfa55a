//! Rows with every number replaced by the number of its bin, so that a byte says what a split has to know.

use rayon::prelude::*;

use crate::dataset::Dataset;

/// The bin of missing numbers.
pub(super) const MISSING: u8 = u8::MAX;

/// The most cuts a feature has; with them come one bin more, and none of them is [`MISSING`].
const MAX_CUTS: usize = 254;

/// Binned rows, feature by feature.
pub(super) struct BinnedRows {
    features: Vec<BinnedFeature>,
}

/// One feature of all rows.
pub(super) struct BinnedFeature {
    /// In order. A number is in the bin of how many of them it is not below.
    pub(super) cuts: Vec<f32>,
    /// The bin of each row.
    pub(super) bins: Vec<u8>,
}

impl BinnedRows {
    pub(super) fn new(rows: &Dataset) -> BinnedRows {
        let features = (0..rows.features()).into_par_iter().map(|feature| {
            let numbers: Vec<f32> = (0..rows.len()).map(|row| rows.row(row)[feature]).collect();
            let cuts = cuts(&numbers);
            let bins = numbers.iter().map(|number| bin(*number, &cuts)).collect();
            BinnedFeature { cuts, bins }
        });
        BinnedRows {
            features: features.collect(),
        }
    }

    pub(super) fn feature(&self, feature: usize) -> &BinnedFeature {
        &self.features[feature]
    }
}

fn bin(number: f32, cuts: &[f32]) -> u8 {
    if number.is_nan() {
        return MISSING;
    }
    u8::try_from(cuts.partition_point(|cut| *cut <= number)).unwrap_or(MISSING)
}

/// Cuts between the numbers, so that about as many rows lie between any two.
fn cuts(numbers: &[f32]) -> Vec<f32> {
    let mut sorted: Vec<f32> = numbers
        .iter()
        .copied()
        .filter(|number| !number.is_nan())
        .collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let mut distinct: Vec<(f32, usize)> = Vec::new();
    for number in &sorted {
        match distinct.last_mut() {
            Some((last, count)) if last == number => *count += 1,
            _ => distinct.push((*number, 1)),
        }
    }
    let between = |below: f32, above: f32| {
        let middle = below + (above - below) / 2.0;
        // Neighbours in 32 bits have nothing between them, and infinities no middle. No model file has room for an
        // infinite cut; the largest number will do in its place.
        let cut = if middle > below && middle <= above {
            middle
        } else {
            above
        };
        cut.clamp(f32::MIN, f32::MAX)
    };
    if distinct.len() <= MAX_CUTS + 1 {
        return distinct
            .windows(2)
            .map(|pair| between(pair[0].0, pair[1].0))
            .collect();
    }
    let mut cuts = Vec::with_capacity(MAX_CUTS);
    let mut passed = 0;
    for pair in distinct.windows(2) {
        passed += pair[0].1;
        // The next cut is due once its share of the rows has passed.
        let due = (cuts.len() + 1) * sorted.len() / (MAX_CUTS + 1);
        if passed >= due && cuts.len() < MAX_CUTS {
            cuts.push(between(pair[0].0, pair[1].0));
        }
    }
    cuts
}
