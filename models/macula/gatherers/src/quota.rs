//! Quotas: how often a source may be asked, in a minute and in a day, as its provider counts and bills.
//!
//! Windows are those of the clock in UTC, which is how providers count. A question that is let through counts, whatever
//! becomes of it.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a source's contract allows. Nothing said means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaPolicy {
    /// Questions in each minute.
    pub per_minute: Option<u64>,
    /// Questions in each day.
    pub per_day: Option<u64>,
}

/// How many questions are left, where they are limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLeft {
    /// Of this minute's.
    pub minute: Option<u64>,
    /// Of this day's. Where several copies count together, as it was when this one asked last.
    pub day: Option<u64>,
}

/// Counts questions.
#[derive(Debug)]
pub(crate) struct Quota {
    policy: QuotaPolicy,
    windows: Mutex<[Window; 2]>,
    /// What all who count a day together had used when they were asked last.
    together: Mutex<Window>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    number: i64,
    used: u64,
}

impl Window {
    fn at(self, now: Timestamp, seconds: i64) -> Window {
        let number = now.as_second().div_euclid(seconds);
        if number == self.number {
            return self;
        }
        Window { number, used: 0 }
    }
}

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * 60;

impl Quota {
    /// Nothing used yet.
    pub(crate) fn new(policy: QuotaPolicy) -> Quota {
        Quota {
            policy,
            windows: Mutex::default(),
            together: Mutex::default(),
        }
    }

    /// Takes one question, if there is one left.
    pub(crate) fn take(&self, now: Timestamp) -> bool {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = windows[0].at(now, MINUTE);
        let day = windows[1].at(now, DAY);
        let left = |window: Window, limit: Option<u64>| limit.is_none_or(|most| window.used < most);
        let allowed = left(minute, self.policy.per_minute) && left(day, self.policy.per_day);
        let more = u64::from(allowed);
        *windows = [
            Window {
                used: minute.used + more,
                ..minute
            },
            Window {
                used: day.used + more,
                ..day
            },
        ];
        allowed
    }

    /// Takes note of what all who count a day together have used of it.
    pub(crate) fn hear(&self, day: i64, used: u64) {
        let heard = Window { number: day, used };
        *self.together.lock().unwrap_or_else(PoisonError::into_inner) = heard;
    }

    /// How many questions are left.
    pub(crate) fn left(&self, now: Timestamp) -> QuotaLeft {
        let [minute, day] = *self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let together = *self.together.lock().unwrap_or_else(PoisonError::into_inner);
        let day = day.at(now, DAY).used.max(together.at(now, DAY).used);
        QuotaLeft {
            minute: (self.policy.per_minute)
                .map(|most| most.saturating_sub(minute.at(now, MINUTE).used)),
            day: self.policy.per_day.map(|most| most.saturating_sub(day)),
        }
    }

    /// How many questions a day may have, and which day it is: for those who count a day together.
    pub(crate) fn daily_limit(&self, now: Timestamp) -> Option<(i64, u64)> {
        let limit = self.policy.per_day?;
        Some((now.as_second().div_euclid(DAY), limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_minute_and_a_day_run_out_each_on_their_own() {
        let quota = Quota::new(QuotaPolicy {
            per_minute: Some(2),
            per_day: Some(3),
        });
        let taken: Vec<bool> = [0, 10, 59, 60, 61, 120, DAY]
            .into_iter()
            .map(|at| quota.take(second(at)))
            .collect();
        assert_eq!(taken, [true, true, false, true, false, false, true]);
    }

    #[test]
    fn what_is_left_is_known_also_of_a_day_that_several_count_together() {
        let quota = Quota::new(QuotaPolicy {
            per_minute: None,
            per_day: Some(3),
        });
        let left = |at: i64| quota.left(second(at)).day;
        assert_eq!(
            quota.left(second(0)),
            QuotaLeft {
                minute: None,
                day: Some(3)
            }
        );
        assert!(quota.take(second(1)));
        assert_eq!(left(2), Some(2));
        // Another copy took one, and then more than there are.
        quota.hear(0, 2);
        assert_eq!(left(3), Some(1));
        quota.hear(0, 7);
        assert_eq!((left(4), left(DAY)), (Some(0), Some(3)));
    }
}
