//! How much may be written when. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// So many bytes a second, for as long as one likes.
pub(super) const RATE: u64 = 1024 * 1024;

/// So many at once, by one who has been silent before: as many as are kept of a stream anyway.
const BURST: u64 = 8 * RATE;

/// What a stream may still have written.
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    left: u64,
    /// Since when what has passed is not counted yet.
    since: Instant,
    exhausted: bool,
}

impl Allowance {
    /// The whole of it.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
            exhausted: false,
        }
    }

    /// Takes so many bytes, if they may be written. Once they may not, nothing may until there is enough for a second: what is
    /// dropped is dropped in long pieces.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> bool {
        const STEP: Duration = Duration::from_millis(1);
        let passed = now.saturating_duration_since(self.since).as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.since += STEP * passed;
        self.left = BURST.min(self.left + u64::from(passed) * RATE / 1000);
        let enough = if self.exhausted {
            RATE.max(bytes)
        } else {
            bytes
        };
        self.exhausted = self.left < enough;
        if !self.exhausted {
            self.left -= bytes;
        }
        !self.exhausted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = 64 * 1024;

    /// How many bytes of a stream of so many a second are written in so many seconds.
    fn written(bytes_a_second: u64, seconds: u64) -> u64 {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let pieces = seconds * bytes_a_second / PIECE;
        let at =
            |piece: u64| start + Duration::from_secs(seconds).mul_f64(piece as f64 / pieces as f64);
        let taken = (0..pieces).filter(|&piece| allowance.take(PIECE, at(piece)));
        PIECE * taken.count() as u64
    }

    #[test]
    fn what_comes_slowly_is_written_and_of_a_flood_its_beginning_and_then_so_much_a_second() {
        assert_eq!(written(RATE / 2, 60), 60 * RATE / 2);
        let flood = written(100 * RATE, 60);
        let most = BURST + 60 * RATE;
        assert!((most - 2 * RATE..=most).contains(&flood), "{flood}");
    }

    #[test]
    fn silence_gives_the_whole_of_it_back_but_no_more() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        assert!(allowance.take(BURST, start) && !allowance.take(1, start));
        let later = start + Duration::from_secs(3600);
        assert!(allowance.take(BURST, later) && !allowance.take(1, later));
    }

    #[test]
    fn a_stream_that_was_stopped_goes_on_only_when_there_is_enough_for_a_second() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        assert!(allowance.take(BURST, start) && !allowance.take(1, start));
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!allowance.take(1, at(990)));
        assert!(allowance.take(1, at(1001)));
    }
}
