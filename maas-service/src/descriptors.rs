//! Open files: how many the daemon may have, and how many it has left.
//!
//! It holds one or two for each copy, and without any can neither look at the copies nor speak with ZooKeeper. So it takes as
//! many as it may have, and starts no copy that would take the last ones.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// So many are left for all else than copies.
pub const RESERVE: usize = 64;

/// Has this process take as many as it may. Models don't notice: each has a limit of its own from its warden.
pub fn take_all_there_may_be() {
    let limits = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limits.maximum,
        maximum: limits.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        warn!(%error, "the limit of open files can't be raised; it bounds how many copies can run");
    }
}

/// How many are left for copies.
#[must_use]
pub fn spare() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    // Who can't even look has none.
    let open = fs::read_dir("/proc/self/fd").map_or(limit, Iterator::count);
    limit.saturating_sub(open).saturating_sub(RESERVE)
}
