//! The feature set of one question: which features are wanted, named by themselves, by their gatherer or by their category.

use std::collections::BTreeSet;

use crate::feature::{Category, FeatureSpec};

/// The longest name that is looked at for what was meant by it; no known one is as long.
const LONGEST_NAME: usize = 64;

/// Of names of so few letters many others are one letter away.
const SHORT: usize = 3;

/// Wanted and unwanted features. Every name is a feature, a gatherer or a category.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these; nothing said means all.
    pub only: Option<BTreeSet<String>>,
    /// Not these, even if they are named above.
    pub exclude: BTreeSet<String>,
}

impl Selection {
    /// From two comma-separated lists, as in `features=geo,whois&exclude=censys`. `none` alone stands for no feature at all.
    ///
    /// # Errors
    /// When a name is no feature, gatherer or category of `known`: dropping it in silence would be the worst answer.
    pub fn parse(
        only: Option<&str>,
        exclude: Option<&str>,
        known: &[FeatureSpec],
    ) -> Result<Selection, UnknownSelector> {
        let only = match only.map(str::trim) {
            None | Some("") | Some("all") => None,
            Some("none") => Some(BTreeSet::new()),
            Some(list) => Some(names(list, known)?),
        };
        let exclude = exclude.map_or(Ok(BTreeSet::new()), |list| names(list, known))?;
        Ok(Selection { only, exclude })
    }

    /// Whether this feature is wanted.
    pub fn wants(&self, feature: &FeatureSpec) -> bool {
        let named = |set: &BTreeSet<String>| {
            set.contains(&*feature.name)
                || set.contains(&*feature.gatherer)
                || set.contains(feature.category.name())
        };
        self.only.as_ref().is_none_or(named) && !named(&self.exclude)
    }

    /// Whether this source may be asked about something that is no feature.
    pub fn wants_source(&self, gatherer: &str, categories: &BTreeSet<Category>) -> bool {
        let named = |set: &BTreeSet<String>| {
            let mut categories = categories.iter();
            set.contains(gatherer) || categories.any(|category| set.contains(category.name()))
        };
        self.only.as_ref().is_none_or(named) && !named(&self.exclude)
    }
}

fn names(list: &str, known: &[FeatureSpec]) -> Result<BTreeSet<String>, UnknownSelector> {
    let parts = list
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts.map(|part| check(part, known)).collect()
}

fn check(part: &str, known: &[FeatureSpec]) -> Result<String, UnknownSelector> {
    let words = known
        .iter()
        .flat_map(|feature| [&*feature.name, &*feature.gatherer, feature.category.name()]);
    if words.clone().any(|word| word == part) {
        return Ok(part.into());
    }
    Err(UnknownSelector {
        selector: part.into(),
        hint: closest(part, words).map(str::to_owned),
    })
}

/// The known name most like `name`, if one is like it at all.
pub fn closest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Anybody may send a name of megabytes, and looking for likeness in it takes minutes.
    if name.len() > LONGEST_NAME {
        return None;
    }
    let name = name.to_lowercase();
    let likeness = known.into_iter().map(|known| {
        let likeness = strsim::jaro_winkler(&known.to_lowercase(), &name);
        (likeness, known)
    });
    let (best, known) = likeness.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best > 0.8).then_some(known)
}

/// Whether a name is this one but for capitals, signs between its letters, and one slip of the finger. Of so short a one as `pap`,
/// `map` and `tap` are no slips: only two letters that changed places, and one that was struck twice.
pub fn is_slip_of(name: &str, known: &str) -> bool {
    if name.len() > LONGEST_NAME {
        return false;
    }
    let letters = |text: &str| -> String {
        let letters = text.chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let (name, known) = (letters(name), letters(known));
    let struck_once = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.dedup();
        letters
    };
    match strsim::osa_distance(&name, &known) {
        0 => true,
        1 if known.len() > SHORT => true,
        // Two letters that changed places are one slip, and two changes.
        1 => strsim::levenshtein(&name, &known) == 2 || struck_once(&name) == struck_once(&known),
        _ => false,
    }
}

/// A name that says nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{selector}` is no feature, gatherer or category here{}",
    hint.as_ref().map(|hint| format!("; did you mean `{hint}`?")).unwrap_or_default()
)]
pub struct UnknownSelector {
    /// The name.
    pub selector: String,
    /// The one that may have been meant.
    pub hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::ValueType;

    fn known() -> Vec<FeatureSpec> {
        [
            ("geo_country", Category::Geolocation, "geo"),
            ("whois_age_days", Category::Whois, "whoisxml"),
            ("censys_ports", Category::OpenPorts, "censys"),
        ]
        .map(|(name, category, gatherer)| FeatureSpec {
            name: name.into(),
            category,
            value_type: ValueType::Number,
            gatherer: gatherer.into(),
        })
        .into()
    }

    fn check(only: Option<&str>, exclude: Option<&str>, expected: &[&str]) {
        let selection = Selection::parse(only, exclude, &known()).unwrap();
        let wanted: Vec<String> = known()
            .into_iter()
            .filter(|feature| selection.wants(feature))
            .map(|feature| feature.name.to_string())
            .collect();
        assert_eq!(wanted, expected);
    }

    #[test]
    fn features_are_named_by_themselves_their_gatherer_or_their_category() {
        check(
            None,
            None,
            &["geo_country", "whois_age_days", "censys_ports"],
        );
        check(
            Some("geo, whois_age_days"),
            None,
            &["geo_country", "whois_age_days"],
        );
        check(None, Some("open_ports"), &["geo_country", "whois_age_days"]);
        check(Some("geolocation,censys"), Some("geo"), &["censys_ports"]);
        check(Some("none"), None, &[]);
    }

    #[test]
    fn a_name_that_says_nothing_is_refused_with_the_nearest() {
        let error = Selection::parse(Some("cencys"), None, &known()).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("censys"));
        assert!(Selection::parse(None, Some("xyz"), &known()).is_err());
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        let known = ["useCache", "useWhitelist", "useBlacklist", "explain_items"];
        for (name, meant) in [
            ("useChache", Some("useCache")),
            ("usewhitelist", Some("useWhitelist")),
            ("use_blacklist", Some("useBlacklist")),
            ("explainItems", Some("explain_items")),
            ("zzz", None),
        ] {
            assert_eq!(closest(name, known), meant, "{name}");
        }
        let long = "useCache".repeat(1 << 17);
        assert_eq!(closest(&long, known), None, "it is not even looked at");
    }
}
