//! Mappings: what a web service is asked, and where in its answer the features are.
//!
//! A mapping is a TOML file, so that a service that changes its answers, or another service of the same kind, needs another
//! file and no other program. Those for the services Macula has always asked come along ([`Mapping::shipped`]); a file of the
//! same name in the folder of the settings takes the place of the shipped one.

mod extract;
mod path;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};

pub(crate) use extract::{Body, Take};
pub use path::JsonPath;

use crate::breaker::BreakerPolicy;
use crate::cache::CachePolicy;
use crate::feature::{Category, FeatureSpec};
use crate::gate::{Leaks, Tlp};
use crate::quota::QuotaPolicy;
use crate::source::SubjectForm;
use crate::span::Span;

/// The mappings that come along, by the name of their gatherer.
const SHIPPED: [(&str, &str); 8] = [
    ("censys", include_str!("../mappings/censys.toml")),
    ("farsight", include_str!("../mappings/farsight.toml")),
    ("wot", include_str!("../mappings/wot.toml")),
    ("bitdefender", include_str!("../mappings/bitdefender.toml")),
    ("majestic", include_str!("../mappings/majestic.toml")),
    ("neutrino", include_str!("../mappings/neutrino.toml")),
    ("whoisxml", include_str!("../mappings/whoisxml.toml")),
    ("geo", include_str!("../mappings/geo.toml")),
];

/// A service and its answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The gatherer's name.
    pub name: String,
    /// What the service is, for people.
    pub about: String,
    /// What its features are about.
    pub category: Category,
    /// Where it answers, unless the settings say otherwise.
    pub base_url: String,
    /// How the key is shown; nothing when it wants none.
    pub key: Option<KeyPlace>,
    /// Further words of the settings that its requests need, like a user's name.
    #[serde(default)]
    pub parameters: Vec<String>,
    /// Headers of every request; may contain `{parameter}`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What to ask for which indicators.
    #[serde(rename = "request", default)]
    pub requests: Vec<RequestMapping>,
    /// Where to find the names that led to an address, if it knows them.
    pub recent_domains: Option<RecentDomainsMapping>,
    /// How its answers are remembered.
    #[serde(default)]
    pub cache: CachePolicy,
    /// How often it may be asked.
    #[serde(default)]
    pub quota: QuotaPolicy,
    /// When it is left alone.
    #[serde(default)]
    pub breaker: BreakerPolicy,
    /// How long an answer may take.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// The strictest marking it may hear of.
    #[serde(default = "default_max_tlp")]
    pub max_tlp: Tlp,
    #[serde(skip)]
    version: String,
}

const fn default_timeout() -> Span {
    Span::seconds(10)
}

const fn default_max_tlp() -> Tlp {
    Tlp::Green
}

/// Where the key goes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPlace {
    /// Into a header, as it is.
    Header(String),
    /// Into the header `Authorization`, as HTTP's basic scheme wants it; the key is `user:password`.
    Basic,
    /// Into the header `Authorization`, after `Bearer`.
    Bearer,
    /// Into a parameter of the query.
    Query(String),
}

/// One question and its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestMapping {
    /// Of which indicators, and how they are written.
    pub subject: SubjectForm,
    /// The path, with `{subject}` in it.
    pub path: String,
    /// The query; values may contain `{subject}` and `{parameter}`.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// How the answer is written.
    #[serde(default)]
    pub body: Body,
    /// By what an answer is known to be whole, for one that comes in lines.
    #[serde(default)]
    pub complete_if: Option<CompleteIf>,
    /// Answers that mean "I know nothing of it" although they say more than nothing.
    #[serde(default)]
    pub nothing_if: Option<NothingIf>,
    /// Where the features are.
    #[serde(rename = "feature")]
    pub features: Vec<FeatureMapping>,
}

/// When an answer is whole: a service may break off in the middle, or say at the end that it failed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompleteIf {
    /// Where to look.
    pub at: JsonPath,
    /// One of these stands there.
    pub any_of: Vec<serde_json::Value>,
}

/// When an answer says that nothing is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NothingIf {
    /// Where to look.
    pub at: JsonPath,
    /// What stands there; nothing said means that nothing stands there.
    pub is: Option<serde_json::Value>,
}

/// Where one feature is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureMapping {
    /// Its name.
    pub name: Arc<str>,
    /// What it is about, if not what the service is about.
    pub category: Option<Category>,
    /// Where in the answer.
    pub at: JsonPath,
    /// What to make of what stands there.
    pub take: Take,
    /// For `contains` and `count_of`: the words looked for.
    #[serde(default)]
    pub of: Vec<serde_json::Value>,
    /// What the service means when it leaves this out.
    pub absent: Option<f64>,
}

/// Where the names that led to an address are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecentDomainsMapping {
    /// The path, with `{subject}` in it.
    pub path: String,
    /// The query; values may contain `{subject}`, `{limit}`, and how far back, as `{days}` or `{seconds}`.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// How the answer is written.
    #[serde(default)]
    pub body: Body,
    /// By what an answer is known to be whole, for one that comes in lines.
    #[serde(default)]
    pub complete_if: Option<CompleteIf>,
    /// The records.
    pub records: JsonPath,
    /// The name in each record.
    pub name: JsonPath,
    /// When it was last seen.
    pub last_seen: JsonPath,
    /// How often it was seen, if the service tells.
    pub count: Option<JsonPath>,
}

impl Mapping {
    /// The mapping that comes along for this gatherer.
    pub fn shipped(name: &str) -> Option<&'static str> {
        let found = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
        found.map(|(_, text)| *text)
    }

    /// The names of the gatherers whose mappings come along.
    pub fn shipped_names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// Reads a mapping.
    ///
    /// # Errors
    /// When the text is no mapping, or contradicts itself.
    pub fn parse(text: &str) -> Result<Mapping, MappingError> {
        let mut mapping: Mapping = toml::from_str(text).map_err(MappingError::Toml)?;
        mapping.check()?;
        let digest = Sha256::digest(text);
        mapping.version = digest[..4].iter().map(|b| format!("{b:02x}")).collect();
        Ok(mapping)
    }

    /// What tells this text from others.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Who learns of what is asked: always the provider.
    pub fn leaks(&self) -> Leaks {
        Leaks::ToProvider
    }

    /// The features, each once: two requests may tell the same one of different indicators.
    pub fn features(&self) -> Vec<FeatureSpec> {
        let mut seen = BTreeSet::new();
        let gatherer: Arc<str> = self.name.as_str().into();
        let all = self.requests.iter().flat_map(|request| &request.features);
        all.filter(|feature| seen.insert(&feature.name))
            .map(|feature| FeatureSpec {
                name: feature.name.clone(),
                category: feature.category.unwrap_or(self.category),
                value_type: feature.take.value_type(),
                gatherer: gatherer.clone(),
            })
            .collect()
    }

    fn check(&self) -> Result<(), MappingError> {
        let wrong = |what: String| Err(MappingError::Wrong { what });
        let name_is_fine = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if !name_is_fine(&self.name) {
            return wrong(format!("`{}` is no name for a gatherer", self.name));
        }
        if self.requests.is_empty() && self.recent_domains.is_none() {
            return wrong("it has no request".into());
        }
        let names = self.recent_domains.iter();
        let names = names.map(|names| (&names.path, &names.query));
        let requests = self.requests.iter();
        let requests = requests.map(|request| (&request.path, &request.query));
        for (path, query) in requests.chain(names) {
            let mut places = query.values().chain([path]);
            if !places.any(|place| place.contains("{subject}")) || !path.starts_with('/') {
                return wrong(format!(
                    "the request `{path}` has no `{{subject}}`, or no `/` first"
                ));
            }
        }
        for request in &self.requests {
            let mut seen = BTreeMap::new();
            for feature in &request.features {
                if !name_is_fine(&feature.name) {
                    return wrong(format!("`{}` is no name for a feature", feature.name));
                }
                if seen.insert(&feature.name, feature.take).is_some() {
                    return wrong(format!("the feature `{}` is there twice", feature.name));
                }
                if feature.take.needs_words() == feature.of.is_empty() {
                    return wrong(format!(
                        "the feature `{}` must have `of` if it takes `contains` or `count_of`, and only then",
                        feature.name
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Why a text is no mapping.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// No TOML, or a word that no mapping has.
    #[error("the mapping cannot be read")]
    Toml(#[source] toml::de::Error),
    /// It contradicts itself.
    #[error("the mapping is wrong: {what}")]
    Wrong {
        /// In which way.
        what: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_mapping_can_be_read_and_no_two_tell_the_same_feature() {
        let mut names = BTreeSet::new();
        for shipped in Mapping::shipped_names() {
            let mapping = Mapping::parse(Mapping::shipped(shipped).unwrap())
                .unwrap_or_else(|error| panic!("{shipped}: {error:?}"));
            assert_eq!(mapping.name, shipped);
            assert!(mapping.base_url.starts_with("https://"), "{shipped}");
            for feature in mapping.features() {
                assert!(feature.name.starts_with(shipped), "{}", feature.name);
                assert!(names.insert(feature.name.clone()), "{}", feature.name);
            }
        }
        assert!(names.len() > 50, "{}", names.len());
    }

    #[test]
    fn a_mapping_that_asks_for_nothing_in_particular_is_refused() {
        let text = Mapping::shipped("geo").unwrap();
        for (from, to) in [("{subject}", "all"), ("take = ", "tkae = ")] {
            assert!(Mapping::parse(&text.replace(from, to)).is_err(), "{from}");
        }
    }
}
