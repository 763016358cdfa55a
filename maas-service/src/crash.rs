//! Points at which a test can have the program killed, as `kill -9` would at that very moment, or put to sleep until it is sent
//! SIGCONT.
//!
//! The file that `MAAS_CRASH_FILE` names holds the name of a point, perhaps with `sleep at ` before it. The first process that
//! comes there takes the file away and dies, or sleeps. Programs built for use know none of this.
//!
//! All points stand in one table, and a test dies at each of them: one that no test knows is found, and so is one that no
//! program comes to.

use std::ffi::OsString;

use rustix::process::{Signal, getpid, kill_process};

/// The variable that names the file.
pub const CRASH_FILE: &str = "MAAS_CRASH_FILE";

macro_rules! points {
    ($($point:ident = $name:literal,)*) => {
        /// A point in a program at which a test can have it killed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Point {
            $(#[doc = $name] $point,)*
        }

        impl Point {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// What it is called.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    // In the daemon.
    LeadAfterEpoch = "lead: after the epoch was written",
    LeadAfterMark = "lead: after the mark in the folder of copies was made",
    IntakeBeforeTransaction = "intake: before the transaction",
    IntakeAfterTransaction = "intake: after the transaction",
    UpdateBeforeEnd = "update: before its end is written",
    UpdateAfterEnd = "update: after its end was written",
    LaunchBeforeFolder = "launch: before the folder is made",
    LaunchBeforeMove = "launch: before the folder is moved into place",
    LaunchAfterMove = "launch: after the folder was moved into place",
    LaunchAfterStart = "launch: after the runner started",
    StopBeforeSignal = "stop: before the runner is told",
    StopAfterSignal = "stop: after the runner was told",
    KillBeforeSignal = "kill: before the runner is killed",
    KillAfterSignal = "kill: after the runner was killed",
    CleanBeforeRemoval = "clean: before the folder is removed",
    // In the daemon or the runner, whoever removes it.
    RemovalHalfDone = "removal: when half of the folder is gone",
    // In the runner.
    RunnerBeforeIdentity = "runner: before it says which process it is",
    FetchBeforeMove = "fetch: before the bundle is moved into place",
    RunnerAfterFetch = "runner: after the bundle was fetched",
    RunnerAfterStart = "runner: after the script was started",
    RunnerAfterEndpoint = "runner: after endpoint.dat was read",
    RunnerBeforeRegistration = "runner: before the copy is registered",
    RunnerAfterRegistration = "runner: after the copy was registered",
    RunnerAfterFailure = "runner: after the model has failed",
    WithdrawalBegun = "withdrawal: before ZooKeeper has heard of it",
    WithdrawalDone = "withdrawal: after ZooKeeper has heard of it",
    DrainBegun = "drain: while calls may be under way",
    StopAfterTerm = "end: after SIGTERM",
    StopBeforeKill = "end: between SIGTERM and SIGKILL",
    RunnerBeforeStatusEnds = "runner: before its status is taken away",
    RunnerBeforeRemoval = "runner: before the folder is removed",
    RunnerAfterRemoval = "runner: after the folder was removed",
    // In the warden.
    WardenBeforeStart = "warden: before the script is started",
    WardenAfterStart = "warden: after the script was started",
}

/// Dies or sleeps here if a test says so; in a release build, does nothing.
pub fn crash_point(point: Point) {
    let Some(file) = crash_file() else {
        return;
    };
    let meant = std::fs::read_to_string(&file).unwrap_or_default();
    let signal = match meant.strip_prefix("sleep at ") {
        Some(name) if name == point.name() => Signal::STOP,
        None if meant == point.name() => Signal::KILL,
        _ => return,
    };
    // Of several processes that come here at once, the one that takes the file away is meant.
    if std::fs::remove_file(&file).is_ok() {
        let _it_hits_us = kill_process(getpid(), signal);
    }
}

/// Where a test says at which point a program is to die; in a release build, nowhere.
#[must_use]
pub fn crash_file() -> Option<OsString> {
    if cfg!(debug_assertions) {
        std::env::var_os(CRASH_FILE)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_points_have_the_same_name() {
        let names: HashSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
