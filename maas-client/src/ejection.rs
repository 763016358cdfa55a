//! Ejection: a copy whose calls fail is left out for a while, though it is registered.
//!
//! It is what the calls of this client make of it: three failures in a row that are the copy's fault, and it is out for a
//! second; if the next call fails too, for two, and so on up to half a minute. One good call, and all is forgotten. Where every
//! copy is out, all are in again: a copy that probably fails is better than none.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many failures in a row put a copy out.
const FAILURES: u32 = 3;

/// For how long, at first and at most.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// How a copy has behaved towards the calls of this client.
#[derive(Debug, Default)]
pub(crate) struct Conduct {
    /// In a row.
    failures: AtomicU32,
    /// When it comes back, in milliseconds of [`now_ms`]; 0 when it is not out.
    back_at_ms: AtomicU64,
}

impl Conduct {
    /// Whether it is left out now.
    pub(crate) fn is_out(&self) -> bool {
        let back = self.back_at_ms.load(Ordering::Relaxed);
        // A copy that behaves costs a lookup no look at the clock.
        back != 0 && now_ms() < back
    }

    /// A call went well, or failed by no fault of the copy.
    pub(crate) fn note_good(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.back_at_ms.store(0, Ordering::Relaxed);
        }
    }

    /// A call failed, and the copy is at fault.
    pub(crate) fn note_bad(&self) {
        // Calls that were under way when it was put out say nothing new.
        if self.is_out() {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(more) = failures.checked_sub(FAILURES) {
            let out = FIRST.saturating_mul(1 << more.min(16)).min(LONGEST);
            let out_ms = u64::try_from(out.as_millis()).unwrap_or(u64::MAX);
            self.back_at_ms.store(now_ms() + out_ms, Ordering::Relaxed);
        }
    }
}

/// Two copies are the same however they behave.
impl PartialEq for Conduct {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Conduct {}

/// Milliseconds since this program first asked, by a clock that nobody sets; never 0.
fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_put_a_copy_out_and_a_good_call_brings_it_back() {
        let conduct = Conduct::default();
        conduct.note_bad();
        conduct.note_bad();
        conduct.note_good();
        conduct.note_bad();
        conduct.note_bad();
        assert!(!conduct.is_out(), "not in a row");
        conduct.note_bad();
        assert!(conduct.is_out());
        conduct.note_good();
        assert!(!conduct.is_out());
    }

    #[test]
    fn calls_that_were_under_way_do_not_make_it_longer() {
        let conduct = Conduct::default();
        (0..100).for_each(|_| conduct.note_bad());
        let back = conduct.back_at_ms.load(Ordering::Relaxed);
        assert!(back <= now_ms() + 1000, "{back}");
    }
}
