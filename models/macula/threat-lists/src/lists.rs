//! What all lists say at one moment.

use std::sync::Arc;

use indicators::Indicator;
use sha2::{Digest, Sha256};

use crate::line::Entry;
use crate::list::{Hit, List, ListKind};
use crate::question::Question;

/// Every list, as they were at one moment.
#[derive(Debug, Default)]
pub struct Lists {
    lists: Vec<Arc<List>>,
    version: String,
}

impl Lists {
    /// Lists made elsewhere.
    pub fn new(lists: Vec<List>) -> Lists {
        Lists::of(lists.into_iter().map(Arc::new).collect())
    }

    pub(crate) fn of(lists: Vec<Arc<List>>) -> Lists {
        let mut digest = Sha256::new();
        for list in &lists {
            for part in [list.kind().name(), list.name(), list.version()] {
                digest.update(part);
                digest.update([0]);
            }
        }
        let digits = digest.finalize();
        let version = digits.iter().take(6).map(|byte| format!("{byte:02x}"));
        Lists {
            version: version.collect(),
            lists,
        }
    }

    /// Every list: the absolute ones by name, then the feeds by name.
    pub fn iter(&self) -> impl Iterator<Item = &List> {
        self.lists.iter().map(AsRef::as_ref)
    }

    /// How many entries there are in all lists together.
    pub fn entries(&self) -> usize {
        self.iter().map(List::len).sum()
    }

    /// A name for exactly these versions of these lists: 12 hexadecimal digits.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What the lists of the `wanted` kinds say: at most one hit per list, the one that fits closest.
    pub fn find(&self, indicator: &Indicator, wanted: impl Fn(ListKind) -> bool) -> Vec<Hit<'_>> {
        self.find_counting(indicator, wanted, |_, _| true)
    }

    /// The same, but of each list the closest entry that counts; only if none does, the closest.
    pub fn find_counting(
        &self,
        indicator: &Indicator,
        wanted: impl Fn(ListKind) -> bool,
        counts: impl Fn(ListKind, &Entry) -> bool,
    ) -> Vec<Hit<'_>> {
        let question = Question::new(indicator);
        let wanted = || self.iter().filter(|list| wanted(list.kind()));
        // Memory is what takes the time. All of it that will be looked at is asked for before the first of it is waited for.
        let touched = wanted().fold(0, |touched, list| touched ^ list.touch(&question));
        std::hint::black_box(touched);
        let answer = |list| List::answer(list, &question, &|entry| counts(list.kind(), entry));
        wanted().filter_map(answer).collect()
    }
}
