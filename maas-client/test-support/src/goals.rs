//! The goals of a measurement: all of them are measured and told, and one that is missed makes the run a failure in the end.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

static MISSED: AtomicUsize = AtomicUsize::new(0);

/// What is said of a goal. One that is missed counts in [`goals_met`].
pub fn verdict(met: bool) -> &'static str {
    if met {
        "met"
    } else {
        MISSED.fetch_add(1, Ordering::Relaxed);
        "MISSED"
    }
}

/// How a measurement ends: well, unless a goal was missed.
pub fn goals_met() -> ExitCode {
    match MISSED.load(Ordering::Relaxed) {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
