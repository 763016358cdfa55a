//! Labelled sets: indicators that are known to be malicious or benign, as CSV (`indicator,label`) or NDJSON
//! (`{"indicator": …, "label": …}`). Further columns or fields may name the family that each belongs to, say how much it counts
//! (`weight`), and that it is there to be learned from and not to be measured on (`training_only`).

use std::str::FromStr;

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
    /// How much it counts in training.
    pub weight: Weight,
    /// Whether it is only learned from: no figure of a fold is told of it, for it is not of what the model will meet. That a family
    /// is left out of training holds for it as for others.
    pub training_only: bool,
}

/// How much a row counts in training, where most count 1. Figures count each row once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Weight(f64);

impl Weight {
    /// The highest.
    pub const MOST: f64 = 1000.0;

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }

    pub(crate) fn is_one(&self) -> bool {
        *self == Weight::default()
    }
}

impl Default for Weight {
    fn default() -> Weight {
        Weight(1.0)
    }
}

impl TryFrom<f64> for Weight {
    type Error = WeightError;

    fn try_from(number: f64) -> Result<Weight, WeightError> {
        if number > 0.0 && number <= Weight::MOST {
            Ok(Weight(number))
        } else {
            Err(WeightError(number.to_string()))
        }
    }
}

impl FromStr for Weight {
    type Err = WeightError;

    fn from_str(text: &str) -> Result<Weight, WeightError> {
        let number: Option<f64> = text.parse().ok();
        let weight = number.and_then(|number| Weight::try_from(number).ok());
        weight.ok_or_else(|| WeightError(text.to_owned()))
    }
}

impl From<Weight> for f64 {
    fn from(weight: Weight) -> f64 {
        weight.0
    }
}

/// A weight that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no weight; use a number above 0, up to {most}", most = Weight::MOST)]
pub struct WeightError(String);

#[derive(Deserialize)]
struct Line {
    indicator: String,
    label: serde_json::Value,
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
}

/// What the column or field with the family is called if nobody says otherwise.
pub const FAMILY: &str = "family";

/// The column or field that says how much an indicator counts.
pub const WEIGHT: &str = "weight";

/// The column or field that says that an indicator is only learned from.
pub const TRAINING_ONLY: &str = "training_only";

/// The longest name of a family, in characters.
const LONGEST_FAMILY: usize = 100;

/// Reads a labelled set. A first line `indicator,label` is a heading, and may name further columns: [`WEIGHT`], [`TRAINING_ONLY`],
/// and that of the family, called `family`; empty lines and those that begin with `#` are nothing. In NDJSON they are fields of
/// these names.
///
/// # Errors
/// Names the first line that is no labelled indicator, or one that contradicts an earlier one.
pub fn parse(text: &str, family: &str) -> Result<Vec<Labelled>, LabelledError> {
    let mut seen = std::collections::HashMap::new();
    let mut all = Vec::new();
    let mut columns = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: String| LabelledError { line: at + 1, why };
        if at == 0
            && let Some(named) = heading(line)
        {
            columns = further(&named, family).map_err(wrong)?;
            continue;
        }
        let labelled = told(line, family, &columns)
            .and_then(Told::checked)
            .map_err(wrong)?;
        let said = (labelled.label, labelled.weight, labelled.training_only);
        match seen.insert(labelled.indicator.clone(), said) {
            None => all.push(labelled),
            Some(before) if before == said => {}
            Some((label, weight, _)) => {
                let other = if label != said.0 {
                    "label"
                } else if weight != said.1 {
                    WEIGHT
                } else {
                    TRAINING_ONLY
                };
                return Err(wrong(format!("it has another {other} on an earlier line")));
            }
        }
    }
    Ok(all)
}

/// A column after the label.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Family,
    Weight,
    TrainingOnly,
}

/// The columns of a heading after the label, if the line is one.
fn heading(line: &str) -> Option<Vec<&str>> {
    let mut columns = line.split(',').map(str::trim);
    let mut is = |name: &str| {
        columns
            .next()
            .is_some_and(|it| it.eq_ignore_ascii_case(name))
    };
    (is("indicator") && is("label")).then(|| columns.collect())
}

fn further(named: &[&str], family: &str) -> Result<Vec<Column>, String> {
    let mut columns = Vec::new();
    for name in named {
        let column = match *name {
            name if name == family => Column::Family,
            WEIGHT => Column::Weight,
            TRAINING_ONLY => Column::TrainingOnly,
            other => {
                return Err(format!(
                    "its column `{other}` is neither `{family}` nor `{WEIGHT}` nor `{TRAINING_ONLY}`"
                ));
            }
        };
        if columns.contains(&column) {
            return Err(format!("it has two columns `{name}`"));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// What a line tells, as text.
#[derive(Default)]
struct Told {
    indicator: String,
    label: String,
    family: Option<String>,
    weight: Option<String>,
    training_only: Option<String>,
}

fn told(line: &str, family: &str, columns: &[Column]) -> Result<Told, String> {
    if line.starts_with('{') {
        let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let text = |value: &serde_json::Value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        };
        let field = |name: &str| {
            let value = line.more.get(name).filter(|value| !value.is_null());
            value.map(text)
        };
        return Ok(Told {
            label: text(&line.label),
            family: field(family),
            weight: field(WEIGHT).filter(|_| family != WEIGHT),
            training_only: field(TRAINING_ONLY).filter(|_| family != TRAINING_ONLY),
            indicator: line.indicator,
        });
    }
    // A URL may have commas; the last columns are what follows the last ones.
    let mut told = Told::default();
    let mut rest = line;
    for column in columns.iter().rev() {
        let (before, text) = rest
            .rsplit_once(',')
            .ok_or("it has fewer columns than the heading")?;
        rest = before;
        let text = Some(text.trim_matches('"').to_owned());
        match column {
            Column::Family => told.family = text,
            Column::Weight => told.weight = text,
            Column::TrainingOnly => told.training_only = text,
        }
    }
    let (indicator, label) = rest
        .rsplit_once(',')
        .ok_or("it has no comma between indicator and label")?;
    told.indicator = indicator.trim_matches('"').to_owned();
    told.label = label.to_owned();
    Ok(told)
}

impl Told {
    fn checked(self) -> Result<Labelled, String> {
        let some = |text: Option<String>| {
            let text = text.map(|text| text.trim().to_owned());
            text.filter(|text| !text.is_empty())
        };
        let family = some(self.family);
        let is_name = |family: &String| {
            family.chars().count() <= LONGEST_FAMILY && !family.contains(char::is_control)
        };
        if !family.as_ref().is_none_or(is_name) {
            return Err(format!(
                "its family is no name of at most {LONGEST_FAMILY} characters"
            ));
        }
        let weight = match some(self.weight) {
            Some(text) => text
                .parse()
                .map_err(|error: WeightError| error.to_string())?,
            None => Weight::default(),
        };
        let training_only = match some(self.training_only).map(|text| text.to_ascii_lowercase()) {
            None => false,
            Some(text) => match text.as_str() {
                "true" | "1" | "yes" => true,
                "false" | "0" | "no" => false,
                _ => {
                    return Err(format!(
                        "`{text}` in `{TRAINING_ONLY}` is neither true nor false"
                    ));
                }
            },
        };
        let label = match self.label.trim().to_ascii_lowercase().as_str() {
            "malicious" | "1" | "true" | "bad" => Label::Malicious,
            "benign" | "0" | "false" | "good" => Label::Benign,
            other => return Err(format!("`{other}` is no label; use malicious or benign")),
        };
        let indicator = self
            .indicator
            .parse()
            .map_err(|error: indicators::IndicatorError| error.to_string())?;
        Ok(Labelled {
            indicator,
            label,
            family,
            weight,
            training_only,
        })
    }
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
    fn further_columns_or_fields_say_how_much_an_indicator_counts_and_that_it_is_only_learned_from()
    {
        let text = "indicator,label,weight,family,training_only\nhttp://a.test/x,y,1,0.25,gozi,TRUE\nb.test,0,,,\n\
                    c.test,1,3,,no\n{\"indicator\":\"d.test\",\"label\":1,\"weight\":0.5,\"training_only\":true}";
        let read: Vec<_> = parse(text, FAMILY)
            .unwrap()
            .into_iter()
            .map(|one| (one.weight.get(), one.family, one.training_only))
            .collect();
        let gozi = Some("gozi".to_owned());
        assert_eq!(
            read,
            [
                (0.25, gozi, true),
                (1.0, None, false),
                (3.0, None, false),
                (0.5, None, true)
            ]
        );
    }

    #[test]
    fn the_first_bad_line_is_named() {
        for (text, line, why) in [
            ("a.test,1\nb.test", 2, "no comma"),
            ("a.test,maybe", 1, "`maybe` is no label"),
            ("a.test,1\n\na.test,0", 3, "another label"),
            ("not an indicator,1", 1, "not recognised"),
            ("indicator,label,wait\na.test,1,2", 1, "`wait`"),
            ("indicator,label,weight,weight", 1, "two columns"),
            (
                "indicator,label,weight\na.test,1,2\nb.test,0,0",
                3,
                "`0` is no weight",
            ),
            (
                "indicator,label,weight\nb.test,0,inf",
                2,
                "above 0, up to 1000",
            ),
            ("indicator,label,weight\nb.test,0,much", 2, "`much`"),
            (
                "{\"indicator\":\"a.test\",\"label\":1,\"weight\":-1}",
                1,
                "`-1`",
            ),
            (
                "indicator,label,training_only\n\na.test,1,perhaps",
                3,
                "`perhaps`",
            ),
            (
                "indicator,label,weight\na.test,1,2\na.test,1,3",
                3,
                "another weight",
            ),
            (
                "indicator,label,training_only\na.test,1,0\na.test,1,1",
                3,
                "another training_only",
            ),
            (
                "indicator,label,weight,training_only\n1,2",
                2,
                "fewer columns",
            ),
        ] {
            let error = parse(text, FAMILY).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(error.why.contains(why), "{text}: {error}");
        }
    }
}
