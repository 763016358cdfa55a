//! The feature set of one question: which features are wanted, named by themselves, by their gatherer or by their category.

use std::collections::BTreeSet;

use crate::feature::{Category, FeatureSpec};

/// The longest name that is looked at for what was meant by it; no known one is as long.
const LONGEST_NAME: usize = 64;

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
            set.contains(&feature.name)
                || set.contains(&feature.gatherer)
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
    let words = known.iter().flat_map(|feature| {
        [
            feature.name.as_str(),
            feature.gatherer.as_str(),
            feature.category.name(),
        ]
    });
    let mut nearest: Option<(f64, &str)> = None;
    for word in words {
        if word == part {
            return Ok(part.into());
        }
        // Likeness takes long to find in what is far longer than any name.
        let likeness = if part.len() > LONGEST_NAME {
            0.0
        } else {
            strsim::jaro_winkler(word, part)
        };
        if likeness > nearest.map_or(0.8, |(best, _)| best) {
            nearest = Some((likeness, word));
        }
    }
    Err(UnknownSelector {
        selector: part.into(),
        hint: nearest.map(|(_, word)| word.into()),
    })
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
            .map(|feature| feature.name)
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
}
