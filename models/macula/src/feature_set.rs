//! Which sources of features a caller wants, single ones or all of a category, and which features there are.
//!
//! What comes along is always known, whether it is set up or not, and a mapping of one's own once it is: a misspelt name must
//! not be dropped in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use gatherers::{
    Category, FeatureSpec, Gatherers, Source as _, Value, ValueType, shipped_features,
};
use indicator_training::lexical::LexicalSource;
use serde::{Serialize, Serializer};

/// The sources that come along, in the order in which answers name them.
const SHIPPED: [&str; 11] = [
    "censys",
    "farsight",
    "wot",
    "bitdefender",
    "majestic",
    "neutrino",
    "safe_browsing",
    "whoisxml",
    "geo",
    "dns",
    "lexical",
];

/// So many sources can be told apart.
const MOST: usize = 128;

/// Every source of features, and what they tell. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sources(Arc<Known>);

#[derive(Debug)]
struct Known {
    sources: Vec<(String, BTreeSet<Category>)>,
    features: BTreeMap<String, ValueType>,
}

/// A set of sources.
#[derive(Clone, Debug)]
pub struct FeatureSet {
    sources: Sources,
    bits: u128,
}

impl Default for Sources {
    /// Those that come along.
    fn default() -> Self {
        static SOURCES: LazyLock<Sources> = LazyLock::new(|| {
            let mut known = Known::default();
            let lexical = LexicalSource;
            known.add_features(&shipped_features());
            known.add_features(lexical.features());
            Sources(Arc::new(known))
        });
        SOURCES.clone()
    }
}

impl Default for Known {
    fn default() -> Self {
        Known {
            sources: SHIPPED
                .map(|name| (name.to_owned(), BTreeSet::new()))
                .into(),
            features: BTreeMap::new(),
        }
    }
}

impl Known {
    fn add(&mut self, name: &str, categories: &BTreeSet<Category>) {
        let sources = self.sources.iter();
        match sources
            .map(|(source, _)| source)
            .position(|source| source == name)
        {
            Some(at) => self.sources[at].1.extend(categories),
            None if self.sources.len() < MOST => {
                self.sources.push((name.to_owned(), categories.clone()));
            }
            None => {}
        }
    }

    fn add_features(&mut self, features: &[FeatureSpec]) {
        for feature in features {
            self.add(&feature.gatherer, &BTreeSet::from([feature.category]));
            let (name, value_type) = (feature.name.to_string(), feature.value_type);
            self.features.entry(name).or_insert(value_type);
        }
    }
}

impl Sources {
    /// Those that come along, and those that are set up besides.
    pub fn of(gatherers: &Gatherers) -> Sources {
        let mut known = Known::default();
        known.add_features(gatherers.features());
        let shipped = &Sources::default().0;
        for (name, categories) in gatherers.sources().chain(shipped.sources.iter().cloned()) {
            known.add(&name, &categories);
        }
        for (name, value_type) in &shipped.features {
            known.features.entry(name.clone()).or_insert(*value_type);
        }
        Sources(Arc::new(known))
    }

    /// The sources that `text` names, commas between them. `none` stands for no source at all.
    ///
    /// # Errors
    /// What would do, if a name is none.
    pub fn parse(&self, text: &str) -> Result<FeatureSet, String> {
        let mut set = self.set(0);
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| *name != "none")
        {
            let is_meant = |(source, categories): &(String, BTreeSet<Category>)| {
                source == name || categories.iter().any(|category| category.name() == name)
            };
            let sources = self.0.sources.iter().enumerate();
            let named = sources.filter(|(_, source)| is_meant(source));
            let bits = named.fold(0, |bits, (index, _)| bits | 1 << index);
            if bits == 0 {
                return Err(format!("none, or some of {}", self.names().join(",")));
            }
            set.bits |= bits;
        }
        Ok(set)
    }

    /// All of them.
    pub fn all(&self) -> FeatureSet {
        self.set(u128::MAX >> (u128::BITS as usize - self.0.sources.len()))
    }

    fn set(&self, bits: u128) -> FeatureSet {
        FeatureSet {
            sources: self.clone(),
            bits,
        }
    }

    /// Every name that [`parse`](Self::parse) knows.
    pub fn names(&self) -> Vec<&str> {
        let sources = self.0.sources.iter();
        let names = sources.flat_map(|(source, categories)| {
            let categories = categories.iter().map(|category| category.name());
            categories.chain([source.as_str()])
        });
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Every feature, with the type of its values.
    pub fn features(&self) -> impl Iterator<Item = (&str, ValueType)> {
        let features = self.0.features.iter();
        features.map(|(name, value_type)| (name.as_str(), *value_type))
    }

    /// The value of a feature as JSON has it.
    ///
    /// # Errors
    /// What would do, if there is no such feature or it has other values.
    pub fn value(&self, feature: &str, value: &serde_json::Value) -> Result<Value, String> {
        let Some(value_type) = self.0.features.get(feature) else {
            let nearest = gatherers::closest(feature, self.features().map(|(name, _)| name));
            let hint = nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            return Err(format!("a feature that there is{hint}"));
        };
        let (found, expected) = match value_type {
            ValueType::Number => (value.as_f64().map(Value::Number), "a number"),
            ValueType::Flag => (value.as_bool().map(Value::Flag), "true or false"),
            ValueType::Text => {
                let text = value
                    .as_str()
                    .filter(|text| text.chars().count() <= LONGEST_WORD);
                (text.map(|text| Value::Text(text.to_owned())), "a word")
            }
        };
        found.ok_or_else(|| expected.to_owned())
    }
}

/// The longest word that is the value of a feature, in characters.
pub(crate) const LONGEST_WORD: usize = 200;

impl FeatureSet {
    /// What is in this set and not in `other`.
    #[must_use]
    pub fn without(mut self, other: &FeatureSet) -> FeatureSet {
        self.bits &= !other.bits;
        self
    }

    /// What is not in it.
    #[must_use]
    pub fn others(&self) -> FeatureSet {
        self.sources.all().without(self)
    }

    /// The sources in it.
    pub fn names(&self) -> Vec<&str> {
        let named = self.sources.0.sources.iter().enumerate();
        let chosen = named.filter(|(index, _)| self.bits & (1 << index) != 0);
        chosen.map(|(_, (source, _))| source.as_str()).collect()
    }
}

// There is one list of sources in a process, so that the bits are all that tells sets apart.
impl PartialEq for FeatureSet {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl Eq for FeatureSet {}

impl Serialize for FeatureSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl Hash for FeatureSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use gatherers::{Clock, Config};
    use serde_json::json;

    use super::*;

    fn names(sources: &Sources, text: &str) -> Result<Vec<String>, String> {
        let set = sources.parse(text)?;
        Ok(set.names().into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn sources_and_categories_can_be_named() {
        let sources = Sources::default();
        let found = |text| names(&sources, text).expect("known");
        assert_eq!(found("geo, whois"), ["whoisxml", "geo"]);
        assert_eq!(found("none"), [""; 0]);
        for text in ["geo,goe", ""] {
            let expected = names(&sources, text).expect_err(text);
            assert!(expected.contains("open_ports,passive_dns"), "{expected}");
        }
        let reputation = sources.parse("online_reputation").expect("known");
        assert_eq!(
            sources.all().without(&reputation).names(),
            ["censys", "farsight", "whoisxml", "geo", "dns", "lexical"]
        );
        assert_eq!(sources.all().names(), SHIPPED);
    }

    #[tokio::test]
    async fn a_mapping_of_ones_own_is_known_once_it_is_set_up() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mapping = r#"
            name = "house"
            about = "Our own"
            category = "whois"
            base_url = "http://127.0.0.1:1"
            [[request]]
            subject = "name"
            path = "/{subject}"
            [[request.feature]]
            name = "house_age"
            at = "/age"
            take = "number"
        "#;
        std::fs::write(folder.path().join("house.toml"), mapping).expect("it is written");
        let settings = format!("mappings = {:?}\n[gatherers.house]", folder.path());
        let config = Config::parse(&settings).expect("good settings");
        let gatherers = Gatherers::start(&config, Vec::new(), Clock::system()).await;
        let sources = Sources::of(&gatherers.expect("they start"));
        assert_eq!(names(&sources, "house"), Ok(vec!["house".to_owned()]));
        let whois = names(&sources, "whois").expect("known");
        assert_eq!(whois, ["whoisxml", "house"]);
        assert!(names(&Sources::default(), "house").is_err());
        assert_eq!(
            sources.value("house_age", &json!(7)),
            Ok(Value::Number(7.0))
        );
        assert!(sources.value("dns_ttl", &json!(7)).is_ok());
    }

    #[test]
    fn features_have_values_of_their_type() {
        let sources = Sources::default();
        let value = |feature, value| sources.value(feature, &value);
        assert_eq!(value("dns_alias", json!(true)), Ok(Value::Flag(true)));
        assert_eq!(
            value("geo_country", json!("NL")),
            Ok(Value::Text("NL".into()))
        );
        assert_eq!(value("dns_alias", json!(1)), Err("true or false".into()));
        assert_eq!(value("dns_ttl", json!("1")), Err("a number".into()));
        let misspelt = value("dns_tll", json!(1)).expect_err("it is none");
        assert!(misspelt.contains("`dns_ttl`"), "{misspelt}");
    }
}
