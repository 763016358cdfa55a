//! From margins to scores that mean the same in every model.
//!
//! A score of 50 is reached by one negative in a hundred, 75 by one in a thousand, 90 by one in ten thousand. Between such
//! points the scale is straight. What the trees answer is no such scale: it moves with every training.
//!
//! One in ten thousand can't be counted among a thousand. Scores that rest on fewer than five negatives are supposed: the margins
//! are taken to thin out further as they do up to there. Where that can't be told (of a few dozen, or of many that are alike) the
//! few have to do. [`Calibration::supposed`] tells which these scores are, and [`Calibration::caveat`] also what they rest on.

use serde::{Deserialize, Serialize};

use crate::metrics::Scores;

/// Scores, and the share of negatives that reaches them.
const ANCHORS: [(f64, f64); 7] = [
    (10.0, 0.5),
    (25.0, 0.1),
    (40.0, 0.03),
    (50.0, 0.01),
    (75.0, 0.001),
    (90.0, 0.0001),
    (99.0, 0.0),
];

/// A share of fewer negatives than these is not measured.
const FEWEST: f64 = 5.0;

/// For the score that no negative reaches, where that is not measured.
const HARDLY_ANY: f64 = 0.000_01;

/// The score from which on something is taken for positive, unless said otherwise.
pub const OPERATING_POINT: f64 = 50.0;

/// A rising line through points, from margins to scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(f32, f64)>", into = "Vec<(f32, f64)>")]
pub struct Calibration {
    points: Vec<(f32, f64)>,
}

impl Calibration {
    /// Fits the scale to margins of rows that were not learned from.
    pub fn fit(scores: &Scores) -> Calibration {
        let lowest = scores
            .negatives()
            .first()
            .copied()
            .unwrap_or(-1.0)
            .min(-1.0);
        let highest = scores.positives().last().copied().unwrap_or(1.0);
        let mut points = vec![(lowest, 0.0)];
        let thinning = Thinning::of(scores);
        for (score, share) in ANCHORS {
            let margin = scores.threshold(share);
            let margin = match &thinning {
                Some(thinning) if !is_measured(share, scores) => margin.max(thinning.margin(share)),
                _ => margin,
            };
            // With few rows two anchors may fall together; the scale has to rise all the same.
            let above = points.last().map_or(lowest, |(last, _)| last.next_up());
            points.push((margin.max(above), score));
        }
        let above = points.last().map_or(lowest, |(last, _)| last.next_up());
        points.push((highest.max(above), 100.0));
        Calibration { points }
    }

    /// The scores that rest on too few negatives to be measured, and are supposed.
    pub fn supposed(scores: &Scores) -> Vec<f64> {
        let anchors = ANCHORS.into_iter();
        let supposed = anchors.filter(|(_, share)| !is_measured(*share, scores));
        supposed.map(|(score, _)| score).collect()
    }

    /// The same in words, if there are such scores.
    pub fn caveat(scores: &Scores) -> Option<String> {
        let supposed = Calibration::supposed(scores);
        if supposed.is_empty() {
            return None;
        }
        let names: Vec<String> = supposed.iter().map(f64::to_string).collect();
        let basis = match Thinning::of(scores) {
            Some(_) => "are supposed, by how the margins thin out up to there".to_owned(),
            None => format!("rest on fewer than {FEWEST} of them"),
        };
        Some(format!(
            "{} negatives are too few to measure who reaches the scores {}: these {basis}",
            scores.negatives().len(),
            names.join(", ")
        ))
    }

    /// The score of a margin, 0 to 100.
    pub fn score(&self, margin: f32) -> f64 {
        let after = self.points.partition_point(|(point, _)| *point <= margin);
        let (Some(below), Some(above)) = (
            after.checked_sub(1).map(|at| self.points[at]),
            self.points.get(after),
        ) else {
            return if after == 0 { 0.0 } else { 100.0 };
        };
        // Wide enough that no difference of two margins is infinite.
        let [margin, from, to] = [margin, below.0, above.0].map(f64::from);
        let along = (margin - from) / (to - from);
        below.1 + along * (above.1 - below.1)
    }

    /// The points of the line: margin and score.
    pub fn points(&self) -> &[(f32, f64)] {
        &self.points
    }
}

/// Whether so small a share of the negatives can be counted. That nobody reaches a score says as much as the smallest share does.
fn is_measured(share: f64, scores: &Scores) -> bool {
    let smallest = ANCHORS.map(|(_, share)| share);
    let smallest = smallest.into_iter().filter(|share| *share > 0.0);
    let share = if share > 0.0 {
        share
    } else {
        smallest.fold(1.0, f64::min)
    };
    scores.negatives().len() as f64 * share >= FEWEST
}

/// How the negatives get fewer from margin to margin, where they can be counted.
struct Thinning {
    /// The smallest share that is measured, and its margin.
    last: (f64, f32),
    /// By how much the margin rises while the share falls to its e-th part.
    step: f64,
}

impl Thinning {
    /// From a tenth of the negatives on, or from half of them if a tenth is all that can be counted.
    fn of(scores: &Scores) -> Option<Thinning> {
        let shares = ANCHORS.map(|(_, share)| share).into_iter();
        let mut measured = shares.filter(|share| *share > 0.0 && is_measured(*share, scores));
        let last = measured.clone().next_back()?;
        let first = measured.find(|share| *share > last && (*share <= 0.1 || last >= 0.1))?;
        let [from, to] = [first, last].map(|share| scores.threshold(share));
        let step = (f64::from(to) - f64::from(from)) / (first / last).ln();
        let rises = step.is_finite() && step > 0.0;
        rises.then_some(Thinning {
            last: (last, to),
            step,
        })
    }

    fn margin(&self, share: f64) -> f32 {
        let (last, margin) = self.last;
        let further = self.step * (last / share.max(HARDLY_ANY)).ln();
        (f64::from(margin) + further) as f32
    }
}

impl TryFrom<Vec<(f32, f64)>> for Calibration {
    type Error = CalibrationError;

    fn try_from(points: Vec<(f32, f64)>) -> Result<Self, CalibrationError> {
        let finite = points
            .iter()
            .all(|(margin, score)| margin.is_finite() && (0.0..=100.0).contains(score));
        let rising = points
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        if points.len() < 2 || !finite || !rising {
            return Err(CalibrationError);
        }
        Ok(Calibration { points })
    }
}

impl From<Calibration> for Vec<(f32, f64)> {
    fn from(calibration: Calibration) -> Self {
        calibration.points
    }
}

/// Points that make no scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the calibration's points do not rise from margin to margin and between the scores 0 and 100"
)]
pub struct CalibrationError;

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(count: usize) -> (Scores, Calibration) {
        let negatives = (0..count)
            .map(|at| (at as f32 / count as f32) * 8.0 - 10.0)
            .collect();
        let scores = Scores::new(negatives, vec![0.0, 1.0, 5.0]);
        let calibration = Calibration::fit(&scores);
        (scores, calibration)
    }

    #[test]
    fn scores_are_reached_by_the_promised_share_of_negatives() {
        let (scores, calibration) = fitted(100_000);
        for (score, share) in [(50.0, 0.01), (75.0, 0.001), (90.0, 0.0001)] {
            let reached = scores
                .negatives()
                .iter()
                .filter(|margin| calibration.score(**margin) >= score - 1e-9);
            let reached = reached.count() as f64 / 100_000.0;
            assert!(
                (reached - share).abs() < 0.1 * share + 1e-5,
                "{score}: {reached}"
            );
        }
    }

    #[test]
    fn a_score_that_cannot_be_measured_is_supposed_and_told() {
        // Margins that thin out to the e-th part with every step of one.
        let negatives = |count: usize| -> Vec<f32> {
            let share = |at: usize| (at as f64 + 0.5) / count as f64;
            (0..count).rev().map(|at| -share(at).ln() as f32).collect()
        };
        let fitted = |count: usize| {
            let scores = Scores::new(negatives(count), vec![20.0]);
            (Calibration::fit(&scores), Calibration::supposed(&scores))
        };
        let (many, supposed) = fitted(100_000);
        assert!(supposed.is_empty());
        let (few, supposed) = fitted(1000);
        assert_eq!(supposed, [75.0, 90.0, 99.0]);
        for score in [50.0, 75.0, 90.0] {
            let margin = |scale: &Calibration| {
                let found = scale.points().iter().find(|(_, at)| *at == score);
                found.map_or(0.0, |(margin, _)| *margin)
            };
            assert!((margin(&many) - margin(&few)).abs() < 0.3, "{score}");
        }
        // The highest of a thousand is no one in ten thousand.
        let highest = negatives(1000).pop().unwrap_or_default();
        assert!(few.score(highest.next_up()) < 85.0);
        let scores = Scores::new(negatives(1000), vec![20.0]);
        let caveat = Calibration::caveat(&scores).unwrap_or_default();
        assert!(caveat.contains("75, 90, 99"), "{caveat}");
        assert!(caveat.contains("thin out"), "{caveat}");
    }

    #[test]
    fn it_is_told_when_nothing_is_known_of_how_the_margins_thin_out() {
        let few = (0..40).map(|at| at as f32).collect();
        let alike = vec![-1.0; 1000];
        for negatives in [few, alike] {
            let scores = Scores::new(negatives, vec![20.0]);
            let caveat = Calibration::caveat(&scores).unwrap_or_default();
            assert!(
                caveat.ends_with("these rest on fewer than 5 of them"),
                "{caveat}"
            );
        }
    }

    #[test]
    fn a_scale_as_wide_as_numbers_go_has_a_score_for_every_margin() {
        let text = "[[-3e38, 0.0], [3e38, 100.0]]";
        let wide = serde_json::from_str::<Calibration>(text).expect("must be read");
        let scores = [f32::MIN, -3e38, 0.0, 2e38, f32::MAX].map(|margin| wide.score(margin));
        assert_eq!(scores.map(f64::round), [0.0, 0.0, 50.0, 83.0, 100.0]);
    }

    #[test]
    fn the_scale_rises_from_0_to_100_and_survives_as_text() {
        for count in [1, 3, 200, 50_000] {
            let (_, calibration) = fitted(count);
            let scores: Vec<f64> = (-200..200)
                .map(|at| calibration.score(at as f32 / 10.0))
                .collect();
            assert!(scores.windows(2).all(|pair| pair[0] <= pair[1]));
            assert_eq!((scores[0], scores[399]), (0.0, 100.0));
            let text = serde_json::to_string(&calibration).expect("must be written");
            assert_eq!(
                serde_json::from_str::<Calibration>(&text).expect("must be read"),
                calibration
            );
        }
        assert!(serde_json::from_str::<Calibration>("[[1.0, 0.0], [0.0, 100.0]]").is_err());
    }
}
