//! Points at which a test can have the program killed, as `kill -9` would at that very moment.
//!
//! `MAAS_CRASH_AT` names the point. Programs built for use know none of this.

/// Dies here if `MAAS_CRASH_AT` says so; in a release build, does nothing.
pub fn crash_point(name: &str) {
    if cfg!(debug_assertions) && std::env::var_os("MAAS_CRASH_AT").is_some_and(|at| at == *name) {
        let _it_does_not_return =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}
