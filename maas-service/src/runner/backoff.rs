//! How long to wait before the next attempt: a little at first, twice as long each time, never more than a minute, and
//! never quite the same, so that many that failed together don't come back together.

use std::time::Duration;

use rand::{Rng, RngExt};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);
const JITTER: f64 = 0.2;

/// Counts the attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    attempts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::from(FIRST)
    }
}

impl From<Duration> for Backoff {
    /// One whose first delay is about this long.
    fn from(first: Duration) -> Self {
        Self { first, attempts: 0 }
    }
}

impl Backoff {
    /// How long to wait now.
    pub fn next_delay(&mut self) -> Duration {
        self.draw_delay(&mut rand::rng())
    }

    /// How long to wait now, as the dice fall.
    pub fn draw_delay(&mut self, dice: &mut impl Rng) -> Duration {
        let delay = self
            .first
            .saturating_mul(2_u32.saturating_pow(self.attempts))
            .min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        about(delay, dice)
    }
}

/// A time near `delay`, as the dice fall.
pub(super) fn about(delay: Duration, dice: &mut impl Rng) -> Duration {
    delay.mul_f64(dice.random_range(1.0 - JITTER..=1.0 + JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute() {
        let mut backoff = Backoff::default();
        let delays: Vec<f64> = (0..40)
            .map(|_| backoff.next_delay().as_secs_f64())
            .collect();
        for (delay, expected) in delays
            .iter()
            .zip([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0])
        {
            assert!(
                (expected * 0.8..=expected * 1.2).contains(delay),
                "{delay} instead of {expected}"
            );
        }
        assert!(delays[8..].iter().all(|&delay| delay <= 72.0));
    }
}
