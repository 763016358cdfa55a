//! Counters: how often each gatherer was asked, and what came of it. What providers bill can be held against them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// What was counted for one gatherer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GathererCounts {
    /// Questions that were put to the source.
    pub calls: u64,
    /// How long those took together.
    pub elapsed: Duration,
    /// What became of the questions put to the gatherer: `ok`, `unknown`, `cached`, `stale`, or why there was no answer.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Changes of shape that were told.
    pub drift_alerts: u64,
}

/// Counts.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<GathererCounts>);

impl Counters {
    pub(crate) fn called(&self, elapsed: Duration) {
        self.change(|counts| {
            counts.calls += 1;
            counts.elapsed += elapsed;
        });
    }

    pub(crate) fn ended(&self, outcome: &'static str) {
        self.change(|counts| *counts.outcomes.entry(outcome).or_default() += 1);
    }

    pub(crate) fn drifted(&self, alerts: usize) {
        self.change(|counts| counts.drift_alerts += alerts as u64);
    }

    pub(crate) fn counts(&self) -> GathererCounts {
        self.change(|counts| counts.clone())
    }

    fn change<T>(&self, change: impl FnOnce(&mut GathererCounts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
