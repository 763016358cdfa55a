//! The kinds of indicators that a list speaks of, where it says so.

use indicators::Indicator;

/// Which kinds of indicators a list is meant for.
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
    /// Whether an indicator is of one of them.
    pub(crate) fn includes(self, indicator: &Indicator) -> bool {
        match indicator {
            Indicator::Ip(_) | Indicator::Range(_) => self.ip,
            Indicator::Domain(_) => self.domain,
            Indicator::Url(_) => self.url,
            Indicator::Email(_) => self.email,
            Indicator::Hash(_) => self.hash,
        }
    }
}
