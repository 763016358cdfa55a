//! Which sources of features a caller wants: single ones, or all of a category.

use std::fmt;

/// Every source of features, with its category.
const SOURCES: [(&str, &str); 11] = [
    ("censys", "open_ports"),
    ("farsight", "passive_dns"),
    ("wot", "online_reputation"),
    ("bitdefender", "online_reputation"),
    ("majestic", "online_reputation"),
    ("neutrino", "online_reputation"),
    ("safe_browsing", "online_reputation"),
    ("whoisxml", "whois"),
    ("geo", "geolocation"),
    ("dns", "passive_dns"),
    ("lexical", "lexical"),
];

/// A set of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FeatureSet(u16);

impl FeatureSet {
    /// Every source.
    pub const ALL: FeatureSet = FeatureSet((1 << SOURCES.len()) - 1);

    /// The sources that `text` names, commas between them. `none` stands for no source at all.
    ///
    /// # Errors
    /// The first name that is none.
    pub fn parse(text: &str) -> Result<FeatureSet, UnknownSource> {
        let mut set = FeatureSet(0);
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| *name != "none")
        {
            let named = SOURCES
                .iter()
                .enumerate()
                .filter(|(_, (source, category))| *source == name || *category == name);
            let bits = named.fold(0, |bits, (index, _)| bits | 1 << index);
            if bits == 0 {
                return Err(UnknownSource);
            }
            set.0 |= bits;
        }
        Ok(set)
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub fn without(self, other: FeatureSet) -> FeatureSet {
        FeatureSet(self.0 & !other.0)
    }

    /// The sources in it.
    pub fn names(self) -> Vec<&'static str> {
        let named = SOURCES.iter().enumerate();
        let chosen = named.filter(|(index, _)| self.0 & (1 << index) != 0);
        chosen.map(|(_, (source, _))| *source).collect()
    }

    /// Every name that [`parse`](Self::parse) knows.
    pub fn known() -> Vec<&'static str> {
        let mut known: Vec<_> = SOURCES
            .iter()
            .flat_map(|(source, category)| [*source, *category])
            .collect();
        known.sort_unstable();
        known.dedup();
        known
    }
}

/// A name of no source and no category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSource;

impl fmt::Display for UnknownSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none, or some of {}", FeatureSet::known().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_categories_can_be_named() {
        let names = |text| FeatureSet::parse(text).map(FeatureSet::names);
        assert_eq!(names("geo, whois"), Ok(vec!["whoisxml", "geo"]));
        assert_eq!(names("none"), Ok(vec![]));
        assert_eq!(names("geo,goe"), Err(UnknownSource));
        assert_eq!(names(""), Err(UnknownSource));
        let rest = FeatureSet::ALL.without(FeatureSet::parse("online_reputation").expect("known"));
        assert_eq!(
            rest.names(),
            ["censys", "farsight", "whoisxml", "geo", "dns", "lexical"]
        );
    }
}
