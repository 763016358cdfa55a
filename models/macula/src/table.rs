//! Answers as a table, for people at a terminal.

use crate::analyst::Opinion;
use crate::answer::{Answers, Scored};
use crate::evidence::Evidence;
use crate::pivot::Pivot;

/// A line for each item: score, verdict, type, the indicator, and why.
pub fn render(answers: &Answers<'_>) -> String {
    let head = ["SCORE", "VERDICT", "TYPE", "INDICATOR", "WHY"].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(answers.scored.iter().map(row));
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = [0, 1, 2, 3].map(width);
    let line = |row: &[String; 5]| {
        let columns = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}  "));
        columns.collect::<String>() + &row[4] + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(scored: &Scored<'_>) -> [String; 5] {
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
            let model = judged.opinion.as_ref().map(|opinion| opinion_of(opinion));
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

/// What a model said, and the three features that moved it most.
fn opinion_of(opinion: &Opinion) -> String {
    let reasons = opinion.explain().contributions;
    let strongest: Vec<_> = reasons
        .iter()
        .take(3)
        .map(|one| format!("{} {:+.2}", one.feature, one.contribution))
        .collect();
    let (name, score) = (&opinion.model().manifest().name, opinion.score());
    let note = if score.covered {
        ""
    } else {
        " (knows too little)"
    };
    format!(
        "model {name} {:.0}: {}{note}",
        score.rescaled,
        strongest.join(", ")
    )
}

/// What the domains of an address came to.
fn pivoted(pivot: &Pivot) -> String {
    match pivot.domain() {
        Some((domain, Some(score), of)) => format!("pivot {domain} {score:.0}, of {of}"),
        Some((domain, None, of)) => format!("pivot {domain}, of which nobody knows, of {of}"),
        None => format!("pivot {}", pivot.status()),
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
