//! When a copy that failed is started again: what its failures so far say. Pure: the clock and the dice come in.
//!
//! After a failure it waits, each time twice as long, up to a minute ([`Backoff`]). When it has failed more than six times
//! within ten minutes and never served in between, it is in a *crash loop*: somebody has to look at it, and until then it
//! is tried every five minutes only, so that it does not take from those that work. A copy that has served for a minute is
//! forgiven everything. Only what fails after we started it counts: a model store that is away says nothing of a model.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use maas_client::wire::state::Phase;
use rand::Rng;

use super::backoff::{Backoff, about};

/// So many failures are no crash loop yet.
const TOLERATED: usize = 6;

/// Within this time.
const WINDOW: Duration = Duration::from_secs(10 * 60);

/// How often a copy in a crash loop is tried.
const RARELY: Duration = Duration::from_secs(5 * 60);

/// How long a copy must have served for its earlier failures to be forgotten.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// How far an attempt came before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// There was nothing to start.
    NotStarted,
    /// It was started and never served.
    Started,
    /// It served for so long.
    Served(Duration),
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retry {
    /// The phase until then.
    pub(super) phase: Phase,
    /// How long until the next attempt.
    pub(super) delay: Duration,
}

/// The failures that still count.
#[derive(Clone, Debug)]
pub(super) struct Restarts {
    first_delay: Duration,
    backoff: Backoff,
    /// When it failed after a start, since it last served.
    failures: VecDeque<Instant>,
    crash_loop: bool,
}

impl Restarts {
    /// No failures yet; after the first one comes a wait of about `first_delay`.
    pub(super) fn new(first_delay: Duration) -> Self {
        Self {
            first_delay,
            backoff: Backoff::from(first_delay),
            failures: VecDeque::new(),
            crash_loop: false,
        }
    }

    /// Notes an attempt that failed `now`, and says what comes next.
    pub(super) fn failed(&mut self, now: Instant, attempt: Attempt, dice: &mut impl Rng) -> Retry {
        match attempt {
            Attempt::NotStarted => {}
            Attempt::Started => self.failures.push_back(now),
            Attempt::Served(time) => {
                self.failures.clear();
                self.crash_loop = false;
                if time >= GOOD_RUN {
                    self.backoff = Backoff::from(self.first_delay);
                }
            }
        }
        while self
            .failures
            .front()
            .is_some_and(|&time| now.saturating_duration_since(time) > WINDOW)
        {
            self.failures.pop_front();
        }
        // Once in, it stays in until it serves: tried so rarely, its failures would soon lie far enough apart.
        self.crash_loop |= self.failures.len() > TOLERATED;
        if self.crash_loop {
            Retry {
                phase: Phase::CrashLoop,
                delay: about(RARELY, dice),
            }
        } else {
            Retry {
                phase: Phase::Backoff,
                delay: self.backoff.draw_delay(dice),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const FIRST: Duration = Duration::from_millis(500);

    /// Plays attempts that fail, each so many seconds after the one before.
    fn play(history: &[(u64, Attempt)], seed: u64) -> Vec<Retry> {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut restarts = Restarts::new(FIRST);
        let mut now = Instant::now();
        let next = |(gap, attempt): &(u64, Attempt)| {
            now += Duration::from_secs(*gap);
            restarts.failed(now, *attempt, &mut dice)
        };
        history.iter().map(next).collect()
    }

    /// The rule once more, told from the whole history: since it last served, were seven failures after a start ever
    /// within ten minutes?
    fn is_crash_loop(history: &[(u64, Attempt)]) -> bool {
        let served = |(_, attempt): &(u64, Attempt)| matches!(attempt, Attempt::Served(_));
        let since = history.iter().rposition(served).map_or(0, |last| last + 1);
        let mut time = 0;
        let mut times = Vec::new();
        for (gap, attempt) in &history[since..] {
            time += gap;
            if *attempt == Attempt::Started {
                times.push(time);
            }
        }
        times.windows(7).any(|seven| seven[6] - seven[0] <= 600)
    }

    #[test]
    fn a_copy_that_exits_at_once_is_in_a_crash_loop_after_the_seventh_time() {
        let retries = play(&[(1, Attempt::Started); 9], 1);
        let phases: Vec<Phase> = retries.iter().map(|retry| retry.phase).collect();
        assert_eq!(phases[..6], [Phase::Backoff; 6]);
        assert_eq!(phases[6..], [Phase::CrashLoop; 3]);
        for retry in &retries[6..] {
            assert!((240..=360).contains(&retry.delay.as_secs()), "{retry:?}");
        }
    }

    #[test]
    fn in_a_crash_loop_it_stays_until_it_serves() {
        let mut history = vec![(1, Attempt::Started); 7];
        history.extend([(301, Attempt::Started); 5]);
        history.push((301, Attempt::NotStarted));
        history.push((301, Attempt::Served(Duration::from_secs(1))));
        history.push((1, Attempt::Started));
        let retries = play(&history, 2);
        assert!(retries[6..13].iter().all(|r| r.phase == Phase::CrashLoop));
        assert!(retries[13..].iter().all(|r| r.phase == Phase::Backoff));
    }

    #[test]
    fn a_store_that_is_away_puts_no_copy_into_a_crash_loop() {
        let retries = play(&[(1, Attempt::NotStarted); 50], 3);
        assert!(retries.iter().all(|retry| retry.phase == Phase::Backoff));
        assert!(retries[49].delay > Duration::from_secs(40));
    }

    fn any_attempt() -> impl Strategy<Value = Attempt> {
        prop_oneof![
            1 => Just(Attempt::NotStarted),
            8 => Just(Attempt::Started),
            1 => (0u64..120).prop_map(|s| Attempt::Served(Duration::from_secs(s))),
        ]
    }

    proptest! {
        #[test]
        fn what_comes_next_follows_from_the_history_alone(
            history in prop::collection::vec((prop_oneof![0u64..20, 0u64..400], any_attempt()), 1..60),
            seed in any::<u64>(),
        ) {
            for (n, retry) in play(&history, seed).iter().enumerate() {
                let loops = is_crash_loop(&history[..=n]);
                prop_assert_eq!(retry.phase == Phase::CrashLoop, loops, "after {} failures", n + 1);
                let expected = if loops { 240_000..=360_000 } else { 400..=72_000 };
                prop_assert!(expected.contains(&retry.delay.as_millis()), "{:?}", retry);
                // Whoever has served for a minute starts anew.
                if matches!(history[n].1, Attempt::Served(time) if time >= GOOD_RUN) {
                    prop_assert!(retry.delay <= FIRST.mul_f64(1.2), "{:?}", retry);
                }
            }
        }

        #[test]
        fn delays_never_shrink_by_more_than_the_jitter_while_nothing_serves(
            failures in 1usize..20, seed in any::<u64>(),
        ) {
            let retries = play(&vec![(1, Attempt::Started); failures], seed);
            for pair in retries.windows(2) {
                prop_assert!(pair[1].delay >= pair[0].delay.mul_f64(0.8 / 1.2));
            }
        }
    }
}
