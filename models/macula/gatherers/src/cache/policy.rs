//! How long an answer counts. Pure: ages come in, verdicts go out.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::span::Span;

/// How the answers of a gatherer are remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CachePolicy {
    /// How long an answer counts.
    pub ttl: Span,
    /// How long "I know nothing of it" counts.
    pub negative_ttl: Span,
    /// How long after that it is still given, while a new one is fetched.
    pub stale_while_revalidate: Span,
    /// How long after that it is still given when no new one can be had.
    pub stale_if_error: Span,
    /// How many answers are kept, in memory and in the store each.
    pub max_entries: u64,
    /// By which share of their time answers expire earlier, each by its own, so that they don't expire all at once.
    pub jitter: f64,
}

impl Default for CachePolicy {
    fn default() -> Self {
        CachePolicy {
            ttl: Span::days(1),
            negative_ttl: Span::seconds(60 * 60),
            stale_while_revalidate: Span::seconds(0),
            stale_if_error: Span::days(1),
            max_entries: 20_000,
            jitter: 0.1,
        }
    }
}

/// What an answer's age makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It counts.
    Fresh,
    /// It counts, but a new one should be fetched.
    Refresh,
    /// It counts only if no new one can be had.
    OnlyOnError,
    /// It counts no more.
    Gone,
}

impl CachePolicy {
    /// What an answer of this age is worth.
    pub fn age(&self, key: &str, negative: bool, age: Duration) -> Age {
        let ttl = if negative {
            self.negative_ttl
        } else {
            self.ttl
        };
        let ttl = ttl
            .0
            .mul_f64(1.0 - self.jitter.clamp(0.0, 1.0) * portion(key));
        let within = |more: Span| age < ttl.saturating_add(more.0);
        if age < ttl {
            Age::Fresh
        } else if within(self.stale_while_revalidate) {
            Age::Refresh
        } else if within(self.stale_if_error) {
            Age::OnlyOnError
        } else {
            Age::Gone
        }
    }

    /// After which time no answer counts for anything.
    pub fn keep(&self) -> Duration {
        let ttl = self.ttl.max(self.negative_ttl).0;
        ttl.saturating_add(self.stale_while_revalidate.max(self.stale_if_error).0)
            .clamp(Duration::from_secs(1), LONGEST)
    }
}

/// The caches beneath count in less than centuries.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// A number from 0 to 1 that belongs to the key: the same in every copy, so that they don't disagree.
fn portion(key: &str) -> f64 {
    let digest = Sha256::digest(key);
    f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(negative: bool, seconds: u64, expected: Age) {
        let policy = CachePolicy {
            ttl: Span::seconds(100),
            negative_ttl: Span::seconds(10),
            stale_while_revalidate: Span::seconds(20),
            stale_if_error: Span::seconds(50),
            max_entries: 1,
            jitter: 0.0,
        };
        let age = policy.age("key", negative, Duration::from_secs(seconds));
        assert_eq!(age, expected, "{negative} {seconds}");
        assert_eq!(policy.keep(), Duration::from_secs(150));
    }

    #[test]
    fn answers_age_in_steps() {
        check(false, 99, Age::Fresh);
        check(false, 100, Age::Refresh);
        check(false, 120, Age::OnlyOnError);
        check(false, 150, Age::Gone);
        check(true, 9, Age::Fresh);
        check(true, 29, Age::Refresh);
        check(true, 60, Age::Gone);
    }

    #[test]
    fn answers_fetched_at_once_do_not_expire_at_once() {
        let policy = CachePolicy {
            ttl: Span::seconds(1000),
            jitter: 0.5,
            ..CachePolicy::default()
        };
        let fresh = |seconds| {
            (0..1000)
                .filter(|at| {
                    let age = policy.age(&format!("key{at}"), false, Duration::from_secs(seconds));
                    age == Age::Fresh
                })
                .count()
        };
        assert_eq!(fresh(499), 1000);
        assert!((400..600).contains(&fresh(750)), "{}", fresh(750));
        assert_eq!(fresh(1000), 0);
    }
}
