//! Figures of how good scores are, for reports: SVG and HTML as text.

mod plot;

use crate::calibration::Calibration;
use crate::metrics::Scores;
pub use plot::bars;
use plot::{Axis, Plot, Series};

/// The ROC curve: what is found, by false alarms.
pub fn roc(scores: &Scores) -> String {
    let points = scores
        .roc()
        .into_iter()
        .map(|(alarms, found)| (alarms.max(1e-5), found))
        .collect();
    Plot {
        x: Axis::log("false alarms", 1e-5, 1.0),
        y: Axis::linear("found", 0.0, 1.0),
        series: vec![Series::line(points)],
    }
    .to_svg()
}

/// Precision by recall, in the mix of these scores.
pub fn precision(scores: &Scores) -> String {
    let points = scores
        .curve()
        .into_iter()
        .map(|point| (point.recall, point.precision))
        .collect();
    Plot {
        x: Axis::linear("recall", 0.0, 1.0),
        y: Axis::linear("precision", 0.0, 1.0),
        series: vec![Series::line(points)],
    }
    .to_svg()
}

/// How many are positive of those given a probability; on the diagonal, probabilities are true. Scores must be log-odds.
pub fn reliability(scores: &Scores) -> String {
    const BINS: usize = 10;
    let mut bins = [(0_usize, 0_usize, 0.0_f64); BINS];
    for (margins, positive) in [(scores.negatives(), 0), (scores.positives(), 1)] {
        for margin in margins {
            let probability = 1.0 / (1.0 + f64::from(-margin).exp());
            let bin = ((probability * BINS as f64) as usize).min(BINS - 1);
            bins[bin].0 += 1;
            bins[bin].1 += positive;
            bins[bin].2 += probability;
        }
    }
    let filled = bins.iter().filter(|(count, _, _)| *count > 0);
    let points = filled
        .map(|(count, positive, sum)| (sum / *count as f64, *positive as f64 / *count as f64))
        .collect();
    Plot {
        x: Axis::linear("probability given", 0.0, 1.0),
        y: Axis::linear("share of positives", 0.0, 1.0),
        series: vec![
            Series::faint(vec![(0.0, 0.0), (1.0, 1.0)]),
            Series::dots(points),
        ],
    }
    .to_svg()
}

/// How many negatives reach each score of the scale that is fitted to these scores.
pub fn scale(scores: &Scores) -> String {
    let calibration = Calibration::fit(scores);
    let count = scores.negatives().len().max(1) as f64;
    let points = (0..=100).map(|score| {
        let reached = scores
            .negatives()
            .iter()
            .filter(|margin| calibration.score(**margin) >= f64::from(score));
        (f64::from(score), (reached.count() as f64 / count).max(1e-5))
    });
    Plot {
        x: Axis::linear("score", 0.0, 100.0),
        y: Axis::log("negatives that reach it", 1e-5, 1.0),
        series: vec![Series::line(points.collect())],
    }
    .to_svg()
}

/// A drawing with its caption, as HTML.
pub fn figure(svg: &str, caption: &str) -> String {
    format!(
        "<figure>{svg}<figcaption>{}</figcaption></figure>\n",
        escaped(caption)
    )
}

/// Text as HTML shows it.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
