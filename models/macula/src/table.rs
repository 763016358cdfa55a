//! Answers as a table, for people at a terminal.

use crate::request::ScoreRequest;
use crate::scorer::Scorer;

/// A line for each item: score, verdict, type, the indicator, and why.
pub fn render(scorer: &Scorer, request: &ScoreRequest) -> String {
    let mut rows = vec![["SCORE", "VERDICT", "TYPE", "INDICATOR", "WHY"].map(str::to_owned)];
    for item in &request.items {
        let key: String = item.key.chars().filter(|c| !c.is_control()).collect();
        let row = match &item.indicator {
            Err(error) => [
                "-".into(),
                "error".into(),
                "-".into(),
                key,
                error.to_string(),
            ],
            Ok(indicator) => {
                let judgement = scorer.judge(indicator, &request.options);
                let hits = judgement.hits.iter().map(|counted| {
                    let overruled = if counted.points.is_none() {
                        " (overruled)"
                    } else {
                        ""
                    };
                    format!(
                        "{}: {}{overruled}",
                        counted.hit.list.title(),
                        counted.hit.entry.text
                    )
                });
                let hits: Vec<_> = hits.collect();
                let why = if hits.is_empty() {
                    "on no list".to_owned()
                } else {
                    hits.join("; ")
                };
                let verdict = format!("{:?}", judgement.verdict).to_lowercase();
                [
                    judgement.score.to_string(),
                    verdict,
                    indicator.kind().to_owned(),
                    key,
                    why,
                ]
            }
        };
        rows.push(row);
    }
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
