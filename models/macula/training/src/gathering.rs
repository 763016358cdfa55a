//! Gathering for training: nobody waits for an answer, so who may not be asked now is asked later. What a model learned from rows that
//! a quota left empty would be when quotas are used up.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gatherers::{GatherOptions, Gathered, Gatherers, Missing, Reading};
use indicators::Indicator;

use crate::rows::Row;

/// How long the sources may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often a source that fails is asked about one indicator.
const TRIES: u32 = 3;

/// How long to wait before asking again, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// Asks again as long as there is hope.
#[derive(Debug)]
pub(crate) struct Persistence {
    /// How long sources may let nobody ask before they are given up.
    patience: Duration,
    /// When one of them let itself be asked last.
    let_in: Mutex<Instant>,
}

impl Persistence {
    pub(crate) fn new(patience: Duration) -> Persistence {
        Persistence {
            patience,
            let_in: Mutex::new(Instant::now()),
        }
    }

    /// All that can be had about an indicator.
    pub(crate) async fn gather(&self, gatherers: &Gatherers, indicator: &Indicator) -> Gathered {
        let options = GatherOptions {
            deadline: Some(DEADLINE),
            ..GatherOptions::default()
        };
        let [mut pause, longest] = PAUSES;
        let (mut tries, mut kept_out) = (1, usize::MAX);
        loop {
            let gathered = gatherers.gather(indicator, &options).await;
            let now = names(&gathered, keeps_out).len();
            if now < kept_out {
                kept_out = now;
                *self.let_in.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            }
            let fails = !names(&gathered, |why| why.may_pass() && !keeps_out(why)).is_empty();
            if !(fails && tries < TRIES || now > 0 && self.is_patient()) {
                return gathered;
            }
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
            tries += 1;
        }
    }

    fn is_patient(&self) -> bool {
        let let_in = self.let_in.lock().unwrap_or_else(PoisonError::into_inner);
        let_in.elapsed() < self.patience
    }
}

/// Whether the source lets nobody ask at the moment.
fn keeps_out(why: Missing) -> bool {
    matches!(
        why,
        Missing::Quota | Missing::RateLimited | Missing::Resting
    )
}

/// Whether the source might have told something, had it taken the question.
fn is_hole(why: Missing) -> bool {
    why.may_pass() || matches!(why, Missing::Refused | Missing::Rejected)
}

/// The gatherers of which something is missing for such a reason.
fn names(gathered: &Gathered, is: impl Fn(Missing) -> bool) -> HashSet<Arc<str>> {
    let features = gathered.features.iter();
    let missing = features.filter(|feature| match feature.reading {
        Reading::Missing(why) => is(why),
        Reading::Value(_) => false,
    });
    missing.map(|feature| feature.gatherer.clone()).collect()
}

/// Of how many rows a gatherer told nothing that it might have, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    rows: usize,
    holes: BTreeMap<(Arc<str>, Missing), usize>,
}

impl Holes {
    pub(crate) fn of(rows: &[Row]) -> Holes {
        let mut holes = BTreeMap::new();
        for row in rows {
            let features = row.gathered.features.iter();
            let missing = features.filter_map(|feature| match feature.reading {
                Reading::Missing(why) if is_hole(why) => Some((feature.gatherer.clone(), why)),
                Reading::Missing(_) | Reading::Value(_) => None,
            });
            for hole in missing.collect::<HashSet<_>>() {
                *holes.entry(hole).or_default() += 1;
            }
        }
        Holes {
            rows: rows.len(),
            holes,
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.holes.is_empty()
    }

    /// Whether some say nothing of the indicator, but that we were not let in.
    pub(crate) fn are_our_own(&self) -> bool {
        let mut reasons = self.holes.keys();
        reasons.any(|(_, why)| keeps_out(*why) || *why == Missing::Refused)
    }
}

impl fmt::Display for Holes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.rows;
        for (at, ((gatherer, why), rows)) in self.holes.iter().enumerate() {
            let between = if at == 0 { "" } else { ", " };
            write!(f, "{between}{gatherer} of {rows} of {all} rows ({why})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gatherers::{Category, Feature};

    use super::*;
    use crate::labelled::{Label, Weight};

    #[test]
    fn a_question_that_was_rejected_is_not_put_again_and_told_to_be_missing() {
        let gathered = Gathered {
            indicator: "8.8.4.4".into(),
            kind: "ip".into(),
            features: vec![Feature {
                name: "geo_country".into(),
                category: Category::Geolocation,
                reading: Reading::Missing(Missing::Rejected),
                gatherer: "geo".into(),
                fetched_at: None,
                from_cache: false,
            }],
        };
        assert!(names(&gathered, Missing::may_pass).is_empty());
        assert!(names(&gathered, keeps_out).is_empty());
        let row = Row {
            label: Label::Benign,
            family: None,
            weight: Weight::default(),
            training_only: false,
            gathered,
        };
        let holes = Holes::of(&[row]);
        assert_eq!(holes.to_string(), "geo of 1 of 1 rows (rejected)");
        assert!(!holes.are_our_own());
    }
}
