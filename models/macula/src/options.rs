//! The options of a request, by the names callers have always used.
//!
//! An option nobody knows is named, with the closest one known: a misspelt `useWhitlist=false` that silently does nothing is
//! the worst that can happen to an analyst. In strict mode it is refused, else the answer carries a warning.

use std::collections::BTreeMap;

use indicators::Kind;
use serde_json::Value;
use threat_lists::ListKind;
use utoipa::IntoParams;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema, Type};

use gatherers::{self as gathering, GatherOptions, Handling, Pap, Selection, Tlp, ValueType};

use crate::feature_set::{FeatureSet, LONGEST_WORD, Sources};

/// What a caller may choose.
#[derive(Clone, Debug, PartialEq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Options {
    /// The answer may come from the score cache.
    #[param(rename = "useCache", required = false, default = true)]
    pub use_cache: bool,
    /// The whitelist rule is on.
    #[param(rename = "useWhitelist", required = false, default = true)]
    pub use_whitelist: bool,
    /// The blacklist rule is on.
    #[param(rename = "useBlacklist", required = false, default = true)]
    pub use_blacklist: bool,
    /// Any rule is on.
    #[param(rename = "useRule", required = false, default = true)]
    pub use_rule: bool,
    /// How many recent domains of an address to look at; 0 for none.
    #[param(required = false, default = 5, maximum = 1000)]
    pub domain_pivot: usize,
    /// A sub-score for every category.
    #[param(required = false, default = false)]
    pub summary: bool,
    /// What moved the score, and by how much.
    #[param(required = false, default = false)]
    pub explain: bool,
    /// How many of these to list.
    #[param(required = false, default = 10, maximum = 1000)]
    pub explain_items: usize,
    /// What all indicators are, if it is not to be detected.
    #[param(rename = "type", value_type = Option<String>, schema_with = kind_schema)]
    pub kind: Option<Kind>,
    /// The sources or categories of features to use, commas between them; all without it.
    #[param(value_type = Option<String>, schema_with = features_schema, example = "geo,whois")]
    pub features: Option<FeatureSet>,
    /// The sources or categories of features not to use.
    #[param(value_type = Option<String>, schema_with = features_schema, example = "censys")]
    pub exclude: Option<FeatureSet>,
    /// Values of features that the caller knows better, or supposes. Only a JSON body can have them.
    #[param(ignore)]
    pub overrides: BTreeMap<String, gathering::Value>,
    /// Remembered answers of the sources will do.
    #[param(rename = "useFeatureCache", required = false, default = true)]
    pub use_feature_cache: bool,
    /// Nobody outside this machine is asked; what is remembered counts.
    #[param(required = false, default = false)]
    pub offline: bool,
    /// Who may know of the indicators, by the traffic light protocol: no source is asked that may not.
    #[param(value_type = Option<String>, schema_with = tlp_schema)]
    pub tlp: Tlp,
    /// What may be done with the indicators, by the permissible actions protocol: red leaves the house for nobody, amber does
    /// not reach the indicator's own servers.
    #[param(value_type = Option<String>, schema_with = pap_schema)]
    pub pap: Pap,
    /// A parameter nobody knows is refused; otherwise the answer carries a warning. True by default, but at `/apply`.
    #[param(required = false)]
    pub strict: bool,
}

/// Every option name.
pub const NAMES: [&str; 17] = [
    "useCache",
    "useWhitelist",
    "useBlacklist",
    "useRule",
    "domain_pivot",
    "summary",
    "explain",
    "explain_items",
    "type",
    "features",
    "exclude",
    "overrides",
    "useFeatureCache",
    "offline",
    "tlp",
    "pap",
    "strict",
];

/// The options that keep an indicator from somebody.
pub(crate) const CONFIDENTIAL: [&str; 3] = ["tlp", "pap", "offline"];

/// The largest number an option takes.
const MAX_NUMBER: usize = 1000;

impl Default for Options {
    fn default() -> Self {
        Options {
            use_cache: true,
            use_whitelist: true,
            use_blacklist: true,
            use_rule: true,
            domain_pivot: 5,
            summary: false,
            explain: false,
            explain_items: 10,
            kind: None,
            features: None,
            exclude: None,
            overrides: BTreeMap::new(),
            use_feature_cache: true,
            offline: false,
            tlp: Tlp::default(),
            pap: Pap::default(),
            strict: true,
        }
    }
}

/// What of the options can change a score. What only adds to the answer is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScoreOptions {
    whitelist: bool,
    blacklist: bool,
    others: bool,
    features: Option<FeatureSet>,
    offline: bool,
    tlp: Tlp,
    pap: Pap,
    /// How many domains of an address are looked at; of no indicator that has none.
    pub(crate) pivot: usize,
}

impl Options {
    /// Sets one option from text.
    ///
    /// # Errors
    /// When there is no such option or the value is none it can take.
    pub fn set(&mut self, name: &str, value: &str, sources: &Sources) -> Result<(), OptionError> {
        match name {
            "useCache" => self.use_cache = boolean(name, value)?,
            "useWhitelist" => self.use_whitelist = boolean(name, value)?,
            "useBlacklist" => self.use_blacklist = boolean(name, value)?,
            "useRule" => self.use_rule = boolean(name, value)?,
            "domain_pivot" => self.domain_pivot = number(name, value)?,
            "summary" => self.summary = boolean(name, value)?,
            "explain" => self.explain = boolean(name, value)?,
            "explain_items" => self.explain_items = number(name, value)?,
            "type" => self.kind = Some(kind(value)?),
            "features" => self.features = Some(feature_set(name, value, sources)?),
            "exclude" => self.exclude = Some(feature_set(name, value, sources)?),
            "overrides" => {
                let expected = "an object in a JSON body".to_owned();
                return Err(bad_value(name, value, expected));
            }
            "useFeatureCache" => self.use_feature_cache = boolean(name, value)?,
            "offline" => self.offline = boolean(name, value)?,
            "tlp" => self.tlp = marking(name, value, TLP)?,
            "pap" => self.pap = marking(name, value, PAP)?,
            "strict" => self.strict = boolean(name, value)?,
            _ => {
                return Err(OptionError::Unknown {
                    name: name.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Sets one option from a value of JSON: booleans for what is true or false, numbers for counts, strings for the rest.
    ///
    /// # Errors
    /// When there is no such option or the value is none it can take.
    pub fn set_json(
        &mut self,
        name: &str,
        value: &Value,
        sources: &Sources,
    ) -> Result<(), OptionError> {
        if let ("overrides", Value::Object(values)) = (name, value) {
            self.overrides = values
                .iter()
                .map(|(feature, value)| overridden(feature, value, sources))
                .collect::<Result<_, _>>()?;
            return Ok(());
        }
        let text = match (value.as_str(), whole(value)) {
            (Some(text), _) => text.to_owned(),
            (None, Some(number)) => number.to_string(),
            (None, None) => value.to_string(),
        };
        let expected = match name {
            "domain_pivot" | "explain_items" if !value.is_number() => "a number",
            "type" | "features" | "exclude" | "tlp" | "pap" if !value.is_string() => "a string",
            "useCache" | "useWhitelist" | "useBlacklist" | "useRule" | "summary" | "explain"
            | "useFeatureCache" | "offline" | "strict"
                if !value.is_boolean() =>
            {
                "true or false"
            }
            _ => return self.set(name, &text, sources),
        };
        Err(bad_value(name, &value.to_string(), expected.to_owned()))
    }

    /// The same without what the caller supposes.
    #[must_use]
    pub(crate) fn without_overrides(&self) -> Options {
        Options {
            overrides: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// Whether a score made before will do.
    pub(crate) fn reads_cache(&self) -> bool {
        self.use_cache && self.use_feature_cache && self.overrides.is_empty()
    }

    /// Whether a model that has judged is to be asked why.
    pub fn wants_reasons(&self) -> bool {
        self.explain || self.summary
    }

    /// Whether lists of this kind may speak.
    pub fn allows(&self, kind: ListKind) -> bool {
        self.use_rule
            && match kind {
                ListKind::Whitelist => self.use_whitelist,
                ListKind::Blacklist => self.use_blacklist,
                ListKind::Darklist | ListKind::Feed => true,
            }
    }

    /// The sources of features that are left, if the caller chose.
    pub fn feature_set(&self) -> Option<FeatureSet> {
        match (&self.features, &self.exclude) {
            (chosen, None) => chosen.clone(),
            (None, Some(excluded)) => Some(excluded.others()),
            (Some(chosen), Some(excluded)) => Some(chosen.clone().without(excluded)),
        }
    }

    /// What of this can change a score.
    pub fn score_options(&self) -> ScoreOptions {
        ScoreOptions {
            whitelist: self.allows(ListKind::Whitelist),
            blacklist: self.allows(ListKind::Blacklist),
            others: self.use_rule,
            features: self.feature_set(),
            offline: self.offline,
            tlp: self.tlp,
            pap: self.pap,
            pivot: self.pivot(),
        }
    }

    /// How many domains of an address are looked at. The pivot is one of the rules.
    pub fn pivot(&self) -> usize {
        if self.use_rule { self.domain_pivot } else { 0 }
    }

    /// How features are to be gathered.
    pub(crate) fn gather_options(&self) -> GatherOptions {
        let names = |set: &FeatureSet| set.names().into_iter().map(str::to_owned).collect();
        GatherOptions {
            selection: Selection {
                only: self.features.as_ref().map(names),
                exclude: self.exclude.as_ref().map(names).unwrap_or_default(),
            },
            overrides: self.overrides.clone(),
            handling: Handling {
                tlp: self.tlp,
                pap: self.pap,
                offline: self.offline,
            },
            use_cache: self.use_feature_cache,
            ..GatherOptions::default()
        }
    }
}

/// A number without a fraction: to JSON `5` and `5.0` are the same.
fn whole(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.fract() == 0.0)
}

fn boolean(name: &str, value: &str) -> Result<bool, OptionError> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(bad_value(name, value, "true or false".to_owned())),
    }
}

fn number(name: &str, value: &str) -> Result<usize, OptionError> {
    let number = value.parse().ok().filter(|number| *number <= MAX_NUMBER);
    number.ok_or_else(|| {
        bad_value(
            name,
            value,
            format!("a whole number from 0 to {MAX_NUMBER}"),
        )
    })
}

/// The kind of indicator that `type` names.
pub(crate) fn kind(value: &str) -> Result<Kind, OptionError> {
    let known = || Kind::ALL.map(Kind::name).join(", ");
    value
        .parse()
        .map_err(|_| bad_value("type", value, format!("one of {}", known())))
}

/// The markings of the traffic light protocol.
const TLP: &[&str] = &["clear", "green", "amber", "amber+strict", "red"];

/// The markings of the permissible actions protocol.
const PAP: &[&str] = &["clear", "green", "amber", "red"];

fn marking<M: std::str::FromStr>(
    name: &str,
    value: &str,
    known: &[&str],
) -> Result<M, OptionError> {
    let marking = value.parse();
    marking.map_err(|_| bad_value(name, value, format!("one of {}", known.join(", "))))
}

fn feature_set(name: &str, value: &str, sources: &Sources) -> Result<FeatureSet, OptionError> {
    let set = sources.parse(value);
    set.map_err(|expected| bad_value(name, value, expected))
}

fn overridden(
    feature: &str,
    value: &Value,
    sources: &Sources,
) -> Result<(String, gathering::Value), OptionError> {
    let found = sources.value(feature, value).map_err(|expected| {
        let name = format!("overrides.{}", feature.chars().take(80).collect::<String>());
        bad_value(&name, &value.to_string(), expected)
    });
    Ok((feature.to_owned(), found?))
}

pub(crate) fn kind_schema() -> Schema {
    let kinds = ObjectBuilder::new().schema_type(Type::String);
    kinds
        .description(Some(
            "What all indicators are, if it is not to be detected.",
        ))
        .enum_values(Some(Kind::ALL.map(Kind::name)))
        .build()
        .into()
}

pub(crate) fn tlp_schema() -> Schema {
    markings_schema("Who may know of the indicators.", TLP)
}

pub(crate) fn pap_schema() -> Schema {
    markings_schema("What may be done with the indicators.", PAP)
}

fn markings_schema(description: &str, markings: &[&str]) -> Schema {
    let kinds = ObjectBuilder::new().schema_type(Type::String);
    kinds
        .description(Some(description))
        .enum_values(Some(markings.to_vec()))
        .build()
        .into()
}

pub(crate) fn features_schema() -> Schema {
    let names = ObjectBuilder::new().schema_type(Type::String);
    names
        .description(Some(
            "Sources or categories of features, commas between them.",
        ))
        .pattern(Some(features_pattern(&Sources::default())))
        .build()
        .into()
}

/// What names of sources look like.
pub(crate) fn features_pattern(sources: &Sources) -> String {
    let name = format!("({}|none)", sources.names().join("|"));
    format!("^{name}(,{name})*$")
}

/// Values of features, each of its type.
pub(crate) fn overrides_schema() -> Schema {
    let mut values = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("Values of features that the caller knows better, or supposes. A score made by them is not remembered."))
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    for (feature, value_type) in Sources::default().features() {
        let value = match value_type {
            ValueType::Number => ObjectBuilder::new().schema_type(Type::Number),
            ValueType::Flag => ObjectBuilder::new().schema_type(Type::Boolean),
            ValueType::Text => ObjectBuilder::new()
                .schema_type(Type::String)
                .max_length(Some(LONGEST_WORD)),
        };
        values = values.property(feature, value);
    }
    values.build().into()
}

fn bad_value(name: &str, value: &str, expected: String) -> OptionError {
    OptionError::Value {
        name: name.to_owned(),
        value: value.chars().take(80).collect(),
        expected,
    }
}

/// Why an option could not be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No such option.
    #[error("unknown parameter `{name}`")]
    Unknown {
        /// As the caller wrote it.
        name: String,
    },
    /// A value it cannot take.
    #[error("parameter `{name}` cannot be `{value}`; expected is {expected}")]
    Value {
        /// The option.
        name: String,
        /// As the caller wrote it.
        value: String,
        /// What would do.
        expected: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_name_can_be_set_and_changes_something() {
        let sources = Sources::default();
        for name in NAMES {
            let mut options = Options::default();
            let values = ["0", "1", "url", "geo", "red"].map(Value::from);
            let values = values.into_iter().chain([
                json!(0),
                json!(true),
                json!(false),
                json!({"dns_ttl": 5}),
            ]);
            let changed = values.into_iter().any(|value| {
                let set = options.set_json(name, &value, &sources);
                set.is_ok() && options != Options::default()
            });
            assert!(changed, "{name}");
            assert!(options.set(name, "perhaps", &sources).is_err(), "{name}");
        }
    }

    #[test]
    fn what_only_adds_to_an_answer_does_not_change_a_score() {
        let changes = |name: &str, value: &str| {
            let mut options = Options::default();
            let set = options.set(name, value, &Sources::default());
            set.expect("a good value");
            options.score_options() != Options::default().score_options()
        };
        for (name, value) in [
            ("summary", "1"),
            ("explain", "1"),
            ("explain_items", "3"),
            ("useCache", "0"),
        ] {
            assert!(!changes(name, value), "{name}");
        }
        for (name, value) in [
            ("useWhitelist", "0"),
            ("useBlacklist", "0"),
            ("useRule", "0"),
            ("features", "geo"),
            ("exclude", "geo"),
            ("domain_pivot", "3"),
        ] {
            assert!(changes(name, value), "{name}");
        }
    }
}
