//! How good a model is, as one page of HTML that needs nothing else.

use std::fmt::Write;
use std::sync::Arc;

use model_evaluation::calibration::Calibration;
use model_evaluation::figures::{bars, escaped, figure, precision, reliability, roc, scale};
use model_evaluation::metrics::Scores;

use crate::evaluation::Evaluation;
use crate::quality::{Quality, QualityAbove};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1c2733}\
    h1,h2{font-weight:600}table{border-collapse:collapse}td,th{padding:.25rem .75rem;text-align:left;border-bottom:1px solid #dde3ea}\
    svg{max-width:100%;height:auto}figure{margin:0}figcaption{color:#51606f}\
    .plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(24rem,1fr));gap:1.5rem}";

/// What a page tells.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// Of which model.
    pub title: &'a str,
    /// What the scores are of.
    pub on: &'a str,
    /// The scores.
    pub scores: &'a Scores,
    /// The same for some of the rows alone.
    pub above: Option<&'a QualityAbove>,
    /// The share of the gain of each feature; may be empty.
    pub importance: &'a [(Arc<str>, f64)],
}

/// The page of a model.
pub fn page(measured: &Measured) -> String {
    whole(measured.title, &body(measured))
}

/// The page of a recipe that was measured on folds, as [`page`] has it, and on families left out.
pub fn page_of_recipe(measured: &Measured, evaluation: &Evaluation) -> String {
    whole(measured.title, &(body(measured) + &unseen(evaluation)))
}

fn unseen(evaluation: &Evaluation) -> String {
    let mut html = String::from(
        "<h2>On families left out of training</h2><p>Each family's rows are judged by a model that has seen no row of that name, at the \
         threshold that 1 % of benign rows reach. Rows that name no family stay in training.</p>",
    );
    if let Some(mean) = &evaluation.unseen_mean {
        let _ = write!(html, "<p>Mean over families: {mean}.</p>");
    }
    html += "<table><tr><th>family</th><th>rows</th><th>area under the ROC curve</th><th>found at 1 % false alarms</th></tr>";
    for family in &evaluation.unseen {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&family.family),
            family.rows,
            family.auc,
            family.found_at_1_percent
        );
    }
    html += "</table>";
    if !evaluation.not_measured.is_empty() {
        let names = escaped(&evaluation.not_measured.join(", "));
        let _ = write!(html, "<p>Too few rows to be left out: {names}.</p>");
    }
    let found = evaluation.unseen.iter();
    let found: Vec<_> = found
        .map(|family| (family.family.clone(), family.found_at_1_percent.value))
        .collect();
    if !found.is_empty() {
        html += &figure(&bars(&found, 1.0), "Found at 1 % false alarms, by family");
    }
    html
}

fn body(measured: &Measured) -> String {
    let (scores, importance) = (measured.scores, measured.importance);
    let quality = Quality::of(scores);
    let mut body = String::new();
    let _ = write!(
        body,
        "<h1>{}</h1><p>Measured on {}: {} benign and {} malicious. Bounds hold 95 of 100 samples like these.</p><table>",
        escaped(measured.title),
        escaped(measured.on),
        quality.benign,
        quality.malicious
    );
    body += &figures(&quality);
    if let Some(QualityAbove { above, quality }) = measured.above {
        let _ = write!(
            body,
            "</table><p>Of these alone with {}: {} benign and {} malicious.</p><table>",
            escaped(&above.to_string()),
            quality.benign,
            quality.malicious
        );
        body += &figures(quality);
    }
    body += "</table>";
    if let Some(caveat) = Calibration::caveat(scores) {
        let _ = write!(body, "<p>{}.</p>", escaped(&caveat));
    }
    body += "<div class=\"plots\">";
    body += &figure(&roc(scores), "ROC: malicious ones found, by false alarms");
    body += &figure(&precision(scores), "Precision and recall, in this mix");
    body += &figure(
        &reliability(scores),
        "Calibration: how many are malicious of those given a probability",
    );
    body += &figure(&scale(scores), "Benign ones that reach a score");
    body += "</div>";
    if !importance.is_empty() {
        let mut rows = importance.to_vec();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        rows.truncate(30);
        let most = rows.first().map_or(1.0, |(_, share)| *share);
        let drawn = bars(&rows, most);
        body += &figure(
            &drawn,
            "What the trees look at: shares of the gain in training",
        );
    }
    body
}

fn figures(quality: &Quality) -> String {
    let mut rows = String::new();
    for (name, estimate) in [
        ("Area under the ROC curve", quality.auc),
        ("Found at 1 % false alarms", quality.found_at_1_percent),
        ("Found at 0.1 % false alarms", quality.found_at_0_1_percent),
    ] {
        let _ = write!(rows, "<tr><td>{name}</td><td>{estimate}</td></tr>");
    }
    rows
}

fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title><style>{STYLE}</style></head>\
         <body>{body}</body></html>\n",
        escaped(title)
    )
}
