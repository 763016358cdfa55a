//! Answers as a table, for people at a terminal.

use gatherers::{Reading, Value};
use indicator_model::Contribution;
use model_evaluation::bars::bars;

use crate::analyst::Opinion;
use crate::answer::{Answers, Scored};
use crate::evidence::Evidence;
use crate::pivot::Pivot;

/// A line for each item: score, verdict, type, the indicator, and why.
pub fn render(answers: &Answers<'_>) -> String {
    render_with(answers, |_| String::new())
}

/// The same, and below each line what every feature of a model added, as bars.
pub fn render_explained(answers: &Answers<'_>) -> String {
    render_with(answers, |scored| {
        let outcome = scored.outcome.as_ref();
        let opinion = outcome
            .ok()
            .and_then(|(_, judged, _)| judged.opinion.as_deref());
        opinion.map(bars_of).unwrap_or_default()
    })
}

fn render_with(answers: &Answers<'_>, below: impl Fn(&Scored<'_>) -> String) -> String {
    let head = ["SCORE", "VERDICT", "TYPE", "INDICATOR", "WHY"].map(str::to_owned);
    let mut rows = vec![(head, String::new())];
    let items = answers.scored.iter();
    let neutral = answers.neutral_score;
    rows.extend(items.map(|scored| (row(scored, neutral), below(scored))));
    let width = |column: usize| {
        rows.iter()
            .map(|(row, _)| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = [0, 1, 2, 3].map(width);
    let line = |(row, below): &([String; 5], String)| {
        let columns = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}  "));
        columns.collect::<String>() + &row[4] + "\n" + below
    };
    rows.iter().map(line).collect()
}

fn row(scored: &Scored<'_>, neutral: f64) -> [String; 5] {
    let key = scored.key.chars().filter(|c| !c.is_control()).collect();
    match &scored.outcome {
        Err(error) => [
            "-".into(),
            "error".into(),
            "-".into(),
            key,
            error.to_string(),
        ],
        Ok((indicator, judged, _)) => {
            let judgement = &judged.judgement;
            let opinion = judged.opinion.as_deref();
            let model = opinion.map(|opinion| opinion_of(opinion, neutral));
            let pivot = judged.pivot.as_ref().map(pivoted);
            let reasons = judgement.evidence.iter().map(reason);
            let why: Vec<_> = reasons.chain(pivot).chain(model).collect();
            let why = if why.is_empty() {
                "on no list".to_owned()
            } else {
                why.join("; ")
            };
            [
                judgement.score.to_string(),
                judgement.verdict.name().to_owned(),
                indicator.kind().to_owned(),
                key,
                why,
            ]
        }
    }
}

/// What every feature added to what a model said, in log-odds.
fn bars_of(opinion: &Opinion) -> String {
    let part = |one: &Contribution| {
        let value = match &one.reading {
            Reading::Value(Value::Number(number)) => format!("{number:.2}"),
            Reading::Value(Value::Flag(flag)) => flag.to_string(),
            Reading::Value(Value::Text(text)) => text.clone(),
            Reading::Missing(why) => why.name().to_owned(),
        };
        (one.contribution, format!("{} ({value})", one.feature))
    };
    let parts: Vec<_> = opinion.explain().contributions.iter().map(part).collect();
    bars(&parts)
}

/// What a model said, and the three features that moved it most.
fn opinion_of(opinion: &Opinion, neutral: f64) -> String {
    let reasons = opinion.explain().contributions;
    let strongest: Vec<_> = reasons
        .iter()
        .take(3)
        .map(|one| format!("{} {:+.2}", one.feature, one.contribution))
        .collect();
    let (name, score) = (&opinion.model().manifest().name, opinion.score());
    let note = match (score.covered, opinion.is_silent(neutral)) {
        (false, _) => " (knows too little)",
        (true, true) => " (no opinion)",
        (true, false) => "",
    };
    format!(
        "model {name} {:.0}: {}{note}",
        score.rescaled,
        strongest.join(", ")
    )
}

/// What the domains of an address came to.
fn pivoted(pivot: &Pivot) -> String {
    let found = match pivot.domain() {
        Some((domain, Some(score), of)) => format!("pivot {domain} {score:.0}, of {of}"),
        Some((domain, None, of)) => format!("pivot {domain}, of which nobody knows, of {of}"),
        None => format!("pivot {}", pivot.status()),
    };
    match pivot.unchecked() {
        0 => found,
        unchecked => format!("{found}, {unchecked} not checked"),
    }
}

fn reason(item: &Evidence) -> String {
    let note = if item.points.is_some() {
        ""
    } else if item.is_over() {
        " (too old)"
    } else {
        " (overruled)"
    };
    format!("{}: {}{note}", item.title(), item.entry)
}
