//! Entries that speak of everything a regular expression is found in, as some warninglists have them.

use indicators::Indicator;
use regex::{RegexSet, RegexSetBuilder};

use crate::records::Offset;

/// All expressions of a list together may take so much memory; they come from others.
const SIZE_LIMIT: usize = 32 << 20;

/// The regular expressions of one list. They take time linear in the text and never more.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    set: RegexSet,
    kinds: Kinds,
    /// Where each expression's entry stands.
    entries: Vec<Offset>,
}

/// Which kinds of indicators a list's expressions are meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// Addresses and ranges.
    pub(crate) ip: bool,
    pub(crate) domain: bool,
    pub(crate) url: bool,
    pub(crate) email: bool,
    pub(crate) hash: bool,
}

impl Default for Kinds {
    /// All of them.
    fn default() -> Self {
        Kinds {
            ip: true,
            domain: true,
            url: true,
            email: true,
            hash: true,
        }
    }
}

impl Kinds {
    fn includes(self, indicator: &Indicator) -> bool {
        match indicator {
            Indicator::Ip(_) | Indicator::Range(_) => self.ip,
            Indicator::Domain(_) => self.domain,
            Indicator::Url(_) => self.url,
            Indicator::Email(_) => self.email,
            Indicator::Hash(_) => self.hash,
        }
    }
}

impl Patterns {
    /// Expressions with the places of their entries. Each has been [checked](check) before.
    ///
    /// # Errors
    /// When they are too large together.
    pub(crate) fn new(
        expressions: &[(String, Offset)],
        kinds: Kinds,
    ) -> Result<Patterns, regex::Error> {
        let set = RegexSetBuilder::new(expressions.iter().map(|(expression, _)| expression))
            .case_insensitive(true)
            .size_limit(SIZE_LIMIT)
            .build()?;
        Ok(Patterns {
            set,
            kinds,
            entries: expressions.iter().map(|(_, at)| *at).collect(),
        })
    }

    /// Where the last entry stands whose expression is found in the indicator.
    pub(crate) fn find(&self, indicator: &Indicator) -> Option<Offset> {
        if self.set.is_empty() || !self.kinds.includes(indicator) {
            return None;
        }
        let found = self.set.matches(&indicator.to_string());
        found.iter().next_back().map(|at| self.entries[at])
    }
}

/// Why an expression can't be used, if it can't.
pub(crate) fn check(expression: &str) -> Result<(), String> {
    regex::RegexBuilder::new(expression)
        .size_limit(1 << 20)
        .build()
        .map(|_| ())
        .map_err(|error| error.to_string())
}
