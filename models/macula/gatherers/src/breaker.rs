//! The circuit breaker: a source that fails again and again is left alone for a while, and then tried with one question.

use std::sync::{Mutex, PoisonError};
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

/// The longest rest a source may order for itself (`Retry-After`).
const LONGEST_REST: Duration = Duration::from_secs(60 * 60);

/// What is known of a source's health.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
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
            state: Mutex::new(State::Working { failures: 0 }),
        }
    }

    /// Whether the source may be asked now.
    pub(crate) fn admits(&self, now: Timestamp) -> bool {
        self.change(|state| match state {
            State::Working { .. } => (state, true),
            State::Resting { until: at } | State::Trying { give_up_at: at } if now < at => {
                (state, false)
            }
            State::Resting { .. } | State::Trying { .. } => {
                let give_up_at = later(now, self.policy.rest.0);
                (State::Trying { give_up_at }, true)
            }
        })
    }

    /// Whether the source is left alone now.
    pub(crate) fn rests(&self, now: Timestamp) -> bool {
        self.change(|state| {
            let rests = match state {
                State::Working { .. } => false,
                State::Resting { until: at } | State::Trying { give_up_at: at } => now < at,
            };
            (state, rests)
        })
    }

    /// It answered. Where it rests, that was to a question from before, and changes nothing.
    pub(crate) fn succeeded(&self) {
        self.change(|state| match state {
            State::Resting { .. } => (state, ()),
            State::Working { .. } | State::Trying { .. } => (State::Working { failures: 0 }, ()),
        });
    }

    /// It answered that it does not take the question. That ends a try, and else changes nothing, or questions that nobody takes
    /// would make up for its failures.
    pub(crate) fn rejected(&self) {
        self.change(|state| match state {
            State::Trying { .. } => (State::Working { failures: 0 }, ()),
            State::Working { .. } | State::Resting { .. } => (state, ()),
        });
    }

    /// It failed. Returns whether this ended its work.
    pub(crate) fn failed(&self, now: Timestamp) -> bool {
        let rest = State::Resting {
            until: later(now, self.policy.rest.0),
        };
        self.change(|state| match state {
            State::Working { failures } if failures + 1 < self.policy.failures => {
                let failures = failures + 1;
                (State::Working { failures }, false)
            }
            State::Resting { .. } => (state, false),
            State::Working { .. } | State::Trying { .. } => (rest, true),
        })
    }

    /// It said that it wants to be left alone for a time.
    pub(crate) fn rest(&self, now: Timestamp, wish: Option<Duration>) {
        let wish = wish.unwrap_or(self.policy.rest.0).min(LONGEST_REST);
        let until = later(now, wish);
        self.change(|_| (State::Resting { until }, ()));
    }

    fn change<T>(&self, next: impl FnOnce(State) -> (State, T)) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (new, answer) = next(*state);
        *state = new;
        answer
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
    fn a_source_may_ask_for_its_rest_within_reason() {
        let breaker = breaker();
        breaker.rest(second(0), Some(Duration::from_secs(100)));
        assert!(!breaker.admits(second(99)));
        breaker.rest(second(0), Some(Duration::MAX));
        assert!(breaker.admits(second(3600)));
    }
}
