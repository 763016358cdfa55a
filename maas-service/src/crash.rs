//! Points at which a test can have the program killed, as `kill -9` would at that very moment, or put to sleep until it is sent
//! SIGCONT.
//!
//! The file that `MAAS_CRASH_FILE` names holds the name of a point, perhaps with `sleep at ` before it. The first process that
//! comes there takes the file away and dies, or sleeps. Programs built for use know none of this.

use rustix::process::{Signal, getpid, kill_process};

/// Dies or sleeps here if a test says so; in a release build, does nothing.
pub fn crash_point(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let Some(file) = std::env::var_os("MAAS_CRASH_FILE") else {
        return;
    };
    let meant = std::fs::read_to_string(&file).unwrap_or_default();
    let signal = match meant.strip_prefix("sleep at ") {
        Some(point) if point == name => Signal::STOP,
        None if meant == name => Signal::KILL,
        _ => return,
    };
    // Of several processes that come here at once, the one that takes the file away is meant.
    if std::fs::remove_file(&file).is_ok() {
        let _it_hits_us = kill_process(getpid(), signal);
    }
}
