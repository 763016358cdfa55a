//! Entries that speak of everything a regular expression is found in, as some warninglists have them.

use indicators::{Host, Indicator};
use regex::{RegexSet, RegexSetBuilder};

use crate::records::Offset;

/// All expressions of a list together may take so much memory; they come from others.
const SIZE_LIMIT: usize = 16 << 20;

/// The longest expression, and what it may take in memory: each is tried on whatever is asked for.
const MAX_LENGTH: usize = 1024;
const MAX_SIZE: usize = 64 << 10;

/// The regular expressions of one list. They take time linear in the text and never more.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    set: RegexSet,
    /// Where each expression's entry stands.
    entries: Vec<Offset>,
}

impl Patterns {
    /// Expressions with the places of their entries. Each has been [checked](check) before.
    ///
    /// # Errors
    /// When they are too large together.
    pub(crate) fn new(expressions: &[(String, Offset)]) -> Result<Patterns, regex::Error> {
        let set = RegexSetBuilder::new(expressions.iter().map(|(expression, _)| expression))
            .case_insensitive(true)
            .size_limit(SIZE_LIMIT)
            .build()?;
        Ok(Patterns {
            set,
            entries: expressions.iter().map(|(_, at)| *at).collect(),
        })
    }

    /// Where the last entry stands whose expression is found in the indicator.
    pub(crate) fn find(&self, indicator: &Indicator) -> Option<Offset> {
        if self.set.is_empty() {
            return None;
        }
        self.find_in(&indicator.to_string())
    }

    /// The same for the host of a URL.
    pub(crate) fn find_host(&self, host: &Host) -> Option<Offset> {
        if self.set.is_empty() {
            return None;
        }
        match host {
            Host::Ip(ip) => self.find_in(&ip.to_string()),
            Host::Name(name) => self.find_in(name.as_str()),
        }
    }

    /// The same for a part of an indicator.
    pub(crate) fn find_in(&self, text: &str) -> Option<Offset> {
        let found = self.set.matches(text);
        found.iter().next_back().map(|at| self.entries[at])
    }
}

/// Why an expression can't be used, if it can't.
pub(crate) fn check(expression: &str) -> Result<(), String> {
    if expression.len() > MAX_LENGTH {
        return Err(format!("the expression has more than {MAX_LENGTH} bytes"));
    }
    let regex = regex::RegexBuilder::new(expression)
        .size_limit(MAX_SIZE)
        .build()
        .map_err(|error| error.to_string())?;
    if regex.is_match("") {
        return Err("the expression is found in everything".to_owned());
    }
    Ok(())
}
