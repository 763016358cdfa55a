//! Labelled sets: indicators that are known to be malicious or benign, as CSV (`indicator,label`) or NDJSON
//! (`{"indicator": …, "label": …}`). They may name the family that each belongs to, in a further column or field.

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
    /// With which others it belongs together: a kind of malware, a campaign, a source.
    pub family: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    indicator: String,
    label: serde_json::Value,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

/// What the column or field with the family is called if nobody says otherwise.
pub const FAMILY: &str = "family";

/// The longest name of a family, in characters.
const LONGEST_FAMILY: usize = 100;

/// Reads a labelled set. A first line `indicator,label` is a heading, and so is one with a third column, of the name `family`;
/// empty lines and those that begin with `#` are nothing. In NDJSON the family is the field of that name.
///
/// # Errors
/// Names the first line that is no labelled indicator, or one that contradicts an earlier one.
pub fn parse(text: &str, family: &str) -> Result<Vec<Labelled>, LabelledError> {
    let mut seen = std::collections::HashMap::new();
    let mut all = Vec::new();
    let mut families = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: String| LabelledError { line: at + 1, why };
        if at == 0
            && let Some(third) = heading(line)
        {
            families = third == Some(family);
            if let Some(other) = third.filter(|_| !families) {
                let why = format!("its third column is `{other}` and not `{family}`");
                return Err(wrong(why));
            }
            continue;
        }
        let labelled = parse_line(line, family, families).map_err(wrong)?;
        match seen.insert(labelled.indicator.clone(), labelled.label) {
            None => all.push(labelled),
            Some(before) if before == labelled.label => {}
            Some(_) => return Err(wrong("it has another label on an earlier line".into())),
        }
    }
    Ok(all)
}

/// The third column of a heading, if the line is one.
fn heading(line: &str) -> Option<Option<&str>> {
    let mut columns = line.split(',').map(str::trim);
    let mut is = |name: &str| {
        columns
            .next()
            .is_some_and(|it| it.eq_ignore_ascii_case(name))
    };
    let is_heading = is("indicator") && is("label");
    let third = columns.next();
    (is_heading && columns.next().is_none()).then_some(third)
}

fn parse_line(line: &str, name: &str, families: bool) -> Result<Labelled, String> {
    let (indicator, label, family) = if line.starts_with('{') {
        let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let text = |value: &serde_json::Value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        };
        let family = line.more.get(name).filter(|value| !value.is_null());
        (line.indicator, text(&line.label), family.map(text))
    } else {
        // A URL may have commas; the last columns are what follows the last ones.
        let (line, family) = match line.rsplit_once(',').filter(|_| families) {
            Some((line, family)) => (line, Some(family.trim_matches('"').to_owned())),
            None => (line, None),
        };
        let (indicator, label) = line
            .rsplit_once(',')
            .ok_or("it has no comma between indicator and label")?;
        let indicator = indicator.trim_matches('"').to_owned();
        (indicator, label.to_owned(), family)
    };
    let family = family.map(|family| family.trim().to_owned());
    let family = family.filter(|family| !family.is_empty());
    let is_name = |family: &String| {
        family.chars().count() <= LONGEST_FAMILY && !family.contains(char::is_control)
    };
    if !family.as_ref().is_none_or(is_name) {
        return Err(format!(
            "its family is no name of at most {LONGEST_FAMILY} characters"
        ));
    }
    let label = match label.trim().to_ascii_lowercase().as_str() {
        "malicious" | "1" | "true" | "bad" => Label::Malicious,
        "benign" | "0" | "false" | "good" => Label::Benign,
        other => return Err(format!("`{other}` is no label; use malicious or benign")),
    };
    let indicator = indicator
        .parse()
        .map_err(|error: indicators::IndicatorError| error.to_string())?;
    Ok(Labelled {
        indicator,
        label,
        family,
    })
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
        let read: Vec<(String, Label)> = parse(text, FAMILY)
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
    fn a_third_column_or_a_field_names_the_family() {
        let families = |text: &str, name: &str| {
            let labelled = parse(text, name).map_err(|error| error.to_string())?;
            let families = labelled.into_iter().map(|one| one.family);
            Ok::<_, String>(families.map(Option::unwrap_or_default).collect::<Vec<_>>())
        };
        let text = "Indicator, Label, family\nhttp://a.test/x,y,1, suppobox \nb.test,0,\n{\"indicator\":\"c.test\",\"label\":1,\"family\":\"gozi\"}";
        assert_eq!(families(text, "family").unwrap(), ["suppobox", "", "gozi"]);
        let named = text.replace("family", "malware");
        assert_eq!(
            families(&named, "malware").unwrap(),
            ["suppobox", "", "gozi"]
        );
        let other = families(&named, "family").unwrap_err();
        assert!(
            other.contains("line 1") && other.contains("`malware`"),
            "{other}"
        );
        // Without a heading that says so there is no such column: the URL has a comma.
        assert_eq!(families("http://a.test/x,1,0", "family").unwrap(), [""]);
        let long = format!("indicator,label,family\na.test,1,{}", "x".repeat(101));
        assert!(families(&long, "family").is_err());
    }

    #[test]
    fn the_first_bad_line_is_named() {
        for (text, line) in [
            ("a.test,1\nb.test", 2),
            ("a.test,maybe", 1),
            ("a.test,1\n\na.test,0", 3),
            ("not an indicator,1", 1),
        ] {
            assert_eq!(parse(text, FAMILY).unwrap_err().line, line, "{text}");
        }
    }
}
