//! Points at which a test can have the program killed, as `kill -9` would at that very moment.
//!
//! The file that `MAAS_CRASH_FILE` names holds the name of a point. The first process that comes there takes the file away
//! and dies. Programs built for use know none of this.

use rustix::process::{Signal, getpid, kill_process};

/// Dies here if a test says so; in a release build, does nothing.
pub fn crash_point(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let Some(file) = std::env::var_os("MAAS_CRASH_FILE") else {
        return;
    };
    let is_meant = std::fs::read_to_string(&file).is_ok_and(|meant| meant == name);
    // Of several processes that come here at once, the one that takes the file away is the one to die.
    if is_meant && std::fs::remove_file(&file).is_ok() {
        let _it_does_not_return = kill_process(getpid(), Signal::KILL);
    }
}
