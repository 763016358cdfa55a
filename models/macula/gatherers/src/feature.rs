//! Features: what was gathered about an indicator, in the form that models read.
//!
//! [`Gathered`] is the intermediate form between gatherers and models. It has one entry for every feature that was asked
//! for, also for those that could not be had: a model must be able to tell "the port is closed" from "nobody was asked".

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a feature is about. Explanations add up the contributions of each category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Which services a host shows to the Internet.
    OpenPorts,
    /// Which names and addresses went together, and since when.
    PassiveDns,
    /// What others think of it.
    OnlineReputation,
    /// Who registered it, and when.
    Whois,
    /// Where in the world and in which network it lies.
    Geolocation,
    /// What the indicator looks like as text.
    Lexical,
}

impl Category {
    /// All of them.
    pub const ALL: [Category; 6] = [
        Category::OpenPorts,
        Category::PassiveDns,
        Category::OnlineReputation,
        Category::Whois,
        Category::Geolocation,
        Category::Lexical,
    ];

    /// The name in JSON and in options.
    pub fn name(self) -> &'static str {
        match self {
            Category::OpenPorts => "open_ports",
            Category::PassiveDns => "passive_dns",
            Category::OnlineReputation => "online_reputation",
            Category::Whois => "whois",
            Category::Geolocation => "geolocation",
            Category::Lexical => "lexical",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The type of a feature's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    /// A finite number.
    Number,
    /// One of a set of words.
    Text,
    /// Yes or no.
    Flag,
}

/// A feature that a source can tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeatureSpec {
    /// Its name, which no other feature has.
    pub name: Arc<str>,
    /// What it is about.
    pub category: Category,
    /// The type of its values.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// The gatherer that tells it.
    pub gatherer: Arc<str>,
}

/// The value of a feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Flag(bool),
    /// A number; what is not finite is missing instead.
    Number(f64),
    /// A word.
    Text(String),
}

impl Value {
    /// Its type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Flag(_) => ValueType::Flag,
            Value::Number(_) => ValueType::Number,
            Value::Text(_) => ValueType::Text,
        }
    }
}

/// Why a feature has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The source was asked and knows nothing of this indicator.
    Unknown,
    /// The source knows the indicator and said nothing of this feature.
    Absent,
    /// The source said something that is no value of this feature.
    Unexpected,
    /// The source has nothing to say of such indicators.
    NotApplicable,
    /// No cached answer, and asking is switched off.
    Offline,
    /// Asking would tell somebody about the indicator who must not know (TLP or PAP).
    Confidential,
    /// The gatherer is not configured, or its key is not.
    Disabled,
    /// What may be asked in a minute or a day is used up.
    Quota,
    /// The source failed again and again and is left alone for a while.
    Resting,
    /// No answer in time.
    Timeout,
    /// The source does not accept our key.
    Refused,
    /// The source told us to slow down.
    RateLimited,
    /// The source does not take questions about this indicator.
    Rejected,
    /// No authoritative server answered; a cached value is none.
    NotAuthoritative,
    /// The source could not be reached, or answered an error or something unreadable.
    Failed,
}

impl Missing {
    /// The name in JSON, logs and counters.
    pub fn name(self) -> &'static str {
        match self {
            Missing::Unknown => "unknown",
            Missing::Absent => "absent",
            Missing::Unexpected => "unexpected",
            Missing::NotApplicable => "not_applicable",
            Missing::Offline => "offline",
            Missing::Confidential => "confidential",
            Missing::Disabled => "disabled",
            Missing::Quota => "quota",
            Missing::Resting => "resting",
            Missing::Timeout => "timeout",
            Missing::Refused => "refused",
            Missing::RateLimited => "rate_limited",
            Missing::Rejected => "rejected",
            Missing::NotAuthoritative => "not_authoritative",
            Missing::Failed => "failed",
        }
    }

    /// Whether it may be there soon although nothing is known to have changed: the source did not answer this time.
    pub fn may_pass(self) -> bool {
        match self {
            Missing::Timeout
            | Missing::RateLimited
            | Missing::Resting
            | Missing::Quota
            | Missing::Failed
            | Missing::NotAuthoritative => true,
            Missing::Unknown
            | Missing::Absent
            | Missing::Unexpected
            | Missing::NotApplicable
            | Missing::Offline
            | Missing::Confidential
            | Missing::Disabled
            | Missing::Refused
            | Missing::Rejected => false,
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A value, or why there is none. In JSON `{"value": …}` or `{"missing": "why"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// What it is.
    Value(Value),
    /// Why it is not known.
    Missing(Missing),
}

impl Reading {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Reading::Value(value) => Some(value),
            Reading::Missing(_) => None,
        }
    }

    /// A number, which has to be finite to be one.
    pub fn number(number: f64) -> Reading {
        if number.is_finite() {
            Reading::Value(Value::Number(number))
        } else {
            Reading::Missing(Missing::Unexpected)
        }
    }
}

/// One feature of one indicator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// Its name.
    pub name: Arc<str>,
    /// What it is about.
    pub category: Category,
    /// Its value, or why there is none.
    #[serde(flatten)]
    pub reading: Reading,
    /// The gatherer that told it; `override` when the caller did.
    pub gatherer: Arc<str>,
    /// When the source told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_at: Option<Timestamp>,
    /// Whether it was remembered from an earlier question.
    #[serde(default)]
    pub from_cache: bool,
}

/// Everything that was gathered about one indicator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gathered {
    /// The indicator in its normal form.
    pub indicator: String,
    /// Its kind: `ip`, `domain`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Every feature that was asked for, in the order of the gatherers.
    pub features: Vec<Feature>,
}

impl Gathered {
    /// The value of the feature of this name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.feature(name)
            .and_then(|feature| feature.reading.value())
    }

    /// The feature of this name.
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| *feature.name == *name)
    }

    /// For each gatherer, why how many of its features are missing.
    pub fn missing(&self) -> BTreeMap<&str, BTreeMap<Missing, usize>> {
        let mut counts: BTreeMap<&str, BTreeMap<Missing, usize>> = BTreeMap::new();
        for feature in &self.features {
            if let Reading::Missing(why) = feature.reading {
                *counts
                    .entry(&feature.gatherer)
                    .or_default()
                    .entry(why)
                    .or_default() += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_intermediate_form_is_this_json_and_reads_back() {
        let feature = |name: &str, reading| Feature {
            name: name.into(),
            category: Category::PassiveDns,
            reading,
            gatherer: "dns".into(),
            fetched_at: None,
            from_cache: false,
        };
        let gathered = Gathered {
            indicator: "example.com".into(),
            kind: "domain".into(),
            features: vec![
                Feature {
                    fetched_at: Some(Timestamp::UNIX_EPOCH),
                    from_cache: true,
                    ..feature("dns_ttl", Reading::number(300.0))
                },
                feature("dns_alias", Reading::Value(Value::Flag(false))),
                feature("geo_country", Reading::Value(Value::Text("NL".into()))),
                feature("dns_count", Reading::Missing(Missing::NotAuthoritative)),
            ],
        };
        let text = serde_json::to_string(&gathered).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"indicator":"example.com","type":"domain","features":["#,
                r#"{"name":"dns_ttl","category":"passive_dns","value":300.0,"gatherer":"dns","fetched_at":"1970-01-01T00:00:00Z","from_cache":true},"#,
                r#"{"name":"dns_alias","category":"passive_dns","value":false,"gatherer":"dns","from_cache":false},"#,
                r#"{"name":"geo_country","category":"passive_dns","value":"NL","gatherer":"dns","from_cache":false},"#,
                r#"{"name":"dns_count","category":"passive_dns","missing":"not_authoritative","gatherer":"dns","from_cache":false}]}"#,
            )
        );
        assert_eq!(serde_json::from_str::<Gathered>(&text).unwrap(), gathered);
    }

    #[test]
    fn what_is_not_finite_is_no_number() {
        for number in [f64::NAN, f64::INFINITY] {
            assert_eq!(
                Reading::number(number),
                Reading::Missing(Missing::Unexpected)
            );
        }
    }
}
