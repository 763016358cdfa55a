//! Signals to processes by number, for tests that are cruel on purpose.

use std::process::Command;

/// Sends a signal, by its name without `SIG`, to processes; tells whether all of them were there to get it.
///
/// # Panics
///
/// When the machine cannot run `sh`.
pub fn send_signal(signal: &str, pids: &[u32]) -> bool {
    // The shell's own `kill`: a bare machine has no program of that name.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"kill -s "$@" 2>/dev/null"#, "sh", signal]);
    shell.args(pids.iter().map(ToString::to_string));
    shell
        .status()
        .expect("a machine that runs tests has `sh`")
        .success()
}
