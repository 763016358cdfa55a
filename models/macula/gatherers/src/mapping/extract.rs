//! From answers to readings: what stands at a path becomes a number, a word, yes or no; or it is missing, with the reason.
//!
//! An answer is another party's text. Small slips are corrected (a number in quotes, `"yes"` for true), everything else that
//! is not of the promised type is `unexpected`, and nothing here can fail.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value as Json;

use super::{CompleteIf, FeatureMapping, RecentDomainsMapping, RequestMapping};
use crate::feature::{Missing, Reading, Value, ValueType};
use crate::source::{Content, Failure, RecentDomain};

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// One JSON document.
    #[default]
    Json,
    /// A JSON document on each line; paths begin at the list of them.
    Ndjson,
}

/// What is made of what stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// The number.
    Number,
    /// The word.
    Text,
    /// Yes or no.
    Flag,
    /// How many there are.
    Count,
    /// How many different ones there are.
    Distinct,
    /// The least of the numbers.
    Min,
    /// The greatest of the numbers.
    Max,
    /// The sum of the numbers.
    Sum,
    /// Whether one of the words is among them.
    Contains,
    /// How many of them are among the words.
    CountOf,
    /// Days since the earliest of the dates.
    AgeDays,
    /// Days since the latest of the dates.
    LastDays,
    /// Days until the latest of the dates.
    UntilDays,
}

impl Take {
    /// The type of the values.
    pub fn value_type(self) -> ValueType {
        match self {
            Take::Text => ValueType::Text,
            Take::Flag | Take::Contains => ValueType::Flag,
            Take::Number
            | Take::Count
            | Take::Distinct
            | Take::Min
            | Take::Max
            | Take::Sum
            | Take::CountOf
            | Take::AgeDays
            | Take::LastDays
            | Take::UntilDays => ValueType::Number,
        }
    }

    /// Whether it looks for words.
    pub(super) fn needs_words(self) -> bool {
        matches!(self, Take::Contains | Take::CountOf)
    }

    /// Whether none at all is an answer, as long as there is a place for them.
    fn counts(self) -> bool {
        matches!(
            self,
            Take::Count | Take::Distinct | Take::Contains | Take::CountOf
        )
    }
}

/// The longest word that is taken for a value.
const LONGEST_WORD: usize = 200;

const SECONDS_A_DAY: f64 = 86_400.0;

impl Body {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it. The text of the answer is not in it: it is another party's.
    pub fn parse(self, bytes: &[u8]) -> Result<Json, String> {
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).map_err(|e| e.to_string());
        match self {
            Body::Json => read(bytes),
            Body::Ndjson => bytes
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.trim_ascii().is_empty())
                .map(read)
                .collect::<Result<Vec<_>, _>>()
                .map(Json::Array),
        }
    }
}

impl CompleteIf {
    fn check(rule: Option<&CompleteIf>, document: &Json) -> Result<(), Failure> {
        let broken_off = rule.filter(|rule| {
            let found = rule.at.find(document);
            !found.iter().any(|value| rule.any_of.contains(value))
        });
        match broken_off {
            Some(_) => Err(Failure::Malformed(
                "it is broken off, or says that it failed".to_owned(),
            )),
            None => Ok(()),
        }
    }
}

impl RequestMapping {
    /// The readings in an answer.
    ///
    /// # Errors
    /// When the answer is not whole.
    pub fn read(&self, document: &Json, now: Timestamp) -> Result<Content, Failure> {
        CompleteIf::check(self.complete_if.as_ref(), document)?;
        if let Some(nothing) = &self.nothing_if {
            let found = nothing.at.find(document);
            let says_nothing = match &nothing.is {
                Some(expected) => found.contains(&expected),
                None => found.iter().all(|value| value.is_null()),
            };
            if says_nothing {
                return Ok(Content::Nothing);
            }
        }
        let readings = self.features.iter().map(|feature| {
            let reading = feature.read(document, now);
            (feature.name.clone(), reading)
        });
        Ok(Content::Features(readings.collect()))
    }

    /// Whether a feature has its value because the answer leaves it out.
    pub fn is_supposed(&self, name: &str, document: &Json) -> bool {
        let mut features = self.features.iter();
        let feature = features.find(|feature| &*feature.name == name);
        feature.is_some_and(|feature| {
            let found = feature.at.find(document);
            feature.absent.is_some() && found.iter().all(|value| value.is_null())
        })
    }
}

impl FeatureMapping {
    fn read(&self, document: &Json, now: Timestamp) -> Reading {
        let found: Vec<&Json> = self
            .at
            .find(document)
            .into_iter()
            .filter(|value| !value.is_null())
            .collect();
        if found.is_empty() && !(self.take.counts() && self.at.has_place(document)) {
            return match self.absent {
                Some(value) if self.take.value_type() == ValueType::Flag => {
                    Reading::Value(Value::Flag(value != 0.0))
                }
                Some(value) => Reading::number(value),
                None => Reading::Missing(Missing::Absent),
            };
        }
        self.make(&found, now)
            .unwrap_or(Reading::Missing(Missing::Unexpected))
    }

    fn make(&self, found: &[&Json], now: Timestamp) -> Option<Reading> {
        let numbers = || {
            found
                .iter()
                .map(|v| number(v))
                .collect::<Option<Vec<f64>>>()
        };
        let dates = || found.iter().map(|v| date(v)).collect::<Option<Vec<f64>>>();
        let days = |from: f64, to: f64| Reading::number((to - from) / SECONDS_A_DAY);
        let now = now.as_second() as f64;
        Some(match self.take {
            Take::Number => Reading::number(number(only(found)?)?),
            Take::Text => Reading::Value(Value::Text(text(only(found)?)?)),
            Take::Flag => Reading::Value(Value::Flag(flag(only(found)?)?)),
            Take::Count => Reading::number(found.len() as f64),
            Take::Distinct => {
                let mut texts: Vec<String> = found.iter().map(ToString::to_string).collect();
                texts.sort_unstable();
                texts.dedup();
                Reading::number(texts.len() as f64)
            }
            Take::Min => Reading::number(numbers()?.into_iter().fold(f64::INFINITY, f64::min)),
            Take::Max => Reading::number(numbers()?.into_iter().fold(f64::NEG_INFINITY, f64::max)),
            Take::Sum => Reading::number(numbers()?.into_iter().sum()),
            Take::Contains => Reading::Value(Value::Flag(self.count_words(found) > 0)),
            Take::CountOf => Reading::number(self.count_words(found) as f64),
            Take::AgeDays => days(dates()?.into_iter().fold(f64::INFINITY, f64::min), now),
            Take::LastDays => days(dates()?.into_iter().fold(f64::NEG_INFINITY, f64::max), now),
            Take::UntilDays => days(now, dates()?.into_iter().fold(f64::NEG_INFINITY, f64::max)),
        })
    }

    fn count_words(&self, found: &[&Json]) -> usize {
        let is_word = |value: &&&Json| {
            self.of.iter().any(|word| match (word, **value) {
                (Json::String(word), Json::String(text)) => word.eq_ignore_ascii_case(text),
                (word, value) => number(word).is_some() && number(word) == number(value),
            })
        };
        found.iter().filter(is_word).count()
    }
}

impl RecentDomainsMapping {
    /// The names in an answer that were seen after `from`, newest first and then the most seen, at most `limit`. What is no
    /// name is left out, and what was seen nobody knows when.
    ///
    /// # Errors
    /// When the answer is not whole, or there are records and not one can be read: that is no answer that nobody lives there.
    pub fn read(&self, document: &Json, limit: usize, from: Timestamp) -> Result<Content, Failure> {
        CompleteIf::check(self.complete_if.as_ref(), document)?;
        let records = self.records.find(document);
        let told = records.iter().filter_map(|record| self.read_record(record));
        let mut domains: Vec<RecentDomain> = told.collect();
        if domains.is_empty() && !records.is_empty() {
            let count = records.len();
            let reason = format!("none of its {count} records tells a name and when it was seen");
            return Err(Failure::Malformed(reason));
        }
        domains.retain(|domain| domain.last_seen >= from);
        domains.sort_by(|a, b| {
            let newest_first = b.last_seen.cmp(&a.last_seen);
            newest_first
                .then(b.count.cmp(&a.count))
                .then_with(|| a.name.cmp(&b.name))
        });
        let mut seen = std::collections::HashSet::new();
        domains.retain(|domain| seen.insert(domain.name.clone()));
        domains.truncate(limit);
        if domains.is_empty() {
            return Ok(Content::Nothing);
        }
        Ok(Content::Domains(domains))
    }

    fn read_record(&self, record: &Json) -> Option<RecentDomain> {
        let name = only(&self.name.find(record))?.as_str()?;
        let name = indicators::DomainName::parse(name).ok()?;
        let last_seen = only(&self.last_seen.find(record)).and_then(date)?;
        let count = self
            .count
            .as_ref()
            .and_then(|count| only(&count.find(record)));
        let count = count.and_then(number);
        Some(RecentDomain {
            name: name.as_str().into(),
            last_seen: Timestamp::from_second(last_seen as i64).ok()?,
            count: count.map_or(0, |count| count as u64),
        })
    }
}

fn only<'a>(found: &[&'a Json]) -> Option<&'a Json> {
    match found {
        [one] => Some(one),
        _ => None,
    }
}

fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

fn text(value: &Json) -> Option<String> {
    let text = match value {
        Json::String(text) => text.trim().to_owned(),
        Json::Number(number) => number.to_string(),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    let fine = !text.is_empty() && text.len() <= LONGEST_WORD && !text.contains(char::is_control);
    fine.then_some(text)
}

fn flag(value: &Json) -> Option<bool> {
    match value {
        Json::Bool(flag) => Some(*flag),
        Json::Number(number) => match number.as_f64()? {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        },
        Json::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Some(true),
            "false" | "no" | "0" => Some(false),
            _ => None,
        },
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Seconds since 1970: from a number of them, or from a date as services write it, with or without a time and a zone.
fn date(value: &Json) -> Option<f64> {
    if let Some(seconds) = number(value) {
        return Some(seconds);
    }
    let text = value.as_str()?.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_second() as f64);
    }
    // `2020-01-31 12:00:00 UTC`, `2020-01-31T12:00:00`, `2020-01-31`: the day is what counts.
    let day: Date = text.get(..10)?.parse().ok()?;
    let start = day.to_zoned(TimeZone::UTC).ok()?;
    Some(start.timestamp().as_second() as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::mapping::JsonPath;

    fn read(take: Take, at: &str, of: &[&str], document: &Json) -> Reading {
        let feature = FeatureMapping {
            name: "x".into(),
            category: None,
            at: JsonPath::try_from(at.to_owned()).unwrap(),
            take,
            of: of.iter().map(|word| json!(word)).collect(),
            absent: None,
        };
        let now = "2026-01-11T00:00:00Z".parse().unwrap();
        feature.read(document, now)
    }

    fn document() -> Json {
        json!({
            "n": 5, "quoted": " 7.5 ", "word": "NL", "yes": "Yes", "null": null,
            "list": [3, 1, 2, 2], "ports": [22, 443], "empty": [],
            "created": "2026-01-01T00:00:00Z", "day": "2026-01-21 10:00:00 UTC", "epoch": 1_767_225_600,
            "names": ["Malware", "ads"],
        })
    }

    #[test]
    fn values_become_readings() {
        let document = document();
        for (take, at, of, expected) in [
            (Take::Number, "/n", &[][..], 5.0),
            (Take::Number, "/quoted", &[], 7.5),
            (Take::Count, "/list/*", &[], 4.0),
            (Take::Count, "/empty/*", &[], 0.0),
            (Take::Distinct, "/list/*", &[], 3.0),
            (Take::Min, "/list/*", &[], 1.0),
            (Take::Max, "/list/*", &[], 3.0),
            (Take::Sum, "/list/*", &[], 8.0),
            (Take::CountOf, "/names/*", &["malware", "phishing"], 1.0),
            (Take::AgeDays, "/created", &[], 10.0),
            (Take::AgeDays, "/epoch", &[], 10.0),
            (Take::UntilDays, "/day", &[], 10.0),
        ] {
            assert_eq!(
                read(take, at, of, &document),
                Reading::number(expected),
                "{take:?} {at}"
            );
        }
        let flag = |flag| Reading::Value(Value::Flag(flag));
        assert_eq!(read(Take::Flag, "/yes", &[], &document), flag(true));
        let contains = |word| read(Take::Contains, "/ports/*", &[word], &document);
        assert_eq!(contains("22"), flag(true));
        assert_eq!(contains("23"), flag(false));
        let word = read(Take::Text, "/word", &[], &document);
        assert_eq!(word, Reading::Value(Value::Text("NL".into())));
    }

    #[test]
    fn what_is_not_there_or_of_another_type_is_missing_with_the_reason() {
        let document = document();
        for (take, at, expected) in [
            (Take::Number, "/nowhere", Missing::Absent),
            (Take::Number, "/null", Missing::Absent),
            (Take::Count, "/nowhere/*", Missing::Absent),
            (Take::Min, "/empty/*", Missing::Absent),
            (Take::Number, "/word", Missing::Unexpected),
            (Take::Number, "/list/*", Missing::Unexpected),
            (Take::Flag, "/n", Missing::Unexpected),
            (Take::Text, "/list", Missing::Unexpected),
            (Take::AgeDays, "/word", Missing::Unexpected),
        ] {
            let reading = read(take, at, &[], &document);
            assert_eq!(reading, Reading::Missing(expected), "{take:?} {at}");
        }
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            ".{0,12}".prop_map(Json::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                proptest::collection::hash_map("[a-c]", inner, 0..4)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_reading_of_another_type(document in any_json(), at in "(/[a-c0*]){0,3}") {
            for take in [Take::Number, Take::Text, Take::Flag, Take::Count, Take::Distinct, Take::Min, Take::Max,
                         Take::Sum, Take::AgeDays, Take::LastDays, Take::UntilDays] {
                if let Reading::Value(value) = read(take, &at, &[], &document) {
                    prop_assert_eq!(value.value_type(), take.value_type());
                    if let Value::Number(number) = value {
                        prop_assert!(number.is_finite());
                    }
                }
            }
        }
    }
}
