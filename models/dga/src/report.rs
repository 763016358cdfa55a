//! An evaluation as a page to look at: one HTML file with its plots inside, that needs nothing else.

use std::fmt::Write;

use crate::evaluation::{Detection, Evaluation, Quality};
use crate::training::Recipe;
use model_evaluation::calibration::Calibration;
use model_evaluation::figures::{bars, escaped, figure, precision, reliability, roc, scale};
use model_evaluation::metrics::{Estimate, Scores};

/// What the page says besides the figures.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The list of real names.
    pub real: &'a str,
    /// The list of generated names.
    pub generated: &'a str,
    /// The recipe, if one was measured and not a model that exists.
    pub recipe: Option<&'a Recipe>,
    /// How much each feature lowered the loss in training, if that is known.
    pub importance: &'a [(&'static str, f64)],
}

/// The page of an evaluation of a recipe.
pub fn of_evaluation(evaluation: &Evaluation, about: &About) -> String {
    let quality = &evaluation.quality;
    let mut body = summary(
        &quality.folds,
        "folds of the lists, labels of more than six characters",
    );
    body += &detection_table(quality);
    body += &plots(&evaluation.scores, about);
    body += &unseen(quality);
    page(&body, about)
}

/// The page of a model that was measured on lists.
pub fn of_measurement(scores: &Scores, detection: &Detection, about: &About) -> String {
    let body = summary(detection, "these lists, labels of more than six characters")
        + &plots(scores, about);
    page(&body, about)
}

fn page(body: &str, about: &About) -> String {
    let recipe = about.recipe.map_or_else(String::new, |recipe| {
        format!(
            "<p>Recipe: <code>{}</code></p>",
            escaped(&serde_json::to_string(recipe).unwrap_or_default())
        )
    });
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Generated names: evaluation</title>\n\
         <style>body{{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1c2733}}\
         h1,h2{{font-weight:600}}table{{border-collapse:collapse;margin:1rem 0}}td,th{{padding:.25rem .75rem;text-align:left;\
         border-bottom:1px solid #dde3ea}}td.n{{text-align:right;font-variant-numeric:tabular-nums}}svg{{max-width:100%;height:auto}}\
         .plots{{display:grid;grid-template-columns:repeat(auto-fit,minmax(24rem,1fr));gap:1.5rem}}figure{{margin:0}}\
         figcaption{{color:#51606f}}.big{{font-size:1.5rem}}</style></head><body>\n\
         <h1>Telling generated names from real ones</h1>\n\
         <p>Real names: {}<br>Generated names: {}</p>{recipe}\n{body}</body></html>\n",
        escaped(about.real),
        escaped(about.generated),
    )
}

fn summary(detection: &Detection, on: &str) -> String {
    format!(
        "<p class=\"big\">Of generated names {:.1} % are found while 1 % of real names raise an alarm. \
         The area under the ROC curve is {:.4}.</p><p>Measured on {on}: {} real and {} generated ones.</p>\n",
        detection.recall_at_1_percent.value * 100.0,
        detection.auc.value,
        detection.real,
        detection.generated,
    )
}

fn detection_table(quality: &Quality) -> String {
    let mut html = String::from(
        "<h2>On folds</h2><table><tr><th></th><th>labels longer than six</th><th>all labels</th></tr>\n",
    );
    let (long, all) = (&quality.folds, &quality.folds_all_lengths);
    for (name, long, all) in [
        ("area under the ROC curve", long.auc, all.auc),
        (
            "found at 1 % false alarms",
            long.recall_at_1_percent,
            all.recall_at_1_percent,
        ),
        (
            "found at 0.1 % false alarms",
            long.recall_at_0_1_percent,
            all.recall_at_0_1_percent,
        ),
    ] {
        let _ = writeln!(
            html,
            "<tr><td>{name}</td><td class=\"n\">{long}</td><td class=\"n\">{all}</td></tr>"
        );
    }
    html += "</table><p>In brackets: between what bounds the figure lies in 95 of 100 samples. Fold by fold:</p><table>\
             <tr><th>fold</th><th>area</th><th>found at 1 %</th></tr>\n";
    for (fold, (auc, recall)) in (1..).zip(&quality.each_fold) {
        let _ = writeln!(
            html,
            "<tr><td>{fold}</td><td class=\"n\">{auc:.4}</td><td class=\"n\">{recall:.4}</td></tr>"
        );
    }
    html + "</table>\n"
}

fn unseen(quality: &Quality) -> String {
    let mean = |what: &str, estimate: &Estimate| format!("<p>Mean over {what}: {estimate}.</p>\n");
    let mut html = String::from(
        "<h2>On families left out of training</h2><p>Each family's names are judged by a model that has seen none that its \
         generator adds (listed names, which name no family, stay), at the threshold that 1 % of real names reach.</p>\n",
    );
    html += &mean(
        "families that do not string words together",
        &quality.unseen_mean,
    );
    html += &mean("all families", &quality.unseen_mean_with_wordlists);
    let rows: Vec<(String, f64)> = quality
        .unseen
        .iter()
        .map(|family| {
            (
                format!("{} ({})", family.family, family.kind),
                family.recall,
            )
        })
        .collect();
    html + &figure(&bars(&rows, 1.0), "Found at 1 % false alarms, by family")
}

fn plots(scores: &Scores, about: &About) -> String {
    let caveat = Calibration::caveat(scores);
    let mut html = caveat.map_or_else(String::new, |caveat| {
        format!("<p>{}.</p>\n", escaped(&caveat))
    });
    html += "<div class=\"plots\">\n";
    html += &figure(&roc(scores), "ROC: generated names found, by false alarms");
    html += &figure(
        &precision(scores),
        "Precision and recall, in the mix of these lists",
    );
    html += &figure(
        &reliability(scores),
        "Calibration: how many are generated of those given a probability",
    );
    html += &figure(
        &scale(scores),
        "The score's scale: real names that reach a score",
    );
    html += "</div>\n";
    if !about.importance.is_empty() {
        let mut rows: Vec<(String, f64)> = about
            .importance
            .iter()
            .map(|(name, gain)| ((*name).to_owned(), *gain))
            .collect();
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        let most = rows.first().map_or(1.0, |(_, gain)| *gain);
        html += "<h2>What the trees look at</h2>\n";
        html += &figure(
            &bars(&rows, most),
            "Share of what all splits gained in training",
        );
    }
    html
}
