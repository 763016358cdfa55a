//! How good scores are, and how sure that is.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// How often a figure is computed anew from scores drawn with replacement, to see how far it moves.
const RESAMPLES: usize = 300;

/// Scores of negatives and positives; a higher score says "positive".
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// Of negatives, ascending.
    negatives: Vec<f32>,
    /// Of positives, ascending.
    positives: Vec<f32>,
}

/// A figure, and between what bounds it lies in 95 of 100 samples.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// The mean of a figure over families, and how far it would move with other families. The draws are the same each time.
pub fn mean(values: &[f64]) -> Estimate {
    let of = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let draws = (0..1000).map(|_| {
        let drawn: Vec<f64> = values
            .iter()
            .map(|_| values[rng.random_range(0..values.len())])
            .collect();
        of(&drawn)
    });
    let mut draws: Vec<f64> = draws.collect();
    draws.sort_unstable_by(f64::total_cmp);
    Estimate {
        value: of(values),
        low: draws[25],
        high: draws[974],
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{:.4} ({:.4} to {:.4})",
            self.value, self.low, self.high
        )
    }
}

impl Scores {
    /// Scores in any order.
    pub fn new(mut negatives: Vec<f32>, mut positives: Vec<f32>) -> Scores {
        negatives.sort_unstable_by(f32::total_cmp);
        positives.sort_unstable_by(f32::total_cmp);
        Scores {
            negatives,
            positives,
        }
    }

    /// Of negatives, ascending.
    pub fn negatives(&self) -> &[f32] {
        &self.negatives
    }

    /// Of positives, ascending.
    pub fn positives(&self) -> &[f32] {
        &self.positives
    }

    /// How likely a positive scores above a negative (the area under the ROC curve); ties count one half.
    pub fn auc(&self) -> f64 {
        auc(&self.negatives, &self.positives)
    }

    /// The lowest score at which no larger share of the negatives is reached.
    pub fn threshold(&self, false_alarms: f64) -> f32 {
        threshold(&self.negatives, false_alarms)
    }

    /// The share of positives at or above the score that only this share of the negatives reaches.
    pub fn recall_at(&self, false_alarms: f64) -> f64 {
        share_from(&self.positives, self.threshold(false_alarms))
    }

    /// The share of positives at or above a score.
    pub fn recall(&self, threshold: f32) -> f64 {
        share_from(&self.positives, threshold)
    }

    /// The share of negatives at or above a score.
    pub fn false_alarms(&self, threshold: f32) -> f64 {
        share_from(&self.negatives, threshold)
    }

    /// A figure with its bounds, by drawing both kinds anew. The draws are the same each time.
    pub fn estimate(&self, figure: impl Fn(&Scores) -> f64) -> Estimate {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let figures = (0..RESAMPLES).map(|_| {
            figure(&Scores {
                negatives: drawn(&self.negatives, &mut rng),
                positives: drawn(&self.positives, &mut rng),
            })
        });
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| figures[(share * (figures.len() - 1) as f64).round() as usize];
        Estimate {
            value: figure(self),
            low: at(0.025),
            high: at(0.975),
        }
    }

    /// Points of the ROC curve: false alarms and recall, for every score at which either moves.
    pub fn roc(&self) -> Vec<(f64, f64)> {
        self.curve()
            .into_iter()
            .map(|point| (point.false_alarms, point.recall))
            .collect()
    }

    /// Every threshold that makes a difference, from the highest on.
    pub fn curve(&self) -> Vec<Point> {
        let mut points = Vec::new();
        let (mut negatives, mut positives) = (self.negatives.len(), self.positives.len());
        loop {
            let next = [
                self.negatives[..negatives].last(),
                self.positives[..positives].last(),
            ];
            let Some(threshold) = next.into_iter().flatten().copied().max_by(f32::total_cmp) else {
                break;
            };
            negatives = self.negatives[..negatives].partition_point(|score| *score < threshold);
            positives = self.positives[..positives].partition_point(|score| *score < threshold);
            let (alarms, found) = (
                self.negatives.len() - negatives,
                self.positives.len() - positives,
            );
            points.push(Point {
                threshold,
                false_alarms: share(alarms, self.negatives.len()),
                recall: share(found, self.positives.len()),
                precision: share(found, found + alarms),
            });
        }
        points
    }
}

/// What a threshold gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Scores from here on are alarms.
    pub threshold: f32,
    /// The share of negatives among them all that raise one.
    pub false_alarms: f64,
    /// The share of positives that raise one.
    pub recall: f64,
    /// The share of alarms that are right, in this mix.
    pub precision: f64,
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn share_from(sorted: &[f32], threshold: f32) -> f64 {
    share(
        sorted.len() - sorted.partition_point(|score| *score < threshold),
        sorted.len(),
    )
}

fn threshold(negatives: &[f32], false_alarms: f64) -> f32 {
    let allowed = (negatives.len() as f64 * false_alarms) as usize;
    match negatives
        .len()
        .checked_sub(allowed + 1)
        .and_then(|last| negatives.get(last))
    {
        // The first score above the highest that must not raise an alarm.
        Some(quiet) => quiet.next_up(),
        None => f32::NEG_INFINITY,
    }
}

fn auc(negatives: &[f32], positives: &[f32]) -> f64 {
    let (mut below, mut equal) = (0_usize, 0_usize);
    let mut wins = 0.0;
    for score in positives {
        while below < negatives.len() && negatives[below] < *score {
            below += 1;
        }
        equal = equal.max(below);
        while equal < negatives.len() && negatives[equal] <= *score {
            equal += 1;
        }
        wins += below as f64 + (equal - below) as f64 / 2.0;
    }
    let pairs = negatives.len() as f64 * positives.len() as f64;
    if pairs > 0.0 { wins / pairs } else { 0.5 }
}

/// As many as there are, with replacement, still in order.
fn drawn(sorted: &[f32], rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut times = vec![0_u32; sorted.len()];
    for _ in 0..sorted.len() {
        times[rng.random_range(0..sorted.len())] += 1;
    }
    let repeated = sorted
        .iter()
        .zip(times)
        .flat_map(|(score, times)| (0..times).map(|_| *score));
    repeated.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_pairs_in_order_and_half_of_the_ties() {
        let scores = Scores::new(vec![0.3, 0.1, 0.2], vec![0.2, 0.9]);
        // 0.2 beats 0.1 and ties once; 0.9 beats all three.
        assert!((scores.auc() - 4.5 / 6.0).abs() < 1e-12);
        assert_eq!(Scores::new(vec![0.0], vec![1.0]).auc(), 1.0);
    }

    #[test]
    fn a_threshold_lets_no_more_negatives_through_than_allowed() {
        let negatives: Vec<f32> = (0..1000).map(|score| score as f32).collect();
        let scores = Scores::new(negatives, vec![989.0, 990.0, 2000.0]);
        assert_eq!(scores.false_alarms(scores.threshold(0.01)), 0.01);
        assert!((scores.recall_at(0.01) - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(scores.false_alarms(scores.threshold(0.0)), 0.0);
        let ties = Scores::new(vec![5.0; 100], vec![5.0]);
        assert_eq!(ties.recall_at(0.01), 0.0);
    }

    #[test]
    fn a_mean_widens_with_fewer_families_and_of_one_it_is_that_one() {
        let values = |count: usize| (0..count).map(|at| (at % 5) as f64).collect::<Vec<_>>();
        let (few, many) = (mean(&values(10)), mean(&values(1000)));
        assert_eq!((few.value, many.value), (2.0, 2.0));
        assert!(few.low < 2.0 && 2.0 < few.high);
        assert!(many.high - many.low < (few.high - few.low) / 5.0);
        let one = mean(&[0.25]);
        assert_eq!((one.low, one.value, one.high), (0.25, 0.25, 0.25));
        assert_eq!(mean(&[]).value, 0.0);
    }

    #[test]
    fn the_curve_ends_where_everything_is_an_alarm() {
        let scores = Scores::new(vec![0.1, 0.5, 0.5], vec![0.5, 0.9]);
        let roc = scores.roc();
        assert_eq!(roc, [(0.0, 0.5), (2.0 / 3.0, 1.0), (1.0, 1.0)]);
        assert!((scores.curve()[1].precision - 0.5).abs() < 1e-12);
    }

    #[test]
    fn an_estimate_holds_its_own_value_and_widens_with_fewer_of_them() {
        let scores = |count: usize| {
            let negatives = (0..count).map(|at| (at * 7 % count) as f32).collect();
            let positives = (0..count)
                .map(|at| (at * 5 % count) as f32 + count as f32 / 3.0)
                .collect();
            Scores::new(negatives, positives).estimate(Scores::auc)
        };
        let (few, many) = (scores(50), scores(2000));
        for estimate in [few, many] {
            assert!(estimate.low < estimate.value && estimate.value < estimate.high);
        }
        assert!(many.high - many.low < (few.high - few.low) / 2.0);
    }
}
