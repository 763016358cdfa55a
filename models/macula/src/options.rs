//! The options of a request, by the names callers have always used.
//!
//! An option nobody knows is refused, with the closest one known: a misspelt `useWhitlist=false` that silently does nothing is
//! the worst that can happen to an analyst.

use threat_lists::ListKind;

/// What a caller may choose. `useCache`, `domain_pivot` and `summary` are understood and checked; there is no score cache,
/// passive DNS or feature category yet for them to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `useCache`: an answer may come from the score cache.
    pub use_cache: bool,
    /// `useWhitelist`: the whitelist rule is on.
    pub use_whitelist: bool,
    /// `useBlacklist`: the blacklist rule is on.
    pub use_blacklist: bool,
    /// `useRule`: any rule is on.
    pub use_rule: bool,
    /// `domain_pivot`: how many recent domains of an IP to look at.
    pub domain_pivot: usize,
    /// `summary`: a sub-score for every category of features.
    pub summary: bool,
    /// `explain`: what moved the score, and by how much.
    pub explain: bool,
    /// `explain_items`: how many of these to list.
    pub explain_items: usize,
}

/// Every option name.
pub const NAMES: [&str; 8] = [
    "useCache",
    "useWhitelist",
    "useBlacklist",
    "useRule",
    "domain_pivot",
    "summary",
    "explain",
    "explain_items",
];

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
        }
    }
}

impl Options {
    /// Sets one option from text.
    ///
    /// # Errors
    /// When there is no such option or the value is none it can take.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        match name {
            "useCache" => self.use_cache = boolean(name, value)?,
            "useWhitelist" => self.use_whitelist = boolean(name, value)?,
            "useBlacklist" => self.use_blacklist = boolean(name, value)?,
            "useRule" => self.use_rule = boolean(name, value)?,
            "domain_pivot" => self.domain_pivot = number(name, value)?,
            "summary" => self.summary = boolean(name, value)?,
            "explain" => self.explain = boolean(name, value)?,
            "explain_items" => self.explain_items = number(name, value)?,
            _ => {
                return Err(OptionError::Unknown {
                    name: name.to_owned(),
                });
            }
        }
        Ok(())
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
}

/// The known name most like `name`, if one is like it at all.
pub fn closest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_lowercase();
    let likeness = |known: &&str| strsim::jaro_winkler(&known.to_lowercase(), &name);
    let best = known
        .into_iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    best.filter(|best| likeness(best) > 0.8)
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
    use super::*;

    #[test]
    fn every_name_can_be_set_and_changes_something() {
        for name in NAMES {
            let mut options = Options::default();
            let changed = ["0", "1"].into_iter().any(|value| {
                options.set(name, value).expect("a good value");
                options != Options::default()
            });
            assert!(changed, "{name}");
            assert!(options.set(name, "perhaps").is_err(), "{name}");
        }
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbour() {
        for (name, known) in [
            ("useChache", Some("useCache")),
            ("usewhitelist", Some("useWhitelist")),
            ("use_blacklist", Some("useBlacklist")),
            ("explainItems", Some("explain_items")),
            ("zzz", None),
        ] {
            assert_eq!(closest(name, NAMES), known, "{name}");
        }
    }
}
