//! Ejection: a copy whose calls fail is left out for a while, though it is registered.
//!
//! It is what the calls of this client make of it: three failures in a row that are the copy's fault, and it is out for a
//! second; if the next call fails too, for two, and so on up to half a minute. One good call, and all is forgotten. Where every
//! copy is out, all are in again: a copy that probably fails is better than none.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many failures in a row put a copy out.
const FAILURES: u32 = 3;

/// For how long, at first and at most.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// How a call failed by the fault of the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Unreachable,
    Silent,
    /// It answered with this status.
    Status(u16),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("it can't be reached"),
            Self::Silent => f.write_str("it does not answer in time"),
            Self::Status(status) => write!(f, "it answers {status}"),
        }
    }
}

impl Fault {
    fn to_number(self) -> u32 {
        match self {
            Self::Unreachable => 0,
            Self::Silent => 1,
            Self::Status(status) => u32::from(status),
        }
    }

    fn of_number(number: u32) -> Self {
        match number {
            0 => Self::Unreachable,
            1 => Self::Silent,
            status => Self::Status(u16::try_from(status).unwrap_or(u16::MAX)),
        }
    }
}

/// How a copy has behaved towards the calls of this client. All times are in milliseconds of [`now_ms`].
#[derive(Debug, Default)]
pub(crate) struct Conduct {
    /// In a row.
    failures: AtomicU32,
    /// When it comes back; 0 when it is not out.
    back_at_ms: AtomicU64,
    /// When the first and the last of those failures were, and how the last one failed.
    first_ms: AtomicU64,
    last_ms: AtomicU64,
    fault: AtomicU32,
}

/// Calls to a copy that failed in a row, so many that it was put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    /// How long ago the first of them was.
    pub(crate) since: Duration,
    /// How long ago the last of them was.
    pub(crate) last: Duration,
    /// How it failed.
    pub(crate) fault: Fault,
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

    /// A call failed, and the copy is at fault. Says whether it is put out for that.
    pub(crate) fn note_bad(&self, fault: Fault) -> bool {
        // Calls that were under way when it was put out say nothing new.
        if self.is_out() {
            return false;
        }
        let now = now_ms();
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures == 1 {
            self.first_ms.store(now, Ordering::Relaxed);
        }
        self.last_ms.store(now, Ordering::Relaxed);
        self.fault.store(fault.to_number(), Ordering::Relaxed);
        let Some(more) = failures.checked_sub(FAILURES) else {
            return false;
        };
        let out = FIRST.saturating_mul(1 << more.min(16)).min(LONGEST);
        let out_ms = u64::try_from(out.as_millis()).unwrap_or(u64::MAX);
        self.back_at_ms.store(now + out_ms, Ordering::Relaxed);
        true
    }

    /// The calls that failed last, if there are so many in a row that it was put out for them.
    pub(crate) fn failing(&self) -> Option<Failing> {
        if self.failures.load(Ordering::Relaxed) < FAILURES {
            return None;
        }
        let now = now_ms();
        let ago =
            |at: &AtomicU64| Duration::from_millis(now.saturating_sub(at.load(Ordering::Relaxed)));
        Some(Failing {
            since: ago(&self.first_ms),
            last: ago(&self.last_ms),
            fault: Fault::of_number(self.fault.load(Ordering::Relaxed)),
        })
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
        conduct.note_bad(Fault::Silent);
        conduct.note_bad(Fault::Silent);
        conduct.note_good();
        conduct.note_bad(Fault::Silent);
        conduct.note_bad(Fault::Silent);
        assert!(!conduct.is_out(), "not in a row");
        assert_eq!(conduct.failing(), None);
        assert!(conduct.note_bad(Fault::Status(503)));
        assert!(conduct.is_out());
        let failing = conduct.failing().expect("three calls have failed");
        assert_eq!(failing.fault.to_string(), "it answers 503");
        conduct.note_good();
        assert!(!conduct.is_out());
        assert_eq!(conduct.failing(), None);
    }

    #[test]
    fn calls_that_were_under_way_do_not_make_it_longer() {
        let conduct = Conduct::default();
        (0..100).for_each(|_| {
            conduct.note_bad(Fault::Unreachable);
        });
        let back = conduct.back_at_ms.load(Ordering::Relaxed);
        assert!(back <= now_ms() + 1000, "{back}");
    }
}
