//! The circuit breaker: a source that fails again and again is left alone for a while, and then tried with one question.
//!
//! Questions that it does not take are most likely odd, for whoever asks chooses the indicator. If it takes none for long, it is the
//! source that has changed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::span::Span;

/// When a source is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerPolicy {
    /// So many failures in a row.
    pub failures: u32,
    /// For so long.
    pub rest: Span,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        BreakerPolicy {
            failures: 5,
            rest: Span::seconds(30),
        }
    }
}

/// So many times as many questions as it may fail may a source not take, with no other that it answers.
const REJECTIONS: u32 = 4;

/// The longest rest a source may order for itself (`Retry-After`).
const LONGEST_REST: Duration = Duration::from_secs(60 * 60);

/// What is known of a source's health.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// How many questions it has not taken since it answered one.
    rejections: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Working {
        failures: u32,
    },
    Resting {
        until: Timestamp,
    },
    /// One question is on its way. Should its outcome never be told, the next is let through at `give_up_at`.
    Trying {
        give_up_at: Timestamp,
    },
}

impl Breaker {
    /// For a source that is thought to work.
    pub(crate) fn new(policy: BreakerPolicy) -> Breaker {
        Breaker {
            policy,
            state: Mutex::new(State {
                phase: Phase::Working { failures: 0 },
                rejections: 0,
            }),
        }
    }

    /// Whether the source may be asked now.
    pub(crate) fn admits(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        match state.phase {
            Phase::Working { .. } => true,
            Phase::Resting { until: at } | Phase::Trying { give_up_at: at } if now < at => false,
            Phase::Resting { .. } | Phase::Trying { .. } => {
                let give_up_at = later(now, self.policy.rest.0);
                state.phase = Phase::Trying { give_up_at };
                true
            }
        }
    }

    /// Whether the source is left alone now.
    pub(crate) fn rests(&self, now: Timestamp) -> bool {
        match self.state().phase {
            Phase::Working { .. } => false,
            Phase::Resting { until: at } | Phase::Trying { give_up_at: at } => now < at,
        }
    }

    /// It answered. Where it rests, that was to a question from before, and changes nothing.
    pub(crate) fn succeeded(&self) {
        let mut state = self.state();
        match state.phase {
            Phase::Resting { .. } => {}
            Phase::Working { .. } | Phase::Trying { .. } => {
                state.phase = Phase::Working { failures: 0 };
                state.rejections = 0;
            }
        }
    }

    /// It answered that it does not take the question. Who was to try whether it works again has not found out, and the next
    /// tries; or questions that nobody takes would make up for its failures. Returns whether it has taken none for so long
    /// that it is left alone.
    pub(crate) fn rejected(&self, now: Timestamp) -> bool {
        let limit = self.policy.failures.saturating_mul(REJECTIONS).max(1);
        let mut state = self.state();
        let was_tried = match state.phase {
            Phase::Resting { .. } => return false,
            Phase::Trying { .. } => true,
            Phase::Working { .. } => false,
        };
        state.rejections = state.rejections.saturating_add(1);
        if state.rejections >= limit {
            let until = later(now, self.policy.rest.0);
            state.phase = Phase::Resting { until };
        } else if was_tried {
            state.phase = Phase::Resting { until: now };
        }
        state.rejections == limit
    }

    /// It failed. Returns whether this ended its work.
    pub(crate) fn failed(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        match &mut state.phase {
            Phase::Working { failures } if *failures + 1 < self.policy.failures => {
                *failures += 1;
                false
            }
            Phase::Resting { .. } => false,
            Phase::Working { .. } | Phase::Trying { .. } => {
                let until = later(now, self.policy.rest.0);
                state.phase = Phase::Resting { until };
                true
            }
        }
    }

    /// It said that it wants to be left alone for a time.
    pub(crate) fn rest(&self, now: Timestamp, wish: Option<Duration>) {
        let wish = wish.unwrap_or(self.policy.rest.0).min(LONGEST_REST);
        let until = later(now, wish);
        self.state().phase = Phase::Resting { until };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn breaker() -> Breaker {
        Breaker::new(BreakerPolicy {
            failures: 2,
            rest: Span::seconds(10),
        })
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_tries_with_one_question() {
        let breaker = breaker();
        assert!(!breaker.failed(second(0)));
        breaker.succeeded();
        assert!(!breaker.failed(second(1)));
        assert!(breaker.failed(second(2)));
        assert!(!breaker.admits(second(11)) && breaker.rests(second(11)));
        assert!(!breaker.rests(second(12)) && breaker.admits(second(12)));
        assert!(breaker.rests(second(12)));
        assert!(!breaker.admits(second(13)), "one question is under way");
        breaker.failed(second(14));
        assert!(!breaker.admits(second(23)));
        assert!(breaker.admits(second(24)));
        breaker.succeeded();
        assert!(!breaker.rests(second(25)));
        assert!(breaker.admits(second(25)) && breaker.admits(second(25)));
    }

    #[test]
    fn a_try_whose_outcome_is_never_told_does_not_close_the_source_for_ever() {
        let breaker = breaker();
        breaker.rest(second(0), None);
        assert!(breaker.admits(second(10)));
        assert!(!breaker.admits(second(19)));
        assert!(breaker.admits(second(20)));
    }

    #[test]
    fn an_answer_to_a_question_from_before_does_not_end_a_rest() {
        let breaker = breaker();
        breaker.rest(second(0), Some(Duration::from_secs(100)));
        breaker.succeeded();
        assert!(breaker.rests(second(99)) && !breaker.admits(second(99)));
        assert!(breaker.admits(second(100)));
        breaker.succeeded();
        assert!(!breaker.rests(second(101)));
    }

    #[test]
    fn a_source_that_takes_no_question_is_left_alone_and_that_is_told_once() {
        let breaker = breaker();
        for _ in 0..7 {
            assert!(!breaker.rejected(second(0)));
        }
        breaker.succeeded();
        for _ in 0..7 {
            assert!(!breaker.rejected(second(1)) && !breaker.rests(second(1)));
        }
        assert!(breaker.rejected(second(2)));
        assert!(breaker.rests(second(11)) && breaker.admits(second(12)));
        assert!(!breaker.rejected(second(12)), "that is known");
        assert!(breaker.rests(second(21)) && breaker.admits(second(22)));
        breaker.succeeded();
        assert!(!breaker.rejected(second(23)) && !breaker.rests(second(23)));
    }

    #[test]
    fn a_try_that_is_not_taken_is_made_again_and_makes_up_for_no_failure() {
        let breaker = breaker();
        breaker.rest(second(0), None);
        assert!(breaker.admits(second(10)));
        assert!(!breaker.rejected(second(11)));
        assert!(breaker.admits(second(11)), "the next may try");
        assert!(!breaker.admits(second(11)), "one at a time");
        assert!(breaker.failed(second(12)), "one failure is enough");
        assert!(breaker.rests(second(21)));
    }

    #[test]
    fn a_source_may_ask_for_its_rest_within_reason() {
        let breaker = breaker();
        breaker.rest(second(0), Some(Duration::from_secs(100)));
        assert!(!breaker.admits(second(99)));
        breaker.rest(second(0), Some(Duration::MAX));
        assert!(breaker.admits(second(3600)));
    }
}
