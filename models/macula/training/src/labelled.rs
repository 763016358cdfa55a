//! Labelled sets: indicators that are known to be malicious or benign, as CSV (`indicator,label`) or NDJSON
//! (`{"indicator": …, "label": …}`).

use indicators::Indicator;
use serde::{Deserialize, Serialize};

/// What an indicator is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Harmless.
    Benign,
    /// Not.
    Malicious,
}

/// An indicator and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// Which.
    pub indicator: Indicator,
    /// What.
    pub label: Label,
}

#[derive(Deserialize)]
struct Line {
    indicator: String,
    label: serde_json::Value,
}

/// Reads a labelled set. A first line `indicator,label` is a heading; empty lines and those that begin with `#` are nothing.
///
/// # Errors
/// Names the first line that is no labelled indicator, or one that contradicts an earlier one.
pub fn parse(text: &str) -> Result<Vec<Labelled>, LabelledError> {
    let mut seen = std::collections::HashMap::new();
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let heading = at == 0 && line.eq_ignore_ascii_case("indicator,label");
        if line.is_empty() || line.starts_with('#') || heading {
            continue;
        }
        let wrong = |why: String| LabelledError { line: at + 1, why };
        let labelled = parse_line(line).map_err(wrong)?;
        match seen.insert(labelled.indicator.clone(), labelled.label) {
            None => all.push(labelled),
            Some(before) if before == labelled.label => {}
            Some(_) => return Err(wrong("it has another label on an earlier line".into())),
        }
    }
    Ok(all)
}

fn parse_line(line: &str) -> Result<Labelled, String> {
    let (indicator, label) = if line.starts_with('{') {
        let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let label = match line.label.as_str() {
            Some(text) => text.to_owned(),
            None => line.label.to_string(),
        };
        (line.indicator, label)
    } else {
        // A URL may have commas; the label is what follows the last one.
        let (indicator, label) = line
            .rsplit_once(',')
            .ok_or("it has no comma between indicator and label")?;
        (indicator.trim_matches('"').to_owned(), label.to_owned())
    };
    let label = match label.trim().to_ascii_lowercase().as_str() {
        "malicious" | "1" | "true" | "bad" => Label::Malicious,
        "benign" | "0" | "false" | "good" => Label::Benign,
        other => return Err(format!("`{other}` is no label; use malicious or benign")),
    };
    let indicator = indicator
        .parse()
        .map_err(|error: indicators::IndicatorError| error.to_string())?;
    Ok(Labelled { indicator, label })
}

/// A line that is no labelled indicator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct LabelledError {
    /// Which line.
    pub line: usize,
    /// Why not.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_repetitions_left_out() {
        let text = "indicator,label\n# a remark\nevil[.]test,malicious\nhttp://a.test/x,y,0\n\n\
                    {\"indicator\": \"192.0.2.1\", \"label\": 1}\nevil.test,1\n";
        let read: Vec<(String, Label)> = parse(text)
            .unwrap()
            .into_iter()
            .map(|one| (one.indicator.to_string(), one.label))
            .collect();
        assert_eq!(
            read,
            [
                ("evil.test".into(), Label::Malicious),
                ("http://a.test/x,y".into(), Label::Benign),
                ("192.0.2.1".into(), Label::Malicious)
            ]
        );
    }

    #[test]
    fn the_first_bad_line_is_named() {
        for (text, line) in [
            ("a.test,1\nb.test", 2),
            ("a.test,maybe", 1),
            ("a.test,1\n\na.test,0", 3),
            ("not an indicator,1", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
